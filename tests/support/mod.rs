//! What the whole-binary tests share: a running `tapewatch`, commands against it, and test data.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) mod authority;
pub(crate) mod cluster;
pub(crate) mod statements;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tapewatch");

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    // Cargo runs tests in their package's directory, wherever the binary was built.
    Path::new("../..").canonicalize().unwrap()
}

/// A file under `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    root().join("tests/data").join(name)
}

/// The binary, with no configuration but what the test gives.
pub(crate) fn tapewatch() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TAPEWATCH_") {
            command.env_remove(name);
        }
    }
    command.current_dir(std::env::temp_dir());
    command
}

/// Runs a command to its end: exit code, standard output, standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// The Arrow client `tests/flight_client.py`, which is to do a command at an address.
pub(crate) fn flight(url: &str, arguments: &[&str]) -> Command {
    let (command, rest) = arguments.split_first().unwrap();
    let mut client = python("flight_client.py");
    client.arg(command).arg(url).args(rest);
    client
}

/// A script of `tests/`, with the Python of the tests.
pub(crate) fn python(script: &str) -> Command {
    let python = std::env::var("TAPEWATCH_PYTHON")
        .expect("TAPEWATCH_PYTHON is not set: `cargo xtask test` makes a Python with pyarrow");
    let mut command = Command::new(python);
    command.arg(root().join("tests").join(script));
    command
}

/// A running `tapewatch up`, killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Server {
    /// Starts on a free port with a data directory of its own; returns when it listens.
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::start_with(dir, arguments, &[])
    }

    /// The same, with something in the environment.
    pub(crate) fn start_with(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>();
        let (child, port) = Self::spawn(dir, 0, &arguments, &environment).expect("it starts");
        Self {
            child,
            port,
            dir: dir.to_owned(),
            arguments,
            environment,
        }
    }

    fn spawn(
        dir: &Path,
        port: u16,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Result<(Child, u16), String> {
        let mut child = Self::launch(dir, port, arguments, environment);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        match line
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
        {
            Some(port) => Ok((child, port)),
            None => {
                let status = child.wait().unwrap();
                let log = fs::read_to_string(dir.join("log")).unwrap();
                Err(format!("ended with {status}: {log}"))
            }
        }
    }

    fn launch(
        dir: &Path,
        port: u16,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Child {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        tapewatch()
            .arg("up")
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .arg("--data")
            .arg(dir.join("data"))
            .args(arguments)
            .envs(environment.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls().next().is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What it was told of TLS.
    fn tls(&self) -> impl Iterator<Item = &(String, String)> {
        let environment = self.environment.iter();
        environment.filter(|(name, _)| name.starts_with("TAPEWATCH_TLS__"))
    }

    /// SIGKILL, as a crash or an impatient operator does it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts again on the same port and data.
    pub(crate) fn restart(&mut self) {
        let (child, port) = Self::spawn(&self.dir, self.port, &self.arguments, &self.environment)
            .expect("it starts again");
        (self.child, self.port) = (child, port);
    }

    /// Starts again without waiting until it listens: it may wait for another role.
    pub(crate) fn restart_silently(&mut self) {
        self.child = Self::launch(&self.dir, self.port, &self.arguments, &self.environment);
    }

    /// The exit code, when it ends within so many seconds.
    pub(crate) fn ends_within(&mut self, seconds: u64) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code().unwrap_or(-1));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let (code, _, error) = run(Command::new("kill").args(["-s", name, &pid]));
        assert_eq!(code, 0, "{error}");
    }

    /// SIGTERM; the exit code.
    pub(crate) fn terminate(&mut self) -> i32 {
        self.signal("TERM");
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// A subcommand against this process.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tapewatch();
        command.args(arguments).args(["--url", &self.url()]);
        command.envs(self.tls().cloned());
        command
    }

    /// A query's answer as CSV.
    pub(crate) fn csv(&self, query: &str) -> String {
        let (code, out, error) = run(&mut self.command(&["sql", query, "--format", "csv"]));
        assert_eq!(code, 0, "{query}: {error}");
        out
    }

    /// A query's one number.
    pub(crate) fn number(&self, query: &str) -> u64 {
        let csv = self.csv(query);
        csv.lines()
            .nth(1)
            .and_then(|line| line.parse().ok())
            .unwrap_or_else(|| panic!("{csv}"))
    }

    /// An HTTP request: status and body.
    pub(crate) fn http(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
        http_at(self.port, method, path, kind, body)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.http("GET", path, "", b"")
    }

    /// Waits until the metrics have a line that contains `text`: what is counted may be counted a
    /// moment after its client was answered.
    pub(crate) fn counts(&self, text: &str) {
        wait_for(text, || self.get("/metrics").1.contains(text));
    }

    pub(crate) fn get_json(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn post_json(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> (u16, serde_json::Value) {
        let (status, body) = self.http(
            "POST",
            path,
            "application/json",
            body.to_string().as_bytes(),
        );
        (
            status,
            serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body)),
        )
    }

    /// Feeds a file with the command line.
    pub(crate) fn feed(&self, file: &Path, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.command(&["feed", "csv"]);
        run(command.arg(file).args(arguments))
    }

    /// Pushes the demo's ten orders through the button's endpoint and waits for the end.
    pub(crate) fn push(&self, request: &serde_json::Value) {
        let (status, answer) = self.post_json("/api/v1/push", request);
        assert_eq!(status, 202, "{answer}");
        let id = answer["id"].clone();
        wait_for("the push to end", || {
            let feeds = self.get_json("/api/v1/status")["feeds"].clone();
            let feed = feeds
                .as_array()
                .unwrap()
                .iter()
                .find(|feed| feed["id"] == id)
                .unwrap()
                .clone();
            assert_ne!(feed["state"], "failed", "{feed}");
            feed["state"] == "done"
        });
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP request to a port of this host: status and body; 0 when there is no answer.
pub(crate) fn http_at(
    port: u16,
    method: &str,
    path: &str,
    kind: &str,
    body: &[u8],
) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return (0, String::new());
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A refusal may come before all of a large body is sent.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunk(body)
    } else {
        body.to_owned()
    };
    (status.unwrap_or(0), body)
}

fn unchunk(body: &str) -> String {
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.push_str(&after[..size.min(after.len())]);
        rest = after.get(size + 2..).unwrap_or("");
    }
    whole
}

const TABLES: [&str; 5] = [
    "select * from orders order by seq",
    "select * from hits order by seq",
    "select * from alerts order by alert_id",
    "select seq, source, line, \"column\", reason, raw from dead_letters order by seq",
    "select * from orderAlerts",
];

/// Everything a user can ask for, sequence numbers and ids included.
pub(crate) fn tables(server: &Server) -> Vec<String> {
    TABLES.map(|query| server.csv(query)).to_vec()
}

/// The same; `None` when the process cannot answer just now.
pub(crate) fn try_tables(server: &Server) -> Option<Vec<String>> {
    let ask = |query| {
        let (code, out, _) = run(&mut server.command(&["sql", query, "--format", "csv"]));
        (code == 0).then_some(out)
    };
    TABLES.into_iter().map(ask).collect()
}

/// Fails with the first line that differs, not with megabytes.
pub(crate) fn assert_same(found: &[String], expected: &[String], when: &str) {
    for (table, (found, expected)) in found.iter().zip(expected).enumerate() {
        let (mut found, mut expected) = (found.lines(), expected.lines());
        for line in 1.. {
            let pair = (found.next(), expected.next());
            assert_eq!(pair.0, pair.1, "{when}: query {table}, line {line}");
            if pair.0.is_none() {
                break;
            }
        }
    }
}

/// Waits up to 30 s for something to become true.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Orders of several days with bursts of cancels, deterministic: `rows` rows as a CSV file.
pub(crate) fn write_orders(path: &Path, rows: usize) {
    let mut text = String::from("time,sym,eventType,trader,side,orderID,price,quantity\n");
    let mut state = 42_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for row in 0..rows {
        let day = 5 + row * 3 / rows;
        let second = row * 3 * 600 / rows % 600;
        let (hour, minute, second) = (8 + second / 3_600 % 16, second / 60 % 60, second % 60);
        let kind = ["new", "cancelled", "cancelled", "filled"][random(4) as usize];
        text += &format!(
            "2024-01-0{day}T{hour:02}:{minute:02}:{second:02}.{:09},SYM{},{kind},Trader{},{},O{row},{}.{:02},{}\n",
            random(1_000_000_000),
            random(2),
            random(2),
            ["B", "S"][random(2) as usize],
            10 + random(90),
            random(100),
            100 * (1 + random(20)),
        );
    }
    fs::write(path, text).unwrap();
}
