//! One rule: what its file says, checked, and how its hits are worded.
//!
//! Invariant: a [`Rule`] is ready to run; two rules are equal when their files say the same, comments
//! and layout aside, and their digests are equal then.

use serde_json::Value;
use tapewatch_model::{
    Decimal, EventType, EventTypes, Id, Measure as Measured, RowRef, TimeSpan, lasting_name,
};

use super::check::{Scope, number};
use super::document::{Fields, Item, inside};
use super::expr::{Asked, Column, Expr, Type, View};
use super::sequence::SequenceRule;
use super::syntax::Wrong;
use super::window::WindowRule;
use crate::detector::Finding;

/// Most parameters, and most measures.
const NAMES_MAX: usize = 64;
/// Most bytes of a title, and of a text or description.
const TITLE_BYTES_MAX: usize = 200;
const TEXT_BYTES_MAX: usize = 4_096;

/// A rule that a user wrote.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) params: Params,
    pub(super) plan: Plan,
    text: Vec<Piece>,
    canonical: Value,
    /// Digest of the canonical form.
    pub(crate) digest: Id,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Rule {}

/// What it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    Window(Box<WindowRule>),
    Sequence(Box<SequenceRule>),
}

/// A number that hits show, and the threshold that it is compared with; 0 when there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) expr: Expr,
    pub(super) threshold: i128,
}

/// A match of the rule at an event.
pub(super) struct Found<'a> {
    /// Findings of the same one join into alerts.
    pub(super) entity: u64,
    pub(super) lookback: TimeSpan,
    /// Of the measures, and what they are made of.
    pub(super) values: &'a [Option<i128>],
    /// Sequence numbers, ascending; the latest of them.
    pub(super) evidence: &'a dyn Fn() -> Vec<u64>,
    pub(super) evidence_total: u64,
}

const KEYS: [&str; 10] = [
    "name",
    "version",
    "title",
    "description",
    "text",
    "params",
    "measures",
    "window",
    "sequence",
    "step",
];

impl Rule {
    /// Reads a rule from its file or its canonical form.
    pub(super) fn read(item: &Item) -> Result<Self, Wrong> {
        let fields = Fields::of(item, "the rule", &KEYS)?;
        let name = name(fields.need("name")?, "name")?;
        let title = line(&fields, "title", TITLE_BYTES_MAX)?;
        if title.is_empty() {
            return Err(Wrong::new(fields.at(), "title is missing"));
        }
        let params = Params::read(&fields)?;
        let plan = match (fields.get("window"), fields.get("sequence")) {
            (Some(_), None) if fields.get("step").is_none() => {
                Plan::Window(Box::new(WindowRule::read(&fields, &params)?))
            }
            (None, Some(_)) => Plan::Sequence(Box::new(SequenceRule::read(&fields, &params)?)),
            _ => {
                let reason = "a rule has either a table window, or a table sequence and steps";
                return Err(Wrong::new(fields.at(), reason));
            }
        };
        let canonical = item.to_json("");
        let mut rule = Self {
            name,
            version: version(fields.need("version")?)?,
            title,
            description: line(&fields, "description", TEXT_BYTES_MAX)?,
            params,
            plan,
            text: Vec::new(),
            digest: Id::of(canonical.to_string().as_bytes()),
            canonical,
        };
        if let Some(item) = fields.get("text") {
            rule.text = rule.pieces(item)?;
        }
        Ok(rule)
    }

    /// The canonical form.
    pub(crate) fn canonical(&self) -> &Value {
        &self.canonical
    }

    pub(super) fn measures(&self) -> &[Measure] {
        match &self.plan {
            Plan::Window(rule) => &rule.measures,
            Plan::Sequence(rule) => &rule.measures,
        }
    }

    /// The events that it looks at.
    pub(super) fn events(&self) -> EventTypes {
        match &self.plan {
            Plan::Window(rule) => rule.events,
            Plan::Sequence(rule) => rule.events,
        }
    }

    /// What it asks of events.
    pub(super) fn asks(&self) -> Asked {
        match &self.plan {
            Plan::Window(rule) => rule.asks(),
            Plan::Sequence(rule) => rule.asked,
        }
    }

    /// What there is to say of a match.
    pub(super) fn finding(&self, view: &View<'_>, found: &Found<'_>) -> Option<Finding> {
        let row = view.rows.orders.row(view.row)?;
        let measures = self.measures().iter().zip(found.values);
        let measured = measures.filter_map(|(measure, value)| {
            Some(Measured {
                name: measure.name,
                value: Decimal::from_units((*value)?),
                threshold: Decimal::from_units(measure.threshold),
            })
        });
        let measured: Vec<Measured> = measured.collect();
        let text = match self.text.as_slice() {
            [] => self.usual_text(&row, &measured, found.lookback),
            pieces => {
                let owner = || view.rows.names.owner(view.rows.owner(view.row));
                let pieces = pieces.iter().map(|piece| piece.render(&row, found, &owner));
                pieces.collect()
            }
        };
        Some(Finding {
            measures: measured,
            evidence: (found.evidence)(),
            evidence_total: found.evidence_total,
            text,
        })
    }

    fn usual_text(&self, row: &RowRef<'_>, measured: &[Measured], lookback: TimeSpan) -> String {
        let measure = |measure: &Measured| match measure.threshold.units() {
            0 => format!("{} {}", measure.name, measure.value),
            _ => format!(
                "{} {} (threshold {})",
                measure.name, measure.value, measure.threshold
            ),
        };
        let measures: Vec<_> = measured.iter().map(measure).collect();
        let trader = if row.trader.is_empty() {
            "someone unnamed"
        } else {
            row.trader
        };
        format!(
            "{}: {trader} in {}, {}, within {lookback} up to {}.",
            self.title,
            row.sym,
            measures.join(", "),
            row.time
        )
    }

    /// Reads `{trader} cancelled {total} in {sym}`.
    fn pieces(&self, item: &Item) -> Result<Vec<Piece>, Wrong> {
        let text = line_of(item, "text", TEXT_BYTES_MAX)?;
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            pieces.push(Piece::Text(before.to_owned()));
            let Some((name, after)) = behind.split_once('}') else {
                return Err(Wrong::new(item.at, "text: a brace is not closed"));
            };
            pieces.push(self.piece(name).ok_or_else(|| {
                let reason = format!(
                    "text: {{{name}}} is unknown: there are sym, trader, owner, side, time, lookback, measures and parameters"
                );
                Wrong::new(item.at, reason)
            })?);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(pieces)
    }

    fn piece(&self, name: &str) -> Option<Piece> {
        Some(match name {
            "sym" => Piece::Sym,
            "trader" => Piece::Trader,
            "owner" => Piece::Owner,
            "side" => Piece::Side,
            "time" => Piece::Time,
            "lookback" => Piece::Lookback,
            name => {
                let measure = self.measures().iter().position(|one| one.name == name);
                match measure {
                    Some(at) => Piece::Measure(at),
                    None => Piece::Text(self.params.written(name)?.to_owned()),
                }
            }
        })
    }
}

/// A part of a hit's sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Measure(usize),
    Sym,
    Trader,
    Owner,
    Side,
    Time,
    Lookback,
}

impl Piece {
    fn render<'a>(
        &self,
        row: &RowRef<'_>,
        found: &Found<'_>,
        owner: &dyn Fn() -> &'a str,
    ) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Sym => row.sym.to_owned(),
            Self::Trader => row.trader.to_owned(),
            Self::Owner => owner().to_owned(),
            Self::Side => row.side.name().to_owned(),
            Self::Time => row.time.to_string(),
            Self::Lookback => found.lookback.to_string(),
            Self::Measure(at) => match found.values.get(*at).copied().flatten() {
                Some(units) => Decimal::from_units(units).to_string(),
                None => "unknown".to_owned(),
            },
        }
    }
}

fn version(item: &Item) -> Result<u32, Wrong> {
    let version = item
        .text("version")?
        .parse()
        .ok()
        .filter(|&version| version > 0);
    version.ok_or_else(|| Wrong::new(item.at, "version must be a whole number from 1"))
}

fn line(fields: &Fields<'_>, key: &str, bytes_max: usize) -> Result<String, Wrong> {
    let item = fields.get(key);
    item.map_or(Ok(String::new()), |item| line_of(item, key, bytes_max))
}

fn line_of(item: &Item, key: &str, bytes_max: usize) -> Result<String, Wrong> {
    let text = item.text(key)?.trim();
    if text.is_empty() || text.len() > bytes_max {
        let reason = format!("{key} must have 1 to {bytes_max} bytes");
        return Err(Wrong::new(item.at, reason));
    }
    Ok(text.to_owned())
}

/// A name: lower-case letters, digits and `_`, a letter first.
pub(super) fn name(item: &Item, key: &str) -> Result<&'static str, Wrong> {
    word(item.text(key)?, item.at, key)
}

/// The same of a key.
pub(super) fn word(text: &str, at: usize, key: &str) -> Result<&'static str, Wrong> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let right = text
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_lowercase());
    if !right || !text.bytes().all(inside) {
        let reason = format!("{key} {text:?}: lower-case letters, digits and _, a letter first");
        return Err(Wrong::new(at, reason));
    }
    let reason = || format!("{key} {text:?} is too long, or there are too many names");
    lasting_name(text).ok_or_else(|| Wrong::new(at, reason()))
}

/// A name that means nothing else in expressions.
pub(super) fn free_word(text: &str, at: usize, key: &str) -> Result<&'static str, Wrong> {
    let word = word(text, at, key)?;
    let taken = Column::named(word).is_some()
        || matches!(
            word,
            "and" | "or" | "not" | "in" | "true" | "false" | "flag" | "best" | "depth" | "lookback"
        );
    if taken {
        return Err(Wrong::new(
            at,
            format!("{key} {word:?} means something already"),
        ));
    }
    Ok(word)
}

/// Reads a list of event types; all of them when there is none.
pub(super) fn events(fields: &Fields<'_>) -> Result<EventTypes, Wrong> {
    let Some(item) = fields.get("events") else {
        return Ok(EventTypes::ALL);
    };
    let mut events = EventTypes::NONE;
    for item in item.list("events")? {
        let text = item.text("events")?;
        let kind = EventType::parse(text.as_bytes()).ok_or_else(|| {
            let reason = format!("{text:?} is no event type: new, amended, cancelled, filled");
            Wrong::new(item.at, reason)
        })?;
        events = events.union(EventTypes::of(&[kind]));
    }
    if events == EventTypes::NONE {
        return Err(Wrong::new(
            item.at,
            "events must name at least one event type",
        ));
    }
    Ok(events)
}

/// Reads the table of measures, each by `read`.
pub(super) fn measures(
    fields: &Fields<'_>,
    params: &Params,
    mut read: impl FnMut(&str, &Item) -> Result<Expr, Wrong>,
) -> Result<Vec<Measure>, Wrong> {
    let mut measures: Vec<Measure> = Vec::new();
    for entry in fields.entries("measures")? {
        let name = free_word(&entry.key, entry.at, "measure")?;
        if params.constant(name).is_some() || measures.iter().any(|known| known.name == name) {
            return Err(Wrong::new(entry.at, format!("{name:?} is there twice")));
        }
        if measures.len() >= NAMES_MAX {
            return Err(Wrong::new(
                entry.at,
                format!("more than {NAMES_MAX} measures"),
            ));
        }
        measures.push(Measure {
            name,
            expr: read(name, &entry.item)?,
            threshold: 0,
        });
    }
    Ok(measures)
}

/// Numbers that a rule gives names to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Params(Vec<(String, i128, String)>);

/// Nothing has a name.
struct Nameless;

impl Scope for Nameless {
    fn name(&mut self, _: &str) -> Option<(Type, Expr)> {
        None
    }

    fn has_event(&self) -> bool {
        false
    }

    fn known(&self) -> Vec<String> {
        vec!["numbers such as 0.2 and spans such as 25s only".to_owned()]
    }
}

impl Params {
    fn read(fields: &Fields<'_>) -> Result<Self, Wrong> {
        let mut params = Self::default();
        for entry in fields.entries("params")? {
            let name = free_word(&entry.key, entry.at, "parameter")?;
            if params.0.len() >= NAMES_MAX {
                return Err(Wrong::new(
                    entry.at,
                    format!("more than {NAMES_MAX} parameters"),
                ));
            }
            if params.constant(name).is_some() {
                return Err(Wrong::new(entry.at, format!("{name:?} is there twice")));
            }
            let text = entry.item.text(name)?;
            let expr = number(text, &mut Nameless).map_err(inside(&entry.item))?;
            let value = expr.constant();
            let value = value
                .ok_or_else(|| Wrong::new(entry.item.at, format!("{name} must be a number")))?;
            params.0.push((name.to_owned(), value, text.to_owned()));
        }
        Ok(params)
    }

    /// The parameter of a name, in an expression.
    pub(super) fn constant(&self, name: &str) -> Option<(Type, Expr)> {
        let found = self.0.iter().find(|(known, _, _)| known == name);
        found.map(|(_, units, _)| (Type::Number, Expr::Constant(*units)))
    }

    /// Its value as it was written.
    fn written(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _, _)| known == name);
        found.map(|(_, _, text)| text.as_str())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _, _)| name.clone()).collect()
    }

    /// Names and values as they were written.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, _, text)| (name.as_str(), text.as_str()))
    }
}
