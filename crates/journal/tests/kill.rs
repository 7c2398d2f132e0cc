//! A small journal is cut at every byte, every byte of it is flipped, and segments of arbitrary
//! bytes are opened: what comes back is exactly what was appended, or the damage is named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tapewatch_journal::{FsyncPolicy, Journal, OpenError, Options, ReadError, Reader};

/// One frame: first sequence number, payload.
type Frame = (u64, Vec<u8>);

/// A journal of two segments; the frames of the last segment with their offsets and its length.
struct Small {
    dir: tempfile::TempDir,
    frames: Vec<Frame>,
    last: PathBuf,
    bytes: Vec<u8>,
    /// Where each frame of the last segment begins; frames before it are in the first segment.
    offsets: Vec<usize>,
    in_first: usize,
}

/// In memory where the system has such a place: these tests look at bytes, not at disks.
fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn options() -> Options {
    Options {
        segment_bytes_max: 340,
        fsync: FsyncPolicy::Always,
        ..Options::default()
    }
}

fn small() -> Small {
    let dir = tempdir();
    let (mut journal, _) = Journal::open(dir.path(), options()).unwrap();
    let mut frames = Vec::new();
    let mut offsets = Vec::new();
    let mut in_first = 0;
    // Three groups of one frame, then a group of four frames: all of it in the last segment.
    for group in [&[200_usize][..], &[30], &[0], &[12, 5, 0, 20]] {
        let before = journal.segments();
        let payloads: Vec<Vec<u8>> = group
            .iter()
            .map(|bytes| (0..*bytes).map(|at| (at * 7 + 3) as u8).collect())
            .collect();
        for payload in payloads {
            frames.push((journal.append(5, 2, 9, &payload).unwrap(), payload));
        }
        journal.commit().unwrap();
        if journal.segments() > before {
            in_first = frames.len() - group.len();
        }
    }
    assert_eq!(journal.segments(), 2);
    drop(journal);
    let last = dir.path().join(format!("{:020}.seg", frames[in_first].0));
    let bytes = fs::read(&last).unwrap();
    let mut at = 32;
    for (_, payload) in &frames[in_first..] {
        offsets.push(at);
        at += 40 + payload.len();
    }
    assert_eq!(at, bytes.len());
    Small {
        dir,
        frames,
        last,
        bytes,
        offsets,
        in_first,
    }
}

impl Small {
    /// Puts `bytes` in place of the last segment, in a directory of its own.
    fn with_last(&self, bytes: &[u8]) -> tempfile::TempDir {
        let dir = tempdir();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let from = entry.unwrap().path();
            if from.extension().is_some_and(|extension| extension == "seg") {
                fs::copy(&from, dir.path().join(from.file_name().unwrap())).unwrap();
            }
        }
        fs::write(dir.path().join(self.last.file_name().unwrap()), bytes).unwrap();
        dir
    }

    /// How many frames lie wholly before `offset` of the last segment.
    fn before(&self, offset: usize) -> usize {
        let whole = self.offsets.iter().zip(&self.frames[self.in_first..]);
        self.in_first
            + whole
                .take_while(|(at, frame)| *at + 40 + frame.1.len() <= offset)
                .count()
    }
}

/// Every frame up to the end or the first error.
fn read(dir: &Path) -> (Vec<Frame>, Option<ReadError>) {
    let mut reader = match Reader::open(dir, 1) {
        Ok(reader) => reader,
        Err(error) => return (vec![], Some(error)),
    };
    let mut frames = Vec::new();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push((frame.seq, frame.payload.to_vec())),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

#[test]
fn a_cut_at_any_byte_loses_only_what_is_behind_it() {
    let small = small();
    for cut in 0..=small.bytes.len() {
        let dir = small.with_last(&small.bytes[..cut]);
        let whole = small.before(cut);
        let (seen, error) = read(dir.path());
        assert!(
            error.is_none(),
            "a reader takes a cut at {cut} for a writer at work: {error:?}"
        );
        assert_eq!(seen, small.frames[..whole]);

        let (journal, recovery) = Journal::open(dir.path(), options()).unwrap();
        let at_border = cut == 32 || small.offsets.contains(&cut) || cut == small.bytes.len();
        assert_eq!(
            recovery.torn.is_none(),
            at_border,
            "cut at {cut}: {recovery}"
        );
        if let Some(torn) = &recovery.torn {
            assert_eq!(
                fs::read(&torn.saved_to).unwrap(),
                &small.bytes[torn.offset as usize..cut]
            );
            assert_eq!(torn.bytes as usize, cut - torn.offset as usize);
            assert!(
                recovery.to_string().contains("cut a torn tail"),
                "{recovery}"
            );
        }
        drop(journal);
        assert_eq!(read(dir.path()).0, small.frames[..whole], "cut at {cut}");
        // The journal goes on where it was cut, and the next start finds nothing torn.
        let (mut journal, again) = Journal::open(dir.path(), options()).unwrap();
        assert_eq!((again.torn, again.next_seq), (None, recovery.next_seq));
        journal.append(1, 1, 1, b"after").unwrap();
        journal.commit().unwrap();
        assert_eq!(
            read(dir.path()).0.last(),
            Some(&(recovery.next_seq, b"after".to_vec()))
        );
    }
}

#[test]
fn a_flip_at_any_byte_is_damage_or_cuts_the_last_frame() {
    let small = small();
    let last_frame = *small.offsets.last().unwrap();
    for at in 0..small.bytes.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut bytes = small.bytes.clone();
            bytes[at] ^= flip;
            let dir = small.with_last(&bytes);
            let (seen, error) = read(dir.path());
            assert_eq!(
                seen,
                small.frames[..small.before(at.max(32))],
                "no payload is altered, flip at {at}"
            );
            match Journal::open(dir.path(), options()) {
                Ok((_, recovery)) => {
                    assert!(at >= last_frame, "a flip at {at} was cut: {recovery}");
                    assert!(error.is_none());
                    assert_eq!(recovery.torn.unwrap().offset, last_frame as u64);
                    assert_eq!(read(dir.path()).0, small.frames[..small.frames.len() - 1]);
                }
                Err(OpenError::Damaged {
                    segment,
                    offset,
                    seq,
                    reason,
                }) => {
                    assert!(at < last_frame, "flip at {at}: {reason}");
                    let hurt = small.offsets.iter().rposition(|offset| *offset <= at);
                    let expected = hurt.map_or(0, |frame| small.offsets[frame]);
                    let next = small.frames[small.in_first + hurt.unwrap_or(0)].0;
                    assert_eq!(
                        (offset, seq),
                        (expected as u64, next),
                        "flip at {at}: {reason}"
                    );
                    assert_eq!(segment.file_name(), small.last.file_name());
                    assert!(
                        matches!(error, Some(ReadError::Damaged { .. })),
                        "{error:?}"
                    );
                    assert_eq!(
                        fs::read(&segment).unwrap(),
                        bytes,
                        "damage is left as it is"
                    );
                }
                Err(other) => panic!("flip at {at}: {other}"),
            }
        }
    }
}

#[test]
fn damage_in_an_earlier_segment_stops_wherever_it_is() {
    let small = small();
    let first = small.dir.path().join(format!("{:020}.seg", 1));
    let sound = fs::read(&first).unwrap();
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x40;
        fs::write(&first, &bytes).unwrap();
        let error = Journal::open(small.dir.path(), options()).unwrap_err();
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "flip at {at}: {error}"
        );
        fs::write(&first, &sound[..at]).unwrap();
        let error = Journal::open(small.dir.path(), options()).unwrap_err();
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "cut at {at}: {error}"
        );
    }
}

#[test]
fn zeros_behind_the_last_frame_are_a_torn_tail() {
    let small = small();
    for zeros in [1, 39, 40, 41, 5_000] {
        let mut bytes = small.bytes.clone();
        bytes.resize(bytes.len() + zeros, 0);
        let dir = small.with_last(&bytes);
        let (_journal, recovery) = Journal::open(dir.path(), options()).unwrap();
        let torn = recovery.torn.unwrap();
        assert_eq!(
            (torn.offset as usize, torn.bytes as usize),
            (small.bytes.len(), zeros)
        );
        assert_eq!(read(dir.path()).0, small.frames);
    }
    let dir = small.with_last(&[0; 4_096]);
    let (_journal, recovery) = Journal::open(dir.path(), options()).unwrap();
    assert_eq!(
        (recovery.torn.unwrap().offset, recovery.segments),
        (0, 1),
        "a segment that was never begun"
    );
    assert_eq!(read(dir.path()).0, small.frames[..small.in_first]);
}

#[test]
fn the_same_tear_twice_keeps_both_side_files() {
    let small = small();
    let dir = small.with_last(&small.bytes[..small.bytes.len() - 1]);
    let last = dir.path().join(small.last.file_name().unwrap());
    let first = Journal::open(dir.path(), options())
        .unwrap()
        .1
        .torn
        .unwrap();
    fs::write(&last, &small.bytes[..small.bytes.len() - 2]).unwrap();
    let second = Journal::open(dir.path(), options())
        .unwrap()
        .1
        .torn
        .unwrap();
    assert_ne!(first.saved_to, second.saved_to);
    assert!(first.saved_to.exists() && second.saved_to.exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_never_read_as_frames_and_never_panic(
        noise in prop::collection::vec(any::<u8>(), 0..4_000),
        keep in 0_usize..500,
        only in any::<bool>(),
    ) {
        let small = small_once();
        let mut bytes = small.bytes[..keep.min(small.bytes.len())].to_vec();
        if only {
            bytes.clear();
        }
        let kept = small.before(bytes.len());
        bytes.extend_from_slice(&noise);
        let dir = small.with_last(&bytes);
        let (seen, _) = read(dir.path());
        prop_assert!(small.frames.starts_with(&seen));
        match Journal::open(dir.path(), options()) {
            Ok((_, recovery)) => {
                let (seen, error) = read(dir.path());
                prop_assert!(error.is_none());
                prop_assert!(seen.len() >= kept && small.frames.starts_with(&seen), "{recovery}");
            }
            Err(OpenError::Damaged { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// Headers that claim anything at all: memory stays bounded by the file.
    #[test]
    fn a_header_may_claim_any_length(length in any::<u32>(), count in any::<u32>(), seq in any::<u64>()) {
        let small = small_once();
        let mut bytes = small.bytes[..small.offsets[2]].to_vec();
        let mut rest = Vec::new();
        rest.extend_from_slice(&length.to_le_bytes());
        rest.extend_from_slice(&count.to_le_bytes());
        rest.extend_from_slice(&7_u16.to_le_bytes());
        rest.extend_from_slice(&0xF7A3_u16.to_le_bytes());
        rest.extend_from_slice(&seq.to_le_bytes());
        rest.extend_from_slice(&seq.to_le_bytes());
        rest.extend_from_slice(&0_i64.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
        bytes.extend_from_slice(&rest);
        let dir = small.with_last(&bytes);
        let expected = &small.frames[..small.in_first + 2];
        prop_assert!(read(dir.path()).0.starts_with(expected));
        if let Ok((journal, recovery)) = Journal::open(dir.path(), options()) {
            prop_assert!(recovery.frames as usize >= expected.len());
            drop(journal);
            prop_assert!(read(dir.path()).0.starts_with(expected));
        }
    }
}

fn small_once() -> &'static Small {
    static SMALL: std::sync::OnceLock<Small> = std::sync::OnceLock::new();
    SMALL.get_or_init(small)
}
