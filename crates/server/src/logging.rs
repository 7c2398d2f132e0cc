//! Logs on standard error, for people or as JSON, a line an event.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};
use crate::failure::Failure;

/// Starts logging; once a process.
pub(crate) fn start(config: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(directives(&config.level)).map_err(|error| {
        Failure::usage(format!(
            "configuration: log.level is {:?}: {error}",
            config.level
        ))
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Human => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::run(format!("logging did not start: {error}")))
}

/// Libraries speak up only about what matters, unless the level is a filter of the user's own.
fn directives(level: &str) -> String {
    if level.contains('=') {
        level.to_owned()
    } else {
        format!("warn,tapewatch={level},tapewatch_journal={level},tapewatch_store={level}")
    }
}
