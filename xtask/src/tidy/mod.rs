//! `cargo xtask tidy`: the house rules that rustfmt, clippy and cargo-deny do not know.
//!
//! A rule is a function from files to findings; a finding says where, what, and what to do.

mod arrows;
mod detectors;
mod links;
mod purity;
mod rust_source;
mod text;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::workspace::Workspace;

/// One violation of a house rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A text file of the checkout.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the root of the checkout, with `/`.
    path: String,
    text: String,
}

impl SourceFile {
    #[cfg(test)]
    fn of(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn extension(&self) -> &str {
        Path::new(&self.path)
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default()
    }
}

/// Runs all checks.
pub(crate) fn run(args: Args) -> Outcome<()> {
    args.finish()?;
    check(&Workspace::find()?)
}

/// Runs all checks; every finding is printed.
pub(crate) fn check(workspace: &Workspace) -> Outcome<()> {
    let files = files(workspace)?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(text::check(file));
        if file.extension() == "rs" {
            findings.extend(rust_source::check(file));
            findings.extend(purity::check(file));
        }
        if file.extension() == "md" {
            findings.extend(links::check(&workspace.root, file));
        }
    }
    findings.extend(arrows::check(&workspace.metadata));
    findings.extend(detectors::check(&files));
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("{} files are tidy", files.len());
            Ok(())
        }
        count => Err(Failure::new(format!(
            "{count} findings in {} files",
            files.len()
        ))),
    }
}

/// The text files that are, or would be, committed.
fn files(workspace: &Workspace) -> Outcome<Vec<SourceFile>> {
    let list = process::stdout_of(process::program_in("git", &workspace.root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut names: Vec<&str> = list.split('\0').filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let mut files = Vec::new();
    for name in names {
        // Frozen samples are bytes that programs wrote, not text of ours.
        if name.contains("/fixtures/") {
            continue;
        }
        let path: PathBuf = workspace.root.join(name);
        if !path.is_file() {
            // Deleted, not yet committed.
            continue;
        }
        let bytes = std::fs::read(&path).map_err(|error| Failure::io("read", &path, &error))?;
        if bytes.contains(&0) {
            continue;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile {
                path: name.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

/// The number of the line, from 1, in which byte `offset` lies.
fn line_at(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}
