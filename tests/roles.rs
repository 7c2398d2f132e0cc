//! Roles in processes of their own: together they are the one process, whatever is killed when.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::cluster::{Cluster, orders, undisturbed};
use support::{run, tables, wait_for};

#[test]
fn roles_apart_are_the_whole_over_two_days() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 3_000);
    let (one, expected) = undisturbed(dir.path(), &file);
    let cluster = Cluster::whole();
    let gateway = cluster.gateway();
    let (code, _, error) = gateway.feed(&file, &["--rows-per-bucket", "7"]);
    assert_eq!(code, 0, "{error}");
    cluster.comes_to(&expected, "fed through the gateway");

    for server in [&one, gateway] {
        let (code, _, error) = run(&mut server.command(&["eod"]));
        assert_eq!(code, 0, "{error}");
    }
    cluster.comes_to(&expected, "after the end of day");
    wait_for("recent lets go of what is history", || {
        gateway.get_json("/api/v1/status")["recent_orders"] == 0
    });
    cluster.comes_to(&expected, "out of the history");
    for server in [&one, gateway] {
        assert_eq!(server.feed(&file, &["--rows-per-bucket", "7"]).0, 0);
    }
    cluster.comes_to(&tables(&one), "the next day");
}

#[test]
fn any_role_killed_at_any_moment_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 3_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    let mut cluster = Cluster::whole();
    let mut feed = cluster
        .gateway()
        .command(&["feed", "csv", file.to_str().unwrap()])
        .args(["--rows-per-bucket", "7", "--interval", "12ms"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let names = [
        "journal", "engine", "recent", "engine 2", "gateway", "history", "engine", "journal",
    ];
    let mut kills = 0;
    while feed.try_wait().unwrap().is_none() {
        let server = cluster.role(names[kills % names.len()]);
        std::thread::sleep(Duration::from_millis(60 + 41 * (kills as u64 % 7)));
        server.kill();
        std::thread::sleep(Duration::from_millis(40 * (kills as u64 % 3)));
        server.restart();
        kills += 1;
    }
    assert!(feed.wait().unwrap().success());
    assert!(
        kills >= names.len(),
        "only {kills} kills: the feed is too quick"
    );
    cluster.comes_to(&expected, &format!("after {kills} kills"));
}

#[test]
fn who_waits_for_the_journal_says_so() {
    let mut cluster = Cluster::new("");
    cluster.start("gateway", "gateway", &[]);
    let (status, text) = cluster.gateway().get("/readyz");
    assert_eq!(status, 503);
    assert!(
        text.contains("journal at 127.0.0.1:") && text.contains("is away"),
        "{text}"
    );
    let (status, text) = cluster.gateway().http("POST", "/api/v1/clear", "", b"");
    assert!(
        status == 503 && text.contains("no journal answers"),
        "{text}"
    );
    cluster.start("journal", "journal", &[]);
    // The journal answers what it can, and says who answers the rest.
    let (status, text) = cluster.role("journal").get("/api/v1/alerts");
    assert!(status == 421 && text.contains("the role recent"), "{text}");
    let (status, text) = cluster.role("journal").get("/wire");
    assert!(status == 400 && text.contains("tapewatch-wire"), "{text}");
}
