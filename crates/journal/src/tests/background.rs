//! The policy `interval`: the thread syncs in time, and its failure is not forgotten.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::faulty::{Faulty, Plan};
use super::{append, on, options, read_on, reopen, sample, tempdir};
use crate::{AppendError, FsyncPolicy, Journal};

fn open(dir: &std::path::Path, every: Duration, plan: &Arc<Plan>) -> Journal {
    let storage = Arc::new(Faulty(Arc::clone(plan)));
    Journal::open(
        dir,
        on(storage, options(FsyncPolicy::Interval(every), 2_000)),
    )
    .unwrap()
    .0
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{what} did not happen"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn committed_frames_become_stable_by_themselves() {
    let dir = tempdir();
    let mut journal = open(dir.path(), Duration::from_millis(2), &Plan::new([]));
    for n in 0..50 {
        append(&mut journal, &sample(n, 100)).unwrap();
        journal.commit().unwrap();
    }
    let next_seq = journal.next_seq();
    wait_for("the sync", || {
        journal.flusher.as_ref().unwrap().stable() == next_seq
    });
}

#[test]
fn sync_and_drop_do_not_wait_for_the_interval() {
    let dir = tempdir();
    let plan = Plan::new([]);
    let mut journal = open(dir.path(), Duration::from_secs(3_600), &plan);
    append(&mut journal, &sample(1, 100)).unwrap();
    journal.commit().unwrap();
    assert_eq!(journal.flusher.as_ref().unwrap().stable(), 1);
    journal.sync().unwrap();
    assert_eq!(
        journal.flusher.as_ref().unwrap().stable(),
        journal.next_seq()
    );
    append(&mut journal, &sample(2, 100)).unwrap();
    journal.commit().unwrap();
    let before = plan.operations();
    drop(journal);
    assert_eq!(plan.operations(), before + 1, "one last sync");
}

#[test]
fn a_failed_background_sync_stops_the_journal_and_says_what_is_at_risk() {
    let dir = tempdir();
    let plan = Plan::new([]);
    let mut journal = open(dir.path(), Duration::from_millis(1), &plan);
    let first = append(&mut journal, &sample(0, 10)).unwrap();
    journal.commit().unwrap();
    wait_for("the sync", || {
        journal.flusher.as_ref().unwrap().stable() == 2
    });
    plan.syncs_fail.store(true, Ordering::SeqCst);
    let second = append(&mut journal, &sample(1, 10)).unwrap();
    journal.commit().unwrap();
    wait_for("the failure", || {
        journal.flusher.as_ref().unwrap().failure().is_some()
    });
    let AppendError::Stopped(stopped) = append(&mut journal, &sample(2, 10)).unwrap_err() else {
        panic!("an append after a failed sync");
    };
    assert_eq!(stopped.seq, 4);
    assert!(
        stopped.reason.contains("seq 2 to 3 were acknowledged"),
        "{stopped}"
    );
    assert_eq!(
        journal.commit().unwrap_err().to_string(),
        stopped.to_string()
    );
    assert_eq!(
        read_on(&mut journal.reader(1).unwrap()),
        [first.clone(), second.clone()]
    );
    drop(journal);
    assert_eq!(reopen(dir.path()), [first, second]);
}

#[test]
fn a_failed_sync_before_a_new_segment_stops_the_journal() {
    let dir = tempdir();
    let plan = Plan::new([]);
    let mut journal = open(dir.path(), Duration::from_secs(3_600), &plan);
    let kept = append(&mut journal, &sample(0, 1_900)).unwrap();
    journal.commit().unwrap();
    plan.syncs_fail.store(true, Ordering::SeqCst);
    append(&mut journal, &sample(1, 1_900)).unwrap();
    let error = journal.commit().unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(
        error.to_string().contains("00000000000000000001.seg"),
        "{error}"
    );
    drop(journal);
    assert_eq!(reopen(dir.path()), [kept]);
}

/// What was handed over before a new segment began must not be taken for the new segment's sync.
#[test]
fn after_a_new_segment_began_the_thread_syncs_that_one() {
    let dir = tempdir();
    let plan = Plan::new([]);
    let mut journal = open(dir.path(), Duration::from_secs(3_600), &plan);
    for n in 0..2 {
        append(&mut journal, &sample(n, 1_900)).unwrap();
        journal.commit().unwrap();
    }
    assert_eq!(
        journal.flusher.as_ref().unwrap().stable(),
        2,
        "the first segment is synced"
    );
    drop(journal);
    let [first, second] = ["00000000000000000001.seg", "00000000000000000002.seg"];
    // Opening, closing the first segment, the header of the second, and dropping.
    assert_eq!(*plan.synced.lock().unwrap(), [first, first, second, second]);
}

#[test]
fn a_new_directory_is_synced_into_its_parents() {
    let dir = tempdir();
    let plan = Plan::new([]);
    let deep = dir.path().join("new/deep");
    drop(open(&deep, Duration::from_millis(1), &plan));
    let synced = plan.synced_dirs.lock().unwrap();
    assert_eq!(
        *synced,
        [dir.path().join("new"), dir.path().to_owned(), deep]
    );
}
