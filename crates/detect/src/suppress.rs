//! Suppressions: hits that are expected, for a reason and until a time.
//!
//! Invariant: a suppressed hit is a hit like any other, with the reason beside it: nothing is lost.
//! Suppressions are a part of the configuration, so that the journal has them, and who looks at an
//! old day sees what was suppressed then.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tapewatch_model::{Hit, Time};

use crate::config::ConfigError;

/// Most suppressions.
const SUPPRESSIONS_MAX: usize = 10_000;
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// One suppression: of hits at which all that is named here agrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suppression {
    /// Of a detector or a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detector: Option<String>,
    /// Of an instrument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sym: Option<String>,
    /// Of a trader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trader: Option<String>,
    /// Of an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// Of events before this time.
    until: Time,
    /// Why.
    reason: String,
}

/// All of them, in the order in which they were written; the first that fits counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Suppressions(Vec<Suppression>);

impl Suppressions {
    /// Reads a list of tables.
    ///
    /// # Errors
    /// [`ConfigError::Form`] names the entry and says what is wrong.
    pub(crate) fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let wrong = |reason: String| ConfigError::Form(format!("suppress: {reason}"));
        let Value::Array(entries) = json else {
            return Err(wrong("must be a list of tables".to_owned()));
        };
        if entries.len() > SUPPRESSIONS_MAX {
            return Err(wrong(format!("more than {SUPPRESSIONS_MAX} entries")));
        }
        let mut all = Vec::new();
        for (entry, number) in entries.iter().zip(1..) {
            let wrong = |reason: &str| wrong(format!("entry {number}: {reason}"));
            let read = serde_json::from_value::<Suppression>(entry.clone());
            let read = read.map_err(|error| wrong(&error.to_string()))?;
            if read.reason.trim().is_empty() || read.reason.len() > REASON_BYTES_MAX {
                return Err(wrong("the reason must be told, in at most 256 bytes"));
            }
            let named = [&read.detector, &read.sym, &read.trader, &read.account];
            if named.iter().all(|name| name.is_none()) {
                let what = "name a detector, a sym, a trader or an account: else it suppresses all";
                return Err(wrong(what));
            }
            all.push(read);
        }
        Ok(Self(all))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The detectors that they name, each with the number of its entry.
    pub(crate) fn detectors(&self) -> impl Iterator<Item = (usize, &str)> {
        let entries = (1..).zip(&self.0);
        entries.filter_map(|(number, one)| Some((number, one.detector.as_deref()?)))
    }

    /// The same as JSON.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(&self.0).unwrap_or_default() // texts and times have a JSON form
    }

    /// Why a hit is suppressed; `None` when it is not.
    pub(crate) fn reason(&self, hit: &Hit) -> Option<&str> {
        let fits =
            |name: &Option<String>, text: &str| name.as_ref().is_none_or(|name| name == text);
        let mut all = self.0.iter();
        let first = all.find(|one| {
            hit.order.time < one.until
                && fits(&one.detector, hit.detector)
                && fits(&one.sym, &hit.order.sym)
                && fits(&one.trader, &hit.order.trader)
                && fits(&one.account, &hit.order.account)
        });
        first.map(|one| one.reason.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{DetectConfig, Engine, Shard};
    use tapewatch_model::{Details, EventType, OrderBatch, Price, Quantity, RowRef, Side};

    #[test]
    fn what_is_expected_is_found_and_says_why() {
        let config = serde_json::json!({
            "spoofing": { "cancel_count": 0, "cancel_quantity": 0 },
            "suppress": [{ "sym": "X", "trader": "T", "until": "1970-01-01T00:00:10Z", "reason": "a test" }],
        });
        let config = DetectConfig::from_json(&config).unwrap();
        let mut engine = Engine::new(&config, Shard::WHOLE).unwrap();
        let mut hits = Vec::new();
        for (second, trader) in [(1, b"T"), (2, b"U"), (9, b"T"), (10, b"T")] {
            let mut orders = OrderBatch::default();
            let row = RowRef::<[u8]> {
                time: Time::from_nanos(second * 1_000_000_000),
                sym: b"X",
                event_type: EventType::Cancelled,
                trader,
                side: Side::Buy,
                order_id: b"",
                price: Price::default(),
                quantity: Quantity::from_whole(1).unwrap(),
                details: Details::default(),
            };
            orders.push(&row).unwrap();
            engine.apply(&orders, &mut hits);
        }
        let reasons: Vec<_> = hits.iter().map(|hit| hit.suppressed.as_str()).collect();
        assert_eq!(reasons, ["a test", "", "a test", ""]);
    }
}
