//! Matched orders: two owners whose orders of one price and size come in together and meet, again and
//! again.
//!
//! Invariant: for two owners in an instrument at most 64 meetings within the window are kept (4 KB), for
//! an owner 31 sums of what he trades (1 KB). Source: EU 2016/522, Annex II, indicator of "improper
//! matched orders"; US CEA 4c(a)(2)(A)(ii).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Flags, Measure, Price, TimeSpan};

use crate::detector::{DetectorInfo, Finding, NOBODY, Need, Registration};
use crate::entities::{Entities, Pair, key};
use crate::market::Trade;
use crate::params::{ParamSet as _, Profiles, at_least, at_most, params, ratio};
use crate::rolling::{Rolling, Sums, kept};
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<MatchedOrders>();

/// Meetings kept of two owners.
const MEETINGS_MAX: usize = 64;

params! {
    struct Params {
        /// The two orders come in within so long of each other.
        entered_within: TimeSpan = "250ms",
        /// Their quantities differ by at most this share of the larger.
        difference: Decimal = "0.05",
        /// Meetings count of the last so long.
        window: TimeSpan = "30m",
        /// There are at least so many (up to 64).
        count: u64 = "3",
        /// They make at least this share of what the one of the two who trades less traded.
        flow_share: Decimal = "0",
    }
}

/// Orders that met: when, how much executed, and on what it rests.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Meeting {
    time: i64,
    quantity: i64,
    seqs: [u64; 4],
}

/// What is kept of two owners in an instrument.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Both {
    /// Tells them from all others; 0 until they have met.
    number: u32,
    meetings: VecDeque<Meeting>,
}

/// Traded, in units of quantity.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Volume(i128);

impl Sums for Volume {
    fn add(&mut self, other: &Self) {
        self.0 += other.0;
    }

    fn take(&mut self, other: &Self) {
        self.0 -= other.0;
    }
}

impl Both {
    fn meet(&mut self, step: &Step<'_>, trade: &Trade, window: TimeSpan) {
        let from = step.time.saturating_sub(window.nanos());
        let old = |first: &Meeting| first.time < from;
        while self.meetings.len() >= MEETINGS_MAX || self.meetings.front().is_some_and(old) {
            self.meetings.pop_front();
        }
        self.meetings.push_back(Meeting {
            time: step.time,
            quantity: trade.quantity,
            seqs: trade.seqs(),
        });
    }

    fn finding(&self, step: &Step<'_>, trade: &Trade, flow: i128, params: &Params) -> Finding {
        let measure = |name, value, threshold| Measure {
            name,
            value,
            threshold,
        };
        let met = self.quantity();
        let count = self.meetings.len() as u64;
        let share = ratio(met, flow);
        let threshold = Decimal::from_count(params.count);
        let measures = vec![
            measure("count", Decimal::from_count(count), threshold),
            measure("flow_share", share, params.flow_share),
        ];
        let text = format!(
            "Matched orders: {buyer} and {seller} met {count} times in {sym} within {window} (threshold {least}) with \
             orders of one price and size that came in within {within} of each other, last at {price}; it \
             was {share} of what the one who trades less traded (threshold {least_share}).",
            buyer = step.owner_name(trade.buy.owner),
            seller = step.owner_name(trade.sell.owner),
            sym = step.sym_name(),
            window = params.window,
            least = params.count,
            within = params.entered_within,
            price = Price::from_units(trade.price),
            least_share = params.flow_share,
        );
        let seqs = self.meetings.iter().flat_map(|meeting| meeting.seqs);
        finding(step, measures, seqs, text)
    }

    fn quantity(&self) -> i128 {
        let quantities = self.meetings.iter();
        quantities.map(|one| i128::from(one.quantity)).sum()
    }
}

/// Whether the orders of an execution are of one price and size and came in together.
fn match_each_other(trade: &Trade, params: &Params) -> bool {
    let (Some(buy), Some(sell)) = (trade.buy.order, trade.sell.order) else {
        return false;
    };
    let unpriced = buy.flags.with(sell.flags).has(Flags::MARKET);
    let apart = buy.placed.saturating_sub(sell.placed).saturating_abs();
    if buy.price != sell.price || unpriced || apart > params.entered_within.nanos() {
        return false;
    }
    let difference = i128::from(buy.quantity) - i128::from(sell.quantity);
    let larger = i128::from(buy.quantity.max(sell.quantity));
    at_most(difference.abs(), params.difference, larger)
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct MatchedOrders {
    pairs: Entities<Both, Pair>,
    owners: Entities<Rolling<Volume>>,
    /// Pairs numbered so far.
    numbered: u32,
}

impl Watch for MatchedOrders {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "matched_orders",
        version: 1,
        title: "Orders of two owners, of one price and size, come in together and meet, repeatedly",
        rule: "At an execution whose two sides and orders are known: the orders are of different owners and \
            of the same limit, their quantities differ by at most difference, and they came in, \
            or to that price, within entered_within of each other; so it was at least count times within window between the \
            two owners in the instrument, and what executed then is at least flow_share of what the one \
            of the two who traded less traded (over the window, to a thirtieth of it). Left out: declared \
            crosses and auctions. Every meeting from then on is told. Profiles of \
            client groups do not apply: there are two owners. False positives: two algorithms of the \
            same order size that answer to the same event.",
        source: "EU 2016/522 Annex II (improper matched orders); US CEA 4c(a)(2)(A)(ii)",
        params: Params::PARAMS,
        needs: &[Need::Trader, Need::Executions],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::of(&[EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let Some(trade) = step.trade else { return };
        let (buyer, seller) = (trade.buy.owner, trade.sell.owner);
        if buyer == seller || buyer == NOBODY || seller == NOBODY {
            return;
        }
        let params = params.of_class(step);
        let kept = kept(params.window);
        let volume = Volume(i128::from(trade.quantity));
        let [bought, sold] = [buyer, seller].map(|owner| {
            let traded = self.owners.get(step, owner, kept);
            traded.add(step.time, params.window, &volume).0
        });
        let arranged = trade.flags.has(Flags::CROSS.with(Flags::AUCTION));
        if arranged || !match_each_other(trade, params) {
            return;
        }
        let both = self.pairs.get(step, Pair::of(buyer, seller), kept);
        if both.number == 0 {
            self.numbered = self.numbered.wrapping_add(1).max(1);
            both.number = self.numbered;
        }
        both.meet(step, trade, params.window);
        let flow = bought.min(sold);
        if both.meetings.len() as u64 >= params.count
            && at_least(both.quantity(), params.flow_share, flow)
        {
            found.hit(step, key(step.sym, both.number), params.window, || {
                both.finding(step, trade, flow, params)
            });
        }
    }

    fn entities(&self) -> u64 {
        self.pairs.len() + self.owners.len()
    }
}
