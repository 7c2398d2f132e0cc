//! `cargo xtask codegen`: docs/reference/ is what the binary says of itself.

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::workspace::{Workspace, read, write};

/// What the binary is asked for, and the file that holds the answer.
const PAGES: &[(&str, &str)] = &[
    ("configuration", "configuration.md"),
    ("detectors", "detectors.md"),
    ("metrics", "metrics.md"),
    ("cli", "cli.md"),
    ("openapi", "openapi.json"),
];

/// Writes the pages, or compares them.
pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let only_check = args.flag("--check");
    args.finish()?;
    let workspace = Workspace::find()?;
    process::run(process::cargo(&workspace.root).args(["build", "--package", "tapewatch-server"]))?;
    if only_check {
        return check(&workspace);
    }
    for (what, file) in PAGES {
        let path = workspace.root.join("docs/reference").join(file);
        let said = reference(&workspace, what)?;
        if !crate::workspace::holds(&path, said.as_bytes()) {
            write(&path, said)?;
            println!("docs/reference/{file}: written");
        }
    }
    Ok(())
}

/// Compares every page with what the built binary says.
pub(crate) fn check(workspace: &Workspace) -> Outcome<()> {
    let mut stale = Vec::new();
    for (what, file) in PAGES {
        let path = workspace.root.join("docs/reference").join(file);
        let said = reference(workspace, what)?;
        let found = if path.exists() {
            read(&path)?
        } else {
            String::new()
        };
        let file = format!("docs/reference/{file}");
        stale.extend(difference(&file, &found, "the binary", &said));
    }
    if stale.is_empty() {
        println!("docs/reference/ is what the binary says");
        return Ok(());
    }
    Err(Failure::new(format!(
        "{}\nrun `cargo xtask codegen`",
        stale.join("\n")
    )))
}

fn reference(workspace: &Workspace, what: &str) -> Outcome<String> {
    let mut command = process::program_in(workspace.dev_binary(), &workspace.root);
    let said = process::stdout_of(command.args(["reference", what]))?;
    // The files follow the same rule as every other: one newline at the end.
    Ok(format!("{}\n", said.trim_end()))
}

/// The first line in which a file differs from what `who` says.
pub(crate) fn difference(file: &str, found: &str, who: &str, said: &str) -> Option<String> {
    if found == said {
        return None;
    }
    let pairs = found.lines().zip(said.lines());
    let at = pairs.take_while(|(found, said)| found == said).count();
    let line = |text: &str| match text.lines().nth(at) {
        Some(line) => format!("`{line}`"),
        None => "nothing more".to_owned(),
    };
    Some(format!(
        "{file}:{}: the file has {}, {who} says {}",
        at + 1,
        line(found),
        line(said)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let differ = |found, said| difference("cli.md", found, "the binary", said);
        assert_eq!(differ("a\nb\n", "a\nb\n"), None);
        assert_eq!(
            differ("a\nb\n", "a\nc\n").as_deref(),
            Some("cli.md:2: the file has `b`, the binary says `c`")
        );
        assert_eq!(
            differ("", "a\n").as_deref(),
            Some("cli.md:1: the file has nothing more, the binary says `a`")
        );
    }
}
