//! Noise traders: they come without a reason, mostly wait near the best price, sometimes take it, and
//! change their minds.

use tapewatch_model::Side;

use super::agent::{Hand, Scene};
use super::draws::Draws;
use crate::command::{Command, NewOrder};

const LOOKS_EVERY: i64 = 5_000_000_000;

/// A noise trader.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise;

impl Noise {
    pub(super) fn act(
        &mut self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        commands: &mut Vec<Command>,
    ) -> i64 {
        let what = draws.below(100);
        let side = if draws.chance(500) {
            Side::Buy
        } else {
            Side::Sell
        };
        let lots = draws.size(10);
        if what < 35 && !hand.orders.is_empty() {
            let at = draws.below(hand.orders.len() as u64) as usize;
            if let Some(order) = hand.orders.get(at) {
                commands.push(Command::Cancel(*order));
            }
        } else if what < 45 && scene.continuous() {
            let across = scene.best(side.opposite());
            commands.push(hand.take(scene, side, lots, across));
        } else {
            let away = draws.steps(850);
            let best = scene.best(side);
            // Within the spread where there is room.
            let better = i64::from((best - scene.best(side.opposite())).abs() > 1);
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
        LOOKS_EVERY
    }
}
