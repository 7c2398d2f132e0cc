//! How many rows a second one core encodes and decodes as buckets of the journal.
//!
//! Invariant: what is decoded is what was encoded.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use criterion::{Criterion, Throughput};
use tapewatch_model::{
    Bucket, BucketDecoder, Details, EventType, OrderBatch, Price, Quantity, RowRef, Side, Time,
    decode_bucket, encode_bucket,
};

const ROWS: usize = 8_192;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let bucket = Bucket {
        orders: orders(),
        ..Bucket::default()
    };
    let mut bytes = Vec::new();
    encode_bucket(&bucket, &mut bytes);
    assert_eq!(decode_bucket(&bytes).unwrap(), bucket);
    let mut group = criterion.benchmark_group("bucket");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("encode", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            encode_bucket(&bucket, &mut out);
            out.len()
        });
    });
    // As a journal is read: the decoder knows the texts of the buckets before.
    group.bench_function("decode", |bencher| {
        let mut decoder = BucketDecoder::default();
        bencher.iter(|| decoder.decode(&bytes).unwrap());
    });
    group.finish();
    criterion.final_summary();
}

/// Rows like those of a trading day.
fn orders() -> OrderBatch {
    let mut state = 20_240_105_u64;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let kinds = [EventType::New, EventType::Cancelled, EventType::Filled];
    let mut orders = OrderBatch::default();
    let mut nanos = 1_704_441_600_000_000_000_i64;
    for _ in 0..ROWS {
        nanos += next(6_120_000) as i64;
        let (sym, trader) = (next(500), next(71) * next(71));
        let (sym, trader) = (format!("SY{sym:03}"), format!("Trader{trader:05}"));
        let order_id = format!("OID{:08}", next(10_000_000));
        let row = RowRef {
            time: Time::from_nanos(nanos),
            sym: sym.as_bytes(),
            event_type: kinds[next(3) as usize],
            trader: trader.as_bytes(),
            side: if next(2) == 0 { Side::Buy } else { Side::Sell },
            order_id: order_id.as_bytes(),
            price: Price::from_units(next(20_000) as i64 * 10_000_000),
            quantity: Quantity::from_whole(next(50) as i64 * 100 + 100).unwrap(),
            details: Details::default(),
        };
        orders.push(&row).unwrap();
    }
    orders
}
