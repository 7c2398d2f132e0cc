//! The rows of a group in one queue of words: what a row costs is the memory that it touches.
//!
//! Invariant: a row is its time, its sequence number, the aggregates that count it (a bit each) and,
//! for each aggregate of values, the value in two words: so all rows of a queue have the same length.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Words before the values.
const HEAD: usize = 3;

/// Rows in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Rows {
    words: VecDeque<u64>,
    /// Words of a row; 0 while there is none.
    width: usize,
    len: usize,
}

impl Rows {
    /// Number of rows.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Nanoseconds; of a row that is not there, the end of time.
    #[inline]
    pub(super) fn time(&self, row: usize) -> i64 {
        let word = self.words.get(row * self.width);
        word.filter(|_| row < self.len)
            .map_or(i64::MAX, |word| word.cast_signed())
    }

    /// The sequence number.
    pub(super) fn seq(&self, row: usize) -> u64 {
        self.word(row, 1)
    }

    /// The aggregates that count it.
    #[inline]
    pub(super) fn mask(&self, row: usize) -> u64 {
        self.word(row, 2)
    }

    /// The value of this number.
    #[inline]
    pub(super) fn value(&self, row: usize, number: usize) -> i128 {
        let low = self.word(row, HEAD + 2 * number);
        let high = self.word(row, HEAD + 2 * number + 1);
        (u128::from(high) << 64 | u128::from(low)).cast_signed()
    }

    #[inline]
    fn word(&self, row: usize, at: usize) -> u64 {
        let word = self.words.get(row * self.width + at);
        word.copied().unwrap_or_default()
    }

    /// Adds a row of `values` values at the end.
    #[inline]
    pub(super) fn push(&mut self, head: (i64, u64, u64), values: impl Iterator<Item = i128>) {
        let (time, seq, mask) = head;
        let before = self.words.len();
        self.words.extend([time.cast_unsigned(), seq, mask]);
        for value in values {
            let value = value.cast_unsigned();
            self.words.extend([value as u64, (value >> 64) as u64]);
        }
        self.width = self.words.len() - before;
        self.len += 1;
    }

    /// Moves the last row before the one at `row`.
    pub(super) fn move_last(&mut self, row: usize) {
        let behind = self.len.saturating_sub(row + 1) * self.width;
        let from = row * self.width;
        let words = self.words.make_contiguous();
        if let Some(moved) = words.get_mut(from..) {
            moved.rotate_left(behind.min(moved.len()));
        }
    }

    /// Forgets the first row.
    #[inline]
    pub(super) fn pop_front(&mut self) {
        let words = self.width.min(self.words.len());
        self.words.drain(..words);
        self.len = self.len.saturating_sub(1);
    }

    /// Number of leading rows for whose time `before` holds, which holds for no row behind them.
    pub(super) fn partition(&self, before: impl Fn(i64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.time(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Whether the rows have so many values each and are in order of time.
    pub(super) fn fits(&self, values: usize) -> bool {
        let width = self.len == 0 || self.width == HEAD + 2 * values;
        let whole = self.len.checked_mul(self.width) == Some(self.words.len());
        width && whole && (1..self.len).all(|row| self.time(row - 1) <= self.time(row))
    }
}
