//! The files that are measured on: the generated day, and data directories that hold it.
//!
//! Invariant: the generated files are kept until the generator changes; data directories are made
//! anew by every run, by the binary that is measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::process;
use crate::server::Server;
use crate::workspace::{Workspace, read, write};

/// How long a start may take that reads the whole day again.
pub(super) const START_LIMIT: Duration = Duration::from_secs(300);

/// The generated day.
#[derive(Debug)]
pub(super) struct Day {
    /// Of the files; `.csv` and `.parquet` follow.
    prefix: PathBuf,
    pub(super) rows: u64,
}

impl Day {
    /// Generates it unless it is there.
    pub(super) fn generated(workspace: &Workspace, rows: u64) -> Outcome<Self> {
        let prefix = workspace
            .target
            .join("bench-data")
            .join(format!("orders-{rows}"));
        let stamp = prefix.with_extension("stamp");
        let generator = read(&workspace.root.join("bench/gen_orders.py"))?;
        let complete = ["csv", "parquet"]
            .iter()
            .all(|format| prefix.with_extension(format).is_file());
        if complete && let Some(rows) = stamped_rows(&stamp, &generator) {
            println!("the generated file is up to date: {}.csv", prefix.display());
            return Ok(Self { prefix, rows });
        }
        // Also makes the directory; the stamp counts only once it holds the generator's text.
        write(&stamp, "")?;
        let mut command = process::program_in(workspace.python(), &workspace.root);
        command
            .arg("bench/gen_orders.py")
            .arg(rows.to_string())
            .arg(&prefix);
        println!("$ {}", process::shown(&command));
        let said = process::stdout_of(&mut command)?;
        print!("{said}");
        // It says `rows N …`: a little fewer than asked for where N is small.
        let mut words = said
            .split_whitespace()
            .skip_while(|word| *word != "rows")
            .skip(1);
        let written = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| {
                Failure::new(
                    "bench/gen_orders.py did not say `rows N`; correct what bench/data.rs expects",
                )
            })?;
        write(&stamp, format!("{written}\n{generator}"))?;
        Ok(Self {
            prefix,
            rows: written,
        })
    }

    /// The file of one format.
    pub(super) fn file(&self, format: &str) -> PathBuf {
        self.prefix.with_extension(format)
    }
}

/// The rows that a stamp speaks of, if it is of this generator.
fn stamped_rows(stamp: &Path, generator: &str) -> Option<u64> {
    let text = std::fs::read_to_string(stamp).ok()?;
    let (rows, of) = text.split_once('\n')?;
    if of == generator {
        rows.parse().ok()
    } else {
        None
    }
}

/// Two data directories with the day in them, and one for what runs write.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The day in the journal, before its end.
    pub(super) journal: PathBuf,
    /// The day in the history.
    pub(super) history: PathBuf,
    /// Outputs and temporary directories, on the same disk.
    pub(super) scratch: PathBuf,
}

impl Prepared {
    /// Feeds the day into a server, stops it, copies its directory, and ends the day in the copy.
    pub(super) fn make(workspace: &Workspace, day: &Day) -> Outcome<Self> {
        let scratch = workspace.scratch("bench-run")?;
        let prepared = Self {
            journal: scratch.join("journal-day"),
            history: scratch.join("history-day"),
            scratch,
        };
        let server = up(workspace, &prepared.journal)?;
        let mut feed = client(workspace, &server, &["feed", "csv"]);
        process::run(feed.arg(day.file("csv")))?;
        server.stop()?;
        process::run(
            process::program_in("cp", &workspace.root)
                .arg("-R")
                .arg(&prepared.journal)
                .arg(&prepared.history),
        )?;
        let server = up(workspace, &prepared.history)?;
        process::run(&mut client(workspace, &server, &["eod"]))?;
        server.stop()?;
        Ok(prepared)
    }
}

/// A server over a data directory, on a free port; returns when it is ready.
pub(super) fn up(workspace: &Workspace, data: &Path) -> Outcome<Server> {
    let mut command = process::program_in(workspace.release_binary(), &workspace.target);
    command
        .args([
            "up",
            "--listen",
            "127.0.0.1:0",
            "--log-level",
            "warn",
            "--data",
        ])
        .arg(data);
    Server::start(&mut command, START_LIMIT)
}

fn client(workspace: &Workspace, server: &Server, command: &[&str]) -> std::process::Command {
    let mut client = process::program_in(workspace.release_binary(), &workspace.target);
    client.args(command).args(["--url", &server.url()]);
    client
}
