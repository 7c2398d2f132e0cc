//! Building the web application: its packages and its bundle, each only when something changed.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::process;
use crate::workspace::{Workspace, holds, read, write};

/// Checks for Node and npm; the least version is the one that ui/package.json states.
pub(crate) fn check_node(workspace: &Workspace) -> Outcome<()> {
    let least = least_node(&read(&workspace.ui().join("package.json"))?)?;
    let wanted = format!("{}.{}", least.0, least.1);
    let Some(found) = process::answer(Command::new("node").arg("--version")) else {
        return Err(Failure::new(format!(
            "node is missing: install Node.js {wanted} or later with npm and put both on the PATH"
        )));
    };
    if version(found.trim_start_matches('v')).is_none_or(|found| found < least) {
        return Err(Failure::new(format!(
            "node is {found}: install Node.js {wanted} or later"
        )));
    }
    if process::answer(Command::new("npm").arg("--version")).is_none() {
        return Err(Failure::new(format!(
            "npm is missing beside node {found}: install npm (it comes with Node.js)"
        )));
    }
    Ok(())
}

/// Installs the packages of ui/package-lock.json unless exactly those are there.
pub(crate) fn packages(workspace: &Workspace) -> Outcome<()> {
    packages_in(&workspace.ui())
}

/// The same of the clients that the tests use.
pub(crate) fn test_packages(workspace: &Workspace) -> Outcome<()> {
    packages_in(&workspace.root.join("tests").join("node"))
}

fn packages_in(folder: &Path) -> Outcome<()> {
    let lock = read(&folder.join("package-lock.json"))?;
    let modules = folder.join("node_modules");
    let stamp = modules.join(".installed-package-lock.json");
    if holds(&stamp, lock.as_bytes()) {
        println!("{} is up to date", modules.display());
        return Ok(());
    }
    let install = ["ci", "--no-audit", "--no-fund"];
    process::run(process::program_in("npm", folder).args(install))?;
    write(&stamp, lock)
}

/// Builds ui/dist if a source is newer than it.
pub(crate) fn bundle(workspace: &Workspace) -> Outcome<()> {
    if is_built(workspace) && !sources_are_newer(workspace)? {
        println!("ui/dist is up to date");
        return Ok(());
    }
    npm(workspace, &["run", "build"])
}

/// Whether there is a bundle at all: the binary embeds it.
pub(crate) fn is_built(workspace: &Workspace) -> bool {
    index(workspace).is_file()
}

/// Runs one npm command in ui/.
pub(crate) fn npm(workspace: &Workspace, arguments: &[&str]) -> Outcome<()> {
    process::run(process::program_in("npm", &workspace.ui()).args(arguments))
}

fn index(workspace: &Workspace) -> std::path::PathBuf {
    workspace.ui().join("dist").join("index.html")
}

fn sources_are_newer(workspace: &Workspace) -> Outcome<bool> {
    let built = modified(&index(workspace))?;
    let newest = newest_source(&workspace.ui(), true)?;
    Ok(newest.is_some_and(|newest| newest > built))
}

/// The latest change below `directory`; what is installed, built or only tests is left out at the top.
fn newest_source(directory: &Path, top: bool) -> Outcome<Option<SystemTime>> {
    let mut newest = None;
    let entries = std::fs::read_dir(directory)
        .map_err(|error| Failure::io("read the directory", directory, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Failure::io("read the directory", directory, &error))?;
        let name = entry.file_name();
        if top
            && ["node_modules", "dist", "test"]
                .iter()
                .any(|skip| name == *skip)
        {
            continue;
        }
        let path = entry.path();
        let time = if path.is_dir() {
            newest_source(&path, false)?
        } else {
            Some(modified(&path)?)
        };
        newest = newest.max(time);
    }
    Ok(newest)
}

fn modified(path: &Path) -> Outcome<SystemTime> {
    std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .map_err(|error| Failure::io("look at", path, &error))
}

/// `engines.node` of a package.json, which must read `>=MAJOR.MINOR.PATCH`.
fn least_node(package: &str) -> Outcome<(u32, u32)> {
    serde_json::from_str::<Value>(package)
        .ok()
        .and_then(|package| {
            let range = package.get("engines")?.get("node")?.as_str()?;
            version(range.strip_prefix(">=")?)
        })
        .ok_or_else(|| {
            Failure::new("ui/package.json: engines.node must read `>=MAJOR.MINOR.PATCH`")
        })
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().unwrap_or("0").parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_node_is_the_one_of_the_package() {
        assert_eq!(
            least_node(r#"{"engines":{"node":">=20.19.0"}}"#),
            Ok((20, 19))
        );
        assert!(least_node(r#"{"engines":{"node":"20"}}"#).is_err());
        assert_eq!(version("20.20.2"), Some((20, 20)));
        assert_eq!(version("x"), None);
        assert!(version("20.9.0") < version("20.19.0"));
    }
}
