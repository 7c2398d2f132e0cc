//! `cargo xtask new`: the files of a new detector or connector, from xtask/templates/.

use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::workspace::{Workspace, read, write};

/// A file to make: its template in xtask/templates/ and its path; `{{id}}` and `{{Type}}` stand for the name.
struct NewFile {
    template: &'static str,
    path: &'static str,
}

/// What `new KIND` touches.
struct Kind {
    noun: &'static str,
    files: &'static [NewFile],
    /// The file that lists all of the kind.
    registry: &'static str,
    /// What goes into it: the comment before which it goes, and its template.
    lines: &'static [(&'static str, &'static str)],
    next: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        noun: "detector",
        files: &[
            NewFile {
                template: "detector.rs.in",
                path: "crates/detect/src/detectors/{{id}}.rs",
            },
            NewFile {
                template: "tapes.md.in",
                path: "crates/detect/tests/tapes/{{id}}/README.md",
            },
        ],
        registry: "crates/detect/src/registry.rs",
        lines: &[
            ("// <new detector: module>", "detector_module.in"),
            ("// <new detector: entry>", "detector_entry.in"),
        ],
        next: "write the tapes, then the rule, then `cargo xtask codegen`",
    },
    Kind {
        noun: "connector",
        files: &[NewFile {
            template: "connector.rs.in",
            path: "crates/connect/src/{{id}}.rs",
        }],
        registry: "crates/connect/src/lib.rs",
        lines: &[("// <new connector>", "connector_line.in")],
        next: "write the decoder and its tests, then wire it in crates/server",
    },
];

/// Writes the files and the line; nothing is written if anything is in the way.
pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let noun = args.word("`detector` or `connector`")?;
    let name = args.word("NAME")?;
    args.finish()?;
    let Some(kind) = KINDS.iter().find(|kind| kind.noun == noun) else {
        return Err(Failure::usage(format!(
            "`{noun}` is neither `detector` nor `connector`"
        )));
    };
    check_name(&name)?;
    let workspace = Workspace::find()?;
    let written = plan(&workspace.root, kind, &name)?;
    for (path, contents) in &written {
        write(path, contents)?;
        println!(
            "{}",
            path.strip_prefix(&workspace.root).unwrap_or(path).display()
        );
    }
    println!("next: {}", kind.next);
    Ok(())
}

/// Every file with its new contents.
fn plan(root: &Path, kind: &Kind, name: &str) -> Outcome<Vec<(PathBuf, String)>> {
    let templates = root.join("xtask/templates");
    let mut written = Vec::new();
    for file in kind.files {
        let path = root.join(filled(file.path, name));
        if path.exists() {
            return Err(Failure::new(format!(
                "{} exists; choose another name, or delete it first",
                path.display()
            )));
        }
        written.push((path, filled(&read(&templates.join(file.template))?, name)));
    }
    let registry = root.join(kind.registry);
    let mut text = read(&registry)?;
    for (marker, template) in kind.lines {
        let line = filled(&read(&templates.join(template))?, name);
        text = with_line(&text, marker, line.trim_end()).ok_or_else(|| {
            Failure::new(format!(
                "{} has no line `{marker}`; put it where a new {} is listed",
                kind.registry, kind.noun
            ))
        })?;
    }
    written.push((registry, text));
    Ok(written)
}

/// `text` with `line` before the marker, indented as the marker is.
fn with_line(text: &str, marker: &str, line: &str) -> Option<String> {
    let found = text.lines().find(|candidate| candidate.trim() == marker)?;
    let indent = found.strip_suffix(marker)?;
    let lines: String = line
        .lines()
        .map(|line| format!("{indent}{line}\n"))
        .collect();
    Some(text.replacen(found, &format!("{lines}{found}"), 1))
}

fn filled(template: &str, name: &str) -> String {
    template
        .replace("{{id}}", name)
        .replace("{{Type}}", &type_name(name))
}

/// `front_running` as `FrontRunning`.
fn type_name(name: &str) -> String {
    let words = name.split('_');
    words
        .flat_map(|word| {
            let mut characters = word.chars();
            let first = characters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(characters).collect::<Vec<char>>()
        })
        .collect()
}

fn check_name(name: &str) -> Outcome<()> {
    let plain = name.chars().all(|character| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
    });
    if plain && name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.ends_with('_') {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`{name}` is no name for a Rust module: use lower-case letters, digits and `_`, a letter first"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            filled("{{id}} {{Type}}", "front_running"),
            "front_running FrontRunning"
        );
        assert_eq!(check_name("fix42"), Ok(()));
        assert!(
            check_name("Fix").is_err() && check_name("4x").is_err() && check_name("a-b").is_err()
        );
    }

    #[test]
    fn the_line_goes_before_the_marker() {
        let text = "list! {\n    a,\n    // <new>\n}\n";
        assert_eq!(
            with_line(text, "// <new>", "b,").as_deref(),
            Some("list! {\n    a,\n    b,\n    // <new>\n}\n")
        );
        assert_eq!(with_line("list! {}\n", "// <new>", "b,"), None);
    }

    #[test]
    fn every_template_is_there() {
        let templates = Path::new("templates");
        for kind in KINDS {
            for template in kind
                .files
                .iter()
                .map(|file| file.template)
                .chain(kind.lines.iter().map(|(_, template)| *template))
            {
                assert!(templates.join(template).is_file(), "{template}");
            }
        }
    }
}
