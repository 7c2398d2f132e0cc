//! How many rows a second one core decodes from CSV: all of them, those of wanted events alone, and
//! rows with quotes. No files, nothing random.
//!
//! Invariant: every row of the sample is an order; none is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write;

use criterion::{Criterion, Throughput};
use tapewatch_connect::CsvOrders;
use tapewatch_model::{EventType, EventTypes, OrderBatch, OrderSource};

const ROWS: usize = 200_000;
const BATCH_ROWS: usize = 8_192;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("csv");
    group
        .throughput(Throughput::Elements(ROWS as u64))
        .sample_size(20);
    let cancels = EventTypes::of(&[EventType::Cancelled]);
    for (name, quoted, wanted) in [
        ("all", false, EventTypes::ALL),
        ("wanted", false, cancels),
        ("quoted", true, EventTypes::ALL),
    ] {
        let text = sample(quoted);
        group.bench_function(name, |bencher| bencher.iter(|| read(&text, wanted)));
    }
    group.finish();
    criterion.final_summary();
}

/// The number of orders.
fn read(text: &str, wanted: EventTypes) -> usize {
    let mut orders = OrderBatch::default();
    let mut refused = Vec::new();
    let mut count = 0;
    let mut source = CsvOrders::new(text.as_bytes(), "sample", text.len() as u64).unwrap();
    source.want(wanted);
    while source
        .next_batch(BATCH_ROWS, &mut orders, &mut refused)
        .unwrap()
    {
        count += orders.len();
    }
    assert_eq!(
        refused.len() as u64 + source.progress().passed_over + count as u64,
        ROWS as u64
    );
    assert!(refused.is_empty());
    count
}

/// Rows like those of a trading day: 500 instruments, 5,000 traders, each order id a few times.
fn sample(quoted: bool) -> String {
    let mut text = "time,sym,eventType,trader,side,orderID,price,quantity\n".to_owned();
    text.reserve(ROWS * 90);
    let quote = if quoted { "\"" } else { "" };
    let mut state = 20_240_105_u64;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let mut nanos = 8 * 3_600 * 1_000_000_000_u64;
    for _ in 0..ROWS {
        nanos += next(3_000_000);
        let seconds = nanos / 1_000_000_000;
        let event = ["new", "new", "cancelled", "cancelled", "amended", "filled"];
        let event = event[next(6) as usize];
        let (sym, trader) = (next(500), next(71) * next(71));
        let letter = |n: u64| char::from(b'A' + (n % 26) as u8);
        writeln!(
            text,
            "2024-01-05 {:02}:{:02}:{:02}.{:09},{quote}{}{}{}{quote},{event},{quote}Trader{trader:05}{quote},{},OID{:08},{}.{:02},{}",
            seconds / 3_600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            nanos % 1_000_000_000,
            letter(sym),
            letter(sym / 26),
            letter(sym / 676),
            if next(2) == 0 { 'B' } else { 'S' },
            next(ROWS as u64),
            next(200) + 1,
            next(100),
            (next(50) + 1) * 100,
        )
        .unwrap();
    }
    text
}
