//! Noise traders: they come without a reason, mostly wait near the best price, sometimes take it, and
//! change their minds.

use tapewatch_model::Side;

use super::agent::{Hand, Scene};
use super::draws::Draws;
use crate::command::{Command, NewOrder};

/// The furthest from the best price that they wait, in ticks.
const AWAY_MAX: i64 = 24;

/// How much more they take than they offer.
const TAKES: u64 = 3;

/// A noise trader.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    /// How often he looks, on average.
    pub(super) looks_every: i64,
    /// Lots of his smaller orders.
    pub(super) size: u64,
}

impl Noise {
    pub(super) fn act(
        &mut self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        commands: &mut Vec<Command>,
    ) -> i64 {
        let what = draws.below(1_000);
        let drawn = draws.side();
        let odd = if hand.is_odd() { Side::Sell } else { Side::Buy };
        // An auction would let both of his sides trade with each other.
        let side = if scene.continuous() { drawn } else { odd };
        let lots = draws.size(self.size);
        if what < 420 && !hand.orders.is_empty() {
            let at = draws.below(hand.orders.len() as u64) as usize;
            if let Some(order) = hand.orders.get(at) {
                commands.push(Command::Cancel(*order));
            }
        } else if what < 443 && scene.continuous() {
            // Who sees more bids expects a higher price.
            let rises = u64::try_from(500 + scene.tilt() / 4).unwrap_or(0);
            let side = if draws.chance(rises) {
                Side::Buy
            } else {
                Side::Sell
            };
            let lots = TAKES * lots;
            let across = scene.best(side.opposite()) + if side == Side::Buy { 1 } else { -1 };
            commands.push(hand.take(scene, side, lots, across));
        } else {
            let away = (i64::from(draws.chance(700)) + draws.steps(860)).min(AWAY_MAX);
            let best = scene.best(side);
            // Within the spread where there is room.
            let room = (best - scene.best(side.opposite())).abs() > 1;
            let better = i64::from(room && draws.chance(100));
            let ticks = match side {
                Side::Buy => best + better - away,
                Side::Sell => best - better + away,
            };
            let shown = draws.chance(30) && lots > 20;
            let new = NewOrder {
                display: shown.then(|| scene.quantity(lots / 10)),
                ..hand.limit(scene, side, lots, ticks)
            };
            hand.rest(new, commands);
        }
        self.looks_every
    }
}
