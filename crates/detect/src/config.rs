//! The detectors' parameters: checked, completed with defaults, and named by a digest.
//!
//! Invariant: a [`DetectConfig`] is always valid and whole; equal parameters, however they were
//! written, have the same canonical text and the same version.

use std::sync::Arc;

use serde_json::{Map, Value};
use tapewatch_model::Id;

use crate::detector::{DetectorInfo, Need};
use crate::guest::WASM;
use crate::params::{check_shares, unknown_names};
use crate::reference::Reference;
use crate::registry::REGISTRY;
use crate::rules::Rules;
use crate::suppress::Suppressions;

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No detector has this name.
    #[error("unknown detector {name:?}: there are {known}")]
    UnknownDetector {
        /// The name.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// A parameter is unknown or its value is wrong.
    #[error("detector {detector}: {reason}")]
    Param {
        /// The detector.
        detector: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A detector that is not built in cannot run.
    #[error("detector {detector}: {reason}")]
    Guest {
        /// The detector.
        detector: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Not of the form wanted.
    #[error("{0}")]
    Form(String),
}

/// The parameters of all detectors that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectConfig {
    detectors: Map<String, Value>,
    reference: Arc<Reference>,
    suppressions: Suppressions,
    rules: Rules,
}

/// The keys of the reference tables and of the rules among the detectors' names.
const REFERENCE: &str = "reference";
/// The key of the suppressions among them.
const SUPPRESS: &str = "suppress";
/// The key of the users' rules among them.
const RULES: &str = "rules";

impl Default for DetectConfig {
    /// The detectors that run by default, with their defaults.
    fn default() -> Self {
        // Defaults are valid: a test builds every one of them.
        Self::from_json(&Value::Object(Map::new())).unwrap_or(Self {
            detectors: Map::new(),
            reference: Arc::default(),
            suppressions: Suppressions::default(),
            rules: Rules::default(),
        })
    }
}

impl DetectConfig {
    /// Reads `{"spoofing": {"lookback": "10s"}}`: what is not named keeps its default, and
    /// `"enabled"` switches a detector on or off; the key `reference` holds the reference tables,
    /// `suppress` the suppressions, `rules` the users' rules, by name. A
    /// table that has the key `wasm` is of a detector that is not built in (a guest): that key holds
    /// the digest of its code, and the rest is for the guest to check.
    ///
    /// # Errors
    /// [`ConfigError`] names the detector and the parameter.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let config = Self::read(json)?;
        for registration in REGISTRY {
            let id = registration.info.id;
            if let Some(params) = config.params(id) {
                check_shares(id, params)?;
            }
        }
        Ok(config)
    }

    /// The same of what may have been written before ranges were checked.
    fn read(json: &Value) -> Result<Self, ConfigError> {
        let Value::Object(given) = json else {
            let form = "the detectors' configuration must be a table, one entry a detector";
            return Err(ConfigError::Form(form.to_owned()));
        };
        let tables = [REFERENCE, SUPPRESS, RULES];
        let detectors_of = given
            .iter()
            .filter(|(name, _)| !tables.contains(&name.as_str()));
        for (name, table) in detectors_of {
            if !is_guest(name, table)? {
                known(name)?;
            }
        }
        let rules = given.get(RULES).map(Rules::from_json).transpose();
        let rules = rules.map_err(ConfigError::Form)?.unwrap_or_default();
        let reference = given.get(REFERENCE).map(Reference::from_json);
        let reference = Arc::new(reference.transpose()?.unwrap_or_default());
        let suppressions = given.get(SUPPRESS).map(Suppressions::from_json);
        let suppressions = suppressions.transpose()?.unwrap_or_default();
        let mut detectors = Map::new();
        for registration in REGISTRY {
            let id = registration.info.id;
            let param = |reason: String| ConfigError::Param {
                detector: id,
                reason,
            };
            let mut params = match given.get(id) {
                None if !registration.info.by_default => continue,
                None => Map::new(),
                Some(Value::Object(params)) => params.clone(),
                Some(_) => return Err(param("its configuration must be a table".to_owned())),
            };
            if enabled(&mut params).map_err(param)? {
                let whole = (registration.complete)(&params)?;
                detectors.insert(id.to_owned(), Value::Object(whole));
            }
        }
        let is_table = |id: &str| tables.contains(&id);
        let guests = given.iter().filter(|(id, _)| !is_table(id.as_str()));
        for (id, table) in guests.filter(|(id, _)| known(id).is_err()) {
            let mut params = table.as_object().cloned().unwrap_or_default();
            let refuse = |reason| ConfigError::Guest {
                detector: id.clone(),
                reason,
            };
            if enabled(&mut params).map_err(refuse)? {
                detectors.insert(id.clone(), Value::Object(params));
            }
        }
        Ok(Self {
            detectors,
            reference,
            suppressions,
            rules,
        })
    }

    /// Reads the canonical text, as kept in the journal: detectors that it does not name are off.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not JSON or a parameter is wrong.
    pub fn from_canonical(text: &str) -> Result<Self, ConfigError> {
        let mut json: Value = serde_json::from_str(text)
            .map_err(|error| ConfigError::Form(format!("configuration is not JSON: {error}")))?;
        if let Value::Object(map) = &mut json {
            for registration in REGISTRY {
                let off = || serde_json::json!({ "enabled": false });
                map.entry(registration.info.id).or_insert_with(off);
            }
        }
        Self::read(&json)
    }

    /// Sets one parameter from text, as in `--set spoofing.lookback=10s`.
    ///
    /// # Errors
    /// [`ConfigError`] when there is no such parameter or the value is wrong; nothing changes then.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let form =
            || ConfigError::Form(format!("{assignment:?}: expected detector.parameter=value"));
        let (path, value) = assignment.split_once('=').ok_or_else(form)?;
        let (detector, param) = path.trim().split_once('.').ok_or_else(form)?;
        if self.params(detector).is_none() {
            known(detector)?;
        }
        let value = value.trim();
        // Whole numbers and booleans as such; all else as text, so that no decimal is rounded.
        let value = match serde_json::from_str(value) {
            Ok(Value::Bool(switch)) => Value::Bool(switch),
            Ok(Value::Number(number)) if number.is_u64() || number.is_i64() => {
                Value::Number(number)
            }
            _ => Value::String(value.to_owned()),
        };
        let mut all = self.with_disabled();
        if let Some(Value::Object(params)) = all.get_mut(detector) {
            if param != "enabled" {
                params.remove("enabled");
            }
            params.insert(param.to_owned(), value);
        }
        *self = Self::from_json(&Value::Object(all))?;
        Ok(())
    }

    /// Switches off every detector and every rule but those named.
    ///
    /// # Errors
    /// [`ConfigError::UnknownDetector`]; nothing changes then.
    pub fn only(&mut self, names: &[String]) -> Result<(), ConfigError> {
        let ours = |name: &str| self.rules.get(name).is_some() || self.params(name).is_some();
        for name in names.iter().filter(|name| !ours(name)) {
            known(name)?;
        }
        let mut all = self.with_disabled();
        let kept = [REFERENCE, SUPPRESS];
        all.retain(|name, _| names.contains(name) || kept.contains(&name.as_str()));
        let mut rules = self.rules.clone();
        rules.retain(|name| names.iter().any(|wanted| wanted == name));
        for registration in REGISTRY {
            let off = || serde_json::json!({ "enabled": false });
            all.entry(registration.info.id).or_insert_with(off);
        }
        for name in names {
            if let Some(Value::Object(params)) = all.get_mut(name) {
                params.remove("enabled");
            }
        }
        *self = Self {
            rules,
            ..Self::from_json(&Value::Object(all))?
        };
        Ok(())
    }

    /// The parameters as canonical JSON: keys sorted, defaults filled in.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut all = self.detectors.clone();
        self.put_tables(&mut all);
        Value::Object(all).to_string()
    }

    /// Puts the reference tables and the rules beside the detectors.
    fn put_tables(&self, all: &mut Map<String, Value>) {
        if !self.rules.is_empty() {
            all.insert(RULES.to_owned(), self.rules.to_json());
        }
        if !self.reference.is_empty() {
            let tables = serde_json::to_value(self.reference.as_ref());
            all.insert(REFERENCE.to_owned(), tables.unwrap_or_default()); // tables have a JSON form
        }
        if !self.suppressions.is_empty() {
            all.insert(SUPPRESS.to_owned(), self.suppressions.to_json());
        }
    }

    /// The suppressions.
    pub(crate) fn suppressions(&self) -> &Suppressions {
        &self.suppressions
    }

    /// The reference tables.
    pub(crate) fn reference(&self) -> &Arc<Reference> {
        &self.reference
    }

    /// The users' rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes rules in place of those there are.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// Takes reference tables, in the form of the key `reference` of [`Self::from_json`].
    ///
    /// # Errors
    /// [`ConfigError::Form`] says what is wrong with them; nothing changes then.
    pub fn refer(&mut self, tables: &Value) -> Result<(), ConfigError> {
        self.reference = Arc::new(Reference::from_json(tables)?);
        Ok(())
    }

    /// Switches on every detector there is; those that run keep their parameters.
    ///
    /// # Errors
    /// None can happen: defaults are valid.
    pub fn all(&mut self) -> Result<(), ConfigError> {
        let mut all = self.detectors.clone();
        self.put_tables(&mut all);
        for registration in REGISTRY {
            let on = || serde_json::json!({ "enabled": true });
            all.entry(registration.info.id).or_insert_with(on);
        }
        *self = Self::from_json(&Value::Object(all))?;
        Ok(())
    }

    /// The parameters of one detector; `None` when it is off.
    #[must_use]
    pub fn params(&self, detector: &str) -> Option<&Map<String, Value>> {
        self.detectors.get(detector).and_then(Value::as_object)
    }

    /// The first thing that a detector needs of the reference tables and that they do not tell: it
    /// finds nothing then.
    #[must_use]
    pub fn missing(&self, info: &DetectorInfo) -> Option<Need> {
        let told = |need: Need| match need {
            Need::Sessions => self.reference.tells_sessions(),
            Need::News => !self.reference.news.is_empty(),
            Need::Trader | Need::Executions | Need::Capacity => true,
        };
        info.needs.iter().copied().find(|&need| !told(need))
    }

    /// What is named and is not there, a sentence each: profiles and suppressions that fit nobody.
    #[must_use]
    pub fn unknown_names(&self) -> Vec<String> {
        let ids = REGISTRY.iter().map(|registration| registration.info.id);
        let profiles =
            ids.filter_map(|id| Some(unknown_names(id, self.params(id)?, &self.reference)));
        let mut unknown: Vec<String> = profiles.flatten().collect();
        for (number, name) in self.suppressions.detectors() {
            let guest = self.detectors.contains_key(name);
            if known(name).is_err() && !guest && self.rules.get(name).is_none() {
                unknown.push(format!(
                    "entry {number} of suppress is for the detector {name:?}, which there is not: it suppresses nothing"
                ));
            }
        }
        unknown
    }

    /// The detectors that are not built in, by name.
    pub fn guests(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        let guests = self.detectors.iter().filter(|(id, _)| known(id).is_err());
        guests.filter_map(|(id, params)| Some((id.as_str(), params.as_object()?)))
    }

    /// The version of one detector's parameters, or of a rule: a digest of their canonical text.
    #[must_use]
    pub fn version(&self, detector: &str) -> Id {
        let rule = || Some(self.rules.get(detector)?.canonical());
        let text = self.detectors.get(detector).or_else(rule);
        let mut text = text.map(Value::to_string).unwrap_or_default();
        // Spoofing looks at the tables only where it has profiles.
        let profiles = self
            .params(detector)
            .is_some_and(|own| own.contains_key("profiles"));
        if !self.reference.is_empty() && (detector != "spoofing" || profiles) {
            let tables = serde_json::to_string(self.reference.as_ref());
            text.push_str(&tables.unwrap_or_default()); // tables have a JSON form
        }
        Id::of(text.as_bytes())
    }

    fn with_disabled(&self) -> Map<String, Value> {
        let mut all = self.detectors.clone();
        for registration in REGISTRY {
            let off = || serde_json::json!({ "enabled": false });
            all.entry(registration.info.id).or_insert_with(off);
        }
        self.put_tables(&mut all);
        all
    }
}

/// Takes the switch out of a table.
fn enabled(params: &mut Map<String, Value>) -> Result<bool, String> {
    match params.remove("enabled") {
        None => Ok(true),
        Some(Value::Bool(switch)) => Ok(switch),
        Some(other) => Err(format!("enabled = {other}: true or false")),
    }
}

/// Whether a table is of a guest.
fn is_guest(name: &str, table: &Value) -> Result<bool, ConfigError> {
    let Some(digest) = table.get(WASM) else {
        return Ok(false);
    };
    let refuse = |reason: &str| {
        Err(ConfigError::Guest {
            detector: name.to_owned(),
            reason: reason.to_owned(),
        })
    };
    if known(name).is_ok() {
        return refuse("it is built in; give the one of your own another name");
    }
    let hex = |digest: &str| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    if !digest.as_str().is_some_and(hex) {
        return refuse("wasm must be the digest of its code, 64 hex digits");
    }
    Ok(true)
}

fn known(name: &str) -> Result<(), ConfigError> {
    if REGISTRY
        .iter()
        .any(|registration| registration.info.id == name)
    {
        return Ok(());
    }
    let known: Vec<_> = REGISTRY
        .iter()
        .map(|registration| registration.info.id)
        .collect();
    Err(ConfigError::UnknownDetector {
        name: name.to_owned(),
        known: known.join(", "),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn documented_defaults_are_the_defaults() {
        let mut config = DetectConfig::default();
        config.all().unwrap();
        for registration in REGISTRY {
            let info = registration.info;
            let params = config.params(info.id).unwrap();
            let documented: Vec<_> = info.params.iter().map(|param| param.name).collect();
            let mut sorted = documented.clone();
            sorted.sort_unstable();
            assert_eq!(params.keys().collect::<Vec<_>>(), sorted, "{}", info.id);
            for param in info.params {
                let mut changed = config.clone();
                changed
                    .set(&format!("{}.{}={}", info.id, param.name, param.default))
                    .unwrap();
                assert_eq!(changed, config, "{}.{}", info.id, param.name);
            }
        }
    }

    #[test]
    fn however_written_the_same_parameters_have_the_same_version() {
        let plain = DetectConfig::default();
        for text in [
            r#"{"spoofing":{"lookback":"0D00:00:25.0000000"}}"#,
            r#"{"spoofing":{"cancel_quantity":4000}}"#,
            r#"{"spoofing":{"cancel_quantity":"4000.00","enabled":true}}"#,
        ] {
            assert_eq!(
                DetectConfig::from_json(&json(text)).unwrap(),
                plain,
                "{text}"
            );
        }
        let other = DetectConfig::from_json(&json(r#"{"spoofing":{"lookback":"26s"}}"#)).unwrap();
        assert_ne!(other.version("spoofing"), plain.version("spoofing"));
        assert_eq!(
            DetectConfig::from_canonical(&other.canonical()).unwrap(),
            other
        );
    }

    #[test]
    fn tables_and_suppressions_are_kept_in_every_form() {
        let mut config = DetectConfig::from_json(&json(
            r#"{"reference":{"linked":{"A":"B"}},"layering":{"enabled":true},
                "suppress":[{"sym":"X","until":"2024-01-05T00:00:00Z","reason":"test desk"}]}"#,
        ))
        .unwrap();
        let canonical = config.canonical();
        assert_eq!(DetectConfig::from_canonical(&canonical).unwrap(), config);
        config.set("layering.levels=4").unwrap();
        config.only(&["layering".to_owned()]).unwrap();
        assert!(config.params("spoofing").is_none());
        assert!(!config.reference().is_empty() && !config.suppressions().is_empty());
        config.all().unwrap();
        assert_eq!(config.params("layering").unwrap()["levels"], 4);
        assert!(config.params("spoofing").is_some() && !config.suppressions().is_empty());
        for (text, expected) in [
            (
                r#"{"suppress":[{"until":"2024-01-05T00:00:00Z","reason":"x"}]}"#,
                "name a detector",
            ),
            (
                r#"{"suppress":[{"sym":"X","reason":"x"}]}"#,
                "entry 1: missing field `until`",
            ),
            (
                r#"{"suppress":[{"sym":"X","until":"2024-01-05T00:00:00Z","reason":" "}]}"#,
                "the reason must be told",
            ),
        ] {
            let error = DetectConfig::from_json(&json(text))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn off_stays_off() {
        let mut config = DetectConfig::default();
        config.set("spoofing.enabled=false").unwrap();
        assert_eq!(config.params("spoofing"), None);
        assert_eq!(
            DetectConfig::from_canonical(&config.canonical()).unwrap(),
            config
        );
        config.only(&["spoofing".to_owned()]).unwrap();
        let default = DetectConfig::default();
        assert_eq!(
            config.params("spoofing"),
            default.params("spoofing"),
            "on, with its defaults"
        );
        assert_eq!(config.detectors.len(), 1, "and no other");
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        for (text, expected) in [
            (r#"[]"#, "must be a table"),
            (
                r#"{"spoof":{}}"#,
                "unknown detector \"spoof\": there are spoofing",
            ),
            (
                r#"{"spoofing":{"lookbak":"1s"}}"#,
                "detector spoofing: unknown field `lookbak`",
            ),
            (r#"{"spoofing":{"lookback":"1"}}"#, "not a time span"),
            (r#"{"spoofing":{"lookback":"0s"}}"#, "lookback"),
            (r#"{"spoofing":{"cancel_quantity":-1}}"#, "is negative"),
            (r#"{"spoofing":{"cancel_count":-1}}"#, "cancel_count"),
            (r#"{"spoofing":{"mode":"fast"}}"#, "unknown variant `fast`"),
            (r#"{"spoofing":{"enabled":1}}"#, "true or false"),
        ] {
            let error = DetectConfig::from_json(&json(text))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for assignment in [
            "spoofing",
            "spoofing.lookback",
            "lookback=1s",
            "spoofing.x=1",
        ] {
            let mut config = DetectConfig::default();
            assert!(config.set(assignment).is_err(), "{assignment}");
            assert_eq!(config, DetectConfig::default());
        }
    }
}
