//! Whatever fails wherever: what was acknowledged is what a reopened journal holds.

use std::io::ErrorKind;
use std::sync::Arc;

use proptest::prelude::*;

use super::faulty::{Fault, Faulty, Plan};
use super::{Kept, append, on, options, read_on, reopen, sample, tempdir};
use crate::{CommitError, FsyncPolicy, Journal, Retention};

/// What a run of the script left.
#[derive(Debug)]
struct Outcome {
    acknowledged: Vec<Kept>,
    /// The group of the commit that stopped the journal, if one did.
    unknown: Vec<Kept>,
    stopped: bool,
    refused: usize,
    /// The first sequence number that retention left.
    first_seq: u64,
}

/// Appends and commits groups of the given frame sizes, each tried twice; then lets retention work.
fn run(
    dir: &std::path::Path,
    policy: FsyncPolicy,
    groups: &[Vec<usize>],
    plan: &Arc<Plan>,
) -> Outcome {
    let mut out = Outcome {
        acknowledged: vec![],
        unknown: vec![],
        stopped: false,
        refused: 0,
        first_seq: 1,
    };
    let storage = Arc::new(Faulty(Arc::clone(plan)));
    let Ok((mut journal, _)) = Journal::open(dir, on(storage, options(policy, 600))) else {
        return out;
    };
    let mut reader = journal.reader(1).unwrap();
    let mut seen = Vec::new();
    for (number, group) in (0_u64..).zip(groups) {
        for _attempt in 0..2 {
            let next_seq = journal.next_seq();
            let frames = (0_u64..)
                .zip(group)
                .map(|(at, bytes)| sample(number * 10 + at, *bytes));
            let frames: Result<Vec<_>, _> =
                frames.map(|frame| append(&mut journal, &frame)).collect();
            let Ok(frames) = frames else {
                assert!(out.stopped, "an append is refused only after a stop");
                break;
            };
            match journal.commit() {
                Ok(()) => {
                    out.acknowledged.extend(frames);
                    break;
                }
                Err(CommitError::Refused { first_seq, .. }) => {
                    out.refused += 1;
                    assert_eq!((first_seq, journal.next_seq()), (next_seq, next_seq));
                }
                Err(CommitError::Stopped(stopped)) => {
                    assert_eq!(stopped.seq, next_seq);
                    out.stopped = true;
                    out.unknown = frames;
                    break;
                }
            }
            seen.extend(read_on(&mut reader));
            assert_eq!(seen, out.acknowledged);
        }
        seen.extend(read_on(&mut reader));
        assert_eq!(
            seen, out.acknowledged,
            "a reader sees what is acknowledged, at once and no more"
        );
    }
    let keep_from_seq = journal.durable_seq() / 2;
    let retention = Retention {
        bytes_max: Some(900),
        age_max: None,
        keep_from_seq,
    };
    let _ = journal.retain(&retention, 0);
    out.first_seq = journal.first_seq();
    assert!(out.first_seq <= keep_from_seq.max(1));
    out
}

/// Reopens with sound storage and compares.
fn check(dir: &std::path::Path, out: &Outcome) -> Result<(), TestCaseError> {
    let found = reopen(dir);
    let mut expected = out.acknowledged.clone();
    expected.retain(|frame| frame.seq >= out.first_seq);
    let (sure, rest) = found
        .split_at_checked(expected.len())
        .unwrap_or((&found, &[]));
    prop_assert_eq!(sure, &expected[..], "every acknowledged frame, in order");
    if out.stopped {
        prop_assert!(
            out.unknown.starts_with(rest),
            "{rest:?} is no part of {:?}",
            out.unknown
        );
    } else {
        prop_assert!(rest.is_empty(), "{rest:?} was never acknowledged");
    }
    Ok(())
}

fn script() -> Vec<Vec<usize>> {
    vec![
        vec![10],
        vec![100, 0, 30],
        vec![250],
        vec![200, 200],
        vec![1],
        vec![700],
        vec![5, 5],
        vec![300, 20],
    ]
}

#[test]
fn without_faults_everything_is_acknowledged() {
    for policy in [FsyncPolicy::Always, FsyncPolicy::Os, FsyncPolicy::default()] {
        let dir = tempdir();
        let out = run(dir.path(), policy, &script(), &Plan::new([]));
        assert_eq!(
            (out.stopped, out.refused, out.acknowledged.len()),
            (false, 0, 13)
        );
        assert!(out.first_seq > 1, "the script is long enough for retention");
        check(dir.path(), &out).unwrap();
    }
}

/// Every operation of the script fails once in every way, alone and with the one after it.
#[test]
fn any_single_or_double_fault_anywhere_keeps_the_promise() {
    let full = Fault::Fail(ErrorKind::StorageFull);
    let io = Fault::Fail(ErrorKind::Other);
    let kinds: Vec<Vec<Fault>> = vec![
        vec![full],
        vec![io],
        vec![Fault::Fail(ErrorKind::Interrupted)],
        vec![Fault::Short(0)],
        vec![Fault::Short(1)],
        vec![Fault::Short(45), full],
        vec![Fault::Short(150), io, io],
        vec![full, io],
        vec![full, full, full, full],
        vec![Fault::Die(0)],
        vec![Fault::Die(17)],
        vec![Fault::Die(60)],
        vec![Fault::Die(usize::MAX)],
    ];
    let (mut stops, mut refusals) = (0, 0);
    for policy in [FsyncPolicy::Always, FsyncPolicy::Os] {
        let plan = Plan::new([]);
        run(tempdir().path(), policy, &script(), &plan);
        for at in 0..plan.operations() {
            for faults in &kinds {
                let dir = tempdir();
                let plan = Plan::new(
                    faults
                        .iter()
                        .enumerate()
                        .map(|(after, fault)| (at + after, *fault)),
                );
                let out = run(dir.path(), policy, &script(), &plan);
                stops += usize::from(out.stopped);
                refusals += out.refused;
                check(dir.path(), &out)
                    .unwrap_or_else(|error| panic!("{policy} {at} {faults:?}: {error}"));
            }
        }
    }
    assert!(
        stops > 50 && refusals > 50,
        "{stops} stops and {refusals} refusals: the faults were met"
    );
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::Fail(ErrorKind::StorageFull)),
        2 => Just(Fault::Fail(ErrorKind::Other)),
        2 => (0_usize..400).prop_map(Fault::Short),
        1 => (0_usize..400).prop_map(Fault::Die),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_faults_keep_the_promise(
        always in any::<bool>(),
        groups in prop::collection::vec(prop::collection::vec(0_usize..300, 1..4), 1..12),
        faults in prop::collection::btree_map(0_usize..60, fault(), 0..8),
    ) {
        let dir = tempdir();
        let policy = if always { FsyncPolicy::Always } else { FsyncPolicy::Os };
        let out = run(dir.path(), policy, &groups, &Plan::new(faults));
        check(dir.path(), &out)?;
    }
}

#[test]
fn a_full_disk_is_named_and_the_journal_goes_on_when_there_is_room() {
    let dir = tempdir();
    // The operations before it: four of opening, then two for the first commit.
    let plan = Plan::new(
        (6..10)
            .step_by(3)
            .map(|at| (at, Fault::Fail(ErrorKind::StorageFull))),
    );
    let storage = Arc::new(Faulty(Arc::clone(&plan)));
    let (mut journal, _) =
        Journal::open(dir.path(), on(storage, options(FsyncPolicy::Os, 1 << 20))).unwrap();
    let frame = sample(1, 50);
    let mut errors = Vec::new();
    for _ in 0..6 {
        append(&mut journal, &frame).unwrap();
        if let Err(error) = journal.commit() {
            assert!(error.is_disk_full() && error.is_retryable());
            assert!(error.path().unwrap().ends_with("00000000000000000001.seg"));
            errors.push(error.to_string());
        }
    }
    assert_eq!(errors.len(), 2, "{errors:?}");
    for words in [
        "make room",
        "00000000000000000001.seg",
        "nothing acknowledged is lost",
        "at offset",
    ] {
        assert!(errors[0].contains(words), "{}", errors[0]);
    }
    drop(journal);
    assert_eq!(reopen(dir.path()).len(), 4);
}

#[test]
fn a_sync_under_os_reaches_the_segments_that_are_closed_too() {
    let dir = tempdir();
    let plan = Plan::new([]);
    let storage = Arc::new(Faulty(Arc::clone(&plan)));
    let (mut journal, _) =
        Journal::open(dir.path(), on(storage, options(FsyncPolicy::Os, 200))).unwrap();
    for number in 0..3 {
        append(&mut journal, &sample(number, 150)).unwrap();
        journal.commit().unwrap();
    }
    assert_eq!(journal.segments(), 3);
    plan.synced.lock().unwrap().clear();
    plan.synced_dirs.lock().unwrap().clear();
    journal.sync().unwrap();
    assert_eq!(plan.synced.lock().unwrap().len(), 3);
    assert_eq!(plan.synced_dirs.lock().unwrap().len(), 1);
    journal.sync().unwrap();
    assert_eq!(plan.synced.lock().unwrap().len(), 4, "once is enough");
}

#[test]
fn the_system_may_forget_all_but_the_last_two_segments() {
    let dir = tempdir();
    let plan = Plan::new([]);
    let storage = Arc::new(Faulty(Arc::clone(&plan)));
    let policy = FsyncPolicy::Always;
    let (mut journal, _) = Journal::open(dir.path(), on(storage, options(policy, 200))).unwrap();
    let mut kept = Vec::new();
    let mut names = Vec::new();
    for number in 0..5 {
        let frame = append(&mut journal, &sample(number, 150)).unwrap();
        names.push(format!("{:020}.seg", frame.seq));
        kept.push(frame);
        journal.commit().unwrap();
    }
    let since = std::time::Instant::now();
    let forgotten = || plan.forgotten.lock().unwrap().clone();
    while forgotten().len() < 3 && since.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut forgotten = forgotten();
    forgotten.sort();
    assert_eq!(forgotten, names[..3]);
    drop(journal);
    assert_eq!(reopen(dir.path()), kept);
}

#[test]
fn a_failed_fsync_stops_every_later_call() {
    let dir = tempdir();
    let plan = Plan::new([]);
    let storage = Arc::new(Faulty(Arc::clone(&plan)));
    let (mut journal, _) = Journal::open(
        dir.path(),
        on(storage, options(FsyncPolicy::Always, 1 << 20)),
    )
    .unwrap();
    let kept = append(&mut journal, &sample(1, 50)).unwrap();
    journal.commit().unwrap();
    append(&mut journal, &sample(2, 50)).unwrap();
    plan.syncs_fail
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let error = journal.commit().unwrap_err();
    let stopped_at = format!(
        "the journal stopped at seq {}",
        kept.seq + u64::from(kept.count)
    );
    assert!(error.to_string().starts_with(&stopped_at), "{error}");
    assert!(error.to_string().contains("restart the process"), "{error}");
    assert!(!error.is_disk_full() && !error.is_retryable() && error.path().is_none());
    plan.syncs_fail
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(
        append(&mut journal, &sample(3, 1))
            .unwrap_err()
            .to_string()
            .starts_with(&stopped_at)
    );
    assert!(
        journal
            .commit()
            .unwrap_err()
            .to_string()
            .starts_with(&stopped_at)
    );
    assert!(
        journal
            .sync()
            .unwrap_err()
            .to_string()
            .starts_with(&stopped_at)
    );
    assert!(
        journal
            .retain(&Retention::default(), 0)
            .unwrap_err()
            .to_string()
            .starts_with(&stopped_at)
    );
    assert_eq!(
        read_on(&mut journal.reader(1).unwrap()),
        std::slice::from_ref(&kept)
    );
    drop(journal);
    assert_eq!(reopen(dir.path()), [kept]);
}
