//! What a guest costs: a call that does nothing, and the examples.
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use support::{ASSEMBLYSCRIPT, RUST, batches, config, engine, flow, hostile, run};
use tapewatch_guest::Library;

/// A detector's name, its component and its table.
type Code = (&'static str, &'static [u8], serde_json::Value);

const ROWS: u64 = 100_000;

fn events(c: &mut Criterion) {
    let rows = batches(&flow(ROWS), &[10_000]);
    // As long as the process.
    let idle: &[u8] = Vec::leak(hostile("(i32.const 8)"));
    let mut group = c.benchmark_group("events");
    group.throughput(Throughput::Elements(ROWS)).sample_size(10);
    let table = json!({"cancel_count": 100});
    let cases: [(&str, &[Code]); 4] = [
        ("no detector", &[]),
        ("a guest that does nothing", &[("hostile", idle, json!({}))]),
        ("cancel_burst in Rust", &[("cancel_burst", RUST, table)]),
        (
            "large_order in AssemblyScript",
            &[("large_order", ASSEMBLYSCRIPT, json!({}))],
        ),
    ];
    for (name, codes) in cases {
        let mut of = config(codes);
        of.1.set("spoofing.enabled=false").unwrap(); // it finds much in this flow
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
