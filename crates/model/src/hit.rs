//! What a detector finds: hits, and through them alerts, with the evidence they rest on.
//!
//! Invariant: a hit is a function of the events and the configuration alone; its ids are digests of
//! its content, so that live, restart and replay give the same bytes.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::fixed::Decimal;
use crate::order::Order;
use crate::time::{Time, TimeSpan};

/// Most sequence numbers that a hit names; [`Hit::evidence_total`] counts all.
pub const EVIDENCE_MAX: usize = 1_000;

/// A digest that names a hit, an alert or a configuration: 16 bytes, printed as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id([u8; 16]);

impl Id {
    /// The first 16 bytes of the BLAKE3 digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(blake3::hash(content).as_bytes()) {
            *to = *from;
        }
        Self(id)
    }

    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A measured value beside the threshold that it crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// Name, as in the detector's documentation.
    pub name: &'static str,
    /// What was measured.
    pub value: Decimal,
    /// What it had to exceed.
    pub threshold: Decimal,
}

/// One event at which a detector's condition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Digest of the content.
    pub hit_id: Id,
    /// The alert it belongs to: the id of that alert's first hit.
    pub alert_id: Id,
    /// Its place in the alert, from 1.
    pub alert_hit: u64,
    /// Time of the alert's first hit.
    pub alert_time: Time,
    /// Detector.
    pub detector: &'static str,
    /// Version of the detector's rule.
    pub detector_version: u32,
    /// Digest of the detector's parameters.
    pub config_version: Id,
    /// The event at which it holds.
    #[serde(flatten)]
    pub order: Order,
    /// Measures beside their thresholds.
    pub measures: Vec<Measure>,
    /// How far back the detector looked.
    #[serde(rename = "lookback_ns", serialize_with = "nanos")]
    pub lookback: TimeSpan,
    /// Sequence numbers that it rests on, ascending; the latest [`EVIDENCE_MAX`].
    pub evidence: Vec<u64>,
    /// How many there are in all.
    pub evidence_total: u64,
    /// What happened, in a sentence.
    pub text: String,
    /// Why it was expected, by the suppressions in force; empty when it was not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub suppressed: String,
}

fn nanos<S: Serializer>(span: &TimeSpan, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(span.nanos())
}

impl Hit {
    /// The digest of what the hit says: everything but the alert that it is joined to and whether
    /// it was expected. The sentence is part of it: where one event is a hit for two accounts, it
    /// tells them apart.
    #[must_use]
    pub fn content_id(&self) -> Id {
        let mut content = Vec::with_capacity(256);
        let mut text = |text: &str| {
            content.extend_from_slice(&(text.len() as u64).to_le_bytes());
            content.extend_from_slice(text.as_bytes());
        };
        text(self.detector);
        text(&self.order.sym);
        text(&self.order.trader);
        text(&self.order.order_id);
        text(&self.text);
        for measure in &self.measures {
            text(measure.name);
        }
        content.extend_from_slice(&self.detector_version.to_le_bytes());
        content.extend_from_slice(self.config_version.bytes());
        let order = &self.order;
        content.extend_from_slice(&order.seq.to_le_bytes());
        content.extend_from_slice(&order.time.nanos().to_le_bytes());
        content.extend_from_slice(&[order.event_type as u8, order.side as u8]);
        content.extend_from_slice(&order.price.units().to_le_bytes());
        content.extend_from_slice(&order.quantity.units().to_le_bytes());
        for measure in &self.measures {
            content.extend_from_slice(&measure.value.units().to_le_bytes());
            content.extend_from_slice(&measure.threshold.units().to_le_bytes());
        }
        content.extend_from_slice(&self.evidence_total.to_le_bytes());
        for seq in &self.evidence {
            content.extend_from_slice(&seq.to_le_bytes());
        }
        Id::of(&content)
    }
}
