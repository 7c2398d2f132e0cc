//! Random streams with ties, gaps and late rows, and the batches they come in.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod flow;

use proptest::prelude::*;
use tapewatch_detect::DetectConfig;
use tapewatch_model::{EventType, Flags, Order, OrderBatch, Price, Quantity, Side, Time};

pub(crate) fn orders(rows: &[(i64, u8, u8, bool, u8, i64)]) -> Vec<Order> {
    let mut time = 0;
    let order = |(index, &(step, sym, trader, buy, kind, pieces)): (
        usize,
        &(i64, u8, u8, bool, u8, i64),
    )| {
        time = (time + step).max(0);
        Order {
            seq: index as u64 + 1,
            // Half seconds: many ties, many windows that end exactly at the lookback.
            time: Time::from_nanos(1_700_000_000_000_000_000 + time * 500_000_000),
            sym: format!("S{sym}"),
            event_type: if kind < 3 {
                EventType::Cancelled
            } else {
                EventType::New
            },
            trader: format!("T{trader}"),
            side: if buy { Side::Buy } else { Side::Sell },
            order_id: format!("O{index}"),
            price: Price::default(),
            quantity: Quantity::from_whole(pieces).unwrap(),
            account: String::new(),
            exec_id: String::new(),
            display: None,
            flags: Flags::NONE,
        }
    };
    rows.iter().enumerate().map(order).collect()
}

pub(crate) fn batch(orders: &[Order]) -> OrderBatch {
    let mut batch = OrderBatch::default();
    for order in orders {
        batch.push(&order.as_row().as_bytes()).unwrap();
    }
    batch.number_from(orders.first().map_or(0, |order| order.seq));
    batch
}

pub(crate) fn config(settings: &[&str]) -> DetectConfig {
    let mut config = DetectConfig::default();
    config.set("spoofing.lateness=1d").unwrap();
    settings
        .iter()
        .for_each(|setting| config.set(setting).unwrap());
    config
}

pub(crate) fn cut<'a>(orders: &'a [Order], sizes: &[usize]) -> Vec<&'a [Order]> {
    let mut rest = orders;
    let mut buckets = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (bucket, after) = rest.split_at((*size).min(rest.len()));
        buckets.push(bucket);
        rest = after;
    }
    buckets
}

pub(crate) fn rows() -> impl Strategy<Value = Vec<(i64, u8, u8, bool, u8, i64)>> {
    // Mostly forward in small steps, sometimes a gap, sometimes far back.
    let step = prop_oneof![6 => 0_i64..4, 1 => 20_i64..80, 1 => -60_i64..0];
    let row = (
        step,
        0_u8..2,
        0_u8..2,
        any::<bool>(),
        0_u8..4,
        700_i64..1_600,
    );
    proptest::collection::vec(row, 1..250)
}

pub(crate) fn sizes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1_usize..12, 1..6)
}
