//! The frozen files of format version 1. They were made by a program of its own (Python's `struct`
//! and `zlib.crc32`) from the layout in `src/format.rs`. If one of these tests fails, the code has
//! broken a promise: make a new format version, never a new fixture.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs;
use std::path::PathBuf;

use tapewatch_journal::{FrameRef, FsyncPolicy, Journal, Options, ReadError, Reader, decode_frame};

const FIRST: &str = "00000000000000000001.seg";
const SECOND: &str = "00000000004294967300.seg";

fn fixtures() -> PathBuf {
    PathBuf::from("tests/fixtures/v1")
}

/// (count, kind, time, payload); a group ends where the flag says so.
fn frames() -> Vec<(u32, u16, i64, Vec<u8>, bool)> {
    vec![
        (3, 1, 1_700_000_000_000_000_001, b"first".to_vec(), false),
        (1, 2, -5, vec![], true),
        (u32::MAX, u16::MAX, i64::MAX, (0..=255).collect(), true),
        (
            1,
            3,
            1_700_000_000_000_000_002,
            b"second segment".to_vec(),
            true,
        ),
    ]
}

#[test]
fn the_frozen_files_are_read_byte_for_byte() {
    let mut reader = Reader::open(&fixtures(), 1).unwrap();
    let mut seq = 1;
    for (count, kind, time, payload, _) in frames() {
        let frame = reader.next_frame().unwrap().unwrap();
        let expected = FrameRef {
            seq,
            count,
            kind,
            time,
            payload: &payload,
            bytes: frame.bytes,
        };
        assert_eq!(frame, expected);
        // The same bytes from elsewhere than a file: whole, cut anywhere, one bit off.
        let bytes = frame.bytes;
        assert_eq!(decode_frame(bytes).unwrap(), Some(frame));
        for cut in 0..bytes.len() {
            assert_eq!(decode_frame(&bytes[..cut]).unwrap(), None);
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1;
            assert!(!matches!(decode_frame(&flipped), Ok(Some(_))), "byte {at}");
        }
        seq += u64::from(count);
    }
    assert_eq!(reader.next_frame().unwrap(), None);
}

#[test]
fn writing_the_same_frames_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes_max: 420,
        fsync: FsyncPolicy::Always,
        ..Options::default()
    };
    let (mut journal, _) = Journal::open(dir.path(), options).unwrap();
    for (count, kind, time, payload, commit) in frames() {
        journal.append(kind, count, time, &payload).unwrap();
        if commit {
            journal.commit().unwrap();
        }
    }
    for name in [FIRST, SECOND] {
        let (written, frozen) = (
            fs::read(dir.path().join(name)).unwrap(),
            fs::read(fixtures().join(name)).unwrap(),
        );
        assert_eq!(written, frozen, "{name}");
    }
}

#[test]
fn a_journal_of_the_frozen_files_is_opened_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for name in [FIRST, SECOND] {
        fs::copy(fixtures().join(name), dir.path().join(name)).unwrap();
    }
    let (mut journal, recovery) = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!((recovery.first_seq, recovery.next_seq), (1, 4_294_967_301));
    assert_eq!(
        (recovery.frames, recovery.segments, recovery.torn),
        (4, 2, None)
    );
    assert_eq!(journal.append(0, 1, 0, b"more").unwrap(), 4_294_967_301);
    journal.commit().unwrap();
}

#[test]
fn another_format_version_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(fixtures().join(FIRST)).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    fs::write(dir.path().join(FIRST), &bytes).unwrap();
    let error = Journal::open(dir.path(), Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("format version 2, this program reads version 1"),
        "{error}"
    );
    let error = Reader::open(dir.path(), 1)
        .unwrap()
        .next_frame()
        .unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Version {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        fs::read(dir.path().join(FIRST)).unwrap(),
        bytes,
        "nothing is changed"
    );
}
