//! One row as the detectors of market behaviour see it, and the market after it.
//!
//! Invariant: times never go back within an instrument; what is not told is `None` or [`NOBODY`].

use tapewatch_model::{EVIDENCE_MAX, EventType, Flags, Measure, Side, TimeSpan};

use crate::codes::Names;
use crate::detector::{Finding, Findings, NOBODY, Rows, Spot};
use crate::market::{Held, Market, Trade};
use crate::markets::Markets;

/// A day, in nanoseconds.
pub(crate) const DAY: i64 = 86_400_000_000_000;

/// A row.
pub(crate) struct Step<'a> {
    pub(crate) rows: &'a Rows<'a>,
    pub(crate) row: usize,
    pub(crate) seq: u64,
    /// Nanoseconds; of a late row, the latest time of its instrument.
    pub(crate) time: i64,
    /// The engine's number of the instrument.
    pub(crate) sym: u32,
    /// The engine's number of the trader, or [`NOBODY`].
    pub(crate) trader: u32,
    /// The engine's number of the owner (the group of linked accounts, the account, or else the
    /// trader), or [`NOBODY`].
    pub(crate) owner: u32,
    /// The engine's number of whom the trader belongs to as an owner (the group that he is linked to,
    /// or himself), whosever the account is; or [`NOBODY`].
    pub(crate) desk: u32,
    pub(crate) kind: EventType,
    pub(crate) side: Side,
    /// In units of price and quantity.
    pub(crate) price: i64,
    pub(crate) quantity: i64,
    pub(crate) flags: Flags,
    /// Names the order within its instrument; 0 when the source names none.
    pub(crate) key: u64,
    /// The order as it was before the row; of a new one, as it came in. `None` when its beginning
    /// was not told.
    pub(crate) order: Option<&'a Held>,
    /// At the row that tells an execution's second side: both.
    pub(crate) trade: Option<&'a Trade>,
    /// Of an execution: the side of the order that came in, where that is known.
    pub(crate) aggressor: Option<Side>,
    /// The market after the row.
    pub(crate) market: &'a Market,
    pub(crate) markets: &'a Markets,
    /// The class of the instrument and the client group of the owner, by the reference tables; 0
    /// when there is none.
    pub(crate) class: u16,
    pub(crate) group: u16,
}

impl<'a> Step<'a> {
    /// Who it is by trader; `None` when the source does not tell.
    #[inline]
    pub(crate) fn trader(&self) -> Option<u32> {
        (self.trader != NOBODY).then_some(self.trader)
    }

    /// Who it is by owner; `None` when the source does not tell.
    #[inline]
    pub(crate) fn owner(&self) -> Option<u32> {
        (self.owner != NOBODY).then_some(self.owner)
    }

    /// Whether the row is an execution of an order that came in.
    #[inline]
    pub(crate) fn is_aggressive(&self) -> bool {
        self.kind == EventType::Filled && self.aggressor == Some(self.side)
    }

    /// When the trading day of the row began, in nanoseconds: when the class of the instrument opens,
    /// or else at midnight UTC.
    pub(crate) fn day(&self) -> i64 {
        let class = self.names().class(self.class);
        let opens = class.and_then(|class| class.opens(self.time));
        let begins = opens.unwrap_or_else(|| self.time - self.time.rem_euclid(DAY));
        if begins <= self.time {
            begins
        } else {
            begins.saturating_sub(DAY)
        }
    }

    /// The least quantity that trades in the instrument, in units.
    pub(crate) fn lot(&self) -> i64 {
        let class = self.names().class(self.class);
        class.map_or(0, |class| class.lot.units())
    }

    /// Texts of the engine's numbers.
    pub(crate) fn names(&self) -> Names<'a> {
        self.rows.names
    }

    /// The instrument.
    pub(crate) fn sym_name(&self) -> &'a str {
        self.names().sym(self.sym)
    }

    /// An owner, in a sentence.
    pub(crate) fn owner_name(&self, owner: u32) -> &'a str {
        self.names().owner(owner)
    }

    /// The trader, in a sentence.
    pub(crate) fn trader_name(&self) -> &'a str {
        self.names().trader(self.trader)
    }
}

/// Takes what a detector finds at one step.
pub(crate) struct Found<'a> {
    pub(crate) set: u32,
    pub(crate) findings: &'a mut dyn Findings,
}

impl Found<'_> {
    /// The condition holds at this step for `entity` (see [`crate::entities::key`]): `say` words it.
    pub(crate) fn hit(
        &mut self,
        step: &Step<'_>,
        entity: u64,
        lookback: TimeSpan,
        say: impl FnOnce() -> Finding,
    ) {
        let spot = Spot {
            set: self.set,
            row: step.row,
            entity,
            lookback,
        };
        if self.findings.at(spot) {
            self.findings.put(spot, say());
        }
    }
}

/// A finding of these measures, which rests on these events (any order, repeats allowed) and on the
/// step's own.
pub(crate) fn finding(
    step: &Step<'_>,
    measures: Vec<Measure>,
    evidence: impl IntoIterator<Item = u64>,
    text: String,
) -> Finding {
    let mut seqs: Vec<u64> = evidence.into_iter().collect();
    seqs.push(step.seq);
    seqs.sort_unstable();
    seqs.dedup();
    let total = seqs.len();
    let first = total.saturating_sub(EVIDENCE_MAX);
    Finding {
        measures,
        evidence: seqs.split_off(first),
        evidence_total: total as u64,
        text,
    }
}
