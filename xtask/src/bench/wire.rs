//! `cargo xtask bench wire`: what roles in processes of their own carry, beside a bare pipe.
//!
//! Invariant: what is compared is measured in turns by the same binary; ratios are of one run.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::data::Day;
use super::engines::{json_line, number};
use super::report;
use super::spread::Spread;
use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::server::Server;
use crate::workspace::{Workspace, write};

const PAGE: &str = "bench/WIRE.md";
const SIZES: [u32; 4] = [1, 10, 100, 1_000];
const RUNS: usize = 3;
const SECONDS: u32 = 5;
/// The bars: at least so much of the bare pipe; of what is not durable; rows a second when durable;
/// of what one subscriber leaves.
const OF_BARE: f64 = 0.5;
const OF_INTERVAL: f64 = 0.6;
const DURABLE: f64 = 3e6;
const OF_ONE_SUBSCRIBER: f64 = 0.8;
const SUBSCRIBERS: &str = "20";
/// Single events a second; median at most so many of the bare pipe's; 99 of 100 within so many µs.
const RATE: &str = "50000";
const OF_BARE_MEDIAN: f64 = 3.0;
const P99: [(&str, f64); 2] = [("os", 2_000.0), ("always", 4_000.0)];
/// Events of the day that is recovered, and how many a second.
const DAY_ROWS: u64 = 10_000_000;
const RECOVERED: f64 = 4e6;
const START_LIMIT: Duration = Duration::from_secs(60);

/// Measures and writes the page; `--binary` measures one that is built already, `--seconds` how long
/// each run lasts.
pub(super) fn run(mut args: Args) -> Outcome<()> {
    let binary = args.option("--binary")?;
    let seconds = args.number("--seconds")?.unwrap_or(SECONDS);
    args.finish()?;
    let workspace = Workspace::find()?;
    let binary = match binary {
        Some(binary) => binary.into(),
        None => {
            let build = ["build", "--release", "--package", "tapewatch-server"];
            process::run(process::cargo(&workspace.root).args(build))?;
            workspace.target.join("release/tapewatch")
        }
    };
    let bench = Bench {
        binary,
        workspace,
        seconds,
    };
    let mut page = format!(
        "# What the wire carries\n\nMade by `cargo xtask bench wire --seconds {seconds}`. Publisher, roles and subscriber are processes of \
         their own over loopback TCP. The bare pipe is three processes too, which copy the same bytes, check nothing and \
         write nothing to a disk. Medians of {RUNS} runs in turns; a ratio is of one run.\n\n{}\n",
        report::setting(&bench.workspace)
    );
    // First what needs most of what may be missing.
    bench.recovery(&mut page)?;
    bench.throughput(&mut page)?;
    bench.durable(&mut page)?;
    bench.subscribers(&mut page)?;
    bench.latency(&mut page)?;
    print!("\n{page}");
    write(&bench.workspace.root.join(PAGE), &page)
}

struct Bench {
    binary: PathBuf,
    workspace: Workspace,
    seconds: u32,
}

impl Bench {
    fn throughput(&self, page: &mut String) -> Outcome<()> {
        page.push_str(
            "\n## Rows a second\n\nFsync policy `interval`, up to 256 messages on the way; the subscriber checks every \
             frame and counts rows.\n\n| rows a message | bare, rows/s | rows/s | of the bare pipe | least–greatest | \
             bar |\n|--:|--:|--:|--:|---|---|\n",
        );
        for rows in SIZES {
            let [bare, carried, ratio] = in_turns(|| {
                let said = self.wire(rows, &["--fsync", "interval"])?;
                let (bare, carried) = (number(&said, "bare_rows_per_second")?, rate(&said)?);
                Ok([bare, carried, carried / bare])
            })?;
            let bar = judged(ratio.median >= OF_BARE, &format!("{OF_BARE}"));
            let (bare, carried) = (millions(bare.median), millions(carried.median));
            let _ = writeln!(
                page,
                "| {rows} | {bare} | {carried} | {} | {bar} |",
                shown(ratio)
            );
        }
        Ok(())
    }

    fn durable(&self, page: &mut String) -> Outcome<()> {
        page.push_str(
            "\n## Durable before it is published\n\nFsync policy `always` beside `interval`.\n\n| rows a message | \
             `interval`, rows/s | `always`, rows/s | of it | least–greatest | bar |\n|--:|--:|--:|--:|---|---|\n",
        );
        for rows in [100, 1_000] {
            let [weak, strong, ratio] = in_turns(|| {
                let weak = rate(&self.wire(rows, &["--fsync", "interval"])?)?;
                let strong = rate(&self.wire(rows, &["--fsync", "always"])?)?;
                Ok([weak, strong, strong / weak])
            })?;
            let met = ratio.median >= OF_INTERVAL && strong.median >= DURABLE;
            let bar = judged(met, &format!("{OF_INTERVAL} and {}", millions(DURABLE)));
            let (weak, strong) = (millions(weak.median), millions(strong.median));
            let _ = writeln!(
                page,
                "| {rows} | {weak} | {strong} | {} | {bar} |",
                shown(ratio)
            );
        }
        Ok(())
    }

    fn subscribers(&self, page: &mut String) -> Outcome<()> {
        let _ = writeln!(
            page,
            "\n## {SUBSCRIBERS} subscribers of everything\n\nWhat the publisher gets in, beside one subscriber. All \
             subscribers are in one process, and share the machine's cores with the journal.\n\n| rows a message | one, \
             rows/s | {SUBSCRIBERS}, rows/s | of it | least–greatest | bar |\n|--:|--:|--:|--:|---|---|"
        );
        for rows in [100, 1_000] {
            let [one, many, ratio] = in_turns(|| {
                let published = |count| {
                    number(
                        &self.wire(rows, &["--subscribers", count])?,
                        "published_per_second",
                    )
                };
                let (one, many) = (published("1")?, published(SUBSCRIBERS)?);
                Ok([one, many, many / one])
            })?;
            let met = ratio.median >= OF_ONE_SUBSCRIBER;
            let bar = judged(met, &format!("{OF_ONE_SUBSCRIBER}"));
            let (one, many) = (millions(one.median), millions(many.median));
            let _ = writeln!(
                page,
                "| {rows} | {one} | {many} | {} | {bar} |",
                shown(ratio)
            );
        }
        Ok(())
    }

    fn latency(&self, page: &mut String) -> Outcome<()> {
        let _ = writeln!(
            page,
            "\n## From an event to its hit\n\n{RATE} single events a second, one in ten a hit; from the moment an event \
             is due until a subscriber has its hit. The bare pipe carries messages of the same size at the same rate.\n\n\
             | engine | fsync | bare p50 | p50 | of the bare pipe | p99 | p99.9 | bar |\n|---|---|--:|--:|--:|--:|--:|---|"
        );
        for (name, apart) in [
            ("beside the journal", None),
            ("in a process of its own", Some("--engine-apart")),
        ] {
            for (fsync, p99_max) in P99 {
                let [bare, p50, ratio, p99, p999] = in_turns(|| {
                    let mut args = vec!["--rate", RATE, "--fsync", fsync];
                    args.extend(apart);
                    let said = self.wire(1, &args)?;
                    let of = |part: &str, key| number(said.get(part).unwrap_or(&Value::Null), key);
                    let (bare, p50) = (of("bare", "p50_us")?, of("hits", "p50_us")?);
                    let (p99, p999) = (of("hits", "p99_us")?, of("hits", "p999_us")?);
                    Ok([bare, p50, p50 / bare, p99, p999])
                })?;
                let met = ratio.median <= OF_BARE_MEDIAN && p99.median < p99_max;
                let bar = judged(met, &format!("{OF_BARE_MEDIAN}, p99 {p99_max:.0} µs"));
                let _ = writeln!(
                    page,
                    "| {name} | `{fsync}` | {:.0} µs | {:.0} µs | {:.1} | {:.0} µs | {:.0} µs | {bar} |",
                    bare.median, p50.median, ratio.median, p99.median, p999.median
                );
            }
        }
        Ok(())
    }

    /// From the start of a role without a checkpoint until it is ready.
    fn recovery(&self, page: &mut String) -> Outcome<()> {
        let day = Day::generated(&self.workspace, DAY_ROWS)?;
        let scratch = self.workspace.scratch("bench-run")?;
        let mut command = self.up("journal");
        let journal = Server::start(
            command.arg("--data").arg(scratch.join("journal")),
            START_LIMIT,
        )?;
        let mut feed = process::program_in(&self.binary, &self.workspace.root);
        feed.args(["feed", "parquet", "--url", &journal.url()]);
        process::run(feed.arg(day.file("parquet")))?;
        let _ = writeln!(
            page,
            "\n## A role that comes back\n\nFrom the start of the process, which has no checkpoint, until it is ready: \
             {} events from the journal's process.\n\n| role | seconds | events/s | least–greatest | bar |\n\
             |---|--:|--:|---|---|",
            day.rows
        );
        for role in ["engine", "recent"] {
            let [seconds, speed] = in_turns(|| {
                let data = scratch.join(role);
                let mut command = self.up(role);
                command.env("TAPEWATCH_PEERS__JOURNAL", journal.address());
                let started = Instant::now();
                let server = Server::start(command.arg("--data").arg(&data), START_LIMIT)?;
                let seconds = started.elapsed().as_secs_f64();
                server.stop()?;
                match std::fs::remove_dir_all(&data) {
                    // Not every role keeps something.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    removed => removed.map_err(|error| Failure::io("delete", &data, &error))?,
                }
                Ok([seconds, day.rows as f64 / seconds])
            })?;
            let bar = judged(speed.median >= RECOVERED, &millions(RECOVERED));
            let _ = writeln!(
                page,
                "| `{role}` | {:.2} | {} | {}–{} | {bar} |",
                seconds.median,
                millions(speed.median),
                millions(speed.least),
                millions(speed.greatest)
            );
        }
        journal.stop()
    }

    /// One run of the measurement.
    fn wire(&self, rows: u32, args: &[&str]) -> Outcome<Value> {
        let mut command = process::program_in(&self.binary, &self.workspace.root);
        command.args(["measure", "wire", "--seconds", &self.seconds.to_string()]);
        command.args(["--rows", &rows.to_string()]).args(args);
        // The system's temporary directory may be no disk at all.
        let said = json_line(command.arg("--data").arg(&self.workspace.target))?;
        println!("{said}");
        Ok(said)
    }

    fn up(&self, role: &str) -> Command {
        let mut command = process::program_in(&self.binary, &self.workspace.root);
        command.args(["up", "--role", role, "--log-level", "warn"]);
        for role in ["JOURNAL", "ENGINE", "RECENT"] {
            command.env(format!("TAPEWATCH_{role}__LISTEN"), "127.0.0.1:0");
        }
        command
    }
}

/// Runs something in turns; the spread of each of its measures.
fn in_turns<const N: usize>(mut run: impl FnMut() -> Outcome<[f64; N]>) -> Outcome<[Spread; N]> {
    let mut values: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..RUNS {
        for (all, one) in values.iter_mut().zip(run()?) {
            all.push(one);
        }
    }
    let none = Spread {
        least: 0.0,
        median: 0.0,
        greatest: 0.0,
    };
    Ok(values.map(|values| Spread::of_values(values).unwrap_or(none)))
}

fn rate(said: &Value) -> Outcome<f64> {
    number(said, "rows_per_second")
}

fn millions(speed: f64) -> String {
    format!("{:.2} M", speed / 1e6)
}

fn shown(ratio: Spread) -> String {
    let Spread {
        least,
        median,
        greatest,
    } = ratio;
    format!("{median:.2} | {least:.2}–{greatest:.2}")
}

fn judged(met: bool, bar: &str) -> String {
    format!("{bar}: {}", if met { "met" } else { "**missed**" })
}
