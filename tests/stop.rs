//! A replay that a signal stops: what is done is written, whole, and the exit code says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use support::{run, tapewatch};

const HEADER: &str = "time,sym,eventType,trader,side,orderID,price,quantity";
/// More than a replay reads before it is stopped: one that is not stopped comes to an end.
const ROWS_MAX: u64 = 5_000_000;

/// A cancel every 100 ms; every trader's fourth and later are hits.
fn row(number: u64) -> String {
    let seconds = number / 10;
    format!(
        "2024-01-{:02}T{:02}:{:02}:{:02}.{},ABC,cancelled,T{},B,O{number},1.5,2000",
        1 + seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        number % 10,
        number % 10
    )
}

/// Writes the header and so many rows, or as many as somebody reads.
fn write_rows(path: &Path, rows: u64) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let mut write = |line: &str| writeln!(out, "{line}").is_ok();
    let _ = write(HEADER) && (0..rows).all(|number| write(&row(number)));
}

/// The number before a word: `before("stopped after 5 rows", " rows")`.
fn before(text: &str, word: &str) -> u64 {
    let (head, _) = text.split_once(word).unwrap_or_else(|| panic!("{text}"));
    let digits = head.rsplit(' ').next().unwrap();
    digits.parse().unwrap_or_else(|_| panic!("{text}"))
}

/// Stops a replay in the middle of an endless file.
fn stopped(signal: &str, threads: &str) {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("endless.csv");
    let (code, _, error) = run(Command::new("mkfifo").arg(&pipe));
    assert_eq!(code, 0, "{error}");
    let mut replay = tapewatch()
        .arg("replay")
        .arg(&pipe)
        .args(["--threads", threads])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let writer = thread::spawn(move || write_rows(&pipe, ROWS_MAX));
    let mut out = BufReader::new(replay.stdout.take().unwrap());
    let mut partial = String::new();
    assert!(out.read_line(&mut partial).unwrap() > 0, "there is a hit");
    let pid = replay.id().to_string();
    let (code, _, error) = run(Command::new("kill").args(["-s", signal, &pid]));
    assert_eq!(code, 0, "{error}");
    out.read_to_string(&mut partial).unwrap();
    let mut error = String::new();
    let mut errors = replay.stderr.take().unwrap();
    errors.read_to_string(&mut error).unwrap();
    let code = replay.wait().unwrap().code();
    writer.join().unwrap();

    assert_eq!(code, Some(130), "{error}");
    let (_, message) = error
        .split_once("stopped after ")
        .unwrap_or_else(|| panic!("{error}"));
    let rows = before(message, " rows");
    assert!((1..ROWS_MAX).contains(&rows), "{error}");
    assert!(partial.ends_with('\n'), "the last line is whole");
    assert_eq!(
        partial.lines().count() as u64,
        before(message, " hits"),
        "{error}"
    );

    // What it wrote is how a replay of the rows that it read begins.
    let file = dir.path().join("orders.csv");
    write_rows(&file, rows);
    let (code, whole, error) = run(tapewatch().arg("replay").arg(&file));
    assert_eq!(code, 0, "{error}");
    let differs = whole
        .lines()
        .zip(partial.lines())
        .find(|(whole, partial)| whole != partial);
    assert_eq!(differs, None);
    assert!(whole.len() >= partial.len());
}

#[test]
fn an_interrupt_stops_a_replay_between_rows() {
    stopped("INT", "1");
}

#[test]
fn so_does_a_request_to_end_with_threads() {
    stopped("TERM", "2");
}
