//! The engine: sends batches through all detectors and makes hits and alerts of what they find.
//!
//! Invariant: hits come in order of (sequence number, registry order), each once. An engine that
//! serves a shard gives exactly the hits of its instruments; merged they are those of one engine.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tapewatch_model::{Hit, Id, Interner, OrderBatch, Time, TimeSpan};

use crate::config::{ConfigError, DetectConfig};
use crate::detector::{Detector, DetectorInfo, Finding, Rows};
use crate::registry::REGISTRY;

/// Which instruments an engine serves: those whose digest, modulo `count`, is `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// Number of shards, at least 1.
    pub count: u32,
}

impl Shard {
    /// All instruments.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    fn holds(self, sym: &str) -> bool {
        self.count <= 1
            || FixedState::default().hash_one(sym) % u64::from(self.count) == u64::from(self.index)
    }
}

/// What the engine counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Rows, of all shards.
    pub rows: u64,
    /// Rows that were older than one before them, of all shards.
    pub late_rows: u64,
    /// Rows that left a full window before their time.
    pub overflows: u64,
    /// Entities that have a window.
    pub entities: u64,
}

/// An alert that may still grow.
#[derive(Debug, Clone, Copy)]
struct OpenAlert {
    id: Id,
    first: Time,
    last: Time,
    hits: u64,
}

/// A detector that runs.
struct Running {
    info: &'static DetectorInfo,
    config_version: Id,
    detector: Box<dyn Detector>,
    open: HashMap<u64, OpenAlert, FixedState>,
}

/// All detectors, with their windows.
pub struct Engine {
    shard: Shard,
    config: DetectConfig,
    running: Vec<Running>,
    syms: Interner,
    /// For each interned instrument: whether the shard holds it.
    held: Vec<bool>,
    traders: Interner,
    newest: Time,
    rows: u64,
    late_rows: u64,
    // Kept for their memory.
    sym_of_code: Vec<Option<u32>>,
    trader_of_code: Vec<u32>,
    findings: Vec<Finding>,
}

impl Engine {
    /// An engine with empty windows.
    ///
    /// # Errors
    /// [`ConfigError`] when a detector refuses its parameters.
    pub fn new(config: &DetectConfig, shard: Shard) -> Result<Self, ConfigError> {
        let mut engine = Self {
            shard,
            config: config.clone(),
            running: Vec::new(),
            syms: Interner::default(),
            held: Vec::new(),
            traders: Interner::default(),
            newest: Time::MIN,
            rows: 0,
            late_rows: 0,
            sym_of_code: Vec::new(),
            trader_of_code: Vec::new(),
            findings: Vec::new(),
        };
        engine.running = engine.build(config)?;
        Ok(engine)
    }

    fn build(&mut self, config: &DetectConfig) -> Result<Vec<Running>, ConfigError> {
        let mut before = std::mem::take(&mut self.running);
        let mut running = Vec::new();
        for registration in REGISTRY {
            let info = registration.info;
            let Some(params) = config.params(info.id) else {
                continue;
            };
            let config_version = config.version(info.id);
            let known = before.iter().position(|known| known.info.id == info.id);
            running.push(match known.map(|at| before.swap_remove(at)) {
                Some(mut known) => {
                    known.detector.reconfigure(params)?;
                    Running {
                        config_version,
                        ..known
                    }
                }
                None => Running {
                    info,
                    config_version,
                    detector: (registration.build)(params)?,
                    open: HashMap::with_hasher(FixedState::default()),
                },
            });
        }
        Ok(running)
    }

    /// Takes a new configuration from the next batch on. Windows are kept where they still fit.
    ///
    /// # Errors
    /// [`ConfigError`]; a [`DetectConfig`] was checked when it was made, so this does not happen.
    pub fn reconfigure(&mut self, config: &DetectConfig) -> Result<(), ConfigError> {
        if *config != self.config {
            self.running = self.build(config)?;
            self.config = config.clone();
        }
        Ok(())
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &DetectConfig {
        &self.config
    }

    /// Empties all windows; open alerts end.
    pub fn clear(&mut self) {
        for running in &mut self.running {
            running.detector.clear();
            running.open.clear();
        }
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
            rows: self.rows,
            late_rows: self.late_rows,
            overflows: sum(|detector| detector.overflows()),
            entities: sum(|detector| detector.entities()),
        }
    }

    /// Applies a batch (in bucket modes: a bucket) and appends its hits.
    pub fn apply(&mut self, orders: &OrderBatch, hits: &mut Vec<Hit>) {
        let Some(time_min) = self.note_times(orders) else {
            return;
        };
        self.map_codes(orders);
        let first_hit = hits.len();
        let rows = Rows {
            orders,
            syms: &self.sym_of_code,
            traders: &self.trader_of_code,
            time_min: time_min.nanos(),
        };
        for running in &mut self.running {
            running.detector.apply(&rows, &mut self.findings);
            for finding in self.findings.drain(..) {
                hits.extend(running.hit(orders, finding));
            }
        }
        if let Some(new) = hits.get_mut(first_hit..).filter(|_| self.running.len() > 1) {
            new.sort_by_key(|hit| hit.order.seq); // stable: registry order stays
        }
    }

    /// Counts late rows and returns the least time.
    fn note_times(&mut self, orders: &OrderBatch) -> Option<Time> {
        let mut least = *orders.times().first()?;
        let mut late = 0;
        for &time in orders.times() {
            late += u64::from(time < self.newest);
            self.newest = self.newest.max(time);
            least = least.min(time);
        }
        self.late_rows += late;
        self.rows += orders.len() as u64;
        Some(least)
    }

    /// Finds the engine's own numbers for the batch's dictionaries.
    fn map_codes(&mut self, orders: &OrderBatch) {
        self.sym_of_code.clear();
        for sym in orders.syms().iter() {
            // A text column holds UTF-8 only, so interning it cannot fail.
            let Ok(number) = self.syms.intern(sym.as_bytes()) else {
                continue;
            };
            if number as usize == self.held.len() {
                self.held.push(self.shard.holds(sym));
            }
            let held = self.held.get(number as usize).copied().unwrap_or_default();
            self.sym_of_code.push(held.then_some(number));
        }
        self.trader_of_code.clear();
        let traders = orders.traders().iter();
        let numbers = traders.filter_map(|trader| self.traders.intern(trader.as_bytes()).ok());
        self.trader_of_code.extend(numbers);
    }
}

impl Running {
    fn hit(&mut self, orders: &OrderBatch, finding: Finding) -> Option<Hit> {
        let order = orders.order(finding.row)?;
        let time = order.time;
        let mut hit = Hit {
            hit_id: Id::default(),
            alert_id: Id::default(),
            alert_hit: 1,
            alert_time: time,
            detector: self.info.id,
            detector_version: self.info.version,
            config_version: self.config_version,
            order,
            measures: finding.measures,
            lookback: finding.lookback,
            evidence: finding.evidence,
            evidence_total: finding.evidence_total,
            text: finding.text,
        };
        hit.hit_id = hit.content_id();
        let new = OpenAlert {
            id: hit.hit_id,
            first: time,
            last: time,
            hits: 0,
        };
        let open = self.open.entry(finding.entity).or_insert(new);
        if !within(open.last, time, finding.lookback) {
            *open = new;
        }
        open.hits += 1;
        open.last = open.last.max(time);
        open.first = open.first.min(time);
        hit.alert_id = open.id;
        hit.alert_hit = open.hits;
        hit.alert_time = open.first;
        Some(hit)
    }
}

fn within(a: Time, b: Time, span: TimeSpan) -> bool {
    a.max(b).saturating_sub(span) <= a.min(b)
}

/// The hits of all shards for the same batches, in the order of one engine.
#[must_use]
pub fn merge_shards(shards: Vec<Vec<Hit>>) -> Vec<Hit> {
    let rank = |hit: &Hit| {
        REGISTRY
            .iter()
            .position(|entry| entry.info.id == hit.detector)
    };
    let mut hits: Vec<Hit> = shards.into_iter().flatten().collect();
    hits.sort_by_key(|hit| (hit.order.seq, rank(hit)));
    hits
}
