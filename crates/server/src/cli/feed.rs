//! The command line of `tapewatch feed`.
//!
//! Invariant: each format is a command of its own, with examples; what they have in common is
//! [`FeedArgs`].

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tapewatch_connect::pace::BUCKET_ROWS_MAX;
use tapewatch_connect::{LobsterOptions, Speed};
use tapewatch_model::{Date, Time, TimeSpan};

use super::UrlArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum FeedCommand {
    /// Publishes a CSV file; columns are found by name
    #[command(after_help = "Examples:\n  tapewatch feed csv orders.csv\n  \
        tapewatch feed csv orders.csv --rows-per-bucket 2 --interval 1s\n  tapewatch feed csv orders.csv --speed 10x --strict")]
    Csv(FeedArgs),
    /// Publishes a Parquet file; columns are found by name
    #[command(after_help = "Example:\n  tapewatch feed parquet orders.parquet --speed 60x")]
    Parquet(FeedArgs),
    /// Publishes a Databento market-by-order file, plain or packed with Zstandard
    #[command(
        after_help = "Examples:\n  tapewatch feed dbn glbx-mdp3-20231225.mbo.dbn.zst\n  \
        tapewatch feed dbn day.dbn --speed 10x"
    )]
    Dbn(FeedArgs),
    /// Publishes a LOBSTER message file
    #[command(
        after_help = "Examples:\n  tapewatch feed lobster AAPL_2012-06-21_34200000_57600000_message_10.csv\n  \
        tapewatch feed lobster messages.csv --sym AAPL --date 2012-06-21 --utc-offset -04:00"
    )]
    Lobster(LobsterArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FeedArgs {
    /// The file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) url: UrlArgs,
    /// Rows that are published together
    #[arg(long, value_name = "N", default_value = "8192", value_parser = bucket_rows)]
    pub(crate) rows_per_bucket: NonZeroUsize,
    /// One bucket every so often, as 1s or 250ms
    #[arg(long, value_name = "SPAN", value_parser = TimeSpan::parse, conflicts_with = "speed")]
    pub(crate) interval: Option<TimeSpan>,
    /// Follow the events' own times, as 1x, 10x or 0.5x
    #[arg(long, value_name = "FACTOR", conflicts_with = "rows_per_bucket")]
    pub(crate) speed: Option<Speed>,
    /// Check the whole file first; stop at the first refused row with exit code 1, publishing nothing
    #[arg(long)]
    pub(crate) strict: bool,
    /// Empty the detectors' windows first
    #[arg(long)]
    pub(crate) clear: bool,
    /// How long to keep trying when the process is away or its disk is full
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = TimeSpan::parse)]
    pub(crate) retry: TimeSpan,
}

#[derive(Debug, Args)]
pub(crate) struct LobsterArgs {
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    /// Instrument (default: what the file's name begins with)
    #[arg(long, value_name = "SYM")]
    pub(crate) sym: Option<String>,
    /// Day of the messages, as 2012-06-21 (default: the one in the file's name)
    #[arg(long, value_name = "DATE", value_parser = |text: &str| Date::parse(text.as_bytes()))]
    pub(crate) date: Option<Date>,
    /// How far the exchange's clock was from UTC, as -04:00 (default: New York's on that day)
    #[arg(long, value_name = "OFFSET", value_parser = parse_utc_offset, allow_hyphen_values = true)]
    pub(crate) utc_offset: Option<TimeSpan>,
}

impl LobsterArgs {
    /// What the messages do not say themselves.
    pub(crate) fn options(&self) -> LobsterOptions {
        LobsterOptions {
            sym: self.sym.clone(),
            date: self.date,
            utc_offset: self.utc_offset,
        }
    }
}

/// Reads `-04:00`: the time that is midnight there is as far from midnight UTC, the other way.
fn parse_utc_offset(text: &str) -> Result<TimeSpan, String> {
    let midnight = Time::parse(format!("1970-01-01T00:00{text}").as_bytes())
        .map_err(|_| "an offset is written as -04:00, +02:00 or Z".to_owned())?;
    Ok(TimeSpan::from_nanos(-midnight.nanos()))
}

pub(super) fn bucket_rows(text: &str) -> Result<NonZeroUsize, String> {
    let rows = text
        .parse::<NonZeroUsize>()
        .ok()
        .filter(|rows| rows.get() <= BUCKET_ROWS_MAX);
    rows.ok_or_else(|| format!("a bucket has 1 to {BUCKET_ROWS_MAX} rows"))
}
