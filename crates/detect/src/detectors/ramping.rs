//! Ramping: a run of a trader's own executions over minutes, each of which lifts (or lowers) the price.
//!
//! Invariant: at most 256 orders of the window are kept for a trader, side and instrument (10 KB when
//! full), and of an instrument the prices of the window that no later one reached, at most 4,096 each
//! way (64 KB each when full). Source: EU 2016/522, Annex II, "advancing the bid", "painting the tape".

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Side, TimeSpan};

use crate::detector::{DetectorInfo, Finding, NOBODY, Need, Registration};
use crate::entities::{Entities, key};
use crate::fills::{done, measure, sign};
use crate::params::{ParamSet as _, Profiles, at_least, params, ratio};
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<Ramping>();
const ORDERS_MAX: usize = 256;
const EXTREMES_MAX: usize = 4_096;

params! {
    struct Params {
        /// How far back it looks.
        window: TimeSpan = "10m",
        /// At least so many orders of the trader's on the side executed as they came in.
        executions: u64 = "8",
        /// At least this share of what they executed was by those that reached a price beyond which no
        /// other was since the first of them.
        extreme_share: Decimal = "0.8",
        /// They make at least this share of the volume since the first of them.
        volume_share: Decimal = "0.3",
        /// The price moved by at least this share from the first to the last of them.
        move_share: Decimal = "0.003",
        /// They took at least so long.
        least_time: TimeSpan = "30s",
    }
}

/// Prices that no later one reached in one direction, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Extremes(VecDeque<(i64, i64)>);

impl Extremes {
    /// Takes a price (times the direction's sign) in. When the latest that was beyond it was, `i64::MIN`
    /// when there was none in the window; `None` when there was no room for it.
    fn push(&mut self, time: i64, price: i64, window: i64) -> Option<i64> {
        let oldest = time.saturating_sub(window);
        while self.0.front().is_some_and(|first| first.0 < oldest) {
            self.0.pop_front();
        }
        while self.0.back().is_some_and(|last| last.1 <= price) {
            self.0.pop_back();
        }
        let beyond = self.0.back().map_or(i64::MIN, |last| last.0);
        if self.0.len() >= EXTREMES_MAX {
            return None;
        }
        self.0.push_back((time, price));
        Some(beyond)
    }
}

/// An order that executed as it came in.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Own {
    time: i64,
    key: u64,
    /// Of its first execution and of its last.
    first_price: i64,
    last_price: i64,
    quantity: i64,
    /// When the price was last beyond its last one before.
    beyond: i64,
    seq: u64,
}

/// A trader's orders on a side.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Run {
    orders: VecDeque<Own>,
    /// The condition held at the last of them.
    held: bool,
}

/// What makes it a hit.
struct Ramp {
    /// Which of the orders is its first, and how many there are from it on.
    from: usize,
    count: u64,
    volume: i128,
    extreme: Decimal,
    share: Decimal,
    moved: Decimal,
}

impl Run {
    /// Takes an execution in; whether an order within the window was dropped for want of room.
    fn push(&mut self, step: &Step<'_>, beyond: i64, window: i64) -> bool {
        let oldest = step.time.saturating_sub(window);
        while self.orders.front().is_some_and(|own| own.time < oldest) {
            self.orders.pop_front();
        }
        if let Some(last) = self.orders.back_mut()
            && last.key == step.key
            && last.key != 0
        {
            last.last_price = step.price;
            last.quantity = last.quantity.saturating_add(step.quantity);
            last.beyond = beyond;
            return false;
        }
        let full = self.orders.len() >= ORDERS_MAX;
        if full {
            self.orders.pop_front();
        }
        self.orders.push_back(Own {
            time: step.time,
            key: step.key,
            first_price: step.price,
            last_price: step.price,
            quantity: step.quantity,
            beyond,
            seq: step.seq,
        });
        full
    }

    /// The longest run up to the last of them that is a ramp now: what he did before it is no part.
    fn judge(&self, step: &Step<'_>, params: &Params) -> Option<Ramp> {
        let last = self.orders.back()?;
        let latest = last.time.saturating_sub(params.least_time.nanos());
        let least = usize::try_from(params.executions).unwrap_or(usize::MAX);
        let starts = self.orders.iter().enumerate();
        let mut starts = starts.take((self.orders.len() + 1).saturating_sub(least.max(1)));
        starts.find_map(|(from, first)| {
            let moved = last.last_price.saturating_sub(first.first_price);
            let ahead = i128::from(moved.saturating_mul(sign(step.side)));
            let price = i128::from(first.first_price.saturating_abs());
            if first.time > latest || !at_least(ahead, params.move_share, price) {
                return None;
            }
            let (mut volume, mut extreme) = (0, 0);
            for own in self.orders.iter().skip(from) {
                let quantity = i128::from(own.quantity);
                volume += quantity;
                extreme += if own.beyond < first.time { quantity } else { 0 };
            }
            if !at_least(extreme, params.extreme_share, volume) {
                return None;
            }
            let all = step.market.prints().between(first.time, step.time).volume;
            let all = all.max(volume);
            at_least(volume, params.volume_share, all).then(|| Ramp {
                from,
                count: (self.orders.len() - from) as u64,
                volume,
                extreme: ratio(extreme, volume),
                share: ratio(volume, all),
                moved: ratio(moved.into(), price),
            })
        })
    }
}

fn say(step: &Step<'_>, params: &Params, run: &Run, ramp: &Ramp) -> Finding {
    let count = Decimal::from_count;
    let measures = vec![
        measure("executions", count(ramp.count), count(params.executions)),
        measure("extreme_share", ramp.extreme, params.extreme_share),
        measure("volume_share", ramp.share, params.volume_share),
        measure("move_share", ramp.moved, params.move_share),
    ];
    let text = format!(
        "Ramping: {trader} {done} {volume} of {sym} with {orders} orders that came in (at least \
         {least}), {extreme} of that at an extreme (at least {extreme_share}), {share} of the \
         volume (at least {volume_share}), and moved the price by {moved} of it (at least \
         {move_share}).",
        trader = step.trader_name(),
        done = done(step.side),
        volume = Decimal::from_quantity_units(ramp.volume),
        sym = step.sym_name(),
        orders = ramp.count,
        least = params.executions,
        extreme = ramp.extreme,
        extreme_share = params.extreme_share,
        share = ramp.share,
        volume_share = params.volume_share,
        moved = ramp.moved,
        move_share = params.move_share,
    );
    let orders = run.orders.iter().skip(ramp.from);
    finding(step, measures, orders.map(|own| own.seq), text)
}

/// The instrument's extremes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Range {
    highest: Extremes,
    lowest: Extremes,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ramping {
    runs: Entities<Run>,
    ranges: Entities<Range>,
    overflows: u64,
}

impl Watch for Ramping {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "ramping",
        version: 2,
        title: "A run of own executions that lift or lower the price over minutes",
        rule: "At an execution of an order that came in: the latest of the trader's such orders on this \
            side within window (of the latest 256), from one of them on, are a run of at least \
            executions over at least least_time; at least extreme_share of what they executed was by \
            orders that reached a price beyond which no execution since the first of them was; they \
            make at least volume_share of the volume since then; and the price moved their way by at \
            least move_share from the first of their executions to the last. Once until it no longer \
            holds. Auctions set extremes but are no such orders. False positives: a large order \
            worked in a hurry in a market that runs away from it.",
        source: "EU 2016/522 Annex II (advancing the bid, painting the tape)",
        params: Params::PARAMS,
        needs: &[Need::Trader],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::of(&[EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        if step.aggressor == Some(step.side.opposite()) {
            return; // the other side's row tells it
        }
        // The same for all who trade in it.
        let over = params.of_class(step).window.nanos();
        let range = self.ranges.get(step, NOBODY, over);
        let high = range.highest.push(step.time, step.price, over);
        let low = range
            .lowest
            .push(step.time, step.price.saturating_neg(), over);
        self.overflows += u64::from(high.is_none()) + u64::from(low.is_none());
        let (Some(trader), true) = (step.trader(), step.is_aggressive()) else {
            return;
        };
        let params = params.of(step);
        let window = params.window.nanos();
        let beyond = match step.side {
            Side::Buy => high,
            Side::Sell => low,
        };
        let who = trader << 1 | u32::from(step.side == Side::Sell);
        let run = self.runs.get(step, who, window);
        let dropped = run.push(step, beyond.unwrap_or(step.time), window);
        self.overflows += u64::from(dropped);
        let ramp = run.judge(step, params);
        let held = std::mem::replace(&mut run.held, ramp.is_some());
        if let Some(ramp) = ramp.filter(|_| !held) {
            found.hit(step, key(step.sym, who), params.window, || {
                say(step, params, run, &ramp)
            });
        }
    }

    fn entities(&self) -> u64 {
        self.runs.len()
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }
}
