//! What each trader has in a book, and how much he put there of late.
//!
//! Invariant: who has nothing in the book and put nothing there for a while is forgotten.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tapewatch_model::Side;

use super::order::Held;
use crate::detector::NOBODY;

/// What is put into the book is summed by spans of this; the last and the one before are known.
const SPAN: i64 = 10_000_000_000;
/// Spans after which those who left are forgotten.
const SPANS_KEPT: i64 = 6;

/// The traders of an instrument.
#[derive(Debug, Clone, Default)]
pub(crate) struct Presences {
    /// Never iterated but to forget.
    traders: HashMap<u32, Presence, FixedState>,
    /// When those who left were last forgotten.
    swept: i64,
}

/// One trader; buy and sell, in units.
#[derive(Debug, Clone, Copy, Default)]
struct Presence {
    resting: [i64; 2],
    span: i64,
    placed: [i64; 2],
    placed_before: [i64; 2],
}

fn at<T>([buy, sell]: [T; 2], side: Side) -> T {
    match side {
        Side::Buy => buy,
        Side::Sell => sell,
    }
}

fn at_mut<T>([buy, sell]: &mut [T; 2], side: Side) -> &mut T {
    match side {
        Side::Buy => buy,
        Side::Sell => sell,
    }
}

impl Presences {
    /// What a trader has in the book on a side, shown or not.
    pub(crate) fn resting(&self, trader: u32, side: Side) -> i64 {
        let presence = self.traders.get(&trader);
        presence.map_or(0, |presence| at(presence.resting, side))
    }

    /// What a trader put into the book on a side in the last 10 to 20 seconds, whatever became of it.
    pub(crate) fn placed(&self, trader: u32, side: Side, now: i64) -> i64 {
        let Some(presence) = self.traders.get(&trader) else {
            return 0;
        };
        let (placed, before) = (at(presence.placed, side), at(presence.placed_before, side));
        match now.div_euclid(SPAN) - presence.span {
            0 => placed.saturating_add(before),
            1 => placed,
            _ => 0,
        }
    }

    /// An order comes to rest.
    pub(super) fn enters(&mut self, now: i64, held: &Held) {
        if held.trader == NOBODY {
            return;
        }
        let span = now.div_euclid(SPAN);
        if span - self.swept > SPANS_KEPT {
            self.swept = span;
            let kept =
                |presence: &Presence| presence.resting != [0; 2] || span - presence.span <= 1;
            self.traders.retain(|_, presence| kept(presence));
        }
        let presence = self.traders.entry(held.trader).or_default();
        if presence.span != span {
            let follows = presence.span + 1 == span;
            presence.placed_before = if follows { presence.placed } else { [0; 2] };
            presence.placed = [0; 2];
            presence.span = span;
        }
        for sum in [&mut presence.resting, &mut presence.placed] {
            let sum = at_mut(sum, held.side);
            *sum = sum.saturating_add(held.leaves);
        }
    }

    /// So much of an order rests no more.
    pub(super) fn leaves(&mut self, held: &Held, less: i64) {
        if let Some(presence) = self.traders.get_mut(&held.trader) {
            let resting = at_mut(&mut presence.resting, held.side);
            *resting = resting.saturating_sub(less);
        }
    }

    /// All of them, in order.
    pub(super) fn save(&self) -> SavedPresences {
        let mut traders: Vec<_> = self.traders.iter().collect();
        traders.sort_unstable_by_key(|(trader, _)| **trader);
        let traders = traders.into_iter().map(|(trader, one)| {
            (
                *trader,
                one.resting,
                one.span,
                one.placed,
                one.placed_before,
            )
        });
        (self.swept, traders.collect())
    }

    pub(super) fn load((swept, saved): SavedPresences) -> Self {
        let traders = saved.into_iter();
        let traders = traders.map(|(trader, resting, span, placed, placed_before)| {
            let presence = Presence {
                resting,
                span,
                placed,
                placed_before,
            };
            (trader, presence)
        });
        Self {
            traders: traders.collect(),
            swept,
        }
    }
}

/// When it was swept; of each trader what rests, the span, what was placed in it and in the one before.
pub(super) type SavedPresences = (i64, Vec<(u32, [i64; 2], i64, [i64; 2], [i64; 2])>);
