//! The arguments of `tapewatch measure`, which `cargo xtask bench` runs.
//!
//! Invariant: nothing here is part of what users are promised.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum MeasureCommand {
    /// Rows of a file, day after day, through feed, journal, engine and tables
    Live(LiveArgs),
    /// From an event to its alert, one event at a time
    Latency(LatencyArgs),
    /// From a publisher through the role `journal` to a subscriber, three processes
    Wire(WireArgs),
    /// One of these processes
    WirePart(WirePartArgs),
    /// Queries over a file's orders in recent, then in history, as standard input asks for them
    Sql(SqlMeasureArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SqlMeasureArgs {
    #[command(flatten)]
    pub(crate) common: MeasureArgs,
    /// CSV or Parquet file of one day
    #[arg(long)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct WireArgs {
    #[command(flatten)]
    pub(crate) common: MeasureArgs,
    /// Rows a message
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) rows: u64,
    /// Subscribers of everything
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) subscribers: u64,
    /// Single events a second, from publisher to hit: measures how long each takes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// With --rate: the engine in a process of its own
    #[arg(long, requires = "rate")]
    pub(crate) engine_apart: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WirePartArgs {
    #[arg(value_enum)]
    pub(crate) part: WirePart,
    #[arg(long)]
    pub(crate) to: String,
    #[arg(long)]
    pub(crate) rows: u64,
    /// Messages a second; 0: as many as go
    #[arg(long)]
    pub(crate) rate: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WirePart {
    Relay,
    BarePublisher,
    Publisher,
}

#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) seconds: u64,
    /// When rows are forced to the disk
    #[arg(long, value_name = "POLICY")]
    pub(crate) fsync: Option<String>,
    /// Where the new directory is made (default: the system's temporary directory)
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LiveArgs {
    #[command(flatten)]
    pub(crate) common: MeasureArgs,
    /// CSV or Parquet file of one day
    #[arg(long)]
    pub(crate) file: PathBuf,
    /// Rows a second
    #[arg(long, value_name = "N", default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: u64,
}

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    pub(crate) common: MeasureArgs,
    /// Events a second
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: u64,
    /// Queries a second that a dashboard asks meanwhile
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) queries: u64,
}
