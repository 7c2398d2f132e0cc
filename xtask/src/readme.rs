//! Every command that a page tells a user to type is typed: README.md, docs/use/ and docs/operate/.
//!
//! Each page gets an empty directory with `tests/data` and `examples` in it. `tapewatch up &` starts a server that lives to the end of
//! the page. `cargo xtask …` is only checked to exist: `test` is what runs this, and `demo` has a step of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::process;
use crate::server::Server;
use crate::shell_fences::{ShellCommand, commands};
use crate::workspace::{Workspace, read};

/// With what README.md begins.
const FIRST_COMMANDS: [&str; 2] = ["cargo xtask demo", "cargo xtask test"];
/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);
/// How long a server in the background may take to say where it listens.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs the commands of all pages.
pub(crate) fn check(workspace: &Workspace) -> Outcome<()> {
    let mut total = 0;
    for page in pages(workspace)? {
        let name = shown(workspace, &page);
        let commands = commands(&read(&page)?);
        if name == "README.md" {
            check_first(&commands)?;
        }
        if commands.is_empty() {
            continue;
        }
        println!("{name}: {} commands", commands.len());
        total += commands.len();
        run_page(workspace, &name, &commands)?;
    }
    println!("{total} commands of the documentation work");
    Ok(())
}

fn pages(workspace: &Workspace) -> Outcome<Vec<PathBuf>> {
    let mut pages = vec![workspace.root.join("README.md")];
    for directory in ["docs/use", "docs/operate"] {
        let directory = workspace.root.join(directory);
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|error| Failure::io("read the directory", &directory, &error))?
                .path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
        found.sort();
        pages.extend(found);
    }
    Ok(pages)
}

fn check_first(commands: &[ShellCommand]) -> Outcome<()> {
    let first = commands
        .iter()
        .take(FIRST_COMMANDS.len())
        .map(|command| command.text.as_str());
    if first.eq(FIRST_COMMANDS) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "README.md: its first two commands in `sh` fences must be `{}`",
        FIRST_COMMANDS.join("` and `")
    )))
}

fn run_page(workspace: &Workspace, name: &str, commands: &[ShellCommand]) -> Outcome<()> {
    let directory = workspace.scratch("readme-test")?;
    for part in ["tests/data", "examples"] {
        copy(&workspace.root.join(part), &directory.join(part))?;
    }
    // Before the system's programs the binary of this checkout, and the Python that the tests have, which finds the
    // package of this checkout.
    let path = path_with([workspace.dev_bin(), workspace.venv().join("bin")])?;
    let package = workspace.root.join("python").join("src");
    let mut servers = Vec::new();
    for command in commands {
        let place = |failure: Failure| {
            Failure::new(format!(
                "{name}:{}: `{}`: {failure}",
                command.line, command.text
            ))
        };
        if let Some(rest) = command.text.strip_prefix("cargo xtask") {
            check_xtask(rest).map_err(place)?;
            continue;
        }
        let mut shell = shell(command, &directory, &path);
        shell.env("PYTHONPATH", &package);
        if command.background {
            servers.push(Server::start(&mut shell, START_LIMIT).map_err(place)?);
        } else {
            run_command(&mut shell, &command.text).map_err(place)?;
        }
    }
    for server in servers {
        server
            .stop()
            .map_err(|failure| Failure::new(format!("{name}: at the end of the page {failure}")))?;
    }
    Ok(())
}

fn check_xtask(rest: &str) -> Outcome<()> {
    let name = rest.split_whitespace().next().unwrap_or_default();
    if crate::command_names().any(|known| known == name) {
        return Ok(());
    }
    Err(Failure::new("there is no such xtask command"))
}

/// The command in bash, in the page's directory, with this checkout's binary first on the PATH and no settings of the
/// caller's.
fn shell(command: &ShellCommand, directory: &Path, path: &OsString) -> Command {
    let text = match command.background {
        // So that a signal reaches the server and not a shell in between.
        true => format!("exec env {}", command.text),
        false => command.text.clone(),
    };
    let mut shell = process::program_in("bash", directory);
    shell
        .args(["-euo", "pipefail", "-c"])
        .arg(text)
        .env("PATH", path)
        .stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TAPEWATCH_") {
            shell.env_remove(name);
        }
    }
    shell
}

fn run_command(shell: &mut Command, text: &str) -> Outcome<()> {
    println!("$ {text}");
    let mut child = shell
        .spawn()
        .map_err(|error| process::cannot_start(shell, &error))?;
    let status = process::wait(&mut child, COMMAND_LIMIT)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "it ended with {}",
        process::ending(status)
    )))
}

fn path_with(first: [PathBuf; 2]) -> Outcome<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(first.into_iter().chain(std::env::split_paths(&old)))
        .map_err(|error| Failure::new(format!("the checkout cannot be on the PATH: {error}")))
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    std::fs::create_dir_all(to).map_err(|error| Failure::io("create", to, &error))?;
    let entries =
        std::fs::read_dir(from).map_err(|error| Failure::io("read the directory", from, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Failure::io("read the directory", from, &error))?;
        let (source, copied) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &copied)?;
        } else {
            std::fs::copy(&source, &copied)
                .map_err(|error| Failure::io("copy", &source, &error))?;
        }
    }
    Ok(())
}

fn shown(workspace: &Workspace, page: &Path) -> String {
    page.strip_prefix(&workspace.root)
        .unwrap_or(page)
        .display()
        .to_string()
}
