//! Why a query failed, for the person who wrote it.
//!
//! Invariant: where the place in the query is known, the message shows its line with a caret under
//! it; no message is a debug print of a library.

use std::fmt;
use std::time::Duration;

use datafusion::common::diagnostic::Diagnostic;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;

/// A place in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u64,
    /// Column, in characters, from 1.
    pub column: u64,
    /// The text of the line.
    pub text: String,
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
    /// The memory for queries is used up.
    #[error(
        "the query needs more memory than queries may take together: {message}; select fewer columns or a shorter time, or raise the limit"
    )]
    Memory {
        /// Who wanted how much.
        message: String,
    },
    /// It took too long.
    #[error(
        "the query was ended after {} s: select fewer columns or a shorter time, or raise the limit",
        limit.as_secs_f64()
    )]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// It failed while it ran.
    #[error("the query failed: {message}")]
    Execution {
        /// What went wrong.
        message: String,
    },
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Write(#[source] std::io::Error),
}

impl SqlError {
    /// What DataFusion says about `query`.
    pub(crate) fn of(error: DataFusionError, query: &str) -> Self {
        let diagnostic = error.diagnostic().cloned();
        let message = first_line(&error.find_root().strip_backtrace());
        match error.find_root() {
            DataFusionError::SQL(error, _) => syntax(error, query),
            DataFusionError::ResourcesExhausted(message) => Self::Memory {
                message: first_line(message),
            },
            DataFusionError::Plan(_) | DataFusionError::NotImplemented(_) => {
                planned(message, diagnostic.as_ref(), query)
            }
            DataFusionError::SchemaError(error, _) => {
                let message = schema_message(error).unwrap_or(message);
                planned(message, diagnostic.as_ref(), query)
            }
            _ if diagnostic.is_some() => planned(message, diagnostic.as_ref(), query),
            _ => Self::Execution { message },
        }
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
                place(
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
    let mut message = message;
    let mut found = None;
    if let Some(diagnostic) = diagnostic {
        let start = diagnostic.span.map(|span| span.start);
        found = start.and_then(|start| place(query, start.line, start.column));
        let unknown_table = message.starts_with("table '") && message.ends_with("not found");
        if unknown_table {
            message = unknown_table_message(&message);
        }
    }
    SqlError::Plan {
        message,
        place: found,
    }
}

/// `table 'tapewatch.public.ordrs' not found` in the user's words.
fn unknown_table_message(message: &str) -> String {
    let name = message.split('\'').nth(1).unwrap_or_default();
    let name = name.rsplit('.').next().unwrap_or(name);
    let tables = super::tables::NAMES.map(str::to_owned);
    format!("there is no table {name}{}", suggestion(name, &tables))
}

fn schema_message(error: &SchemaError) -> Option<String> {
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = error
    else {
        return None;
    };
    let mut names: Vec<String> = valid_fields.iter().map(|c| c.name.clone()).collect();
    names.dedup();
    Some(format!(
        "there is no column {}{}",
        field.name,
        suggestion(&field.name, &names)
    ))
}

/// The nearest names, or all when none is near.
fn suggestion(name: &str, names: &[String]) -> String {
    let name = name.to_lowercase();
    let near: Vec<&str> = names
        .iter()
        .filter(|known| distance(&name, &known.to_lowercase()) <= 1 + name.chars().count() / 4)
        .map(String::as_str)
        .collect();
    if !near.is_empty() {
        return format!("; did you mean {}?", near.join(" or "));
    }
    if names.is_empty() {
        return String::new();
    }
    format!("; there are {}", names.join(", "))
}

/// Letters to insert, delete or replace (Levenshtein), underscores for nothing.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.chars().filter(|&c| c != '_').collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            *cell = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn place(query: &str, line: u64, column: u64) -> Option<Place> {
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    let text = query.lines().nth(index)?.to_owned();
    (column > 0).then_some(Place { line, column, text })
}

fn end_of(query: &str) -> Option<Place> {
    let query = query.trim_end();
    let line = query.lines().count() as u64;
    let column = query.lines().last()?.chars().count() as u64 + 1;
    place(query, line, column)
}

/// The first line of a message: the rest is for the library's authors.
pub(crate) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("Error during planning: ").unwrap_or(line);
    line.trim_end_matches('.').to_owned()
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
        let before = usize::try_from(self.column - 1).unwrap_or_default();
        // A tab stays a tab, so that the caret stands where the eye looks.
        let indent: String = self
            .text
            .chars()
            .chain(std::iter::repeat(' '))
            .take(before)
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
