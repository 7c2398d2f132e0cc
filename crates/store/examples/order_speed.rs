//! How fast orders come in, are read from memory and move to history:
//! `cargo run --release -p tapewatch-store --example order_speed [ROWS]`.
//!
//! Invariant: the rows are a function of their number alone: 500 instruments, 5,000 traders.

use std::error::Error;
use std::time::Instant;

use tapewatch_model::{Details, EventType, OrderBatch, Price, Quantity, RowRef, Side, Time};
use tapewatch_store::{Format, Store, StoreOptions};

const BATCH_ROWS: u64 = 65_536;
const START: i64 = 1_704_412_800_000_000_000;

fn batch(first: u64, rows: u64, before: &OrderBatch) -> Result<OrderBatch, Box<dyn Error>> {
    let mut batch = OrderBatch::following(before, usize::try_from(rows)?);
    for seq in first..first + rows {
        let mixed = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let (sym, trader) = (
            format!("SYM{:03}", mixed % 500),
            format!("Trader{:04}", mixed / 500 % 5_000),
        );
        let id = format!("{:011}", seq / 2);
        let kind = EventType::from_number((mixed / 7 % 4 + 1) as u8).ok_or("no event type")?;
        let row = RowRef {
            time: Time::from_nanos(START + seq.cast_signed() * 1_000_003),
            sym: sym.as_bytes(),
            event_type: kind,
            trader: trader.as_bytes(),
            side: Side::from_number((mixed % 2 + 1) as u8).ok_or("no side")?,
            order_id: id.as_bytes(),
            price: Price::from_units((mixed % 10_000).cast_signed() * 10_000_000),
            quantity: Quantity::from_units((mixed % 100).cast_signed() * 100_000_000)?,
            details: Details::default(),
        };
        batch.push(&row)?;
    }
    batch.number_from(first);
    Ok(batch)
}

async fn ask(store: &Store, what: &str, sql: &str) -> Result<(), Box<dyn Error>> {
    for _ in 0..2 {
        let started = Instant::now();
        let mut out = Vec::new();
        store.sql(sql).await?.write(Format::Csv, &mut out).await?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{what}: {:.1} ms, {} bytes", seconds * 1e3, out.len());
    }
    Ok(())
}

async fn queries(store: &Store, place: &str) -> Result<(), Box<dyn Error>> {
    for (what, sql) in [
        (
            "sum of quantity",
            "SELECT sum(quantity), count(price) FROM orders",
        ),
        (
            "all columns",
            "SELECT max(seq), max(time), max(sym), max(event_type), max(trader), max(side), \
             max(order_id), max(price), max(quantity) FROM orders",
        ),
        (
            "one instrument, one event type",
            "SELECT order_id, price, quantity FROM orders WHERE sym = 'SYM123' AND event_type = 'cancelled'",
        ),
    ] {
        ask(store, &format!("{place}, {what}"), sql).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rows: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(2_000_000), |rows| rows.parse())?;
    let dir = std::env::temp_dir().join(format!("order_speed-{}", std::process::id()));
    let store = Store::open(&dir, StoreOptions::default()).await?;
    for batch_rows in [BATCH_ROWS, 1_000] {
        let mut before = OrderBatch::default();
        let mut nanos = 0;
        let part = rows / 2;
        let first = store.counts().orders + 1;
        for start in (first..first + part).step_by(usize::try_from(batch_rows)?) {
            let new = batch(start, batch_rows.min(first + part - start), &before)?;
            before = OrderBatch::following(&new, 0);
            let started = Instant::now();
            store.append_orders(new);
            nanos += started.elapsed().as_nanos();
        }
        let row = nanos / u128::from(part.max(1));
        println!("append in batches of {batch_rows}: {row} ns a row");
    }
    let counts = store.counts();
    let bytes = counts.recent_bytes / counts.recent_orders.max(1);
    println!("memory: {bytes} bytes a row");
    queries(&store, "recent").await?;
    let started = Instant::now();
    let report = store.end_of_day(rows).await?;
    let seconds = started.elapsed().as_secs_f64();
    let speed = report.orders.rows as f64 / seconds;
    println!("end of day: {seconds:.2} s, {speed:.0} rows a second");
    queries(&store, "history").await?;
    let mut size = 0;
    for day in std::fs::read_dir(dir.join("history/orders"))? {
        for file in std::fs::read_dir(day?.path())? {
            size += file?.metadata()?.len();
        }
    }
    println!("files: {:.1} bytes a row", size as f64 / rows as f64);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
