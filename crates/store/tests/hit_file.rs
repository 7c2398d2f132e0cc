//! Hits to a file and back, from outside.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::path::Path;

use common::{csv, dump, hit, open, order};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use proptest::prelude::*;
use tapewatch_model::Hit;
use tapewatch_store::{HitFileError, Store};

/// Hits of events from 1 on, `hits_at` of them at each.
fn hits(hits_at: &[usize]) -> Vec<Hit> {
    let events = (1_u64..).zip(hits_at);
    events
        .flat_map(|(seq, &count)| vec![hit(order(seq, 0)); count])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn saved_and_loaded_hits_are_the_same(
        hits_at in proptest::collection::vec(0_usize..4, 1..300),
        moved in 0_u64..300,
        cut in 0_u64..300,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let all = hits(&hits_at);
            let plain = open(&dir.path().join("plain")).await;
            plain.append_hits(&all);
            plain.end_of_day(moved.min(cut)).await.unwrap();
            let expected = dump(&plain).await;
            let (first, last) = (dir.path().join("first"), dir.path().join("last"));
            let saved = plain.save_hits(&first, 0, cut).unwrap() + plain.save_hits(&last, cut, u64::MAX).unwrap();
            drop(plain);
            // Into the same history, as a restart does.
            let store = open(&dir.path().join("plain")).await;
            let loaded = store.load_hits(&first).unwrap() + store.load_hits(&last).unwrap();
            assert_eq!(loaded, saved);
            assert_eq!(dump(&store).await, expected);
            let alerts = all.iter().filter(|hit| hit.alert_hit == 1).count() as u64;
            assert_eq!((store.counts().hits, store.counts().alerts), (all.len() as u64, alerts));
            // What the history has already is not loaded again.
            store.end_of_day(u64::MAX >> 1).await.unwrap();
            assert_eq!(store.load_hits(&first).unwrap() + store.load_hits(&last).unwrap(), 0);
            assert_eq!(dump(&store).await, expected);
        });
    }
}

/// A file as an older version wrote it.
fn without_the_last_column(path: &Path, store: &Store) {
    store.save_hits(path, 0, 10).unwrap();
    let file = std::fs::File::open(path).unwrap();
    let mut reader = ParquetRecordBatchReader::try_new(file, 1_000).unwrap();
    let batch = reader.next().unwrap().unwrap();
    let kept: Vec<usize> = (0..batch.num_columns() - 1).collect();
    let batch = batch.project(&kept).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store")).await;
    store.append_hits(&hits(&[1, 2, 0, 1]));
    let path = dir.path().join("hits");
    assert_eq!(store.save_hits(&path, 1, 3).unwrap(), 2);
    let before = dump(&store).await;
    let Err(error) = store.load_hits(&path) else {
        panic!("loaded twice")
    };
    let order = matches!(
        error,
        HitFileError::Order {
            seq: 2,
            after: 4,
            ..
        }
    );
    assert!(order, "{error:?}");
    assert!(
        error
            .to_string()
            .contains("sequence number 2 comes after 4"),
        "{error}"
    );
    // Hits out of order within a file.
    let wrong = open(&dir.path().join("wrong")).await;
    let mut mixed = hits(&[0, 0, 0, 0, 1, 1]);
    mixed.reverse();
    wrong.append_hits(&mixed);
    wrong.save_hits(&path, 0, 10).unwrap();
    let error = store.load_hits(&path).unwrap_err();
    assert!(
        matches!(
            error,
            HitFileError::Order {
                seq: 5,
                after: 6,
                ..
            }
        ),
        "{error:?}"
    );
    for content in [&b""[..], b"PAR1nonsensePAR1"] {
        std::fs::write(&path, content).unwrap();
        let error = store.load_hits(&path).unwrap_err();
        assert!(matches!(error, HitFileError::Content { .. }), "{error:?}");
    }
    without_the_last_column(&path, &wrong);
    let error = store.load_hits(&path).unwrap_err().to_string();
    assert!(
        error.contains("not those of hits in this version"),
        "{error}"
    );
    let missing = store.load_hits(&dir.path().join("missing")).unwrap_err();
    assert!(matches!(missing, HitFileError::Io { .. }), "{missing:?}");
    assert_eq!(dump(&store).await, before);
    // None is a number of hits too.
    assert_eq!(store.save_hits(&path, 100, 200).unwrap(), 0);
    assert_eq!(store.load_hits(&path).unwrap(), 0);
    assert!(csv(&store, "SELECT count(*) FROM hits").await.contains('4'));
}
