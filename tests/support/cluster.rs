//! Roles in processes of their own, with one configuration and one data directory.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Server, assert_same, http_at, tables, try_tables, wait_for, write_orders};

/// The processes, and how each is called.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    config: PathBuf,
    pub(crate) ports: Ports,
    roles: Vec<(&'static str, Server)>,
    environment: Vec<(&'static str, String)>,
}

/// Where the roles listen.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) journal: u16,
    pub(crate) engine: u16,
    pub(crate) engine2: u16,
    pub(crate) recent: u16,
    pub(crate) recent2: u16,
    pub(crate) history: u16,
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Cluster {
    /// A configuration for all, with more lines in front; no process yet.
    pub(crate) fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [journal, engine, engine2, recent, recent2, history] = free_ports();
        let ports = Ports {
            journal,
            engine,
            engine2,
            recent,
            recent2,
            history,
        };
        let config = dir.path().join("tapewatch.toml");
        let text = format!(
            "{more}\n[journal]\nlisten = '127.0.0.1:{journal}'\n\
             [engine]\nlisten = '127.0.0.1:{engine}'\n\
             [history]\nlisten = '127.0.0.1:{history}'\n\
             [checkpoint]\ninterval = '200ms'\n\
             [peers]\njournal = '127.0.0.1:{journal}'\nrecent = ['127.0.0.1:{recent}', '127.0.0.1:{recent2}']\n\
             engine = ['127.0.0.1:{engine}', '127.0.0.1:{engine2}']\nhistory = '127.0.0.1:{history}'\n"
        );
        std::fs::write(&config, text).unwrap();
        Self {
            dir,
            config,
            ports,
            roles: Vec::new(),
            environment: vec![("TAPEWATCH_RECENT__LISTEN", format!("127.0.0.1:{recent}"))],
        }
    }

    /// Something that all processes from here on have in their environment.
    pub(crate) fn all_have(&mut self, name: &'static str, value: impl ToString) {
        self.environment.push((name, value.to_string()));
    }

    pub(crate) fn start(&mut self, name: &'static str, role: &str, environment: &[(&str, &str)]) {
        let config = self.config.display().to_string();
        let arguments = ["--config", &config, "--role", role, "--detector", "all"];
        let all = self.environment.iter();
        let mut both: Vec<(&str, &str)> = all.map(|(name, value)| (*name, &**value)).collect();
        both.extend(environment);
        let server = Server::start_with(self.dir.path(), &arguments, &both);
        self.roles.retain(|(other, _)| *other != name);
        // The gateway stays the last.
        let at = self.roles.iter().position(|(name, _)| *name == "gateway");
        let at = at.unwrap_or(self.roles.len());
        self.roles.insert(at, (name, server));
    }

    /// One of several engines.
    pub(crate) fn engine(&mut self, name: &'static str, share: &str) {
        let port = match name {
            "engine" => self.ports.engine,
            _ => self.ports.engine2,
        };
        let address = format!("127.0.0.1:{port}");
        self.start(
            name,
            "engine",
            &[
                ("TAPEWATCH_ENGINE__SHARE", share),
                ("TAPEWATCH_ENGINE__LISTEN", &address),
            ],
        );
    }

    /// One of each, and a second engine for the other half of the instruments.
    pub(crate) fn whole() -> Self {
        Self::new("").filled()
    }

    /// The same, in a cluster that has none yet.
    pub(crate) fn filled(mut self) -> Self {
        self.start("journal", "journal", &[]);
        self.engine("engine", "0/2");
        self.engine("engine 2", "1/2");
        self.start("recent", "recent", &[]);
        self.start("history", "history", &[]);
        self.start("gateway", "gateway", &[]);
        self
    }

    pub(crate) fn role(&mut self, name: &str) -> &mut Server {
        let mut roles = self.roles.iter_mut();
        &mut roles.find(|(other, _)| *other == name).unwrap().1
    }

    /// Ends a process for good, with SIGTERM.
    pub(crate) fn stop(&mut self, name: &str) {
        assert_eq!(self.role(name).terminate(), 0, "{name}");
        self.roles.retain(|(other, _)| *other != name);
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.roles.iter().map(|(name, _)| *name).collect()
    }

    pub(crate) fn gateway(&self) -> &Server {
        &self.roles.last().unwrap().1
    }

    pub(crate) fn feed(&self, file: &Path) {
        let (code, _, error) = self.gateway().feed(file, &["--rows-per-bucket", "7"]);
        assert_eq!(code, 0, "{error}");
    }

    /// Waits until the gateway's tables are these; then compares, to show what differs.
    pub(crate) fn comes_to(&self, expected: &[String], what: &str) {
        comes_to(self.gateway(), expected, what);
    }

    /// Waits until a role's port answers `/readyz` so, and with these words.
    pub(crate) fn readyz(&self, port: u16, status: u16, words: &str) {
        let mut last = String::new();
        wait_for(&format!("{status} with {words:?}"), || {
            let (found, text) = http_at(port, "GET", "/readyz", "", b"");
            if text != last {
                last.clone_from(&text);
                println!("{found} {text}");
            }
            found == status && text.contains(words)
        });
    }
}

/// Waits until a process has these tables; then compares, to show what differs.
pub(crate) fn comes_to(server: &Server, expected: &[String], what: &str) {
    let wanted = expected.to_vec();
    let deadline = Instant::now() + Duration::from_secs(40);
    while Instant::now() < deadline {
        if try_tables(server).as_ref() == Some(&wanted) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_same(&tables(server), expected, what);
}

/// What one process makes of a file.
pub(crate) fn undisturbed(dir: &Path, file: &Path) -> (Server, Vec<String>) {
    let server = Server::start(dir, &["--detector", "all"]);
    let (code, _, error) = server.feed(file, &["--rows-per-bucket", "7"]);
    assert_eq!(code, 0, "{error}");
    let expected = tables(&server);
    assert!(expected[1].lines().count() > 20, "hits are at stake");
    (server, expected)
}

/// A file of so many orders.
pub(crate) fn orders(dir: &Path, rows: usize) -> PathBuf {
    let file = dir.join("orders.csv");
    write_orders(&file, rows);
    // A bad row now and then, so that dead letters are at stake as well.
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace(",SYM1,new,", ",SYM1,born,");
    std::fs::write(&file, text).unwrap();
    file
}
