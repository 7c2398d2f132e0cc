//! Orders that press on one side of a book while their owner trades on the other: what bait-and-switch
//! spoofing and layering have in common.
//!
//! Invariant: per trader and instrument at most [`ORDERS_MAX`] orders of his of the last seconds and
//! [`LURES_MAX`] executions that may have been lured are kept.

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, Measure, Side, TimeSpan};

use crate::detector::Finding;
use crate::market::Held;
use crate::params::{at_least, at_most, ratio};
use crate::step::{Step, finding};

const ORDERS_MAX: usize = 256;
const LURES_MAX: usize = 4;
/// Price levels of which the shown quantity counts as the book's.
const LEVELS: usize = 5;

/// When it is a hit; see the detectors' parameters.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) window: TimeSpan,
    pub(crate) placed_within: TimeSpan,
    pub(crate) cancel_within: TimeSpan,
    pub(crate) share: Decimal,
    pub(crate) multiple: Decimal,
    pub(crate) cancelled: Decimal,
    pub(crate) executed: Decimal,
    pub(crate) levels: u64,
}

/// An order of the trader's.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Own {
    key: u64,
    side: Side,
    price: i64,
    leaves: i64,
    entered: i64,
    seq: u64,
}

/// An execution on one side while orders pressed on the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lure {
    time: i64,
    /// Of the orders that press.
    side: Side,
    /// The execution's.
    filled: i64,
    fill_seq: u64,
    /// The middle, twice, when the first of the orders came in.
    mid2: i64,
    /// What the orders amount to, on how many levels, of how much in the book, and the trader's own
    /// on the other side.
    pressing: i128,
    levels: u64,
    depth: i128,
    genuine: i128,
    keys: Vec<u64>,
    seqs: Vec<u64>,
    cancelled: i128,
    executed: i128,
}

/// What is kept of a trader in an instrument.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pressure {
    /// Oldest first.
    own: Vec<Own>,
    lures: Vec<Lure>,
}

/// What pressed, at the event that completes the pattern.
pub(crate) struct Pressed(Lure);

impl Pressure {
    /// Whether there is nothing that the trader's next cancel or execution could complete: only a new
    /// order could matter.
    fn is_idle(&self) -> bool {
        self.own.is_empty() && self.lures.is_empty()
    }

    /// Applies a row of the trader's; what completes the pattern at it.
    pub(crate) fn apply(&mut self, step: &Step<'_>, rule: &Rule) -> Option<Pressed> {
        let enters = matches!(step.kind, EventType::New | EventType::Amended);
        if !enters && self.is_idle() {
            return None;
        }
        let (key, held) = (step.key, step.order?);
        match step.kind {
            EventType::New => self.enter(key, &held, rule, step),
            EventType::Amended => {
                let moved = held.price != step.price;
                let less = if moved {
                    held.leaves
                } else {
                    held.leaves - step.quantity
                };
                let pressed = self.cancelled(step, rule, key, less.max(0));
                let after = Held {
                    price: step.price,
                    leaves: step.quantity,
                    ..held
                };
                self.own.retain(|own| own.key != key);
                let entered = if moved { step.time } else { held.entered };
                self.enter(key, &Held { entered, ..after }, rule, step);
                return pressed;
            }
            EventType::Cancelled => {
                self.own.retain(|own| own.key != key);
                return self.cancelled(step, rule, key, held.leaves);
            }
            EventType::Filled => self.filled(step, rule, &held),
        }
        None
    }

    fn enter(&mut self, key: u64, held: &Held, rule: &Rule, step: &Step<'_>) {
        let oldest = step.time.saturating_sub(rule.window.nanos());
        if self.own.len() >= ORDERS_MAX || self.own.first().is_some_and(|own| own.entered < oldest)
        {
            self.own.retain(|own| own.entered >= oldest);
        }
        if self.own.len() >= ORDERS_MAX {
            self.own.remove(0);
        }
        if held.leaves > 0 && key != 0 && held.entered >= oldest {
            self.own.push(Own {
                key,
                side: held.side,
                price: held.price,
                leaves: held.leaves,
                entered: held.entered,
                seq: step.seq,
            });
        }
    }

    /// An execution of the trader's: takes note when his orders press on the other side.
    fn filled(&mut self, step: &Step<'_>, rule: &Rule, held: &Held) {
        for lure in self
            .lures
            .iter_mut()
            .filter(|lure| lure.keys.contains(&step.key))
        {
            lure.executed += i128::from(step.quantity);
        }
        if let Some(own) = self.own.iter_mut().find(|own| own.key == step.key) {
            own.leaves -= step.quantity;
        }
        self.own.retain(|own| own.leaves > 0);
        let since = step.time.saturating_sub(rule.cancel_within.nanos());
        self.lures.retain(|lure| lure.time >= since);
        let Some(lure) = self.lure(step, rule, held) else {
            return;
        };
        if self.lures.len() >= LURES_MAX {
            self.lures.remove(0);
        }
        self.lures.push(lure);
    }

    /// What presses on the other side of an execution, when it is enough.
    fn lure(&self, step: &Step<'_>, rule: &Rule, held: &Held) -> Option<Lure> {
        let side = held.side.opposite();
        let since = step.time.saturating_sub(rule.window.nanos());
        // Older ones may be there still, or not: whoever was idle for long is forgotten.
        let of = |side| {
            let own = self.own.iter();
            own.filter(move |own| own.side == side && own.entered >= since)
        };
        let latest = of(side).map(|own| own.entered).max()?;
        let from = latest.saturating_sub(rule.placed_within.nanos());
        let orders = || of(side).filter(move |own| own.entered >= from);
        let pressing: i128 = orders().map(|own| i128::from(own.leaves)).sum();
        // What is left of the executed order after it, and what of it traded.
        let others: i128 = of(held.side).map(|own| i128::from(own.leaves)).sum();
        let genuine = others + i128::from(step.quantity);
        if !at_least(pressing, rule.multiple, genuine) {
            return None;
        }
        let depth = step.market.depth(side, LEVELS);
        if !at_least(pressing, rule.share, depth) {
            return None;
        }
        let mut prices: Vec<i64> = orders().map(|own| own.price).collect();
        prices.sort_unstable();
        prices.dedup();
        let levels = prices.len() as u64;
        if levels < rule.levels {
            return None;
        }
        let first = orders().map(|own| own.entered).min()?;
        Some(Lure {
            time: step.time,
            side,
            filled: step.quantity,
            fill_seq: step.seq,
            mid2: step.market.pulse().mid2_before(first).unwrap_or_default(),
            pressing,
            levels,
            depth,
            genuine,
            keys: orders().map(|own| own.key).collect(),
            seqs: orders().map(|own| own.seq).collect(),
            cancelled: 0,
            executed: 0,
        })
    }

    /// So much of an order is gone unfilled: whether that completes a lure.
    fn cancelled(
        &mut self,
        step: &Step<'_>,
        rule: &Rule,
        key: u64,
        quantity: i64,
    ) -> Option<Pressed> {
        let since = step.time.saturating_sub(rule.cancel_within.nanos());
        self.lures.retain(|lure| lure.time >= since);
        let mut complete = None;
        for (at, lure) in self.lures.iter_mut().enumerate() {
            if !lure.keys.contains(&key) {
                continue;
            }
            lure.cancelled += i128::from(quantity);
            lure.seqs.push(step.seq);
            let enough = at_least(lure.cancelled, rule.cancelled, lure.pressing);
            let honest = lure.executed > 0 && !at_most(lure.executed, rule.executed, lure.pressing);
            if enough && !honest && complete.is_none() {
                complete = Some(at);
            }
        }
        complete.map(|at| Pressed(self.lures.remove(at)))
    }
}

impl Pressed {
    /// What there is to say of it.
    pub(crate) fn finding(&self, step: &Step<'_>, rule: &Rule, what: &str) -> Finding {
        let lure = &self.0;
        let measure = |name, value, threshold| Measure {
            name,
            value,
            threshold,
        };
        let delay = step.time - lure.time;
        let cancelled = ratio(lure.cancelled, lure.pressing);
        let sign = match lure.side {
            Side::Buy => 1,
            Side::Sell => -1,
        };
        let middle = step
            .market
            .pulse()
            .mid2_before(lure.time)
            .unwrap_or(lure.mid2);
        let drift = Decimal::from_units(i128::from(sign * (middle - lure.mid2) / 2));
        let quantity = |units: i128| Decimal::from_quantity_units(units);
        let mut measures = vec![
            measure(
                "share_of_book",
                ratio(lure.pressing, lure.depth),
                rule.share,
            ),
            measure(
                "multiple",
                ratio(lure.pressing, lure.genuine),
                rule.multiple,
            ),
            measure("cancelled_share", cancelled, rule.cancelled),
        ];
        if rule.levels > 1 {
            let count = Decimal::from_count;
            measures.push(measure("levels", count(lure.levels), count(rule.levels)));
        }
        let side = match lure.side {
            Side::Buy => "buy",
            Side::Sell => "sell",
        };
        let text = format!(
            "{what}: {trader} had {pressing} to {side} in {sym} on {levels} price levels, {share} of the \
             five best and {multiple} times the own other side, traded {filled} there, and cancelled \
             {cancelled} of it within {delay}; the price had drifted {drift} in favour.",
            trader = step.trader_name(),
            sym = step.sym_name(),
            pressing = quantity(lure.pressing),
            levels = lure.levels,
            share = ratio(lure.pressing, lure.depth),
            multiple = ratio(lure.pressing, lure.genuine),
            filled = quantity(i128::from(lure.filled)),
            delay = TimeSpan::from_nanos(delay),
        );
        let seqs = lure.seqs.iter().copied().chain([lure.fill_seq]);
        finding(step, measures, seqs, text)
    }
}
