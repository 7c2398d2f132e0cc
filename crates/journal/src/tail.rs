//! The last committed groups, in memory: what a reader that keeps up is given without reading the disk.
//! Invariant: it holds whole groups without a gap, each put there after its commit and before anybody
//! is told of it; at most so many bytes, so that a group that is larger is not here. It holds nothing until somebody asks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::format::FrameHeader;

/// The end of a journal, shared between its writer and readers.
#[derive(Debug, Clone)]
pub(crate) struct Tail(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wanted: AtomicBool,
    bytes_max: usize,
    groups: Mutex<Groups>,
}

#[derive(Debug, Default)]
struct Groups {
    groups: VecDeque<Group>,
    bytes: usize,
    /// Bytes of all that ever came.
    total: u64,
}

#[derive(Debug)]
struct Group {
    first_seq: u64,
    /// The sequence number behind it.
    next_seq: u64,
    /// Bytes that came before it.
    offset: u64,
    frames: Bytes,
}

/// Committed frames, one after another.
#[derive(Debug)]
pub struct Run {
    /// Whole frames; the first holds the sequence number that was asked for.
    pub frames: Bytes,
    /// The sequence number behind them.
    pub next_seq: u64,
    /// Whether there were no more.
    pub last: bool,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared {
            wanted: AtomicBool::new(false),
            bytes_max,
            groups: Mutex::default(),
        }))
    }

    /// Takes a group that was committed, before `next_seq` and from the end of the one before it: what
    /// it leaves is empty, with memory for about as much. Whoever finds the group here finds `durable`
    /// behind it, and the other way round.
    pub(crate) fn push(
        &self,
        first_seq: u64,
        next_seq: u64,
        group: &mut Vec<u8>,
        durable: &AtomicU64,
    ) {
        if !self.0.wanted.load(Ordering::Relaxed) {
            durable.store(next_seq, Ordering::Release);
            return group.clear();
        }
        // Whoever holds the lock holds the writer up: memory is taken and given back without it.
        // A group that is small for its memory is copied, so that what is kept is what is counted.
        let frames = match group.capacity() > 2 * group.len() {
            true => Bytes::copy_from_slice(group),
            false => Bytes::from(std::mem::replace(group, Vec::with_capacity(group.len()))),
        };
        group.clear();
        let mut old = Vec::new();
        let mut kept = self.lock();
        let offset = kept.total;
        kept.bytes += frames.len();
        kept.total += frames.len() as u64;
        kept.groups.push_back(Group {
            first_seq,
            next_seq,
            offset,
            frames,
        });
        durable.store(next_seq, Ordering::Release);
        while kept.bytes > self.0.bytes_max
            && let Some(oldest) = kept.groups.pop_front()
        {
            kept.bytes -= oldest.frames.len();
            old.push(oldest);
        }
        drop(kept);
    }

    /// Whether `seq` is here and will be for a while: what is behind it is less than a quarter of what
    /// is kept.
    pub(crate) fn is_near(&self, seq: u64) -> bool {
        self.0.wanted.store(true, Ordering::Relaxed);
        let kept = self.lock();
        let at = kept.groups.partition_point(|group| group.next_seq <= seq);
        let first = kept.groups.get(at).filter(|first| first.first_seq <= seq);
        first.is_some_and(|first| kept.total - first.offset < self.0.bytes_max as u64 / 4)
    }

    /// The frames from the one that holds `seq` on, of whole groups until there are `bytes_max` bytes;
    /// `None` when they are not here.
    pub(crate) fn from(&self, seq: u64, bytes_max: usize) -> Option<Run> {
        self.0.wanted.store(true, Ordering::Relaxed);
        let kept = self.lock();
        let at = kept.groups.partition_point(|group| group.next_seq <= seq);
        let mut groups = kept.groups.range(at..).peekable();
        let first = groups.next().filter(|first| first.first_seq <= seq)?;
        let (mut some, mut bytes) = (vec![first.frames.clone()], first.frames.len());
        let mut next_seq = first.next_seq;
        // One that is too many goes alone, from where it stands.
        while let Some(group) = groups.next_if(|group| bytes + group.frames.len() <= bytes_max) {
            bytes += group.frames.len();
            some.push(group.frames.clone());
            next_seq = group.next_seq;
        }
        let last = groups.peek().is_none();
        drop(kept);
        let passed = some.first().map_or(0, |first| before(first, seq));
        let frames = match some.as_slice() {
            [one] => one.slice(passed..),
            several => several.concat().split_off(passed).into(),
        };
        Some(Run {
            frames,
            next_seq,
            last,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of the frames before the one that holds `seq`.
fn before(frames: &[u8], seq: u64) -> usize {
    let mut at = 0;
    while let Some(Ok(header)) = frames.get(at..).map(FrameHeader::decode) {
        if header.seq.saturating_add(u64::from(header.count)) > seq {
            break;
        }
        at += header.frame_bytes();
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format;

    fn group(first: u64, frames: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for number in 0..frames {
            let payload = [7; 10];
            let header = FrameHeader {
                crc: 0,
                length: 10,
                count: 2,
                kind: 1,
                seq: first + 2 * number,
                stable: 0,
                time: 0,
            };
            format::encode_frame(&mut out, &header, &payload);
        }
        out
    }

    #[test]
    fn the_end_is_there_and_what_is_older_is_not() -> Result<(), &'static str> {
        let one = group(1, 3);
        let tail = Tail::new(2 * one.len());
        let durable = AtomicU64::new(1);
        tail.push(1, 7, &mut one.clone(), &durable);
        assert!(tail.from(1, 1).is_none(), "nobody had asked");
        for first in [7, 13, 19] {
            tail.push(first, first + 6, &mut group(first, 3), &durable);
            assert_eq!(durable.load(Ordering::Relaxed), first + 6);
        }
        assert!(tail.from(7, 1).is_none(), "pushed out");
        assert!(tail.from(12, 1).is_none());
        assert!(tail.from(25, 1).is_none(), "not there yet");
        assert!(!tail.is_near(13) && !tail.is_near(25), "too far, not there");
        let run = tail.from(13, 1).ok_or("it is there")?;
        assert_eq!((run.next_seq, run.last), (19, false));
        assert_eq!(run.frames, group(13, 3));
        let run = tail.from(16, usize::MAX).ok_or("it is there")?;
        assert_eq!((run.next_seq, run.last), (25, true));
        let wanted = [group(15, 2), group(19, 3)].concat();
        assert_eq!(run.frames, wanted, "from the frame that holds it");
        Ok(())
    }
}
