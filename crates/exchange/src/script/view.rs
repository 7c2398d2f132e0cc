//! A market as everybody sees it, copied for a script.
//!
//! Invariant: prices are in ticks, quantities in lots; where a side is empty its price is one tick off the
//! last one.

use tapewatch_model::{Decimal, Price, Side};

use crate::market::{Market, Phase};
use crate::simulation::{PARTS, Pulse};

/// Levels that count as the depth of a side.
const DEPTH_LEVELS: usize = 5;

/// A market as everybody sees it; prices are in ticks, quantities in lots.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct View {
    pub(crate) continuous: bool,
    pub(crate) bid: i64,
    pub(crate) ask: i64,
    /// At the best bid and the best ask.
    pub(crate) best: [i64; 2],
    /// At the first five prices of bids and of asks.
    pub(crate) depth: [i64; 2],
    /// The last price.
    pub(crate) last: i64,
    /// What has traded.
    pub(crate) volume: i64,
    /// What buyers and sellers took.
    pub(crate) taken: [i64; 2],
    /// The standard deviation of the price over a second, in parts of a tick.
    pub(crate) sigma: i64,
}

impl View {
    pub(crate) fn of(market: &Market, pulse: &Pulse) -> Self {
        let (tick, lot) = (market.rules().tick().units(), market.rules().lot().units());
        let book = market.book();
        let ticks = |price: Price| price.units() / tick;
        let last = market.reference().map_or(0, ticks);
        let price = |side, none| book.best_price(side).map_or(none, ticks);
        // Sums of quantities count in other units than a quantity does.
        let lot = Decimal::from_quantity_units(i128::from(lot)).units();
        let depth = |side, levels| {
            let levels = book.levels(side).take(levels);
            let units: i128 = levels.map(|level| level.quantity.units()).sum();
            (units / lot) as i64
        };
        let both = |levels| [depth(Side::Buy, levels), depth(Side::Sell, levels)];
        Self {
            continuous: market.phase() == Phase::Continuous,
            bid: price(Side::Buy, last - 1),
            ask: price(Side::Sell, last + 1),
            best: both(1),
            depth: both(DEPTH_LEVELS),
            last,
            volume: pulse.volume,
            taken: pulse.taken,
            sigma: pulse.sigma(),
        }
    }

    /// What is shown at the best price of a side.
    pub(crate) const fn best_of(&self, side: Side) -> i64 {
        Self::at(self.best, side)
    }

    /// What is shown at the first five prices of a side.
    pub(crate) const fn depth_of(&self, side: Side) -> i64 {
        Self::at(self.depth, side)
    }

    /// What those of a side have taken.
    pub(crate) const fn taken_by(&self, side: Side) -> i64 {
        Self::at(self.taken, side)
    }

    /// Twice the middle of the best prices, in ticks.
    pub(crate) const fn middle2(&self) -> i64 {
        self.bid + self.ask
    }

    /// So many standard deviations of the price over some seconds, in ticks, rounded up.
    pub(crate) fn sigmas(&self, times: i64, seconds: i64) -> i64 {
        // The root of what is left below a second's precision would be lost.
        let root = (seconds * 10_000).isqrt();
        (times * self.sigma * root + PARTS * 100 - 1) / (PARTS * 100)
    }

    /// The best price of a side.
    pub(crate) const fn price(&self, side: Side) -> i64 {
        match side {
            Side::Buy => self.bid,
            Side::Sell => self.ask,
        }
    }

    /// The first of two numbers for buyers, the second for sellers.
    const fn at(numbers: [i64; 2], side: Side) -> i64 {
        let [buy, sell] = numbers;
        match side {
            Side::Buy => buy,
            Side::Sell => sell,
        }
    }

    pub(crate) const fn spread(&self) -> i64 {
        self.ask - self.bid
    }
}
