//! How a command ends when it does not succeed: a message and an exit code.
//!
//! Invariant: the codes are a promise, documented in `docs/use/commands.md`: 0 done, 1 a row was
//! refused under `--strict`, 2 wrong usage or configuration, 3 it failed while running, 130 a signal
//! stopped it.

use std::fmt;

/// A command's end other than success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// A row was refused and the user asked to stop then.
    pub(crate) fn strict(message: impl fmt::Display) -> Self {
        Self {
            code: 1,
            message: message.to_string(),
        }
    }

    /// Wrong usage or configuration.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            code: 2,
            message: message.to_string(),
        }
    }

    /// It failed while running.
    pub(crate) fn run(message: impl fmt::Display) -> Self {
        Self {
            code: 3,
            message: message.to_string(),
        }
    }

    /// A signal stopped it; `done` says what is done.
    pub(crate) fn stopped(done: impl fmt::Display) -> Self {
        Self {
            code: 130,
            message: format!("stopped by a signal; {done}"),
        }
    }

    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
