//! Market makers: quotes on both sides around what they think the instrument is worth.
//!
//! Invariant: at most one order a level and side, and one more that only shows itself. The more they
//! hold the lower they quote, so that their position comes back.

use tapewatch_model::{OrderKey, Side};

use super::agent::{Hand, Scene, moved};
use super::draws::Draws;
use super::pulse::PARTS;
use crate::command::{Command, NewOrder};
use crate::market::Phase;

/// Levels on a side.
const LEVELS: usize = 4;
/// Lots held that move the quotes by a tick.
const LOTS_A_TICK: i64 = 400;
/// Ticks off what it is worth from which on they take what others left behind.
const STALE: i64 = 12;
/// The furthest that they move them, in parts of a tick.
const LEAN_MAX: i64 = 2 * PARTS;
/// How often they look in a call phase, on average.
const CALL_LOOKS_EVERY: i64 = 60_000_000_000;
/// How often they look, on average: three kinds of haste, each as likely as told in hundredths.
const HASTE: [(u64, i64); 3] = [(45, 40_000_000), (30, 1_500_000_000), (25, 8_000_000_000)];
/// An order that only shows itself goes after this time on average.
const SHOWS_FOR: i64 = 8_000_000;

/// A market maker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker {
    /// From the middle to the first quote, in parts of a tick.
    half_spread: i64,
    /// Ticks from a level to the next.
    step: i64,
    /// Lots of a quote.
    size: i64,
    /// How far he is off what it is worth, in parts of a tick.
    error: i64,
    /// His quotes: levels of bids, then of asks.
    quotes: [Option<OrderKey>; 2 * LEVELS],
    shown: Option<OrderKey>,
}

impl Maker {
    pub(super) fn new(draws: &mut Draws) -> Self {
        Self {
            half_spread: draws.between(PARTS * 3 / 4, PARTS * 3 / 2),
            step: draws.between(1, 2),
            size: draws.between(3, 7),
            error: 0,
            quotes: [None; 2 * LEVELS],
            shown: None,
        }
    }

    pub(super) fn act(
        &mut self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        commands: &mut Vec<Command>,
    ) -> i64 {
        commands.extend(self.shown.take().map(Command::Cancel));
        if scene.market.phase() == Phase::Halted {
            let quotes = self.quotes.iter_mut().filter_map(Option::take);
            commands.extend(quotes.map(Command::Cancel));
            return CALL_LOOKS_EVERY;
        }
        if draws.chance(100) {
            self.error = draws.between(-PARTS / 5, PARTS / 5);
            self.half_spread = draws.between(PARTS * 3 / 4, PARTS * 3 / 2);
        }
        let lean = (hand.position * PARTS / LOTS_A_TICK).clamp(-LEAN_MAX, LEAN_MAX);
        let tilt = scene.tilt() * PARTS / 4 / 1_000;
        let middle = scene.fair + self.error + tilt - lean;
        if scene.continuous() {
            commands.extend(self.snipe(scene, hand, draws, middle));
        }
        let mut quotes = self.quotes;
        for (place, quote) in quotes.iter_mut().enumerate() {
            let (side, level) = match place.checked_sub(LEVELS) {
                None => (Side::Buy, place),
                Some(level) => (Side::Sell, level),
            };
            let ticks = self.ticks(scene, middle, side, level as i64);
            *quote = self.quote(scene, hand, draws, (*quote, side, level, ticks), commands);
        }
        self.quotes = quotes;
        if !scene.continuous() {
            return CALL_LOOKS_EVERY;
        }
        if draws.chance(160) {
            return self.show(scene, hand, draws, commands);
        }
        let mut drawn = draws.below(100);
        for (share, wait) in HASTE {
            if drawn < share {
                return wait;
            }
            drawn -= share;
        }
        HASTE[2].1
    }

    /// Takes what others offer far from what it is worth.
    fn snipe(
        &self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        middle: i64,
    ) -> Option<Command> {
        let (bid, ask) = (scene.best(Side::Buy), scene.best(Side::Sell));
        let (low, high) = (
            middle.div_euclid(PARTS) - STALE,
            middle.div_euclid(PARTS) + STALE,
        );
        let lots = draws.size(4 * self.size.unsigned_abs());
        if ask < low {
            Some(hand.take(scene, Side::Buy, lots, low))
        } else if bid > high {
            Some(hand.take(scene, Side::Sell, lots, high))
        } else {
            None
        }
    }

    /// Where a level is quoted; to come across the other side would be to trade, or to be refused.
    fn ticks(&self, scene: &Scene, middle: i64, side: Side, level: i64) -> i64 {
        let across = scene.best(side.opposite());
        let away = level * self.step;
        let free = scene.continuous();
        match side {
            Side::Buy => {
                let ticks = (middle - self.half_spread).div_euclid(PARTS) - away;
                if free { ticks.min(across - 1) } else { ticks }
            }
            Side::Sell => {
                let ticks = (middle + self.half_spread).div_euclid(PARTS) + 1 + away;
                if free { ticks.max(across + 1) } else { ticks }
            }
        }
    }

    /// Leaves the order of a level, moves it, puts another in its place, or makes one.
    fn quote(
        &self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        (quote, side, level, ticks): (Option<OrderKey>, Side, usize, i64),
        commands: &mut Vec<Command>,
    ) -> Option<OrderKey> {
        if let Some(order) = quote.and_then(|order| scene.market.resting(order)) {
            let price = order.price.map_or(ticks, |price| scene.ticks(price));
            let patience = i64::from(level > 0);
            if (price - ticks).abs() <= patience && !draws.chance(25) {
                return quote;
            }
            if draws.chance(200) {
                let all = order.leaves.checked_add(order.traded);
                let quantity = all.unwrap_or(order.leaves);
                commands.push(moved(order.order, quantity, scene.price(ticks)));
                return quote;
            }
            commands.push(Command::Cancel(order.order));
        }
        let unit = self.size * (2 + level as i64);
        let lots = draws.between(unit * 2 / 3, unit * 4 / 3).unsigned_abs();
        let new = NewOrder {
            post_only: true,
            ..hand.limit(scene, side, lots, ticks)
        };
        commands.push(Command::New(new));
        Some(new.order)
    }

    /// Shows an order near the best price for a moment.
    fn show(
        &mut self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        commands: &mut Vec<Command>,
    ) -> i64 {
        let side = draws.side();
        let away = draws.between(0, 2);
        let ticks = match side {
            Side::Buy => scene.best(side) - away,
            Side::Sell => scene.best(side) + away,
        };
        let new = NewOrder {
            post_only: true,
            ..hand.limit(scene, side, draws.size(self.size.unsigned_abs() / 2), ticks)
        };
        self.shown = Some(new.order);
        commands.push(Command::New(new));
        SHOWS_FOR
    }
}
