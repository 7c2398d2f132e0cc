//! The alerts, each as its latest hit left it.
//!
//! Invariant: an alert appears once, under the sequence number of its latest hit; at most
//! [`ALERTS_MAX`] are kept, the oldest go first (SQL has them all).

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use tapewatch_model::{EventType, Hit, Id, Measure, Price, Quantity, Side, Time};
use utoipa::ToSchema;

/// Alerts kept in memory.
const ALERTS_MAX: usize = 100_000;

/// An alert as the API gives it: its latest hit, and when it began.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AlertRow {
    /// Digest of the first hit.
    #[schema(value_type = String)]
    pub(crate) alert_id: Id,
    detector: &'static str,
    detector_version: u32,
    #[schema(value_type = String)]
    config_version: Id,
    sym: String,
    trader: String,
    #[schema(value_type = String)]
    side: Side,
    /// Event time of the first hit.
    #[schema(value_type = String)]
    first_time: Time,
    /// Event time of the latest hit.
    #[schema(value_type = String)]
    time: Time,
    /// Hits so far.
    hits: u64,
    /// Sequence number of the latest hit's event.
    pub(crate) seq: u64,
    order_id: String,
    #[schema(value_type = String)]
    event_type: EventType,
    #[schema(value_type = String)]
    price: Price,
    #[schema(value_type = String)]
    quantity: Quantity,
    #[schema(value_type = Vec<MeasureRow>)]
    measures: Vec<Measure>,
    lookback_ns: i64,
    /// Sequence numbers of the events that the latest hit rests on; the latest 1000.
    evidence: Vec<u64>,
    /// How many there are in all.
    evidence_total: u64,
    /// What happened, in a sentence.
    text: String,
}

/// A measure beside its threshold, exact decimals as text.
#[derive(Serialize, ToSchema)]
pub(crate) struct MeasureRow {
    name: String,
    value: String,
    threshold: String,
}

impl From<Hit> for AlertRow {
    fn from(hit: Hit) -> Self {
        let order = hit.order;
        Self {
            alert_id: hit.alert_id,
            detector: hit.detector,
            detector_version: hit.detector_version,
            config_version: hit.config_version,
            sym: order.sym,
            trader: order.trader,
            side: order.side,
            first_time: hit.alert_time,
            time: order.time,
            hits: hit.alert_hit,
            seq: order.seq,
            order_id: order.order_id,
            event_type: order.event_type,
            price: order.price,
            quantity: order.quantity,
            measures: hit.measures,
            lookback_ns: hit.lookback.nanos(),
            evidence: hit.evidence,
            evidence_total: hit.evidence_total,
            text: hit.text,
        }
    }
}

/// All alerts, by the sequence number of their latest hit.
#[derive(Debug, Default)]
pub(crate) struct AlertBook {
    alerts: HashMap<Id, AlertRow>,
    by_seq: BTreeSet<(u64, Id)>,
    total: u64,
}

impl AlertBook {
    /// Takes the next hit.
    pub(crate) fn add(&mut self, hit: Hit) {
        let row = AlertRow::from(hit);
        let (id, seq) = (row.alert_id, row.seq);
        match self.alerts.insert(id, row) {
            Some(before) => {
                self.by_seq.remove(&(before.seq, id));
            }
            None => self.total += 1,
        }
        self.by_seq.insert((seq, id));
        if self.alerts.len() > ALERTS_MAX
            && let Some((_, oldest)) = self.by_seq.pop_first()
        {
            self.alerts.remove(&oldest);
        }
    }

    /// Alerts seen.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The alert with this id (32 hex digits).
    pub(crate) fn get(&self, id: &str) -> Option<&AlertRow> {
        self.alerts
            .values()
            .find(|alert| alert.alert_id.to_string() == id)
    }

    /// Alerts with a hit after `seq`, ascending.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = &AlertRow> {
        let from = (seq.saturating_add(1), Id::default());
        self.by_seq
            .range(from..)
            .filter_map(|(_, id)| self.alerts.get(id))
    }

    /// The latest alerts, newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &AlertRow> {
        self.by_seq
            .iter()
            .rev()
            .filter_map(|(_, id)| self.alerts.get(id))
    }
}
