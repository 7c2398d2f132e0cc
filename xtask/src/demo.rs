//! `cargo xtask demo`: from a checkout to the page in the browser.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::server::Server;
use crate::steps::Steps;
use crate::ui;
use crate::workspace::Workspace;

/// A quarter of an hour between two auctions in which each abuse is played, in a minute.
const MARKET: [&str; 6] = [
    "--seed",
    "11",
    "--hours",
    "0.25",
    "--abuse",
    "all=1,intensity=high",
];
const MARKET_SPEED: &str = "25x";
/// Where the binary listens unless told.
const PORT: u16 = 9090;
/// Within which the market must have raised alerts of several kinds.
const MINUTE: Duration = Duration::from_secs(60);
const KINDS_MIN: usize = 5;

/// Builds the web application and the binary, then becomes `tapewatch up`.
pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let port = args.number::<u16>("--port")?;
    let data = args.option("--data")?;
    let market = args.flag("--market");
    args.finish()?;
    if market && port == Some(0) {
        let message = "--market publishes to the page's port: name one, or leave --port out";
        return Err(Failure::usage(message));
    }
    let workspace = Workspace::find()?;
    ui::check_node(&workspace)?;
    let mut steps = Steps::new(3);
    steps.run("packages of the web application", || {
        ui::packages(&workspace)
    })?;
    steps.run("web application", || ui::bundle(&workspace))?;
    steps.run("binary (minutes at first, seconds later)", || {
        process::run(process::cargo(&workspace.root).args([
            "build",
            "--package",
            "tapewatch-server",
        ]))
    })?;
    let data = match data {
        // As the user's shell means it, not relative to the checkout.
        Some(data) => PathBuf::from(data),
        None => workspace.root.join("tapewatch-data").join("demo"),
    };
    let mut command = Command::new(workspace.dev_binary());
    command.arg("up").arg("--data").arg(&data);
    if let Some(port) = port {
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
    }
    if market {
        play(&workspace, &data, port.unwrap_or(PORT), &mut command)?;
    }
    println!(
        "data in {} (delete it to start anew); Ctrl-C stops",
        data.display()
    );
    become_it(command)
}

/// Writes the simulated market's files into a directory, which is made.
pub(crate) fn simulate(workspace: &Workspace, dir: &Path) -> Outcome<()> {
    let mut command = process::program_in(workspace.dev_binary(), &workspace.root);
    process::run(command.arg("simulate").args(MARKET).arg("--dir").arg(dir))
}

/// Starts to publish a simulated market to the server that `up` will be; it waits for it.
fn play(workspace: &Workspace, data: &Path, port: u16, up: &mut Command) -> Outcome<()> {
    let dir = data.join("market");
    if !dir.is_dir() {
        simulate(workspace, &dir)?;
    }
    up.args(["--detector", "all", "--reference"])
        .arg(dir.join("reference.json"));
    // A second time goes through the same hours again, so the windows are emptied first.
    let mut feed = Command::new(workspace.dev_binary());
    feed.args(["feed", "csv", "--clear", "--retry", "30s"])
        .args(["--speed", MARKET_SPEED, "--url"])
        .arg(format!("http://127.0.0.1:{port}"))
        .arg(dir.join("orders.csv"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    println!("$ {} &", process::shown(&feed));
    match feed.spawn() {
        Ok(_) => Ok(()), // it ends by itself
        Err(error) => Err(process::cannot_start(&feed, &error)),
    }
}

/// Replaces this process, so that every signal reaches the server.
#[cfg(unix)]
fn become_it(mut command: Command) -> Outcome<()> {
    use std::io::Write;
    use std::os::unix::process::CommandExt;
    let _ = std::io::stdout().flush();
    let error = command.exec();
    Err(process::cannot_start(&command, &error))
}

/// Waits for the server; the console gives Ctrl-C to both.
#[cfg(not(unix))]
fn become_it(mut command: Command) -> Outcome<()> {
    process::run(&mut command)
}

/// Starts the demo as a user would, asks for the page, waits for the market's alerts, and stops it.
pub(crate) fn smoke(workspace: &Workspace) -> Outcome<()> {
    let data = workspace.scratch("demo-smoke")?;
    // Through cargo, as the user does it: the build of the tests may have replaced this program's file.
    let mut command = process::cargo(&workspace.root);
    command
        .args(["xtask", "demo", "--market", "--port", &free_port()?])
        .arg("--data")
        .arg(data);
    let server = Server::start(&mut command, Duration::from_secs(1800))?;
    let (status, page) = server.get("/")?;
    if status != 200 || !page.to_ascii_lowercase().contains("<!doctype html") {
        return Err(Failure::new(format!(
            "the demo answers GET / with {status} and no HTML page"
        )));
    }
    let started = Instant::now();
    loop {
        let (_, alerts) = server.get("/api/v1/alerts")?;
        let kinds = kinds(&alerts);
        if kinds >= KINDS_MIN {
            println!(
                "alerts of {kinds} kinds after {:.0} s",
                started.elapsed().as_secs_f64()
            );
            return server.stop();
        }
        if started.elapsed() > MINUTE {
            return Err(Failure::new(format!(
                "the simulated market raised alerts of {kinds} detectors in a minute, not of {KINDS_MIN}"
            )));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// How many detectors an answer of `/alerts` names.
fn kinds(alerts: &str) -> usize {
    let answer: serde_json::Value = serde_json::from_str(alerts).unwrap_or_default();
    let rows = answer.get("rows").and_then(|rows| rows.as_array());
    let detectors = rows
        .into_iter()
        .flatten()
        .filter_map(|row| row.get("detector")?.as_str());
    detectors.collect::<std::collections::BTreeSet<_>>().len()
}

/// A port that was free a moment ago.
fn free_port() -> Outcome<String> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let address = bound.map_err(|error| Failure::new(format!("no port is free: {error}")))?;
    Ok(address.port().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_once() {
        let rows = r#"{"rows":[{"detector":"a"},{"detector":"b"},{"detector":"a"}]}"#;
        assert_eq!(kinds(rows), 2);
        assert_eq!(kinds("no answer"), 0);
    }
}
