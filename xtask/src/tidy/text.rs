//! Rules for any text file: white space, ends of files, merge markers, lengths, names of machines.

use super::{Finding, SourceFile, line_at};

/// Written by hand, hence checked for white space.
const WRITTEN: &[&str] = &[
    "rs", "toml", "md", "ts", "tsx", "js", "mjs", "css", "html", "json", "yml", "yaml", "py", "sh",
    "sql", "txt",
];
/// Where a file counts as a source whose length matters; Rust has its own rule.
const MEASURED: &[&str] = &["ts", "tsx", "js", "mjs", "py"];
/// The longest source file.
pub(super) const LONGEST: usize = 500;
/// The longest test or generated file.
pub(super) const LONGEST_TEST: usize = 800;
/// Directories of one machine that must not be in a file.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
];

/// All rules for any text file.
pub(super) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if WRITTEN.contains(&file.extension()) || file.path == ".ci/run" {
        findings.extend(white_space(file));
    }
    if MEASURED.contains(&file.extension()) {
        findings.extend(length(file));
    }
    findings.extend(merge_markers(file));
    findings.extend(machine_paths(file));
    findings.extend(registries(file));
    findings
}

/// Whether the file is there for tests or says that a program wrote it.
pub(super) fn is_test_or_generated(file: &SourceFile) -> bool {
    let in_tests = file
        .path
        .split('/')
        .any(|part| ["tests", "test", "benches"].contains(&part));
    let named = ["tests.rs", ".test.ts", ".test.tsx"]
        .iter()
        .any(|end| file.path.ends_with(end));
    let mark = concat!("@gen", "erated");
    in_tests || named || file.text.lines().take(5).any(|line| line.contains(mark))
}

fn length(file: &SourceFile) -> Option<Finding> {
    let limit = if is_test_or_generated(file) {
        LONGEST_TEST
    } else {
        LONGEST
    };
    let lines = file.text.lines().count();
    (lines > limit).then(|| too_long(file, lines, limit))
}

/// The finding for a file that is too long.
pub(super) fn too_long(file: &SourceFile, lines: usize, limit: usize) -> Finding {
    let what = format!("{lines} lines, more than {limit}; split it by what its parts own");
    Finding::new(&file.path, limit + 1, what)
}

fn white_space(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |line: usize, what: &str| findings.push(Finding::new(&file.path, line, what));
    for (index, line) in file.text.split('\n').enumerate() {
        if line.ends_with('\r') {
            add(index + 1, "carriage return; save it with Unix line ends");
        } else if line.ends_with([' ', '\t']) {
            add(index + 1, "white space at the end of the line; delete it");
        }
        if file.extension() == "rs" && line.contains('\t') {
            add(
                index + 1,
                "tab; indent with four spaces, write \\t in strings",
            );
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        add(
            file.text.lines().count(),
            "the last line has no newline; add it",
        );
    }
    if file.text.ends_with("\n\n") {
        add(
            file.text.lines().count(),
            "empty lines at the end of the file; delete them",
        );
    }
    findings
}

fn merge_markers(file: &SourceFile) -> Vec<Finding> {
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(_, line)| {
            ["<<<<<<<", ">>>>>>>", "|||||||"].iter().any(|mark| {
                line.strip_prefix(mark)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            })
        })
        .map(|(index, _)| Finding::new(&file.path, index + 1, "merge marker; resolve the conflict"))
        .collect()
}

fn machine_paths(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in MACHINE_PATHS {
        for (offset, _) in file.text.match_indices(path) {
            let before = file
                .text
                .get(..offset)
                .and_then(|text| text.chars().next_back());
            let inside_a_name =
                before.is_some_and(|before| before.is_alphanumeric() || "._-/}*~".contains(before));
            if !inside_a_name {
                let what = format!(
                    "`{path}` is a directory of one machine; use a path relative to the checkout"
                );
                findings.push(Finding::new(&file.path, line_at(&file.text, offset), what));
            }
        }
    }
    findings
}

/// Package managers must use the registry that the user's machine is set up for.
fn registries(file: &SourceFile) -> Vec<Finding> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let marks: &[&str] = match name {
        "package-lock.json" => &["\"resolved\": \"http"],
        ".npmrc" => &["registry=", "registry ="],
        "config.toml" if file.path.ends_with(".cargo/config.toml") => {
            &["[source", "[registries", "[registry"]
        }
        _ if name.ends_with("requirements.txt") => {
            &["--index-url", "--extra-index-url", "--find-links", "://"]
        }
        _ => &[],
    };
    let advice = match name {
        "package-lock.json" => {
            "run npm with omit-lockfile-registry-resolved=true (ui/.npmrc has it)"
        }
        _ => "leave the choice of a registry to the user's machine",
    };
    let found = marks.iter().flat_map(|mark| file.text.match_indices(mark));
    found
        .map(|(offset, mark)| {
            let what = format!("`{mark}` names a package registry; {advice}");
            Finding::new(&file.path, line_at(&file.text, offset), what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&SourceFile::of(path, text))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn white_space_is_found_where_it_is() {
        assert_eq!(
            findings("a.md", "a \nb\n"),
            ["a.md:1: white space at the end of the line; delete it"]
        );
        assert_eq!(
            findings("a.md", "a\nb"),
            ["a.md:2: the last line has no newline; add it"]
        );
        assert_eq!(findings("a.csv", "a \r\nb"), Vec::<String>::new());
    }

    #[test]
    fn a_machine_path_is_a_path_from_the_root() {
        let root = MACHINE_PATHS.first().copied().unwrap_or_default();
        assert_eq!(findings("a.md", &format!("`{root}x`\n")).len(), 1);
        assert_eq!(
            findings("a.md", &format!("$HOME{root}x, target{root}x, ..{root}x\n")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_lock_file_names_no_registry() {
        let text = "{\n\"resolved\": \"https://example.org/a.tgz\"\n}\n";
        assert_eq!(findings("ui/package-lock.json", text).len(), 1);
        assert_eq!(findings("ui/other.json", text), Vec::<String>::new());
    }

    #[test]
    fn long_files_are_refused_and_tests_may_be_longer() {
        let text = "x\n".repeat(501);
        assert_eq!(
            findings("ui/src/a.ts", &text),
            ["ui/src/a.ts:501: 501 lines, more than 500; split it by what its parts own"]
        );
        assert_eq!(findings("ui/test/a.ts", &text), Vec::<String>::new());
    }

    #[test]
    fn merge_markers_are_refused() {
        let mark = "<".repeat(7);
        assert_eq!(
            findings("a.md", &format!("{mark} HEAD\n")),
            ["a.md:1: merge marker; resolve the conflict"]
        );
    }
}
