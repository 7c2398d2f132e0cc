//! The Python package: its own tests, each file of them against processes that it starts and kills, its
//! types, its wheel, and the notebook from its first cell to its last.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::cluster::Cluster;
use support::{BINARY, root, run};

/// The Python of the tests, in the package's directory, with the package.
fn python() -> Command {
    let python = std::env::var("TAPEWATCH_PYTHON").expect(
        "TAPEWATCH_PYTHON is not set: `cargo xtask test` makes a Python with what the package needs",
    );
    let package = root().join("python");
    let mut command = Command::new(python);
    command
        .current_dir(&package)
        .env("TAPEWATCH_BINARY", BINARY)
        .env("PYTHONPATH", package.join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Runs a file of `python/tests` to its good end.
fn passes(file: &str) {
    let mut pytest = python();
    pytest
        .args(["-m", "pytest", "--quiet", "--no-header", "--tb=short"])
        .arg(format!("tests/{file}"));
    let (code, out, error) = run(&mut pytest);
    assert_eq!(code, 0, "{file}: {out}\n{error}");
}

#[test]
fn queries() {
    passes("test_sql.py");
}

#[test]
fn publishing() {
    passes("test_publish.py");
}

#[test]
fn subscriptions() {
    passes("test_subscribe.py");
}

#[test]
fn over_tls() {
    passes("test_tls.py");
}

#[test]
fn types_examples_and_the_wheel() {
    passes("test_package.py");
}

#[test]
fn through_a_gateway_whatever_dies() {
    let mut cluster = Cluster::whole();
    let url = cluster.gateway().url();
    let mut client = python();
    let client = client.args(["tests/gateway.py", &url, "120", "400"]);
    let mut client = client.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    for name in ["journal", "gateway", "recent"] {
        assert_eq!(lines.by_ref().take(25).count(), 25, "{name}");
        cluster.role(name).kill();
        std::thread::sleep(Duration::from_millis(300));
        cluster.role(name).restart();
    }
    let last = lines.map(Result::unwrap).last();
    assert!(client.wait().unwrap().success());
    assert_eq!(last.as_deref(), Some("ok"));
}

#[test]
fn the_notebook() {
    passes("test_notebook.py");
}
