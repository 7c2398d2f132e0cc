//! The binary `tapewatch`: wiring of journal, engine, store and feeds; no rule logic.
//!
//! ```text
//! main ─ cli ─┬─ up ─── recovery, pipeline (one thread: journal → fold → tables), api, jobs
//!             ├─ feed ── a file to a running process
//!             ├─ kdb ─── kdb+ clients; import and export of its files
//!             ├─ replay ─ the engine over a file or over what is stored
//!             ├─ backtest many sets of parameters over what is stored
//!             ├─ rules ── users' rules: checked, listed, tested
//!             └─ query ── SQL and end of day
//! ```

mod alert_book;
mod api;
mod arrivals;
mod backtest;
mod checkpoint;
mod cli;
mod clock;
mod cluster;
mod config;
mod dial;
mod failure;
#[cfg(debug_assertions)]
mod faults;
mod feed;
mod flight;
mod fold;
mod follower;
mod gateway;
mod guests;
mod history;
mod hit_writer;
mod hits_log;
mod in_force;
mod jobs;
mod kdb;
mod logging;
mod measure;
mod metrics;
mod pages;
mod peers;
mod pipeline;
mod port;
mod postgres;
mod progress;
mod queries;
mod query;
mod recovery;
mod reference;
mod replay;
mod roles;
mod rules;
#[cfg(test)]
mod schedules;
mod shards;
mod shared;
mod simulate;
mod source;
mod starting;
mod subscription;
mod thresholds;
mod tls;
mod up;
mod users;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, ConfigCommand, ExportCommand};
use crate::failure::Failure;

/// A message is some small allocations, made on one thread and let go on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tapewatch: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    // Those that serve, and what measures them.
    if matches!(command, Command::Up(_) | Command::Measure(_)) {
        pages::ask_for_small_ones();
    }
    match command {
        Command::Up(args) => up::block_on(up::run(&args)),
        Command::Feed(command) => up::block_on(feed::run(&command)),
        Command::Import(command) => up::block_on(kdb::import::run(&command)),
        Command::Export(ExportCommand::KdbLog(args)) => up::block_on(kdb::export::run(&args)),
        Command::Replay(args) => replay::run(&args),
        Command::Backtest(args) => backtest::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Sql(args) => up::block_on(query::sql(&args)),
        Command::Queries(args) => up::block_on(queries::run(&args)),
        Command::Eod(args) => up::block_on(query::end_of_day(&args)),
        Command::History(command) => up::block_on(history::run(&command)),
        Command::Config(ConfigCommand::Show(args)) => {
            let mut config = config::Config::load(args.config.as_ref(), args.overrides())?;
            config.set_detectors(&args.detector, &args.set)?;
            print(&config.show()?)
        }
        Command::Config(ConfigCommand::KdbUser { name } | ConfigCommand::PostgresUser { name }) => {
            print(&users::read_line(&name)?)
        }
        Command::Rules(command) => print(&rules::run(&command)?),
        Command::Measure(command) => measure::run(&command),
        Command::Reference(args) => print(&reference::page(args.page)?),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::run)
}
