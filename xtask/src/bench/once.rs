//! What is measured once: restarts, the live path, latency, and the rule alone.

use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use super::data::{self, Day, Prepared};
use super::engines::{json_line, number};
use super::report::Row;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::workspace::{Workspace, read};

const LATENCY_SECONDS: u64 = 20;
/// The bench of the crate `detect` that is read.
const RULE: &str = "rule_and_interning";

/// From the start of the process to the line that says it listens, once with the checkpoint and once
/// without.
pub(super) fn restarts(workspace: &Workspace, prepared: &Prepared) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for checkpoint in [true, false] {
        let checkpoints = prepared.journal.join("checkpoints");
        if checkpoint && !checkpoints.is_dir() {
            return Err(Failure::new(format!(
                "{} is missing: a stop leaves a checkpoint there",
                checkpoints.display()
            )));
        }
        if !checkpoint {
            std::fs::remove_dir_all(&checkpoints)
                .map_err(|error| Failure::io("delete", &checkpoints, &error))?;
        }
        let started = Instant::now();
        let server = data::up(workspace, &prepared.journal)?;
        let seconds = started.elapsed().as_secs_f64();
        server.stop()?;
        let name = if checkpoint {
            "restart of the day"
        } else {
            "restart of the day, checkpoints deleted"
        };
        let row = Row::new(name).wall(seconds);
        rows.push(if checkpoint {
            row.bar("2 s or less", seconds <= 2.0)
        } else {
            row
        });
    }
    Ok(rows)
}

/// Everything that `tapewatch up` does with a file, at a steady rate.
pub(super) fn live(
    workspace: &Workspace,
    prepared: &Prepared,
    day: &Day,
    seconds: u64,
) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (format, name) in [
        ("csv", "live: feed of CSV, journal, engine, tables"),
        ("parquet", "live: feed of Parquet, journal, engine, tables"),
    ] {
        let mut command = measure(workspace, prepared, "live", seconds);
        let said = json_line(command.arg("--file").arg(day.file(format)))?;
        let speed = number(&said, "rows_per_cpu_second")? / 1e6;
        let bytes = number(&said, "recent_bytes_per_row")?;
        let rate = number(&said, "rows_per_second")? / 1e6;
        let row = Row::new(name)
            .wall(number(&said, "seconds")?)
            .cpu(number(&said, "cpu_seconds")?)
            .memory(number(&said, "peak_rss_mb")?)
            .found(format!(
                "{speed:.2} million events a CPU second, {rate:.2} a second; {bytes:.1} bytes an order in memory"
            ));
        let met = speed >= 4.0 && bytes <= 64.0;
        rows.push(row.bar("4 million events a CPU second; 64 bytes or less", met));
    }
    Ok(rows)
}

/// From the moment an event is due to its hit in the tables.
pub(super) fn latency(workspace: &Workspace, prepared: &Prepared) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for always in [false, true] {
        let mut command = measure(workspace, prepared, "latency", LATENCY_SECONDS);
        command.args(["--rate", "50000"]);
        if always {
            command.args(["--fsync", "always"]);
        }
        let said = json_line(&mut command)?;
        let at = |key| number(&said, key);
        let (median, p99) = (at("p50_us")?, at("p99_us")?);
        let row = Row::new(if always {
            "latency, fsync always"
        } else {
            "latency, default fsync"
        })
        .found(format!(
            "p50 {median:.0} µs, p99 {p99:.0} µs, p99.9 {:.0} µs, max {:.0} µs",
            at("p999_us")?,
            at("max_us")?
        ));
        rows.push(if always {
            row.bar("p99 2 ms", p99 <= 2_000.0)
        } else {
            row.bar("p50 100 µs, p99 500 µs", median <= 100.0 && p99 <= 500.0)
        });
    }
    Ok(rows)
}

fn measure(workspace: &Workspace, prepared: &Prepared, what: &str, seconds: u64) -> Command {
    let mut command = process::program_in(workspace.release_binary(), &workspace.target);
    command.args(["measure", what, "--seconds", &seconds.to_string()]);
    // The system's temporary directory may be no disk at all.
    command.arg("--data").arg(&prepared.scratch);
    command
}

/// Events in memory, their texts interned and judged: criterion's median.
pub(super) fn rule(workspace: &Workspace) -> Outcome<Row> {
    let home = workspace.target.join("criterion");
    process::run(
        process::cargo(&workspace.root)
            .env("CRITERION_HOME", &home)
            .args(["bench", "--package", "tapewatch-detect"])
            .args(["--bench", "engine", "--", RULE]),
    )?;
    let of = |file: &str| -> Outcome<Value> {
        let path = home.join("engine").join(RULE).join("new").join(file);
        serde_json::from_str(&read(&path)?)
            .map_err(|error| Failure::new(format!("{} is not JSON: {error}", path.display())))
    };
    let (estimates, benchmark) = (of("estimates.json")?, of("benchmark.json")?);
    let speed = million_a_second(&estimates, &benchmark)?;
    Ok(Row::new("rule and interning, events in memory")
        .found(format!("{speed:.1} million events/s"))
        .bar("10 million events/s", speed >= 10.0))
}

fn million_a_second(estimates: &Value, benchmark: &Value) -> Outcome<f64> {
    let nanos = estimates.pointer("/median/point_estimate");
    let events = benchmark.pointer("/throughput/Elements");
    match (
        nanos.and_then(Value::as_f64),
        events.and_then(Value::as_f64),
    ) {
        (Some(nanos), Some(events)) => Ok(events / nanos * 1e3),
        _ => Err(Failure::new(format!(
            "criterion's files lack median.point_estimate or throughput.Elements: {estimates} {benchmark}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterion_counts_nanoseconds_an_iteration() {
        let estimates = serde_json::json!({"median": {"point_estimate": 1e8}});
        let benchmark = serde_json::json!({"throughput": {"Elements": 1_000_000}});
        assert_eq!(million_a_second(&estimates, &benchmark), Ok(10.0));
        assert!(million_a_second(&estimates, &estimates).is_err());
    }
}
