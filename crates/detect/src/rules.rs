//! Rules that users write, in TOML: read and checked here, run beside the registry's detectors.
//!
//! Invariant: rules that were read are ready to run, their names differ from each other and from the
//! detectors'. What a rule finds is a function of its instrument's events and its text: batches,
//! shards, restarts and other rules change nothing of it, and what it keeps is limited.

mod check;
mod document;
mod expr;
mod groups;
mod matches;
mod ring;
mod rows;
mod rule;
mod run;
mod sequence;
mod sums;
mod syntax;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tapewatch_model::Id;

use crate::registry::REGISTRY;
use document::Item;
use rule::Plan;
pub(crate) use rule::Rule;
pub(crate) use run::runner;

/// Most rules of a configuration.
const RULES_MAX: usize = 256;
/// Most bytes of a rule's file.
const FILE_BYTES_MAX: usize = 65_536;

/// What is wrong with the file of a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {reason}")]
pub struct RuleError {
    /// Name of the file, as it was given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

impl RuleError {
    /// What is wrong at a byte of a file's text.
    fn at(file: &str, text: &str, at: usize, reason: String) -> Self {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let before = text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before
                .get(line_start..)
                .map_or(0, |text| text.chars().count())
                + 1,
            reason,
        }
    }
}

/// Rules, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules(BTreeMap<&'static str, Arc<Rule>>);

impl Rules {
    /// Reads files, each a name (for messages) and its text.
    ///
    /// # Errors
    /// Everything that is wrong, at most one [`RuleError`] a file; no rule is taken then.
    pub fn parse(files: &[(String, String)]) -> Result<Self, Vec<RuleError>> {
        let mut rules = Self::default();
        let mut errors = Vec::new();
        let mut places = BTreeMap::new();
        for (file, text) in files {
            let wrong = |at: usize, reason: String| RuleError::at(file, text, at, reason);
            if text.len() > FILE_BYTES_MAX {
                let reason = format!("the file is longer than {FILE_BYTES_MAX} bytes");
                errors.push(wrong(0, reason));
                continue;
            }
            let rule = Item::from_toml(text).and_then(|item| Ok((Rule::read(&item)?, item)));
            match rule {
                Err(error) => errors.push(wrong(error.at, error.reason)),
                Ok((rule, item)) => {
                    let name = rule.name;
                    let place = wrong(item.value_at("name"), String::new());
                    if let Err(mut reason) = rules.add(rule) {
                        if let Some(RuleError {
                            file, line, column, ..
                        }) = places.get(name)
                        {
                            reason += &format!(" at {file}:{line}:{column}");
                        }
                        errors.push(RuleError { reason, ..place });
                    } else {
                        places.insert(name, place);
                    }
                }
            }
        }
        if errors.is_empty() {
            Ok(rules)
        } else {
            Err(errors)
        }
    }

    fn add(&mut self, rule: Rule) -> Result<(), String> {
        let name = rule.name;
        if name == "reference"
            || name == "rules"
            || REGISTRY.iter().any(|entry| entry.info.id == name)
        {
            return Err(format!("a detector is named {name} already"));
        }
        if self.0.contains_key(name) {
            return Err(format!("another rule is named {name} already"));
        }
        if self.0.len() >= RULES_MAX {
            return Err(format!("more than {RULES_MAX} rules"));
        }
        self.0.insert(name, Arc::new(rule));
        Ok(())
    }

    /// Reads the canonical form: a rule for each name.
    pub(crate) fn from_json(json: &Value) -> Result<Self, String> {
        let Value::Object(all) = json else {
            return Err("rules must be a table".to_owned());
        };
        let mut rules = Self::default();
        for (name, json) in all {
            let rule = Item::from_json(json).and_then(|item| Rule::read(&item));
            let rule = rule.map_err(|wrong| format!("rule {name}: {}", wrong.reason))?;
            if rule.name != name {
                return Err(format!("rule {name}: its name is {}", rule.name));
            }
            rules.add(rule)?;
        }
        Ok(rules)
    }

    /// The canonical form.
    pub(crate) fn to_json(&self) -> Value {
        let pairs = self.0.iter();
        let pairs = pairs.map(|(name, rule)| ((*name).to_owned(), rule.canonical().clone()));
        Value::Object(pairs.collect::<Map<_, _>>())
    }

    /// The rules, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.0.values()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        self.0.get(name)
    }

    /// Keeps those for which `wanted` holds.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| wanted(name));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What there is to know of each, by name.
    pub fn infos(&self) -> impl Iterator<Item = RuleInfo> + '_ {
        self.iter().map(|rule| RuleInfo::of(rule))
    }
}

/// What there is to know about a rule, for a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RuleInfo {
    /// Its name, the detector of its hits.
    pub name: &'static str,
    /// Its version, as its file says.
    pub version: u32,
    /// Digest of all that it says; the configuration version of its hits while there are no
    /// reference tables.
    pub digest: Id,
    /// What it looks for, in a few words.
    pub title: String,
    /// More words, if there are.
    pub description: String,
    /// `window` or `sequence`.
    pub kind: &'static str,
    /// Types of the events that it looks at.
    pub events: Vec<&'static str>,
    /// Whether it asks the instrument's market: the order book is rebuilt for it then.
    pub market: bool,
    /// Columns whose events belong together.
    pub group: Vec<&'static str>,
    /// How far back it looks, or how long a match may last.
    pub lookback: String,
    /// Parameters and their values as written.
    pub params: Vec<(String, String)>,
    /// Measures of its hits.
    pub measures: Vec<&'static str>,
    /// What it keeps at most.
    pub bounds: String,
}

impl RuleInfo {
    fn of(rule: &Rule) -> Self {
        let (kind, grouping, lookback, bounds) = match &rule.plan {
            Plan::Window(window) => {
                let bounds = format!(
                    "{} groups an instrument, {} events a group ({} bytes when full)",
                    groups::GROUPS_MAX,
                    ring::ROWS_MAX,
                    window.group_bytes_max()
                );
                ("window", window.grouping, window.lookback, bounds)
            }
            Plan::Sequence(sequence) => {
                let bounds = format!(
                    "{} partial matches a key, {} an instrument, {} events a match",
                    matches::KEY_MAX,
                    matches::INSTRUMENT_MAX,
                    matches::EVENTS_MAX
                );
                ("sequence", sequence.key, sequence.within, bounds)
            }
        };
        let params = rule.params.all();
        Self {
            name: rule.name,
            version: rule.version,
            digest: rule.digest,
            title: rule.title.clone(),
            description: rule.description.clone(),
            kind,
            events: rule.events().iter().map(|kind| kind.name()).collect(),
            market: rule.asks().market,
            group: grouping.names().collect(),
            lookback: lookback.to_string(),
            params: params
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect(),
            measures: rule.measures().iter().map(|measure| measure.name).collect(),
            bounds,
        }
    }
}
