//! Order-to-trade ratio: how many messages, and how much quantity, a trader sends for what he trades.
//!
//! Invariant: for a trader in an instrument 31 sums of the window, one of the day and the latest 256
//! sequence numbers are kept, at most 8 KB. Source: EU 2017/566 (RTS 9), Article 3.

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Flags, Measure, TimeSpan};

use crate::detector::{DetectorInfo, Finding, Need, Registration};
use crate::entities::{Entities, key};
use crate::params::{ParamSet as _, Profiles, at_least, params, ratio};
use crate::rolling::{Daily, Latch, Latest, Rolling, Sums, kept};
use crate::step::{DAY, Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<OrderToTrade>();

/// Sequence numbers kept as evidence.
const EVIDENCE: usize = 256;
const A_DAY: TimeSpan = TimeSpan::from_nanos(DAY);

params! {
    struct Params {
        /// The ratios are taken over the last so long (to a thirtieth of it), and over the day.
        window: TimeSpan = "5m",
        /// Orders for each trade, less one, are at least so many.
        number: Decimal = "100",
        /// Quantity ordered for each quantity traded, less one, is at least so much.
        quantity: Decimal = "500",
        /// There are at least so many orders.
        orders: u64 = "200",
        /// Nothing is found: for the profile of those who are obliged to make a market.
        exempt: bool = "false",
    }
}

/// Orders and trades.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Flow {
    orders: u64,
    trades: u64,
    /// In units.
    ordered: i128,
    traded: i128,
    /// In units of price times units of quantity; beyond what fits, as much as fits.
    ordered_value: i128,
    traded_value: i128,
}

impl Sums for Flow {
    #[inline]
    fn add(&mut self, other: &Self) {
        self.orders += other.orders;
        self.trades += other.trades;
        self.ordered += other.ordered;
        self.traded += other.traded;
        self.ordered_value = self.ordered_value.saturating_add(other.ordered_value);
        self.traded_value = self.traded_value.saturating_add(other.traded_value);
    }

    fn take(&mut self, other: &Self) {
        self.orders -= other.orders;
        self.trades -= other.trades;
        self.ordered -= other.ordered;
        self.traded -= other.traded;
        self.ordered_value = self.ordered_value.saturating_sub(other.ordered_value);
        self.traded_value = self.traded_value.saturating_sub(other.traded_value);
    }
}

impl Flow {
    fn of(step: &Step<'_>) -> Self {
        let middle = || step.market.mid2().unwrap_or_default() / 2;
        let at_any = step.price == 0 || step.flags.has(Flags::MARKET);
        let price = if at_any { middle() } else { step.price };
        let quantity = i128::from(step.quantity);
        let value = i128::from(price) * quantity;
        match step.kind {
            EventType::Filled => Self {
                trades: 1,
                traded: quantity,
                traded_value: value,
                ..Self::default()
            },
            _ => Self {
                orders: 1,
                ordered: quantity,
                ordered_value: value,
                ..Self::default()
            },
        }
    }

    fn is_much(&self, params: &Params) -> bool {
        let one = 1_000_000_000;
        let above = |threshold: Decimal| Decimal::from_units(threshold.units() + one);
        let trades = i128::from(self.trades.max(1));
        let by_quantity =
            || self.traded > 0 && at_least(self.ordered, above(params.quantity), self.traded);
        self.orders >= params.orders
            && (at_least(i128::from(self.orders), above(params.number), trades) || by_quantity())
    }
}

/// What is kept of a trader in an instrument.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Trader {
    window: Rolling<Flow>,
    day: Daily<(Flow, Latch)>,
    window_latch: Latch,
    latest: Latest,
}

impl Trader {
    /// Takes the row in; the flow that is too much, and over what.
    fn take(&mut self, step: &Step<'_>, params: &Params) -> Option<(Flow, TimeSpan)> {
        let flow = Flow::of(step);
        self.latest.push(step.seq, EVIDENCE);
        let within = self.window.add(step.time, params.window, &flow);
        let (of_day, day_latch) = self.day.at(step);
        of_day.add(&flow);
        if step.kind == EventType::Filled {
            return None;
        }
        let tells = |latch: &mut Latch, flow: &Flow| {
            if !flow.is_much(params) {
                latch.release();
                return false;
            }
            latch.tells(flow.orders, step.time, A_DAY)
        };
        let of_window = tells(&mut self.window_latch, &within);
        let over_day = tells(day_latch, of_day);
        match (of_window, over_day) {
            (true, _) => Some((within, params.window)),
            (false, true) => Some((*of_day, A_DAY)),
            (false, false) => None,
        }
    }

    fn finding(&self, step: &Step<'_>, flow: &Flow, over: TimeSpan, params: &Params) -> Finding {
        let measure = |name, value, threshold| Measure {
            name,
            value,
            threshold,
        };
        let shown = Decimal::default();
        let less_one = |part: i128, whole: i128| match whole {
            0 => shown,
            _ => ratio(part - whole, whole),
        };
        let trades = i128::from(flow.trades.max(1));
        let number = less_one(i128::from(flow.orders), trades);
        let quantity = less_one(flow.ordered, flow.traded);
        let count = Decimal::from_count;
        let measures = vec![
            measure("number_ratio", number, params.number),
            measure("quantity_ratio", quantity, params.quantity),
            measure(
                "value_ratio",
                less_one(flow.ordered_value, flow.traded_value),
                shown,
            ),
            measure("orders", count(flow.orders), count(params.orders)),
            measure("trades", count(flow.trades), shown),
        ];
        let over = match over {
            A_DAY => "the day".to_owned(),
            window => window.to_string(),
        };
        let text = format!(
            "Order-to-trade ratio: over {over} {trader} sent {orders} orders in {sym} for {trades} trades, \
             {number} above one for one (threshold {least}), and {quantity} times the quantity traded beyond \
             it (threshold {least_quantity}).",
            trader = step.trader_name(),
            sym = step.sym_name(),
            orders = flow.orders,
            trades = flow.trades,
            least = params.number,
            least_quantity = params.quantity,
        );
        let total = flow.orders + flow.trades;
        Finding {
            evidence_total: total,
            ..finding(step, measures, self.latest.last(total), text)
        }
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct OrderToTrade {
    traders: Entities<Trader>,
}

impl Watch for OrderToTrade {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "order_to_trade",
        version: 1,
        title: "Many orders, or much quantity ordered, for what is traded",
        rule: "At an order (new, amended or cancelled; each counts as one, with its quantity; not what the \
            venue cancels itself, and nothing in a call phase, in which nobody can trade): over the \
            window or over the trading day the trader sent at least orders \
            of them in the instrument, and orders / trades - 1 is at least number, or quantity ordered / \
            quantity traded - 1 is at least quantity. No trade counts as one by number and is not judged \
            by quantity. The window is cut into thirty slices, the current and the thirty before it \
            count. The day begins when the instrument's class opens, or at midnight UTC. Told when it \
            begins and whenever the orders have doubled. False positives: market makers \
            (give them a profile), and whoever quotes an instrument in which nobody trades.",
        source: "EU 2017/566 (RTS 9), Article 3",
        params: Params::PARAMS,
        needs: &[Need::Trader],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::ALL;

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let Some(trader) = step.trader() else {
            return;
        };
        let params = params.of(step);
        let by_venue = Flags::UNFILLED
            .with(Flags::EXPIRED)
            .with(Flags::SELF_MATCH)
            .with(Flags::HALT)
            .with(Flags::SNAPSHOT);
        let trades = step.kind == EventType::Filled;
        let call = step.flags.has(Flags::AUCTION.with(Flags::CLOSED));
        if params.exempt || call || (!trades && step.flags.has(by_venue)) {
            return;
        }
        let kept = kept(params.window).max(DAY);
        let state = self.traders.get(step, trader, kept);
        let Some((flow, over)) = state.take(step, params) else {
            return;
        };
        found.hit(step, key(step.sym, trader), over, || {
            state.finding(step, &flow, over, params)
        });
    }

    fn entities(&self) -> u64 {
        self.traders.len()
    }
}
