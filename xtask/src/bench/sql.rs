//! `cargo xtask bench sql`: queries over a day in recent, then in history, beside DuckDB on the same rows.
//!
//! Invariant: both answer every query in turns within one run, each in a process of its own that has
//! loaded the same file, and both must find the same number of rows; a ratio is of one turn.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::data::Day;
use super::engines::number;
use super::report;
use super::spread::Spread;
use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::prepare;
use crate::process;
use crate::workspace::{Workspace, write};

const PAGE: &str = "bench/SQL.md";
const ROWS: u64 = 10_000_000;
const RUNS: u32 = 7;
/// Queries for one instrument and half an hour.
const POINTS: usize = 500;
/// As a server has them: what the other leaves in the processor's caches is not measured.
const POINTS_A_TURN: usize = 50;
/// The bars: at most so many times DuckDB's time, each and as the geometric mean; on history.
const IN_RECENT: f64 = 1.0;
const MEAN_IN_RECENT: f64 = 0.8;
const IN_HISTORY: f64 = 1.2;
/// Milliseconds of one instrument and half an hour, in recent.
const P50: f64 = 1.0;
const P99: f64 = 5.0;
/// Of the end of day: rows a second, and times DuckDB's.
const MOVED: f64 = 3e6;
const OF_DUCKDB: f64 = 2.0;

const QUERIES: [(&str, &str); 3] = [
    (
        "sum by instrument",
        "SELECT sym, sum(quantity) FROM orders GROUP BY sym",
    ),
    (
        "vwap and count by instrument and event type",
        "SELECT sym, event_type, CAST(sum(price * quantity) AS DOUBLE) / CAST(sum(quantity) AS DOUBLE), count(*) \
         FROM orders GROUP BY sym, event_type",
    ),
    (
        "one trader's cancels",
        "SELECT time, sym, order_id, price, quantity FROM orders WHERE trader = 'HFT0123' AND event_type = 'cancelled'",
    ),
];

/// A program that answers a line by a line.
struct Engine {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Engine {
    /// Starts it; returns when it has loaded the rows.
    fn start(command: &mut Command) -> Outcome<Self> {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| process::cannot_start(command, &error))?;
        let (Some(asks), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("a program without input or output"));
        };
        let mut engine = Self {
            child,
            asks: Some(asks),
            answers: BufReader::new(answers),
        };
        println!("{}", engine.answer()?);
        Ok(engine)
    }

    fn answer(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        read.map_err(|error| Failure::new(format!("an engine does not answer: {error}")))?;
        serde_json::from_str(&line)
            .map_err(|_| Failure::new(format!("an engine ended, or says {line:?}")))
    }

    /// Milliseconds and rows.
    fn ask(&mut self, line: &str) -> Outcome<(f64, f64)> {
        if let Some(asks) = &mut self.asks {
            let asked = writeln!(asks, "{line}").and_then(|()| asks.flush());
            asked.map_err(|error| Failure::new(format!("an engine has ended: {error}")))?;
        }
        let answer = self.answer()?;
        let seconds = answer.pointer("/seconds/0").and_then(Value::as_f64);
        let seconds = seconds.ok_or_else(|| Failure::new(format!("{answer} has no time")))?;
        Ok((seconds * 1e3, number(&answer, "rows")?))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.asks.take());
        let _ = self.child.wait();
    }
}

/// Both, and the page.
struct Bench {
    ours: Engine,
    peer: Engine,
    page: String,
}

/// Measures and writes the page; `--binary` measures one that is built already.
pub(super) fn run(mut args: Args) -> Outcome<()> {
    let binary = args.option("--binary")?;
    let rows = args.number("--rows")?.unwrap_or(ROWS);
    let runs = args.number("--runs")?.unwrap_or(RUNS);
    args.finish()?;
    let workspace = Workspace::find()?;
    prepare::python(&workspace)?;
    let binary = match binary {
        Some(binary) => binary.into(),
        None => {
            let build = ["build", "--release", "--package", "tapewatch-server"];
            process::run(process::cargo(&workspace.root).args(build))?;
            workspace.release_binary()
        }
    };
    let day = Day::generated(&workspace, rows)?;
    let scratch = workspace.scratch("bench-run")?;
    let file = day.file("parquet");
    let mut bench = Bench::start(&workspace, &binary, &file, &scratch)?;
    bench.page = format!(
        "# SQL\n\nMade by `cargo xtask bench sql`. {} rows; Tapewatch and DuckDB in a process each on all cores, in turns, \
         {runs} times. A time is from the text of a query to its last row in Arrow's columns; medians; a ratio is of one \
         turn. DuckDB's table has the file's own types, a DOUBLE and a BIGINT where Tapewatch has exact decimals.\n\n{}\
         - Command: `cargo xtask bench sql --rows {rows} --runs {runs}`\n",
        day.rows,
        report::setting(&workspace)
    );
    bench.section("recent", runs, IN_RECENT, Some(MEAN_IN_RECENT))?;
    bench.end_of_day(day.rows)?;
    bench.section("history", runs, IN_HISTORY, None)?;
    print!("\n{}", bench.page);
    write(&workspace.root.join(PAGE), &bench.page)
}

impl Bench {
    fn start(workspace: &Workspace, binary: &Path, file: &Path, scratch: &Path) -> Outcome<Self> {
        let mut ours = process::program_in(binary, &workspace.root);
        ours.args(["measure", "sql", "--file"]).arg(file);
        let mut peer = process::program_in(workspace.python(), &workspace.root);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        peer.arg("bench/sql_peer.py").arg(file);
        peer.arg(cores.to_string()).arg(scratch);
        Ok(Self {
            ours: Engine::start(ours.arg("--data").arg(scratch))?,
            peer: Engine::start(&mut peer)?,
            page: String::new(),
        })
    }

    /// All queries, where the rows are now.
    fn section(&mut self, place: &str, runs: u32, bar: f64, mean: Option<f64>) -> Outcome<()> {
        let _ = writeln!(
            self.page,
            "\n## In {place}\n\n| query | rows | Tapewatch, ms | DuckDB, ms | of DuckDB's | least–greatest | bar |\n\
             |---|--:|--:|--:|--:|---|---|"
        );
        let mut ratios = Vec::new();
        for (what, sql) in QUERIES {
            let line = format!("query 1 {sql}");
            // Once unmeasured each.
            let _ = (self.ours.ask(&line)?, self.peer.ask(&line)?);
            let turns = (0..runs).map(|_| self.turn(&line));
            let turns = turns.collect::<Outcome<Vec<_>>>()?;
            ratios.push(self.line(what, &turns, &format!("≤ {bar}"), bar));
        }
        if let Some(bar) = mean {
            let logs = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>();
            let found = (logs / ratios.len() as f64).exp();
            let met = judged(found <= bar, &format!("≤ {bar}"));
            let _ = writeln!(
                self.page,
                "| geometric mean | – | – | – | {found:.2} | – | {met} |"
            );
        }
        self.points(place == "recent")
    }

    /// One turn: milliseconds here and there.
    fn turn(&mut self, line: &str) -> Outcome<[f64; 3]> {
        let ((ours, rows), (peer, others)) = (self.ours.ask(line)?, self.peer.ask(line)?);
        same_rows(line, rows, others)?;
        Ok([ours, peer, rows])
    }

    /// Writes a line; the median of the ratios.
    fn line(&mut self, what: &str, turns: &[[f64; 3]], bar: &str, most: f64) -> f64 {
        let of = |value: fn(&[f64; 3]) -> f64| spread(turns.iter().map(value).collect());
        let ratio = of(|[ours, peer, _]| ours / peer);
        let _ = writeln!(
            self.page,
            "| {what} | {:.0} | {:.1} | {:.1} | {:.2} | {:.2}–{:.2} | {} |",
            of(|turn| turn[2]).median,
            of(|turn| turn[0]).median,
            of(|turn| turn[1]).median,
            ratio.median,
            ratio.least,
            ratio.greatest,
            judged(ratio.median <= most, bar),
        );
        ratio.median
    }

    /// One instrument, half an hour, each time another.
    fn points(&mut self, judge: bool) -> Outcome<()> {
        let syms = self.syms()?;
        let line = |number: usize| {
            let sym = syms.get(number * 7919 % syms.len().max(1));
            let half = 16 + number * 31 % 17;
            let at = |half: usize| format!("2024-01-05 {:02}:{:02}:00", half / 2, half % 2 * 30);
            format!(
                "query 1 SELECT time, event_type, trader, side, order_id, price, quantity FROM orders WHERE sym = '{}' \
                 AND time >= TIMESTAMP '{}' AND time < TIMESTAMP '{}'",
                sym.map_or("", String::as_str),
                at(half),
                at(half + 1),
            )
        };
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        for turn in 0..POINTS / POINTS_A_TURN {
            let lines: Vec<String> = (turn * POINTS_A_TURN..)
                .take(POINTS_A_TURN)
                .map(line)
                .collect();
            let mut rows = Vec::new();
            for line in &lines {
                let (ms, found) = self.ours.ask(line)?;
                ours.push(ms);
                rows.push(found);
            }
            for (line, here) in lines.iter().zip(rows) {
                let (ms, there) = self.peer.ask(line)?;
                peers.push(ms);
                same_rows(line, here, there)?;
            }
        }
        let [ours, peers] = [ours, peers].map(|mut all| {
            all.sort_by(f64::total_cmp);
            let at = |part: usize| all.get(all.len() * part / 100).copied().unwrap_or(f64::NAN);
            (at(50), at(99))
        });
        let bar = judged(
            ours.0 <= P50 && ours.1 <= P99,
            &format!("p50 {P50} ms, p99 {P99} ms"),
        );
        let _ = writeln!(
            self.page,
            "\nOne instrument, half an hour, {POINTS} queries, no two the same, {POINTS_A_TURN} a turn: p50 {:.2} ms, p99 {:.2} ms; DuckDB p50 \
             {:.2} ms, p99 {:.2} ms.{}",
            ours.0,
            ours.1,
            peers.0,
            peers.1,
            if judge {
                format!(" Bar: {bar}.")
            } else {
                String::new()
            },
        );
        Ok(())
    }

    fn syms(&mut self) -> Outcome<Vec<String>> {
        let asks = self.peer.asks.as_mut();
        let line = "answer SELECT sym FROM orders GROUP BY sym ORDER BY sym";
        let asked = asks.map_or(Ok(()), |asks| {
            writeln!(asks, "{line}").and_then(|()| asks.flush())
        });
        asked.map_err(|error| Failure::new(format!("DuckDB has ended: {error}")))?;
        let answer = self.peer.answer()?;
        let rows = answer.get("rows").and_then(Value::as_array);
        let texts = rows
            .into_iter()
            .flatten()
            .filter_map(|row| row.get(0)?.as_str());
        Ok(texts.map(str::to_owned).collect())
    }

    fn end_of_day(&mut self, rows: u64) -> Outcome<()> {
        let [ours, peer, _] = self.turn("eod")?;
        let (speed, times) = (rows as f64 / ours * 1e3, peer / ours);
        let met = speed >= MOVED && times >= OF_DUCKDB;
        let bar = judged(
            met,
            &format!("{:.0} M rows/s and {OF_DUCKDB} ×", MOVED / 1e6),
        );
        let _ = writeln!(
            self.page,
            "\n## End of day\n\nSort, write, force to the disk, commit; beside DuckDB's `COPY (… ORDER BY …) TO` one \
             Parquet file with the same compression, forced to the disk. Once.\n\n| Tapewatch, s | rows/s | DuckDB, s | \
             DuckDB's rows/s | times DuckDB's | bar |\n|--:|--:|--:|--:|--:|---|\n| {:.2} | {:.2} M | {:.2} | {:.2} M | \
             {times:.2} | {bar} |",
            ours / 1e3,
            speed / 1e6,
            peer / 1e3,
            rows as f64 / peer / 1e3,
        );
        Ok(())
    }
}

fn same_rows(line: &str, here: f64, there: f64) -> Outcome<()> {
    if here == there {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{line}: {here} rows here, {there} in DuckDB"
    )))
}

fn spread(values: Vec<f64>) -> Spread {
    Spread::of_values(values).unwrap_or(Spread {
        least: f64::NAN,
        median: f64::NAN,
        greatest: f64::NAN,
    })
}

fn judged(met: bool, bar: &str) -> String {
    format!("{bar}: {}", if met { "met" } else { "**missed**" })
}
