//! The SQL language: what it has beyond the usual, and what it says to what is wrong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

mod joins;
mod joins_naive;
mod names;
mod orders;
mod sums;
mod wrong;

use common::{batch, open};
use tapewatch_model::{EventType, Order, Price, Quantity, Side, Time};
use tapewatch_store::{Format, Store};

/// 2024-01-05T00:00.
const START: i64 = 1_704_412_800_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// A plain event of an order: number, nanoseconds of the day, what, side, its name, price, quantity.
fn event(
    seq: u64,
    nanos: i64,
    kind: EventType,
    side: Side,
    id: &str,
    price: i64,
    pieces: i64,
) -> Order {
    Order {
        seq,
        time: Time::from_nanos(START + nanos),
        sym: "ABC".to_owned(),
        event_type: kind,
        trader: "T".to_owned(),
        side,
        order_id: id.to_owned(),
        price: Price::from_units(price * 1_000_000_000),
        quantity: Quantity::from_whole(pieces).unwrap(),
        account: String::new(),
        exec_id: String::new(),
        display: None,
        flags: tapewatch_model::Flags::NONE,
    }
}

/// A store with these orders in memory.
async fn store_of(dir: &std::path::Path, orders: &[Order]) -> Store {
    let store = open(dir).await;
    store.append_orders(batch(orders));
    store
}

async fn failure(store: &Store, sql: &str) -> String {
    match common::query(store, sql, Format::Csv).await {
        Ok(text) => panic!("{sql} gave {text}"),
        Err(error) => error.to_string(),
    }
}
