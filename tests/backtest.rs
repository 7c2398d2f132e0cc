//! Backtests: each set's alerts are those of a replay, however the history lies, whatever the threads
//! and however often it was stopped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Server, run, tapewatch, write_orders};

/// A data directory with two ends of day and rows of today, and late rows across all of them.
fn stored(dir: &Path, rows: usize) -> Server {
    let file = dir.join("orders.csv");
    write_orders(&file, rows);
    let text = fs::read_to_string(&file).unwrap();
    let (header, body) = text.split_once('\n').unwrap();
    let mut lines: Vec<_> = body.lines().collect();
    // A row in a hundred comes much too late, in another file, on another day.
    let late: Vec<_> = (0..lines.len()).step_by(100).map(|at| lines[at]).collect();
    lines.extend(late);
    let server = Server::start(dir, &[]);
    for (index, part) in lines.chunks(lines.len().div_ceil(3)).enumerate() {
        let path = dir.join(format!("part-{index}.csv"));
        fs::write(&path, format!("{header}\n{}\n", part.join("\n"))).unwrap();
        let (code, _, error) = server.feed(&path, &[]);
        assert_eq!(code, 0, "{error}");
        if index < 2 {
            assert_eq!(run(&mut server.command(&["eod"])).0, 0);
        }
    }
    server
}

fn backtest(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = tapewatch();
    command
        .arg("backtest")
        .arg("--data")
        .arg(dir.join("data"))
        .args(arguments);
    command
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// First id and number of hits of each alert that a replay of what is stored gives, in order.
fn replayed(dir: &Path, sets: &[String]) -> Vec<(String, u64, u64)> {
    let mut command = tapewatch();
    command
        .args(["replay", "--from", "2000-01-01", "--data"])
        .arg(dir.join("data"));
    for set in sets {
        command.args(["--set", set]);
    }
    let (code, out, error) = run(&mut command);
    assert_eq!(code, 0, "{error}");
    let mut alerts: BTreeMap<u64, (String, u64)> = BTreeMap::new();
    let mut first_of: BTreeMap<String, u64> = BTreeMap::new();
    for hit in lines(&out) {
        let id = hit["alert_id"].as_str().unwrap().to_owned();
        let first = *first_of
            .entry(id.clone())
            .or_insert(hit["seq"].as_u64().unwrap());
        alerts.entry(first).or_insert((id, 0)).1 += 1;
    }
    alerts
        .into_iter()
        .map(|(seq, (id, hits))| (id, seq, hits))
        .collect()
}

#[test]
fn every_set_gives_the_alerts_of_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let server = stored(dir.path(), 6_000);
    let grid = [
        "--set",
        "spoofing.cancel_quantity=2000..6000:2000",
        "--set",
        "spoofing.cancel_count=2,3",
        "--set",
        "spoofing.lookback=10s..25s:15s",
    ];
    for threads in ["1", "3"] {
        let out = dir.path().join(format!("out-{threads}"));
        let mut command = backtest(dir.path(), &grid);
        command
            .args(["--threads", threads, "--format", "jsonl", "--out"])
            .arg(&out);
        let (code, table, error) = run(&mut command);
        assert_eq!(code, 0, "{error}");
        let table = lines(&table);
        assert_eq!(table.len(), 12);
        for (number, row) in table.iter().enumerate() {
            let sets: Vec<_> = ["cancel_quantity", "cancel_count", "lookback"]
                .map(|name| {
                    let value = &row[&format!("spoofing.{name}")];
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    format!("spoofing.{name}={value}")
                })
                .to_vec();
            let expected = replayed(dir.path(), &sets);
            assert!(expected.len() > 3, "{sets:?}");
            let text = fs::read_to_string(out.join(format!("set-{number:05}.jsonl"))).unwrap();
            let found: Vec<_> = lines(&text)
                .iter()
                .map(|alert| {
                    let id = alert["alert_id"].as_str().unwrap().to_owned();
                    (
                        id,
                        alert["first_seq"].as_u64().unwrap(),
                        alert["hits"].as_u64().unwrap(),
                    )
                })
                .collect();
            assert_eq!(found, expected, "{sets:?}, {threads} threads");
            assert_eq!(row["alerts"], expected.len());
            assert_eq!(
                row["hits"],
                expected.iter().map(|alert| alert.2).sum::<u64>()
            );
        }
        let left = fs::read_dir(&out).unwrap().count();
        assert_eq!(left, 12 + 2, "the parts are gone");
    }
    // The defaults are what the live system found.
    let (_, table, _) = run(&mut backtest(dir.path(), &["--format", "jsonl"]));
    assert_eq!(
        lines(&table)[0]["hits"],
        server.number("select count(*) from hits")
    );
    assert_eq!(
        lines(&table)[0]["alerts"],
        server.number("select count(*) from alerts")
    );
    // One instrument, and a part of the time.
    let (_, table, _) = run(&mut backtest(
        dir.path(),
        &["--format", "jsonl", "--sym", "SYM1"],
    ));
    let live = server.number("select count(*) from hits where sym = 'SYM1'");
    assert_eq!(lines(&table)[0]["hits"], live);
}

#[test]
fn what_is_wrong_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let _server = stored(dir.path(), 300);
    let out = dir.path().join("out");
    for (arguments, expected) in [
        (
            vec!["--set", "spoofing.cancel_count"],
            "detector.parameter=values",
        ),
        (vec!["--set", "spoofing.cancel_count=1..9"], "needs a step"),
        (vec!["--set", "spoofing.mode=wj"], "buckets"),
        (vec!["--set", "spoofing.lookback=25"], "lookback"),
        (
            vec!["--from", "2024-01-06", "--to", "2024-01-05"],
            "is not before",
        ),
        (
            vec!["--set", "spoofing.cancel_quantity=1..100000:1"],
            "more than 10000",
        ),
    ] {
        let (code, _, error) = run(&mut backtest(dir.path(), &arguments));
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let one = |set: &str| run(backtest(dir.path(), &["--set", set, "--out"]).arg(&out));
    assert_eq!(one("spoofing.cancel_count=3").0, 0);
    assert_eq!(one("spoofing.cancel_count=3").0, 0, "the same again");
    let (code, _, error) = one("spoofing.cancel_count=4");
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("another backtest"), "{error}");
    let (code, _, error) = run(tapewatch().args(["backtest", "--data", "nowhere"]));
    assert_eq!(code, 2, "{error}");
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(status.unwrap().success());
}

/// The names of the files that hold orders of the past.
fn order_files(data: &Path) -> Vec<PathBuf> {
    let table = fs::read_dir(data.join("history/orders")).unwrap();
    let dates = table.map(|entry| entry.unwrap().path());
    let dates = dates.filter(|path| !path.ends_with("_delta_log"));
    let files = dates.flat_map(|date| fs::read_dir(date).unwrap());
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A data directory that is made again, or that is put back and goes on, gives the same names to
/// its files and the same sequence numbers to its rows.
#[test]
fn results_of_other_orders_are_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one.csv"), dir.path().join("other.csv"));
    write_orders(&one, 300);
    let text = fs::read_to_string(&one).unwrap();
    fs::write(&other, text.replacen("Trader1,B", "Trader0,B", 1)).unwrap();
    let (data, before) = (dir.path().join("data"), dir.path().join("before"));
    let more = |file: &Path, past: bool| {
        let server = Server::start(dir.path(), &[]);
        assert_eq!(server.feed(file, &[]).0, 0);
        if past {
            assert_eq!(run(&mut server.command(&["eod"])).0, 0);
        }
    };
    let test = |out: &str| run(backtest(dir.path(), &["--out"]).arg(dir.path().join(out)));
    let refused = |out: &str| {
        let (code, _, error) = test(out);
        assert_eq!(code, 2, "{out}: {error}");
        assert!(error.contains("another backtest"), "{out}: {error}");
    };

    // All in memory.
    more(&one, false);
    assert_eq!(test("recent").0, 0);
    assert_eq!(test("recent").0, 0, "the same again");
    fs::remove_dir_all(&data).unwrap();
    more(&other, false);
    refused("recent");

    // All in the history, which is made again.
    fs::remove_dir_all(&data).unwrap();
    more(&one, true);
    copy(&data, &before);
    assert_eq!(test("anew").0, 0);
    let files = order_files(&data);
    fs::remove_dir_all(&data).unwrap();
    more(&other, true);
    assert_eq!(order_files(&data), files);
    refused("anew");

    // The history is put back, and other orders come after it.
    fs::remove_dir_all(&data).unwrap();
    copy(&before, &data);
    more(&one, true);
    assert_eq!(test("back").0, 0);
    let files = order_files(&data);
    fs::remove_dir_all(&data).unwrap();
    copy(&before, &data);
    more(&other, true);
    assert_eq!(order_files(&data), files);
    refused("back");
}

#[test]
fn stopped_in_the_middle_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let _server = stored(dir.path(), 300_000);
    let grid = [
        "--set",
        "spoofing.cancel_count=2..9:1",
        "--threads",
        "1",
        "--out",
    ];
    let undisturbed = dir.path().join("undisturbed");
    assert_eq!(run(backtest(dir.path(), &grid).arg(&undisturbed)).0, 0);
    let out = dir.path().join("out");
    let mut child = backtest(dir.path(), &grid)
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !out.join("unit-00000.jsonl").exists() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    let _ = Command::new("kill").args(["-INT", &pid]).status();
    let ended = child.wait_with_output().unwrap();
    if ended.status.code() == Some(130) {
        let error = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(error.contains("the same command goes on there"), "{error}");
        assert!(!out.join("sets.csv").exists());
    } else {
        assert_eq!(
            ended.status.code(),
            Some(0),
            "it was done before the signal came"
        );
    }
    let (code, _, error) = run(backtest(dir.path(), &grid).arg(&out));
    assert_eq!(code, 0, "{error}");
    for file in fs::read_dir(&undisturbed).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap();
        let (expected, found) = (fs::read(&path).unwrap(), fs::read(out.join(name)).unwrap());
        assert!(expected == found, "{name:?} differs");
    }
}
