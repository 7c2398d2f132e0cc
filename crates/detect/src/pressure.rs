//! Orders that press on one side of a book while their owner trades on the other: what bait-and-switch
//! spoofing and layering have in common.
//!
//! Invariant: per trader and instrument at most [`LURES_MAX`] executions that may have been lured are
//! kept, each with at most [`ORDERS_MAX`] orders, and only for cancel_within: 17 KB when full, nothing
//! for most.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use tapewatch_model::{BookOrder, Decimal, EventType, EventTypes, Flags, Measure, Side, TimeSpan};

use crate::detector::{DetectorInfo, Finding, Need};
use crate::entities::{Entities, key};
use crate::market::Held;
use crate::params::{ParamSet, Profiles, at_least, at_most, ratio};
use crate::step::{Found, Step, finding};
use crate::watch::Watch;

const ORDERS_MAX: usize = 256;
/// Orders of the book that are searched for the trader's, best prices first.
const SEARCHED_MAX: usize = 4_096;
const LURES_MAX: usize = 4;
/// Price levels of which the shown quantity counts as the book's.
const LEVELS: usize = 5;

/// Orders from which on it is known how large they usually are.
const ORDERS_KNOWN: u64 = 100;

/// A kind of it: its parameters, and what it is.
pub(crate) trait Kind: ParamSet + 'static {
    const INFO: DetectorInfo;
    /// How its findings begin.
    const NAME: &'static str;

    /// When it is a hit.
    fn rule(&self) -> Rule;
}

/// What the kinds have in common; the rest is theirs.
pub(crate) const INFO: DetectorInfo = DetectorInfo {
    id: "",
    version: 3,
    title: "",
    rule: "At an execution of a trader's, his orders on the other side of the book press when those \
        that are at most window old make at least book_share of the five best levels, at least \
        multiple times the executed order and what he put on its side of late, at \
        least fresh_share of what he put on theirs, and at least size_multiple times the usual order \
        (the median, where 100 are known), on at least levels prices, with at most level_share of \
        them on one; of longer placing, the stretch of placed_within counts in which most was placed. What was executed is an order that waited and came in within together of one \
        of them, or one that came in to trade when the first of them had stood for at least stood. A \
        hit is the cancel (a reduction counts as one, a move to another price too) at most \
        cancel_within later with which at least cancelled_share of them is cancelled and at most \
        executed_share executed. What the venue cancels, and what is cancelled in a halt or an \
        auction, does not count. False positives: a trader who hedges at another venue and takes his \
        quotes away after a fill; one who changes his mind about a large order just after a small one \
        on the other side traded.",
    source: "EU 2016/522 Annex II (layering and spoofing); US CEA 4c(a)(5)(C)",
    params: &[],
    needs: &[Need::Trader],
    by_default: false,
};

/// Declares the parameters of a kind; those named differ.
macro_rules! pressing {
    (
        placed_within = $placed_within:literal,
        cancel_within = $cancel_within:literal,
        together = $together:literal,
        stood = $stood:literal,
        multiple = $multiple:literal,
        size_multiple = $size_multiple:literal,
        levels = $levels:literal,
        level_share = $level_share:literal,
    ) => {
        crate::params::params! {
            struct Params {
                /// The large orders count that came in so long before the fill on the other side.
                window: tapewatch_model::TimeSpan = "10s",
                /// Of these, those of the stretch so long in which most was placed.
                placed_within: tapewatch_model::TimeSpan = $placed_within,
                /// How soon after the fill they are cancelled.
                cancel_within: tapewatch_model::TimeSpan = $cancel_within,
                /// What filled, where it had waited, came in at most so long before or after one of
                /// them: the two were sent for each other.
                together: tapewatch_model::TimeSpan = $together,
                /// Where it came in to trade, the first of them had stood for so long: to press takes
                /// time.
                stood: tapewatch_model::TimeSpan = $stood,
                /// They make at least this share of what is shown on the five best levels of their
                /// side.
                book_share: tapewatch_model::Decimal = "0.2",
                /// They are at least so many times the order that fills, and so many
                /// times what the trader put on its side in the last 10 to 20 seconds.
                multiple: tapewatch_model::Decimal = $multiple,
                /// And at least so many times the usual order of the instrument.
                size_multiple: tapewatch_model::Decimal = $size_multiple,
                /// They are on at least so many price levels.
                levels: u64 = $levels,
                /// At most this share of them is on one price level.
                level_share: tapewatch_model::Decimal = $level_share,
                /// At least this share of them is cancelled.
                cancelled_share: tapewatch_model::Decimal = "0.8",
                /// They are at least this share of all that the trader put there in the last 10 to 20
                /// seconds: who quotes all the time puts there much more.
                fresh_share: tapewatch_model::Decimal = "0.4",
                /// At most this share of them executes.
                executed_share: tapewatch_model::Decimal = "0.05",
            }
        }

        impl Params {
            const fn terms(&self) -> crate::pressure::Rule {
                crate::pressure::Rule {
                    window: self.window,
                    placed_within: self.placed_within,
                    cancel_within: self.cancel_within,
                    together: self.together,
                    stood: self.stood,
                    share: self.book_share,
                    multiple: self.multiple,
                    size_multiple: self.size_multiple,
                    cancelled: self.cancelled_share,
                    executed: self.executed_share,
                    fresh: self.fresh_share,
                    levels: self.levels,
                    level_share: self.level_share,
                }
            }
        }
    };
}
pub(crate) use pressing;

/// When it is a hit; see the parameters.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) window: TimeSpan,
    pub(crate) placed_within: TimeSpan,
    pub(crate) cancel_within: TimeSpan,
    pub(crate) together: TimeSpan,
    pub(crate) stood: TimeSpan,
    pub(crate) share: Decimal,
    pub(crate) multiple: Decimal,
    pub(crate) size_multiple: Decimal,
    pub(crate) cancelled: Decimal,
    pub(crate) executed: Decimal,
    pub(crate) fresh: Decimal,
    pub(crate) levels: u64,
    pub(crate) level_share: Decimal,
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
struct Pressure {
    /// Oldest first.
    lures: Vec<Lure>,
}

/// What pressed, at the event that completes the pattern.
struct Pressed(Lure);

type Traders = Entities<Pressure>;

/// The detector of a kind.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Pressing<K> {
    traders: Traders,
    kind: PhantomData<fn() -> K>,
}

impl<K> Default for Pressing<K> {
    fn default() -> Self {
        Self {
            traders: Traders::default(),
            kind: PhantomData,
        }
    }
}

impl<K: Kind> Watch for Pressing<K> {
    type Params = K;

    const INFO: DetectorInfo = K::INFO;

    // Orders that come in wait for the others in the book.
    const EVENTS: EventTypes =
        EventTypes::of(&[EventType::Amended, EventType::Cancelled, EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<K>, found: &mut Found<'_>) {
        let Some(trader) = step.trader() else {
            return;
        };
        let rule = params.of(step).rule();
        if let Some(pressed) = apply(&mut self.traders, step, trader, &rule) {
            found.hit(step, key(step.sym, trader), rule.window, || {
                pressed.finding(step, &rule, K::NAME)
            });
        }
    }

    fn entities(&self) -> u64 {
        self.traders.len()
    }
}

/// Applies a row of a trader's; what completes the pattern at it.
fn apply(traders: &mut Traders, step: &Step<'_>, trader: u32, rule: &Rule) -> Option<Pressed> {
    let held = step.order?;
    let kept = rule.cancel_within.nanos();
    let by_venue = Flags::EXPIRED.with(Flags::SELF_MATCH).with(Flags::UNFILLED);
    let no_intent = by_venue.with(Flags::HALT).with(Flags::AUCTION);
    match step.kind {
        EventType::New => None,
        EventType::Amended => {
            let moved = held.price != step.price;
            let less = if moved {
                held.leaves
            } else {
                held.leaves - step.quantity
            };
            let lures = traders.find(step, trader, kept)?;
            lures.cancelled(step, trader, rule, less.max(0))
        }
        // The venue's cancels are nobody's intent, and in a halt all take their orders away.
        EventType::Cancelled if step.flags.has(no_intent) => None,
        EventType::Cancelled => {
            let lures = traders.find(step, trader, kept)?;
            lures.cancelled(step, trader, rule, held.leaves)
        }
        EventType::Filled => {
            if let Some(lures) = traders.find(step, trader, kept) {
                lures.executed(step);
            }
            if let Some(lure) = lure(step, trader, rule, held) {
                traders.get(step, trader, kept).push(lure);
            }
            None
        }
    }
}

/// What presses on the other side of an execution, when it is enough.
fn lure(step: &Step<'_>, trader: u32, rule: &Rule, held: &Held) -> Option<Lure> {
    let side = held.side.opposite();
    // Most have nothing there: the rest need not be looked at.
    let presence = step.market.presence();
    let all = i128::from(presence.resting(trader, side));
    if all == 0 {
        return None;
    }
    // Who quotes both sides may have just taken this one away to put it elsewhere. What he left there
    // long ago has nothing to do with it.
    let placed = presence.placed(trader, held.side, step.time);
    let genuine = i128::from(held.quantity.max(placed));
    if !at_least(all, rule.multiple, genuine) {
        return None;
    }
    let depth = step.market.depth(side, LEVELS);
    if !at_least(all, rule.share, depth) {
        return None;
    }
    let from = step.time.saturating_sub(rule.window.nanos());
    if held.placed < from {
        return None;
    }
    let mut own: Vec<BookOrder<Held>> = Vec::new();
    let orders = step.market.book().orders(side).take(SEARCHED_MAX);
    own.extend(orders.filter(|order| order.extra.trader == trader && order.extra.placed >= from));
    let within = rule.placed_within.nanos();
    let end = densest(&own, within);
    own.retain(|order| (end.saturating_sub(within)..=end).contains(&order.extra.placed));
    own.truncate(ORDERS_MAX);
    if !belongs(step, held, &own, rule) {
        return None;
    }
    let pressing: i128 = own.iter().map(|order| i128::from(order.extra.leaves)).sum();
    let by_level = own.chunk_by(|one, next| one.price == next.price);
    let by_level = by_level.map(|at| at.iter().map(|order| i128::from(order.extra.leaves)).sum());
    let (levels, largest) = by_level.fold((0, 0_i128), |(levels, largest), level: i128| {
        (levels + 1, largest.max(level))
    });
    // Who quotes all the time puts much more there than what presses at a moment.
    let placed = i128::from(presence.placed(trader, side, step.time));
    let usual = step.market.sizes().usual(ORDERS_KNOWN);
    let enough = at_least(pressing, rule.multiple, genuine)
        && at_least(
            pressing,
            rule.size_multiple,
            usual.unwrap_or_default().into(),
        )
        && at_least(pressing, rule.share, depth)
        && at_least(pressing, rule.fresh, placed)
        && levels >= rule.levels
        && at_most(largest, rule.level_share, pressing);
    let first = own.iter().map(|order| order.extra.placed).min()?;
    enough.then(|| Lure {
        time: step.time,
        side,
        filled: step.quantity,
        fill_seq: step.seq,
        mid2: step.market.pulse().mid2_before(first).unwrap_or_default(),
        pressing,
        levels,
        depth,
        genuine,
        keys: own.iter().map(|order| order.key.0).collect(),
        seqs: own.iter().map(|order| order.extra.entered_seq).collect(),
        cancelled: 0,
        executed: 0,
    })
}

/// When the stretch of a length ends in which most of some orders came in; the latest of such.
fn densest(own: &[BookOrder<Held>], length: i64) -> i64 {
    let placed = own
        .iter()
        .map(|order| (order.extra.placed, order.extra.leaves));
    let mut placed: Vec<(i64, i64)> = placed.collect();
    placed.sort_unstable();
    let mut oldest = placed.iter().peekable();
    let (mut sum, mut most, mut end) = (0_i128, 0_i128, 0_i64);
    for (time, leaves) in &placed {
        sum += i128::from(*leaves);
        let from = time.saturating_sub(length);
        while let Some((_, gone)) = oldest.next_if(|(placed, _)| *placed < from) {
            sum -= i128::from(*gone);
        }
        if sum >= most {
            (most, end) = (sum, *time);
        }
    }
    end
}

/// Whether an execution's order may be what the orders that press are there for.
fn belongs(step: &Step<'_>, held: &Held, own: &[BookOrder<Held>], rule: &Rule) -> bool {
    if step.is_aggressive() {
        let stood = step.time.saturating_sub(rule.stood.nanos());
        return own.iter().any(|order| order.extra.placed <= stood);
    }
    let apart = |order: &BookOrder<Held>| order.extra.placed.abs_diff(held.placed);
    own.iter()
        .any(|order| apart(order) <= rule.together.nanos().unsigned_abs())
}

impl Pressure {
    fn push(&mut self, lure: Lure) {
        if self.lures.len() >= LURES_MAX {
            self.lures.remove(0);
        }
        self.lures.push(lure);
    }

    /// An execution of the trader's.
    fn executed(&mut self, step: &Step<'_>) {
        for lure in self
            .lures
            .iter_mut()
            .filter(|lure| lure.keys.contains(&step.key))
        {
            lure.executed += i128::from(step.quantity);
        }
    }

    /// So much of an order is gone unfilled: whether that completes a lure.
    fn cancelled(
        &mut self,
        step: &Step<'_>,
        trader: u32,
        rule: &Rule,
        quantity: i64,
    ) -> Option<Pressed> {
        let since = step.time.saturating_sub(rule.cancel_within.nanos());
        self.lures.retain(|lure| lure.time >= since);
        let mut complete = None;
        for (at, lure) in self.lures.iter_mut().enumerate() {
            if !lure.keys.contains(&step.key) {
                continue;
            }
            lure.cancelled += i128::from(quantity);
            lure.seqs.push(step.seq);
            let enough = at_least(lure.cancelled, rule.cancelled, lure.pressing);
            let honest = !at_most(lure.executed, rule.executed, lure.pressing);
            // Moved elsewhere is not taken away.
            let left = i128::from(step.market.presence().resting(trader, lure.side));
            let moved = left > lure.pressing - lure.cancelled.min(lure.pressing)
                && at_least(left, rule.cancelled, lure.pressing);
            if enough && !honest && !moved && complete.is_none() {
                complete = Some(at);
            }
        }
        let complete = complete.map(|at| Pressed(self.lures.remove(at)))?;
        // One pattern, told once.
        self.lures.retain(|lure| !lure.keys.contains(&step.key));
        Some(complete)
    }
}

impl Pressed {
    /// What there is to say of it.
    fn finding(&self, step: &Step<'_>, rule: &Rule, what: &str) -> Finding {
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
