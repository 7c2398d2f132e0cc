//! What a detector is to the engine: a rule over the rows of a batch that gives findings.
//!
//! Invariant: a detector sees every batch in order, reads no clock, and its findings for an entity
//! depend on that entity's own events alone (and, in bucket modes, on the buckets' times).

use serde_json::{Map, Value};
use tapewatch_model::{Measure, OrderBatch, TimeSpan};

use crate::config::ConfigError;

/// A detector's parameters by name.
pub(crate) type ParamMap = Map<String, Value>;

/// A detector's line in the registry.
pub(crate) struct Registration {
    /// What it is.
    pub(crate) info: &'static DetectorInfo,
    /// Checks its parameters and returns them whole, defaults filled in.
    pub(crate) complete: fn(&ParamMap) -> Result<ParamMap, ConfigError>,
    /// Makes one from complete parameters.
    pub(crate) build: fn(&ParamMap) -> Result<Box<dyn Detector>, ConfigError>,
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

/// The rows of one batch, as a detector sees them.
pub(crate) struct Rows<'a> {
    /// The batch.
    pub(crate) orders: &'a OrderBatch,
    /// For each sym code of the batch: the engine's number of the instrument, or `None` when the
    /// instrument belongs to another shard.
    pub(crate) syms: &'a [Option<u32>],
    /// For each trader code of the batch: the engine's number of the trader.
    pub(crate) traders: &'a [u32],
    /// Least time of all rows, of all shards (nanoseconds).
    pub(crate) time_min: i64,
}

/// A condition that holds at one row; the engine makes a hit of it.
pub(crate) struct Finding {
    /// Row of the batch.
    pub(crate) row: usize,
    /// The entity, as the detector numbers it: findings of the same one join into alerts.
    pub(crate) entity: u64,
    /// Measures beside their thresholds.
    pub(crate) measures: Vec<Measure>,
    /// How far back it looked.
    pub(crate) lookback: TimeSpan,
    /// Sequence numbers, ascending; the latest [`tapewatch_model::EVIDENCE_MAX`].
    pub(crate) evidence: Vec<u64>,
    /// How many there are in all.
    pub(crate) evidence_total: u64,
    /// What happened, in a sentence.
    pub(crate) text: String,
}

/// A rule with its windows.
pub(crate) trait Detector: Send {
    /// Applies the batch; findings come in row order.
    fn apply(&mut self, rows: &Rows<'_>, findings: &mut Vec<Finding>);

    /// Empties all windows.
    fn clear(&mut self);

    /// Takes new complete parameters. Windows are kept when only thresholds changed.
    ///
    /// # Errors
    /// [`ConfigError`] when a parameter is wrong; nothing changes then.
    fn reconfigure(&mut self, params: &ParamMap) -> Result<(), ConfigError>;

    /// Rows dropped from a full window before their time.
    fn overflows(&self) -> u64;

    /// Entities it keeps a window for.
    fn entities(&self) -> u64;
}
