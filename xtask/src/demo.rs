//! `cargo xtask demo`: from a checkout to the page in the browser.

use std::path::PathBuf;
use std::process::Command;

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::steps::Steps;
use crate::ui;
use crate::workspace::Workspace;

/// Builds the web application and the binary, then becomes `tapewatch up`.
pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let port = args.number::<u16>("--port")?;
    let data = args.option("--data")?;
    args.finish()?;
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
    println!(
        "data in {} (delete it to start anew); Ctrl-C stops",
        data.display()
    );
    become_it(command)
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

/// Starts the demo as a user would, asks for the page, and stops it.
pub(crate) fn smoke(workspace: &Workspace) -> Outcome<()> {
    let data = workspace.scratch("demo-smoke")?;
    // Through cargo, as the user does it: the build of the tests may have replaced this program's file.
    let mut command = process::cargo(&workspace.root);
    command
        .args(["xtask", "demo", "--port", "0", "--data"])
        .arg(data);
    let server = crate::server::Server::start(&mut command, std::time::Duration::from_secs(1800))?;
    let (status, page) = server.get("/")?;
    if status != 200 || !page.to_ascii_lowercase().contains("<!doctype html") {
        return Err(Failure::new(format!(
            "the demo answers GET / with {status} and no HTML page"
        )));
    }
    server.stop()
}
