//! Plays every tape under `tests/tapes/<detector>/`, and those of the example rules beside them. The
//! form of a tape is at the head of `src/tape.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use tapewatch_detect::{DetectConfig, Rules, Tape, detectors};

/// The files of a folder that end so, in order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|known| known == extension))
        .collect();
    files.sort();
    files
}

fn check(folder: &Path, detector: &str, base: &DetectConfig) {
    let tapes = files(folder, "tape");
    assert!(!tapes.is_empty(), "{detector} has no tape");
    for path in tapes {
        let tape = Tape::parse(&fs::read_to_string(&path).unwrap());
        let checked = tape.and_then(|tape| tape.check(detector, base));
        checked.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn every_tape_gives_exactly_its_hits() {
    for detector in detectors() {
        let folder = Path::new("tests/tapes").join(detector.id);
        check(&folder, detector.id, &DetectConfig::default());
    }
}

/// The rules of `examples/rules`.
fn examples() -> Rules {
    let read = |path: PathBuf| {
        (
            path.display().to_string(),
            fs::read_to_string(&path).unwrap(),
        )
    };
    let texts: Vec<_> = files(Path::new("../../examples/rules"), "toml")
        .into_iter()
        .map(read)
        .collect();
    Rules::parse(&texts).unwrap_or_else(|errors| panic!("{}", errors.first().unwrap()))
}

#[test]
fn so_do_the_tapes_of_the_example_rules() {
    let rules = examples();
    let base = DetectConfig::default().with_rules(rules.clone());
    for rule in rules.infos() {
        let folder = Path::new("../../examples/rules/tests/tapes").join(rule.name);
        check(&folder, rule.name, &base);
    }
}

/// Written as rules, spoofing and bait and switch find what the detectors find, on the detectors' own
/// tapes.
#[test]
fn rules_find_what_detectors_find() {
    let rules = examples();
    let base = DetectConfig::default().with_rules(rules);
    let plain = fs::read_to_string("tests/tapes/bait_and_switch/plain.tape").unwrap();
    let hits = Tape::parse(&plain)
        .unwrap()
        .check("bait_then_switch", &base);
    assert_eq!(hits, Ok(3), "one in each mode, of which it has none");
}
