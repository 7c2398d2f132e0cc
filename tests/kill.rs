//! SIGKILL at many points of a push and of an end of day: nothing is lost, nothing comes twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Server, assert_same, run, tables, wait_for, write_orders};

#[test]
fn killed_in_the_middle_of_a_push() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let file = dirs[0].path().join("orders.csv");
    write_orders(&file, 3_000);
    // A bad row now and then, so that dead letters are at stake as well.
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace(",SYM1,new,", ",SYM1,born,");
    std::fs::write(&file, text).unwrap();
    let undisturbed = Server::start(dirs[0].path(), &[]);
    let (code, _, error) = undisturbed.feed(&file, &["--rows-per-bucket", "7"]);
    assert_eq!(code, 0, "{error}");
    let expected = tables(&undisturbed);
    assert!(expected[1].lines().count() > 20, "hits are at stake");
    assert!(
        expected[3].lines().count() > 20,
        "dead letters are at stake"
    );

    let mut server = Server::start(dirs[1].path(), &[]);
    let mut feed = server
        .command(&[
            "feed",
            "csv",
            file.to_str().unwrap(),
            "--rows-per-bucket",
            "7",
            "--interval",
            "6ms",
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut kills = 0;
    while feed.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(90 + 37 * (kills % 7)));
        server.kill();
        server.restart();
        kills += 1;
    }
    assert!(feed.wait().unwrap().success());
    assert!(
        kills >= 8,
        "only {kills} kills: the feed is too quick for this test"
    );
    assert_same(&tables(&server), &expected, &format!("after {kills} kills"));
}

#[test]
fn killed_in_the_middle_of_an_end_of_day() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let file = dirs[0].path().join("orders.csv");
    write_orders(&file, 20_000);
    let undisturbed = Server::start(dirs[0].path(), &[]);
    assert_eq!(undisturbed.feed(&file, &[]).0, 0);
    let expected = tables(&undisturbed);

    let mut server = Server::start(dirs[1].path(), &[]);
    assert_eq!(server.feed(&file, &[]).0, 0);
    let started = Instant::now();
    let (code, _, error) = run(&mut undisturbed.command(&["eod"]));
    assert_eq!(code, 0, "{error}");
    let whole = started.elapsed();
    assert_same(
        &tables(&undisturbed),
        &expected,
        "an end of day changes no answer",
    );

    let points = 14;
    for point in 0..points {
        let mut eod = server
            .command(&["eod"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before it begins to after it ends.
        std::thread::sleep(whole * point / (points - 3));
        server.kill();
        eod.wait().unwrap();
        server.restart();
        assert_same(
            &tables(&server),
            &expected,
            &format!("killed at {point} of {points}"),
        );
    }
    let (code, _, error) = run(&mut server.command(&["eod"]));
    assert_eq!(code, 0, "{error}");
    assert_same(&tables(&server), &expected, "in the end");
    assert_eq!(
        server.get_json("/api/v1/status")["recent_orders"],
        0,
        "all of it is history now"
    );

    // The next day on top of it, with a restart in between.
    server.kill();
    server.restart();
    for server in [&server, &undisturbed] {
        assert_eq!(server.feed(&file, &[]).0, 0);
    }
    assert_same(&tables(&server), &tables(&undisturbed), "the next day");
}

#[test]
fn killed_while_the_session_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("orders.csv");
    write_orders(&file, 2_000);
    // The memory is full from the first bucket on: it becomes history again and again.
    std::fs::write(dir.path().join("t.toml"), "[recent]\nrows_max = 100\n").unwrap();
    let config = dir.path().join("t.toml");
    let mut server = Server::start(dir.path(), &["--config", config.to_str().unwrap()]);
    let mut feed = server
        .command(&[
            "feed",
            "csv",
            file.to_str().unwrap(),
            "--rows-per-bucket",
            "20",
            "--interval",
            "30ms",
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while feed.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(700));
        server.kill();
        server.restart();
    }
    assert!(feed.wait().unwrap().success());
    assert_eq!(server.number("select count(*) from orders"), 2_000);
    assert_eq!(
        server.number("select count(distinct seq) from orders"),
        2_000
    );
    wait_for("the rest to become history", || {
        server.get_json("/api/v1/status")["recent_orders"]
            .as_u64()
            .unwrap()
            < 100
    });
    assert_eq!(server.number("select count(*) from orders"), 2_000);
}
