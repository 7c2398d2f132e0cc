//! Running a case once: the command, its cost, and what it found.
//!
//! Invariant: Tapewatch is measured from outside, from the start to the end of its process; the
//! peers measure themselves, which favours them. All run on the same first cores.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::cases::{Case, Work};
use super::data::{Day, Prepared};
use super::spread::Cost;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::workspace::{Workspace, read};

/// What is asked of the rows in memory: what the peers return.
const QUERY: &str = "select count(*) as hits, sum(measure(measures,'cancel_quantity')) as q, \
                     sum(measure(measures,'cancel_count')) as c from hits";
/// 49 sets, the defaults among them.
const GRID: [&str; 2] = [
    "spoofing.cancel_quantity=2000..8000:1000",
    "spoofing.cancel_count=1..7:1",
];
const GRID_SETS: usize = 49;

/// What an engine found; all must find the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) hits: u64,
    /// Quantities and counts of all hits; a backtest tells of neither.
    pub(super) sums: Option<(u64, u64)>,
}

impl Answer {
    /// Whether both say the same, as far as both say anything.
    pub(super) fn agrees(self, other: Self) -> bool {
        let sums = self.sums.zip(other.sums);
        self.hits == other.hits && sums.is_none_or(|(mine, theirs)| mine == theirs)
    }
}

/// Runs a case once.
pub(super) fn run(
    workspace: &Workspace,
    day: &Day,
    prepared: &Prepared,
    case: &Case,
) -> Outcome<(Answer, Cost)> {
    let file = day.file(case.format);
    let threads = case.threads.to_string();
    let mut command = pinned(workspace, case.threads);
    if let Work::Peer(engine) = case.work {
        command
            .args(["bench/peers.py", engine])
            .arg(&file)
            .arg(&threads);
        let said = json_line(&mut command)?;
        let sums = (whole(&said, "sum_quantity")?, whole(&said, "sum_count")?);
        let hits = whole(&said, "hits")?;
        let answer = Answer {
            hits,
            sums: Some(sums),
        };
        return Ok((answer, cost(&said)?));
    }
    let output = prepared.scratch.join("output");
    command
        .arg("bench/measure.py")
        .arg(&output)
        .arg(workspace.release_binary());
    match case.work {
        Work::Replay => command
            .arg("replay")
            .arg(&file)
            .args(["--threads", &threads]),
        Work::Recent => command
            .args(["sql", "--format", "csv", "--file"])
            .arg(&file)
            .arg(QUERY),
        Work::Backtest { grid } => {
            backtest(&mut command, &prepared.history, &threads);
            let sets = GRID.iter().filter(|_| grid);
            command.args(sets.flat_map(|set| ["--set", set]))
        }
        Work::Peer(_) => &mut command,
    };
    let cost = cost(&json_line(&mut command)?)?;
    let said = read(&output)?;
    let answer = match case.work {
        Work::Recent => answer_of_query(&said),
        Work::Backtest { grid } => answer_of_backtest(&said, grid),
        Work::Replay | Work::Peer(_) => answer_of_hits(&said),
    };
    Ok((answer?, cost))
}

fn backtest(command: &mut Command, history: &Path, threads: &str) {
    command.arg("backtest").arg("--data").arg(history);
    command.args(["--threads", threads, "--format", "jsonl"]);
}

/// Python, kept on the first cores where taskset is there.
fn pinned(workspace: &Workspace, threads: u32) -> Command {
    if !process::on_path("taskset") {
        return process::program_in(workspace.python(), &workspace.root);
    }
    let mut command = process::program_in("taskset", &workspace.root);
    let cores = format!("0-{}", threads.saturating_sub(1));
    command.args(["-c", &cores]).arg(workspace.python());
    command
}

/// The last line that a program prints, as JSON.
pub(super) fn json_line(command: &mut Command) -> Outcome<Value> {
    let output = process::stdout_of(command)?;
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|error| {
        Failure::new(format!(
            "`{}` printed no JSON line: {error}",
            process::shown(command)
        ))
    })
}

fn lines(jsonl: &str) -> impl Iterator<Item = Outcome<Value>> {
    jsonl.lines().map(|line| {
        serde_json::from_str(line)
            .map_err(|error| Failure::new(format!("`{line}` is no JSON object: {error}")))
    })
}

fn answer_of_hits(jsonl: &str) -> Outcome<Answer> {
    let (mut hits, mut quantity, mut count) = (0, 0, 0);
    for hit in lines(jsonl) {
        let hit = hit?;
        hits += 1;
        quantity += measure(&hit, "cancel_quantity")?;
        count += measure(&hit, "cancel_count")?;
    }
    Ok(Answer {
        hits,
        sums: Some((quantity, count)),
    })
}

fn answer_of_query(csv: &str) -> Outcome<Answer> {
    let row = csv.lines().nth(1).unwrap_or_default();
    let numbers: Vec<Option<u64>> = row.split(',').map(whole_text).collect();
    let [Some(hits), Some(quantity), Some(count)] = numbers.as_slice() else {
        return Err(Failure::new(format!(
            "`{row}` is not the row of three whole numbers that was asked for"
        )));
    };
    Ok(Answer {
        hits: *hits,
        sums: Some((*quantity, *count)),
    })
}

/// The hits of the only set, or of the set of the grid that has the defaults.
fn answer_of_backtest(jsonl: &str, grid: bool) -> Outcome<Answer> {
    let sets = lines(jsonl).collect::<Outcome<Vec<Value>>>()?;
    let expected = if grid { GRID_SETS } else { 1 };
    if sets.len() != expected {
        let found = sets.len();
        return Err(Failure::new(format!(
            "the backtest printed {found} sets, not {expected}"
        )));
    }
    let is_default = |set: &&Value| {
        let has = |name: &str, value: u64| whole(set, name).is_ok_and(|found| found == value);
        !grid || has("spoofing.cancel_quantity", 4_000) && has("spoofing.cancel_count", 3)
    };
    let set = sets.iter().find(is_default);
    let set = set.ok_or_else(|| Failure::new("the backtest's table lacks the set 4000, 3"))?;
    Ok(Answer {
        hits: whole(set, "hits")?,
        sums: None,
    })
}

fn cost(said: &Value) -> Outcome<Cost> {
    Ok(Cost {
        seconds: number(said, "seconds")?,
        cpu_seconds: number(said, "cpu_seconds")?,
        peak_rss_mb: number(said, "peak_rss_mb")?,
    })
}

/// A number of a JSON object.
pub(super) fn number(object: &Value, key: &str) -> Outcome<f64> {
    object
        .get(key)
        .and_then(Value::as_f64)
        .ok_or_else(|| Failure::new(format!("`{object}` has no number `{key}`")))
}

/// The value of the hit's measure of that name.
fn measure(hit: &Value, name: &str) -> Outcome<u64> {
    let measures = hit.get("measures").and_then(Value::as_array);
    let named = measures
        .into_iter()
        .flatten()
        .find(|measure| measure.get("name").and_then(Value::as_str) == Some(name));
    let named =
        named.ok_or_else(|| Failure::new(format!("`{hit}` has no measure named `{name}`")))?;
    whole(named, "value")
}

/// A whole number, also where it is written as text or as `4600.0`.
pub(super) fn whole(object: &Value, key: &str) -> Outcome<u64> {
    let text = match object.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    whole_text(&text).ok_or_else(|| Failure::new(format!("`{object}` has no whole number `{key}`")))
}

fn whole_text(text: &str) -> Option<u64> {
    let (digits, decimals) = text.split_once('.').unwrap_or((text, ""));
    let zeros = decimals.bytes().all(|digit| digit == b'0');
    digits.parse().ok().filter(|_| zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(quantity: &str, count: &str) -> String {
        format!(
            r#"{{"measures":[{{"name":"cancel_quantity","value":{quantity}}},{{"name":"cancel_count","value":{count}}}]}}"#
        )
    }

    #[test]
    fn hits_are_summed() {
        let jsonl = format!("{}\n{}\n", hit("\"4600\"", "4.0"), hit("5000", "5"));
        let answer = Answer {
            hits: 2,
            sums: Some((9_600, 9)),
        };
        assert_eq!(answer_of_hits(&jsonl), Ok(answer));
        let csv = "hits,q,c\n2,9600.000000000,9.000000000\n";
        assert_eq!(answer_of_query(csv), Ok(answer));
        assert!(answer_of_hits("{}\n").is_err());
        assert!(answer_of_hits(&hit("1.5", "1")).is_err());
        assert!(answer_of_query("hits,q,c\n").is_err());
    }

    #[test]
    fn the_grid_is_judged_by_the_set_of_the_defaults() {
        let one = r#"{"set":0,"alerts":3,"hits":7,"entities":2}"#;
        let answer = Answer {
            hits: 7,
            sums: None,
        };
        assert_eq!(answer_of_backtest(one, false), Ok(answer));
        assert!(answer_of_backtest(one, true).is_err(), "too few sets");
        let set = |number: u64| {
            let (quantity, count) = (2_000 + 1_000 * (number / 7), 1 + number % 7);
            format!(
                "{{\"set\":{number},\"spoofing.cancel_quantity\":{quantity},\"spoofing.cancel_count\":{count},\"hits\":{number}}}\n"
            )
        };
        let grid: String = (0..49).map(set).collect();
        let hits = answer_of_backtest(&grid, true).map(|answer| answer.hits);
        assert_eq!(hits, Ok(16), "4000 and 3");
    }

    #[test]
    fn answers_agree_as_far_as_they_go() {
        let answer = |hits, sums| Answer { hits, sums };
        assert!(answer(1, None).agrees(answer(1, Some((2, 3)))));
        assert!(!answer(1, None).agrees(answer(2, None)));
        assert!(!answer(1, Some((2, 4))).agrees(answer(1, Some((2, 3)))));
    }
}
