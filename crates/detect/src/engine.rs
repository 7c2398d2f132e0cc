//! The engine: sends batches through all detectors and makes hits and alerts of what they find.
//!
//! Invariant: hits come in order of (sequence number, registry order), each once. An engine that
//! serves a shard gives exactly the hits of its instruments; merged they are those of one engine.

use std::sync::Arc;

use tapewatch_model::{EventTypes, Hit, Id, OrderBatch};

use crate::alerts::OpenAlerts;
use crate::codes::Codes;
use crate::config::{ConfigError, DetectConfig};
use crate::detector::{Detector, DetectorInfo, Finding, Findings, Rows, Spot};
use crate::guest::{Disabled, GuestDetector, Guests, NoGuests, same_code};
use crate::markets::Markets;
use crate::registry::{REGISTRY, rank};
use crate::rules::runner;
use crate::shard::Shard;
use crate::suppress::Suppressions;

/// What the engine counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Rows, of all shards.
    pub rows: u64,
    /// Rows that were older than one before them, of all shards.
    pub late_rows: u64,
    /// What was passed over because a limit was reached: rows of full windows, orders of full books.
    pub overflows: u64,
    /// Entities that have a window.
    pub entities: u64,
}

/// What the hits of a detector or a rule are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) id: &'static str,
    pub(crate) version: u32,
    pub(crate) config_version: Id,
}

/// A detector or a rule that runs.
pub(crate) struct Running {
    pub(crate) signature: Signature,
    /// Of a rule: its digest. With another it begins empty.
    rule: Option<Id>,
    pub(crate) detector: Box<dyn Detector>,
    pub(crate) open: OpenAlerts,
    /// What the detector says: asked once, for it is needed at every row.
    by_step: Option<EventTypes>,
}

/// All detectors, with their windows.
pub struct Engine {
    pub(crate) config: DetectConfig,
    guests: Arc<dyn Guests>,
    pub(crate) running: Vec<Running>,
    pub(crate) codes: Codes,
    pub(crate) markets: Markets,
}

impl Engine {
    /// An engine with empty windows.
    ///
    /// # Errors
    /// [`ConfigError`] when a detector refuses its parameters.
    pub fn new(config: &DetectConfig, shard: Shard) -> Result<Self, ConfigError> {
        Self::with_guests(config, shard, Arc::new(NoGuests))
    }

    /// An engine with empty windows that also runs detectors that are not built in.
    ///
    /// # Errors
    /// [`ConfigError`] when a detector refuses its parameters, or a guest is not there.
    pub fn with_guests(
        config: &DetectConfig,
        shard: Shard,
        guests: Arc<dyn Guests>,
    ) -> Result<Self, ConfigError> {
        let mut engine = Self {
            config: config.clone(),
            guests,
            running: Vec::new(),
            codes: Codes::new(shard, Arc::clone(config.reference())),
            markets: Markets::default(),
        };
        engine.running = engine.build(config)?;
        Ok(engine)
    }

    fn build(&mut self, config: &DetectConfig) -> Result<Vec<Running>, ConfigError> {
        let mut before = std::mem::take(&mut self.running);
        let mut known = |id: &str, rule: Option<Id>| {
            let same = |known: &Running| known.signature.id == id && known.rule == rule;
            let at = before.iter().position(same)?;
            Some(before.swap_remove(at))
        };
        let mut running = Vec::new();
        for registration in REGISTRY {
            let &DetectorInfo { id, version, .. } = registration.info;
            let Some(params) = config.params(id) else {
                continue;
            };
            let signature = Signature::of(config, id, version);
            running.push(match known(id, None) {
                Some(mut known) => {
                    known.detector.reconfigure(params, config.reference())?;
                    Running { signature, ..known }
                }
                None => {
                    let detector = (registration.build)(0, params, config.reference())?;
                    Running::new(signature, None, detector)
                }
            });
        }
        for rule in config.rules().iter() {
            let signature = Signature::of(config, rule.name, rule.version);
            running.push(match known(rule.name, Some(rule.digest)) {
                Some(known) => Running { signature, ..known },
                None => Running::new(signature, Some(rule.digest), runner(rule, 0)),
            });
        }
        for (id, params) in config.guests() {
            let code = self.config.params(id);
            let same = code.is_some_and(|before| same_code(before, params));
            running.push(match known(id, None).filter(|_| same) {
                Some(mut known) => {
                    known.detector.reconfigure(params, config.reference())?;
                    let signature =
                        Signature::of(config, known.signature.id, known.signature.version);
                    Running { signature, ..known }
                }
                None => {
                    let guest = GuestDetector::new(0, id, params, &self.guests)?;
                    let info = guest.info();
                    let signature = Signature::of(config, info.id, info.version);
                    Running::new(signature, None, Box::new(guest))
                }
            });
        }
        Ok(running)
    }

    /// The guests that stopped.
    #[must_use]
    pub fn disabled(&self) -> Vec<Disabled> {
        let detectors = self.running.iter();
        detectors
            .filter_map(|running| running.detector.disabled())
            .collect()
    }

    /// Stops a guest that stopped in another shard; see [`crate::settle`].
    pub fn disable(&mut self, notice: &Disabled) {
        let mut detectors = self.running.iter_mut();
        if let Some(running) = detectors.find(|running| running.signature.id == notice.detector) {
            running.detector.disable(notice);
        }
    }

    /// Takes a new configuration from the next batch on. Windows are kept where they still fit.
    ///
    /// # Errors
    /// [`ConfigError`] when a guest is not there or refuses its parameters; the engine is of no more
    /// use then. The rest of a [`DetectConfig`] was checked when it was made.
    pub fn reconfigure(&mut self, config: &DetectConfig) -> Result<(), ConfigError> {
        if *config != self.config {
            self.running = self.build(config)?;
            if config.reference() != self.config.reference() {
                self.codes.refer(Arc::clone(config.reference()));
            }
            self.config = config.clone();
        }
        Ok(())
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &DetectConfig {
        &self.config
    }

    /// The events that its detectors look at: hits are the same when it is given these alone.
    #[must_use]
    pub fn events(&self) -> EventTypes {
        let events = self.running.iter().map(|running| running.detector.events());
        events.fold(EventTypes::NONE, EventTypes::union)
    }

    /// Empties all windows; open alerts end.
    pub fn clear(&mut self) {
        for running in &mut self.running {
            running.detector.clear();
            running.open.clear();
        }
        self.markets.clear();
    }

    /// Counts so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let sum = |of: fn(&dyn Detector) -> u64| {
            self.running
                .iter()
                .map(|running| of(running.detector.as_ref()))
                .sum()
        };
        Counters {
            rows: self.codes.rows,
            late_rows: self.codes.late_rows,
            overflows: sum(|detector| detector.overflows()) + self.markets.overflows(),
            entities: sum(|detector| detector.entities()),
        }
    }

    /// Applies a batch (in bucket modes: a bucket) and appends its hits.
    pub fn apply(&mut self, orders: &OrderBatch, hits: &mut Vec<Hit>) {
        let Some(rows) = self.codes.rows_of(orders, false) else {
            return;
        };
        let suppressions = self.config.suppressions();
        let first_hit = hits.len();
        for running in self.running.iter_mut().filter(|one| one.by_step.is_none()) {
            let (detector, mut found) = running.finding(suppressions, &rows, hits);
            detector.apply(&rows, &mut found);
        }
        if self.running.iter().any(|one| one.by_step.is_some()) {
            for row in 0..orders.len() {
                let Some(step) = self.markets.step(&rows, row) else {
                    continue;
                };
                let looks = |one: &&mut Running| {
                    let events = one.by_step.unwrap_or(EventTypes::NONE);
                    events.contains(step.kind)
                };
                for running in self.running.iter_mut().filter(looks) {
                    let (detector, mut found) = running.finding(suppressions, &rows, hits);
                    detector.step(&step, &mut found);
                }
            }
        }
        if let Some(new) = hits.get_mut(first_hit..).filter(|_| self.running.len() > 1) {
            new.sort_by_key(|hit| (hit.order.seq, rank(hit.detector)));
        }
    }
}

impl Signature {
    fn of(config: &DetectConfig, id: &'static str, version: u32) -> Self {
        let config_version = config.version(id);
        Self {
            id,
            version,
            config_version,
        }
    }
}

impl Running {
    fn new(signature: Signature, rule: Option<Id>, detector: Box<dyn Detector>) -> Self {
        Self {
            signature,
            rule,
            by_step: detector.by_step(),
            detector,
            open: OpenAlerts::default(),
        }
    }

    /// The detector, and what makes hits of what it finds.
    fn finding<'a>(
        &'a mut self,
        suppressions: &'a Suppressions,
        rows: &'a Rows<'a>,
        hits: &'a mut Vec<Hit>,
    ) -> (&'a mut dyn Detector, Found<'a>) {
        let found = Found {
            signature: self.signature,
            open: &mut self.open,
            suppressions,
            rows,
            hits,
        };
        (self.detector.as_mut(), found)
    }
}

/// Makes a hit of every finding.
struct Found<'a> {
    signature: Signature,
    open: &'a mut OpenAlerts,
    suppressions: &'a Suppressions,
    rows: &'a Rows<'a>,
    hits: &'a mut Vec<Hit>,
}

impl Findings for Found<'_> {
    fn at(&mut self, _: Spot) -> bool {
        true
    }

    fn put(&mut self, spot: Spot, finding: Finding) {
        let hit = hit(self.signature, self.rows, &spot, finding);
        self.hits.extend(hit.map(|mut hit| {
            hit.hit_id = hit.content_id();
            let reason = self.suppressions.reason(&hit);
            hit.suppressed = reason.unwrap_or_default().to_owned();
            self.open.join(spot.set, spot.entity, &mut hit);
            hit
        }));
    }
}

/// The hit that a finding makes; without its ids.
pub(crate) fn hit(
    signature: Signature,
    rows: &Rows<'_>,
    spot: &Spot,
    finding: Finding,
) -> Option<Hit> {
    let order = rows.orders.order(spot.row)?;
    Some(Hit {
        hit_id: Id::default(),
        alert_id: Id::default(),
        alert_hit: 1,
        alert_time: order.time,
        detector: signature.id,
        detector_version: signature.version,
        config_version: signature.config_version,
        order,
        measures: finding.measures,
        lookback: spot.lookback,
        evidence: finding.evidence,
        evidence_total: finding.evidence_total,
        text: finding.text,
        suppressed: String::new(),
    })
}
