//! Market makers: quotes on both sides around what they think the instrument is worth.
//!
//! Invariant: at most one order a level and side. The more they hold the lower they quote, so that
//! their position comes back.

use tapewatch_model::Side;

use super::agent::{Hand, Scene, moved};
use super::draws::Draws;
use crate::command::{Command, NewOrder};

const LEVELS: i64 = 3;
/// Lots held that move the quotes by a tick.
const LOTS_A_TICK: i64 = 2_000;
const LOOKS_EVERY: i64 = 700_000_000;

/// A market maker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker {
    /// Ticks from the middle to the first quote.
    pub(super) half_spread: i64,
}

impl Maker {
    pub(super) fn act(
        &mut self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        commands: &mut Vec<Command>,
    ) -> i64 {
        let error = draws.below(3) as i64 - 1;
        let middle = scene.worth + error - hand.position / LOTS_A_TICK;
        for side in [Side::Buy, Side::Sell] {
            for level in 0..LEVELS {
                let away = self.half_spread + level * (1 + self.half_spread);
                // To come across would be to trade, or to be refused.
                let across = scene.best(side.opposite());
                let free = scene.continuous();
                let ticks = match side {
                    Side::Buy if free => (middle - away).min(across - 1),
                    Side::Sell if free => (middle + away).max(across + 1),
                    Side::Buy => middle - away,
                    Side::Sell => middle + away,
                };
                self.quote(scene, hand, draws, (side, level, ticks), commands);
            }
        }
        LOOKS_EVERY
    }

    /// Moves the order of a side and level there, or makes one.
    fn quote(
        &self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        (side, level, ticks): (Side, i64, i64),
        commands: &mut Vec<Command>,
    ) {
        let resting = hand
            .orders
            .iter()
            .filter_map(|order| scene.market.resting(*order));
        let there = resting
            .filter(|order| order.side == side)
            .nth(level as usize);
        match there {
            None => {
                let new = NewOrder {
                    post_only: true,
                    ..hand.limit(scene, side, draws.size(100), ticks)
                };
                hand.rest(new, commands);
            }
            Some(order) => {
                let price = order.price.map_or(ticks, |price| scene.ticks(price));
                if (price - ticks).abs() > 1 {
                    let all = order.leaves.checked_add(order.traded);
                    let quantity = all.unwrap_or(order.leaves);
                    commands.push(moved(order.order, quantity, scene.price(ticks)));
                }
            }
        }
    }
}
