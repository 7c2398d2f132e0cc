//! Detectors that are not in the registry: what they are told, what they answer, and how they stop.
//!
//! Invariant: a guest is told one row at a time and numbers texts by their first sight in those rows,
//! so that how rows were cut into batches cannot show. A guest that fails is disabled at that row:
//! what it found before stays, and the reason is part of its state. Another version of its code or
//! other parameters begin it anew.

use tapewatch_model::{EventType, EventTypes, Flags, Hit, Measure, Side, Time, TimeSpan};

use crate::detector::{DetectorInfo, ParamMap};

mod adapter;
pub(crate) use adapter::{GuestDetector, same_code};

/// Whose texts numbers stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameOf {
    /// An instrument.
    Instrument,
    /// A trader.
    Trader,
    /// The group of linked accounts, the account, or else the trader.
    Owner,
}

/// A row as a guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestEvent {
    /// Sequence number.
    pub seq: u64,
    /// When it happened; of a late row, the latest time of its instrument.
    pub time: Time,
    /// Number of the instrument, from 1, in order of first sight.
    pub instrument: u32,
    /// Number of the trader, from 1; 0 when the source does not tell.
    pub trader: u32,
    /// Number of the owner, from 1; 0 when the source does not tell.
    pub owner: u32,
    /// Names the order within its instrument; 0 when the source does not tell.
    pub order: u64,
    /// Names the execution; 0 when there is none, or the source does not tell.
    pub execution: u64,
    /// What happened.
    pub event_type: EventType,
    /// Side of the order.
    pub side: Side,
    /// In units of [`tapewatch_model::Price`].
    pub price: i64,
    /// In units of [`tapewatch_model::Quantity`].
    pub quantity: i64,
    /// What of the quantity is shown, in its units; -1 when the source does not tell.
    pub shown: i64,
    /// Its marks.
    pub flags: Flags,
}

/// What a guest finds at a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFinding {
    /// Findings of one entity of an instrument join into alerts.
    pub entity: u32,
    /// How far back it looked; longer than nothing.
    pub lookback: TimeSpan,
    /// Measures beside their thresholds.
    pub measures: Vec<Measure>,
    /// Sequence numbers up to the row's, in any order; the row's own is added.
    pub evidence: Vec<u64>,
    /// What happened, in a sentence.
    pub text: String,
}

/// A detector that runs somewhere else, within limits. Every error is a reason for people and the
/// guest's last word: it is then not called again, but for [`Self::restart`].
pub trait Guest: Send {
    /// What it is; its `id` is the name that it was asked for by.
    fn info(&self) -> &'static DetectorInfo;

    /// The events that it wants.
    fn wants(&self) -> EventTypes;

    /// Forgets everything but its parameters.
    ///
    /// # Errors
    /// Why it cannot begin anew.
    fn restart(&mut self) -> Result<(), String>;

    /// Takes other parameters of its detector's table; what was gathered may be kept.
    ///
    /// # Errors
    /// What is wrong with them, or why it failed.
    fn configure(&mut self, params: &ParamMap) -> Result<(), String>;

    /// The text of a number, before the first event that carries it.
    ///
    /// # Errors
    /// Why it failed.
    fn name(&mut self, of: NameOf, number: u32, text: &str) -> Result<(), String>;

    /// Applies a row and appends what it finds.
    ///
    /// # Errors
    /// Why it failed; nothing is appended then.
    fn apply(&mut self, event: &GuestEvent, found: &mut Vec<GuestFinding>) -> Result<(), String>;

    /// All that it remembers but its parameters and names.
    ///
    /// # Errors
    /// Why it failed.
    fn save(&mut self) -> Result<Vec<u8>, String>;

    /// Goes on from what one of the same code saved; [`Self::restart`] and the names came before.
    ///
    /// # Errors
    /// Why it cannot.
    fn load(&mut self, saved: &[u8]) -> Result<(), String>;
}

/// Where guests come from.
pub trait Guests: Send + Sync {
    /// A guest as new, for the detector `id` with the parameters of its table; `wasm` among them
    /// names its code by digest.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    fn guest(&self, id: &str, params: &ParamMap) -> Result<Box<dyn Guest>, String>;
}

/// None at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoGuests;

impl Guests for NoGuests {
    fn guest(&self, _: &str, params: &ParamMap) -> Result<Box<dyn Guest>, String> {
        Err(format!(
            "its code {} is not at hand here",
            params.get(WASM).unwrap_or_default()
        ))
    }
}

/// The key of a guest's code in its table: the BLAKE3 digest of its file in 64 hex digits.
pub(crate) const WASM: &str = "wasm";

/// Tells the operator that a guest stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// The detector.
    pub detector: &'static str,
    /// Sequence number of the event at which it failed: its hits before that stay, from there on there
    /// are none.
    pub seq: u64,
    /// Time of that event.
    pub time: Time,
    /// What it did.
    pub reason: String,
}

impl std::fmt::Display for Disabled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            detector,
            seq,
            time,
            reason,
        } = self;
        write!(
            f,
            "detector {detector} is disabled from event {seq} ({time}) on: {reason}; its hits before \
             that stay and all other detectors go on; correct it and configure the new file, or give \
             it other parameters or limits: it then begins anew"
        )
    }
}

/// Makes the hits of several shards those of one engine, where guests were disabled in some of them:
/// the earliest counts, and no hit of that guest from there on does. Returns what counts, for
/// [`crate::Engine::disable`] of every shard.
pub fn settle(disabled: impl IntoIterator<Item = Disabled>, hits: &mut Vec<Hit>) -> Vec<Disabled> {
    let mut first: Vec<Disabled> = Vec::new();
    for one in disabled {
        match first
            .iter_mut()
            .find(|known| known.detector == one.detector)
        {
            Some(known) if one.seq < known.seq => *known = one,
            Some(_) => {}
            None => first.push(one),
        }
    }
    hits.retain(|hit| {
        let mut stopped = first.iter().filter(|one| one.detector == hit.detector);
        stopped.all(|one| hit.order.seq < one.seq)
    });
    first
}
