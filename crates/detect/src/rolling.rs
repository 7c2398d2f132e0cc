//! Sums over the last stretch of time and over the trading day, and what was told of them.
//!
//! Invariant: all of it is limited: a stretch is kept in at most [`SLICES`] and one more sums, the
//! latest sequence numbers up to a number that is given.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::TimeSpan;

use crate::step::{DAY, Step};

/// Into so many slices a stretch is cut.
const SLICES: i64 = 30;

/// What can be summed, and taken off a sum again.
pub(crate) trait Sums: Copy + Default {
    /// Adds another.
    fn add(&mut self, other: &Self);
    /// Takes off what was added.
    fn take(&mut self, other: &Self);
}

/// Sums over the last stretch of time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Rolling<S> {
    /// Of one slice, in nanoseconds.
    length: i64,
    /// By number; those without a sum are left out.
    slices: VecDeque<(i64, S)>,
    total: S,
}

impl<S: Sums> Rolling<S> {
    /// Adds at a time that is not before the last one; the sum over the slice of `time` and the
    /// thirty before it. So all of the window counts, and at most a thirtieth more.
    #[inline]
    pub(crate) fn add(&mut self, time: i64, window: TimeSpan, what: &S) -> S {
        let length = (window.nanos() / SLICES).max(1);
        if length != self.length {
            *self = Self {
                length,
                ..Self::default()
            };
        }
        let ends = |number: i64| number.saturating_add(1).saturating_mul(length);
        match self.slices.back_mut() {
            Some((last, sum)) if time < ends(*last) => sum.add(what),
            _ => {
                let number = time.div_euclid(length);
                let gone = |slice: &&(i64, S)| slice.0 < number.saturating_sub(SLICES);
                while let Some((_, sum)) = self.slices.front().filter(gone) {
                    self.total.take(sum);
                    self.slices.pop_front();
                }
                self.slices.push_back((number, *what));
            }
        }
        self.total.add(what);
        self.total
    }

    /// The sum of what [`Rolling::add`] would add to at a time that is not before the last one.
    pub(crate) fn sum(&mut self, time: i64) -> S {
        let oldest = time.div_euclid(self.length.max(1)).saturating_sub(SLICES);
        while let Some((_, sum)) = self.slices.front().filter(|slice| slice.0 < oldest) {
            self.total.take(sum);
            self.slices.pop_front();
        }
        self.total
    }

    /// When the oldest slice began, in nanoseconds; `None` before the first.
    pub(crate) fn begins(&self) -> Option<i64> {
        let (number, _) = self.slices.front()?;
        Some(number.saturating_mul(self.length))
    }

    /// The sum over the slices that began at `time` or later.
    pub(crate) fn since(&self, time: i64) -> S {
        let mut sum = S::default();
        let slices = self.slices.iter().rev();
        let later = slices.take_while(|slice| slice.0.saturating_mul(self.length) >= time);
        later.for_each(|(_, one)| sum.add(one));
        sum
    }
}

/// For how long a sum over `window` can matter, in nanoseconds.
pub(crate) fn kept(window: TimeSpan) -> i64 {
    let window = window.nanos();
    window.saturating_add(window / SLICES + SLICES + 1)
}

/// Sums over the trading day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Daily<S> {
    ends: Option<i64>,
    sums: S,
}

impl<S: Default> Daily<S> {
    /// Those of the step's day, empty when it has just begun.
    #[inline]
    pub(crate) fn at(&mut self, step: &Step<'_>) -> &mut S {
        if self.ends.is_none_or(|ends| step.time >= ends) {
            self.ends = Some(step.day().saturating_add(DAY));
            self.sums = S::default();
        }
        &mut self.sums
    }
}

/// The latest sequence numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Latest(VecDeque<u64>);

impl Latest {
    /// Adds one; beyond `limit` the oldest goes.
    #[inline]
    pub(crate) fn push(&mut self, seq: u64, limit: usize) {
        while self.0.len() >= limit {
            self.0.pop_front();
        }
        self.0.push_back(seq);
    }

    /// The last `count`, or as many as there are.
    pub(crate) fn last(&self, count: u64) -> impl Iterator<Item = u64> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.0.iter().rev().take(count).copied()
    }
}

/// What was told of a condition that lasts: it is told when it begins, and again whenever what is
/// measured has doubled.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Latch {
    told: u64,
    held: i64,
}

impl Latch {
    /// Whether a condition that holds at this size and time is to be told. When it did not hold
    /// within `window` before, it begins.
    pub(crate) fn tells(&mut self, size: u64, time: i64, window: TimeSpan) -> bool {
        let begins = self.told == 0 || time.saturating_sub(self.held) > window.nanos();
        self.held = time;
        let tells = begins || size >= self.told.saturating_mul(2);
        if tells {
            self.told = size.max(1);
        }
        tells
    }

    /// The condition has ended.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.told = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sums for i64 {
        fn add(&mut self, other: &Self) {
            *self += other;
        }

        fn take(&mut self, other: &Self) {
            *self -= other;
        }
    }

    #[test]
    fn a_stretch_is_its_slices_and_one_more() {
        let window = TimeSpan::from_nanos(300);
        let mut rolling = Rolling::default();
        assert_eq!(rolling.add(9, window, &1), 1);
        assert_eq!(rolling.add(10, window, &2), 3);
        assert_eq!(
            rolling.add(309, window, &4),
            7,
            "the slice of 9 is the 30th before"
        );
        assert_eq!(rolling.add(310, window, &8), 14, "it is gone");
        assert_eq!((rolling.begins(), rolling.since(20)), (Some(10), 12));
        assert_eq!(rolling.add(10_000, window, &16), 16);
        assert_eq!(rolling.slices.len(), 1);
        let other = TimeSpan::from_nanos(600);
        assert_eq!(
            rolling.add(10_000, other, &32),
            32,
            "another window begins anew"
        );
    }

    #[test]
    fn what_lasts_is_told_at_each_doubling() {
        let window = TimeSpan::from_nanos(10);
        let mut latch = Latch::default();
        let mut tells = |size: u64| latch.tells(size, 0, window);
        let told: Vec<_> = (5..25).filter(|&size| tells(size)).collect();
        assert_eq!(told, [5, 10, 20]);
        assert!(!latch.tells(21, 10, window));
        assert!(latch.tells(22, 21, window), "it did not hold for long");
        latch.release();
        assert!(latch.tells(6, 22, window));
    }

    #[test]
    fn the_latest_numbers_are_kept() {
        let mut latest = Latest::default();
        (1..=5).for_each(|seq| latest.push(seq, 3));
        assert_eq!(latest.last(2).collect::<Vec<_>>(), [5, 4]);
        assert_eq!(latest.last(9).count(), 3);
    }
}
