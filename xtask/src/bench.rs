//! `cargo xtask bench`: Tapewatch, DuckDB and Polars on the same file, in turns, on the same cores;
//! then what is measured once. The results go to bench/RESULTS.md.
//!
//! Invariant: every answer is checked, and only a wrong one fails; times are printed, not judged.

mod cases;
mod data;
mod detectors;
mod engines;
mod market;
mod once;
mod report;
mod spread;
mod sql;
mod wire;

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::prepare;
use crate::process;
use crate::workspace::{Workspace, write};
use cases::{CASES, Series};
use data::{Day, Prepared};
use engines::Answer;
use report::Row;

/// The rows for which the right answer is written down.
const FULL_ROWS: u64 = 10_000_000;
/// The right answer for them.
const FULL_ANSWER: Answer = Answer {
    hits: 8_209,
    sums: Some((51_432_401, 78_345)),
};
const DEFAULT_RUNS: u32 = 5;
const DEFAULT_LIVE_SECONDS: u64 = 60;

/// Builds, generates, prepares, measures, and writes the results.
pub(crate) fn run(mut args: Args) -> Outcome<()> {
    if args.flag("detectors") {
        return detectors::run(args);
    }
    if args.flag("wire") {
        return wire::run(args);
    }
    if args.flag("sql") {
        return sql::run(args);
    }
    if args.flag("market") {
        return market::run(args);
    }
    let rows = args.number("--rows")?.unwrap_or(FULL_ROWS);
    let runs = args.number("--runs")?.unwrap_or(DEFAULT_RUNS);
    let live_seconds = args
        .number("--live-seconds")?
        .unwrap_or(DEFAULT_LIVE_SECONDS);
    args.finish()?;
    if rows < 100_000 || runs == 0 || live_seconds == 0 {
        return Err(Failure::usage(
            "bench needs --rows 100000 or more, and --runs and --live-seconds 1 or more",
        ));
    }
    let workspace = Workspace::find()?;
    prepare::python(&workspace)?;
    process::run(process::cargo(&workspace.root).args([
        "build",
        "--release",
        "--package",
        "tapewatch-server",
    ]))?;
    let day = Day::generated(&workspace, rows)?;
    let prepared = Prepared::make(&workspace, &day)?;
    let series = in_turns(&workspace, &day, &prepared, runs)?;
    let mut table: Vec<Row> = series.iter().map(|one| Row::of(one, &series)).collect();
    table.push(once::rule(&workspace)?);
    table.extend(once::restarts(&workspace, &prepared)?);
    table.extend(once::live(&workspace, &prepared, &day, live_seconds)?);
    table.extend(once::latency(&workspace, &prepared)?);
    let what = format!(
        "- Command: `cargo xtask bench --rows {rows} --runs {runs} --live-seconds {live_seconds}`: {} rows, \
         {runs} runs in turns\n",
        day.rows
    );
    let page = report::page(&workspace, what.trim_end(), &table);
    write(&workspace.root.join("bench/RESULTS.md"), &page)?;
    print!("\n{page}");
    delete(&prepared)
}

/// Runs the cases in turns, so that a slow minute of the machine hits all of them.
fn in_turns(
    workspace: &Workspace,
    day: &Day,
    prepared: &Prepared,
    runs: u32,
) -> Outcome<Vec<Series>> {
    let mut expected = (day.rows == FULL_ROWS).then_some(FULL_ANSWER);
    let series = |case| Series {
        case,
        costs: Vec::new(),
    };
    let mut all: Vec<Series> = CASES.iter().map(series).collect();
    for run in 1..=runs {
        for one in &mut all {
            let (answer, cost) = engines::run(workspace, day, prepared, one.case)?;
            let wanted = *expected.get_or_insert(answer);
            if !answer.agrees(wanted) {
                return Err(Failure::new(format!(
                    "{}: {answer:?}, expected {wanted:?}",
                    one.case.name
                )));
            }
            println!(
                "run {run} of {runs}: {}: {:.3} s of CPU, {:.3} s",
                one.case.name, cost.cpu_seconds, cost.seconds
            );
            one.costs.push(cost);
        }
    }
    Ok(all)
}

/// Gigabytes that nobody needs any more; the generated files stay.
fn delete(prepared: &Prepared) -> Outcome<()> {
    std::fs::remove_dir_all(&prepared.scratch)
        .map_err(|error| Failure::io("delete", &prepared.scratch, &error))
}
