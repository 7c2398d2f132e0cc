//! Why a command failed, and the exit code that says so.

use std::fmt;
use std::path::Path;

/// What every fallible function of this tool returns.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Why a command failed. The message names what was refused and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line was wrong: exit code 2.
    Usage(String),
    /// A step, a check or a program failed: exit code 1.
    Failed(String),
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// An operation on a file or directory that the system refused.
    pub(crate) fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::Failed(format!("cannot {doing} {}: {error}", path.display()))
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => write!(formatter, "{message}; see `cargo xtask help`"),
            Self::Failed(message) => formatter.write_str(message),
        }
    }
}
