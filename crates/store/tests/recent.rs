//! Recent orders from outside: what a row costs, and that every way in and out gives the same rows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::{batch, check_count, csv, dump, lines, open, order};
use proptest::prelude::*;
use tapewatch_model::{Details, EventType, Order, OrderBatch, Price, Quantity, RowRef, Side, Time};

/// Orders as a busy day has them: 500 instruments, 5,000 traders, ids of 11 bytes.
fn busy(first: u64, rows: u64, before: &OrderBatch) -> OrderBatch {
    let mut batch = OrderBatch::following(before, rows as usize);
    let start = order(0, 0).time.nanos();
    for seq in first..first + rows {
        let mixed = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let (sym, trader) = (
            format!("SYM{:03}", mixed % 500),
            format!("Trader{:04}", mixed / 500 % 5_000),
        );
        let id = format!("{seq:011}");
        let row = RowRef {
            time: Time::from_nanos(start + seq as i64 * 1_000_003),
            sym: sym.as_bytes(),
            event_type: EventType::from_number((mixed / 7 % 4 + 1) as u8).unwrap(),
            trader: trader.as_bytes(),
            side: Side::from_number((mixed % 2 + 1) as u8).unwrap(),
            order_id: id.as_bytes(),
            price: Price::from_units((mixed % 10_000) as i64 * 10_000_000),
            quantity: Quantity::from_units((mixed % 100) as i64 * 100_000_000).unwrap(),
            details: Details::default(),
        };
        batch.push(&row).unwrap();
    }
    batch.number_from(first);
    batch
}

#[tokio::test]
async fn a_row_takes_at_most_64_bytes() {
    for (rows, batches) in [(65_536, 2), (4_096, 30), (100, 1_200)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await;
        let mut before = OrderBatch::default();
        let all: Vec<_> = (0..batches)
            .map(|n| {
                let batch = busy(n * rows + 1, rows, &before);
                before = batch.clone();
                batch
            })
            .collect();
        drop(before);
        let started = Instant::now();
        for batch in all {
            store.append_orders(batch);
        }
        let nanos = started.elapsed().as_nanos() as u64;
        let counts = store.counts();
        assert_eq!(counts.recent_orders, rows * batches);
        let bytes = counts.recent_bytes as f64 / counts.recent_orders as f64;
        println!(
            "batches of {rows}: {bytes:.1} bytes and {} ns a row",
            nanos / (rows * batches)
        );
        assert!(bytes <= 64.0, "batches of {rows}: {bytes:.1} bytes a row");
        store.end_of_day(rows * batches - 1).await.unwrap();
        assert_eq!(store.counts().recent_orders, 1);
    }
}

#[tokio::test]
async fn chunks_that_cannot_match_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for n in 0..10_u64 {
        let orders: Vec<Order> = (n * 3_000 + 1..=(n + 1) * 3_000)
            .map(|seq| order(seq, n as i64))
            .collect();
        store.append_orders(batch(&orders));
    }
    store.append_orders(batch(&[order(30_001, 20)]));
    for (filter, rows, chunks) in [
        ("date = '2024-01-07'", 3_000, 1),
        ("date > '2024-01-07' AND date < '2024-01-10'", 6_000, 2),
        ("time >= '2024-01-14T00:00:00Z'", 3_001, 2),
        ("time < '2024-01-05T00:00:01Z'", 999, 1),
        ("seq > 29999", 2, 2),
        ("date = '2030-01-01'", 0, 0),
        ("sym = 'SYM1'", 4_286, 11),
        ("date IN ('2024-01-05', '2024-01-25')", 3_001, 2),
    ] {
        check_count(&store, filter, rows).await;
        let plan = csv(
            &store,
            &format!("EXPLAIN SELECT price FROM orders WHERE {filter}"),
        )
        .await;
        let wanted = format!("recent orders, chunks={chunks}");
        let none = chunks == 0 && !plan.contains("recent orders, chunks=1");
        assert!(none || plan.contains(&wanted), "{filter}: {plan}");
    }
    let plan = csv(
        &store,
        "EXPLAIN SELECT sym FROM orders ORDER BY seq LIMIT 5",
    )
    .await;
    assert!(
        plan.contains("fetch=5") && !plan.contains("SortExec"),
        "{plan}"
    );
    let last = "SELECT seq FROM orders ORDER BY seq LIMIT 2 OFFSET 2999";
    assert_eq!(lines(&store, last).await, "seq\n3000\n3001\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn batches_of_any_size_are_the_same_rows(
        sizes in proptest::collection::vec(prop_oneof![1_usize..50, 2_000_usize..2_100], 1..8),
        skipped in 0_u64..60,
        through in 0_u64..4_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let plain = open(&dir.path().join("plain")).await;
            let store = open(&dir.path().join("parts")).await;
            let mut next = 1;
            let mut all = Vec::new();
            for size in sizes {
                // Numbers have gaps: dead letters take some.
                let orders: Vec<Order> = (next..next + size as u64)
                    .map(|seq| order(seq, (seq * 7 % 3) as i64))
                    .collect();
                next += size as u64 + skipped % 3;
                store.append_orders(batch(&orders));
                black_box(store.recent_orders_last(1));
                all.extend(orders);
            }
            for order in all.chunks(1_000) {
                plain.append_orders(batch(order));
            }
            assert_eq!(store.recent_orders(0, usize::MAX), all);
            assert_eq!(dump(&store).await, dump(&plain).await);
            store.end_of_day(through).await.unwrap();
            assert_eq!(dump(&store).await, dump(&plain).await);
            // What a replay brings again is skipped, in the middle of a batch too.
            let high = store.high_water().orders;
            drop(store);
            let store = open(&dir.path().join("parts")).await;
            store.append_orders(batch(&all));
            let left: Vec<_> = all.iter().filter(|o| o.seq > high).cloned().collect();
            assert_eq!(store.recent_orders(0, usize::MAX), left);
            assert_eq!(dump(&store).await, dump(&plain).await);
        });
    }
}
