//! Rings of rows, many small ones in one piece of memory.
//!
//! Invariant: a ring's rows are in one block of the arena, whose length is a power of two; a block
//! belongs to one ring or to the free ones of its size. So a copy of all rings is a copy of two
//! vectors, and no ring costs an allocation of its own.

use crate::window::Kept;

/// Rows of the smallest block.
const BLOCK_MIN: u32 = 2;

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

/// The rows of all rings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rings {
    arena: Vec<Kept>,
    /// Starts of free blocks, by the power of their size.
    free: Vec<Vec<u32>>,
}

impl Rings {
    /// Forgets all rings, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.arena.clear();
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
        self.arena.resize(at + (1 << size), Kept::default());
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
