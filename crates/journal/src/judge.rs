//! Torn or damaged: the decision about the first place of the last segment where no sound frame
//! stands. Invariant: what was on stable storage, by the word of any later sound frame, is never
//! called torn; in doubt it is damage.
//!
//! A process that is killed leaves a group cut off at some byte: nothing sound stands behind the
//! cut, so nothing sound behind a bad frame means torn. A power loss may leave more: of everything
//! that was not yet synced, any sectors may be missing, and a missing sector reads as zeros. So a
//! bad frame before sound ones is still torn if both
//! - it lies in, or runs into, a sector that holds only zeros, and
//! - no sound frame behind it says (`stable`) that the bad one had been synced.
//!
//! Everything else is damage: a flipped bit, a lost sector that had been synced, foreign bytes.

use std::io;

use crate::format::{FRAME_HEADER, FrameHeader, MARK, MARK_AT};
use crate::storage::{StoredFile, read_full};

/// The least that a disk writes at once, in bytes, aligned in the file.
const SECTOR: u64 = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// An interrupted write explains it: cutting at the place loses nothing that was synced.
    Torn,
    /// It does not; the reason goes on from what is wrong at the place itself.
    Damaged(String),
}

/// Judges a file from `offset`, where the frame with `seq` should begin and does not.
pub(crate) fn judge(file: &dyn StoredFile, offset: u64, seq: u64) -> io::Result<Verdict> {
    let len = file.bytes()?.saturating_sub(offset);
    let mut tail = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let have = read_full(file, offset, &mut tail)?;
    tail.truncate(have);
    Ok(judge_bytes(&tail, offset, seq))
}

/// The decision itself: `tail` is everything from `offset` to the end of the file.
pub(crate) fn judge_bytes(tail: &[u8], offset: u64, seq: u64) -> Verdict {
    let mut search = Search {
        tail,
        seq,
        at: 1,
        budget: budget(tail),
    };
    let first = match search.next() {
        Found::Nothing => return Verdict::Torn,
        Found::GaveUp => return gave_up(),
        Found::Frame { at, header } => (at, header),
    };
    if !has_zero_sector(tail.get(..first.0).unwrap_or_default(), offset) {
        return Verdict::Damaged(behind(first.1, offset, first.0));
    }
    let mut found = Found::Frame {
        at: first.0,
        header: first.1,
    };
    loop {
        match found {
            Found::Nothing => return Verdict::Torn,
            Found::GaveUp => return gave_up(),
            Found::Frame { at, header } if header.stable > seq => {
                return Verdict::Damaged(behind(header, offset, at));
            }
            Found::Frame { .. } => found = search.next(),
        }
    }
}

fn behind(header: FrameHeader, offset: u64, at: usize) -> String {
    format!(
        "though a sound frame stands behind it, of seq {} at offset {}",
        header.seq,
        offset.saturating_add(at as u64)
    )
}

fn gave_up() -> Verdict {
    Verdict::Damaged(
        "and too many places behind it look like a frame to tell whether one is".to_owned(),
    )
}

/// How many bytes of checksum the search may spend. A payload that is full of things that look like
/// frames would otherwise make it quadratic.
fn budget(tail: &[u8]) -> usize {
    tail.len().saturating_mul(8).saturating_add(1 << 30)
}

/// Looks for sound frames behind the bad place.
struct Search<'a> {
    tail: &'a [u8],
    seq: u64,
    at: usize,
    budget: usize,
}

enum Found {
    Frame { at: usize, header: FrameHeader },
    Nothing,
    GaveUp,
}

impl Search<'_> {
    fn next(&mut self) -> Found {
        while let Some(rest) = self
            .tail
            .get(self.at..)
            .filter(|rest| rest.len() >= FRAME_HEADER)
        {
            let mark = MARK_AT..MARK_AT.saturating_add(MARK.len());
            let Some(skip) = rest
                .windows(FRAME_HEADER)
                .position(|w| w.get(mark.clone()) == Some(&MARK[..]))
            else {
                break;
            };
            let at = self.at.saturating_add(skip);
            let place = rest.get(skip..).unwrap_or_default();
            self.at = at.saturating_add(1);
            let Some((header, frame)) = self.plausible(at, place) else {
                continue;
            };
            let Some(budget) = self.budget.checked_sub(frame.len()) else {
                return Found::GaveUp;
            };
            self.budget = budget;
            if header.crc_matches(frame) {
                self.at = at.saturating_add(frame.len());
                return Found::Frame { at, header };
            }
        }
        self.at = self.tail.len();
        Found::Nothing
    }

    /// A header whose frame fits the file and whose sequence number can have been reached.
    fn plausible<'b>(&self, at: usize, place: &'b [u8]) -> Option<(FrameHeader, &'b [u8])> {
        let header = FrameHeader::decode(place).ok()?;
        let frames_between = (at / FRAME_HEADER).saturating_add(1) as u64;
        let furthest = self
            .seq
            .saturating_add(frames_between.saturating_mul(u64::from(u32::MAX)));
        let frame = place.get(..header.frame_bytes())?;
        (self.seq..=furthest)
            .contains(&header.seq)
            .then_some((header, frame))
    }
}

/// Whether a whole sector of `gap` is zero. `gap` begins at `offset` of the file; what stands before
/// it in its first sector was written earlier and does not count.
fn has_zero_sector(gap: &[u8], offset: u64) -> bool {
    let to_border = usize::try_from(SECTOR - offset % SECTOR).unwrap_or(usize::MAX);
    let zero = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|byte| *byte == 0);
    let Some((first, rest)) = gap.split_at_checked(to_border) else {
        return false;
    };
    zero(first) || rest.chunks_exact(SECTOR as usize).any(zero)
}
