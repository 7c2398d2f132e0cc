//! Fleeting orders: many orders that are cancelled within milliseconds and hardly trade.
//!
//! Invariant: for a trader in an instrument at most 2,048 ends of orders within the window are kept
//! (80 KB when full). Source: EU 2016/522, Annex II, indicator of "placing orders with no intention of
//! executing them".

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Flags, Measure, TimeSpan};

use crate::detector::{DetectorInfo, Finding, Need, Registration};
use crate::entities::{Entities, key};
use crate::params::{ParamSet as _, Profiles, at_most, params, ratio};
use crate::rolling::Latch;
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<FleetingOrders>();

/// Ends of orders kept of a trader; beyond, the oldest goes and is counted as an overflow.
const ENDS_MAX: usize = 2_048;

params! {
    struct Params {
        /// Orders count that ended so long ago at most.
        window: TimeSpan = "60s",
        /// At least so many were cancelled (up to 2048).
        orders: u64 = "50",
        /// The median of their lives is at most so long.
        life: TimeSpan = "10ms",
        /// At most this share of the quantity that ended executed.
        executed_share: Decimal = "0.02",
    }
}

/// A cancel, a move, or an execution.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct End {
    time: i64,
    seq: u64,
    /// From entry (or move) to cancel (or move), in nanoseconds; of an execution, `None`.
    life: Option<i64>,
    quantity: i64,
}

/// What is kept of a trader in an instrument.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ends {
    ends: VecDeque<End>,
    /// What the ends come to.
    cancels: u64,
    short: u64,
    cancelled: i128,
    executed: i128,
    /// The life that counted as short.
    life: i64,
    latch: Latch,
}

impl Ends {
    fn count(&mut self, end: &End, sign: i64) {
        let quantity = i128::from(end.quantity) * i128::from(sign);
        let Some(life) = end.life else {
            self.executed += quantity;
            return;
        };
        self.cancelled += quantity;
        self.cancels = self.cancels.saturating_add_signed(sign);
        if life <= self.life {
            self.short = self.short.saturating_add_signed(sign);
        }
    }

    /// Takes an end in; how many were passed over for it.
    fn take(&mut self, end: End, params: &Params) -> u64 {
        let from = end.time.saturating_sub(params.window.nanos());
        let mut over = 0;
        while let Some(first) = self.ends.front().copied() {
            let full = self.ends.len() >= ENDS_MAX;
            if first.time >= from && !full {
                break;
            }
            over += u64::from(first.time >= from);
            self.count(&first, -1);
            self.ends.pop_front();
        }
        if self.life != params.life.nanos() {
            self.life = params.life.nanos();
            let short = |end: &&End| end.life.is_some_and(|life| life <= self.life);
            self.short = self.ends.iter().filter(short).count() as u64;
        }
        self.count(&end, 1);
        self.ends.push_back(end);
        over
    }

    /// Whether they are many, short and for nothing, as is told now.
    fn judge(&mut self, time: i64, params: &Params) -> bool {
        // The lower median is short when at least half of the lives are.
        if self.cancels < params.orders || self.short * 2 < self.cancels {
            self.latch.release();
            return false;
        }
        let all = self.cancelled + self.executed;
        at_most(self.executed, params.executed_share, all)
            && self.latch.tells(self.cancels, time, params.window)
    }

    fn finding(&self, step: &Step<'_>, params: &Params) -> Finding {
        let mut lives: Vec<i64> = self.ends.iter().filter_map(|end| end.life).collect();
        lives.sort_unstable();
        let quantile = |tenths: usize| {
            let at = lives.len().saturating_sub(1) * tenths / 10;
            TimeSpan::from_nanos(lives.get(at).copied().unwrap_or_default())
        };
        let measure = |name, value, threshold| Measure {
            name,
            value,
            threshold,
        };
        let count = Decimal::from_count;
        // In seconds.
        let seconds = |span: TimeSpan| Decimal::from_units(i128::from(span.nanos()));
        let executed = ratio(self.executed, self.cancelled + self.executed);
        let measures = vec![
            measure("orders", count(self.cancels), count(params.orders)),
            measure("median_life", seconds(quantile(5)), seconds(params.life)),
            measure("executed_share", executed, params.executed_share),
        ];
        let text = format!(
            "Fleeting orders: {trader} cancelled {orders} orders in {sym} within {window} (threshold {least}), \
             half of them after {median} or less (at most {life}), a tenth after {tenth}, nine tenths after \
             {nine}; {executed} of their quantity executed (at most {most}).",
            trader = step.trader_name(),
            sym = step.sym_name(),
            orders = self.cancels,
            window = params.window,
            least = params.orders,
            median = quantile(5),
            life = params.life,
            tenth = quantile(1),
            nine = quantile(9),
            most = params.executed_share,
        );
        finding(step, measures, self.ends.iter().map(|end| end.seq), text)
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct FleetingOrders {
    traders: Entities<Ends>,
    overflows: u64,
}

impl Watch for FleetingOrders {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "fleeting_orders",
        version: 1,
        title: "Many orders cancelled within milliseconds, hardly any executed",
        rule: "At the cancel of an order that may wait (not by the end of the session, in a halt or by \
            the venue; a move to another price is a cancel and a new order): within window the trader \
            cancelled at least orders such orders in the instrument, the median of their lives, from \
            entry to cancel, is at most life, and of the quantity that was cancelled or executed at most \
            executed_share executed. Told when it begins and whenever the orders have doubled; auctions \
            count. False positives: a fast market maker who follows another venue's price.",
        source: "EU 2016/522 Annex II (orders with no intention of executing them)",
        params: Params::PARAMS,
        needs: &[Need::Trader],
        by_default: false,
    };

    const EVENTS: EventTypes =
        EventTypes::of(&[EventType::Amended, EventType::Cancelled, EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let (Some(trader), Some(order)) = (step.trader(), step.order) else {
            return;
        };
        let by_venue = Flags::UNFILLED
            .with(Flags::EXPIRED)
            .with(Flags::SELF_MATCH)
            .with(Flags::HALT);
        let fills = step.kind == EventType::Filled;
        let stays = step.kind == EventType::Amended && step.price == order.price;
        if stays || !order.can_rest() || (!fills && step.flags.has(by_venue)) {
            return;
        }
        let params = params.of(step);
        let ends = self.traders.get(step, trader, params.window.nanos());
        let life = step.time.saturating_sub(order.placed);
        let end = End {
            time: step.time,
            seq: step.seq,
            life: (!fills).then_some(life),
            quantity: if fills { step.quantity } else { order.leaves },
        };
        self.overflows += ends.take(end, params);
        if !fills && ends.judge(step.time, params) {
            found.hit(step, key(step.sym, trader), params.window, || {
                ends.finding(step, params)
            });
        }
    }

    fn entities(&self) -> u64 {
        self.traders.len()
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }
}
