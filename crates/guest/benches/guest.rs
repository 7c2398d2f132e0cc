//! What a guest costs: the examples beside the built-in spoofing, over the same million rows.
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use support::{ASSEMBLYSCRIPT, RUST, batches, config, engine, flow, hostile, run};
use tapewatch_guest::Library;

const ROWS: u64 = 100_000;

fn events(c: &mut Criterion) {
    let rows = batches(&flow(ROWS), &[10_000]);
    let idle = hostile("(i32.const 8)");
    let mut group = c.benchmark_group("events");
    group.throughput(Throughput::Elements(ROWS)).sample_size(10);
    let table = json!({"cancel_count": 100});
    let cases: [(&str, &[(&str, &[u8], serde_json::Value)]); 4] = [
        ("spoofing alone", &[]),
        (
            "and a guest that does nothing",
            &[("hostile", &idle, json!({}))],
        ),
        ("and cancel_burst in Rust", &[("cancel_burst", RUST, table)]),
        (
            "and large_order in AssemblyScript",
            &[("large_order", ASSEMBLYSCRIPT, json!({}))],
        ),
    ];
    for (name, codes) in cases {
        let of = config(codes);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || engine(&of),
                |mut made| run(&mut made, &rows),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn start(c: &mut Criterion) {
    let mut group = c.benchmark_group("start");
    group.sample_size(10);
    for (name, bytes) in [
        ("cancel_burst in Rust", RUST),
        ("large_order in AssemblyScript", ASSEMBLYSCRIPT),
    ] {
        group.bench_function(format!("compile {name}"), |bencher| {
            bencher.iter(|| Library::new().unwrap().add(bytes).unwrap());
        });
    }
    let of = config(&[("cancel_burst", RUST, json!({}))]);
    group.bench_function("a new instance", |bencher| bencher.iter(|| engine(&of)));
    group.finish();
}

criterion_group!(benches, events, start);
criterion_main!(benches);
