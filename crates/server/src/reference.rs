//! The reference pages, made from the program itself.
//!
//! Invariant: nothing here is written by hand that the code already says; CI compares the pages in
//! `docs/reference` with what this prints.

use clap::CommandFactory as _;
use tapewatch_detect::detectors;

use crate::api;
use crate::cli::{Cli, ReferencePage};
use crate::config::{Config, KEYS};
use crate::failure::Failure;
use crate::metrics::Metrics;

const MADE: &str = "<!-- Made by `cargo xtask codegen`; do not edit. -->\n";

/// The text of a page.
pub(crate) fn page(page: ReferencePage) -> Result<String, Failure> {
    match page {
        ReferencePage::Configuration => configuration(),
        ReferencePage::Detectors => Ok(detector_pages()),
        ReferencePage::Metrics => metrics(),
        ReferencePage::Cli => Ok(commands()),
        ReferencePage::Openapi => api::openapi().map(|text| text + "\n").map_err(Failure::run),
    }
}

fn configuration() -> Result<String, Failure> {
    let defaults = serde_json::to_value(Config::default()).map_err(Failure::run)?;
    let mut text = format!(
        "# Configuration\n\n{MADE}\n\
         Flags go over environment variables, these over the file (`--config`, or `tapewatch.toml` in the working \
         directory), and the file over the defaults. `tapewatch config show` prints what is in force.\n\n\
         | key | environment | default | meaning |\n|---|---|---|---|\n"
    );
    for key in KEYS {
        let pointer = format!("/{}", key.name.replace('.', "/"));
        let default = defaults.pointer(&pointer).cloned().unwrap_or_default();
        let variable = format!("TAPEWATCH_{}", key.name.replace('.', "__").to_uppercase());
        text += &format!(
            "| `{}` | `{variable}` | `{default}` | {} |\n",
            key.name, key.doc
        );
    }
    text += "\nThe parameters of a detector are under `detectors.<id>`; see [detectors](detectors.md). \
        `enabled = false` switches one off. In the environment: `TAPEWATCH_DETECTORS__SPOOFING__LOOKBACK=10s`.\n\n\
        All defaults, as a file:\n\n```toml\n";
    text += &Config::default().show()?;
    text += "```\n";
    Ok(text)
}

fn detector_pages() -> String {
    let mut text = format!("# Detectors\n\n{MADE}\n");
    for info in detectors() {
        text += &format!(
            "## {}\n\n{}. Version {}.\n\n{}\n\nSource: {}.\n\n| parameter | default | meaning |\n|---|---|---|\n",
            info.id, info.title, info.version, info.rule, info.source
        );
        for param in info.params {
            text += &format!(
                "| `{}` | `{}` | {} |\n",
                param.name, param.default, param.doc
            );
        }
    }
    text
}

fn metrics() -> Result<String, Failure> {
    let metrics = Metrics::new().map_err(Failure::run)?;
    let mut text = format!(
        "# Metrics\n\n{MADE}\n`/metrics` serves them in Prometheus's text form.\n\n\
        | metric | kind | meaning |\n|---|---|---|\n"
    );
    for (name, kind, help) in metrics.describe() {
        text += &format!("| `{name}` | {kind} | {help} |\n");
    }
    Ok(text)
}

fn commands() -> String {
    let mut text = format!("# Commands\n\n{MADE}\n");
    let mut root = Cli::command().term_width(100);
    root.build();
    describe(&mut root, &mut text);
    text
}

fn describe(command: &mut clap::Command, text: &mut String) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned();
    // Lines without the blanks that clap leaves at their ends.
    let help = command.render_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    *text += &format!(
        "## {name}\n\n```text\n{}\n```\n\n",
        help.join("\n").trim_end()
    );
    for sub in command.get_subcommands_mut() {
        describe(sub, text);
    }
}
