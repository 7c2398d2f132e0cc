//! What the tables of roles in processes of their own hold when parts are away, full, twice there, or
//! asked through the gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::cluster::{Cluster, comes_to, orders, undisturbed};
use support::{Server, http_at, run, tables, wait_for};

#[test]
fn while_an_engine_is_away_rows_show_and_an_end_of_day_waits_and_says_who_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 2_000);
    let (one, expected) = undisturbed(dir.path(), &file);
    let mut cluster = Cluster::whole();
    cluster.role("engine 2").kill();
    cluster.feed(&file);
    let gateway = cluster.gateway();
    wait_for("the rows", || {
        gateway.csv("select * from orders order by seq") == expected[0]
    });
    let mut eod = gateway.command(&["eod"]).spawn().unwrap();
    let away = format!("no engine answers at 127.0.0.1:{}", cluster.ports.engine2);
    wait_for("the log to say who is away", || {
        let log = cluster.gateway().log();
        log.lines()
            .any(|line| line.contains("hits have come only to") && line.contains(&away))
    });
    assert!(eod.try_wait().unwrap().is_none(), "it waits");
    assert_eq!(
        cluster.gateway().get_json("/api/v1/status")["recent_orders"],
        2_000 - rows_lost(&expected)
    );
    cluster.role("engine 2").restart();
    assert!(eod.wait().unwrap().success());
    cluster.comes_to(&expected, "after the engine came back");
    assert_eq!(run(&mut one.command(&["eod"])).0, 0);
    let recent = |server: &Server| server.get_json("/api/v1/status")["recent_orders"].clone();
    wait_for("all to be history", || recent(cluster.gateway()) == 0);
    cluster.comes_to(&expected, "out of the history");
    // What is history already is not needed to show an alert after a restart.
    cluster.role("recent").kill();
    cluster.role("recent").restart();
    cluster.comes_to(&expected, "after a restart behind an end of day");
    let alerts = |server: &Server| server.get("/api/v1/alerts?limit=1000").1;
    wait_for("the same alerts", || {
        alerts(cluster.gateway()) == alerts(&one)
    });
}

/// Rows that became dead letters.
fn rows_lost(expected: &[String]) -> usize {
    expected[3].lines().count() - 1
}

#[test]
fn full_tables_move_to_the_history_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 3_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    let mut cluster = Cluster::new("");
    cluster.all_have("TAPEWATCH_RECENT__ROWS_MAX", 400);
    let mut cluster = cluster.filled();
    cluster.feed(&file);
    cluster.comes_to(&expected, "with room for 400 rows");
    // From the beginning with as little room: what does not fit yet waits in the journal.
    cluster.role("recent").kill();
    cluster.role("history").kill();
    cluster.role("recent").restart();
    cluster.role("history").restart();
    cluster.comes_to(&expected, "after a restart with room for 400 rows");
    let recent = cluster.gateway().get_json("/api/v1/status")["recent_orders"].as_u64();
    assert!(recent.unwrap() <= 600, "{recent:?}");
}

#[test]
fn a_journal_with_tables_has_its_hits_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 2_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    let mut cluster = Cluster::new("");
    cluster.start("journal", "journal,recent", &[]);
    cluster.engine("engine", "0/2");
    cluster.engine("engine 2", "1/2");
    cluster.start("gateway", "gateway", &[]);
    cluster.feed(&file);
    cluster.comes_to(&expected, "fed");
    for role in ["engine", "engine 2"] {
        cluster.stop(role);
    }
    cluster.role("journal").kill();
    cluster.role("journal").restart();
    cluster.comes_to(&expected, "after SIGKILL, with its engines away");
    assert_eq!(cluster.role("journal").terminate(), 0);
    cluster.role("journal").restart();
    cluster.comes_to(&expected, "after a clean stop, with its engines away");
}

#[test]
fn a_recent_that_is_away_or_not_ready_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 1_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    let mut cluster = Cluster::new("");
    cluster.start("journal", "journal", &[]);
    cluster.engine("engine", "0/1");
    let second = format!("127.0.0.1:{}", cluster.ports.recent2);
    cluster.start("recent", "recent", &[]);
    cluster.start(
        "recent 2",
        "recent",
        &[("TAPEWATCH_RECENT__LISTEN", &second)],
    );
    cluster.start("gateway", "gateway", &[]);
    cluster.feed(&file);
    cluster.comes_to(&expected, "both there");
    cluster.role("recent").kill();
    cluster.comes_to(&expected, "the first killed");
    cluster.role("recent").restart();
    cluster.role("recent 2").kill();
    cluster.comes_to(&expected, "the second killed");
    // The first waits for the journal, the second has its tables: who asks does not see the difference.
    cluster.role("recent 2").restart();
    cluster.readyz(cluster.gateway().port, 200, "ready");
    cluster.role("recent").kill();
    cluster.role("journal").kill();
    cluster.role("recent").restart_silently();
    cluster.readyz(cluster.ports.recent, 503, "journal at");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(tables(cluster.gateway()), expected);
    cluster.readyz(cluster.gateway().port, 503, "recent at");
    cluster.role("journal").restart();
    cluster.readyz(cluster.gateway().port, 200, "ready");
}

#[test]
fn a_role_that_stands_still_is_not_waited_for_and_its_rows_are_not_called_refused() {
    let mut cluster = Cluster::new("");
    for role in ["journal", "recent", "gateway"] {
        cluster.start(role, role, &[]);
    }
    cluster.readyz(cluster.gateway().port, 200, "ready");
    for (role, path, kind, body, wanted) in [
        (
            "journal",
            "/api/v1/orders",
            "application/json",
            "[]",
            (504, "unknown"),
        ),
        (
            "recent",
            "/api/v1/sql",
            "application/json",
            r#"{"query":"select 1"}"#,
            (503, "unavailable"),
        ),
    ] {
        cluster.role(role).signal("STOP");
        let asked = Instant::now();
        let (status, text) = cluster.gateway().http("POST", path, kind, body.as_bytes());
        cluster.role(role).signal("CONT");
        assert!(asked.elapsed() < Duration::from_secs(20), "{role}");
        assert_eq!(status, wanted.0, "{text}");
        assert!(text.contains(wanted.1), "{text}");
        cluster.readyz(cluster.gateway().port, 200, "ready");
    }
}

#[test]
fn of_two_that_write_the_history_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 1_500);
    let (_one, mut expected) = undisturbed(dir.path(), &file);
    let mut cluster = Cluster::new("");
    let second = [
        (
            "TAPEWATCH_RECENT__LISTEN",
            format!("127.0.0.1:{}", cluster.ports.recent2),
        ),
        ("TAPEWATCH_HISTORY__LISTEN", "127.0.0.1:0".to_owned()),
    ];
    let second: Vec<(&str, &str)> = second
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    cluster.start("journal", "journal", &[]);
    cluster.engine("engine", "0/1");
    cluster.start("first", "recent,history", &[]);
    cluster.start("second", "recent,history", &second);
    cluster.start("gateway", "gateway", &[]);
    for round in 0..4 {
        cluster.feed(&file);
        let ports = [cluster.ports.recent, cluster.ports.recent2];
        let eod = |port| std::thread::spawn(move || http_at(port, "POST", "/api/v1/eod", "", b""));
        let answers = ports.map(eod).map(|asked| asked.join().unwrap());
        let mut moved = 0;
        for (status, text) in answers {
            assert_eq!(status, 200, "{text}");
            let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
            moved += answer["orders"].as_u64().unwrap();
        }
        assert_eq!(
            moved as usize,
            1_500 - rows_lost(&expected),
            "in round {round}"
        );
        for port in ports {
            wait_for("both to have let go of what is history", || {
                let (_, text) = http_at(port, "GET", "/api/v1/status", "", b"");
                text.contains("\"recent_orders\":0,")
            });
        }
    }
    let count = cluster
        .gateway()
        .number("select count(distinct seq) from orders");
    assert_eq!(
        count,
        cluster.gateway().number("select count(*) from orders")
    );
    assert_eq!(count as usize, 4 * (1_500 - rows_lost(&expected)));
    expected.clear();
}

#[test]
fn the_gateway_is_a_door_and_carries_what_the_page_does() {
    let dir = tempfile::tempdir().unwrap();
    let alone = Server::start(dir.path(), &["--detector", "all"]);
    let request = serde_json::json!({"rows_per_bucket": 2, "interval_ms": 1});
    alone.push(&request);
    let expected = tables(&alone);
    let mut cluster = Cluster::whole();
    cluster.gateway().push(&request);
    cluster.comes_to(&expected, "pushed through the gateway");
    let port = cluster.gateway().port;
    for (origin, host, status) in [
        ("http://evil.example", format!("127.0.0.1:{port}"), 403),
        ("http://evil.example", "evil.example".to_owned(), 403),
        (
            &*format!("http://127.0.0.1:{port}"),
            format!("127.0.0.1:{port}"),
            200,
        ),
    ] {
        let found = asks(port, origin, &host);
        assert_eq!(found, status, "{origin} at {host}");
    }
    // Who writes no history says so.
    let (status, text) = http_at(cluster.ports.recent, "POST", "/api/v1/eod", "", b"");
    assert!(
        status == 421 && text.contains("the role history"),
        "{status} {text}"
    );
    for (port, metric) in [
        (port, "tapewatch_ready 1"),
        (
            cluster.ports.journal,
            "tapewatch_subscriber_lag{subscriber=\"recent/",
        ),
        (cluster.ports.journal, "tapewatch_journal_seq 1"),
        (cluster.ports.engine, "tapewatch_entities "),
        (cluster.ports.engine, "tapewatch_checkpoint_seq 1"),
        (cluster.ports.recent, "tapewatch_recent_rows 10"),
        (cluster.ports.history, "tapewatch_recent_rows 10"),
    ] {
        wait_for(metric, || {
            http_at(port, "GET", "/metrics", "", b"").1.contains(metric)
        });
        let (status, text) = http_at(port, "GET", "/api/v1/status", "", b"");
        assert!(status == 200 && text.contains("\"ready\":true"), "{text}");
    }
    rules_come_into_force(&mut cluster);
}

fn asks(port: u16, origin: &str, host: &str) -> u16 {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!(
        "GET /api/v1/status HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].parse().unwrap()
}

/// Another configuration at the journal is that of the engines.
fn rules_come_into_force(cluster: &mut Cluster) {
    let rules = cluster.dir.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    cluster.stop("journal");
    let path = rules.display().to_string();
    cluster.start("journal", "journal", &[("TAPEWATCH_RULES__DIR", &path)]);
    let example = support::root().join("examples/rules");
    let file = first_rule(&example);
    let names = |port| {
        let (_, text) = http_at(port, "GET", "/api/v1/status", "", b"");
        let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        status["detectors"].as_array().map_or(0, Vec::len)
    };
    let before = names(cluster.ports.engine);
    std::fs::copy(&file, rules.join(file.file_name().unwrap())).unwrap();
    let ports = cluster.ports;
    for port in [
        ports.journal,
        ports.engine,
        ports.engine2,
        ports.recent,
        ports.history,
    ] {
        wait_for("the rule to be in force", || names(port) > before);
    }
    // An engine that starts with a configuration of its own has the journal's all the same.
    cluster.role("engine").kill();
    cluster.role("engine").restart();
    wait_for("the rule to be in force again", || {
        names(ports.engine) > before
    });
    comes_to(
        cluster.gateway(),
        &tables(cluster.gateway()),
        "and all goes on",
    );
}

fn first_rule(folder: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    files.remove(0)
}

/// Its frame is larger than what roles said to each other in one message once: they would have been
/// stuck before it for ever.
#[test]
fn a_bucket_nearly_as_large_as_the_journal_takes_comes_to_every_role() {
    let mut cluster = Cluster::new("");
    cluster.start("journal", "journal", &[]);
    cluster.engine("engine", "0/1");
    cluster.start("recent", "recent", &[]);
    cluster.start("gateway", "gateway", &[]);
    let rows = 85_000_u64;
    let long =
        |letter: &str, length: usize, row: u64| format!("{row:07}{}", letter.repeat(length - 7));
    let row = |row: u64| {
        format!(
            r#"{{"time":"2024-01-05T09:00:00Z","sym":"{}","event_type":"new","trader":"{}","side":"B","order_id":"{}","account":"{}","exec_id":"{}","price":"1","quantity":"1"}}"#,
            long("s", 64, row),
            long("t", 128, row),
            long("o", 128, row),
            long("a", 128, row),
            long("e", 128, row),
        )
    };
    let body = format!("[{}]", (0..rows).map(row).collect::<Vec<_>>().join(","));
    // By the role recent it goes to the journal, and comes back from there.
    let kind = "application/json";
    let port = cluster.ports.recent;
    let (status, answer) = http_at(port, "POST", "/api/v1/orders", kind, body.as_bytes());
    assert_eq!(status, 200, "{answer}");
    let segment = cluster.dir.path().join("data/journal");
    let bytes: u64 = std::fs::read_dir(segment)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes > 50 << 20, "{bytes} bytes are no test");
    wait_for("all to have it", || {
        let status = cluster.gateway().get_json("/api/v1/status");
        let last = status["next_seq"].as_u64().unwrap() - 1;
        status["orders"] == rows && status["hits_seq"] == last && last > rows
    });
    assert!(!cluster.role("engine").log().contains("frame size"));
}
