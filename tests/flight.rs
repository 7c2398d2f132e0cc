//! Arrow Flight with a real client: `tests/flight_client.py` with the Python of `TAPEWATCH_PYTHON` (made
//! by `cargo xtask test`) publishes, subscribes and is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use support::{Server, data, flight, run, wait_for};

const ROWS: u64 = 1_000_000;

fn url(server: &Server) -> String {
    format!("grpc://127.0.0.1:{}", server.port)
}

fn spawn(server: &Server, arguments: &[&str]) -> Child {
    flight(&url(server), arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it says to its end.
fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the client failed");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_million_rows_in_and_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let rows = ROWS.to_string();
    let mut publisher = spawn(&server, &["publish", "one", &rows, "10000"]);
    // From a number in the middle, while publishing goes on.
    let mut lines = BufReader::new(publisher.stdout.take().unwrap()).lines();
    let begun = lines.by_ref().take(20).count();
    assert_eq!(begun, 20);
    let follower = spawn(&server, &["follow", "123456", &rows]);
    assert_eq!(lines.count(), 80);
    assert!(publisher.wait().unwrap().success());
    let expected = format!("{{\"rows\": {}, \"connections\": 1}}", ROWS - 123_456);
    assert_eq!(finish(follower).trim(), expected);
    assert_eq!(server.number("select count(*) from orders"), ROWS);
    let sum = "select count(distinct order_id) from orders";
    assert_eq!(server.number(sum), ROWS);
}

#[test]
fn killed_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let rows = (ROWS / 10).to_string();
    let mut publisher = spawn(&server, &["publish", "one", &rows, "250"]);
    let follower = spawn(&server, &["follow", "77", &rows]);
    let mut lines = BufReader::new(publisher.stdout.take().unwrap()).lines();
    let mut kills = 0_u64;
    // Answers come until the end; a kill after every so many of them, at some moment between two.
    while lines.by_ref().take(45).count() == 45 {
        std::thread::sleep(Duration::from_micros(500 + 731 * (kills % 9)));
        server.kill();
        server.restart();
        kills += 1;
    }
    assert!(publisher.wait().unwrap().success());
    assert!(kills >= 8, "only {kills} kills");
    let told: serde_json::Value = serde_json::from_str(&finish(follower)).unwrap();
    assert_eq!(told["rows"], ROWS / 10 - 77);
    assert!(told["connections"].as_u64().unwrap() > 1);
    assert_eq!(server.number("select count(*) from orders"), ROWS / 10);
    let distinct = "select count(distinct order_id) from orders";
    assert_eq!(server.number(distinct), ROWS / 10);
}

#[test]
fn what_is_wrong_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (code, out, error) = run(&mut flight(&url(&server), &["refusals"]));
    assert_eq!((code, out.trim()), (0, "ok"), "{error}");
}

#[test]
fn hits_and_alerts_and_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let thresholds = data("spoofingThresholds.csv");
    let server = Server::start(dir.path(), &["--thresholds", thresholds.to_str().unwrap()]);
    let (code, _, error) = server.feed(&data("spoofingData.csv"), &[]);
    assert_eq!(code, 0, "{error}");
    let hits = server.number("select count(*) from hits");
    let alerts = server.number("select count(*) from alerts");
    assert!(hits > 0 && alerts > 0);
    let orders = server.number("select count(*) from orders");
    let expected = format!("orders {orders}\nalerts {alerts}\nhits {hits}\n");
    let (code, out, error) = run(&mut flight(&url(&server), &["tables"]));
    assert_eq!((code, out), (0, expected.clone()), "{error}");
    // The same from the history.
    let (code, _, error) = run(&mut server.command(&["eod"]));
    assert_eq!(code, 0, "{error}");
    let (code, out, error) = run(&mut flight(&url(&server), &["tables"]));
    assert_eq!((code, out), (0, expected), "{error}");
}

#[test]
fn a_subscriber_that_does_not_read_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let mut stuck = spawn(&server, &["stuck"]);
    let mut lines = BufReader::new(stuck.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "open");
    let publisher = spawn(&server, &["publish", "one", "300000", "10000"]);
    assert_eq!(finish(publisher).lines().count(), 30);
    assert_eq!(server.number("select count(*) from orders"), 300_000);
    let lag = |server: &Server| {
        let (_, text) = server.get("/metrics");
        let lag = "tapewatch_subscriber_lag{subscriber=\"stuck\"} ";
        let lag = text.lines().find_map(|line| line.strip_prefix(lag));
        lag.map(|lag| lag.parse::<u64>().unwrap())
    };
    wait_for("its lag", || lag(&server) > Some(100_000));
    stuck.kill().unwrap();
    stuck.wait().unwrap();
    wait_for("it to be forgotten", || lag(&server).is_none());
    // Nor does one keep the process from stopping.
    let mut stuck = spawn(&server, &["stuck"]);
    let mut lines = BufReader::new(stuck.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "open");
    assert_eq!(server.terminate(), 0);
    stuck.kill().unwrap();
    stuck.wait().unwrap();
}
