//! How large the orders of an instrument usually are.
//!
//! Invariant: orders are counted by size, in classes an eighth of a power of two wide (at most 504);
//! when there are [`FULL`], all counts are halved, so that old orders weigh less and less.

use serde::{Deserialize, Serialize};

const FULL: u32 = 65_536;

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Sized {
    count: u32,
    /// The latest size in the class, in units.
    latest: i64,
}

/// The sizes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sizes {
    classes: Vec<Sized>,
    total: u32,
    /// The class of the middle order, and how many are in those below it.
    middle: usize,
    below: u32,
}

impl Sizes {
    pub(super) fn push(&mut self, size: i64) {
        if size <= 0 {
            return;
        }
        let at = class_of(size);
        if self.classes.len() <= at {
            self.classes.resize(at + 1, Sized::default());
        }
        if let Some(class) = self.classes.get_mut(at) {
            class.count += 1;
            class.latest = size;
        }
        self.total += 1;
        self.below += u32::from(at < self.middle);
        if self.total >= FULL {
            self.halve();
        }
        self.find_middle();
    }

    fn halve(&mut self) {
        self.classes.iter_mut().for_each(|class| class.count /= 2);
        let sum = |classes: &[Sized]| classes.iter().map(|class| class.count).sum();
        self.total = sum(&self.classes);
        self.below = sum(self.classes.get(..self.middle).unwrap_or_default());
    }

    fn find_middle(&mut self) {
        let rank = self.total.saturating_sub(1) / 2;
        let count = |classes: &[Sized], at: usize| classes.get(at).map_or(0, |class| class.count);
        while rank < self.below {
            self.middle -= 1;
            self.below -= count(&self.classes, self.middle);
        }
        while self.middle < self.classes.len()
            && rank >= self.below + count(&self.classes, self.middle)
        {
            self.below += count(&self.classes, self.middle);
            self.middle += 1;
        }
    }

    /// The size that half of the orders do not exceed, to an eighth, in units; `None` when fewer than
    /// `least` are known.
    pub(crate) fn usual(&self, least: u64) -> Option<i64> {
        let middle = self.classes.get(self.middle)?;
        (u64::from(self.total) >= least.max(1)).then_some(middle.latest)
    }
}

fn class_of(size: i64) -> usize {
    let power = size.ilog2();
    let eighth = (i128::from(size) << 3 >> power) & 7;
    power as usize * 8 + eighth as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_size_is_the_middle_one() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.usual(0), None);
        for size in [100, 5, 1_000_000, 100, 7] {
            sizes.push(size);
        }
        assert_eq!(sizes.usual(5), Some(100));
        assert_eq!(sizes.usual(6), None);
        sizes.push(5);
        sizes.push(5);
        assert_eq!(sizes.usual(0), Some(7), "5 5 5 7 100 100 1000000");
        assert_eq!((class_of(1), class_of(9), class_of(i64::MAX)), (0, 25, 503));
    }

    #[test]
    fn against_a_sorted_list_and_old_ones_weigh_less() {
        let (mut sizes, mut all, mut state) = (Sizes::default(), Vec::new(), 7_u64);
        for count in 1..=2_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let size = 1 << (state >> 40 & 15);
            sizes.push(size);
            let at = all.partition_point(|known| *known < size);
            all.insert(at, size);
            assert_eq!(sizes.usual(0), all.get((count - 1) / 2).copied());
        }
        (0..FULL).for_each(|_| sizes.push(1 << 20));
        (0..FULL).for_each(|_| sizes.push(1 << 30));
        assert_eq!(sizes.usual(0), Some(1 << 30));
        assert!(sizes.total < FULL);
    }
}
