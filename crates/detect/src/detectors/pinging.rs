//! Pinging: small orders that come and go at once to find out what is there, then a large one.
//!
//! Invariant: for a trader in an instrument at most 128 small orders of the last seconds are kept on
//! each side (12 KB when both are full). Source: EU 2016/522, Annex II, indicator of "ping orders".

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Flags, Measure, Side, TimeSpan};

use crate::detector::{DetectorInfo, Finding, Need, Registration};
use crate::entities::{Entities, key};
use crate::market::Held;
use crate::params::{ParamSet as _, Profiles, at_least, at_most, params, ratio};
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<Pinging>();

/// Small orders kept of a trader on a side; beyond, the oldest goes and is counted as an overflow.
const SMALL_MAX: usize = 128;

params! {
    struct Params {
        /// The probes come in within so long.
        window: TimeSpan = "5s",
        /// There are at least so many (up to 128).
        probes: u64 = "10",
        /// A probe is at most this share of what the best price across shows.
        depth_share: Decimal = "0.05",
        /// A probe that may wait is gone in less than this.
        life: TimeSpan = "100ms",
        /// At least so many of them execute, wholly or in part.
        hits: u64 = "1",
        /// How soon after the last probe the large order comes.
        follow_within: TimeSpan = "2s",
        /// It is at least so many times the median probe.
        multiple: Decimal = "10",
    }
}

/// A small order.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Small {
    key: u64,
    time: i64,
    seq: u64,
    quantity: i64,
    /// Whether it is known to have come and gone.
    probe: bool,
    executed: bool,
}

/// What is kept of a trader in an instrument on a side, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Smalls {
    smalls: VecDeque<Small>,
    /// When the latest that is a probe came in.
    last_probe: Option<i64>,
}

/// Probes, and the large order after them.
struct Pinged {
    probes: u64,
    hits: u64,
    multiple: Decimal,
    delay: TimeSpan,
    seqs: Vec<u64>,
}

impl Smalls {
    /// Takes a small order in; how many were passed over for it.
    fn enter(&mut self, step: &Step<'_>, at_once: bool, params: &Params) -> u64 {
        let from = step.time.saturating_sub(kept(params));
        while self.smalls.front().is_some_and(|first| first.time < from) {
            self.smalls.pop_front();
        }
        if self.smalls.len() >= SMALL_MAX {
            let young = step.time.saturating_sub(params.life.nanos());
            self.smalls
                .retain(|small| small.probe || small.time > young);
        }
        let mut over = 0;
        while self.smalls.len() >= SMALL_MAX {
            self.smalls.pop_front();
            over += 1;
        }
        self.smalls.push_back(Small {
            key: step.key,
            time: step.time,
            seq: step.seq,
            quantity: step.quantity,
            probe: at_once,
            executed: false,
        });
        if at_once {
            self.last_probe = Some(step.time);
        }
        over
    }

    /// A small order executes, wholly or in part, or is cancelled.
    fn leave(&mut self, step: &Step<'_>, order: &Held) {
        let mut latest = self.smalls.iter_mut().rev();
        let Some(small) = latest.find(|small| small.key == step.key && step.key != 0) else {
            return;
        };
        let fills = step.kind == EventType::Filled;
        small.executed |= fills;
        if !fills || step.quantity >= order.leaves {
            small.probe = true;
            self.last_probe = self.last_probe.max(Some(small.time));
        }
    }

    /// Whether the new order follows probes that came in before it.
    fn follows(&mut self, step: &Step<'_>, params: &Params) -> Option<Pinged> {
        let last = self.last_probe?;
        let delay = step.time.saturating_sub(last);
        if delay > params.follow_within.nanos() {
            self.last_probe = None;
            return None;
        }
        let from = last.saturating_sub(params.window.nanos());
        let within = |small: &&Small| small.probe && small.time >= from;
        let probes = || self.smalls.iter().filter(within);
        let count = probes().count() as u64;
        if count < params.probes.max(1) {
            return None;
        }
        let hits = probes().filter(|small| small.executed).count() as u64;
        let mut sizes: Vec<i64> = probes().map(|small| small.quantity).collect();
        sizes.sort_unstable();
        let median = i128::from(sizes.get((sizes.len() - 1) / 2).copied()?);
        let quantity = i128::from(step.quantity);
        if hits < params.hits || !at_least(quantity, params.multiple, median) {
            return None;
        }
        let seqs = probes().map(|small| small.seq).collect();
        // One large order answers for them.
        *self = Self::default();
        Some(Pinged {
            probes: count,
            hits,
            multiple: ratio(quantity, median),
            delay: TimeSpan::from_nanos(delay),
            seqs,
        })
    }
}

impl Pinged {
    fn finding(self, step: &Step<'_>, params: &Params) -> Finding {
        let measure = |name, value, threshold| Measure {
            name,
            value,
            threshold,
        };
        let count = Decimal::from_count;
        let measures = vec![
            measure("probes", count(self.probes), count(params.probes)),
            measure("hits", count(self.hits), count(params.hits)),
            measure("multiple", self.multiple, params.multiple),
        ];
        let side = match step.side {
            Side::Buy => "buy",
            Side::Sell => "sell",
        };
        let text = format!(
            "Pinging: {trader} sent {probes} small orders to {side} {sym} within {window} (threshold {least}), of \
             which {hits} executed (threshold {least_hits}), and {delay} after the last one an order of {multiple} \
             times their size (threshold {least_multiple}).",
            trader = step.trader_name(),
            sym = step.sym_name(),
            probes = self.probes,
            window = params.window,
            least = params.probes,
            hits = self.hits,
            least_hits = params.hits,
            delay = self.delay,
            multiple = self.multiple,
            least_multiple = params.multiple,
        );
        finding(step, measures, self.seqs, text)
    }
}

/// For how long a small order can matter, in nanoseconds.
fn kept(params: &Params) -> i64 {
    let window = params.window.nanos();
    window.saturating_add(params.follow_within.nanos())
}

/// Whether an order never waits.
fn goes_at_once(flags: Flags) -> bool {
    flags.has(Flags::IOC.with(Flags::FOK))
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pinging {
    /// To buy, and to sell.
    traders: Entities<[Smalls; 2]>,
    overflows: u64,
}

/// What is kept of the trader on the side of the step.
fn smalls<'a>(
    traders: &'a mut Entities<[Smalls; 2]>,
    (step, trader): (&Step<'_>, u32),
    params: &Params,
) -> &'a mut Smalls {
    let kept = kept(params).saturating_add(params.life.nanos());
    let [buy, sell] = traders.get(step, trader, kept);
    match step.side {
        Side::Buy => buy,
        Side::Sell => sell,
    }
}

impl Watch for Pinging {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "pinging",
        version: 1,
        title: "Small orders that come and go at once, then a large one on the same side",
        rule: "At a new order: its trader's last probe on its side in the instrument came in at most \
            follow_within before, at least probes of them came in within window up to that one, at least \
            hits of them executed, and the order is at least multiple times their median. A \
            probe is an order of at most depth_share of what the best price across shows that is IOC or \
            FOK, or was cancelled or filled in less than life. The large order ends the \
            count. Auctions and halts are left out. False positives: an execution algorithm that takes \
            small quantities as they come and then sends the rest.",
        source: "EU 2016/522 Annex II (ping orders)",
        params: Params::PARAMS,
        needs: &[Need::Trader],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::ALL;

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let (Some(trader), Some(order)) = (step.trader(), step.order) else {
            return;
        };
        if step.kind == EventType::Amended || step.flags.has(Flags::AUCTION.with(Flags::HALT)) {
            return;
        }
        let params = params.of(step);
        let at_once = goes_at_once(order.flags);
        if step.kind != EventType::New {
            let life = step.time.saturating_sub(order.entered);
            if at_once || life < params.life.nanos() {
                smalls(&mut self.traders, (step, trader), params).leave(step, order);
            }
            return;
        }
        let smalls = smalls(&mut self.traders, (step, trader), params);
        let pinged = smalls.follows(step, params);
        let across = step.market.depth(step.side.opposite(), 1);
        if at_most(i128::from(step.quantity), params.depth_share, across) {
            self.overflows += smalls.enter(step, at_once, params);
        }
        if let Some(pinged) = pinged {
            let side = u32::from(step.side == Side::Sell);
            let entity = key(step.sym, trader << 1 | side);
            found.hit(step, entity, params.window, || pinged.finding(step, params));
        }
    }

    fn entities(&self) -> u64 {
        self.traders.len()
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }
}
