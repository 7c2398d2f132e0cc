//! Those who compare the price with what it was: momentum buys what rises, mean reversion what fell.
//!
//! Invariant: a position stays within its limit.

use tapewatch_model::Side;

use super::agent::{Hand, Scene};
use super::draws::Draws;
use crate::command::Command;

const LOOKS_EVERY: i64 = 6_000_000_000;
/// Lots.
const POSITION_MAX: i64 = 5_000;
/// Parts of a tick in which the mean is kept.
const PARTS: i64 = 1_024;

/// A momentum or a mean-reversion trader.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trend {
    pub(super) follows: bool,
    /// Ticks off the mean from which on he trades.
    pub(super) threshold: i64,
    /// Looks over which the price is averaged, as a power of two.
    pub(super) memory: u32,
    /// The mean, in parts of a tick.
    pub(super) mean: Option<i64>,
}

impl Trend {
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
        let off = (last - before) / PARTS;
        if scene.continuous() && off.abs() >= self.threshold {
            let side = if (off > 0) == self.follows {
                Side::Buy
            } else {
                Side::Sell
            };
            let held = match side {
                Side::Buy => hand.position,
                Side::Sell => -hand.position,
            };
            if held < POSITION_MAX {
                let across = scene.best(side.opposite());
                commands.push(hand.take(scene, side, draws.size(20), across));
            }
        }
        LOOKS_EVERY
    }
}
