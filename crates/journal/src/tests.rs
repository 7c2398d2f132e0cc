//! Tests that need to see inside: failing storage, power loss, and what a reader's buffer may keep.
//! Invariant under test: the acknowledged frames are what a reopened journal holds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod background;
mod faults;
mod faulty;
mod power;
mod readers;

use std::path::Path;
use std::sync::Arc;

use crate::{FsyncPolicy, Journal, Options, Reader, Storage};

/// A frame as a test remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) seq: u64,
    pub(crate) count: u32,
    pub(crate) kind: u16,
    pub(crate) time: i64,
    pub(crate) payload: Vec<u8>,
}

/// In memory where the system has such a place: these tests look at bytes, not at disks.
pub(crate) fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub(crate) fn options(fsync: FsyncPolicy, segment_bytes_max: u64) -> Options {
    Options {
        segment_bytes_max,
        fsync,
        ..Options::default()
    }
}

/// Options with the files elsewhere than on the disk.
pub(crate) fn on(storage: Arc<dyn Storage>, options: Options) -> Options {
    Options { storage, ..options }
}

/// The nth frame of a test: its size, count and bytes depend on `n` alone.
pub(crate) fn sample(n: u64, bytes: usize) -> Kept {
    let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let payload = (0..bytes).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    Kept {
        seq: 0,
        count: (n % 3 + 1) as u32,
        kind: n as u16,
        time: n as i64 * 1_000,
        payload: payload.collect(),
    }
}

pub(crate) fn append(journal: &mut Journal, frame: &Kept) -> Result<Kept, crate::AppendError> {
    let seq = journal.append(frame.kind, frame.count, frame.time, &frame.payload)?;
    Ok(Kept {
        seq,
        ..frame.clone()
    })
}

pub(crate) fn read_on(reader: &mut Reader) -> Vec<Kept> {
    let mut kept = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        let crate::FrameRef {
            seq,
            count,
            kind,
            time,
            payload,
            ..
        } = frame;
        kept.push(Kept {
            seq,
            count,
            kind,
            time,
            payload: payload.to_vec(),
        });
    }
    kept
}

/// Opens for writing, as after a restart, and reads everything twice: as writer and from outside.
pub(crate) fn reopen(dir: &Path) -> Vec<Kept> {
    let (journal, recovery) = Journal::open(dir, Options::default()).unwrap();
    let inside = read_on(&mut journal.reader(recovery.first_seq).unwrap());
    let outside = read_on(&mut Reader::open(dir, recovery.first_seq).unwrap());
    assert_eq!(inside, outside);
    assert_eq!(inside.len() as u64, recovery.frames);
    assert_eq!(journal.next_seq(), recovery.next_seq);
    inside
}
