//! Rules in a running process: they come into force when their file changes and on SIGHUP, wrong ones
//! do not, and a replay over HTTP runs what is in force or what it is given.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{Server, assert_same, data, root, tables, wait_for};

const RULE: &str = "cancelled_quantity";

/// The example rule, with another version and another limit.
fn rule(version: u32, limit: u32) -> String {
    let text = fs::read_to_string(root().join("examples/rules/cancelled_quantity.toml")).unwrap();
    let text = text.replace("version = 1", &format!("version = {version}"));
    text.replace(
        "quantity_limit = 4000",
        &format!("quantity_limit = {limit}"),
    )
}

/// A process with the folder `rules` of `dir`, and a component.
fn start(dir: &Path) -> Server {
    let config = dir.join("tapewatch.toml");
    let wasm = root().join("examples/guests/rust/cancel_burst.wasm");
    let text = format!(
        "[rules]\ndir = {:?}\n[detectors.cancel_burst]\nwasm = {wasm:?}\ncancel_count = 1\nlookback = \"30s\"\n",
        dir.join("rules")
    );
    fs::write(&config, text).unwrap();
    Server::start(dir, &["--config", config.to_str().unwrap()])
}

/// Version of a rule or detector that is in force.
fn version(server: &Server, name: &str) -> Option<u64> {
    let status = server.get_json("/api/v1/status");
    let detectors = status["detectors"].as_array().unwrap().clone();
    let found = detectors.into_iter().find(|one| one["name"] == name)?;
    assert_eq!(found["config_version"].as_str().unwrap().len(), 32);
    found["version"].as_u64()
}

/// Feeds the ten orders to empty windows; hits of the rule by version.
fn hits_by_version(server: &Server) -> String {
    let (code, _, error) = server.feed(&data("spoofingData.csv"), &["--clear"]);
    assert_eq!(code, 0, "{error}");
    let query = format!(
        "select detector_version as v, count(*) as n from hits where detector = '{RULE}' group by v order by v"
    );
    server.csv(&query).replace('\r', "")
}

#[test]
fn a_changed_file_and_a_hangup_bring_rules_into_force_and_a_wrong_one_leaves_them() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules");
    fs::create_dir(&rules).unwrap();
    let file = rules.join("rule.toml");
    fs::write(&file, rule(1, 4000)).unwrap();
    let mut server = start(dir.path());
    assert_eq!(version(&server, RULE), Some(1));
    assert_eq!(version(&server, "spoofing"), Some(1));
    assert_eq!(hits_by_version(&server), "v,n\n1,1\n");

    // Version 2 asks for more than the ten orders have.
    fs::write(&file, rule(2, 100_000)).unwrap();
    wait_for("version 2", || version(&server, RULE) == Some(2));
    assert_eq!(hits_by_version(&server), "v,n\n1,1\n");

    let wrong = rules.join("wrong.toml");
    fs::write(&wrong, "name = \"half\nversion = 1\n").unwrap();
    let told = || {
        server
            .log()
            .matches("wrong rules; those in force stay")
            .count()
    };
    wait_for("the mistake to be told", || told() == 1);
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("wrong rules"))
        .unwrap();
    assert!(line.contains("wrong.toml:1:"), "file and line: {line}");
    assert_eq!(version(&server, RULE), Some(2));
    assert_eq!(version(&server, "half"), None);
    // Nothing changed since, so that only the signal makes it look again.
    server.signal("HUP");
    wait_for("the signal to be heard", || told() == 2);

    fs::remove_file(&wrong).unwrap();
    fs::write(&file, rule(3, 4000)).unwrap();
    server.signal("HUP");
    wait_for("version 3", || version(&server, RULE) == Some(3));
    assert_eq!(hits_by_version(&server), "v,n\n1,1\n3,1\n");

    // Which version was in force when is a part of the journal.
    let before = tables(&server);
    server.kill();
    server.restart();
    assert_same(&tables(&server), &before, "after a restart");
    assert_eq!(version(&server, RULE), Some(3));
}

/// Hits by detector of an answer of `/replay`.
fn by_detector(answer: &str) -> BTreeMap<String, usize> {
    let mut hits = BTreeMap::new();
    for line in answer.lines() {
        let hit: Value = serde_json::from_str(line).unwrap();
        assert!(
            hit["severity"]
                .as_u64()
                .is_some_and(|score| (25..=100).contains(&score)),
            "{hit}"
        );
        *hits
            .entry(hit["detector"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    hits
}

#[test]
fn a_replay_over_http_runs_what_is_in_force_or_what_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("rules")).unwrap();
    fs::write(dir.path().join("rules/rule.toml"), rule(1, 4000)).unwrap();
    let server = start(dir.path());
    let (code, _, error) = server.feed(&data("spoofingData.csv"), &[]);
    assert_eq!(code, 0, "{error}");
    let replay = |more: &Value| {
        let mut body = json!({ "from": "2015-04-17T00:00:00Z", "to": "2015-04-18T00:00:00Z" });
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        let body = body.to_string();
        server.http(
            "POST",
            "/api/v1/replay",
            "application/json",
            body.as_bytes(),
        )
    };
    let found = |more: &Value| {
        let (status, answer) = replay(more);
        assert_eq!(status, 200, "{answer}");
        by_detector(&answer)
    };
    let named = |pairs: &[(&str, usize)]| -> BTreeMap<String, usize> {
        pairs
            .iter()
            .map(|&(name, hits)| (name.to_owned(), hits))
            .collect()
    };
    assert_eq!(found(&json!({})), named(&[("spoofing", 1)]), "the defaults");
    let live =
        server.csv("select detector, count(*) from hits group by detector order by detector");
    let live: BTreeMap<String, usize> = live
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap())
        .map(|(name, hits)| (name.to_owned(), hits.parse().unwrap()))
        .collect();
    assert_eq!(live.len(), 3, "detector, rule and component: {live:?}");
    assert_eq!(found(&json!({ "in_force": true })), live);
    let only = json!({ "in_force": true, "detectors": [RULE] });
    assert_eq!(found(&only), named(&[(RULE, 1)]));
    let given = json!({ "rules": [rule(9, 1000)], "detectors": [RULE] });
    assert_eq!(found(&given), named(&[(RULE, 1)]));
    let stricter = json!({ "rules": [rule(9, 100_000)] });
    assert_eq!(found(&stricter), named(&[("spoofing", 1)]));

    for (wrong, expected) in [
        (json!({ "rules": ["name = 1"] }), "rules[0]:1:"),
        (json!({ "detectors": [RULE] }), "unknown detector"),
        (json!({ "set": ["spoofing.colour=1"] }), "colour"),
    ] {
        let (status, answer) = replay(&wrong);
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains(expected), "{answer}");
    }
}
