//! Roles in processes of their own: together they are the one process, whatever is killed when.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use support::{Server, assert_same, run, tables, try_tables, wait_for, write_orders};

/// A role in a process of its own, and how it is called.
struct Cluster {
    dir: tempfile::TempDir,
    config: PathBuf,
    roles: Vec<(&'static str, Server)>,
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Cluster {
    /// A configuration for all; no process yet.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [journal, recent, engine, history] = free_ports();
        let config = dir.path().join("tapewatch.toml");
        let text = format!(
            "[journal]\nlisten = '127.0.0.1:{journal}'\n\
             [recent]\nlisten = '127.0.0.1:{recent}'\n\
             [engine]\nlisten = '127.0.0.1:{engine}'\n\
             [history]\nlisten = '127.0.0.1:{history}'\n\
             [checkpoint]\ninterval = '200ms'\n\
             [peers]\njournal = '127.0.0.1:{journal}'\nrecent = ['127.0.0.1:{recent}']\n\
             engine = ['127.0.0.1:{engine}']\nhistory = '127.0.0.1:{history}'\n"
        );
        std::fs::write(&config, text).unwrap();
        Self {
            dir,
            config,
            roles: Vec::new(),
        }
    }

    fn start(&mut self, name: &'static str, role: &str, environment: &[(&str, &str)]) {
        let config = self.config.display().to_string();
        let arguments = ["--config", &config, "--role", role, "--detector", "all"];
        let server = Server::start_with(self.dir.path(), &arguments, environment);
        self.roles.push((name, server));
    }

    /// One of each, and a second engine for the other half of the instruments.
    fn whole() -> Self {
        let mut cluster = Self::new();
        let share = |share| [("TAPEWATCH_ENGINE__SHARE", share)];
        let other = [
            ("TAPEWATCH_ENGINE__SHARE", "1/2"),
            ("TAPEWATCH_ENGINE__LISTEN", "127.0.0.1:0"),
        ];
        cluster.start("journal", "journal", &[]);
        cluster.start("engine", "engine", &share("0/2"));
        cluster.start("engine 2", "engine", &other);
        cluster.start("recent", "recent", &[]);
        cluster.start("history", "history", &[]);
        cluster.start("gateway", "gateway", &[]);
        cluster
    }

    fn role(&mut self, name: &str) -> &mut Server {
        let mut roles = self.roles.iter_mut();
        &mut roles.find(|(other, _)| *other == name).unwrap().1
    }

    fn gateway(&self) -> &Server {
        &self.roles.last().unwrap().1
    }

    /// Waits until the gateway's tables are these; then compares, to show what differs.
    fn comes_to(&self, expected: &[String], what: &str) {
        let wanted = expected.to_vec();
        for _ in 0..300 {
            if try_tables(self.gateway()).as_ref() == Some(&wanted) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_same(&tables(self.gateway()), expected, what);
    }
}

/// What one process makes of a file.
fn undisturbed(dir: &Path, file: &Path) -> (Server, Vec<String>) {
    let server = Server::start(dir, &["--detector", "all"]);
    let (code, _, error) = server.feed(file, &["--rows-per-bucket", "7"]);
    assert_eq!(code, 0, "{error}");
    let expected = tables(&server);
    assert!(expected[1].lines().count() > 20, "hits are at stake");
    (server, expected)
}

fn orders(dir: &Path, rows: usize) -> PathBuf {
    let file = dir.join("orders.csv");
    write_orders(&file, rows);
    // A bad row now and then, so that dead letters are at stake as well.
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace(",SYM1,new,", ",SYM1,born,");
    std::fs::write(&file, text).unwrap();
    file
}

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
    let mut cluster = Cluster::new();
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
