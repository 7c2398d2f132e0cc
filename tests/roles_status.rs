//! What a cluster says of itself: who is there, who is waited for and why, and how far each is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use serde_json::{Value, json};
use support::cluster::{Cluster, orders};
use support::{http_at, root, wait_for, write_orders};

fn status(port: u16) -> Value {
    let (code, body) = http_at(port, "GET", "/api/v1/status", "", b"");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// A metric of a process, by its name and labels.
fn metric(port: u16, name: &str) -> Option<i64> {
    let (_, text) = http_at(port, "GET", "/metrics", "", b"");
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// What is said of the peer with this role at this port.
fn peer(status: &Value, role: &str, port: u16) -> Value {
    let address = format!("127.0.0.1:{port}");
    let mut peers = status["peers"].as_array().unwrap().iter();
    let found = peers.find(|peer| peer["role"] == role && peer["address"] == address);
    found.cloned().unwrap_or_default()
}

#[test]
fn the_gateway_says_how_far_each_is_and_who_is_waited_for() {
    let mut cluster = Cluster::whole();
    let file = orders(cluster.dir.path(), 1_000);
    cluster.feed(&file);
    let (ports, gateway) = (cluster.ports, cluster.gateway().port);
    let all = [
        ("journal", ports.journal),
        ("engine", ports.engine),
        ("engine", ports.engine2),
        ("recent", ports.recent),
        ("history", ports.history),
    ];
    wait_for("all to have come to the end", || {
        let status = status(gateway);
        let last = status["next_seq"].as_u64().unwrap() - 1;
        last > 1_000
            && status["hits_seq"] == last
            && all.iter().all(|(role, port)| {
                let peer = peer(&status, role, *port);
                peer["state"] == "connected" && peer["last_seq"] == last && peer["lag"] == 0
            })
    });
    let whole = status(gateway);
    assert_eq!(whole["roles"], json!(["gateway"]));
    // One that was never there.
    let missing = peer(&whole, "recent", ports.recent2);
    assert_eq!(missing["state"], "waiting", "{missing}");
    assert!(missing["why"].as_str().unwrap().contains("refused"));
    assert!(missing["since"].as_str().unwrap().starts_with("20"));
    assert!(missing.get("last_seq").is_none());
    // What the journal's process alone knows.
    let last = whole["next_seq"].as_u64().unwrap() - 1;
    let shares: Vec<_> = ["0/2", "1/2"]
        .map(|share| json!({"share": share, "last_seq": last, "lag": 0}))
        .into();
    assert_eq!(whole["shares"], json!(shares));
    let names = whole["subscribers"].to_string();
    for name in ["engine-0-of-2/", "engine-1-of-2/", "recent/", "history/"] {
        assert!(names.contains(name), "{names}");
    }
    // Readers of the hits too, whose log has numbers of its own.
    assert!(names.matches("/hits").count() >= 2, "{names}");
    wait_for("all subscribers to have come to the end", || {
        let status = status(gateway);
        let mut all = status["subscribers"].as_array().unwrap().iter();
        all.all(|one| one["lag"] == 0)
    });
    assert_eq!(status(ports.engine)["roles"], json!(["engine"]));

    // An engine dies: it is waited for, and its share falls behind with what comes.
    cluster.role("engine 2").kill();
    cluster.feed(&file);
    wait_for("the engine to be missed", || {
        let status = status(gateway);
        let gone = peer(&status, "engine", ports.engine2);
        gone["state"] == "waiting" && status["shares"][0]["lag"] == 0
    });
    let whole = status(gateway);
    let lag = whole["shares"][1]["lag"].as_i64().unwrap();
    assert!(lag >= 1_000, "{whole}");
    assert_eq!(whole["hits_seq"], last);
    assert_eq!(peer(&whole, "engine", ports.engine2)["lag"], lag);
    let away = format!(
        "tapewatch_peer_away{{peer=\"engine at 127.0.0.1:{}\"}}",
        ports.engine2
    );
    assert_eq!(metric(gateway, &away), Some(1));
    let last = i64::try_from(last).unwrap();
    let share = |share| {
        metric(
            ports.journal,
            &format!("tapewatch_share_seq{{share=\"{share}\"}}"),
        )
    };
    assert_eq!((share("0/2"), share("1/2")), (Some(last + lag), Some(last)));
    assert_eq!(metric(ports.journal, "tapewatch_hits_seq "), Some(last));
}

#[test]
fn who_lags_behind_the_journal_or_waits_for_it_says_so() {
    // The tables are full soon, and the history that would empty them is away.
    let mut cluster = Cluster::new("");
    cluster.all_have("TAPEWATCH_RECENT__ROWS_MAX", 100);
    cluster.start("journal", "journal", &[]);
    cluster.engine("engine", "0/1");
    cluster.start("recent", "recent", &[]);
    cluster.start("gateway", "gateway", &[]);
    let file = orders(cluster.dir.path(), 1_000);
    cluster.feed(&file);
    let port = cluster.ports.recent;
    wait_for("recent to lag", || status(port)["lag"].as_u64() > Some(100));
    assert!(metric(port, "tapewatch_lag ") > Some(100));
    let journal = peer(&status(port), "journal", cluster.ports.journal);
    assert_eq!(journal["state"], "connected");
    assert!(journal["last_seq"].as_u64() > Some(1_000), "{journal}");
    let away = format!(
        "tapewatch_peer_away{{peer=\"journal at 127.0.0.1:{}\"}}",
        cluster.ports.journal
    );
    assert_eq!(metric(port, &away), Some(0));
    cluster.role("journal").kill();
    wait_for("the journal to be missed", || {
        let journal = peer(&status(port), "journal", cluster.ports.journal);
        journal["state"] == "waiting" && journal["attempts"].as_u64() > Some(1)
    });
    assert_eq!(metric(port, &away), Some(1));
}

#[test]
fn a_component_that_failed_in_one_engine_is_named_with_that_engine() {
    let wasm = root().join("examples/guests/rust/cancel_burst.wasm");
    let table = format!(
        "[detectors.cancel_burst]\nwasm = {wasm:?}\nfuel_per_event = 1\nfuel_burst = 2000\n"
    );
    let cluster = Cluster::new(&table).filled();
    let file = cluster.dir.path().join("one.csv");
    write_orders(&file, 200);
    // Of one instrument, which one of the two engines has.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(",SYM1,", ",SYM0,")).unwrap();
    cluster.feed(&file);
    let gateway = cluster.gateway().port;
    let disabled = || status(gateway)["disabled"].as_array().unwrap().clone();
    wait_for("it to fail", || !disabled().is_empty());
    wait_for("both to have come to the end", || {
        let status = status(gateway);
        status["hits_seq"].as_u64() == status["next_seq"].as_u64().map(|next| next - 1)
    });
    let told = disabled();
    assert_eq!(told.len(), 1, "{told:?}");
    let told = told[0].as_str().unwrap();
    let ports = [cluster.ports.engine, cluster.ports.engine2];
    let by_port = ports.map(|port| metric(port, "tapewatch_guest_disabled "));
    let failed = match by_port {
        [Some(1), Some(0)] => ports[0],
        [Some(0), Some(1)] => ports[1],
        other => panic!("{other:?}"),
    };
    let words =
        format!("engine at 127.0.0.1:{failed}: detector cancel_burst is disabled from event");
    assert!(told.starts_with(&words), "{told}");
    assert_eq!(status(failed)["disabled"].as_array().unwrap().len(), 1);
}
