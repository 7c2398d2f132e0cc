//! What a detector is to the engine: a rule over the rows of a batch that gives findings.
//!
//! Invariant: a detector sees every batch in order, reads no clock, and its findings for an entity
//! depend on that entity's own events alone (and, in bucket modes, on the buckets' times).

use std::sync::Arc;

use serde_json::{Map, Value};
use tapewatch_model::{EventTypes, Measure, OrderBatch, Tells, TimeSpan};

use crate::codes::Names;
use crate::config::ConfigError;
use crate::guest::Disabled;
use crate::reference::Reference;
use crate::step::Step;

/// A detector's parameters by name.
pub(crate) type ParamMap = Map<String, Value>;

/// A detector, or why its parameters are refused.
pub(crate) type Built = Result<Box<dyn Detector>, ConfigError>;

/// A detector's line in the registry.
pub(crate) struct Registration {
    /// What it is.
    pub(crate) info: &'static DetectorInfo,
    /// Checks its parameters and returns them whole, defaults filled in.
    pub(crate) complete: fn(&ParamMap) -> Result<ParamMap, ConfigError>,
    /// Makes one from complete parameters, which are its set of that number, and reference tables.
    pub(crate) build: fn(u32, &ParamMap, &Arc<Reference>) -> Built,
}

/// What there is to know about a detector; the reference documentation is made from it.
#[derive(Debug)]
pub struct DetectorInfo {
    /// Name in configuration, tables and messages.
    pub id: &'static str,
    /// Version of the rule: raised whenever the same events would give another answer.
    pub version: u32,
    /// What it looks for, in a few words.
    pub title: &'static str,
    /// The rule, exactly.
    pub rule: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
    /// Its parameters.
    pub params: &'static [ParamInfo],
    /// What a source must tell beyond what every source tells.
    pub needs: &'static [Need],
    /// Whether it runs when the configuration does not name it.
    pub by_default: bool,
}

impl DetectorInfo {
    /// The first thing that it needs of a source and that one that tells this does not tell: it finds
    /// nothing there.
    #[must_use]
    pub fn missing(&self, tells: Tells) -> Option<Need> {
        let told = |need: Need| match need {
            Need::Trader => tells.trader,
            Need::Executions => tells.exec_id,
            Need::Capacity => tells.capacity,
            Need::Sessions | Need::News => true, // the tables', see `DetectConfig::missing`
        };
        self.needs.iter().copied().find(|&need| !told(need))
    }
}

/// Something that not every source tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Who trades.
    Trader,
    /// Both sides of an execution under one name (`exec_id`).
    Executions,
    /// Which orders are clients' and which the firm's own (flags `agency` and `principal`).
    Capacity,
    /// When trading ends (reference tables).
    Sessions,
    /// A news calendar (reference tables).
    News,
}

impl Need {
    /// In the words of a notice.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Trader => "who trades (column trader)",
            Self::Executions => "both sides of an execution (column exec_id)",
            Self::Capacity => "whose orders are clients' (flags agency and principal)",
            Self::Sessions => "when trading begins and ends (reference tables)",
            Self::News => "a news calendar (reference tables)",
        }
    }
}

/// A parameter of a detector.
#[derive(Debug)]
pub struct ParamInfo {
    /// Name in the configuration.
    pub name: &'static str,
    /// Default, as written in the configuration.
    pub default: &'static str,
    /// What it means, with its unit.
    pub doc: &'static str,
}

/// The number of a trader whom the source does not name.
pub(crate) const NOBODY: u32 = u32::MAX;

/// The rows of one batch, as a detector sees them.
pub(crate) struct Rows<'a> {
    /// The batch.
    pub(crate) orders: &'a OrderBatch,
    /// For each sym code of the batch: the engine's number of the instrument, or `None` when the
    /// instrument belongs to another shard.
    pub(crate) syms: &'a [Option<u32>],
    /// For each trader code of the batch: the engine's number of the trader, or [`NOBODY`].
    pub(crate) traders: &'a [u32],
    /// The rows' codes of accounts; empty when no row has any.
    pub(crate) account_codes: &'a [u32],
    /// For each account code and each trader code of the batch: the engine's number of the owner, or
    /// [`NOBODY`].
    pub(crate) account_owners: &'a [u32],
    pub(crate) trader_owners: &'a [u32],
    /// Texts of the engine's numbers.
    pub(crate) names: Names<'a>,
    /// Least time of all rows, of all shards (nanoseconds).
    pub(crate) time_min: i64,
    /// Whether the rows of an instrument all come one after another, in this batch and those that
    /// follow: what is kept of it can be forgotten when another one comes.
    pub(crate) by_instrument: bool,
}

impl Rows<'_> {
    /// The rows of some types of events, ascending.
    #[inline]
    pub(crate) fn of_types(&self, wanted: EventTypes, out: &mut Vec<u32>) {
        let types = self.orders.event_types();
        out.clear();
        out.resize(types.len() + 1, 0);
        // No branch: whether a row is wanted cannot be guessed, and a wrong guess costs more.
        let mut found = 0;
        for (row, &event_type) in types.iter().enumerate() {
            if let Some(slot) = out.get_mut(found) {
                *slot = row as u32;
            }
            found += usize::from(wanted.contains(event_type));
        }
        out.truncate(found);
    }

    /// The engine's number of a row's owner, or [`NOBODY`]: that of its account, or else of its trader.
    #[inline]
    pub(crate) fn owner(&self, row: usize) -> u32 {
        let account = self.account_codes.get(row).copied();
        let owner = account.and_then(|code| self.account_owners.get(code as usize).copied());
        if let Some(owner) = owner.filter(|&owner| owner != NOBODY) {
            return owner;
        }
        let trader = self.orders.trader_codes().get(row).copied();
        let owner = trader.and_then(|code| self.trader_owners.get(code as usize).copied());
        owner.unwrap_or(NOBODY)
    }

    /// The class of a row's instrument and the client group of its owner, by number; 0 for none.
    pub(crate) fn class_and_group(&self, row: usize) -> (u16, u16) {
        let sym = self.sym(row);
        sym.map_or((0, 0), |sym| {
            self.names.class_and_group(sym, self.owner(row))
        })
    }

    /// Rows cut where the instrument changes.
    pub(crate) fn by_sym<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = &'a [u32]> {
        let sym = |row: &u32| self.orders.sym_codes().get(*row as usize);
        rows.chunk_by(move |a, b| sym(a) == sym(b))
    }

    /// The engine's number of a row's instrument; `None` when it belongs to another shard.
    #[inline]
    pub(crate) fn sym(&self, row: usize) -> Option<u32> {
        let sym = *self.orders.sym_codes().get(row)?;
        *self.syms.get(sym as usize)?
    }

    /// The engine's numbers of a row's trader and owner, each [`NOBODY`] where the source does not
    /// tell; `None` when there is no such row.
    #[inline]
    pub(crate) fn trader_and_owner(&self, row: usize) -> Option<(u32, u32)> {
        let trader_code = *self.orders.trader_codes().get(row)? as usize;
        let trader = self.traders.get(trader_code).copied().unwrap_or(NOBODY);
        let account = self.account_codes.get(row).copied();
        let owner = account.and_then(|code| self.account_owners.get(code as usize).copied());
        let owner = owner.filter(|&owner| owner != NOBODY);
        let of_trader = || self.trader_owners.get(trader_code).copied();
        Some((trader, owner.or_else(of_trader).unwrap_or(NOBODY)))
    }

    /// The engine's numbers of a row's instrument and trader; `None` when the instrument belongs to
    /// another shard or the source names no trader.
    #[inline]
    pub(crate) fn entity(&self, row: usize) -> Option<(u32, u32)> {
        let sym = *self.orders.sym_codes().get(row)?;
        let trader = *self.orders.trader_codes().get(row)?;
        let sym = (*self.syms.get(sym as usize)?)?;
        let trader = *self.traders.get(trader as usize)?;
        (trader != NOBODY).then_some((sym, trader))
    }
}

/// Where a condition holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    /// Which of the detector's parameter sets it is.
    pub(crate) set: u32,
    /// Row of the batch.
    pub(crate) row: usize,
    /// The entity, as the detector numbers it: findings of the same one join into alerts.
    pub(crate) entity: u64,
    /// How far back it looked.
    pub(crate) lookback: TimeSpan,
}

/// What there is to say of it; the engine makes a hit of it.
pub(crate) struct Finding {
    /// Measures beside their thresholds.
    pub(crate) measures: Vec<Measure>,
    /// Sequence numbers, ascending; the latest [`tapewatch_model::EVIDENCE_MAX`].
    pub(crate) evidence: Vec<u64>,
    /// How many there are in all.
    pub(crate) evidence_total: u64,
    /// What happened, in a sentence.
    pub(crate) text: String,
}

/// Takes what a detector finds.
pub(crate) trait Findings {
    /// Notes that a condition holds; whether more is wanted than that. If so, [`Self::put`] must
    /// follow with the same spot.
    fn at(&mut self, spot: Spot) -> bool;

    /// What there is to say of the spot just noted.
    fn put(&mut self, spot: Spot, finding: Finding);
}

/// A saved state does not fit the detector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the saved state of detector {detector} cannot be read: {reason}")]
pub struct StateError {
    /// The detector.
    pub detector: String,
    /// What is wrong.
    pub reason: String,
}

/// A rule with its windows, for one or several sets of parameters.
pub(crate) trait Detector: Send {
    /// The events that it looks at: it may be given these alone.
    fn events(&self) -> EventTypes;

    /// Whether what it finds depends on how the rows were cut into batches.
    fn by_bucket(&self) -> bool {
        false
    }

    /// The events that it looks at one by one, with their market: [`Self::step`] is called for them.
    /// `None` when it takes whole batches: [`Self::apply`] is called then.
    fn by_step(&self) -> Option<EventTypes> {
        None
    }

    /// Whether it looks at more of a row than type, time, instrument, trader, side and quantity.
    fn wants_details(&self) -> bool {
        self.by_step().is_some()
    }

    /// Applies the batch; what it finds comes in row order.
    fn apply(&mut self, _rows: &Rows<'_>, _findings: &mut dyn Findings) {}

    /// Applies one row.
    fn step(&mut self, _step: &Step<'_>, _findings: &mut dyn Findings) {}

    /// Empties all windows.
    fn clear(&mut self);

    /// Takes new complete parameters for its first set. Windows are kept when only thresholds
    /// changed.
    ///
    /// # Errors
    /// [`ConfigError`] when a parameter is wrong; nothing changes then.
    fn reconfigure(
        &mut self,
        params: &ParamMap,
        reference: &Arc<Reference>,
    ) -> Result<(), ConfigError>;

    /// Judges by one more set of complete parameters from the same windows, under number `set`;
    /// `false` when these windows do not serve it.
    ///
    /// # Errors
    /// [`ConfigError`] when a parameter is wrong.
    fn share(&mut self, set: u32, params: &ParamMap) -> Result<bool, ConfigError>;

    /// A copy, windows and all: what [`Self::save`] writes elsewhere while this one goes on.
    fn copy(&self) -> Box<dyn Detector>;

    /// Its windows as bytes.
    fn save(&self) -> Vec<u8>;

    /// Takes windows in that a detector with the same parameters saved.
    ///
    /// # Errors
    /// What is wrong with the bytes; the windows are then empty.
    fn load(&mut self, saved: &[u8]) -> Result<(), String>;

    /// Rows dropped from a full window before their time.
    fn overflows(&self) -> u64;

    /// Entities it keeps a window for.
    fn entities(&self) -> u64;

    /// Of a guest: that it stopped, and why.
    fn disabled(&self) -> Option<Disabled> {
        None
    }

    /// Of a guest: stops it, as one in another shard did.
    fn disable(&mut self, _: &Disabled) {}
}
