//! Arrow Flight through a gateway with a real client: `tests/flight_client.py` publishes and subscribes
//! there as at the roles themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use support::cluster::Cluster;
use support::{data, flight, run, wait_for};

fn url(port: u16) -> String {
    format!("grpc://127.0.0.1:{port}")
}

#[test]
fn rows_go_in_and_come_out_through_a_gateway_whatever_dies() {
    let mut cluster = Cluster::whole();
    let url = url(cluster.gateway().port);
    let mut publisher = flight(&url, &["publish", "one", "40000", "200"]);
    let mut publisher = publisher.stdout(Stdio::piped()).spawn().unwrap();
    let follower = flight(&url, &["follow", "77", "40000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(publisher.stdout.take().unwrap()).lines();
    for name in ["journal", "gateway", "journal", "recent"] {
        assert_eq!(lines.by_ref().take(30).count(), 30, "{name}");
        cluster.role(name).kill();
        cluster.role(name).restart();
    }
    assert_eq!(lines.count(), 80);
    assert!(publisher.wait().unwrap().success());
    let output = follower.wait_with_output().unwrap();
    assert!(output.status.success());
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["rows"], 40_000 - 77);
    assert!(told["connections"].as_u64().unwrap() > 2, "{told}");
    wait_for("recent to have them", || {
        cluster
            .gateway()
            .number("select count(distinct order_id) from orders")
            == 40_000
    });
    assert_eq!(
        cluster.gateway().number("select count(*) from orders"),
        40_000
    );
}

#[test]
fn each_table_comes_from_the_role_that_has_it() {
    let mut cluster = Cluster::new("").filled();
    let (code, _, error) = cluster.gateway().feed(&data("spoofingData.csv"), &[]);
    assert_eq!(code, 0, "{error}");
    let gateway = cluster.gateway();
    wait_for("the hits to show", || {
        let status = gateway.get_json("/api/v1/status");
        status["hits_seq"].as_u64() == status["next_seq"].as_u64().map(|next| next - 1)
    });
    let [orders, alerts, hits] = ["orders", "alerts", "hits"]
        .map(|table| gateway.number(&format!("select count(*) from {table}")));
    assert!(alerts > 0 && hits > 0);
    let (code, out, error) = run(&mut flight(&url(gateway.port), &["tables"]));
    let expected = format!("orders {orders}\nalerts {alerts}\nhits {hits}\n");
    assert_eq!((code, out), (0, expected), "{error}");
    // A role alone says where the rest is.
    let (journal, recent) = (cluster.ports.journal, cluster.ports.recent);
    for (port, words) in [
        (
            journal,
            format!(
                "alerts: subscribe at the role recent, which is in another process (127.0.0.1:{recent}, "
            ),
        ),
        (
            recent,
            format!(
                "orders: subscribe at the role journal, which is in another process (127.0.0.1:{journal})"
            ),
        ),
    ] {
        let (code, _, error) = run(&mut flight(&url(port), &["tables"]));
        assert!(code != 0 && error.contains(&words), "{words}: {error}");
    }
    // Who follows without an end does not keep the gateway from its own.
    let mut stuck = flight(&url(gateway.port), &["stuck"]);
    let mut stuck = stuck.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(stuck.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "open");
    cluster.role("gateway").signal("TERM");
    let ended = cluster.role("gateway").ends_within(8);
    stuck.kill().unwrap();
    stuck.wait().unwrap();
    assert_eq!(ended, Some(0));
    // Without a journal the refusal says who is away, in the protocol's words.
    cluster.role("gateway").restart();
    cluster.role("journal").kill();
    std::thread::sleep(Duration::from_millis(100));
    let port = cluster.gateway().port;
    let (code, _, error) = run(&mut flight(&url(port), &["stuck"]));
    let expected = format!("no journal answers at 127.0.0.1:{journal}");
    assert!(
        code != 0 && error.contains("FlightUnavailableError") && error.contains(&expected),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_refused_through_a_gateway_as_at_the_journal() {
    let cluster = Cluster::new("").filled();
    let (code, out, error) = run(&mut flight(&url(cluster.gateway().port), &["refusals"]));
    assert_eq!((code, out.trim()), (0, "ok"), "{error}");
}

#[test]
fn readers_that_take_nothing_hold_a_stop_up_for_a_bounded_time() {
    let mut cluster = Cluster::new("").filled();
    let publish = ["publish", "one", "300000", "10000"];
    let (code, _, error) = run(&mut flight(&url(cluster.gateway().port), &publish));
    assert_eq!(code, 0, "{error}");
    let ports = [cluster.gateway().port, cluster.ports.journal];
    let mut stuck = ports.map(|port| {
        let mut stuck = flight(&url(port), &["stuck"]);
        stuck.stdout(Stdio::piped()).spawn().unwrap()
    });
    for stuck in &mut stuck {
        let mut lines = BufReader::new(stuck.stdout.as_mut().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "open");
    }
    // What they are sent fills all that holds something on the way.
    std::thread::sleep(Duration::from_secs(2));
    for name in ["gateway", "journal"] {
        cluster.role(name).signal("TERM");
    }
    for name in ["gateway", "journal"] {
        assert_eq!(cluster.role(name).ends_within(15), Some(0), "{name}");
    }
    let log = cluster.role("journal").log();
    assert!(log.contains("requests were still open after 10 s"), "{log}");
    for stuck in &mut stuck {
        stuck.kill().unwrap();
        stuck.wait().unwrap();
    }
    cluster.role("journal").restart();
    cluster.role("gateway").restart();
    wait_for("all rows to be there", || {
        cluster.gateway().get_json("/api/v1/status")["orders"] == 300_000
    });
}
