//! The command line of `tapewatch history`.
//!
//! Invariant: each of its commands may run beside a process that writes the same history.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Lists the versions of each table that can be read
    #[command(after_help = "Example:\n  tapewatch history versions --data tapewatch-data")]
    Versions(HistoryArgs),
    /// Compares every data file with its checksum and says what a damaged one affects
    #[command(
        after_help = "Examples:\n  tapewatch history check\n  tapewatch history check --repair\n\n\
        Exit code 3 when a damaged file is left."
    )]
    Check {
        #[command(flatten)]
        history: HistoryArgs,
        /// Write damaged files anew from the journal, where it still has all of their rows
        #[arg(long)]
        repair: bool,
    },
    /// Writes small files of each day anew as few
    #[command(after_help = "Example:\n  tapewatch history compact")]
    Compact(HistoryArgs),
    /// Takes out days beyond history.keep_days, and deletes files that no version needs any more
    #[command(after_help = "Example:\n  tapewatch history vacuum")]
    Vacuum(HistoryArgs),
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Configuration file (default: tapewatch.toml here, when there is one)
    #[arg(long, value_name = "FILE", env = "TAPEWATCH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the journal and the history
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}
