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
            vec![
                "--set",
                "spoofing.cancel_count=2",
                "--set",
                "spoofing.cancel_count=3,4",
            ],
            "name them all in one --set",
        ),
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
}

#[test]
fn what_is_not_there_is_said_with_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let commands = [
        vec!["backtest", "--data", &data],
        vec!["replay", "--from", "2000-01-01", "--data", &data],
    ];
    let say = |expected: (i32, &str)| {
        for command in &commands {
            let (code, _, error) = run(tapewatch().args(command));
            assert_eq!(code, expected.0, "{command:?}: {error}");
            let line = format!("{data}: {}", expected.1);
            assert!(error.contains(&line), "{command:?}: {error}");
        }
    };
    say((2, "there is no data directory"));
    fs::create_dir(&data).unwrap();
    say((2, "there is neither a journal nor a history"));
    let server = Server::start(dir.path(), &[]);
    say((0, "no order there is asked for"));
    let file = dir.path().join("orders.csv");
    write_orders(&file, 300);
    assert_eq!(server.feed(&file, &[]).0, 0);
    for command in &commands {
        let (code, _, error) = run(tapewatch().args(command));
        assert_eq!(code, 0, "{error}");
        assert!(!error.contains("no order there"), "{error}");
    }
    // A time in which nothing happened.
    let (code, _, error) = run(&mut backtest(dir.path(), &["--from", "2025-01-01"]));
    assert!(code == 0 && error.contains("no order there"), "{error}");
}

/// A journal from which more was deleted than the history has.
#[test]
fn rows_that_are_nowhere_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("t.toml");
    fs::write(&config, "[journal]\nsegment_bytes_max = 4096\n").unwrap();
    let file = dir.path().join("orders.csv");
    write_orders(&file, 1_000);
    let server = Server::start(dir.path(), &["--config", config.to_str().unwrap()]);
    let feed = || assert_eq!(server.feed(&file, &["--rows-per-bucket", "50"]).0, 0);
    feed();
    assert_eq!(run(&mut server.command(&["eod"])).0, 0);
    let known = server.number("select max(seq) from orders");
    feed();
    drop(server);
    let journal = fs::read_dir(dir.path().join("data/journal")).unwrap();
    let mut segments: Vec<(u64, PathBuf)> = journal
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let first = path.file_stem()?.to_str()?.parse().ok()?;
            Some((first, path))
        })
        .collect();
    segments.sort();
    let kept = segments.partition_point(|(first, _)| *first <= known);
    let run_both = || {
        [
            run(&mut backtest(dir.path(), &[])),
            run(tapewatch()
                .args(["replay", "--from", "2000-01-01", "--data"])
                .arg(dir.path().join("data"))),
        ]
    };
    // What the history has may go.
    for (_, path) in &segments[..kept - 1] {
        fs::remove_file(path).unwrap();
    }
    for (code, _, error) in run_both() {
        assert_eq!(code, 0, "{error}");
    }
    for (_, path) in &segments[kept - 1..=kept] {
        fs::remove_file(path).unwrap();
    }
    for (code, _, error) in run_both() {
        assert_eq!(code, 3, "{error}");
        assert!(error.contains("the rows between are missing"), "{error}");
    }
}

/// The orders that the last line on standard error says were looked at.
fn rows_said(error: &str) -> u64 {
    let words: Vec<_> = error.split_whitespace().collect();
    let at = words.iter().position(|word| word.starts_with("rows"));
    words[at.expect(error) - 1].parse().unwrap()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(status.unwrap().success());
}

/// The folder of each file that holds orders of the past.
fn order_files(data: &Path) -> Vec<PathBuf> {
    let table = fs::read_dir(data.join("history/orders")).unwrap();
    let dates = table.map(|entry| entry.unwrap().path());
    let dates = dates.filter(|path| !path.ends_with("_delta_log"));
    let files = dates.flat_map(|date| fs::read_dir(date).unwrap());
    let folder = |file: PathBuf| file.parent().unwrap().to_owned();
    let mut files: Vec<_> = files.map(|entry| folder(entry.unwrap().path())).collect();
    files.sort();
    files
}

/// A data directory that is made again, or that is put back and goes on, has as many files of the same
/// days and the same sequence numbers in its rows.
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
    let server = stored(dir.path(), 300_000);
    let grid = [
        "--set",
        "spoofing.cancel_count=2..9:1",
        "--threads",
        "1",
        "--out",
    ];
    let undisturbed = dir.path().join("undisturbed");
    let (code, _, error) = run(backtest(dir.path(), &grid).arg(&undisturbed));
    assert_eq!(code, 0, "{error}");
    let all = rows_said(&error);
    // Beside other rows of the same row groups: the orders of each part are said once.
    let cancels = "select count(*) from orders where event_type = 'cancelled'";
    assert_eq!(all, server.number(cancels));
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
    let stopped = ended.status.code() == Some(130);
    if stopped {
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
    if stopped {
        assert!(
            error.contains(" of 2 parts that were done before"),
            "{error}"
        );
        let rows = rows_said(&error);
        assert!(rows > 0 && rows < all, "{error}, {all} in all");
    }
    for file in fs::read_dir(&undisturbed).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap();
        let (expected, found) = (fs::read(&path).unwrap(), fs::read(out.join(name)).unwrap());
        assert!(expected == found, "{name:?} differs");
    }
}
