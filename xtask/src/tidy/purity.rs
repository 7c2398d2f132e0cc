//! The pure middle: `model`, `detect` and `exchange` touch no file, socket, clock, thread, environment or random number.

use super::rust_source::{Token, tokens, without_tests};
use super::text::is_test_or_generated;
use super::{Finding, SourceFile};

const PURE: &[&str] = &[
    "crates/detect/src/",
    "crates/exchange/src/",
    "crates/model/src/",
];
/// Modules of the standard library that reach outside.
const MODULES: &[&str] = &["fs", "net", "thread", "process", "env"];
/// Names that reach outside wherever they come from.
const NAMES: &[&str] = &["SystemTime", "Instant", "rand", "getrandom"];
/// Macros that print.
const MACROS: &[&str] = &["println", "print", "eprintln", "eprint", "dbg"];

/// The rule for one Rust file.
pub(super) fn check(file: &SourceFile) -> Vec<Finding> {
    if !PURE
        .iter()
        .any(|directory| file.path.starts_with(directory))
        || is_test_or_generated(file)
    {
        return Vec::new();
    }
    let code = without_tests(&tokens(&file.text)).tokens;
    let mut findings = Vec::new();
    for (index, token) in code.iter().enumerate() {
        let rest = code.get(index..).unwrap_or_default();
        for name in impure(rest) {
            let what = format!(
                "`{name}` in the pure middle; take what it gives as an argument, or do it in server or connect"
            );
            findings.push(Finding::new(&file.path, token.line, what));
        }
    }
    findings
}

/// What reaches outside right at the start of these tokens.
fn impure(tokens: &[Token]) -> Vec<String> {
    let word = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    let first = word(0);
    if NAMES.contains(&first) {
        return vec![first.to_owned()];
    }
    if MACROS.contains(&first) && word(1) == "!" {
        return vec![format!("{first}!")];
    }
    if first != "std" || word(1) != ":" || word(2) != ":" {
        return Vec::new();
    }
    if MODULES.contains(&word(3)) {
        return vec![format!("std::{}", word(3))];
    }
    if word(3) != "{" {
        return Vec::new();
    }
    grouped(tokens.get(3..).unwrap_or_default())
}

/// The modules of `std::{…}`, which are the first words after `{` or `,` at its own depth.
fn grouped(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut begins = false;
    for token in tokens {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            module if begins && MODULES.contains(&module) => found.push(format!("std::{module}")),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        begins = depth == 1 && (token.text == "{" || token.text == ",");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<String> {
        let found = check(&SourceFile::of("crates/detect/src/a.rs", source));
        let words = found
            .iter()
            .filter_map(|finding| finding.what.split('`').nth(1));
        words.map(str::to_owned).collect()
    }

    #[test]
    fn what_reaches_outside_is_found() {
        assert_eq!(names("use std::fs;"), ["std::fs"]);
        assert_eq!(
            names("use std::{fmt, thread::spawn, net};"),
            ["std::thread", "std::net"]
        );
        assert_eq!(names("use std::time::{Duration, Instant};"), ["Instant"]);
        assert_eq!(names("fn a() { println!(\"x\"); }"), ["println!"]);
        let market = SourceFile::of("crates/exchange/src/a.rs", "use std::net;");
        assert_eq!(check(&market).len(), 1);
    }

    #[test]
    fn words_elsewhere_are_not() {
        assert_eq!(
            names("// Instant\nuse std::{fmt, time::Duration};\nfn a() { fs(\"rand\") }"),
            Vec::<String>::new()
        );
        assert_eq!(
            names("#[cfg(test)]\nmod tests { use std::fs; }"),
            Vec::<String>::new()
        );
        assert_eq!(
            check(&SourceFile::of("crates/server/src/a.rs", "use std::fs;")),
            []
        );
    }
}
