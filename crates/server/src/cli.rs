//! The command line.
//!
//! Invariant: what a flag says goes over environment, file and defaults; every command has examples.

mod feed;
mod history;
mod kdb;
mod measure;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use tapewatch_detect::DetectConfig;
use tapewatch_model::{Date, Price, Time};
use tapewatch_store::Format;

use crate::config::{LogFormat, Overrides};
use crate::failure::Failure;
use crate::roles::Role;
use crate::{guests, rules, thresholds};
use feed::bucket_rows;
pub(crate) use feed::{FeedArgs, FeedCommand};
pub(crate) use history::{HistoryArgs, HistoryCommand};
pub(crate) use kdb::{ExportArgs, ExportCommand, ExportTable, ImportCommand};
pub(crate) use measure::{
    LatencyArgs, LiveArgs, MeasureArgs, MeasureCommand, SqlMeasureArgs, WireArgs, WirePart,
    WirePartArgs,
};

/// Where a running process is looked for unless `--url` says.
const DEFAULT_URL: &str = "http://127.0.0.1:9090";

/// Order surveillance: from orders to explained alerts, live and over history.
#[derive(Debug, Parser)]
#[command(name = "tapewatch", version, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 a row was refused under --strict, 2 wrong usage or configuration, \
    3 it failed while running, 130 it was stopped by a signal."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs journal, engine, tables, API and web page: all in one process, or the roles that are named
    #[command(
        after_help = "Examples:\n  tapewatch up\n  tapewatch up --data /var/lib/tapewatch --fsync always\n  \
        tapewatch up --set spoofing.lookback=10s --log-format json\n  \
        tapewatch up --config tapewatch.toml --role recent,history"
    )]
    Up(UpArgs),
    /// Publishes a file of orders to a running process
    #[command(subcommand)]
    Feed(FeedCommand),
    /// Publishes what kdb+ wrote to a running process
    #[command(subcommand)]
    Import(ImportCommand),
    /// Writes files for other systems
    #[command(subcommand)]
    Export(ExportCommand),
    /// Runs the detectors over a file, or over what is stored; hits on standard output
    #[command(
        override_usage = "tapewatch replay [OPTIONS] <FILE>\n       \
        tapewatch replay [OPTIONS] [--data <DIR>] --from <TIME> [--to <TIME>]\n       \
        tapewatch replay [OPTIONS] [--data <DIR>] --to <TIME>",
        after_help = "Examples:\n  tapewatch replay orders.csv\n  tapewatch replay orders.parquet --threads 2 --format csv\n  \
        tapewatch replay --from 2024-01-05 --to 2024-01-06 --set spoofing.cancel_count=5"
    )]
    Replay(ReplayArgs),
    /// Runs the detectors with one or many sets of parameters over what is stored
    #[command(
        after_help = "Examples:\n  tapewatch backtest --from 2024-01-05 --to 2024-01-06\n  \
        tapewatch backtest --set spoofing.cancel_quantity=2000..8000:1000 --set spoofing.cancel_count=3,5,9 --out grid\n  \
        tapewatch backtest --set spoofing.lookback=10s..60s:10s --sym AAPL --format csv\n\n\
        The table on standard output has a row a set; --out keeps it and the alerts of each set. Stopped, it \
        goes on with --out where it was."
    )]
    Backtest(BacktestArgs),
    /// Writes a simulated trading session with labelled abuse
    #[command(after_help = "Examples:\n  tapewatch simulate --seed 7\n  \
        tapewatch simulate --seed 7 --abuse spoofing=5,layering=3,near:all=1 --instruments 2 --hours 1 --out parquet\n  \
        tapewatch simulate --seed 7 --abuse all=2,intensity=high --out journal --dir day && tapewatch up --data day\n\n\
        Files in --dir: orders.csv, orders.parquet or journal/; labels.csv, the truth; reference.json, the tables \
        for --reference. The same arguments give the same bytes.")]
    Simulate(SimulateArgs),
    /// Asks SQL of today and the history
    #[command(
        after_help = "Examples:\n  tapewatch sql \"select * from orderAlerts\"\n  \
        tapewatch sql --format csv \"select sym, count(*) from hits group by sym\"\n  \
        tapewatch sql --data tapewatch-data \"select count(*) from orders\"\n  \
        tapewatch sql --file orders.csv \"select trader, count(*) from alerts group by trader\"\n\n\
        Tables: orders, executions, quotes, hits, alerts, traders, dead_letters; the reference system's: \"order\", orderAlerts."
    )]
    Sql(SqlArgs),
    /// Shows the queries that a running process runs, or ends one
    #[command(after_help = "Examples:\n  tapewatch queries\n  tapewatch queries --cancel 4f2a-17")]
    Queries(QueriesArgs),
    /// Moves today's rows of a running process to the history now
    #[command(after_help = "Example:\n  tapewatch eod")]
    Eod(UrlArgs),
    /// Looks after the history: versions, checksums, small and old files
    #[command(subcommand)]
    History(HistoryCommand),
    /// Shows the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Checks, lists and tests rules that users write
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Measures this machine
    #[command(subcommand, hide = true)]
    Measure(MeasureCommand),
    /// Prints a reference page, as found in docs/reference
    #[command(hide = true)]
    Reference(ReferenceArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints the configuration in force, as a file would say it; secrets are hidden
    #[command(
        after_help = "Examples:\n  tapewatch config show\n  TAPEWATCH_JOURNAL__FSYNC=always tapewatch config show"
    )]
    Show(Box<UpArgs>),
    /// Prints a line for the file that kdb.users names; the password is read from standard input
    #[command(after_help = "Example:\n  tapewatch config kdb-user feed < password >> kdb-users")]
    KdbUser {
        /// Name of the user
        name: String,
    },
    /// Prints a line for the file that postgres.users names; the password is read from standard input
    #[command(
        after_help = "Example:\n  tapewatch config postgres-user grafana < password >> postgres-users"
    )]
    PostgresUser {
        /// Name of the user
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Says what is wrong with rules, with file, line and column
    #[command(after_help = "Example:\n  tapewatch rules check rules")]
    Check {
        /// A file, or a folder of .toml files (default: rules.dir of the configuration)
        path: Option<PathBuf>,
    },
    /// Lists rules: name, version, what they look at, parameters, measures, what they keep
    List {
        /// A file, or a folder of .toml files (default: rules.dir of the configuration)
        path: Option<PathBuf>,
    },
    /// Plays the tapes under tests/tapes/<rule>/ beside the rules: events in, exactly these hits out
    #[command(after_help = "Example:\n  tapewatch rules test rules")]
    Test {
        /// A file, or a folder of .toml files (default: rules.dir of the configuration)
        path: Option<PathBuf>,
    },
}

#[derive(Debug, Default, Args)]
pub(crate) struct UpArgs {
    /// Configuration file (default: tapewatch.toml here, when there is one)
    #[arg(long, value_name = "FILE", env = "TAPEWATCH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the journal and the history
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// What this process does of the whole; several parted by commas. Without it everything, on one
    /// address
    #[arg(long, value_name = "ROLE", value_enum, value_delimiter = ',')]
    pub(crate) role: Vec<Role>,
    /// Address and port of the web page and the API; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// When rows are forced to the disk: always, interval, interval:10ms or os
    #[arg(long, value_name = "POLICY")]
    pub(crate) fsync: Option<String>,
    /// A detector's parameter; may be repeated
    #[arg(long, value_name = "DETECTOR.PARAMETER=VALUE")]
    pub(crate) set: Vec<String>,
    /// Detectors that run beside those of the configuration, or `all`; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) detector: Vec<String>,
    /// Spoofing thresholds in the reference system's form
    #[arg(long, value_name = "CSV")]
    pub(crate) thresholds: Option<PathBuf>,
    /// Reference tables: classes of instruments, linked accounts, client groups, news
    #[arg(long, value_name = "JSON|TOML")]
    pub(crate) reference: Option<PathBuf>,
    /// Form of the log
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// error, warn, info, debug, trace, or a filter
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

impl UpArgs {
    /// What the flags say, by configuration key.
    pub(crate) fn overrides(&self) -> Overrides {
        let text = |value: &dyn ToString| Value::String(value.to_string());
        let mut overrides = Overrides::new();
        if let Some(data) = &self.data {
            overrides.push(("data", text(&data.display())));
        }
        if let Some(listen) = &self.listen {
            overrides.push(("listen", text(listen)));
        }
        if let Some(fsync) = &self.fsync {
            overrides.push(("journal.fsync", text(fsync)));
        }
        if let Some(thresholds) = &self.thresholds {
            overrides.push(("thresholds", text(&thresholds.display())));
        }
        if let Some(reference) = &self.reference {
            overrides.push(("reference", text(&reference.display())));
        }
        if let Some(format) = self.log_format {
            overrides.push((
                "log.format",
                serde_json::to_value(format).unwrap_or_default(),
            ));
        }
        if let Some(level) = &self.log_level {
            overrides.push(("log.level", text(level)));
        }
        overrides
    }
}

#[derive(Debug, Args)]
pub(crate) struct UrlArgs {
    /// The running process
    #[arg(long, value_name = "URL", env = "TAPEWATCH_URL", default_value = DEFAULT_URL)]
    pub(crate) url: String,
}

#[derive(Debug, Args)]
pub(crate) struct QueriesArgs {
    #[command(flatten)]
    pub(crate) url: UrlArgs,
    /// Ends the query with this id
    #[arg(long, value_name = "ID")]
    pub(crate) cancel: Option<String>,
}

/// What is simulated.
#[derive(Debug, Args)]
pub(crate) struct ScenarioArgs {
    /// Same seed, same session
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many instruments trade
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) instruments: u32,
    /// How long continuous trading is; call phases of five minutes come before and after
    #[arg(long, value_name = "HOURS", default_value = "6.5")]
    pub(crate) hours: Price,
    /// What is played on purpose, for each instrument: names of detectors, near:NAME for what only
    /// looks like it, all=N, near:all=N, intensity=low|medium|high
    #[arg(long, value_name = "NAME=COUNT,...", default_value = "")]
    pub(crate) abuse: String,
    /// News of each instrument
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) news: u32,
    /// How busy the market is, as a factor
    #[arg(long, value_name = "FACTOR", default_value = "1x")]
    pub(crate) rate: String,
    /// The day (default 2024-01-05)
    #[arg(long, value_name = "DATE", value_parser = |text: &str| Date::parse(text.as_bytes()))]
    pub(crate) date: Option<Date>,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    pub(crate) scenario: ScenarioArgs,
    /// Form of the orders
    #[arg(long, value_enum, default_value_t = SimulatedFormat::Csv)]
    pub(crate) out: SimulatedFormat,
    /// Directory that is made (default simulation-SEED)
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Forms of simulated orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SimulatedFormat {
    Csv,
    Parquet,
    Journal,
}

/// Which part of what is stored.
#[derive(Debug, Args)]
pub(crate) struct StoredArgs {
    /// First event time, as 2024-01-05 or 2024-01-05T08:00:00
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) from: Option<Time>,
    /// End of the event times, itself not included
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) to: Option<Time>,
    /// Directory of the journal and the history
    #[arg(long, value_name = "DIR", default_value = "tapewatch-data")]
    pub(crate) data: PathBuf,
}

impl StoredArgs {
    /// The first time and the one behind the last.
    pub(crate) fn times(&self) -> Result<(Time, Time), Failure> {
        let (from, to) = (self.from.unwrap_or(Time::MIN), self.to.unwrap_or(Time::MAX));
        if from >= to {
            return Err(Failure::usage(format!(
                "--from {from} is not before --to {to}"
            )));
        }
        Ok((from, to))
    }
}

/// The detectors, single parameters aside.
#[derive(Debug, Args)]
pub(crate) struct DetectArgs {
    /// Only this detector or rule, or `all` detectors; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) detector: Vec<String>,
    /// A detector of your own, a WebAssembly component; may be repeated
    #[arg(long, value_name = "WASM")]
    pub(crate) guest: Vec<PathBuf>,
    /// Spoofing thresholds in the reference system's form
    #[arg(long, value_name = "CSV")]
    pub(crate) thresholds: Option<PathBuf>,
    /// Reference tables: classes of instruments, linked accounts, client groups, news
    #[arg(long, value_name = "JSON|TOML")]
    pub(crate) reference: Option<PathBuf>,
    /// Rules to run beside the detectors: a file, or a folder of .toml files
    #[arg(long, value_name = "PATH")]
    pub(crate) rules: Option<PathBuf>,
}

impl DetectArgs {
    /// The configuration that they name.
    pub(crate) fn config(&self) -> Result<DetectConfig, Failure> {
        let mut config = DetectConfig::default();
        for file in &self.guest {
            config = guests::with_file(&config, file)?;
        }
        if let Some(path) = &self.rules {
            config = config.with_rules(rules::load(path)?);
        }
        if self.detector == ["all"] {
            config.all().map_err(Failure::usage)?;
        } else if !self.detector.is_empty() {
            config
                .only(&self.detector)
                .map_err(|error| Failure::usage(format!("--detector: {error}")))?;
        }
        if let Some(file) = &self.reference {
            config = thresholds::with_tables(config, file)?;
        }
        match &self.thresholds {
            Some(file) => thresholds::with_file(config, file),
            None => Ok(config),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A file of orders: .csv, .parquet, .dbn, .dbn.zst or a LOBSTER *_message_*.csv; without it, what is stored in --data
    #[arg(required_unless_present_any = ["from", "to"], conflicts_with_all = ["from", "to", "data"])]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) stored: StoredArgs,
    /// Form of the hits
    #[arg(long, value_enum, default_value_t = ReplayFormat::Jsonl)]
    pub(crate) format: ReplayFormat,
    /// Threads; 1 does everything on one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
    #[command(flatten)]
    pub(crate) detect: DetectArgs,
    /// A detector's parameter; may be repeated
    #[arg(long, value_name = "DETECTOR.PARAMETER=VALUE")]
    pub(crate) set: Vec<String>,
    /// Rows of a bucket, for the modes that are defined over buckets
    #[arg(long, value_name = "N", default_value = "8192", value_parser = bucket_rows)]
    pub(crate) rows_per_bucket: NonZeroUsize,
    /// Stop at the first refused row with exit code 1; every row is checked
    #[arg(long)]
    pub(crate) strict: bool,
    /// Check also the rows of events that no enabled detector looks at
    #[arg(long)]
    pub(crate) check_all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BacktestArgs {
    #[command(flatten)]
    pub(crate) stored: StoredArgs,
    /// Only this instrument; may be repeated
    #[arg(long, value_name = "SYM")]
    pub(crate) sym: Vec<String>,
    #[command(flatten)]
    pub(crate) detect: DetectArgs,
    /// Values of a detector's parameter: 4000, 3,5,9 or 2000..8000:1000; may be repeated, all
    /// combinations are tried
    #[arg(long, value_name = "DETECTOR.PARAMETER=VALUES")]
    pub(crate) set: Vec<String>,
    /// Directory for the table and the alerts of each set
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Form of the table
    #[arg(long, value_enum, default_value_t = ReplayFormat::Table)]
    pub(crate) format: ReplayFormat,
    /// Threads; 0 takes one a core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) threads: u32,
}

fn parse_time(text: &str) -> Result<Time, String> {
    Time::parse(text.as_bytes()).map_err(|error| error.to_string())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReplayFormat {
    /// One JSON object a line
    Jsonl,
    /// Comma-separated, with a header
    Csv,
    /// For reading
    Table,
}

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query; `-` reads it from standard input
    pub(crate) query: String,
    /// Read this file of orders into memory and find its hits first, instead of asking a process
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) file: Option<PathBuf>,
    /// With --file: a detector that runs beside the usual ones, or `all`; may be repeated
    #[arg(long, value_name = "NAME", requires = "file", conflicts_with = "data")]
    pub(crate) detector: Vec<String>,
    /// With --file: reference tables
    #[arg(
        long,
        value_name = "JSON|TOML",
        requires = "file",
        conflicts_with = "data"
    )]
    pub(crate) reference: Option<PathBuf>,
    /// With --file: a detector's parameter; may be repeated
    #[arg(
        long,
        value_name = "DETECTOR.PARAMETER=VALUE",
        requires = "file",
        conflicts_with = "data"
    )]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) url: UrlArgs,
    /// Read these files instead of asking a running process
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// table, csv, json, jsonl, arrow or parquet
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ReferenceArgs {
    #[arg(value_enum)]
    pub(crate) page: ReferencePage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReferencePage {
    Configuration,
    Detectors,
    Metrics,
    Cli,
    Openapi,
}
