//! Executions away from the market, and orders whose price or size must be a slip of the finger.
//!
//! Invariant: of an instrument the last price and the last execution that was judged are kept, 64
//! bytes. Source: US SEC 15c3-5 (market access: erroneous orders); EU 2017/589 article 15 (price
//! collars, maximum order values and volumes).

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Flags, Price, Quantity, Side, TimeSpan};

use crate::detector::{DetectorInfo, Finding, NOBODY, Registration};
use crate::entities::{Entities, key};
use crate::fills::{amount, done, measure, sign};
use crate::params::{ParamSet as _, Profiles, at_least, params, ratio};
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<OffMarket>();

params! {
    struct Params {
        /// An execution is off the market, and a limit a slip, at this share of the price before it.
        distance: Decimal = "0.005",
        /// And at so many times the usual move.
        times_usual: Decimal = "5",
        /// The usual move is that over this time.
        usual_over: TimeSpan = "60s",
        /// The size of an order that may trade at once is a slip when it is so many times the usual one.
        size_multiple: Decimal = "500",
        /// What is usual is known when so many orders came in.
        least_orders: u64 = "100",
        /// Price times quantity from which an order is a slip; 0 for none.
        amount: Quantity = "0",
        /// Prices say nothing for so long after an item of the news calendar on the instrument.
        after_news: TimeSpan = "60s",
        /// Hits of a trader within this time make one alert.
        join_within: TimeSpan = "60s",
    }
}

/// What is kept of an instrument.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Last {
    /// Of the execution before the last one that was judged, and of that: 0 when there was none.
    price: i64,
    /// Time, price, quantity: its other side is the same execution.
    judged: (i64, i64, i64),
    /// The order whose execution was found.
    found: u64,
}

/// An execution off the market.
struct Off {
    reference: i64,
    distance: Decimal,
    times: Option<Decimal>,
}

impl Last {
    fn judge(&mut self, step: &Step<'_>, params: &Params) -> Option<Off> {
        let this = (step.time, step.price, step.quantity);
        let passive = step.aggressor == Some(step.side.opposite());
        if passive || this == self.judged {
            return None; // the other side tells it, or told it
        }
        self.judged = this;
        let before = std::mem::replace(&mut self.price, step.price);
        let known = step.key != 0 && step.key == self.found;
        if known || !step.market.is_calm() {
            return None;
        }
        let order = step.order.filter(|_| step.is_aggressive());
        let middle = match order {
            Some(held) => Some(held.mid2).filter(|mid2| *mid2 != 0),
            None => step.market.pulse().mid2_before(step.time),
        };
        let reference2 = middle.or((before != 0).then(|| before.saturating_mul(2)))?;
        let far2 = step.price.saturating_mul(2).saturating_sub(reference2);
        let (away, from) = (far2.saturating_abs(), reference2.saturating_abs());
        if !at_least(away.into(), params.distance, from.into()) || away == 0 {
            return None;
        }
        let moves = step.market.pulse().moves_before(step.time);
        let times = moves.and_then(|moves| moves.times(far2, params.usual_over.nanos()));
        if times.is_some_and(|times| times < params.times_usual) || is_news(step, params) {
            return None;
        }
        self.found = step.key;
        Some(Off {
            reference: reference2 / 2,
            distance: ratio(far2.into(), from.into()),
            times,
        })
    }
}

fn say_off(step: &Step<'_>, params: &Params, off: &Off) -> Finding {
    let times = off.times.unwrap_or_default();
    let measures = vec![
        measure("distance", off.distance, params.distance),
        measure("times_usual", times, params.times_usual),
    ];
    let text = format!(
        "Off the market: {trader} {done} {quantity} of {sym} at {price}, {distance} away from \
         {reference} just before it (at least {least}), {times} times the usual move (at least \
         {usual}, where that is known).",
        trader = step.trader_name(),
        done = done(step.side),
        quantity = Decimal::from_quantity_units(step.quantity.into()),
        sym = step.sym_name(),
        price = Price::from_units(step.price),
        distance = off.distance,
        reference = Price::from_units(off.reference),
        least = params.distance,
        usual = params.times_usual,
    );
    finding(step, measures, [], text)
}

/// What an order is judged by.
struct Slip {
    beyond: Option<Decimal>,
    multiple: Option<Decimal>,
    amount: Option<Decimal>,
}

impl Slip {
    /// What is out of line with an order that came in or was changed, if anything.
    fn of(step: &Step<'_>, params: &Params) -> Option<Self> {
        let before = step.order.filter(|_| step.kind == EventType::Amended);
        if step.flags.has(Flags::SNAPSHOT) || (before.is_none() && step.kind != EventType::New) {
            return None;
        }
        let larger = before.is_none_or(|before| step.quantity > before.leaves);
        let moved = before.is_none_or(|before| step.price != before.price);
        let middle = match step.kind {
            EventType::New => step.order.map(|held| held.mid2).filter(|mid2| *mid2 != 0),
            _ => step.market.mid2(),
        };
        let marked = step.flags.has(Flags::MARKET);
        let this = Self {
            beyond: middle
                .filter(|_| moved && !marked && step.market.is_calm())
                .and_then(|middle2| beyond(step, params, middle2)),
            multiple: Some(step)
                .filter(|step| larger && may_trade(step))
                .and_then(|step| {
                    let usual = i128::from(step.market.sizes().usual(params.least_orders)?);
                    let size = i128::from(step.quantity);
                    at_least(size, params.size_multiple, usual).then(|| ratio(size, usual))
                }),
            amount: Some(params.amount)
                .filter(|limit| *limit != Quantity::ZERO && (larger || moved))
                .and_then(|limit| {
                    let price = if marked { middle? / 2 } else { step.price };
                    let units = i128::from(price.saturating_abs()) * i128::from(step.quantity);
                    Some(amount(units)).filter(|amount| *amount >= Decimal::from(limit))
                }),
        };
        let some = this.beyond.or(this.multiple).or(this.amount);
        some.map(|_| this)
    }

    fn say(&self, step: &Step<'_>, params: &Params) -> Finding {
        let limits = [
            (
                "distance",
                self.beyond,
                params.distance,
                "its limit is beyond the middle by",
                "of it",
            ),
            (
                "size_multiple",
                self.multiple,
                params.size_multiple,
                "its size is",
                "times the usual one",
            ),
            (
                "amount",
                self.amount,
                Decimal::from(params.amount),
                "it is worth",
                "in all",
            ),
        ];
        let mut measures = Vec::new();
        let mut reasons = Vec::new();
        for (name, value, threshold, what, of) in limits {
            if let Some(value) = value {
                measures.push(measure(name, value, threshold));
                reasons.push(format!("{what} {value} {of} (at least {threshold})"));
            }
        }
        let text = format!(
            "A slip of the finger: {trader}'s order {side} {quantity} of {sym} at {price}: {reasons}.",
            trader = step.trader_name(),
            side = if sign(step.side) > 0 {
                "to buy"
            } else {
                "to sell"
            },
            quantity = Decimal::from_quantity_units(step.quantity.into()),
            sym = step.sym_name(),
            price = Price::from_units(step.price),
            reasons = reasons.join("; "),
        );
        finding(step, measures, [], text)
    }
}

/// How far beyond the middle a limit is, as a share of it, when that is too far.
fn beyond(step: &Step<'_>, params: &Params, middle2: i64) -> Option<Decimal> {
    let far2 = step.price.saturating_mul(2).saturating_sub(middle2);
    let ahead = i128::from(far2) * i128::from(sign(step.side));
    let from = i128::from(middle2.saturating_abs());
    if ahead <= 0 || !at_least(ahead, params.distance, from) {
        return None;
    }
    let moves = step.market.pulse().moves_before(step.time);
    let times = moves.and_then(|moves| moves.times(far2, params.usual_over.nanos()));
    let far = times.is_none_or(|times| times >= params.times_usual);
    (far && !is_news(step, params)).then(|| ratio(ahead, from))
}

/// Whether news has just come, by which many find the price before it wrong.
fn is_news(step: &Step<'_>, params: &Params) -> bool {
    let news = step.names().news(step.sym);
    let before = news.partition_point(|news| news.time.nanos() <= step.time);
    let last = before.checked_sub(1).and_then(|at| news.get(at));
    last.is_some_and(|news| step.time.saturating_sub(news.time.nanos()) < params.after_news.nanos())
}

/// Whether an order does not wait for others: at any price, or at one that is there across.
fn may_trade(step: &Step<'_>) -> bool {
    let across = step.market.book().best_price(step.side.opposite());
    let reaches = |across: Price| match step.side {
        Side::Buy => step.price >= across.units(),
        Side::Sell => step.price <= across.units(),
    };
    step.flags.has(Flags::MARKET) || across.is_some_and(reaches)
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct OffMarket {
    instruments: Entities<Last>,
}

impl Watch for OffMarket {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "off_market",
        version: 2,
        title: "Executions away from the market; orders of a slipped price or size",
        rule: "At an execution: its price is at least distance away from the middle just before the \
            order that came in did (where that order is not told, at the end of the second before; \
            where there are no quotes, from the last price, of this day or before), and at least \
            times_usual times the usual move over usual_over, as the last quarter of an hour moved \
            (where a minute of it is known); not in an auction or a halt or the minute after, nor within \
            after_news after an item of the news calendar, where one is given. Once for each order. At an order that comes in or is changed: its limit is as far beyond the middle, \
            to where it would trade (its executions say nothing new then); or it may trade at once and \
            its quantity is at least size_multiple times the usual one (the median of the instrument's \
            orders, of at least least_orders); or price times quantity is at least amount. False \
            positives: a jump on news that is in no calendar; an order of a large institution at a venue of small ones.",
        source: "US SEC 15c3-5; EU 2017/589 article 15",
        params: Params::PARAMS,
        needs: &[],
        by_default: false,
    };

    const EVENTS: EventTypes =
        EventTypes::of(&[EventType::New, EventType::Amended, EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let (params, entity) = (params.of(step), key(step.sym, step.trader));
        if step.kind == EventType::Filled {
            // The last price counts however long ago it was.
            let last = self.instruments.get(step, NOBODY, i64::MAX);
            if let Some(off) = last.judge(step, params) {
                found.hit(step, entity, params.join_within, || {
                    say_off(step, params, &off)
                });
            }
        } else if let Some(slip) = Slip::of(step, params) {
            if slip.beyond.is_some() {
                // That it trades there says nothing new.
                self.instruments.get(step, NOBODY, i64::MAX).found = step.key;
            }
            found.hit(step, entity, params.join_within, || slip.say(step, params));
        }
    }

    fn entities(&self) -> u64 {
        self.instruments.len()
    }
}
