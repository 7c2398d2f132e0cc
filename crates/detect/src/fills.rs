//! Someone's own executions of the last time, what they come to, and the words that findings about
//! executions share.
//!
//! Invariant: at most [`FILLS_MAX`] are kept, oldest first; the total is that of those kept.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, Measure, Side};

use crate::market::Traded;
use crate::step::Step;

/// Executions kept of one entity.
pub(crate) const FILLS_MAX: usize = 256;

/// An execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fill {
    /// When, in nanoseconds.
    pub(crate) time: i64,
    pub(crate) side: Side,
    /// In units of price and quantity.
    pub(crate) price: i64,
    pub(crate) quantity: i64,
    pub(crate) seq: u64,
    /// Of its order; 0 when the source names none.
    pub(crate) key: u64,
    /// Twice the middle of the book just before its order came in; 0 when that is not known.
    pub(crate) mid2: i64,
}

impl Fill {
    /// The execution that a row of type `filled` tells.
    pub(crate) fn of(step: &Step<'_>) -> Self {
        Self {
            time: step.time,
            side: step.side,
            price: step.price,
            quantity: step.quantity,
            seq: step.seq,
            key: step.key,
            mid2: step.order.map_or(0, |held| held.mid2),
        }
    }

    fn alone(&self) -> Traded {
        Traded::one(self.price, self.quantity, Some(self.side))
    }
}

/// The executions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Fills {
    fills: VecDeque<Fill>,
    total: Traded,
}

impl Fills {
    /// Adds one and drops those before `from`; whether one within was dropped for want of room.
    pub(crate) fn push(&mut self, fill: Fill, from: i64) -> bool {
        self.drop_before(from);
        let full = self.fills.len() >= FILLS_MAX;
        if full {
            self.drop_first();
        }
        self.total = self.total.and(fill.alone());
        self.fills.push_back(fill);
        full
    }

    /// Drops those before `from`.
    pub(crate) fn drop_before(&mut self, from: i64) {
        while self.fills.front().is_some_and(|first| first.time < from) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.fills.pop_front() {
            self.total = self.total.without(first.alone());
        }
    }

    /// Forgets them.
    pub(crate) fn clear(&mut self) {
        self.fills.clear();
        self.total = Traded::default();
    }

    /// What they come to, each counted for its own side.
    pub(crate) fn total(&self) -> &Traded {
        &self.total
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Fill> {
        self.fills.iter()
    }

    pub(crate) fn first(&self) -> Option<&Fill> {
        self.fills.front()
    }

    /// Their sequence numbers.
    pub(crate) fn seqs(&self) -> impl Iterator<Item = u64> {
        self.fills.iter().map(|fill| fill.seq)
    }
}

/// 1 of buying, -1 of selling: a price's move times it is a move in favour.
#[inline]
pub(crate) fn sign(side: Side) -> i64 {
    match side {
        Side::Buy => 1,
        Side::Sell => -1,
    }
}

/// What was done on a side, in a sentence.
pub(crate) fn done(side: Side) -> &'static str {
    match side {
        Side::Buy => "bought",
        Side::Sell => "sold",
    }
}

/// A measure beside its threshold.
pub(crate) fn measure(name: &'static str, value: Decimal, threshold: Decimal) -> Measure {
    Measure {
        name,
        value,
        threshold,
    }
}

/// Units of price times units of quantity, as an amount.
pub(crate) fn amount(units: i128) -> Decimal {
    Decimal::from_units(units / 100_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_of_those_kept() {
        let fill = |time| Fill {
            time,
            side: if time % 2 == 0 { Side::Buy } else { Side::Sell },
            price: 10,
            quantity: 2,
            seq: time as u64,
            key: 0,
            mid2: 0,
        };
        let mut fills = Fills::default();
        for time in 1..=4 {
            assert!(!fills.push(fill(time), 2));
        }
        assert_eq!(fills.seqs().collect::<Vec<_>>(), [2, 3, 4]);
        let total = *fills.total();
        let by = (total.by(Side::Buy), total.by(Side::Sell));
        assert_eq!((total.volume, by, total.vwap()), (6, (4, 2), Some(10)));
        for time in 5..=FILLS_MAX as i64 + 1 {
            assert!(!fills.push(fill(time), 2));
        }
        assert!(fills.push(fill(999), 2), "no room");
        assert_eq!(fills.first().map(|fill| fill.time), Some(3));
        assert_eq!(fills.total().volume, 2 * FILLS_MAX as i128);
        fills.clear();
        assert_eq!(fills.total(), &Traded::default());
    }
}
