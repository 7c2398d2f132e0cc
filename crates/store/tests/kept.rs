//! Keeping the history: compaction, retention, vacuum, versions, damage and its repair.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{batch, dump, hit, letter, lines, open, order, query};
use tapewatch_model::{EventTypes, Order, Time};
use tapewatch_store::{
    Damage, Format, HistoryOptions, ScanRequest, SqlError, Store, StoreOptions, UpkeepReport,
};

/// What a journal would append again.
fn fill(store: &Store, seqs: std::ops::RangeInclusive<u64>) {
    let orders: Vec<Order> = seqs.map(|seq| order(seq, (seq % 2) as i64)).collect();
    let last = orders.last().unwrap().seq;
    store.append_orders(batch(&orders));
    let hits: Vec<_> = orders.into_iter().step_by(5).map(hit).collect();
    store.append_hits(&hits);
    store.append_dead_letters(last + 1, order(1, 4).time, &[letter(last)]);
}

/// Five ends of day of a hundred orders each, on the same two days; each twentieth number is a dead
/// letter's.
async fn filled(store: &Store) {
    for first in (0..5).map(|step| step * 110 + 1) {
        fill(store, first..=first + 99);
        store.end_of_day(first + 109).await.unwrap();
    }
}

fn data_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("_delta_log") {
            found.extend(data_files(&path));
        } else if path.extension().is_some_and(|kind| kind == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn everything() -> ScanRequest {
    ScanRequest {
        from: Time::MIN,
        to: Time::MAX,
        events: EventTypes::ALL,
        syms: Vec::new(),
        details: true,
    }
}

/// All orders as a backtest reads them, which refuses rows that are not in order.
fn scanned(store: &Store) -> Vec<Order> {
    let mut all = Vec::new();
    for mut unit in store.order_scan(&everything()).unwrap().units(3) {
        while let Some(orders) = unit.next_batch().unwrap() {
            all.extend((0..orders.len()).map(|row| orders.order(row).unwrap()));
        }
    }
    all.sort_by_key(|order| order.seq);
    all
}

fn scan_fails(store: &Store) -> bool {
    let Ok(scan) = store.order_scan(&everything()) else {
        return true;
    };
    scan.units(3).into_iter().any(|mut unit| {
        loop {
            match unit.next_batch() {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    })
}

fn options(keep_days: u32, versions_for: Duration) -> StoreOptions {
    StoreOptions {
        history: HistoryOptions {
            keep_days,
            versions_for,
            ..HistoryOptions::default()
        },
        ..StoreOptions::default()
    }
}

#[tokio::test]
async fn small_files_become_few_and_the_rows_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    filled(&store).await;
    let (before, orders, marks) = (dump(&store).await, scanned(&store), store.high_water());
    let report = store.compact().await.unwrap();
    // Of orders and hits two days each, of dead letters one.
    let expected = UpkeepReport {
        compacted: 25,
        into: 5,
        ..UpkeepReport::default()
    };
    assert_eq!(report, expected);
    assert_eq!(dump(&store).await, before);
    assert_eq!((scanned(&store), store.high_water()), (orders, marks));
    assert_eq!(store.compact().await.unwrap(), UpkeepReport::default());
    // Late rows of the same days, and reading it all anew.
    fill(&store, 551..=600);
    store.end_of_day(700).await.unwrap();
    let after = dump(&store).await;
    assert_eq!(store.compact().await.unwrap().into, 5);
    drop(store);
    let store = open(dir.path()).await;
    assert_eq!(dump(&store).await, after);
    assert_eq!(store.check().await.unwrap().damaged, []);
}

#[tokio::test]
async fn an_end_of_day_compacts_a_day_of_many_files_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for seq in 1..=8 {
        store.append_orders(batch(&[order(seq, 0)]));
        store.end_of_day(seq).await.unwrap();
    }
    let versions = store.versions().await.unwrap();
    let operations: Vec<_> = versions.iter().map(|v| v.operation.as_str()).collect();
    assert_eq!(operations.iter().filter(|o| **o == "OPTIMIZE").count(), 1);
    assert_eq!(
        lines(&store, "SELECT count(*) AS n FROM orders").await,
        "n\n8\n"
    );
    let compacted = versions.iter().find(|v| v.operation == "OPTIMIZE").unwrap();
    assert_eq!((compacted.files_removed, compacted.files_added), (8, 1));
}

#[tokio::test]
async fn what_no_version_needs_is_deleted_and_what_one_needs_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    filled(&store).await;
    store.compact().await.unwrap();
    let all = data_files(&dir.path().join("history"));
    assert_eq!(store.vacuum().await.unwrap().deleted, 0);
    assert_eq!(data_files(&dir.path().join("history")), all);
    let before = dump(&store).await;
    drop(store);
    let at_once = options(0, Duration::ZERO);
    let store = Store::open(dir.path(), at_once).await.unwrap();
    std::fs::write(dir.path().join("history/hits/leftover.parquet"), b"PAR1").unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(store.vacuum().await.unwrap().deleted, 26);
    let versions = store.versions().await.unwrap();
    assert_eq!(data_files(&dir.path().join("history")).len(), 5);
    assert_eq!(dump(&store).await, before);
    assert_eq!(store.vacuum().await.unwrap().deleted, 0);
    assert_eq!(
        store.versions().await.unwrap(),
        versions,
        "nothing new, nothing written"
    );
}

#[tokio::test]
async fn days_beyond_the_retention_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options(1, Duration::from_secs(3_600)));
    let store = store.await.unwrap();
    fill(&store, 1..=100);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let now = Time::from_nanos(now.as_nanos() as i64);
    let today: Vec<Order> = (102..=110)
        .map(|seq| Order {
            time: now,
            ..order(seq, 0)
        })
        .collect();
    store.append_orders(batch(&today));
    let marks = store
        .end_of_day(200)
        .await
        .map(|_| store.high_water())
        .unwrap();
    assert_eq!(
        lines(&store, "SELECT count(*) AS n FROM orders").await,
        "n\n9\n"
    );
    let counts = store.counts();
    assert_eq!((counts.orders, counts.hits, counts.alerts), (9, 0, 0));
    drop(store);
    // The marks know what was there: the journal does not bring it back.
    let store = open(dir.path()).await;
    assert_eq!(store.high_water(), marks);
    fill(&store, 1..=100);
    assert_eq!(store.counts().orders, 9);
    let old = lines(&store, "SELECT count(*) AS n FROM orders_as_of(1)").await;
    assert_eq!(old, "n\n109\n");
}

#[tokio::test]
async fn a_question_is_answered_as_the_data_stood() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut answers = Vec::new();
    for first in [1, 111, 221] {
        fill(&store, first..=first + 99);
        store.end_of_day(first + 109).await.unwrap();
        let sums = "SELECT count(*) AS n, sum(seq) AS s, max(time) AS t FROM";
        answers.push(lines(&store, &format!("{sums} orders WHERE sym = 'SYM3'")).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.compact().await.unwrap();
    let versions = store.versions().await.unwrap();
    let writes = versions
        .iter()
        .filter(|v| v.table == "orders" && v.operation == "WRITE");
    let writes: Vec<_> = writes.collect();
    let marks: Vec<_> = writes.iter().map(|v| (v.rows_added, v.through)).collect();
    assert_eq!(
        marks,
        [(100, Some(100)), (100, Some(210)), (100, Some(320))]
    );
    for (version, expected) in writes.iter().zip(&answers) {
        for when in [version.version.to_string(), format!("'{}'", version.time)] {
            let sql = format!(
                "SELECT count(*) AS n, sum(o.seq) AS s, max(o.time) AS t FROM orders_as_of({when}) o WHERE o.sym = 'SYM3'"
            );
            assert_eq!(lines(&store, &sql).await, *expected, "{when}");
        }
    }
    for (sql, expected) in [
        (
            "SELECT * FROM orders_as_of(99)",
            "table orders, as of version 99: its last version is",
        ),
        (
            "SELECT * FROM hits_as_of('2001-01-01')",
            "its first version that is kept is of 20",
        ),
        (
            "SELECT * FROM orders_as_of('yesterday')",
            "takes the number of a version or a time",
        ),
        (
            "SELECT * FROM orders_as_of()",
            "takes the number of a version or a time",
        ),
    ] {
        let error = query(&store, sql, Format::Csv)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{sql}: {error}");
    }
}

#[tokio::test]
async fn checksums_survive_a_checkpoint_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    filled(&store).await;
    drop(store);
    for table in ["orders", "hits", "dead_letters"] {
        let table = dir.path().join("history").join(table);
        let url = url::Url::from_directory_path(table).unwrap();
        let table = deltalake::open_table(url).await.unwrap();
        deltalake::checkpoints::create_checkpoint(&table, None)
            .await
            .unwrap();
    }
    let report = open(dir.path()).await.check().await.unwrap();
    assert_eq!((report.files, report.without_checksum), (25, 0));
    assert_eq!(report.damaged, []);
}

/// A store in memory with all that the journal has.
fn journal(upto: u64) -> Store {
    let store = Store::in_memory(StoreOptions::default()).unwrap();
    for first in (0..5)
        .map(|step| step * 110 + 1)
        .filter(|first| *first <= upto)
    {
        fill(&store, first..=first + 99);
    }
    store
}

#[tokio::test]
async fn every_damaged_file_is_found_and_comes_back_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    filled(&store).await;
    let before = dump(&store).await;
    let files = data_files(&dir.path().join("history"));
    assert_eq!(files.len(), 25);
    let report = store.check().await.unwrap();
    assert_eq!((report.files, report.without_checksum), (25, 0));
    assert_eq!(report.damaged, []);
    // One of each kind, in each table.
    let mut expected = Vec::new();
    for table in ["/orders/", "/hits/", "/dead_letters/"] {
        let of_table = |path: &&PathBuf| path.to_str().unwrap().contains(table);
        let paths: Vec<_> = files.iter().filter(of_table).collect();
        std::fs::remove_file(paths[0]).unwrap();
        let whole = std::fs::read(paths[1]).unwrap();
        std::fs::write(paths[1], &whole[..whole.len() / 2]).unwrap();
        let mut flipped = std::fs::read(paths[2]).unwrap();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        std::fs::write(paths[2], flipped).unwrap();
        for (path, damage) in paths.into_iter().zip([
            Damage::Missing,
            Damage::Size {
                found: whole.len() as u64 / 2,
                wanted: whole.len() as u64,
            },
            Damage::Checksum,
        ]) {
            expected.push((path.display().to_string(), damage));
        }
    }
    let report = store.check().await.unwrap();
    let mut found: Vec<_> = report
        .damaged
        .iter()
        .cloned()
        .map(|f| (f.path, f.damage))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, expected);
    let orders = report
        .damaged
        .iter()
        .find(|file| file.table == "orders")
        .unwrap();
    assert_eq!((orders.rows, orders.seqs.1 - orders.seqs.0), (50, 98));
    assert!(orders.syms.as_ref().unwrap().0.starts_with("SYM"));

    // A query that meets one names it.
    let error = query(&store, "SELECT sum(price) FROM orders", Format::Csv).await;
    let error = error.unwrap_err().to_string();
    assert!(
        expected.iter().any(|(path, _)| error.contains(path)),
        "{error}"
    );

    // The journal lacks the last end of day, which is whole.
    let repairs = store.repair(&report.damaged, &journal(400)).await.unwrap();
    assert!(
        repairs.iter().all(tapewatch_store::Repair::is_done),
        "{repairs:?}"
    );
    assert_eq!(store.check().await.unwrap().damaged, []);
    assert_eq!(dump(&store).await, before);
    drop(store);
    assert_eq!(dump(&open(dir.path()).await).await, before);
}

/// Whichever bit of a data file fell: whatever reads the file says so, and none of it is taken for rows.
#[tokio::test]
async fn a_bit_that_fell_is_never_in_a_row() {
    const OF_ORDERS: [&str; 4] = [
        "SELECT * FROM orders ORDER BY seq",
        "SELECT sym, count(*) AS n, sum(quantity) AS q FROM orders GROUP BY sym ORDER BY sym",
        "SELECT sum(price) AS p FROM orders WHERE trader = 'Trader, 3' AND quantity > 9",
        "SELECT seq, time FROM orders WHERE sym = 'SYM3' AND event_type = 'cancelled'",
    ];
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path()).await;
        fill(&store, 1..=400);
        store.end_of_day(410).await.unwrap();
    }
    for (table, queries) in [
        ("orders", OF_ORDERS.as_slice()),
        ("hits", &["SELECT * FROM hits ORDER BY seq"]),
    ] {
        for path in data_files(&dir.path().join("history").join(table)) {
            let whole = std::fs::read(&path).unwrap();
            // The end of a file says where its columns are: whoever reads that finds it out by himself.
            for part in 0..6 {
                let at = whole.len() * part / 7 + 11;
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << part;
                std::fs::write(&path, flipped).unwrap();
                let store = open(dir.path()).await;
                for sql in queries {
                    let answer = query(&store, sql, Format::Csv).await;
                    let names_it =
                        |error: &SqlError| error.to_string().contains(path.to_str().unwrap());
                    assert!(answer.as_ref().is_err_and(names_it), "{sql}: {answer:?}");
                }
                if table == "orders" {
                    assert!(scan_fails(&store), "byte {at} of {}", path.display());
                }
            }
            std::fs::write(&path, whole).unwrap();
        }
    }
}

#[tokio::test]
async fn what_the_journal_lacks_stays_damaged_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    filled(&store).await;
    let files = data_files(&dir.path().join("history/orders"));
    for path in &files {
        std::fs::write(path, b"").unwrap();
    }
    let damaged = store.check().await.unwrap().damaged;
    assert_eq!(damaged.len(), 10);
    let repairs = store.repair(&damaged, &journal(300)).await.unwrap();
    let rows: Vec<_> = repairs
        .iter()
        .map(|repair| (repair.rows, repair.found))
        .collect();
    assert_eq!(rows, [(250, 150), (250, 150)]);
    assert_eq!(store.check().await.unwrap().damaged, damaged);
}
