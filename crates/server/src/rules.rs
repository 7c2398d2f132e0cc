//! The files of users' rules: read from disk, checked, listed, tested on their tapes, and watched while
//! the process runs.
//!
//! Invariant: rules come into force whole or not at all, and through the journal like any other
//! configuration; a file that is wrong leaves those in force alone and says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tapewatch_detect::{DetectConfig, RuleError, Rules, Tape};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::cli::RulesCommand;
use crate::config::Config;
use crate::failure::Failure;
use crate::shared::Shared;

/// How often the folder is looked at.
const WATCH: Duration = Duration::from_secs(2);
/// Where the tapes of a folder of rules are.
const TAPES: &str = "tests/tapes";

/// Files by name, with their texts.
type Texts = [(String, String)];

/// Runs `tapewatch rules …`; what is to be printed.
pub(crate) fn run(command: &RulesCommand) -> Result<String, Failure> {
    let (RulesCommand::Check { path } | RulesCommand::List { path } | RulesCommand::Test { path }) =
        command;
    let path = match path {
        Some(path) => path.clone(),
        None => Config::load(None, Vec::new())?.rules.dir,
    };
    if path.as_os_str().is_empty() {
        let message =
            "say where the rules are: a file, a folder, or rules.dir in the configuration";
        return Err(Failure::usage(message));
    }
    let rules = load(&path)?;
    match command {
        RulesCommand::Check { .. } => Ok(format!("{} rules are right\n", rules.len())),
        RulesCommand::List { .. } => Ok(list(&rules)),
        RulesCommand::Test { .. } => test(&path, &rules),
    }
}

/// Reads the rules of a file or of all `.toml` files in a folder.
///
/// # Errors
/// A usage [`Failure`] with a line for everything that is wrong.
pub(crate) fn load(path: &Path) -> Result<Rules, Failure> {
    parse(&texts(path)?).map_err(Failure::usage)
}

/// Reads the texts of rules, each with the name that messages give it.
///
/// # Errors
/// A line for everything that is wrong.
pub(crate) fn parse(texts: &Texts) -> Result<Rules, String> {
    Rules::parse(texts).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(RuleError::to_string).collect();
        lines.join("\n")
    })
}

fn texts(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::usage(format!(
            "cannot read rules from {}: {error}",
            path.display()
        ))
    };
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(|error| failed(path, error))? {
            let file = entry.map_err(|error| failed(path, error))?.path();
            if file
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).map_err(|error| failed(&file, error))?;
        Ok((file.display().to_string(), text))
    };
    files.into_iter().map(read).collect()
}

fn list(rules: &Rules) -> String {
    let mut text = String::new();
    for info in rules.infos() {
        let params: Vec<_> = info
            .params
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        let market = if info.market { ", and the market" } else { "" };
        text += &format!(
            "{} (version {}, {}): {}\n  looks at: {}{market}; by {}; within {}\n",
            info.name,
            info.version,
            info.kind,
            info.title,
            info.events.join(", "),
            info.group.join(", "),
            info.lookback,
        );
        if !params.is_empty() {
            text += &format!("  parameters: {}\n", params.join(", "));
        }
        text += &format!("  measures: {}\n", info.measures.join(", "));
        text += &format!(
            "  keeps at most: {}\n  digest: {}\n",
            info.bounds, info.digest
        );
    }
    text
}

/// Plays the tapes of a folder of rules, or those beside a file.
fn test(path: &Path, rules: &Rules) -> Result<String, Failure> {
    let folder = match path.is_dir() {
        true => path,
        false => path.parent().unwrap_or(path),
    };
    let base = DetectConfig::default().with_rules(rules.clone());
    let (mut text, mut failed) = (String::new(), Vec::new());
    for info in rules.infos() {
        let tapes = tapes(&folder.join(TAPES).join(info.name))?;
        if tapes.is_empty() {
            text += &format!("{}: no tape\n", info.name);
        }
        for tape in tapes {
            let read = fs::read_to_string(&tape).map_err(Failure::run)?;
            let played = Tape::parse(&read).and_then(|tape| tape.check(info.name, &base));
            match played {
                Ok(_) => text += &format!("{}: {}: right\n", info.name, tape.display()),
                Err(error) => failed.push(format!("{}: {error}", tape.display())),
            }
        }
    }
    match failed.is_empty() {
        true => Ok(text),
        false => Err(Failure::run(format!(
            "{} tapes failed:\n{}",
            failed.len(),
            failed.join("\n")
        ))),
    }
}

/// The tapes in a folder, in order; none when there is no such folder.
fn tapes(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut tapes = Vec::new();
    for entry in fs::read_dir(folder).map_err(Failure::run)? {
        let path = entry.map_err(Failure::run)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "tape")
        {
            tapes.push(path);
        }
    }
    tapes.sort();
    Ok(tapes)
}

/// Brings rules into force when their files change, and on SIGHUP, until the process stops; what is
/// not of the rules stays as `detect` has it.
pub(crate) fn spawn_watch(shared: &Shared, dir: &Path, detect: DetectConfig) -> JoinHandle<()> {
    tokio::spawn(watch(shared.clone(), dir.to_owned(), detect))
}

async fn watch(shared: Shared, dir: PathBuf, detect: DetectConfig) {
    if dir.as_os_str().is_empty() {
        return;
    }
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => Some(hangup),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be heard; files of rules are still watched");
            None
        }
    };
    // What was read when the process began may have changed since: the first look compares.
    let mut seen: Option<Vec<(String, String)>> = None;
    loop {
        let asked = tokio::select! {
            () = shared.stopped() => return,
            () = tokio::time::sleep(WATCH) => false,
            () = heard(&mut hangup) => true,
        };
        let found = match texts(&dir) {
            Ok(found) => found,
            Err(error) => {
                if asked || seen.take().is_some() {
                    tracing::error!(%error, "rules were not read; those in force stay");
                }
                continue;
            }
        };
        if asked || seen.as_ref() != Some(&found) {
            put_in_force(&shared, &detect, &found).await;
            seen = Some(found);
        }
    }
}

/// Waits for a SIGHUP; for ever when none can be heard.
async fn heard(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

async fn put_in_force(shared: &Shared, detect: &DetectConfig, texts: &Texts) {
    let rules = match parse(texts) {
        Ok(rules) => rules,
        Err(error) => {
            tracing::error!(%error, "wrong rules; those in force stay");
            return;
        }
    };
    let count = rules.len();
    let config = detect.clone().with_rules(rules);
    match shared.pipeline.configure(config).await {
        Ok(seq) => tracing::info!(rules = count, seq, "rules are in force"),
        Err(error) => {
            tracing::error!(%error, "rules were not put in force; the next change tries again")
        }
    }
}
