//! Those who compare the price with what it was: momentum buys what rises, mean reversion what fell.
//!
//! Invariant: a position stays within its limit, and goes when its reason has gone.

use tapewatch_model::Side;

use super::agent::{Hand, Scene};
use super::draws::Draws;
use super::pulse::PARTS;
use crate::command::Command;

/// Lots.
const POSITION_MAX: i64 = 900;

/// A momentum or a mean-reversion trader.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trend {
    pub(super) follows: bool,
    /// How far off the mean the price is from which on he trades, in standard deviations of a second.
    pub(super) threshold: i64,
    /// Looks over which the price is averaged, as a power of two.
    pub(super) memory: u32,
    /// How often he looks, on average.
    pub(super) looks_every: i64,
    /// Lots of his smaller orders.
    pub(super) size: u64,
    /// The mean, in parts of a tick.
    pub(super) mean: Option<i64>,
}

impl Trend {
    pub(super) fn momentum(draws: &mut Draws) -> Self {
        Self {
            follows: true,
            threshold: draws.between(8, 12),
            memory: 2,
            looks_every: draws.between(1_200, 2_500) * 1_000_000,
            size: 25,
            mean: None,
        }
    }

    pub(super) fn reversion(draws: &mut Draws) -> Self {
        Self {
            follows: false,
            threshold: draws.between(9, 15),
            memory: 4,
            looks_every: 5_000_000_000,
            size: 10,
            mean: None,
        }
    }

    pub(super) fn act(
        &mut self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        commands: &mut Vec<Command>,
    ) -> i64 {
        let last = scene.last().saturating_mul(PARTS);
        let before = self.mean.unwrap_or(last);
        self.mean = Some(before + ((last - before) >> self.memory));
        if !scene.continuous() {
            return self.looks_every;
        }
        let off = last - before;
        let held = hand.position;
        if off.abs() >= self.threshold * scene.sigma.max(PARTS / 8) {
            let side = if (off > 0) == self.follows {
                Side::Buy
            } else {
                Side::Sell
            };
            let held = if side == Side::Buy { held } else { -held };
            if held < POSITION_MAX {
                let across = scene.best(side.opposite());
                commands.push(hand.take(scene, side, draws.size(self.size), across));
            }
        } else if held != 0 && draws.chance(60) {
            let side = if held > 0 { Side::Sell } else { Side::Buy };
            let lots = draws.size(self.size).min(held.unsigned_abs());
            let across = scene.best(side.opposite());
            commands.push(hand.take(scene, side, lots, across));
        }
        self.looks_every
    }
}
