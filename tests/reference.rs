//! The reference system's data gives exactly its alerts, whatever the way in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::HashMap;

use serde_json::json;
use support::{Server, data, run, tapewatch};

fn expected(name: &str) -> String {
    std::fs::read_to_string(data("expected").join(name)).unwrap()
}

const ALERTS: &str = "select * from orderAlerts";

#[test]
fn the_button_gives_one_alert_and_a_second_push_one_more() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    server.push(&json!({ "interval_ms": 5 }));
    assert_eq!(server.csv(ALERTS), expected("alerts_push_once.csv"));
    server.push(&json!({ "interval_ms": 0 }));
    let once = expected("alerts_push_once.csv");
    let row = once.split_inclusive('\n').nth(1).unwrap();
    assert_eq!(
        server.csv(ALERTS),
        format!("{once}{row}"),
        "the windows were cleared"
    );
    assert_eq!(server.number("select count(*) from alerts"), 2);
    let (code, _, error) = run(&mut server.command(&["eod"]));
    assert_eq!(code, 0, "{error}");
    assert_eq!(
        server.csv(ALERTS),
        format!("{once}{row}"),
        "out of the history"
    );
}

#[test]
fn any_bucket_size_mode_and_entity_gives_the_reference_alert() {
    for mode in ["seq", "wj1", "wj"] {
        for entity in ["sym_trader_side", "sym_trader"] {
            let dir = tempfile::tempdir().unwrap();
            let set = [
                format!("spoofing.mode={mode}"),
                format!("spoofing.entity={entity}"),
            ];
            let server = Server::start(dir.path(), &["--set", &set[0], "--set", &set[1]]);
            for rows in 1..=10 {
                server.push(&json!({ "interval_ms": 0, "rows_per_bucket": rows }));
            }
            let once = expected("alerts_push_once.csv");
            let (header, row) = once.split_once('\n').unwrap();
            assert_eq!(
                server.csv(ALERTS),
                format!("{header}\n{}", row.repeat(10)),
                "{mode} {entity}"
            );
        }
    }
}

#[test]
fn pushed_twice_without_clearing_the_second_gives_three_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    server.push(&json!({ "interval_ms": 0, "clear": false }));
    server.push(&json!({ "interval_ms": 0, "clear": false }));
    assert_eq!(
        server.csv(ALERTS),
        expected("alerts_push_twice_no_clear.csv")
    );
    server.kill();
    server.restart();
    assert_eq!(
        server.csv(ALERTS),
        expected("alerts_push_twice_no_clear.csv"),
        "after a crash"
    );
}

#[test]
fn the_same_through_the_command_line_feed_and_the_reference_thresholds() {
    let dir = tempfile::tempdir().unwrap();
    let thresholds = data("spoofingThresholds.csv");
    let server = Server::start(dir.path(), &["--thresholds", thresholds.to_str().unwrap()]);
    let file = data("spoofingData.csv");
    for rows in ["2", "10"] {
        let (code, _, error) = server.feed(&file, &["--rows-per-bucket", rows]);
        assert_eq!(code, 0, "{error}");
        assert!(
            error.contains("10 orders published, 0 rows refused"),
            "{error}"
        );
    }
    assert_eq!(
        server.csv(ALERTS),
        expected("alerts_push_twice_no_clear.csv")
    );
    let orders = server.csv("select * from \"order\" limit 10");
    let read = std::fs::read_to_string(file).unwrap();
    let reference: Vec<_> = read
        .lines()
        .map(|line| line.replacen("D12", "T12", 1))
        .collect();
    for (ours, theirs) in orders.lines().skip(1).zip(&reference[1..]) {
        assert_eq!(ours, format!("{theirs}.0"), "quantity is a float there");
    }
    assert_eq!(
        orders.lines().next().unwrap(),
        reference[0],
        "the reference's names, in its order"
    );
}

#[test]
fn the_same_through_replay_in_every_form() {
    let file = data("spoofingData.csv");
    let replay = |arguments: &[&str]| {
        let (code, out, error) = run(tapewatch().arg("replay").arg(&file).args(arguments));
        assert_eq!(code, 0, "{error}");
        assert!(
            error.contains(": 10 rows, ") && error.contains(" 0 rejects, 1 hits"),
            "{error}"
        );
        out
    };
    let hit: serde_json::Value = serde_json::from_str(replay(&[]).trim()).unwrap();
    for (pointer, value) in [
        ("/time", json!("2015-04-17T12:00:20.000000000Z")),
        ("/sym", json!("SNDL")),
        ("/order_id", json!("SPG-Oid13")),
        ("/measures/0/value", json!("4600")),
        ("/measures/1/value", json!("4")),
        ("/evidence", json!([4, 7, 8, 10])),
        ("/detector_version", json!(1)),
        ("/severity", json!(30)),
    ] {
        assert_eq!(hit.pointer(pointer).unwrap(), &value, "{pointer}");
    }
    assert_eq!(replay(&["--threads", "3"]), replay(&["--threads", "1"]));
    let table = replay(&["--format", "table"]);
    assert!(
        table.lines().nth(1).unwrap().contains("SPG-Oid13"),
        "{table}"
    );
    let csv = replay(&["--format", "csv", "--detector", "spoofing"]);
    let mut lines = csv.lines().map(|line| line.split(','));
    let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
    let told: HashMap<_, _> = header.zip(row).collect();
    for (column, value) in [
        ("severity", "30"),
        ("suppressed", ""),
        ("detector_version", "1"),
        (
            "measures",
            "cancel_quantity 4600 > 4000; cancel_count 4 > 3",
        ),
        ("evidence", "4 7 8 10"),
        ("alert_time", "2015-04-17T12:00:20.000000000Z"),
    ] {
        assert_eq!(told.get(column), Some(&value), "{column}: {csv}");
    }
}
