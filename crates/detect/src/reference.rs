//! Reference tables: classes of instruments, linked accounts, client groups, the news calendar.
//!
//! Invariant: they are a part of the configuration, so that the journal has them and a replay is
//! judged by the same tables. What is in no table has no class, no group and no link.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tapewatch_model::{Price, Quantity, Time};

use crate::config::ConfigError;
use crate::step::DAY;

/// Most entries of all tables together.
const ENTRIES_MAX: usize = 1_000_000;

/// What the instruments of a class have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Class {
    /// The least quantity that trades.
    pub(crate) lot: Quantity,
    /// The least step of the price.
    pub(crate) tick: Price,
    /// When continuous trading begins and ends on a day, UTC, `HH:MM:SS`; empty when that is not told.
    open: String,
    close: String,
    #[serde(skip)]
    opens: Option<i64>,
    #[serde(skip)]
    closes: Option<i64>,
}

impl Default for Class {
    fn default() -> Self {
        Self {
            lot: Quantity::from_whole(1).unwrap_or_default(),
            tick: Price::from_units(10_000_000),
            open: String::new(),
            close: String::new(),
            opens: None,
            closes: None,
        }
    }
}

impl Class {
    /// When continuous trading begins on the day of `time`, in nanoseconds.
    pub(crate) fn opens(&self, time: i64) -> Option<i64> {
        Some(time - time.rem_euclid(DAY) + self.opens?)
    }

    /// When continuous trading ends on the day of `time`, in nanoseconds.
    pub(crate) fn closes(&self, time: i64) -> Option<i64> {
        Some(time - time.rem_euclid(DAY) + self.closes?)
    }
}

/// An item of the news calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct News {
    /// When it became known.
    pub(crate) time: Time,
    /// The instrument that it is about.
    pub(crate) sym: String,
    /// What it says.
    pub(crate) headline: String,
}

/// All tables.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reference {
    /// By name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) classes: BTreeMap<String, Class>,
    /// The class of an instrument.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) instruments: BTreeMap<String, String>,
    /// The owner to whom an account or a trader belongs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) linked: BTreeMap<String, String>,
    /// The client group of an owner, which thresholds may name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) clients: BTreeMap<String, String>,
    /// In order of instrument and time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) news: Vec<News>,
}

impl Reference {
    /// Whether they say of any class when its trading begins or ends.
    pub(crate) fn tells_sessions(&self) -> bool {
        let told = |class: &Class| class.opens.is_some() || class.closes.is_some();
        self.classes.values().any(told)
    }

    /// Reads them from the configuration's JSON.
    ///
    /// # Errors
    /// [`ConfigError::Form`] says what is wrong.
    pub(crate) fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let wrong = |reason: String| ConfigError::Form(format!("reference: {reason}"));
        let mut read: Self =
            serde_json::from_value(json.clone()).map_err(|error| wrong(error.to_string()))?;
        let entries = read.instruments.len() + read.linked.len() + read.clients.len();
        if entries + read.news.len() + read.classes.len() > ENTRIES_MAX {
            return Err(wrong(format!(
                "the tables have more than {ENTRIES_MAX} entries"
            )));
        }
        for (name, class) in &mut read.classes {
            class.opens = time_of_day(&class.open)
                .map_err(|text| wrong(format!("class {name}: open = {text:?}: HH:MM:SS")))?;
            class.closes = time_of_day(&class.close)
                .map_err(|text| wrong(format!("class {name}: close = {text:?}: HH:MM:SS")))?;
            if class.lot == Quantity::ZERO || class.tick.units() <= 0 {
                return Err(wrong(format!("class {name}: lot and tick must be above 0")));
            }
        }
        for (sym, class) in &read.instruments {
            if !read.classes.contains_key(class) {
                return Err(wrong(format!(
                    "instrument {sym}: there is no class {class:?}"
                )));
            }
        }
        read.news
            .sort_by(|a, b| (&a.sym, a.time, &a.headline).cmp(&(&b.sym, b.time, &b.headline)));
        Ok(read)
    }

    /// Whether all tables are empty.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The classes in the order of their numbers, which begin at 1; 0 is none.
    pub(crate) fn class_number(&self, sym: &str) -> u16 {
        let class = self.instruments.get(sym);
        number(self.classes.keys(), class)
    }

    /// The number of a class's name; `None` when there is no such class.
    pub(crate) fn class_named(&self, name: &str) -> Option<u16> {
        let number = number(self.classes.keys(), Some(&name.to_owned()));
        (number > 0).then_some(number)
    }

    /// Where the news of an instrument is among all, in order of time.
    pub(crate) fn news_of(&self, sym: &str) -> Range<usize> {
        let from = self.news.partition_point(|news| news.sym.as_str() < sym);
        let to = self.news.partition_point(|news| news.sym.as_str() <= sym);
        from..to
    }

    /// The names of the client groups, in order.
    fn groups(&self) -> std::collections::BTreeSet<&String> {
        self.clients.values().collect()
    }

    /// The number of an owner's client group, from 1; 0 when he is in none.
    pub(crate) fn group_number(&self, owner: &str) -> u16 {
        match self.clients.get(owner) {
            None => 0,
            group => number(self.groups().into_iter(), group),
        }
    }

    /// The number of a client group's name; `None` when nobody is in it.
    pub(crate) fn group_named(&self, name: &str) -> Option<u16> {
        let number = number(self.groups().into_iter(), Some(&name.to_owned()));
        (number > 0).then_some(number)
    }
}

fn number<'a>(names: impl Iterator<Item = &'a String>, name: Option<&String>) -> u16 {
    let Some(name) = name else { return 0 };
    let at = names.zip(1_u16..).find(|(known, _)| *known == name);
    at.map_or(0, |(_, number)| number)
}

/// Nanoseconds from midnight; `None` of an empty text.
pub(crate) fn time_of_day(text: &str) -> Result<Option<i64>, &str> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut parts = text.split(':').map(str::parse::<i64>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(hour @ 0..=23)), Some(Ok(minute @ 0..=59)), Some(Ok(second @ 0..=59)), None) => {
            Ok(Some((hour * 3_600 + minute * 60 + second) * 1_000_000_000))
        }
        _ => Err(text),
    }
}

/// Whether news lies behind one time and not behind another.
pub(crate) fn between(news: &[News], from: i64, to: i64) -> bool {
    let at = news.partition_point(|news| news.time.nanos() <= from);
    news.get(at).is_some_and(|news| news.time.nanos() <= to)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reference, ConfigError> {
        Reference::from_json(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn tables_are_read_and_wrong_ones_refused() {
        let tables = read(
            r#"{"classes":{"equity":{"open":"08:00:00","close":"16:30:00"},"future":{"tick":"0.25"}},
                "instruments":{"SIM0":"equity","ES":"future"},
                "linked":{"A1":"house"},"clients":{"house":"makers","T9":"funds"},
                "news":[{"time":"2024-01-05T10:00:00Z","sym":"SIM0","headline":"b"},
                    {"time":"2024-01-05T09:00:00Z","sym":"SIM0","headline":"c"},
                    {"time":"2024-01-05T09:30:00Z","sym":"ES","headline":"a"}]}"#,
        )
        .unwrap();
        assert_eq!(tables.class_number("ES"), 2);
        assert_eq!(tables.class_number("OTHER"), 0);
        let news = |sym| -> Vec<_> {
            tables.news[tables.news_of(sym)]
                .iter()
                .map(|news| &*news.headline)
                .collect()
        };
        assert_eq!(
            (news("SIM0"), news("ES"), news("A")),
            (vec!["c", "b"], vec!["a"], vec![])
        );
        let equity = &tables.classes["equity"];
        assert_eq!(
            equity.closes(DAY + 5),
            Some(DAY + 16 * 3_600_000_000_000 + 1_800_000_000_000)
        );
        assert_eq!(tables.classes["future"].opens(5), None);
        assert_eq!(tables.group_number("house"), 2);
        assert_eq!(tables.group_named("funds"), Some(1));
        for (text, expected) in [
            (r#"{"classes":{"e":{"open":"25:00:00"}}}"#, "class e: open"),
            (r#"{"classes":{"e":{"lot":0}}}"#, "above 0"),
            (r#"{"instruments":{"X":"e"}}"#, "no class \"e\""),
            (r#"{"link":{}}"#, "unknown field `link`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
