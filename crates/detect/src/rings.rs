//! Rings of rows, many small ones in few pieces of memory.
//!
//! Invariant: a ring's rows are in one block of the arena, whose length is a power of two; a block
//! belongs to one ring or to the free ones of its size. No ring costs an allocation of its own. The
//! arena grows piece by piece and never moves: an event that needs more memory waits for one piece of
//! it, however much there is already.

use crate::window::Kept;

/// Rows of the smallest block.
const BLOCK_MIN: u32 = 2;
/// Rows of a piece of the arena, as a power of two: 192 KiB.
const PIECE: u32 = 13;

/// Where one ring is, and how full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ring {
    /// Start of its block in the arena.
    at: u32,
    /// Place of its first row in the block.
    head: u32,
    len: u32,
    /// Rows that the block can hold, as a power of two; 0 without a block.
    size: u32,
}

impl Ring {
    /// No rows, no memory.
    pub(crate) const EMPTY: Self = Self {
        at: 0,
        head: 0,
        len: 0,
        size: 0,
    };

    /// Number of rows.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Forgets all rows, keeps the block.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Whether one more row needs a larger block.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len == self.capacity()
    }

    /// Forgets the first row.
    #[inline]
    pub(crate) fn drop_first(&mut self) {
        self.head = (self.head + 1) & (self.capacity().wrapping_sub(1));
        self.len = self.len.saturating_sub(1);
    }

    #[inline]
    fn capacity(&self) -> u32 {
        if self.size == 0 { 0 } else { 1 << self.size }
    }

    /// Place in the arena of the row at `index`.
    #[inline]
    fn place(&self, index: u32) -> usize {
        let within = self.head.wrapping_add(index) & self.capacity().wrapping_sub(1);
        self.at as usize + within as usize
    }
}

/// Rows one after another, in pieces that stay where they are; all but the last are full.
#[derive(Debug, Clone, Default)]
struct Arena {
    pieces: Vec<Vec<Kept>>,
}

impl Arena {
    fn len(&self) -> usize {
        let last = self.pieces.last().map_or(0, Vec::len);
        (self.pieces.len().saturating_sub(1) << PIECE) + last
    }

    #[inline]
    fn get(&self, place: usize) -> Option<&Kept> {
        self.pieces.get(place >> PIECE)?.get(within(place))
    }

    #[inline]
    fn get_mut(&mut self, place: usize) -> Option<&mut Kept> {
        self.pieces.get_mut(place >> PIECE)?.get_mut(within(place))
    }

    /// Adds rows that hold nothing.
    fn add(&mut self, mut rows: usize) {
        while rows > 0 {
            let room = self
                .pieces
                .last()
                .map_or(0, |last| (1 << PIECE) - last.len());
            if room == 0 {
                self.pieces.push(Vec::with_capacity(1 << PIECE));
                continue;
            }
            let more = rows.min(room);
            if let Some(last) = self.pieces.last_mut() {
                last.resize(last.len() + more, Kept::default());
            }
            rows -= more;
        }
    }
}

/// The place within its piece.
#[inline]
fn within(place: usize) -> usize {
    place & ((1 << PIECE) - 1)
}

/// The rows of all rings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rings {
    arena: Arena,
    /// Starts of free blocks, by the power of their size.
    free: Vec<Vec<u32>>,
}

impl Rings {
    /// Forgets all rings.
    pub(crate) fn clear(&mut self) {
        self.arena.pieces.clear();
        self.free.iter_mut().for_each(Vec::clear);
    }

    /// The row at `index`; where there is none, whatever stands there.
    #[inline]
    pub(crate) fn get(&self, ring: &Ring, index: u32) -> Kept {
        self.arena
            .get(ring.place(index))
            .copied()
            .unwrap_or_default()
    }

    /// The time of the row at `index`; where there is none, whatever stands there.
    #[inline]
    pub(crate) fn time(&self, ring: &Ring, index: u32) -> i64 {
        self.arena
            .get(ring.place(index))
            .map_or(0, |kept| kept.time)
    }

    /// All rows, first to last.
    pub(crate) fn rows<'a>(&'a self, ring: &'a Ring) -> impl Iterator<Item = &'a Kept> {
        (0..ring.len).filter_map(|index| self.arena.get(ring.place(index)))
    }

    /// Adds a row at the end.
    #[inline]
    pub(crate) fn push(&mut self, ring: &mut Ring, row: Kept) {
        if ring.is_full() {
            self.grow(ring);
        }
        ring.len += 1;
        if let Some(slot) = self.arena.get_mut(ring.place(ring.len - 1)) {
            *slot = row;
        }
    }

    /// Adds a row before the one at `index`.
    pub(crate) fn insert(&mut self, ring: &mut Ring, index: u32, row: Kept) {
        self.push(ring, row);
        for to in (index + 1..ring.len).rev() {
            let moved = self.get(ring, to - 1);
            if let Some(slot) = self.arena.get_mut(ring.place(to)) {
                *slot = moved;
            }
        }
        if let Some(slot) = self.arena.get_mut(ring.place(index)) {
            *slot = row;
        }
    }

    /// Number of leading rows for which `before` holds, which holds for no row behind them.
    pub(crate) fn partition(&self, ring: &Ring, before: impl Fn(&Kept) -> bool) -> u32 {
        let (mut low, mut high) = (0, ring.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(&self.get(ring, middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Moves the ring to a block of twice the size.
    #[cold]
    fn grow(&mut self, ring: &mut Ring) {
        let size = ring.size.max(BLOCK_MIN.ilog2() - 1) + 1;
        let at = self.block(size);
        for index in 0..ring.len {
            let row = self.get(ring, index);
            if let Some(slot) = self.arena.get_mut(at as usize + index as usize) {
                *slot = row;
            }
        }
        if ring.size > 0 {
            self.free_of(ring.size).push(ring.at);
        }
        *ring = Ring {
            at,
            head: 0,
            len: ring.len,
            size,
        };
    }

    fn block(&mut self, size: u32) -> u32 {
        if let Some(at) = self.free_of(size).pop() {
            return at;
        }
        let at = self.arena.len();
        self.arena.add(1 << size);
        at as u32
    }

    fn free_of(&mut self, size: u32) -> &mut Vec<u32> {
        let index = size as usize;
        if self.free.len() <= index {
            self.free.resize_with(index + 1, Vec::new);
        }
        match self.free.get_mut(index) {
            Some(free) => free,
            None => unreachable!("it was made just now"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Several rings in one arena, each beside a library's queue.
        #[test]
        fn rings_are_queues(steps in proptest::collection::vec((0_usize..3, 0_u8..8, any::<u32>()), 1..400)) {
            let mut rings = Rings::default();
            let mut ours = [Ring::EMPTY; 3];
            let mut theirs = vec![VecDeque::new(); 3];
            for (seq, (which, what, at)) in (0_u64..).zip(steps) {
                let (ring, queue) = (ours.get_mut(which).unwrap(), theirs.get_mut(which).unwrap());
                let row = Kept { time: i64::from(at), quantity: 1, seq };
                match what {
                    0..4 => { rings.push(ring, row); queue.push_back(row); }
                    4 => {
                        let index = at % (ring.len() + 1);
                        rings.insert(ring, index, row);
                        queue.insert(index as usize, row);
                    }
                    5 if at % 16 == 0 => { ring.clear(); queue.clear(); }
                    _ => if queue.pop_front().is_some() { ring.drop_first(); },
                }
                for (ring, queue) in ours.iter().zip(&theirs) {
                    prop_assert!(rings.rows(ring).eq(queue.iter()));
                }
            }
        }
    }
}
