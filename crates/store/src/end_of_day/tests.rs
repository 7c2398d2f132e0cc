//! Crashes in the middle of an end of day.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;

use super::{Stop, Table};
use crate::{Store, StoreOptions};

#[path = "../../tests/common/mod.rs"]
mod common;
use common::{batch, dump, hit, letter, open, order};

const ROWS: u64 = 60;
const THROUGH: u64 = 45;

/// What a replay of the journal appends; every tenth number is a dead letter.
fn append_all(store: &Store, upto: u64) {
    for bucket in (1..=upto).step_by(10) {
        let orders: Vec<_> = (bucket..bucket + 9)
            .map(|seq| order(seq, (seq % 2) as i64))
            .collect();
        store.append_orders(batch(&orders));
        let hits: Vec<_> = orders.into_iter().step_by(2).map(hit).collect();
        store.append_hits(&hits);
        let received = order(bucket, 0).time;
        store.append_dead_letters(bucket + 9, received, &[letter(bucket)]);
    }
}

async fn undisturbed(dir: &Path) -> String {
    let store = open(dir).await;
    append_all(&store, ROWS);
    let plain = dump(&store).await;
    store.end_of_day(THROUGH).await.unwrap();
    assert_eq!(dump(&store).await, plain);
    plain
}

#[tokio::test]
async fn a_crash_anywhere_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let expected = undisturbed(&dir.path().join("undisturbed")).await;
    for table in Table::ALL {
        for stop in [Stop::AfterFiles(table), Stop::AfterCommit(table)] {
            let dir = dir.path().join(format!("{stop:?}"));
            let store = open(&dir).await;
            append_all(&store, 50);
            let before = dump(&store).await;
            store.end_of_day_until(THROUGH, stop).await.unwrap_err();
            assert_eq!(
                dump(&store).await,
                before,
                "{stop:?}: queries saw half of it"
            );
            drop(store);

            let store = open(&dir).await;
            let marks = store.high_water();
            append_all(&store, ROWS);
            assert_eq!(dump(&store).await, expected, "{stop:?} {marks:?}");
            store.end_of_day(THROUGH).await.unwrap();
            assert_eq!(dump(&store).await, expected, "{stop:?} finished");
            let again = store.end_of_day(THROUGH).await.unwrap();
            assert_eq!(
                again.orders.rows + again.hits.rows + again.dead_letters.rows,
                0
            );
            assert_eq!(store.high_water().orders, THROUGH);
            drop(store);

            let store = open(&dir).await;
            append_all(&store, ROWS);
            assert_eq!(dump(&store).await, expected, "{stop:?} reopened");
        }
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_finished_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let expected = undisturbed(&dir.path().join("undisturbed")).await;
    for table in Table::ALL {
        let dir = dir.path().join(table.name());
        let store = open(&dir).await;
        append_all(&store, 50);
        store
            .end_of_day_until(THROUGH, Stop::AfterCommit(table))
            .await
            .unwrap_err();
        append_all_after(&store, 50);
        assert_eq!(dump(&store).await, expected);
        store.end_of_day(ROWS).await.unwrap();
        assert_eq!(dump(&store).await, expected);
        assert_eq!(store.counts().recent_orders, 0);
        assert_eq!(store.counts().orders, 54);
    }
}

fn append_all_after(store: &Store, after: u64) {
    let orders: Vec<_> = (after + 1..after + 10)
        .map(|seq| order(seq, (seq % 2) as i64))
        .collect();
    store.append_orders(batch(&orders));
    let hits: Vec<_> = orders.into_iter().step_by(2).map(hit).collect();
    store.append_hits(&hits);
    store.append_dead_letters(after + 10, order(after + 1, 0).time, &[letter(after + 1)]);
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let store = Store::open_read_only(&missing, StoreOptions::default())
        .await
        .unwrap();
    append_all(&store, 20);
    store.end_of_day(20).await.unwrap_err();
    assert_eq!(store.counts().orders, 18);
    assert!(!missing.exists());
}
