//! Round trip: an owner buys and sells as much, almost all of it with the same other owner.
//!
//! Invariant: for an owner in an instrument 31 sums are kept (2 KB), for two owners who trade with each
//! other 31 sums and the latest 256 sequence numbers (4 KB), all for little longer than the window.
//! Source: EU 2016/522, Annex II, indicator of "wash trades" (no change in beneficial interest).

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Flags, Measure, Side, TimeSpan};

use crate::detector::{DetectorInfo, Finding, NOBODY, Need, Registration};
use crate::entities::{Entities, Pair, key};
use crate::market::Trade;
use crate::params::{ParamSet as _, Profiles, at_least, at_most, params, ratio};
use crate::rolling::{Latch, Latest, Rolling, Sums, kept};
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<RoundTrip>();

/// Sequence numbers kept as evidence, two of an execution.
const EVIDENCE: usize = 256;

params! {
    struct Params {
        /// Executions count of the last so long (to a thirtieth of it); a group's profile cannot change it.
        window: TimeSpan = "10m",
        /// At least so many lots are bought, and at least so many are sold.
        lots: u64 = "20",
        /// What remains is at most this share of all that is bought and sold.
        net_share: Decimal = "0.05",
        /// At least this share of it is with the same other owner.
        counterparty_share: Decimal = "0.8",
        /// Executions between the two count when their orders came in within so long of each other, as
        /// those of two who agreed do; a group's profile cannot change it.
        together: TimeSpan = "3s",
    }
}

/// In units of quantity, and how many executions.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Volume {
    bought: i128,
    sold: i128,
    trades: u64,
}

impl Sums for Volume {
    fn add(&mut self, other: &Self) {
        self.bought += other.bought;
        self.sold += other.sold;
        self.trades += other.trades;
    }

    fn take(&mut self, other: &Self) {
        self.bought -= other.bought;
        self.sold -= other.sold;
        self.trades -= other.trades;
    }
}

impl Volume {
    fn of(side: Side, quantity: i64) -> Self {
        let quantity = i128::from(quantity);
        let (bought, sold) = match side {
            Side::Buy => (quantity, 0),
            Side::Sell => (0, quantity),
        };
        Self {
            bought,
            sold,
            trades: 1,
        }
    }

    fn gross(&self) -> i128 {
        self.bought + self.sold
    }

    fn net(&self) -> i128 {
        (self.bought - self.sold).abs()
    }
}

/// What is kept of an owner in an instrument.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Owner {
    volume: Rolling<Volume>,
    /// With whom he trades most of what counts.
    most: Option<u32>,
    latch: Latch,
}

/// What is kept of two owners who trade with each other.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Both {
    /// What one of them bought of the other counts as bought by both.
    volume: Rolling<Volume>,
    latest: Latest,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct RoundTrip {
    owners: Entities<Owner>,
    pairs: Entities<Both, Pair>,
}

impl RoundTrip {
    /// Takes an execution in for the owner on one side, and judges him with the other one when they
    /// came together, and with the one that he trades most with: an execution with anybody can be
    /// the one that leaves him flat.
    fn take(
        &mut self,
        (step, trade): (&Step<'_>, &Trade),
        side: Side,
        (met, window): (bool, TimeSpan),
        params: &Profiles<Params>,
        found: &mut Found<'_>,
    ) {
        let owner = trade.party(side).owner;
        let state = self.owners.get(step, owner, kept(window));
        let volume = Volume::of(side, trade.quantity);
        let all = state.volume.add(step.time, window, &volume);
        let most = state.most;
        let new = met.then(|| trade.party(side.opposite()).owner);
        if let Some(new) = new.filter(|new| most.is_none_or(|most| most != *new)) {
            let mut with = |other| self.with(step, owner, other, window).gross();
            if most.is_none_or(|most| with(new) >= with(most)) {
                self.owners.get(step, owner, kept(window)).most = Some(new);
            }
        }
        let least = i128::from(params.of_owner(step, owner).lots) * i128::from(step.lot());
        if all.bought < least || all.sold < least {
            return;
        }
        let most = most.filter(|most| Some(*most) != new);
        for other in [new, most].into_iter().flatten() {
            self.judge(step, (owner, other), window, params, found);
        }
    }

    /// What two owners traded with each other.
    fn with(&mut self, step: &Step<'_>, owner: u32, other: u32, window: TimeSpan) -> Volume {
        let both = self.pairs.find(step, Pair::of(owner, other), kept(window));
        both.map_or(Volume::default(), |both| both.volume.sum(step.time))
    }

    /// Judges an owner by what he did with another.
    fn judge(
        &mut self,
        step: &Step<'_>,
        (owner, other): (u32, u32),
        window: TimeSpan,
        params: &Profiles<Params>,
        found: &mut Found<'_>,
    ) {
        let params = params.of_owner(step, owner);
        let least = i128::from(params.lots) * i128::from(step.lot());
        let with = self.with(step, owner, other, window);
        if with.trades == 0 || !at_least(with.gross(), params.counterparty_share, least * 2) {
            return;
        }
        let both = self.pairs.find(step, Pair::of(owner, other), kept(window));
        let Some(both) = both else { return };
        let state = self.owners.get(step, owner, kept(window));
        // What he did before he first traded with the other is no part of it.
        let all = state
            .volume
            .since(both.volume.begins().unwrap_or(step.time));
        if all.bought < least
            || all.sold < least
            || !at_most(all.net(), params.net_share, all.gross())
            || !at_least(with.gross(), params.counterparty_share, all.gross())
        {
            return;
        }
        // Between two trades of a round trip the position is open: it lasts for the window.
        if state.latch.tells(all.trades, step.time, window) {
            let latest = both.latest.last(with.trades.saturating_mul(2));
            let seqs: Vec<u64> = latest.collect();
            found.hit(step, key(step.sym, owner), window, || {
                told(step, (owner, other), (&all, &with, window), seqs, params)
            });
        }
    }
}

/// Whether the two orders came in within so long of each other, where that is known.
fn together(trade: &Trade, within: TimeSpan) -> bool {
    let orders = trade.buy.order.zip(trade.sell.order);
    orders.is_none_or(|(buy, sell)| {
        buy.entered.saturating_sub(sell.entered).saturating_abs() <= within.nanos()
    })
}

fn told(
    step: &Step<'_>,
    (owner, other): (u32, u32),
    (all, with, window): (&Volume, &Volume, TimeSpan),
    seqs: Vec<u64>,
    params: &Params,
) -> Finding {
    let quantity = Decimal::from_quantity_units;
    let least = quantity(i128::from(params.lots) * i128::from(step.lot()));
    let measure = |name, value, threshold| Measure {
        name,
        value,
        threshold,
    };
    let net = ratio(all.net(), all.gross());
    let share = ratio(with.gross(), all.gross());
    let measures = vec![
        measure("bought", quantity(all.bought), least),
        measure("sold", quantity(all.sold), least),
        measure("net_share", net, params.net_share),
        measure("counterparty_share", share, params.counterparty_share),
    ];
    let text = format!(
        "Round trip: within {window} {owner} bought {bought} and sold {sold} of {sym} (threshold {least} each), \
         of which {net} remains (at most {most}), and {share} of it was with {other} (threshold \
         {least_share}).",
        owner = step.owner_name(owner),
        other = step.owner_name(other),
        sym = step.sym_name(),
        bought = quantity(all.bought),
        sold = quantity(all.sold),
        most = params.net_share,
        least_share = params.counterparty_share,
    );
    let finding = finding(step, measures, seqs, text);
    Finding {
        // The row may be of another trade.
        evidence_total: with.trades.saturating_mul(2).max(finding.evidence_total),
        ..finding
    }
}

impl Watch for RoundTrip {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "round_trip",
        version: 2,
        title: "An owner buys and sells as much, almost all of it with the same other owner",
        rule: "Executions between two owners count when their two orders came in within together of each \
            other (where that is known). At an execution whose two sides are known and of different \
            owners: since the first one that counts between one of them and another (the one that it \
            is with, when it counts, or else the one that he trades most with) within window, he bought at least \
            lots in the instrument and sold at least lots, what remains is at most net_share of both together, and at \
            least counterparty_share of both together counts with the other. The window is cut into thirty slices, \
            the current and the thirty before it count, from the slice of that first one on. Left out: \
            declared crosses and auctions. Told once, and again whenever the executions have doubled, or \
            after it did not hold for the window. False positives: two market makers who alone trade \
            an instrument; whoever buys of one maker and soon sells as much to him.",
        source: "EU 2016/522 Annex II (wash trades)",
        params: Params::PARAMS,
        needs: &[Need::Trader, Need::Executions],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::of(&[EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let Some(trade) = step.trade else { return };
        let (buyer, seller) = (trade.buy.owner, trade.sell.owner);
        if buyer == seller
            || buyer == NOBODY
            || seller == NOBODY
            || trade.flags.has(Flags::CROSS.with(Flags::AUCTION))
        {
            return;
        }
        let common = params.of_class(step);
        let window = common.window;
        let met = together(trade, common.together);
        if met {
            let both = self.pairs.get(step, Pair::of(buyer, seller), kept(window));
            let (one, two) = (trade.buy.seq, trade.sell.seq);
            both.latest.push(one.min(two), EVIDENCE);
            both.latest.push(one.max(two), EVIDENCE);
            let volume = Volume::of(Side::Buy, trade.quantity);
            both.volume.add(step.time, window, &volume);
        }
        for side in [Side::Buy, Side::Sell] {
            self.take((step, trade), side, (met, window), params, found);
        }
    }

    fn entities(&self) -> u64 {
        self.owners.len() + self.pairs.len()
    }
}
