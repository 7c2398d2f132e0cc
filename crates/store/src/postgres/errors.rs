//! Why something failed, as Postgres clients are told it: severity, code, message, hint, and where in
//! the statement.
//!
//! Invariant: a code is one of the standard's or of PostgreSQL's, so that drivers raise the right
//! exception; a position counts characters of the text that the client sent.

use pgwire::messages::response::ErrorResponse;

use super::command::Unsupported;
use super::frame::Broken;
use crate::sql::{Place, SqlError};

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The connection ends with it.
    pub(super) fatal: bool,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: &'static str,
    /// In characters, from 1.
    pub(super) position: Option<usize>,
}

impl Failure {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            fatal: false,
            code,
            message: message.into(),
            hint: "",
            position: None,
        }
    }

    pub(super) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            fatal: true,
            ..Self::new(code, message)
        }
    }

    /// Of a query that stands in `text` from that byte on.
    pub(super) fn of_sql(error: &SqlError, text: &str, from: Option<usize>) -> Self {
        let (message, place) = match error {
            SqlError::Syntax { message, place } | SqlError::Plan { message, place } => {
                (message.clone(), place.as_ref())
            }
            other => (other.to_string(), None),
        };
        let position = place
            .zip(from)
            .and_then(|(place, from)| position(text, from, place));
        Self {
            fatal: false,
            code: code(error),
            message,
            hint: hint(error),
            position,
        }
    }

    pub(super) fn response(&self) -> ErrorResponse {
        let severity = if self.fatal { "FATAL" } else { "ERROR" };
        let mut fields = vec![
            (b'S', severity.to_owned()),
            (b'V', severity.to_owned()),
            (b'C', self.code.to_owned()),
            // A text ends with the first zero.
            (b'M', self.message.replace('\0', "\u{fffd}")),
        ];
        if !self.hint.is_empty() {
            fields.push((b'H', self.hint.to_owned()));
        }
        fields.extend(self.position.map(|at| (b'P', at.to_string())));
        ErrorResponse::new(fields)
    }
}

impl From<Unsupported> for Failure {
    fn from(refused: Unsupported) -> Self {
        match refused.syntax {
            true => Self::new("42601", refused.what),
            false => Self {
                hint: refused.hint,
                ..Self::new("0A000", format!("{} is not supported", refused.what))
            },
        }
    }
}

impl Failure {
    /// `None` when nobody is there to be told.
    pub(super) fn of_bytes(broken: &Broken) -> Option<Self> {
        Some(match broken {
            Broken::Lost => return None,
            Broken::Malformed(what) => Self::fatal("08P01", what.clone()),
            Broken::NotUtf8 => Self::new("22021", "a text is not UTF-8"),
            Broken::TooLong(bytes) => Self::fatal(
                "54000",
                format!("a message has {bytes} bytes, more than are taken"),
            ),
        })
    }
}

/// Where a place of the query from that byte of `text` on is.
fn position(text: &str, from: usize, place: &Place) -> Option<usize> {
    let (before, query) = (text.get(..from)?, text.get(from..)?);
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let lines = query.split_inclusive('\n').take(line);
    let above: usize = lines.map(|line| line.chars().count()).sum();
    let column = usize::try_from(place.column).ok()?;
    Some(before.chars().count() + above + column)
}

fn code(error: &SqlError) -> &'static str {
    match error {
        SqlError::Syntax { .. } => "42601",
        SqlError::Plan { message, .. } => match message.as_str() {
            text if text.starts_with("there is no table function") => "42883",
            text if text.starts_with("there is no table") => "42P01",
            text if text.starts_with("there is no column") => "42703",
            text if text.starts_with("there is no function") => "42883",
            text if text.contains("failed to match any signature") => "42883",
            text => of_value(text).unwrap_or("42000"),
        },
        SqlError::ReadOnly { .. } => "25006",
        SqlError::Request { .. } => "22023",
        SqlError::Memory { .. } => "53200",
        SqlError::Timeout { .. } | SqlError::Cancelled { .. } => "57014",
        SqlError::Rows { .. } => "54000",
        SqlError::Busy { .. } => "53000",
        // cannot_connect_now: as of a server that waits for another.
        SqlError::Cluster { .. } => "57P03",
        SqlError::Broken { .. } => "XX000",
        SqlError::Execution { message } if message.contains("history check") => "XX001",
        SqlError::Execution { message } => of_value(message).unwrap_or("22000"),
        SqlError::Write(_) => "58030",
    }
}

/// What was wrong with a value.
fn of_value(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    [
        ("divide by zero", "22012"),
        ("division by zero", "22012"),
        ("overflow", "22003"),
        ("out of range", "22003"),
        ("error parsing timestamp", "22007"),
        ("error parsing date", "22007"),
        ("cannot cast string", "22P02"),
        ("there is no setting", "42704"),
    ]
    .into_iter()
    .find_map(|(part, code)| message.contains(part).then_some(code))
}

fn hint(error: &SqlError) -> &'static str {
    match error {
        SqlError::ReadOnly { .. } => {
            "Publish orders with `tapewatch feed`, over HTTP or with Arrow Flight."
        }
        SqlError::Busy { .. } | SqlError::Cluster { .. } => "Try again later.",
        _ => "",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_characters_of_the_whole_text() {
        let text = "select '\u{e9}'; select 1,\n  colour from orders";
        let from = text.find("select 1").unwrap();
        let place = Place {
            line: 2,
            column: 3,
            text: String::new(),
            caret: 0,
        };
        let error = SqlError::Plan {
            message: "there is no column colour".to_owned(),
            place: Some(place),
        };
        let failure = Failure::of_sql(&error, text, Some(from));
        let before: String = text.chars().take(failure.position.unwrap() - 1).collect();
        assert!(text.strip_prefix(&before).unwrap().starts_with("colour"));
        assert_eq!(failure.code, "42703");
        // Of a query that was made here nothing is shown.
        assert_eq!(Failure::of_sql(&error, text, None).position, None);
    }

    #[test]
    fn codes_are_of_what_went_wrong() {
        let of = |message: &str| {
            let message = message.to_owned();
            Failure::of_sql(&SqlError::Execution { message }, "", None).code
        };
        assert_eq!(of("Divide by zero error"), "22012");
        assert_eq!(of("Arithmetic overflow"), "22003");
        assert_eq!(of("something else"), "22000");
    }
}
