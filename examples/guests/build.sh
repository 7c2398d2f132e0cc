#!/bin/sh
# Builds the examples' components anew, and notes what they were built from.
# Needs: a Rust whose target wasm32-unknown-unknown is installed, Node, and wasm-tools.
set -eu
cd "$(dirname "$0")"
wit=../../crates/guest/wit/detector.wit
# No paths of this machine in what is built.
export RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo ${RUSTFLAGS:-}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../../target/guests}"

component() { # core module, component
    wasm-tools component embed --world detector "$wit" "$1" --output "$1.embedded"
    wasm-tools component new "$1.embedded" --output "$2"
    rm "$1.embedded"
}

(cd rust && cargo build --release --locked --target wasm32-unknown-unknown ${CARGO_FLAGS:-})
# The bindings put the world into the core module already.
wasm-tools component new "$CARGO_TARGET_DIR/wasm32-unknown-unknown/release/cancel_burst.wasm" \
    --output rust/cancel_burst.wasm

(cd assemblyscript && npm ci --silent && npm run --silent build)
component assemblyscript/build/core.wasm assemblyscript/large_order.wasm

sources="$wit rust/Cargo.toml rust/Cargo.lock rust/src/lib.rs assemblyscript/package.json
    assemblyscript/package-lock.json assemblyscript/abi.ts assemblyscript/detector.ts"
sha256sum $sources rust/cancel_burst.wasm assemblyscript/large_order.wasm > built-from.sha256
