//! Limits that say which key of the configuration, or of the request, they come from.
//!
//! Invariant: a request may lower a limit, never raise it.

use std::fmt;
use std::time::Duration;

use crate::sql::SqlError;

/// A limit of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<T> {
    pub(crate) value: T,
    key: &'static str,
    asked: bool,
}

impl<T: Copy + PartialOrd> Limit<T>
where
    Self: fmt::Display,
{
    /// As a key of the configuration says.
    pub(crate) fn of(value: T, key: &'static str) -> Self {
        let asked = false;
        Self { value, key, asked }
    }

    /// As a request says under a key of its own.
    pub(crate) fn asked(value: T, key: &'static str) -> Self {
        let asked = true;
        Self { value, key, asked }
    }

    /// This one, or what a request asks for instead.
    pub(crate) fn lowered(self, asked: Option<T>, key: &'static str) -> Result<Self, SqlError> {
        let Some(value) = asked else { return Ok(self) };
        let asked = Self::asked(value, key);
        match value > self.value {
            false => Ok(asked),
            true => Err(SqlError::Request {
                message: format!("{asked}, but {self}: a request may only ask for less"),
            }),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, value: fmt::Arguments<'_>) -> fmt::Result {
        let whose = if self.asked { " of the request" } else { "" };
        write!(f, "{}{whose} is {value}", self.key)
    }
}

impl fmt::Display for Limit<usize> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, format_args!("{} bytes", self.value))
    }
}

impl fmt::Display for Limit<u64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, format_args!("{}", self.value))
    }
}

impl fmt::Display for Limit<Duration> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, format_args!("{} s", self.value.as_secs_f64()))
    }
}
