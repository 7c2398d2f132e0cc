//! The Postgres wire: `psql`, drivers, Grafana and whatever else speaks protocol 3.
//!
//! ```text
//! stream ──► admission ──► session ──► Store::query ──► rows ──► stream
//!            who, SCRAM     statements,      ▲
//!               │           portals       cancels
//!               └── CancelRequest ───────────┘
//! ```
//!
//! Invariant: it only reads; each statement sees the tables at one instant of its own. What a client
//! sends is a message or an error, never a crash; what is kept for it is limited, and ends with it.

mod admission;
mod cancels;
mod cells;
mod command;
mod copy;
mod errors;
mod extended;
mod frame;
mod lex;
mod out;
mod perform;
mod rows;
mod scram;
mod session;
mod settings;
mod statement;
#[cfg(test)]
mod tests;
mod types;
mod values;

use std::sync::Arc;

use arrow::datatypes::DataType;
use pgwire::api::Type;
use tokio::sync::Semaphore;

pub use scram::Secret;
pub use session::Session;

use cancels::Cancels;

/// Large messages that are held at a time, by all sessions.
const LARGE_MAX: usize = 8;

/// All sessions of a process.
pub struct Wire {
    cancels: Arc<Cancels>,
    large: Arc<Semaphore>,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            cancels: Arc::default(),
            large: Arc::new(Semaphore::new(LARGE_MAX)),
        }
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

/// How somebody shows who it is.
#[derive(Debug)]
pub enum Login {
    /// Not at all.
    Trusted,
    /// By a password.
    Password(Secret),
    /// It is refused whoever it is: why.
    Refused(&'static str),
}

/// Why there is nothing behind the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// Not yet, or not any more.
    Starting,
    /// There are too many sessions.
    Full,
    /// The tables are elsewhere: where.
    Elsewhere(String),
    /// Who has the tables is away.
    Away(String),
}

/// What `SELECT version()` says.
pub(crate) fn version() -> String {
    format!(
        "PostgreSQL {} (Tapewatch {})",
        settings::SERVER_VERSION,
        env!("CARGO_PKG_VERSION")
    )
}

/// What a setting is at the start of every session.
pub(crate) fn setting(name: &str) -> Option<&'static str> {
    settings::default(name)
}

/// The words of a statement, without texts and comments.
pub(crate) fn words(query: &str) -> impl Iterator<Item = &str> {
    let lexemes = lex::lexemes(query).into_iter();
    lexemes.filter_map(|lexeme| match lexeme.kind {
        lex::Kind::Word => Some(lexeme.text),
        lex::Kind::Quoted => Some(lexeme.text.trim_matches('"')),
        _ => None,
    })
}

/// The elements of a list as Postgres writes it, `{1,NULL,"a b"}`; `None` when it is not one.
pub(crate) fn elements(text: &str) -> Option<Vec<Option<String>>> {
    values::elements(text)
}

/// How Postgres calls the type of a column.
pub(crate) struct TypeNames {
    pub(crate) long: String,
    pub(crate) short: String,
    pub(crate) precision: Option<i32>,
    pub(crate) scale: Option<i32>,
}

impl TypeNames {
    pub(crate) fn of(kind: &DataType) -> Self {
        let named = types::of(kind);
        let long = match named {
            Type::BOOL => "boolean",
            Type::INT2 => "smallint",
            Type::INT4 => "integer",
            Type::INT8 => "bigint",
            Type::FLOAT4 => "real",
            Type::FLOAT8 => "double precision",
            Type::TIMESTAMP => "timestamp without time zone",
            Type::TIMESTAMPTZ => "timestamp with time zone",
            Type::TIME => "time without time zone",
            ref array if array.name().starts_with('_') => "ARRAY",
            ref other => other.name(),
        };
        let (precision, scale) = match kind {
            DataType::Decimal128(precision, scale) => {
                (Some((*precision).into()), Some((*scale).into()))
            }
            _ => (None, None),
        };
        Self {
            long: long.to_owned(),
            short: named.name().to_owned(),
            precision,
            scale,
        }
    }
}
