//! Which detectors are in force, and which of them find nothing for want of what is not told.
//!
//! Invariant: a detector is never off in silence: whoever starts it, feeds it or asks for the status
//! is told which, and what it lacks.

use serde::Serialize;
use tapewatch_detect::{DetectConfig, Need, detectors};
use tapewatch_model::Tells;
use utoipa::ToSchema;

/// A detector or a rule that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct InForce {
    /// As in its hits.
    name: String,
    /// Version of the detector or of the rule; a component has none beside its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    version: Option<u32>,
    /// Digest of its parameters, as in its hits.
    config_version: String,
    /// What the reference tables do not tell: it finds nothing without that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    missing: Option<&'static str>,
}

/// Those of a configuration, in the order of their hits.
pub(crate) fn list(config: &DetectConfig) -> Vec<InForce> {
    let one = |name: &str, version, missing: Option<Need>| InForce {
        name: name.to_owned(),
        version,
        config_version: config.version(name).to_string(),
        missing: missing.map(Need::words),
    };
    let ours = detectors().filter(|info| config.params(info.id).is_some());
    let ours = ours.map(|info| one(info.id, Some(info.version), config.missing(info)));
    let guests = config.guests().map(|(name, _)| one(name, None, None));
    let rules = config.rules().infos();
    let rules = rules.map(|rule| one(rule.name, Some(rule.version), None));
    ours.chain(guests).chain(rules).collect()
}

/// A line for each thing that detectors of the configuration lack, in a source that tells this and in
/// the reference tables.
pub(crate) fn missing(config: &DetectConfig, tells: Tells) -> Vec<String> {
    let ours = detectors().filter(|info| config.params(info.id).is_some());
    lines(ours.filter_map(|info| {
        let need = info.missing(tells).or_else(|| config.missing(info))?;
        Some((info.id, need))
    }))
}

/// The same of the detectors with these names, in the source alone.
pub(crate) fn missing_in_source(names: &[&str], tells: Tells) -> Vec<String> {
    let named = detectors().filter(|info| names.contains(&info.id));
    lines(named.filter_map(|info| Some((info.id, info.missing(tells)?))))
}

fn lines(missing: impl Iterator<Item = (&'static str, Need)>) -> Vec<String> {
    let mut by_need: Vec<(Need, Vec<&str>)> = Vec::new();
    for (id, need) in missing {
        match by_need.iter_mut().find(|(other, _)| *other == need) {
            Some((_, ids)) => ids.push(id),
            None => by_need.push((need, vec![id])),
        }
    }
    let line = |(need, ids): (Need, Vec<&str>)| {
        format!("not told: {}; off for it: {}", need.words(), ids.join(", "))
    };
    by_need.into_iter().map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_detector_that_lacks_something_is_named_once() {
        let mut config = DetectConfig::default();
        assert!(missing(&config, Tells::ALL).is_empty());
        assert_eq!(
            missing(&config, Tells::NOTHING),
            ["not told: who trades (column trader); off for it: spoofing"]
        );
        config.all().unwrap();
        assert_eq!(
            missing(&config, Tells::ALL),
            [
                "not told: when trading begins and ends (reference tables); off for it: marking_the_close",
                "not told: a news calendar (reference tables); off for it: before_news"
            ]
        );
        let no_ids = Tells {
            exec_id: false,
            ..Tells::ALL
        };
        assert_eq!(
            missing_in_source(&["spoofing", "wash_trade", "a_rule"], no_ids),
            ["not told: both sides of an execution (column exec_id); off for it: wash_trade"]
        );
        let tables = serde_json::json!({
            "classes": {"shares": {"open": "08:00:00", "close": "16:00:00"}},
            "news": [{"time": "2024-01-05T09:00:00Z", "sym": "ABC", "headline": "profit"}],
        });
        config.refer(&tables).unwrap();
        assert!(missing(&config, Tells::ALL).is_empty());
        assert!(list(&config).iter().all(|one| one.missing.is_none()));
    }
}
