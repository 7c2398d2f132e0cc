//! Why a query failed, for the person who wrote it.
//!
//! Invariant: where the place in the query is known, the message shows its line with a caret under
//! it; no message is a debug print of a library.

use std::fmt;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::common::diagnostic::Diagnostic;
use datafusion::sql::sqlparser::parser::ParserError;

use super::suggest::{unknown_column, unknown_name};
use crate::check::first_damaged;
use crate::query::{Limit, Limits};
use crate::store::Histories;

/// How long a failed query looks for the file that is to blame.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Characters of a line that are shown on each side of a place.
const AROUND: usize = 80;
/// Characters of a message.
const MESSAGE_MAX: usize = 1_000;

/// A place in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u64,
    /// Column, in characters, from 1.
    pub column: u64,
    /// The text of the line; of a long one the part around the place.
    pub text: String,
    /// Where in `text` the place is, in characters, from 0.
    pub caret: usize,
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// Not SQL.
    #[error("syntax error{}", located(.message, .place.as_ref()))]
    Syntax {
        /// What was expected and found.
        message: String,
        /// Where.
        place: Option<Place>,
    },
    /// SQL, but of tables, columns, functions or types that do not fit.
    #[error("error{}", located(.message, .place.as_ref()))]
    Plan {
        /// What does not fit, with near names where there are some.
        message: String,
        /// Where.
        place: Option<Place>,
    },
    /// A statement that would change something.
    #[error("only queries are allowed: {message}; use SELECT, EXPLAIN or SHOW TABLES")]
    ReadOnly {
        /// What was refused.
        message: String,
    },
    /// A limit or a value of a parameter that came with the query does not fit.
    #[error("{message}")]
    Request {
        /// What is wrong.
        message: String,
    },
    /// It needs more memory than it may take.
    #[error(
        "the query needs more memory than it may take{}: select fewer columns or a shorter time, or raise the limit ({message})",
        limit.map(|limit| format!(", {limit}")).unwrap_or_default()
    )]
    Memory {
        /// Who wanted how much.
        message: String,
        /// The limit; `None` of queries of the process itself.
        limit: Option<Limit<usize>>,
    },
    /// It took too long.
    #[error(
        "the query was ended because it took too long, {limit}: select fewer columns or a shorter time, or raise the limit"
    )]
    Timeout {
        /// The limit.
        limit: Limit<Duration>,
    },
    /// Its result has too many rows.
    #[error(
        "the query was ended because its result has more rows, {limit}: add a LIMIT, or raise the limit"
    )]
    Rows {
        /// The limit.
        limit: Limit<u64>,
    },
    /// It was ended from outside.
    #[error("the query was cancelled: {why}")]
    Cancelled {
        /// By whom.
        why: &'static str,
    },
    /// Too many wait already.
    #[error("{waiting} queries wait for their turn already (sql.waiting_max): try again later")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// It broke the engine: our fault.
    #[error("the query failed inside the engine: {message}")]
    Broken {
        /// What went wrong.
        message: String,
    },
    /// It failed while it ran.
    #[error("the query failed: {message}")]
    Execution {
        /// What went wrong.
        message: String,
    },
    /// The processes that were to run it could not.
    #[error("the query failed among the executors: {message}")]
    Cluster {
        /// Who, and what to do.
        message: String,
    },
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Write(#[source] std::io::Error),
}

impl SqlError {
    /// For programs: what kind of failure it is. It does not change between versions.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Memory { .. } | Self::Timeout { .. } | Self::Rows { .. } => "limit",
            Self::Cancelled { .. } => "cancelled",
            Self::Busy { .. } => "busy",
            Self::Cluster { .. } => "unavailable",
            Self::Broken { .. } | Self::Write(_) => "internal",
            Self::Syntax { .. }
            | Self::Plan { .. }
            | Self::ReadOnly { .. }
            | Self::Request { .. }
            | Self::Execution { .. } => "bad_request",
        }
    }

    /// The same with the file that is to blame, if it failed while it ran and one is damaged that the
    /// query may have read. It looks for it for a while.
    pub(crate) async fn named(self, histories: &Histories) -> Self {
        let Self::Execution { message } = self else {
            return self;
        };
        let found = tokio::time::timeout(LOOK_MAX, first_damaged(histories, &message)).await;
        let message = match found {
            Ok(Some(file)) => format!(
                "{} of table {} {}; `tapewatch history check` says what is affected ({message})",
                file.path, file.table, file.damage
            ),
            _ => message,
        };
        Self::Execution { message }
    }

    /// The same of a query with these limits.
    pub(crate) fn within(self, limits: &Limits) -> Self {
        match self {
            Self::Memory { message, .. } => Self::Memory {
                message,
                limit: Some(limits.memory),
            },
            other => other,
        }
    }

    /// What DataFusion says about `query`.
    pub(crate) fn of(error: DataFusionError, query: &str) -> Self {
        let diagnostic = error.diagnostic().cloned();
        let message = first_line(&error.find_root().strip_backtrace());
        match error.find_root() {
            DataFusionError::SQL(error, _) => syntax(error, query),
            DataFusionError::ResourcesExhausted(message) => Self::Memory {
                message: first_line(message),
                limit: None,
            },
            DataFusionError::Plan(_) | DataFusionError::NotImplemented(_) => {
                planned(message, diagnostic.as_ref(), query)
            }
            DataFusionError::SchemaError(error, _) => {
                let message = unknown_column(error).unwrap_or(message);
                planned(message, diagnostic.as_ref(), query)
            }
            // The engine calls arguments that do not fit its own mistake.
            DataFusionError::Internal(_) if message.contains("' failed to match any signature") => {
                let message = message.strip_prefix("Internal error: ").unwrap_or(&message);
                planned(message.to_owned(), diagnostic.as_ref(), query)
            }
            _ if diagnostic.is_some() => planned(message, diagnostic.as_ref(), query),
            _ => Self::Execution {
                message: failed(message),
            },
        }
    }
}

/// What a value did not allow, without the layers through which it came.
pub(crate) fn failed(message: String) -> String {
    if let Some((_, why)) = message.split_once("Regular expression did not compile: ") {
        return format!("a regular expression is wrong or too large: {why}");
    }
    let known = [
        "Divide by zero error",
        "Arithmetic overflow",
        "Cannot cast string",
    ];
    let at = known.iter().find_map(|known| message.find(known));
    let Some(why) = at.and_then(|at| message.get(at..)) else {
        return message;
    };
    // A library's own form of it ends in a quote.
    match why.split_once("\")") {
        Some((why, _)) => why.to_owned(),
        None => why.to_owned(),
    }
}

fn syntax(error: &ParserError, query: &str) -> SqlError {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
        ParserError::RecursionLimitExceeded => "the query is nested too deeply".to_owned(),
    };
    let (message, place) = match message.rsplit_once(" at Line: ") {
        Some((message, numbers)) => {
            let place = numbers.split_once(", Column: ").and_then(|(line, column)| {
                place_of(
                    query,
                    line.trim().parse().ok()?,
                    column.trim().parse().ok()?,
                )
            });
            (message.to_owned(), place)
        }
        // At the end of the query there is no token to name.
        None if message.ends_with("found: EOF") => (message, end_of(query)),
        None => (message, None),
    };
    SqlError::Syntax { message, place }
}

fn planned(message: String, diagnostic: Option<&Diagnostic>, query: &str) -> SqlError {
    let same_name = [
        "duplicate unqualified field name",
        "unique expression names",
    ];
    let message = if message.contains("Placeholder(") {
        "the arguments of a table function are values: write them out, no parameter is taken there"
            .to_owned()
    } else if same_name.iter().any(|part| message.contains(part)) {
        format!(
            "two columns have one name: give one of them another with AS; two that differ only by a cast need it in a \
             query within the query ({message})"
        )
    } else {
        unknown_name(&message).unwrap_or(message)
    };
    let mut found = None;
    if let Some(diagnostic) = diagnostic {
        let start = diagnostic.span.map(|span| span.start);
        found = start.and_then(|start| place_of(query, start.line, start.column));
    }
    SqlError::Plan {
        message,
        place: found,
    }
}

/// A place in the query.
pub(super) fn place_of(query: &str, line: u64, column: u64) -> Option<Place> {
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    let text = query.lines().nth(index)?;
    let caret = usize::try_from(column).ok()?.checked_sub(1)?;
    let skipped = caret.saturating_sub(AROUND);
    let mut shown: String = text.chars().skip(skipped).take(2 * AROUND).collect();
    let mut at = caret - skipped;
    if skipped > 0 {
        shown.insert(0, '…');
        at += 1;
    }
    if text.chars().nth(skipped + 2 * AROUND).is_some() {
        shown.push('…');
    }
    Some(Place {
        line,
        column,
        text: shown,
        caret: at,
    })
}

fn end_of(query: &str) -> Option<Place> {
    let query = query.trim_end();
    let line = query.lines().count() as u64;
    let column = query.lines().last()?.chars().count() as u64 + 1;
    place_of(query, line, column)
}

/// The first line of a message: the rest is for the library's authors.
pub(crate) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("Error during planning: ").unwrap_or(line);
    let line = line.trim_end_matches('.');
    match line.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

/// ` at line 1, column 8: …`, the line and a caret under the place; or only the message.
fn located(message: &str, place: Option<&Place>) -> String {
    let Some(place) = place else {
        return format!(": {message}");
    };
    format!(" at {place}: {message}\n{}", place.shown())
}

impl Place {
    /// The line, indented, and a caret under the place.
    fn shown(&self) -> String {
        // A tab stays a tab, so that the caret stands where the eye looks.
        let indent: String = self
            .text
            .chars()
            .chain(std::iter::repeat(' '))
            .take(self.caret)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!("  {}\n  {indent}^", self.text)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}
