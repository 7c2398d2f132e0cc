//! `tapewatch history`: looking after the history.
//!
//! Invariant: what changes the history does so by commits of its own, so that a process that writes it
//! at the same time loses nothing by it.

use std::fmt::Write as _;

use tapewatch_store::{DamagedFile, Store, UpkeepReport};

use crate::cli::{HistoryArgs, HistoryCommand};
use crate::config::Config;
use crate::failure::Failure;
use crate::recovery;

/// Runs a command; what it says goes to standard output.
pub(crate) async fn run(command: &HistoryCommand) -> Result<(), Failure> {
    match command {
        HistoryCommand::Versions(args) => {
            let (_, store) = open(args).await?;
            crate::print(&versions(&store).await?)
        }
        HistoryCommand::Check { history, repair } => check(history, *repair).await,
        HistoryCommand::Compact(args) => {
            let (_, store) = open(args).await?;
            let report = store.compact().await.map_err(Failure::run)?;
            crate::print(&said(&report))
        }
        HistoryCommand::Vacuum(args) => {
            let (_, store) = open(args).await?;
            let report = store.vacuum().await.map_err(Failure::run)?;
            crate::print(&said(&report))
        }
    }
}

async fn open(args: &HistoryArgs) -> Result<(Config, Store), Failure> {
    let data = args.data.as_ref();
    let data = data.map(|dir| ("data", dir.display().to_string().into()));
    let config = Config::load(args.config.as_ref(), data.into_iter().collect())?;
    let mut options = config.store_options();
    // Recent is the other process's, and so is what it has on disk.
    options.recent_memory_max = 0;
    recovery::check_dir(&config.data, &options)?;
    let store = Store::open(&config.data, options).await;
    Ok((config, store.map_err(Failure::run)?))
}

fn said(report: &UpkeepReport) -> String {
    format!(
        "{} small files became {}; {} rows of days beyond the retention are gone; {} files that no \
         version needs were deleted\n",
        report.compacted, report.into, report.removed_rows, report.deleted
    )
}

async fn versions(store: &Store) -> Result<String, Failure> {
    let mut text = String::new();
    let mut line = |cells: [&dyn std::fmt::Display; 8]| {
        let [
            table,
            version,
            time,
            operation,
            rows,
            added,
            removed,
            through,
        ] = cells;
        let written = writeln!(
            text,
            "{table:<12} {version:>8} {time:<31} {operation:<20} {rows:>12} {added:>7} {removed:>7} {through:>14}"
        );
        debug_assert!(written.is_ok(), "a text takes all");
    };
    line([
        &"table",
        &"version",
        &"time",
        &"operation",
        &"rows in",
        &"files",
        &"gone",
        &"through seq",
    ]);
    for found in store.versions().await.map_err(Failure::run)? {
        let through = found
            .through
            .map_or_else(String::new, |seq| seq.to_string());
        line([
            &found.table,
            &found.version,
            &found.time.to_string(),
            &found.operation,
            &found.rows_added,
            &found.files_added,
            &found.files_removed,
            &through,
        ]);
    }
    Ok(text)
}

async fn check(args: &HistoryArgs, repair: bool) -> Result<(), Failure> {
    let (config, store) = open(args).await?;
    let report = store.check().await.map_err(Failure::run)?;
    let mut text: String = report.damaged.iter().map(affected).collect();
    let mut left = report.damaged.len();
    if repair && left > 0 {
        let options = config.store_options();
        let journal = recovery::journal_only(&config.data, &config.detect()?, options).await?;
        let repairs = store.repair(&report.damaged, &journal).await;
        for repair in repairs.map_err(Failure::run)? {
            let end = match repair.is_done() {
                true => "all are in the table again; a running process sees them from its next \
                    `tapewatch eod` on"
                    .to_owned(),
                false => format!(
                    "the journal has {} of them: nothing was changed",
                    repair.found
                ),
            };
            text += &format!(
                "{} {}: {} rows, {end}\n",
                repair.table, repair.date, repair.rows
            );
        }
        left = store.check().await.map_err(Failure::run)?.damaged.len();
    }
    let (files, damaged) = (report.files, report.damaged.len());
    text += &format!("{files} files, {damaged} damaged");
    if report.without_checksum > 0 {
        text += &format!(
            "; {} of older versions have no checksum and were decoded",
            report.without_checksum
        );
    }
    crate::print(&(text + "\n"))?;
    match left {
        0 => Ok(()),
        left => Err(Failure::run(format!(
            "damaged files of the history: {left}"
        ))),
    }
}

/// A damaged file and what is in it, a line.
fn affected(file: &DamagedFile) -> String {
    let instruments = match &file.syms {
        Some((first, last)) if first == last => format!(", instrument {first}"),
        Some((first, last)) => format!(", instruments {first} to {last}"),
        None => String::new(),
    };
    format!(
        "{} {}: {} {}: {} rows, sequence numbers {} to {}{instruments}\n",
        file.table, file.date, file.path, file.damage, file.rows, file.seqs.0, file.seqs.1
    )
}
