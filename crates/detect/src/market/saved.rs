//! A market as it is saved and taken in again.
//!
//! Invariant: a market that was saved and loaded behaves as the one that was saved.

use serde::{Deserialize, Serialize};
use tapewatch_model::{Flags, Side};

use super::presence::SavedPresences;
use super::{Aside, Held, Market, OpenExecution, Party, Presences, Prints, Pulse, Sizes};

/// An order: key, and what is held of it.
type SavedOrder = (u64, SavedHeld);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedHeld {
    who: (u32, u32, u32),
    entered: (i64, u64, i64, i64),
    side: Side,
    units: (i64, i64, i64, i64, i64),
    flags: u32,
    /// What of it is shown now.
    shown: i64,
}

/// A market as it is saved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SavedMarket {
    /// In the order of their queues.
    resting: Vec<SavedOrder>,
    aside: Vec<SavedOrder>,
    presence: SavedPresences,
    now: i64,
    mid2: i64,
    prints: Prints,
    pulse: Pulse,
    sizes: Sizes,
    /// Execution, side, trader, owner, sequence number, order.
    open: Option<(u64, Side, u32, u32, u64, Option<SavedHeld>)>,
    uncalm: i64,
    overflows: u64,
}

impl SavedHeld {
    fn of(held: &Held, shown: i64) -> Self {
        Self {
            who: (held.trader, held.owner, held.check),
            entered: (held.entered, held.entered_seq, held.placed, held.mid2),
            side: held.side,
            units: (
                held.price,
                held.quantity,
                held.traded,
                held.leaves,
                held.display,
            ),
            flags: held.flags.bits(),
            shown,
        }
    }

    fn held(&self) -> Held {
        let ((trader, owner, check), (entered, entered_seq, placed, mid2)) =
            (self.who, self.entered);
        let (price, quantity, traded, leaves, display) = self.units;
        Held {
            trader,
            owner,
            entered,
            entered_seq,
            placed,
            side: self.side,
            price,
            quantity,
            traded,
            leaves,
            display,
            flags: Flags::from_bits(self.flags).unwrap_or_default(),
            mid2,
            check,
        }
    }
}

impl Market {
    pub(crate) fn save(&self) -> SavedMarket {
        let side = |side| self.book.orders(side);
        let resting = side(Side::Buy).chain(side(Side::Sell));
        let resting = resting.map(|order| {
            let held = SavedHeld::of(&order.extra, order.quantity.units());
            (order.key.0, held)
        });
        let aside = self.aside.iter();
        let aside = aside.map(|aside| (aside.key, SavedHeld::of(&aside.held, 0)));
        let open = self.open.map(|open| {
            let order = open.party.order.as_ref().map(|held| SavedHeld::of(held, 0));
            let Party {
                trader, owner, seq, ..
            } = open.party;
            (open.exec, open.side, trader, owner, seq, order)
        });
        SavedMarket {
            resting: resting.collect(),
            aside: aside.collect(),
            presence: self.presence.save(),
            now: self.now,
            mid2: self.mid2,
            prints: self.prints.clone(),
            pulse: self.pulse.clone(),
            sizes: self.sizes.clone(),
            open,
            uncalm: self.uncalm,
            overflows: self.overflows,
        }
    }

    pub(crate) fn load(saved: SavedMarket) -> Self {
        let mut market = Self {
            now: saved.now,
            mid2: saved.mid2,
            prints: saved.prints,
            pulse: saved.pulse,
            sizes: saved.sizes,
            uncalm: saved.uncalm,
            ..Self::default()
        };
        for (key, saved) in &saved.resting {
            let held = saved.held();
            market.rest(*key, held, saved.shown);
        }
        let aside = saved.aside.iter();
        let aside = aside.map(|(key, saved)| Aside {
            key: *key,
            held: saved.held(),
        });
        market.aside = aside.collect();
        market.open = saved.open.map(|(exec, side, trader, owner, seq, order)| {
            let order = order.as_ref().map(SavedHeld::held);
            let party = Party {
                trader,
                owner,
                seq,
                order,
            };
            OpenExecution { exec, side, party }
        });
        // Resting again they were counted again.
        market.presence = Presences::load(saved.presence);
        market.overflows = saved.overflows;
        market
    }
}
