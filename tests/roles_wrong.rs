//! Processes that are configured wrongly, stand twice, or are asked for what another role does: each
//! says so, and what to do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use support::cluster::Cluster;
use support::{Server, http_at, run, tapewatch, wait_for};

#[test]
fn places_of_peers_that_cannot_be_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    for (line, words) in [
        (r#"journal = "10.0.0.7""#, "peers.journal is \"10.0.0.7\""),
        (r#"journal = """#, "peers.journal is \"\""),
        (r#"journal = ":5011""#, "peers.journal is \":5011\""),
        (r#"history = "h:70000""#, "peers.history is \"h:70000\""),
        (r#"history = "h:0""#, "peers.history is \"h:0\""),
        (
            r#"history = "http://h:1""#,
            "peers.history is \"http://h:1\"",
        ),
        (r#"recent = []"#, "peers.recent is []"),
        (r#"recent = ["a:1", "b"]"#, "peers.recent has \"b\""),
        (
            r#"engine = ["a:1", "a:1"]"#,
            "peers.engine has \"a:1\" twice",
        ),
    ] {
        std::fs::write(&file, format!("[peers]\n{line}\n")).unwrap();
        let mut command = tapewatch();
        let (code, _, error) = run(command.args(["config", "show", "--config"]).arg(&file));
        assert_eq!(code, 2, "{line}: {error}");
        assert!(error.contains(words), "{line}: {error}");
        assert!(error.contains("such as"), "{line}: {error}");
    }
}

#[test]
fn peers_that_are_swapped_are_named_and_never_asked() {
    let mut cluster = Cluster::new("");
    cluster.start("journal", "journal", &[]);
    cluster.start("recent", "recent", &[]);
    let (journal, recent) = (cluster.ports.journal, cluster.ports.recent);
    let places = [
        ("TAPEWATCH_PEERS__JOURNAL", format!("127.0.0.1:{recent}")),
        (
            "TAPEWATCH_PEERS__RECENT",
            format!("[\"127.0.0.1:{journal}\"]"),
        ),
    ];
    let swapped = [0, 1].map(|at| (places[at].0, places[at].1.as_str()));
    cluster.start("gateway", "gateway", &swapped);
    let gateway = cluster.gateway().port;
    // At once, before it was looked at who is there.
    let row = br#"[{"time":"2024-01-05","sym":"A","event_type":"new","trader":"T","side":"B",
        "order_id":"1","price":"1","quantity":"1"}]"#;
    let (code, body) = http_at(gateway, "POST", "/api/v1/orders", "application/json", row);
    assert_eq!(code, 503, "{body}");
    assert!(body.contains("correct peers.journal"), "{body}");
    let (code, body) = http_at(gateway, "GET", "/api/v1/alerts", "", b"");
    assert_eq!(code, 503, "{body}");
    assert!(body.contains("correct peers.recent"), "{body}");
    let (code, body) = http_at(gateway, "GET", "/readyz", "", b"");
    assert_eq!(code, 503, "{body}");
    for words in [
        format!("journal at 127.0.0.1:{recent} is away"),
        "its role is recent, not journal: correct peers.journal".to_owned(),
        "its role is journal, not recent: correct peers.recent".to_owned(),
    ] {
        assert!(body.contains(&words), "{words}: {body}");
    }
    assert_eq!(
        cluster.role("recent").number("select count(*) from orders"),
        0
    );
    // A role itself.
    let arguments = ["--role", "engine"];
    let wrong = [
        places[0].clone(),
        (
            "TAPEWATCH_ENGINE__LISTEN",
            format!("127.0.0.1:{}", cluster.ports.engine),
        ),
    ];
    let mut engine = tapewatch();
    let dir = tempfile::tempdir().unwrap();
    engine
        .args(["up", "--data"])
        .arg(dir.path())
        .args(arguments);
    engine.envs(wrong).stderr(std::process::Stdio::null());
    let mut engine = engine.spawn().unwrap();
    wait_for("the engine to say what is wrong", || {
        let (_, text) = http_at(cluster.ports.engine, "GET", "/readyz", "", b"");
        text.contains("it is not the role journal: correct peers.journal")
    });
    engine.kill().unwrap();
    engine.wait().unwrap();
}

/// Greets as kdb+ clients do, asks something and gives what is said to it.
fn kdb(port: u16) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"feed:secret\x03\0").unwrap();
    let mut accepted = [0];
    stream.read_exact(&mut accepted).unwrap();
    ask(stream)
}

fn ask(mut stream: TcpStream) -> (TcpStream, String) {
    stream
        .write_all(b"\x01\x01\0\0\x11\0\0\0\x0a\0\x03\0\0\x002+2")
        .unwrap();
    let mut head = [0; 8];
    stream.read_exact(&mut head).unwrap();
    let length = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
    let mut value = vec![0; length - 8];
    stream.read_exact(&mut value).unwrap();
    assert_eq!((head[1], value[0]), (2, 0x80), "an error is answered");
    let text = String::from_utf8(value[1..value.len() - 1].to_vec()).unwrap();
    (stream, text)
}

#[test]
fn a_kdb_client_at_a_gateway_is_told_where_to_go() {
    let mut cluster = Cluster::new("");
    cluster.start("gateway", "gateway", &[]);
    let (journal, recent) = (cluster.ports.journal, cluster.ports.recent);
    let (stream, text) = kdb(cluster.gateway().port);
    for words in [
        format!("journal (127.0.0.1:{journal})"),
        format!("recent (127.0.0.1:{recent}"),
    ] {
        assert!(text.contains(&words), "{text}");
    }
    let (mut stream, again) = ask(stream);
    assert_eq!(again, text);
    // Nobody can be answered who does not wait: what he sends must not seem to be taken.
    stream
        .write_all(b"\x01\0\0\0\x11\0\0\0\x0a\0\x03\0\0\x002+2")
        .unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(cluster.gateway().log().contains("kdb+ client refused"));
    // Nor does one keep it from its end.
    let (_open, _) = kdb(cluster.gateway().port);
    cluster.role("gateway").signal("TERM");
    assert_eq!(cluster.role("gateway").ends_within(5), Some(0));
}

#[test]
fn probes_of_a_role_that_waits_are_no_errors() {
    let mut cluster = Cluster::new("");
    cluster.start("journal", "journal", &[]);
    cluster.engine("engine", "0/1");
    let port = cluster.ports.engine;
    cluster.readyz(port, 200, "ready");
    cluster.role("journal").kill();
    cluster.readyz(port, 503, "is away");
    for _ in 0..5 {
        let (code, _) = http_at(port, "GET", "/readyz", "", b"");
        assert_eq!(code, 503);
    }
    let log = cluster.role("engine").log();
    assert!(!log.contains("ERROR"), "{log}");
    let said = log.lines().filter(|line| line.contains("is away")).count();
    assert_eq!(said, 1, "{log}");
}

#[test]
fn the_help_of_up_tells_of_roles() {
    let (code, out, _) = run(tapewatch().args(["up", "--help"]));
    assert_eq!(code, 0);
    let about = out.lines().next().unwrap();
    assert!(about.contains("role"), "{about}");
}

#[test]
fn a_second_engine_in_the_same_directory_is_refused() {
    let mut cluster = Cluster::new("");
    cluster.start("journal", "journal", &[]);
    cluster.engine("engine", "0/2");
    cluster.engine("engine 2", "1/2");
    let config = cluster.dir.path().join("tapewatch.toml");
    let second = || {
        let mut second = tapewatch();
        second.args(["up", "--role", "engine", "--config"]);
        second.arg(&config).arg("--data");
        second.arg(cluster.dir.path().join("data"));
        second.env("TAPEWATCH_ENGINE__SHARE", "1/2");
        second.env("TAPEWATCH_ENGINE__LISTEN", "127.0.0.1:0");
        second
    };
    // Where it is not refused it would wait for ever.
    let mut limited = std::process::Command::new("timeout");
    let second = second();
    limited
        .arg("8")
        .arg(second.get_program())
        .args(second.get_args());
    let set = second
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    limited.envs(set);
    let (code, _, error) = run(&mut limited);
    assert_eq!(code, 3, "{error}");
    let words = "another engine with the share 1/2 works on this directory: stop it, or give this one another";
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_second_engine_of_the_same_share_waits_until_the_first_is_gone() {
    let mut cluster = Cluster::new("");
    cluster.start("journal", "journal", &[]);
    cluster.engine("engine", "0/1");
    cluster.readyz(cluster.ports.engine, 200, "ready");
    let other = tempfile::tempdir().unwrap();
    let config = cluster
        .dir
        .path()
        .join("tapewatch.toml")
        .display()
        .to_string();
    let port = cluster.ports.engine2;
    let _second = Server::start_with(
        other.path(),
        &["--config", &config, "--role", "engine", "--detector", "all"],
        &[("TAPEWATCH_ENGINE__LISTEN", &format!("127.0.0.1:{port}"))],
    );
    cluster.readyz(port, 503, "another engine with the share 0/1 is connected");
    // The first does not notice.
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (code, text) = http_at(cluster.ports.engine, "GET", "/readyz", "", b"");
        assert_eq!(code, 200, "{text}");
    }
    cluster.role("engine").kill();
    cluster.readyz(port, 200, "ready");
}
