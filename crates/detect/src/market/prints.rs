//! The executions of an instrument in the last half hour.
//!
//! Invariant: in order of time; sums over any window that is still kept are exact. At most
//! [`PRINTS_MAX`] are kept: in a market that trades more the half hour is shorter.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::Side;

/// Executions kept.
const PRINTS_MAX: usize = 16_384;
/// How long they are kept.
const KEPT: i64 = 1_800_000_000_000;

/// One execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Print {
    /// When, in nanoseconds.
    pub(crate) time: i64,
    /// Price and quantity, in units.
    pub(crate) price: i64,
    pub(crate) quantity: i64,
    /// The side of the order that came in, where that is known.
    pub(crate) aggressor: Option<Side>,
}

impl Print {
    fn alone(&self) -> Traded {
        Traded::one(self.price, self.quantity, self.aggressor)
    }
}

/// A print, and what all prints up to it make together.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Kept {
    print: Print,
    all: Traded,
}

/// What executions make together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Traded {
    /// In units of quantity.
    pub(crate) volume: i128,
    /// Of price times quantity, in units of both.
    pub(crate) notional: i128,
    /// What of the volume orders to buy and orders to sell that came in made.
    bought: i128,
    sold: i128,
}

impl Traded {
    /// One execution.
    pub(crate) fn one(price: i64, quantity: i64, aggressor: Option<Side>) -> Self {
        let volume = i128::from(quantity);
        let by = |side| if aggressor == Some(side) { volume } else { 0 };
        Self {
            volume,
            notional: i128::from(price) * volume,
            bought: by(Side::Buy),
            sold: by(Side::Sell),
        }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            volume: self.volume.saturating_add(other.volume),
            notional: self.notional.saturating_add(other.notional),
            bought: self.bought.saturating_add(other.bought),
            sold: self.sold.saturating_add(other.sold),
        }
    }

    /// What is left without `other`, which was a part of it.
    pub(crate) fn without(self, other: Self) -> Self {
        Self {
            volume: self.volume.saturating_sub(other.volume),
            notional: self.notional.saturating_sub(other.notional),
            bought: self.bought.saturating_sub(other.bought),
            sold: self.sold.saturating_sub(other.sold),
        }
    }

    /// What of it orders of a side that came in made, in units of quantity.
    pub(crate) fn by(&self, aggressor: Side) -> i128 {
        match aggressor {
            Side::Buy => self.bought,
            Side::Sell => self.sold,
        }
    }

    /// The volume-weighted price, in units of price; `None` when nothing traded.
    pub(crate) fn vwap(&self) -> Option<i64> {
        let price = self.notional.checked_div(self.volume)?;
        i64::try_from(price).ok()
    }
}

/// The prints.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Prints(VecDeque<Kept>);

impl Prints {
    pub(super) fn push(&mut self, print: Print) {
        let before = self.0.back().map_or(Traded::default(), |last| last.all);
        let all = before.and(print.alone());
        self.0.push_back(Kept { print, all });
        let oldest = print.time.saturating_sub(KEPT);
        let old = |kept: &Kept| kept.print.time < oldest;
        while self.0.len() > PRINTS_MAX || self.0.front().is_some_and(old) {
            self.0.pop_front();
        }
    }

    /// The latest.
    pub(crate) fn last(&self) -> Option<&Print> {
        self.0.back().map(|kept| &kept.print)
    }

    /// What traded with `from <= time <= to`.
    pub(crate) fn between(&self, from: i64, to: i64) -> Traded {
        let first = self.0.partition_point(|kept| kept.print.time < from);
        let end = self.0.partition_point(|kept| kept.print.time <= to);
        let before = |at: usize| at.checked_sub(1).and_then(|at| self.0.get(at));
        let Some(last) = before(end).filter(|_| end > first) else {
            return Traded::default();
        };
        let earlier = match (before(first), self.0.get(first)) {
            (Some(kept), _) => kept.all,
            (None, Some(kept)) => kept.all.without(kept.print.alone()),
            (None, None) => Traded::default(),
        };
        last.all.without(earlier)
    }

    /// The first one at `from` or later.
    pub(crate) fn first_from(&self, from: i64) -> Option<&Print> {
        let first = self.0.partition_point(|kept| kept.print.time < from);
        self.0.get(first).map(|kept| &kept.print)
    }

    /// Prints from the latest back to those at `from`.
    pub(crate) fn back_to(&self, from: i64) -> impl Iterator<Item = &Print> {
        let prints = self.0.iter().rev().map(|kept| &kept.print);
        prints.take_while(move |print| print.time >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(time: i64, price: i64, quantity: i64) -> Print {
        Print {
            time,
            price,
            quantity,
            aggressor: (time < 4).then_some(Side::Buy),
        }
    }

    #[test]
    fn windows_are_closed_on_both_ends() {
        let mut prints = Prints::default();
        for time in 1..=5 {
            prints.push(print(time, 100 * time, 2));
        }
        let traded = prints.between(2, 4);
        assert_eq!((traded.volume, traded.vwap()), (6, Some(300)));
        assert_eq!((traded.by(Side::Buy), traded.by(Side::Sell)), (4, 0));
        assert_eq!(prints.first_from(2).map(|print| print.time), Some(2));
        assert_eq!(prints.first_from(6), None);
        assert_eq!(prints.between(1, 5).volume, 10);
        assert_eq!(prints.between(6, 9), Traded::default());
        assert_eq!(prints.between(0, 0).vwap(), None);
        prints.push(print(3 + KEPT, 1, 1));
        assert_eq!(prints.between(0, 5).volume, 6, "those of 1 and 2 are gone");
        assert_eq!(prints.back_to(4).count(), 3);
    }
}
