//! Institutions: they buy or sell much, in slices over minutes, first waiting at the best price, then
//! taking what is there.
//!
//! Invariant: one parent order at a time, one slice of it at a time, and no more is bought or sold than
//! the parent.

use tapewatch_model::Side;

use super::agent::{Hand, Scene};
use super::draws::Draws;
use crate::command::Command;

const SLICE_EVERY: i64 = 20_000_000_000;
const RESTS_FOR: i64 = 600_000_000_000;

/// An institution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Institution {
    /// Lots of his smaller parent orders.
    size: u64,
    parent: Option<Parent>,
}

#[derive(Debug, Clone, Copy)]
struct Parent {
    side: Side,
    /// The position at which it is done.
    goal: i64,
    slice: u64,
}

impl Institution {
    pub(super) const fn new(size: u64) -> Self {
        Self { size, parent: None }
    }

    pub(super) fn act(
        &mut self,
        scene: &Scene,
        hand: &mut Hand,
        draws: &mut Draws,
        commands: &mut Vec<Command>,
    ) -> i64 {
        if !scene.continuous() {
            return SLICE_EVERY;
        }
        let Some(parent) = self.parent else {
            let lots = draws.size(self.size).min(8 * self.size);
            let side = draws.side();
            let signed = lots as i64;
            let goal = match side {
                Side::Buy => hand.position + signed,
                Side::Sell => hand.position - signed,
            };
            let slice = lots / 20 + 1;
            self.parent = Some(Parent { side, goal, slice });
            return SLICE_EVERY;
        };
        let left = match parent.side {
            Side::Buy => parent.goal - hand.position,
            Side::Sell => hand.position - parent.goal,
        };
        let lots = parent.slice.min(u64::try_from(left).unwrap_or(0));
        if let Some(waiting) = hand.orders.first() {
            // It waited for long enough.
            commands.push(Command::Cancel(*waiting));
            if draws.chance(500) && lots > 0 {
                let across = scene.best(parent.side.opposite());
                commands.push(hand.take(scene, parent.side, lots, across));
            }
        } else if lots > 0 {
            let best = scene.best(parent.side);
            let new = hand.limit(scene, parent.side, lots, best);
            hand.rest(new, commands);
        } else {
            self.parent = None;
            return RESTS_FOR;
        }
        SLICE_EVERY
    }
}
