//! Many sets of parameters over one pass of the events.
//!
//! Invariant: the alerts of a set are those of an engine with that set alone. Sets that differ in
//! thresholds only share their windows; only the first hit of an alert is worded.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tapewatch_model::{EventTypes, Hit, Id, OrderBatch, Price, Time};

use crate::alerts::OpenAlert;
use crate::codes::Codes;
use crate::config::{ConfigError, DetectConfig};
use crate::detector::{Detector, Finding, Findings, ParamMap, Rows, Spot};
use crate::engine::{Signature, hit};
use crate::guest::{Disabled, GuestDetector, Guests, NoGuests};
use crate::markets::Markets;
use crate::registry::{REGISTRY, rank};
use crate::rules::{Rule, runner};
use crate::shard::Shard;

/// An alert of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAlert {
    /// Number of the set.
    pub set: u32,
    /// Its first hit.
    pub first: Hit,
    /// Row of the first hit in the batch that was applied when it came.
    pub row: usize,
    /// Event time of the latest hit.
    pub last_time: Time,
    /// Sequence number of the latest hit's event.
    pub last_seq: u64,
    /// Number of hits.
    pub hits: u64,
}

impl SetAlert {
    /// Puts the order id and the price of the first hit's order in, where its batch lacked them, and
    /// gives the alert its id.
    pub fn identify(&mut self, order_id: &str, price: Price) {
        order_id.clone_into(&mut self.first.order.order_id);
        self.first.order.price = price;
        self.first.hit_id = self.first.content_id();
        self.first.alert_id = self.first.hit_id;
    }
}

/// A detector and the sets that it serves.
struct Serving {
    id: &'static str,
    version: u32,
    /// The rule, when it is one.
    rule: Option<Arc<Rule>>,
    detector: Box<dyn Detector>,
    /// Its first set.
    set: u32,
    /// Place in `alerts` of an open alert, by set and entity.
    open: HashMap<(u32, u64), usize, FixedState>,
}

/// Engines for all sets, as one.
pub struct Backtest {
    serving: Vec<Serving>,
    /// For each set, the configuration version of each detector and rule, by name.
    versions: Vec<BTreeMap<String, Id>>,
    codes: Codes,
    markets: Markets,
    by_instrument: bool,
    alerts: Vec<SetAlert>,
}

impl Backtest {
    /// Empty windows for each of the sets.
    ///
    /// # Errors
    /// [`ConfigError`] when a detector refuses its parameters.
    pub fn new(sets: &[DetectConfig], shard: Shard) -> Result<Self, ConfigError> {
        Self::with_guests(sets, shard, &(Arc::new(NoGuests) as Arc<dyn Guests>))
    }

    /// Empty windows for each of the sets, which may name detectors that are not built in.
    ///
    /// # Errors
    /// [`ConfigError`] when a detector refuses its parameters, or a guest is not there.
    pub fn with_guests(
        sets: &[DetectConfig],
        shard: Shard,
        guests: &Arc<dyn Guests>,
    ) -> Result<Self, ConfigError> {
        let reference = sets.first().map(|set| Arc::clone(set.reference()));
        let reference = reference.unwrap_or_default();
        let mut serving: Vec<Serving> = Vec::new();
        for (registration, (number, set)) in REGISTRY
            .iter()
            .flat_map(|registration| sets.iter().enumerate().map(move |set| (registration, set)))
        {
            let info = registration.info;
            let number = number as u32;
            let Some(params) = set.params(info.id) else {
                continue;
            };
            let mut shared = false;
            for known in serving.iter_mut().filter(|known| known.id == info.id) {
                shared = shared || known.detector.share(number, params)?;
            }
            if !shared {
                let detector = (registration.build)(number, params, set.reference())?;
                serving.push(Serving::new(
                    number,
                    (info.id, info.version),
                    None,
                    detector,
                ));
            }
        }
        for (number, set) in sets.iter().enumerate() {
            for rule in set.rules().iter() {
                let number = number as u32;
                let mut same = serving.iter_mut();
                match same.find(|known| known.rule.as_ref() == Some(rule)) {
                    Some(known) => drop(known.detector.share(number, &ParamMap::new())?),
                    None => {
                        let rule = Arc::clone(rule);
                        let detector = runner(&rule, number);
                        let name = (rule.name, rule.version);
                        serving.push(Serving::new(number, name, Some(rule), detector));
                    }
                }
            }
        }
        for (number, set) in sets.iter().enumerate() {
            for (id, params) in set.guests() {
                let number = number as u32;
                let guest = GuestDetector::new(number, id, params, guests)?;
                let name = (guest.info().id, guest.info().version);
                serving.push(Serving::new(number, name, None, Box::new(guest)));
            }
        }
        let versions = |set: &DetectConfig| {
            let ids = REGISTRY.iter().map(|registration| registration.info.id);
            let ids = ids.chain(set.rules().iter().map(|rule| rule.name));
            let ids = ids.chain(set.guests().map(|(id, _)| id));
            ids.map(|id| (id.to_owned(), set.version(id))).collect()
        };
        Ok(Self {
            serving,
            versions: sets.iter().map(versions).collect(),
            codes: Codes::new(shard, reference),
            markets: Markets::default(),
            by_instrument: false,
            alerts: Vec::new(),
        })
    }

    /// Promises that the rows of an instrument all come one after another, whatever their batches: so
    /// the windows of one at a time are kept.
    #[must_use]
    pub fn by_instrument(self) -> Self {
        Self {
            by_instrument: true,
            ..self
        }
    }

    /// The events that its detectors look at.
    #[must_use]
    pub fn events(&self) -> EventTypes {
        let events = self.serving.iter().map(|serving| serving.detector.events());
        events.fold(EventTypes::NONE, EventTypes::union)
    }

    /// Whether it looks at more of a row than type, time, instrument, trader, side and quantity.
    #[must_use]
    pub fn wants_details(&self) -> bool {
        self.serving
            .iter()
            .any(|serving| serving.detector.wants_details())
    }

    /// The guests that stopped, each with the number of its set: their alerts are not whole.
    #[must_use]
    pub fn disabled(&self) -> Vec<(u32, Disabled)> {
        let guests = self.serving.iter();
        guests
            .filter_map(|serving| Some((serving.set, serving.detector.disabled()?)))
            .collect()
    }

    /// Whether a set's alerts depend on how the rows were cut into batches.
    #[must_use]
    pub fn by_bucket(&self) -> bool {
        self.serving
            .iter()
            .any(|serving| serving.detector.by_bucket())
    }

    /// Applies a batch. Returns the alerts that it opened, so that their orders can be found again.
    pub fn apply(&mut self, orders: &OrderBatch) -> &[SetAlert] {
        let before = self.alerts.len();
        if let Some(rows) = self.codes.rows_of(orders, self.by_instrument) {
            let (versions, alerts) = (&self.versions, &mut self.alerts);
            for serving in self
                .serving
                .iter_mut()
                .filter(|one| one.detector.by_step().is_none())
            {
                let (detector, mut joined) = serving.joining(versions, &rows, alerts);
                detector.apply(&rows, &mut joined);
            }
            if self
                .serving
                .iter()
                .any(|one| one.detector.by_step().is_some())
            {
                for row in 0..orders.len() {
                    let Some(step) = self.markets.step(&rows, row) else {
                        continue;
                    };
                    let looks = |one: &&mut Serving| {
                        let events = one.detector.by_step();
                        events.is_some_and(|events| events.contains(step.kind))
                    };
                    for serving in self.serving.iter_mut().filter(looks) {
                        let (detector, mut joined) = serving.joining(versions, &rows, alerts);
                        detector.step(&step, &mut joined);
                    }
                }
            }
        }
        self.alerts.get(before..).unwrap_or_default()
    }

    /// All alerts so far, a detector's in order of their first hits.
    #[must_use]
    pub fn alerts(&self) -> &[SetAlert] {
        &self.alerts
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.codes.rows
    }

    /// Ends it: all alerts, in order of their first hits.
    #[must_use]
    pub fn into_alerts(mut self) -> Vec<SetAlert> {
        self.alerts
            .sort_by_key(|alert| (alert.first.order.seq, rank(alert.first.detector), alert.set));
        self.alerts
    }
}

impl Serving {
    fn new(
        set: u32,
        (id, version): (&'static str, u32),
        rule: Option<Arc<Rule>>,
        detector: Box<dyn Detector>,
    ) -> Self {
        Self {
            id,
            version,
            rule,
            detector,
            set,
            open: HashMap::with_hasher(FixedState::default()),
        }
    }

    /// The detector, and what makes alerts of what it finds.
    fn joining<'a>(
        &'a mut self,
        versions: &'a [BTreeMap<String, Id>],
        rows: &'a Rows<'a>,
        alerts: &'a mut Vec<SetAlert>,
    ) -> (&'a mut dyn Detector, Joined<'a>) {
        let joined = Joined {
            id: self.id,
            version: self.version,
            versions,
            open: &mut self.open,
            rows,
            alerts,
        };
        (self.detector.as_mut(), joined)
    }
}

/// Joins what is found to alerts.
struct Joined<'a> {
    id: &'static str,
    version: u32,
    versions: &'a [BTreeMap<String, Id>],
    open: &'a mut HashMap<(u32, u64), usize, FixedState>,
    rows: &'a Rows<'a>,
    alerts: &'a mut Vec<SetAlert>,
}

impl Findings for Joined<'_> {
    fn at(&mut self, spot: Spot) -> bool {
        let time = self.rows.orders.times().get(spot.row).copied();
        let open = self.open.get(&(spot.set, spot.entity)).copied();
        let (Some(time), Some(alert)) = (time, open.and_then(|at| self.alerts.get_mut(at))) else {
            return true;
        };
        let mut open = OpenAlert {
            id: Id::default(),
            first: alert.first.alert_time,
            last: alert.last_time,
            hits: alert.hits,
        };
        if !open.joins(time, spot.lookback) {
            return true;
        }
        alert.first.alert_time = open.first;
        alert.last_time = open.last;
        alert.hits = open.hits;
        alert.last_seq = self.rows.orders.seq(spot.row);
        false
    }

    fn put(&mut self, spot: Spot, finding: Finding) {
        let versions = self.versions.get(spot.set as usize);
        let config_version = versions.and_then(|all| all.get(self.id).copied());
        let signature = Signature {
            id: self.id,
            version: self.version,
            config_version: config_version.unwrap_or_default(),
        };
        let Some(first) = hit(signature, self.rows, &spot, finding) else {
            return; // the row is of this batch
        };
        self.open.insert((spot.set, spot.entity), self.alerts.len());
        self.alerts.push(SetAlert {
            set: spot.set,
            row: spot.row,
            last_time: first.order.time,
            last_seq: first.order.seq,
            hits: 1,
            first,
        });
    }
}
