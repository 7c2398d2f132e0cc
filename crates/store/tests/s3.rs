//! The history on S3: a real server, and a proxy before it that spoils requests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;
#[path = "common/s3.rs"]
mod s3;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{batch, dump, hit, letter, lines, open, order, query};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode};
use s3::{LOST_ANSWER, S3, SLOW_DOWN};
use tapewatch_model::{EventTypes, Order, Time};
use tapewatch_store::{Damage, Format, ScanRequest, Store};

fn fill(store: &Store, seqs: std::ops::RangeInclusive<u64>) {
    let orders: Vec<Order> = seqs.map(|seq| order(seq, (seq % 2) as i64)).collect();
    let last = orders.last().unwrap().seq;
    store.append_orders(batch(&orders));
    let hits: Vec<_> = orders.into_iter().step_by(5).map(hit).collect();
    store.append_hits(&hits);
    store.append_dead_letters(last + 1, order(1, 4).time, &[letter(last)]);
}

/// The bucket without the proxy's faults or the store.
fn bucket(s3: &S3) -> impl ObjectStore {
    AmazonS3Builder::new()
        .with_bucket_name("history")
        .with_endpoint(format!("http://127.0.0.1:{}", s3.port))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_access_key_id("tester")
        .with_secret_access_key("tester")
        .build()
        .unwrap()
}

/// Sequence numbers of all orders, as a backtest reads them.
fn scanned(store: &Store) -> BTreeSet<(u64, String)> {
    let request = ScanRequest {
        from: Time::MIN,
        to: Time::MAX,
        events: EventTypes::ALL,
        syms: Vec::new(),
        details: true,
    };
    let mut all = BTreeSet::new();
    for mut unit in store.order_scan(&request).unwrap().units(2) {
        while let Some(orders) = unit.next_batch().unwrap() {
            let orders = (0..orders.len()).map(|row| orders.order(row).unwrap());
            all.extend(orders.map(|order| (order.seq, format!("{order:?}"))));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_directory_can_a_bucket_can() {
    let (s3, dir) = (S3::start().await, tempfile::tempdir().unwrap());
    let options = s3.options(dir.path(), "whole/history");
    let store = Store::open(dir.path(), options.clone()).await.unwrap();
    let local = open(&dir.path().join("local")).await;
    for first in [1, 111, 221] {
        for store in [&store, &local] {
            fill(store, first..=first + 99);
            let report = store.end_of_day(first + 109).await.unwrap();
            assert_eq!((report.orders.rows, report.orders.files), (100, 2));
        }
    }
    let expected = dump(&local).await;
    assert_eq!(dump(&store).await, expected);
    assert_eq!(scanned(&store), scanned(&local));
    assert!(
        !dir.path().join("history").exists(),
        "nothing is written beside the bucket"
    );
    assert_eq!(
        store.compact().await.unwrap(),
        local.compact().await.unwrap()
    );
    let versions = |versions: Vec<tapewatch_store::TableVersion>| {
        versions
            .into_iter()
            .map(|v| (v.table, v.version, v.operation, v.through))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        versions(store.versions().await.unwrap()),
        versions(local.versions().await.unwrap())
    );
    assert_eq!(
        lines(&store, "SELECT count(*) AS n FROM orders_as_of(2)").await,
        "n\n200\n"
    );
    drop(store);
    let store = Store::open(dir.path(), options).await.unwrap();
    assert_eq!(
        (dump(&store).await, scanned(&store)),
        (expected, scanned(&local))
    );
    // One object less, one spoiled.
    let bucket = bucket(&s3);
    let prefix = ObjectPath::from("whole/history/orders/date=2024-01-05");
    let files = bucket
        .list_with_delimiter(Some(&prefix))
        .await
        .unwrap()
        .objects;
    let report = store.check().await.unwrap();
    assert_eq!((report.files, report.damaged), (5, Vec::new()));
    for file in &files {
        bucket
            .put(&file.location, vec![7; file.size as usize].into())
            .await
            .unwrap();
    }
    let damaged = store.check().await.unwrap().damaged;
    let told: Vec<_> = damaged
        .iter()
        .map(|file| (file.rows, &file.damage))
        .collect();
    assert_eq!(told, [(150, &Damage::Checksum)]);
    assert!(
        damaged[0]
            .path
            .starts_with("s3://history/whole/history/orders/date=2024-01-05/")
    );
    let error = query(&store, "SELECT sum(price) FROM orders", Format::Csv).await;
    assert!(error.unwrap_err().to_string().contains(&damaged[0].path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_one_wins_and_no_row_comes_twice() {
    let (s3, dir) = (S3::start().await, tempfile::tempdir().unwrap());
    // The server really has conditional puts.
    let bucket = bucket(&s3);
    let key = ObjectPath::from("race");
    let put = |n: u8| bucket.put_opts(&key, vec![n].into(), PutMode::Create.into());
    let results = futures::future::join_all((0..8).map(put)).await;
    let won = results.iter().filter(|result| result.is_ok()).count();
    let lost = |result: &Result<_, object_store::Error>| {
        matches!(result, Err(object_store::Error::AlreadyExists { .. }))
    };
    assert_eq!(
        (won, results.iter().filter(|result| lost(result)).count()),
        (1, 7)
    );

    let options = s3.options(dir.path(), "race");
    let plain = open(&dir.path().join("plain")).await;
    for (round, first) in (0..3).map(|round| (round, round * 310 + 1)) {
        let (a, b) = tokio::join!(
            Store::open(dir.path(), options.clone()),
            Store::open(dir.path(), options.clone())
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        for store in [&a, &b, &plain] {
            fill(store, first..=first + 299);
        }
        let through = first + 309;
        let (moved, other) = tokio::join!(a.end_of_day(through), b.end_of_day(through));
        let (moved, other) = (moved.unwrap(), other.unwrap());
        assert_eq!(moved.orders.rows + other.orders.rows, 300, "round {round}");
        assert_eq!(moved.hits.rows + other.hits.rows, 60, "round {round}");
        let expected = dump(&plain).await;
        assert_eq!(dump(&b).await, expected);
        assert_eq!(dump(&a).await, expected);
        assert_eq!(b.check().await.unwrap().damaged, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_throttles_fails_cuts_and_is_slow_loses_nothing() {
    let (s3, dir) = (S3::start().await, tempfile::tempdir().unwrap());
    let seed = std::env::var("TAPEWATCH_SEED").map_or(20_240_105, |seed| seed.parse().unwrap());
    for (seed, percent, only) in [
        (seed, 20, 0),
        (seed + 1, 40, 0),
        (seed + 2, 25, LOST_ANSWER),
    ] {
        println!("TAPEWATCH_SEED={seed} {percent} % faults, kind {only}");
        let options = s3.options(dir.path(), &format!("faults-{seed}"));
        let store = Store::open(dir.path(), options.clone()).await.unwrap();
        let plain = open(&dir.path().join(seed.to_string())).await;
        s3.faults.set(seed, percent, only);
        let mut failed = 0;
        for first in (0..4).map(|round| round * 110 + 1) {
            fill(&store, first..=first + 99);
            fill(&plain, first..=first + 99);
            // One that cannot finish leaves the rest to the next.
            failed += u64::from(store.end_of_day(first + 109).await.is_err());
        }
        let spoiled = s3.faults.spoiled.swap(0, Ordering::SeqCst);
        s3.faults.set(0, 0, 0);
        println!("{spoiled} requests were spoiled, {failed} of 4 ends of day did not finish");
        assert!(spoiled > 20, "the proxy spoiled only {spoiled} requests");
        let expected = dump(&plain).await;
        assert_eq!(dump(&store).await, expected, "seed {seed}");
        store.end_of_day(1_000).await.unwrap();
        assert_eq!(dump(&store).await, expected, "seed {seed}");
        let again = Store::open(dir.path(), options).await.unwrap();
        assert_eq!(dump(&again).await, expected, "seed {seed}");
        assert_eq!(again.check().await.unwrap().damaged, [], "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_have_a_limit() {
    let (s3, dir) = (S3::start().await, tempfile::tempdir().unwrap());
    let store = Store::open(dir.path(), s3.options(dir.path(), "down"))
        .await
        .unwrap();
    fill(&store, 1..=100);
    let before = dump(&store).await;
    s3.faults.set(1, 100, SLOW_DOWN);
    let begun = Instant::now();
    let error = store.end_of_day(200).await.unwrap_err().to_string();
    assert!(
        begun.elapsed() < Duration::from_secs(90),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        error.contains("its rows stay in memory") && error.contains("s3://history/down"),
        "{error}"
    );
    assert_eq!(dump(&store).await, before);
    s3.faults.set(1, 0, 0);
    assert_eq!(store.end_of_day(200).await.unwrap().orders.rows, 100);
    assert_eq!(dump(&store).await, before);
}
