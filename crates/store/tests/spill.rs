//! Today's older orders on the local disk: queries, the end of day and a restart never show where a
//! row is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::path::{Path, PathBuf};

use common::{batch, copy, dump, lines, open, order, query};
use proptest::prelude::*;
use tapewatch_model::Order;
use tapewatch_store::{Format, Store, StoreOptions};

/// Filters and groups that are decided on codes in memory, and by DataFusion elsewhere.
const QUERIES: [&str; 11] = [
    "SELECT sym, count(*), sum(quantity), min(price), max(time) FROM orders GROUP BY sym ORDER BY sym",
    "SELECT sym, event_type, trader, count(*), sum(price * quantity) FROM orders \
     GROUP BY sym, event_type, trader ORDER BY sym, event_type, trader",
    "SELECT side, count(*), avg(price) FROM orders WHERE trader = 'Trader, 3' AND seq > 100 GROUP BY side ORDER BY side",
    "SELECT event_type, count(DISTINCT order_id), count(account) FROM orders GROUP BY event_type ORDER BY event_type",
    "SELECT seq, price FROM orders WHERE sym IN ('SYM1', 'SYM3') AND event_type = 'cancelled' ORDER BY seq",
    "SELECT seq FROM orders WHERE order_id = 'OID00000120' OR order_id = 'OID00000007' ORDER BY seq",
    "SELECT count(*), sum(seq) FROM orders WHERE time BETWEEN '2024-01-05T00:00:00.1Z' AND '2024-01-06T00:00:01Z'",
    "SELECT count(*) FROM orders WHERE date <= '2024-01-06' AND date > '2024-01-05'",
    "SELECT count(*), min(seq) FROM orders WHERE seq >= 0 AND seq < 50 AND side = 'buy'",
    "SELECT count(*) FROM orders WHERE sym = 'nobody' OR sym = 'SYM2'",
    "SELECT trader FROM orders WHERE sym = 'SYM5' AND price > 3 ORDER BY seq LIMIT 7 OFFSET 3",
];

/// A store that keeps in memory no more than it must.
async fn small(dir: &Path) -> Store {
    let options = StoreOptions {
        recent_memory_max: 1,
        ..StoreOptions::default()
    };
    Store::open(dir, options).await.unwrap()
}

async fn answers(store: &Store) -> Vec<String> {
    let mut all = vec![dump(store).await];
    for sql in QUERIES {
        all.push(format!("{sql}\n{}", lines(store, sql).await));
    }
    all
}

fn orders(from: u64, upto: u64) -> Vec<Order> {
    (from..=upto)
        .map(|seq| order(seq, (seq * 7 % 3) as i64))
        .collect()
}

/// The files below a directory that end so.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path, end),
            false => vec![path],
        })
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]
    #[test]
    fn spilled_and_unspilled_answer_the_same(
        parts in proptest::collection::vec((2_048_u64..2_500, any::<bool>()), 1..5),
        more in 0_u64..40,
        through in 0_u64..9_000,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (plain_dir, dir) = (dir.path().join("plain"), dir.path().join("spilled"));
            let (plain, store) = (open(&plain_dir).await, small(&dir).await);
            let (mut last, mut rows) = (0, 0);
            for (size, spill) in parts {
                let some = orders(last + 1, last + size);
                last += size;
                rows += size;
                plain.append_orders(batch(&some));
                store.append_orders(batch(&some));
                if spill {
                    store.spill().await.unwrap();
                    let counts = store.counts();
                    assert_eq!((counts.spilled_orders, counts.recent_orders), (rows, 0));
                }
            }
            let some = orders(last + 1, last + more);
            plain.append_orders(batch(&some));
            store.append_orders(batch(&some));
            assert_eq!(store.counts().orders, rows + more);
            let expected = answers(&plain).await;
            assert_eq!(answers(&store).await, expected);
            // What one finds on codes the other now finds in files.
            plain.end_of_day(last).await.unwrap();
            assert_eq!(answers(&plain).await, expected);

            let report = store.end_of_day(through).await.unwrap();
            let moved = through.min(rows + more);
            assert_eq!((report.orders.rows, report.orders.through), (moved, moved));
            assert_eq!(answers(&store).await, expected);
            store.end_of_day(u64::MAX).await.unwrap();
            assert_eq!(answers(&store).await, expected);
            assert_eq!(store.counts().spilled_orders, 0);
            assert_eq!(files(&dir.join("recent"), ".parquet"), Vec::<PathBuf>::new());
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_sees_the_rows_of_its_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path()).await;
    let count = "SELECT count(*), max(seq) - min(seq) + 1 FROM orders";
    for round in 0..6 {
        store.append_orders(batch(&orders(round * 3_000 + 1, (round + 1) * 3_000)));
        let spilling = tokio::spawn({
            let store = store.clone();
            async move { store.spill().await.unwrap() }
        });
        let rows = (round + 1) * 3_000;
        for _ in 0..5 {
            let text = lines(&store, count).await;
            assert_eq!(text.lines().nth(1), Some(&*format!("{rows},{rows}")));
        }
        spilling.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_is_kept_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        recent_memory_max: 1 << 20,
        ..StoreOptions::default()
    };
    let store = Store::open(dir.path(), options).await.unwrap();
    for round in 0..20 {
        store.append_orders(batch(&orders(round * 3_000 + 1, (round + 1) * 3_000)));
    }
    for _ in 0..600 {
        if store.counts().recent_bytes <= 1 << 20 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let counts = store.counts();
    assert!(counts.recent_bytes <= 1 << 20, "{counts:?}");
    assert!(counts.recent_orders > 0, "the newest stay: {counts:?}");
    assert_eq!(counts.recent_orders + counts.spilled_orders, 60_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_leaves_nothing_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (lived, died) = (dir.path().join("lived"), dir.path().join("died"));
    let all = orders(1, 5_000);
    let store = small(&lived).await;
    store.append_orders(batch(&all));
    store.spill().await.unwrap();
    let expected = answers(&store).await;
    // As the disk is when the process is killed; half of a file is there too.
    copy(&lived, &died);
    let half = files(&died.join("recent"), ".parquet").remove(0);
    std::fs::write(&half, b"PAR1").unwrap();

    let store = small(&died).await;
    assert_eq!(files(&died.join("recent"), ""), Vec::<PathBuf>::new());
    assert_eq!(store.counts().orders, 0, "the journal brings them");
    store.append_orders(batch(&all));
    store.spill().await.unwrap();
    assert_eq!(answers(&store).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_and_a_restart_makes_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let all = orders(1, 5_000);
    let store = small(dir.path()).await;
    store.append_orders(batch(&all));
    store.spill().await.unwrap();
    let expected = answers(&store).await;
    for missing in [false, true] {
        let file = files(&dir.path().join("recent"), ".parquet").remove(0);
        if missing {
            std::fs::remove_file(&file).unwrap();
        } else {
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes.truncate(middle);
            std::fs::write(&file, bytes).unwrap();
        }
        let failed = query(&store, "SELECT max(order_id) FROM orders", Format::Csv).await;
        let error = failed.unwrap_err().to_string();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name) && error.contains("restart"), "{error}");
        let error = store.end_of_day(5_000).await.unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert_eq!(store.counts().orders, 5_000);
    }
    drop(store);
    let store = small(dir.path()).await;
    store.append_orders(batch(&all));
    store.spill().await.unwrap();
    assert_eq!(answers(&store).await, expected);
    store.end_of_day(5_000).await.unwrap();
    assert_eq!(answers(&store).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_codes_wherever_the_other_rows_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path()).await;
    store.append_orders(batch(&orders(1, 2_500)));
    store.end_of_day(2_000).await.unwrap();
    store.append_orders(batch(&orders(2_501, 5_000)));
    store.spill().await.unwrap();
    // Enough for a second thread.
    store.append_orders(batch(&orders(5_001, 300_000)));
    let sql = "SELECT sym, count(*) AS n, sum(seq) AS s FROM orders GROUP BY sym ORDER BY sym";
    let plan = lines(&store, &format!("EXPLAIN {sql}")).await;
    assert!(plan.contains("groups by the codes of [Sym]"), "{plan}");
    let of = |sym: u64| (1..=300_000_u64).filter(move |seq| seq % 7 == sym);
    let expected: String = (0..7)
        .map(|sym| format!("SYM{sym},{},{}\n", of(sym).count(), of(sym).sum::<u64>()))
        .collect();
    assert_eq!(lines(&store, sql).await, format!("sym,n,s\n{expected}"));
    // No query keeps what it read.
    store.end_of_day(u64::MAX).await.unwrap();
    assert_eq!(files(&dir.path().join("recent"), ""), Vec::<PathBuf>::new());
}
