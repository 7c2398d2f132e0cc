//! `cargo xtask bench`: Tapewatch, DuckDB and Polars on the same file, in turns, on the same cores.

mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::prepare;
use crate::process;
use crate::workspace::{Workspace, read, write};
use table::{Series, table};

/// The rows for which the right answer is written down.
const FULL_ROWS: u64 = 10_000_000;
/// The right answer for them.
const FULL_ANSWER: Answer = Answer {
    hits: 8_209,
    sum_quantity: 51_432_401,
    sum_count: 78_345,
};
const DEFAULT_RUNS: u32 = 5;
const ENGINES: [&str; 3] = ["tapewatch", "duckdb", "polars"];
const FORMATS: [&str; 2] = ["csv", "parquet"];
const THREADS: [u32; 2] = [1, 2];

/// What an engine found; all must find the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    hits: u64,
    sum_quantity: u64,
    sum_count: u64,
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu_seconds: f64,
    peak_rss_mb: f64,
}

/// Builds, generates, measures and prints the tables; fails only if an engine finds something else than the others.
pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let rows = args.number("--rows")?.unwrap_or(FULL_ROWS);
    let runs = args.number("--runs")?.unwrap_or(DEFAULT_RUNS);
    args.finish()?;
    if rows < 100_000 || runs == 0 {
        return Err(Failure::usage(
            "bench needs --rows 100000 or more and --runs 1 or more",
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
    let mut expected = (rows == FULL_ROWS).then_some(FULL_ANSWER);
    let (data, rows) = generated(&workspace, rows)?;
    for format in FORMATS {
        for threads in THREADS {
            let file = data.with_extension(format);
            let series = measured(&workspace, &file, threads, runs, &mut expected)?;
            println!(
                "\n{format}, {threads} {}, {rows} rows, {runs} runs",
                noun(threads)
            );
            print!("{}", table(rows, &series));
        }
    }
    if let Some(answer) = expected {
        println!(
            "\nall agree: {} hits, sum of quantities {}, sum of counts {}",
            answer.hits, answer.sum_quantity, answer.sum_count
        );
    }
    Ok(())
}

fn noun(threads: u32) -> &'static str {
    if threads == 1 { "thread" } else { "threads" }
}

/// The prefix of the generated files and the rows that are in them; they are kept until the generator changes.
fn generated(workspace: &Workspace, rows: u64) -> Outcome<(PathBuf, u64)> {
    let prefix = workspace
        .target
        .join("bench-data")
        .join(format!("orders-{rows}"));
    let stamp = prefix.with_extension("stamp");
    let generator = read(&workspace.root.join("bench/gen_orders.py"))?;
    let complete = FORMATS
        .iter()
        .all(|format| prefix.with_extension(format).is_file());
    if complete && let Some(rows) = stamped_rows(&stamp, &generator) {
        println!("the generated file is up to date: {}.csv", prefix.display());
        return Ok((prefix, rows));
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
            Failure::new("bench/gen_orders.py did not say `rows N`; correct what bench.rs expects")
        })?;
    write(&stamp, format!("{written}\n{generator}"))?;
    Ok((prefix, written))
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

/// Runs the engines in turns, so that a slow minute of the machine hits all of them.
fn measured(
    workspace: &Workspace,
    file: &Path,
    threads: u32,
    runs: u32,
    expected: &mut Option<Answer>,
) -> Outcome<Vec<Series>> {
    let mut series: Vec<Series> = ENGINES.iter().map(|engine| Series::new(engine)).collect();
    for _ in 0..runs {
        for one in &mut series {
            let (answer, cost) = match one.engine {
                "tapewatch" => replay(workspace, file, threads)?,
                peer => run_peer(workspace, peer, file, threads)?,
            };
            let wanted = *expected.get_or_insert(answer);
            if answer != wanted {
                return Err(Failure::new(format!(
                    "{} on {} with {threads} {}: {answer:?}, expected {wanted:?}",
                    one.engine,
                    file.display(),
                    noun(threads)
                )));
            }
            one.costs.push(cost);
        }
    }
    Ok(series)
}

/// The release binary, measured from outside.
fn replay(workspace: &Workspace, file: &Path, threads: u32) -> Outcome<(Answer, Cost)> {
    let hits = workspace.target.join("bench-data").join("hits.jsonl");
    let mut command = pinned(workspace, threads);
    command
        .arg("bench/measure.py")
        .arg(&hits)
        .arg(workspace.release_binary());
    command
        .arg("replay")
        .arg(file)
        .args(["--format", "jsonl", "--threads", &threads.to_string()]);
    let cost = cost(&json_line(&mut command)?)?;
    Ok((answer_of_hits(&read(&hits)?)?, cost))
}

/// A peer, which measures itself.
fn run_peer(
    workspace: &Workspace,
    peer: &str,
    file: &Path,
    threads: u32,
) -> Outcome<(Answer, Cost)> {
    let mut command = pinned(workspace, threads);
    command
        .args(["bench/peers.py", peer])
        .arg(file)
        .arg(threads.to_string());
    let said = json_line(&mut command)?;
    let answer = Answer {
        hits: whole(&said, "hits")?,
        sum_quantity: whole(&said, "sum_quantity")?,
        sum_count: whole(&said, "sum_count")?,
    };
    Ok((answer, cost(&said)?))
}

/// Python, kept on the first cores where taskset is there.
fn pinned(workspace: &Workspace, threads: u32) -> Command {
    if !process::on_path("taskset") {
        return process::program_in(workspace.python(), &workspace.root);
    }
    let mut command = process::program_in("taskset", &workspace.root);
    let cores = if threads == 1 {
        "0".to_owned()
    } else {
        format!("0-{}", threads - 1)
    };
    command.args(["-c", &cores]).arg(workspace.python());
    command
}

fn json_line(command: &mut Command) -> Outcome<Value> {
    let output = process::stdout_of(command)?;
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|error| {
        Failure::new(format!(
            "`{}` printed no JSON line: {error}",
            process::shown(command)
        ))
    })
}

fn answer_of_hits(jsonl: &str) -> Outcome<Answer> {
    let mut answer = Answer {
        hits: 0,
        sum_quantity: 0,
        sum_count: 0,
    };
    for line in jsonl.lines() {
        let hit: Value = serde_json::from_str(line)
            .map_err(|error| Failure::new(format!("`{line}` is no JSON object: {error}")))?;
        answer.hits += 1;
        answer.sum_quantity += measure(&hit, &["quantity", "qty"])?;
        answer.sum_count += measure(&hit, &["count"])?;
    }
    Ok(answer)
}

fn cost(said: &Value) -> Outcome<Cost> {
    Ok(Cost {
        seconds: number(said, "seconds")?,
        cpu_seconds: number(said, "cpu_seconds")?,
        peak_rss_mb: number(said, "peak_rss_mb")?,
    })
}

fn number(object: &Value, key: &str) -> Outcome<f64> {
    object
        .get(key)
        .and_then(Value::as_f64)
        .ok_or_else(|| Failure::new(format!("`{object}` has no number `{key}`")))
}

/// The value of the hit's measure whose name has one of these words in it.
fn measure(hit: &Value, words: &[&str]) -> Outcome<u64> {
    let measures = hit.get("measures").and_then(Value::as_array);
    let named = measures.into_iter().flatten().find(|measure| {
        let name = measure
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_lowercase();
        words.iter().any(|word| name.contains(word))
    });
    let named = named.ok_or_else(|| {
        Failure::new(format!(
            "`{hit}` has no measure named `{}`",
            words.join("` or `")
        ))
    })?;
    whole(named, "value")
}

/// A whole number, also where it is written as text or as `4600.0`.
fn whole(object: &Value, key: &str) -> Outcome<u64> {
    let text = match object.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let digits = text.strip_suffix(".0").unwrap_or(&text);
    digits
        .parse()
        .map_err(|_| Failure::new(format!("`{object}` has no whole number `{key}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(quantity: &str, count: &str) -> String {
        format!(
            r#"{{"measures":[{{"name":"totalCancelQty","value":{quantity}}},{{"name":"totalCancelCount","value":{count}}}]}}"#
        )
    }

    #[test]
    fn hits_are_summed() {
        let jsonl = format!("{}\n{}\n", hit("\"4600\"", "4.0"), hit("5000", "5"));
        let answer = Answer {
            hits: 2,
            sum_quantity: 9_600,
            sum_count: 9,
        };
        assert_eq!(answer_of_hits(&jsonl), Ok(answer));
        assert!(answer_of_hits("{}\n").is_err());
        assert!(answer_of_hits(&hit("1.5", "1")).is_err());
    }
}
