//! Layering: orders on several price levels of one side, a fill on the other, then they go.
//!
//! Invariant: at most 4 executions with 256 orders each are kept for a trader in an instrument, for
//! cancel_within: 17 KB when full, nothing for most. Source: EU 2016/522, Annex II, indicator of
//! "layering and spoofing"; US CEA 4c(a)(5)(C).

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventTypes, TimeSpan};

use crate::detector::{DetectorInfo, Need, Registration};
use crate::entities::key;
use crate::params::{ParamSet as _, Profiles, params};
use crate::pressure::{Rule, Traders, apply};
use crate::step::{Found, Step};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<Layering>();

params! {
    struct Params {
        /// The large orders count that came in so long before the fill on the other side.
        window: TimeSpan = "10s",
        /// They are placed within so long of each other.
        placed_within: TimeSpan = "5s",
        /// They are on at least so many price levels.
        levels: u64 = "3",
        /// How soon after the fill they are cancelled.
        cancel_within: TimeSpan = "1s",
        /// They make at least this share of what is shown on the five best levels of their side.
        book_share: Decimal = "0.2",
        /// They are at least so many times what the trader fills and has left on the other side, and so
        /// many times what he put there in the last 10 to 20 seconds.
        multiple: Decimal = "9",
        /// At least this share of them is cancelled.
        cancelled_share: Decimal = "0.8",
        /// They are at least this share of all that the trader put there in the last 10 to 20 seconds:
        /// who quotes all the time puts there much more.
        fresh_share: Decimal = "0.6",
        /// At most this share of them executes.
        executed_share: Decimal = "0.05",
    }
}

impl Params {
    fn rule(&self) -> Rule {
        Rule {
            window: self.window,
            placed_within: self.placed_within,
            cancel_within: self.cancel_within,
            share: self.book_share,
            multiple: self.multiple,
            cancelled: self.cancelled_share,
            executed: self.executed_share,
            fresh: self.fresh_share,
            levels: self.levels,
        }
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Layering {
    traders: Traders,
}

impl Watch for Layering {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "layering",
        version: 1,
        title: "Orders on several levels of one side, a fill on the other, then they are cancelled",
        rule: "At a cancel (a reduction counts as one, a move to another price too): the trader had an \
            execution on the other side at most cancel_within before; at that time his orders on this \
            side that were at most window old made at least book_share of the five best levels and at \
            least multiple times what he filled and had left on the other, and what he had put there of late, on at least levels prices and \
            placed within placed_within; since then at least \
            cancelled_share of them was cancelled and at most executed_share executed. False \
            positives: a trader who hedges at another venue and takes his quotes away after a fill.",
        source: "EU 2016/522 Annex II (layering and spoofing); US CEA 4c(a)(5)(C)",
        params: Params::PARAMS,
        needs: &[Need::Trader],
        by_default: false,
    };

    const EVENTS: EventTypes = crate::pressure::EVENTS;

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let Some(trader) = step.trader() else {
            return;
        };
        let rule = params.of(step).rule();
        if let Some(pressed) = apply(&mut self.traders, step, trader, &rule) {
            found.hit(step, key(step.sym, trader), rule.window, || {
                pressed.finding(step, &rule, "Layering")
            });
        }
    }

    fn entities(&self) -> u64 {
        self.traders.len()
    }
}
