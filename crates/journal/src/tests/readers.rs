//! Readers beside a writer: they follow it over segments and never see what it takes back.

use std::io::ErrorKind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::faulty::{Fault, Faulty, Plan};
use super::{append, on, options, read_on, sample, tempdir};
use crate::format::{FrameHeader, encode_frame, encode_segment_header};
use crate::{FsyncPolicy, Journal, ReadError, Reader};

/// The buffer of a reader has seen bytes of a group that was then taken back and written anew.
#[test]
fn bytes_that_were_read_before_their_commit_are_read_again() {
    let dir = tempdir();
    // Operations 0 to 3 open it, 4 is the first commit, 5 the second; 6 takes that back.
    let plan = Plan::new([
        (5, Fault::Short(120)),
        (6, Fault::Fail(ErrorKind::StorageFull)),
    ]);
    let storage = Arc::new(Faulty(Arc::clone(&plan)));
    let (mut journal, _) =
        Journal::open(dir.path(), on(storage, options(FsyncPolicy::Os, 1 << 20))).unwrap();
    let mut reader = journal.reader(1).unwrap();
    let first = append(&mut journal, &sample(1, 60)).unwrap();
    journal.commit().unwrap();
    // The next group is on disk, but not committed, when the reader fills its buffer.
    let path = dir.path().join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let sound = bytes.len();
    let (seq, time) = (journal.next_seq(), 0);
    let early = FrameHeader {
        crc: 0,
        length: 0,
        count: 1,
        kind: 0,
        seq,
        stable: 1,
        time,
    };
    encode_frame(&mut bytes, &early, b"sound, but never acknowledged");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read_on(&mut reader), [first]);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(sound as u64)
        .unwrap();
    append(&mut journal, &sample(2, 200)).unwrap();
    assert!(journal.commit().unwrap_err().is_disk_full());
    assert_eq!(read_on(&mut reader), []);
    let second = append(&mut journal, &sample(3, 90)).unwrap();
    journal.commit().unwrap();
    assert_eq!(read_on(&mut reader), [second]);
}

#[test]
fn readers_inside_and_outside_follow_a_writer_over_many_segments() {
    const FRAMES: u64 = 3_000;
    let dir = tempdir();
    let policy = FsyncPolicy::Interval(Duration::from_millis(1));
    let (mut journal, _) = Journal::open(dir.path(), options(policy, 20_000)).unwrap();
    let readers = [
        journal.reader(1).unwrap(),
        Reader::open(dir.path(), 1).unwrap(),
    ];
    let readers = readers.map(|mut reader| {
        thread::spawn(move || {
            let mut frames = Vec::new();
            while (frames.len() as u64) < FRAMES {
                frames.extend(read_on(&mut reader));
                thread::yield_now();
            }
            frames
        })
    });
    let mut written = Vec::new();
    for n in 0..FRAMES {
        written.push(append(&mut journal, &sample(n, (n % 400) as usize)).unwrap());
        if n % 7 == 6 || n + 1 == FRAMES {
            journal.commit().unwrap();
        }
    }
    assert!(journal.segments() > 20);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), written);
    }
}

#[test]
fn a_reader_that_waits_beyond_the_end_begins_there() {
    let dir = tempdir();
    let (mut journal, _) = Journal::open(dir.path(), options(FsyncPolicy::Os, 500)).unwrap();
    let mut inside = journal.reader(40).unwrap();
    let mut outside = Reader::open(dir.path(), 40).unwrap();
    let mut expected = Vec::new();
    for n in 0..60 {
        let frame = append(&mut journal, &sample(n, 50)).unwrap();
        journal.commit().unwrap();
        if frame.seq + u64::from(frame.count) > 40 {
            expected.push(frame);
        } else {
            assert_eq!(read_on(&mut inside), []);
            assert_eq!(read_on(&mut outside), []);
        }
    }
    assert!(expected.len() > 20);
    assert_eq!(read_on(&mut inside), expected);
    assert_eq!(read_on(&mut outside), expected);
    assert_eq!(inside.next_seq(), journal.next_seq());
}

#[test]
fn a_gap_behind_a_segment_without_frames_is_damage() {
    let dir = tempdir();
    for first_seq in [5, 7] {
        let path = dir.path().join(format!("{first_seq:020}.seg"));
        std::fs::write(path, encode_segment_header(first_seq)).unwrap();
    }
    let error = Reader::open(dir.path(), 5)
        .unwrap()
        .next_frame()
        .unwrap_err();
    assert!(
        matches!(error, ReadError::Damaged { seq: 5, .. }),
        "{error}"
    );
}

/// What lies before the wanted frame is passed over by its headers: however large, and unread.
#[test]
fn frames_before_the_wanted_one_are_not_read() {
    let dir = tempdir();
    let mut frames = Vec::new();
    {
        let (mut journal, _) =
            Journal::open(dir.path(), options(FsyncPolicy::Os, 1 << 30)).unwrap();
        for (at, bytes) in (0_u64..).zip([60, 10_000, 3_000_000, 1, 5_000, 700_000, 40]) {
            frames.push(append(&mut journal, &sample(at, bytes)).unwrap());
        }
        journal.commit().unwrap();
    }
    let path = dir.path().join("00000000000000000001.seg");
    let from = |seq| read_on(&mut Reader::open(dir.path(), seq).unwrap());
    for (at, frame) in frames.iter().enumerate() {
        assert_eq!(from(frame.seq), frames[at..]);
    }
    // A byte in the middle of the largest one matters to those alone who want it.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_000_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(from(frames[3].seq), frames[3..]);
    let mut reader = Reader::open(dir.path(), frames[2].seq).unwrap();
    assert!(matches!(
        reader.next_frame(),
        Err(ReadError::Damaged { .. })
    ));
    // What is cut off is no frame, passed over or not.
    std::fs::write(&path, &bytes[..2_000_000]).unwrap();
    let mut reader = Reader::open(dir.path(), frames[3].seq).unwrap();
    assert!(matches!(reader.next_frame(), Ok(None)));
    assert!(reader.next_seq() >= frames[2].seq);
}

/// A length that was damaged leads astray, but never to an end without a word.
#[test]
fn a_damaged_length_of_a_frame_that_is_passed_over_is_told() {
    let dir = tempdir();
    let mut frames = Vec::new();
    {
        let (mut journal, _) =
            Journal::open(dir.path(), options(FsyncPolicy::Os, 1 << 30)).unwrap();
        for at in 0..14 {
            frames.push(append(&mut journal, &sample(at, 100_000)).unwrap());
        }
        journal.commit().unwrap();
    }
    let path = dir.path().join("00000000000000000001.seg");
    let sound = std::fs::read(&path).unwrap();
    let third = 32 + 2 * 100_040;
    let rest = (sound.len() - third - 40) as u32;
    let lengths = (0..32).map(|bit| 100_000_u32 ^ 1 << bit);
    for length in lengths.chain([rest, rest - 100_040]) {
        let mut bytes = sound.clone();
        bytes[third + 4..third + 8].copy_from_slice(&length.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let mut reader = Reader::open(dir.path(), frames[5].seq).unwrap();
        let read = reader
            .next_frame()
            .map(|frame| frame.map(|frame| frame.seq));
        assert!(
            matches!(read, Err(ReadError::Damaged { .. })),
            "length {length}: {read:?}"
        );
    }
}

/// A reader that is sent elsewhere gives what a new one there would: back and forth, over segments and
/// after a rest.
#[test]
fn seeking_and_resting_change_nothing() {
    let dir = tempdir();
    let (mut journal, _) = Journal::open(dir.path(), options(FsyncPolicy::Os, 64 << 10)).unwrap();
    let mut frames = Vec::new();
    for at in 0..200 {
        frames.push(append(&mut journal, &sample(at, 3_000)).unwrap());
        journal.commit().unwrap();
    }
    let mut reader = journal.reader(1).unwrap();
    for at in [3, 4, 90, 20, 150, 0, 199] {
        for rests in [false, true] {
            reader.seek(frames[at].seq);
            if rests {
                reader.rest();
            }
            let next = reader.next_frame().unwrap().unwrap();
            assert_eq!((next.seq, next.count), (frames[at].seq, frames[at].count));
            assert_eq!(
                reader.next_seq(),
                frames[at].seq + u64::from(frames[at].count)
            );
        }
    }
    reader.seek(frames[7].seq);
    assert_eq!(read_on(&mut reader), frames[7..]);
}
