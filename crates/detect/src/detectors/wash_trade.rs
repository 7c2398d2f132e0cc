//! Wash trade: an execution whose buyer and seller are the same owner.
//!
//! Invariant: for an owner in an instrument the wash trades of the window are kept, at most 64, and the
//! sums of the day, at most 4 KB. Source: EU 2016/522, Annex II, indicator of "wash trades"; US CEA
//! 4c(a); FINRA 5210.02.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Flags, Measure, TimeSpan};

use crate::detector::{DetectorInfo, Finding, NOBODY, Need, Registration};
use crate::entities::{Entities, key};
use crate::market::Trade;
use crate::params::{ParamSet as _, Profiles, money, params, ratio};
use crate::rolling::Daily;
use crate::step::{DAY, Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<WashTrade>();

/// Wash trades kept as evidence.
const TRADES_MAX: usize = 64;

params! {
    struct Params {
        /// A wash trade is of at least so many lots.
        lots: u64 = "15",
        /// Its two orders came in, or to that price, within so long of each other.
        entered_within: TimeSpan = "5s",
        /// It is at least the so-manieth of the owner's in the instrument on the day.
        count: u64 = "1",
        /// Those of the day come to at least so much money.
        notional: Decimal = "0",
        /// Those of the last so long (up to half an hour) are shown beside the volume of the market.
        window: TimeSpan = "30m",
        /// Whether executions in auctions count.
        auctions: bool = "false",
    }
}

/// What is kept of an owner in an instrument.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Washes {
    /// When, how much, and on what it rests; oldest first.
    trades: VecDeque<(i64, i64, [u64; 4])>,
    day: Daily<Sums>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Sums {
    count: u64,
    /// In units of a decimal.
    notional: i128,
}

impl Washes {
    fn take(&mut self, step: &Step<'_>, trade: &Trade, params: &Params) -> Sums {
        let from = step.time.saturating_sub(params.window.nanos());
        let old = |trades: &VecDeque<(i64, _, _)>| trades.front().is_some_and(|one| one.0 < from);
        while self.trades.len() >= TRADES_MAX || old(&self.trades) {
            self.trades.pop_front();
        }
        self.trades
            .push_back((step.time, trade.quantity, trade.seqs()));
        let sums = self.day.at(step);
        sums.count += 1;
        let notional = money(trade.price, trade.quantity);
        sums.notional = sums.notional.saturating_add(notional);
        *sums
    }

    fn finding(&self, step: &Step<'_>, trade: &Trade, sums: Sums, params: &Params) -> Finding {
        let own = self.trades.iter().map(|one| i128::from(one.1)).sum();
        let from = step.time.saturating_sub(params.window.nanos());
        let all = step.market.prints().between(from, step.time).volume;
        let share = ratio(own, all);
        let quantity = Decimal::from_quantity_units(i128::from(trade.quantity));
        let least = Decimal::from_quantity_units(least(step, params));
        let notional = Decimal::from_units(sums.notional);
        let count = Decimal::from_count;
        let measure = |name, value, threshold| Measure {
            name,
            value,
            threshold,
        };
        let measures = vec![
            measure("quantity", quantity, least),
            measure("count", count(sums.count), count(params.count)),
            measure("notional", notional, params.notional),
            measure("share_of_volume", share, Decimal::default()),
        ];
        let text = format!(
            "Wash trade: {owner} bought {quantity} of {sym} from {owner} at {price} (threshold {least}), wash \
             trade {number} of the day (threshold {least_count}), which come to {notional} (threshold \
             {least_notional}) and were {share} of the volume of the last {window}.",
            owner = step.owner_name(trade.buy.owner),
            sym = step.sym_name(),
            price = tapewatch_model::Price::from_units(trade.price),
            number = sums.count,
            least_count = params.count,
            least_notional = params.notional,
            window = params.window,
        );
        let seqs = self.trades.iter().flat_map(|one| one.2);
        finding(step, measures, seqs, text)
    }
}

/// How long after one order the other came in, in nanoseconds; `None` when that is not known.
fn apart(trade: &Trade) -> Option<i64> {
    let (buy, sell) = (trade.buy.order?, trade.sell.order?);
    Some(buy.placed.saturating_sub(sell.placed).saturating_abs())
}

/// The least quantity of a wash trade, in units.
fn least(step: &Step<'_>, params: &Params) -> i128 {
    i128::from(params.lots) * i128::from(step.lot())
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct WashTrade {
    owners: Entities<Washes>,
}

impl Watch for WashTrade {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "wash_trade",
        version: 1,
        title: "An execution whose buyer and seller are the same owner",
        rule: "At the row that tells an execution's second side: its buyer and its seller are the same \
            owner (the same account, linked accounts, or without accounts the same trader), it is of at \
            least lots, its orders, where they are known, came in within entered_within of each other \
            (who meets an order that has long been there may have met it by chance), and it is at \
            least wash trade number count of the owner's in the instrument on the trading day, which \
            come to at least notional. Left out: auctions, unless auctions is set, and crosses declared \
            to the venue between accounts that are linked: they may have different beneficial owners. \
            Every such execution is told. False positives: two strategies of one firm that meet by \
            chance; linked accounts that are managed apart.",
        source: "EU 2016/522 Annex II (wash trades); US CEA 4c(a); FINRA 5210.02",
        params: Params::PARAMS,
        needs: &[Need::Trader, Need::Executions],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::of(&[EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let Some(trade) = step.trade else { return };
        let owner = trade.buy.owner;
        if owner == NOBODY || owner != trade.sell.owner {
            return;
        }
        let params = params.of(step);
        let flags = trade.flags;
        if (flags.has(Flags::AUCTION) && !params.auctions)
            || (flags.has(Flags::CROSS) && step.names().is_group(owner))
            || i128::from(trade.quantity) < least(step, params)
            || apart(trade).is_some_and(|apart| apart > params.entered_within.nanos())
        {
            return;
        }
        let kept = params.window.nanos().max(DAY);
        let washes = self.owners.get(step, owner, kept);
        let sums = washes.take(step, trade, params);
        if sums.count >= params.count && sums.notional >= params.notional.units() {
            found.hit(step, key(step.sym, owner), params.window, || {
                washes.finding(step, trade, sums, params)
            });
        }
    }

    fn entities(&self) -> u64 {
        self.owners.len()
    }
}
