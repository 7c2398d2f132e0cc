//! The alerts, each as its latest hit left it.
//!
//! Invariant: an alert appears once, under the sequence number of its latest hit; at most
//! [`ALERTS_MAX`] are kept, the oldest go first (SQL has them all).

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use tapewatch_model::{EventType, Hit, Measure, Price, Quantity, Severity, Side, Time};
use utoipa::ToSchema;

/// Alerts kept in memory.
pub(crate) const ALERTS_MAX: usize = 100_000;

/// An alert as the API gives it: its latest hit, and when it began.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct AlertRow {
    /// Digest of the first hit, 32 hex digits.
    pub(crate) alert_id: String,
    detector: String,
    detector_version: u32,
    config_version: String,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    exec_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    display_quantity: Option<Quantity>,
    /// Words parted by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    flags: Option<String>,
    measures: Vec<MeasureRow>,
    lookback_ns: i64,
    /// Sequence numbers of the events that the latest hit rests on; the latest 1000.
    evidence: Vec<u64>,
    /// How many there are in all.
    evidence_total: u64,
    /// What happened, in a sentence.
    text: String,
    /// How grave its gravest hit is: 0 to 100, from how far measures exceed thresholds.
    severity: u8,
    /// Why it was expected, when all its hits were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suppressed: Option<String>,
}

/// A measure beside its threshold, exact decimals as text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct MeasureRow {
    name: String,
    value: String,
    threshold: String,
}

impl From<Measure> for MeasureRow {
    fn from(measure: Measure) -> Self {
        Self {
            name: measure.name.to_owned(),
            value: measure.value.to_string(),
            threshold: measure.threshold.to_string(),
        }
    }
}

impl From<Hit> for AlertRow {
    fn from(hit: Hit) -> Self {
        let order = hit.order;
        let severity = Severity::of_measures(&hit.measures).score();
        let told = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            alert_id: hit.alert_id.to_string(),
            detector: hit.detector.to_owned(),
            detector_version: hit.detector_version,
            config_version: hit.config_version.to_string(),
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
            account: told(order.account),
            exec_id: told(order.exec_id),
            display_quantity: order.display,
            flags: told(order.flags.to_string()),
            measures: hit.measures.into_iter().map(MeasureRow::from).collect(),
            lookback_ns: hit.lookback.nanos(),
            evidence: hit.evidence,
            evidence_total: hit.evidence_total,
            text: hit.text,
            severity,
            suppressed: told(hit.suppressed),
        }
    }
}

/// All alerts, by the sequence number of their latest hit.
#[derive(Debug, Default)]
pub(crate) struct AlertBook {
    alerts: HashMap<String, AlertRow>,
    by_seq: BTreeSet<(u64, String)>,
    total: u64,
}

impl AlertBook {
    /// Takes an alert as its latest hit leaves it.
    pub(crate) fn put(&mut self, mut row: AlertRow) {
        if let Some(before) = self.alerts.get(&row.alert_id) {
            row.severity = row.severity.max(before.severity);
            if before.suppressed.is_none() {
                row.suppressed = None;
            }
        }
        let (id, seq) = (row.alert_id.clone(), row.seq);
        match self.alerts.insert(id.clone(), row) {
            Some(before) => {
                self.by_seq.remove(&(before.seq, id.clone()));
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

    /// The alert with this id.
    pub(crate) fn get(&self, id: &str) -> Option<&AlertRow> {
        self.alerts.get(id)
    }

    /// Alerts with a hit after `seq`, ascending: about `limit` of them, and none of several at the
    /// same event without the others.
    pub(crate) fn after(&self, seq: u64, limit: usize) -> Vec<AlertRow> {
        let mut rows: Vec<AlertRow> = Vec::new();
        for (seq, id) in self.by_seq.range((seq.saturating_add(1), String::new())..) {
            if rows.len() >= limit && rows.last().is_some_and(|last| last.seq != *seq) {
                break;
            }
            rows.extend(self.alerts.get(id).cloned());
        }
        rows
    }

    /// The latest alerts, newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &AlertRow> {
        self.by_seq
            .iter()
            .rev()
            .filter_map(|(_, id)| self.alerts.get(id))
    }
}
