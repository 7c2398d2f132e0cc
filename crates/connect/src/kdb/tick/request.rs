//! What a client asks, told from the value it sends.
//!
//! Invariant: only the forms that are listed here are understood; a text is compared and parsed,
//! never run, and what is not understood is `'nyi`.

use std::collections::BTreeSet;

use tapewatch_model::Date;

use super::EPOCH_DAYS;
use crate::kdb::qsql::{self, Select};
use crate::kdb::value::{Arity, Atom, Items, List, Value};

/// Longest text of a query, in bytes.
const QUERY_BYTES_MAX: usize = 16 << 10;

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Take rows: `.u.upd` or `upd`.
    Update(Update),
    /// Send updates from now on: `.u.sub`. Answer: [`super::subscribed`].
    Subscribe(Subscription),
    /// The same and, in the same answer, where the log stands: ``(.u.sub[`;`];.u `i`L)``. Answer: a
    /// mixed list of [`super::subscribed`] and [`super::no_log`], of one moment.
    SubscribeFrom(Subscription),
    /// Where the log stands: ``.u `i`L``. Answer: [`super::no_log`].
    Position,
    /// The day has ended: `.u.end`.
    EndOfDay(Date),
    /// Names of the columns of a table: `cols t`.
    Columns(String),
    /// Names of the tables: `tables[]`. Answer: [`super::tables`].
    Tables,
    /// Rows of a table: `count t`.
    Count(String),
    /// Types of the columns: `meta t`. Answer: [`super::meta`].
    Meta(String),
    /// Is anybody there: `2+2`, which is answered with 4.
    Health,
    /// The button of the reference's page: empty the windows, publish the sample in twos.
    PushSample,
    /// A query.
    Query(Select),
}

/// Rows for a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Name of the table.
    pub table: String,
    /// As it came; [`super::OrderRows::of`] reads it.
    pub data: Value,
}

/// What a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Names of tables; `None` is all. They may be unknown.
    pub tables: Option<Vec<String>>,
    /// Instruments.
    pub syms: Syms,
}

/// Instruments that a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Syms {
    /// All.
    #[default]
    All,
    /// These.
    Some(BTreeSet<String>),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none of the forms that are listed.
    #[error("nyi")]
    NotUnderstood,
    /// A query that goes beyond the part of qSQL that is understood.
    #[error("nyi: {0}")]
    Query(String),
    /// An update or a subscription with other arguments than it has.
    #[error("type: {0}")]
    Arguments(&'static str),
}

impl Refused {
    /// The answer to who sent it.
    #[must_use]
    pub fn reply(&self) -> Value {
        Value::error(self.to_string())
    }
}

impl Syms {
    /// Whether it is one of them.
    #[must_use]
    pub fn has(&self, sym: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(syms) => syms.contains(sym),
        }
    }
}

impl Request {
    /// What `value` asks.
    ///
    /// # Errors
    /// [`Refused`] when it is nothing that is understood.
    pub fn parse(value: Value) -> Result<Self, Refused> {
        match value {
            Value::List(List {
                items: Items::Char(text),
                ..
            }) => query(&text),
            Value::Atom(Atom::Symbol(name)) => query(name.bytes()),
            Value::List(List {
                items: Items::Mixed(parts),
                ..
            }) => call(parts),
            // (`.u;`i) and the like are all symbols, which q joins to one list.
            Value::List(List {
                items: Items::Symbol(parts),
                ..
            }) => call(parts.iter().map(Value::symbol).collect()),
            _ => Err(Refused::NotUnderstood),
        }
    }
}

/// A function's name and its arguments.
fn call(parts: Vec<Value>) -> Result<Request, Refused> {
    let mut parts = parts.into_iter();
    let name = parts.next().as_ref().and_then(name_of);
    let arguments: Vec<Value> = parts.collect();
    match name.as_deref() {
        Some(".u.upd" | "upd") => {
            let wrong = Refused::Arguments("wanted .u.upd[table;data]");
            let [table, data] = <[Value; 2]>::try_from(arguments).map_err(|_| wrong.clone())?;
            let table = name_of(&table).ok_or(wrong)?;
            Ok(Request::Update(Update { table, data }))
        }
        Some(".u.sub") => {
            let wrong = Refused::Arguments("wanted .u.sub[tables;symbols]");
            let [tables, syms] = arguments.as_slice() else {
                return Err(wrong);
            };
            let tables = names_of(tables).ok_or(wrong.clone())?;
            let syms = names_of(syms).ok_or(wrong)?;
            Ok(Request::Subscribe(Subscription::of(tables, syms)))
        }
        Some(".u.end") => match arguments.as_slice() {
            [Value::Atom(Atom::Date(days))] if *days != i32::MIN => Ok(Request::EndOfDay(
                Date::from_days(days.saturating_add(EPOCH_DAYS)),
            )),
            _ => Err(Refused::Arguments("wanted .u.end[date]")),
        },
        Some(".u") => match arguments.as_slice() {
            [list] if is_position(&names_of(list).unwrap_or_default()) => Ok(Request::Position),
            _ => Err(Refused::NotUnderstood),
        },
        _ => Err(Refused::NotUnderstood),
    }
}

fn is_position(names: &[String]) -> bool {
    matches!(names, [i, l] if i == "i" && l == "L")
}

impl Subscription {
    /// The empty symbol stands for everything.
    fn of(tables: Vec<String>, syms: Vec<String>) -> Self {
        let all = |names: &[String]| matches!(names, [one] if one.is_empty());
        Self {
            tables: (!all(&tables)).then_some(tables),
            syms: if all(&syms) {
                Syms::All
            } else {
                Syms::Some(syms.into_iter().collect())
            },
        }
    }
}

/// A name as a symbol or as text, as some clients send it.
fn name_of(value: &Value) -> Option<String> {
    let bytes = match value {
        Value::Atom(Atom::Symbol(symbol)) => symbol.bytes(),
        Value::List(List {
            items: Items::Char(text),
            ..
        }) => text,
        _ => return None,
    };
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// One or more names; `::`, an empty text and the empty symbol are one empty name.
fn names_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Primitive(Arity::Unary, 0) => Some(vec![String::new()]),
        Value::List(List {
            items: Items::Symbol(symbols),
            ..
        }) => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
            symbols.iter().map(text).collect()
        }
        Value::List(List {
            items: Items::Mixed(values),
            ..
        }) => values.iter().map(name_of).collect(),
        value => Some(vec![name_of(value)?]),
    }
}

/// A text.
fn query(text: &[u8]) -> Result<Request, Refused> {
    /// The text of the button on the reference's page, without its spaces.
    const PUSH: &str = ".fd.h\"if[`orderCacheinkey`.spoofing;deletefrom`.spoofing.orderCache]\";.fd.addDataToQueue[2;`order;spoofingData]";
    let text = std::str::from_utf8(text).map_err(|_| Refused::NotUnderstood)?;
    if text.len() > QUERY_BYTES_MAX {
        return Err(Refused::Query(format!(
            "a query of {} bytes, at most {QUERY_BYTES_MAX} are read",
            text.len()
        )));
    }
    let text = text.trim().trim_end_matches(';').trim_end();
    let dense: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let position = |text: &str| matches!(text, ".u`i`L" | "`.u`i`L");
    match dense.as_str() {
        "2+2" => return Ok(Request::Health),
        "tables[]" | "tables`." | "tables`" => return Ok(Request::Tables),
        PUSH => return Ok(Request::PushSample),
        text if position(text) => return Ok(Request::Position),
        _ => {}
    }
    if let Some(subscription) = subscription(&dense) {
        return Ok(Request::Subscribe(subscription));
    }
    let pair = dense
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'));
    if let Some((left, right)) = pair.and_then(|pair| pair.rsplit_once(';'))
        && position(right)
        && let Some(subscription) = subscription(left)
    {
        return Ok(Request::SubscribeFrom(subscription));
    }
    if let Some((word, table)) = text.split_once(char::is_whitespace) {
        let table = table.trim_start();
        let table = table.strip_prefix('`').unwrap_or(table);
        if qsql::is_name(table) {
            match word {
                "cols" => return Ok(Request::Columns(table.to_owned())),
                "count" => return Ok(Request::Count(table.to_owned())),
                "meta" => return Ok(Request::Meta(table.to_owned())),
                _ => {}
            }
        }
    }
    qsql::parse(text)
        .map(Request::Query)
        .map_err(|error| match error {
            qsql::Error::NoQuery => Refused::NotUnderstood,
            other => Refused::Query(other.to_string()),
        })
}

/// ``.u.sub[`t;`a`b]``, its spaces taken out.
fn subscription(dense: &str) -> Option<Subscription> {
    let arguments = dense.strip_prefix(".u.sub[")?.strip_suffix(']')?;
    let (tables, syms) = arguments.split_once(';')?;
    Some(Subscription::of(symbols(tables)?, symbols(syms)?))
}

/// `` `a`b `` as names.
fn symbols(text: &str) -> Option<Vec<String>> {
    let names = text.strip_prefix('`')?.split('`');
    let names: Vec<String> = names.map(str::to_owned).collect();
    let plain = |name: &String| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte))
    };
    names.iter().all(plain).then_some(names)
}
