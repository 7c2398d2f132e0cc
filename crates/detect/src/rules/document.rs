//! The file of a rule as a tree of keys and texts: read from TOML with the place of every value, or
//! from the canonical JSON that the configuration and the journal hold.
//!
//! Invariant: both readings of a rule give the same tree, places aside. Numbers are kept as they are
//! written, never as floats.

use serde_json::{Map, Value};
use tapewatch_model::TimeSpan;
use toml::de::{DeTable, DeValue};

use super::syntax::Wrong;

/// Tables whose order means something: pairs in the canonical form.
const ORDERED: [&str; 2] = ["params", "measures"];
/// Most tables and lists inside one another.
const DEPTH_MAX: usize = 8;

/// A value, and where in the file it begins.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) at: usize,
    pub(super) value: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A text, a number or a truth, as text.
    Text(String),
    List(Vec<Item>),
    Table(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) at: usize,
    pub(super) key: String,
    pub(super) item: Item,
}

impl Item {
    /// Reads a file.
    pub(super) fn from_toml(text: &str) -> Result<Self, Wrong> {
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let reason = error.message().lines().collect::<Vec<_>>().join("; ");
            Wrong::new(at, format!("not TOML: {reason}"))
        })?;
        let value = from_table(table.get_ref(), text, 0)?;
        Ok(Self { at: 0, value })
    }

    /// Reads the canonical form.
    pub(super) fn from_json(json: &Value) -> Result<Self, Wrong> {
        from_json("", json, 0)
    }

    /// The canonical form.
    pub(super) fn to_json(&self, key: &str) -> Value {
        match &self.value {
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(|item| item.to_json("")).collect(),
            Content::Table(entries) if ORDERED.contains(&key) => {
                let pair = |entry: &Entry| {
                    Value::from(vec![entry.key.clone().into(), entry.item.to_json("")])
                };
                entries.iter().map(pair).collect()
            }
            Content::Table(entries) => {
                let pairs = entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.item.to_json(&entry.key)));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// Where the value of one of its keys begins; 0 where there is none.
    pub(super) fn value_at(&self, key: &str) -> usize {
        let entries = match &self.value {
            Content::Table(entries) => entries.as_slice(),
            _ => &[],
        };
        let mut entries = entries.iter();
        entries
            .find(|entry| entry.key == key)
            .map_or(0, |entry| entry.item.at)
    }

    /// Its entries, when it is a table.
    pub(super) fn table(&self, key: &str) -> Result<&[Entry], Wrong> {
        match &self.value {
            Content::Table(entries) => Ok(entries),
            _ => Err(Wrong::new(self.at, format!("{key} must be a table"))),
        }
    }

    /// Its text, when it is one.
    pub(super) fn text(&self, key: &str) -> Result<&str, Wrong> {
        match &self.value {
            Content::Text(text) => Ok(text),
            _ => Err(Wrong::new(
                self.at,
                format!("{key} must be a text or a number"),
            )),
        }
    }

    /// Its items, when it is a list.
    pub(super) fn list(&self, key: &str) -> Result<&[Self], Wrong> {
        match &self.value {
            Content::List(items) => Ok(items),
            _ => Err(Wrong::new(self.at, format!("{key} must be a list"))),
        }
    }
}

fn too_deep(at: usize) -> Wrong {
    Wrong::new(
        at,
        format!("more than {DEPTH_MAX} tables or lists inside one another"),
    )
}

fn from_table(table: &DeTable<'_>, text: &str, depth: usize) -> Result<Content, Wrong> {
    let mut entries = Vec::new();
    for (key, value) in table {
        let at = key.span().start;
        entries.push(Entry {
            at,
            key: key.get_ref().to_string(),
            item: from_value(value.get_ref(), value.span().start, text, depth)?,
        });
    }
    entries.sort_by_key(|entry| entry.at);
    Ok(Content::Table(entries))
}

fn from_value(value: &DeValue<'_>, at: usize, text: &str, depth: usize) -> Result<Item, Wrong> {
    if depth >= DEPTH_MAX {
        return Err(too_deep(at));
    }
    let item = |at: usize, value: Content| Ok(Item { at, value });
    match value {
        DeValue::String(inner) => item(at + opening(text, at), Content::Text(inner.to_string())),
        DeValue::Integer(number) if number.radix() == 10 => {
            item(at, Content::Text(number.as_str().to_owned()))
        }
        DeValue::Integer(_) => Err(Wrong::new(at, "a number is written with ten digits")),
        DeValue::Float(number) => item(at, Content::Text(number.as_str().to_owned())),
        DeValue::Boolean(truth) => item(at, Content::Text(truth.to_string())),
        DeValue::Datetime(_) => Err(Wrong::new(at, "no key of a rule is a date")),
        DeValue::Array(values) => {
            let read = |value: &toml::Spanned<DeValue<'_>>| {
                from_value(value.get_ref(), value.span().start, text, depth + 1)
            };
            let items = values.iter().map(read).collect::<Result<_, _>>()?;
            item(at, Content::List(items))
        }
        DeValue::Table(table) => item(at, from_table(table, text, depth + 1)?),
    }
}

/// Bytes of a text's opening quotes.
fn opening(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    match rest {
        _ if rest.starts_with("\"\"\"") || rest.starts_with("'''") => {
            let inner = rest.get(3..).unwrap_or_default();
            3 + usize::from(inner.starts_with('\n')) + 2 * usize::from(inner.starts_with("\r\n"))
        }
        _ => 1,
    }
}

fn from_json(key: &str, json: &Value, depth: usize) -> Result<Item, Wrong> {
    if depth >= 2 * DEPTH_MAX {
        return Err(too_deep(0));
    }
    let wrong = || Wrong::new(0, format!("{key}: not of the canonical form"));
    let entry = |key: &str, value: &Value| {
        let item = from_json(key, value, depth + 1)?;
        let key = key.to_owned();
        Ok(Entry { at: 0, key, item })
    };
    let value = match json {
        Value::String(text) => Content::Text(text.clone()),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| entry(key, value));
            Content::Table(entries.collect::<Result<_, _>>()?)
        }
        Value::Array(items) if ORDERED.contains(&key) => {
            let pair = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
                Some([Value::String(key), value]) => entry(key, value),
                _ => Err(wrong()),
            };
            Content::Table(items.iter().map(pair).collect::<Result<_, _>>()?)
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| from_json("", item, depth + 1));
            Content::List(items.collect::<Result<_, _>>()?)
        }
        _ => return Err(wrong()),
    };
    Ok(Item { at: 0, value })
}

/// The entries of a table, each asked for by name.
pub(super) struct Fields<'a> {
    at: usize,
    entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    /// The entries of a table that has no key but these.
    pub(super) fn of(item: &'a Item, what: &str, known: &[&str]) -> Result<Self, Wrong> {
        let entries = item.table(what)?;
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let (key, known) = (&entry.key, known.join(", "));
                let reason = format!("unknown key {key:?} of {what}: there are {known}");
                return Err(Wrong::new(entry.at, reason));
            }
        }
        Ok(Self {
            at: item.at,
            entries,
        })
    }

    /// Where the table begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Item> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(&entry.item)
    }

    /// The value of a key that must be there.
    pub(super) fn need(&self, key: &str) -> Result<&'a Item, Wrong> {
        let missing = || Wrong::new(self.at, format!("{key} is missing"));
        self.get(key).ok_or_else(missing)
    }

    /// The entries of a table inside; none when it is not there.
    pub(super) fn entries(&self, key: &str) -> Result<&'a [Entry], Wrong> {
        self.get(key).map_or(Ok(&[]), |item| item.table(key))
    }

    /// A time span, longer than nothing.
    pub(super) fn span(&self, key: &str) -> Result<Option<TimeSpan>, Wrong> {
        let Some(item) = self.get(key) else {
            return Ok(None);
        };
        let span = TimeSpan::parse(item.text(key)?);
        let span = span.map_err(|error| Wrong::new(item.at, format!("{key}: {error}")))?;
        if span <= TimeSpan::ZERO {
            return Err(Wrong::new(
                item.at,
                format!("{key} must be longer than nothing"),
            ));
        }
        Ok(Some(span))
    }

    /// `true` or `false`; `false` when it is not there.
    pub(super) fn truth(&self, key: &str) -> Result<bool, Wrong> {
        let Some(item) = self.get(key) else {
            return Ok(false);
        };
        match item.text(key)? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Wrong::new(item.at, format!("{key} must be true or false"))),
        }
    }
}

/// A wrong expression of an item as a wrong place of the file.
pub(super) fn inside(item: &Item) -> impl Fn(Wrong) -> Wrong + '_ {
    |wrong| Wrong::new(item.at + wrong.at, wrong.reason)
}
