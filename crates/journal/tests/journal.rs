//! The journal as its callers use it: sequence numbers, limits, the lock, segments, retention.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use tapewatch_journal::{
    AppendError, FRAME_BYTES_LIMIT, FsyncPolicy, GROUP_BYTES_MAX, Journal, OpenError, Options,
    ReadError, Reader, Retention,
};

const SECOND: i64 = 1_000_000_000;

fn options(segment_bytes_max: u64) -> Options {
    Options {
        segment_bytes_max,
        fsync: FsyncPolicy::Os,
        ..Options::default()
    }
}

fn open(dir: &Path, segment_bytes_max: u64) -> Journal {
    Journal::open(dir, options(segment_bytes_max)).unwrap().0
}

/// Ten segments of two frames with two sequence numbers each; frame n has the time n seconds.
fn ten_segments(dir: &Path) -> Journal {
    let mut journal = open(dir, 300);
    for n in 0..20 {
        assert_eq!(
            journal.append(0, 2, n * SECOND, &[n as u8; 90]).unwrap(),
            1 + n as u64 * 2
        );
        journal.commit().unwrap();
    }
    assert_eq!(
        (journal.segments(), journal.bytes()),
        (10, 10 * (32 + 2 * 130))
    );
    journal
}

fn seqs(reader: &mut Reader) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        seqs.push(frame.seq);
    }
    seqs
}

#[test]
fn a_new_journal_is_empty_and_begins_with_seq_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er");
    let (journal, recovery) = Journal::open(&path, Options::default()).unwrap();
    assert_eq!(
        (
            recovery.first_seq,
            recovery.next_seq,
            recovery.frames,
            recovery.segments
        ),
        (1, 1, 0, 1)
    );
    assert_eq!(
        recovery.to_string(),
        "journal: 0 frames in 1 segments, empty, next is seq 1"
    );
    assert_eq!(
        (
            journal.next_seq(),
            journal.durable_seq(),
            journal.first_seq()
        ),
        (1, 0, 1)
    );
    assert_eq!(seqs(&mut journal.reader(1).unwrap()), []);
    assert_eq!(seqs(&mut Reader::open(&path, 0).unwrap()), []);
}

#[test]
fn frames_are_seen_only_after_their_commit_and_stay_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), 1 << 20);
    let mut reader = journal.reader(1).unwrap();
    assert_eq!(journal.append(1, 3, 10, b"abc").unwrap(), 1);
    assert_eq!(journal.append(2, 1, 20, b"").unwrap(), 4);
    assert_eq!((journal.next_seq(), journal.durable_seq()), (5, 0));
    assert_eq!(seqs(&mut reader), []);
    journal.commit().unwrap();
    journal.commit().unwrap();
    assert_eq!((journal.next_seq(), journal.durable_seq()), (5, 4));
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(
        (
            frame.seq,
            frame.count,
            frame.kind,
            frame.time,
            frame.payload
        ),
        (1, 3, 1, 10, &b"abc"[..])
    );
    assert_eq!(seqs(&mut reader), [4]);
    journal.append(9, 9, 9, b"never committed").unwrap();
    drop(journal);
    let (mut journal, recovery) = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!(
        recovery.to_string(),
        "journal: 2 frames in 1 segments, seq 1 to 4"
    );
    assert_eq!(journal.append(1, 1, 1, b"next").unwrap(), 5);
}

#[test]
fn a_reader_begins_with_the_frame_that_holds_the_seq() {
    let dir = tempfile::tempdir().unwrap();
    let journal = ten_segments(dir.path());
    for from in 1..=41 {
        let first = (from - 1) / 2 * 2 + 1;
        let expected: Vec<u64> = (first..=39).step_by(2).collect();
        assert_eq!(
            seqs(&mut journal.reader(from).unwrap()),
            expected,
            "from {from}"
        );
        assert_eq!(
            seqs(&mut Reader::open(dir.path(), from).unwrap()),
            expected,
            "from {from}"
        );
    }
}

#[test]
fn what_cannot_be_appended_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options {
        frame_bytes_max: 10,
        ..options(1 << 20)
    };
    let (mut journal, _) = Journal::open(dir.path(), small).unwrap();
    assert_eq!(journal.append(0, 0, 0, b"x"), Err(AppendError::NoCount));
    assert_eq!(
        journal.append(0, 1, 0, &[0; 11]),
        Err(AppendError::FrameTooLarge { bytes: 11, max: 10 })
    );
    assert_eq!(journal.append(0, 1, 0, &[0; 10]), Ok(1));
    journal.commit().unwrap();
    drop(journal);
    // A lower limit does not make older frames unreadable.
    let (journal, recovery) = Journal::open(
        dir.path(),
        Options {
            frame_bytes_max: 1,
            ..options(99)
        },
    )
    .unwrap();
    assert_eq!((recovery.frames, recovery.torn), (1, None));
    assert_eq!(seqs(&mut journal.reader(1).unwrap()), [1]);
}

#[test]
fn a_group_is_bounded_and_says_to_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), 1 << 20);
    let payload = vec![7; 60 << 20];
    for _ in 0..4 {
        journal.append(0, 1, 0, &payload).unwrap();
    }
    let error = journal.append(0, 1, 0, &payload).unwrap_err();
    assert!(matches!(
        error,
        AppendError::GroupFull {
            max: GROUP_BYTES_MAX,
            ..
        }
    ));
    assert!(
        error.to_string().contains("commit, then append again"),
        "{error}"
    );
    assert_eq!(journal.next_seq(), 5);
    journal.commit().unwrap();
    assert_eq!(journal.append(0, 1, 0, &payload), Ok(5));
    // Frames far larger than the read buffer come back whole.
    let mut reader = Reader::open(dir.path(), 1).unwrap();
    for _ in 0..4 {
        assert!(reader.next_frame().unwrap().unwrap().payload == payload);
    }
}

#[test]
fn the_sequence_numbers_can_be_used_up() {
    let dir = tempfile::tempdir().unwrap();
    // A segment that begins three before the end, with a header and no frame.
    let first_seq = u64::MAX - 3;
    let mut header = Vec::from(*b"TWJRNL\r\n");
    header.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    header.extend_from_slice(&first_seq.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    fs::write(dir.path().join(format!("{first_seq:020}.seg")), header).unwrap();
    let mut journal = open(dir.path(), 1 << 20);
    let error = journal.append(0, 4, 0, b"").unwrap_err();
    assert_eq!(
        error,
        AppendError::SeqOverflow {
            seq: first_seq,
            count: 4
        }
    );
    assert_eq!(journal.append(0, 3, 0, b""), Ok(first_seq));
    journal.commit().unwrap();
    assert_eq!(seqs(&mut journal.reader(first_seq).unwrap()), [first_seq]);
    drop(journal);
    assert_eq!(open(dir.path(), 99).next_seq(), u64::MAX);
}

#[test]
fn options_that_cannot_work_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let zero = Options {
        fsync: FsyncPolicy::Interval(Duration::ZERO),
        ..Options::default()
    };
    let large = Options {
        frame_bytes_max: FRAME_BYTES_LIMIT + 1,
        ..Options::default()
    };
    for options in [zero, large] {
        assert!(matches!(
            Journal::open(dir.path(), options),
            Err(OpenError::Options { .. })
        ));
    }
}

#[test]
fn one_writer_at_a_time_and_readers_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), 99);
    let error = Journal::open(dir.path(), options(99)).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(
        error.to_string().contains(dir.path().to_str().unwrap()),
        "{error}"
    );
    Reader::open(dir.path(), 1).unwrap();
    drop(journal);
    open(dir.path(), 99);
}

#[test]
fn a_missing_segment_or_a_foreign_name_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    drop(ten_segments(dir.path()));
    let (fifth, renamed) = (
        dir.path().join(format!("{:020}.seg", 17)),
        dir.path().join("elsewhere"),
    );
    fs::rename(&fifth, &renamed).unwrap();
    let error = Journal::open(dir.path(), options(300)).unwrap_err();
    let OpenError::Damaged {
        offset,
        seq,
        reason,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (*offset, *seq, reason.as_str()),
        (0, 21, "the segments before it end with seq 16")
    );
    let mut reader = Reader::open(dir.path(), 15).unwrap();
    assert_eq!(reader.next_frame().unwrap().unwrap().seq, 15);
    let error = reader.next_frame().unwrap_err();
    assert!(
        matches!(&error, ReadError::Damaged { seq: 17, .. }),
        "{error}"
    );
    fs::rename(&renamed, &fifth).unwrap();
    fs::copy(&fifth, dir.path().join("00000000000000000099.seg")).unwrap();
    let error = Journal::open(dir.path(), options(300)).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    fs::rename(
        dir.path().join("00000000000000000099.seg"),
        dir.path().join("17.seg"),
    )
    .unwrap();
    let error = Journal::open(dir.path(), options(300))
        .unwrap_err()
        .to_string();
    assert!(error.contains("twenty digits"), "{error}");
}

#[test]
fn retention_by_bytes_deletes_the_oldest_down_to_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = ten_segments(dir.path());
    let keep = Retention {
        bytes_max: Some(1_000),
        age_max: None,
        keep_from_seq: u64::MAX,
    };
    let report = journal.retain(&keep, 0).unwrap();
    assert_eq!(
        (
            report.segments_deleted,
            report.bytes_deleted,
            report.first_seq
        ),
        (7, 7 * 292, 29)
    );
    assert_eq!(
        (journal.segments(), journal.bytes(), journal.first_seq()),
        (3, 3 * 292, 29)
    );
    assert_eq!(journal.retain(&keep, 0).unwrap().segments_deleted, 0);
    let none = Retention {
        bytes_max: Some(0),
        ..keep
    };
    assert_eq!(
        journal.retain(&none, 0).unwrap().segments_deleted,
        2,
        "the active segment stays"
    );
    drop(journal);
    let (mut journal, recovery) = Journal::open(dir.path(), options(300)).unwrap();
    assert_eq!((recovery.first_seq, recovery.next_seq), (37, 41));
    assert_eq!(journal.append(0, 1, 0, b""), Ok(41));
}

#[test]
fn retention_by_age_goes_by_the_newest_frame_of_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = ten_segments(dir.path());
    let keep = Retention {
        bytes_max: None,
        age_max: Some(Duration::from_secs(10)),
        keep_from_seq: u64::MAX,
    };
    // At 15 s the segments whose newest frame is of 1 s and 3 s are older than 10 s, that of 5 s is not.
    assert_eq!(journal.retain(&keep, 15 * SECOND).unwrap().first_seq, 9);
    assert_eq!(journal.retain(&keep, i64::MIN).unwrap().segments_deleted, 0);
    drop(journal);
    let mut journal = open(dir.path(), 300);
    assert_eq!(
        journal.retain(&keep, 16 * SECOND).unwrap().first_seq,
        13,
        "the times are found again on opening"
    );
    assert_eq!(journal.retain(&keep, i64::MAX).unwrap().first_seq, 37);
}

#[test]
fn retention_keeps_what_is_still_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = ten_segments(dir.path());
    let keep = |keep_from_seq| Retention {
        bytes_max: Some(0),
        age_max: Some(Duration::ZERO),
        keep_from_seq,
    };
    assert_eq!(
        journal
            .retain(&Retention::default(), i64::MAX)
            .unwrap()
            .segments_deleted,
        0
    );
    assert_eq!(
        journal.retain(&keep(0), i64::MAX).unwrap().segments_deleted,
        0
    );
    assert_eq!(
        journal.retain(&keep(4), i64::MAX).unwrap().first_seq,
        1,
        "seq 4 is in the first segment"
    );
    assert_eq!(journal.retain(&keep(5), i64::MAX).unwrap().first_seq, 5);
    assert_eq!(journal.retain(&keep(20), i64::MAX).unwrap().first_seq, 17);
}

#[test]
fn a_reader_that_retention_overtook_is_told_where_the_journal_begins() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = ten_segments(dir.path());
    let mut readers = [
        journal.reader(1).unwrap(),
        Reader::open(dir.path(), 1).unwrap(),
    ];
    for reader in &mut readers {
        assert_eq!(reader.next_frame().unwrap().unwrap().seq, 1);
    }
    let keep = Retention {
        bytes_max: Some(1_000),
        age_max: None,
        keep_from_seq: u64::MAX,
    };
    journal.retain(&keep, 0).unwrap();
    for reader in &mut readers {
        // What was open stays readable; then the gap is named, as often as one asks.
        assert_eq!(reader.next_frame().unwrap().unwrap().seq, 3);
        for _ in 0..2 {
            let error = reader.next_frame().unwrap_err();
            assert!(
                matches!(
                    error,
                    ReadError::Gone {
                        first_seq: 29,
                        asked: 5,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }
    assert!(matches!(
        journal.reader(28),
        Err(ReadError::Gone { first_seq: 29, .. })
    ));
    assert!(matches!(
        Reader::open(dir.path(), 28),
        Err(ReadError::Gone { first_seq: 29, .. })
    ));
    assert_eq!(
        journal
            .reader(29)
            .unwrap()
            .next_frame()
            .unwrap()
            .unwrap()
            .seq,
        29
    );
}

#[test]
fn damage_under_a_reader_is_named_and_not_passed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = ten_segments(dir.path());
    let path = dir.path().join(format!("{:020}.seg", 5));
    let mut bytes = fs::read(&path).unwrap();
    bytes[32 + 130 + 77] ^= 4;
    fs::write(&path, bytes).unwrap();
    for mut reader in [
        journal.reader(1).unwrap(),
        Reader::open(dir.path(), 1).unwrap(),
    ] {
        for seq in [1, 3, 5] {
            assert_eq!(reader.next_frame().unwrap().unwrap().seq, seq);
        }
        for _ in 0..2 {
            let error = reader.next_frame().unwrap_err();
            let ReadError::Damaged {
                segment,
                offset,
                seq,
                ..
            } = &error
            else {
                panic!("{error}")
            };
            assert_eq!((segment, *offset, *seq), (&path, 162, 7));
        }
        assert_eq!(reader.next_seq(), 7);
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Reader::open(&dir.path().join("nowhere"), 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("nowhere") && error.contains("check the path"),
        "{error}"
    );
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = Journal::open(&dir.path().join("file"), Options::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("file"), "{error}");
}
