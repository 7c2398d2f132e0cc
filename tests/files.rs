//! The files of the history, read by DuckDB, Polars and deltalake as others wrote them: the same rows
//! and sums as our SQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use serde_json::Value;
use support::{Server, python, run, write_orders};

#[test]
fn other_readers_find_what_sql_finds() {
    const ROWS: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--detector", "all"]);
    let file = dir.path().join("orders.csv");
    write_orders(&file, ROWS);
    // Some rows are refused, so that there are dead letters.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.extend(["x,SYM1,new", "y,SYM1,new"]);
    let half = lines.len() / 2;
    let head = lines[0];
    // Two ends of day: the tables have several files and versions.
    for part in [&lines[..half], &lines[half..]] {
        let mut text = part.join("\n") + "\n";
        if !text.starts_with(head) {
            text = format!("{head}\n{text}");
        }
        std::fs::write(&file, text).unwrap();
        let (code, _, error) = server.feed(&file, &[]);
        assert_eq!(code, 0, "{error}");
        let (code, _, error) = run(&mut server.command(&["eod"]));
        assert_eq!(code, 0, "{error}");
    }
    let history = dir.path().join("data/history");
    let (code, out, error) = run(python("sql_client.py").arg("files").arg(&history));
    assert_eq!(code, 0, "{error}");
    let found: Value = serde_json::from_str(&out).unwrap();
    for (table, query) in [
        (
            "orders",
            "select count(*), sum(seq), sum(price), sum(quantity), count(distinct sym) from orders",
        ),
        (
            "hits",
            "select count(*), sum(seq), sum(quantity), count(distinct alert_id) from hits",
        ),
        (
            "dead_letters",
            "select count(*), sum(line) from dead_letters",
        ),
    ] {
        let csv = server.csv(query);
        let ours: Vec<&str> = csv.lines().nth(1).unwrap().split(',').collect();
        assert!(ours[0].parse::<u64>().unwrap() > 1, "{table}: {csv}");
        let readers = found[table].as_object().unwrap();
        assert!(readers.len() >= 3, "{table}: {readers:?}");
        for (reader, theirs) in readers {
            let theirs: Vec<String> = theirs.as_array().unwrap().iter().map(plain).collect();
            assert_eq!(theirs, ours, "{table} by {reader}");
        }
    }
}

/// A number as our text has it: without an exponent.
fn plain(number: &Value) -> String {
    let text = number.as_str().unwrap();
    match text.split_once("E+") {
        None => text.to_owned(),
        Some((digits, zeros)) => {
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            let zeros = zeros.parse::<usize>().unwrap() - fraction.len();
            format!("{whole}{fraction}{}", "0".repeat(zeros))
        }
    }
}
