//! The command line of `tapewatch import` and `tapewatch export`.
//!
//! Invariant: an import takes what a feed takes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::UrlArgs;
use super::feed::{FeedArgs, bucket_rows};

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Publishes the orders in the log of a kdb+ tickerplant
    #[command(after_help = "Examples:\n  tapewatch import kdb-log sym2021.08.19\n  \
        tapewatch import kdb-log sym2021.08.19 --speed 10x --strict\n\n\
        Of a log that is torn or damaged everything before that is published; the error says how many messages \
        and bytes are good.")]
    KdbLog(FeedArgs),
    /// Publishes the orders in a database of kdb+ on disk: a folder a day
    #[command(after_help = "Example:\n  tapewatch import kdb-hdb hdb")]
    KdbHdb(FeedArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// Writes orders and alerts as the log of a kdb+ tickerplant, which q replays
    #[command(after_help = "Examples:\n  tapewatch export kdb-log orders.log\n  \
        tapewatch export kdb-log orders.log --data tapewatch-data --table order\n  \
        tapewatch export kdb-log alerts.log --table orderAlerts --rows-per-bucket 2")]
    KdbLog(ExportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file that is written
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) url: UrlArgs,
    /// Read these files instead of asking a running process
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Orders of a message; their alerts follow in one of their own
    #[arg(long, value_name = "N", default_value = "8192", value_parser = bucket_rows)]
    pub(crate) rows_per_bucket: NonZeroUsize,
    /// Tables that are written; several parted by commas
    #[arg(
        long,
        value_name = "TABLE",
        value_enum,
        value_delimiter = ',',
        default_value = "order,orderAlerts"
    )]
    pub(crate) table: Vec<ExportTable>,
}

/// A table of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportTable {
    #[value(name = "order")]
    Order,
    #[value(name = "orderAlerts")]
    OrderAlerts,
}
