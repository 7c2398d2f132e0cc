//! The Rust form of `wit/detector.wit`.
//!
//! Invariant: made from the file when this crate is built, never by hand.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wasmtime::component::bindgen!({ path: "wit/detector.wit", world: "detector" });

pub(crate) use self::tapewatch::detector::types::*;
