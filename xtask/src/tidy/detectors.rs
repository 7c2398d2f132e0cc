//! A detector is exactly three places: its file, the registry (its module and its entry), its tapes.

use std::collections::BTreeSet;

use super::rust_source::{tokens, without_tests};
use super::{Finding, SourceFile};

const DETECTORS: &str = "crates/detect/src/detectors/";
const REGISTRY: &str = "crates/detect/src/registry.rs";
const TAPES: &str = "crates/detect/tests/tapes/";

/// Checks that the three places name the same detectors.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let ids: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix(DETECTORS)?.strip_suffix(".rs"))
        .filter(|id| *id != "mod" && !id.contains('/'))
        .collect();
    let taped: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| Some(file.path.strip_prefix(TAPES)?.split_once('/')?.0))
        .collect();
    let mut findings = Vec::new();
    for id in &ids {
        let named = registry_names(files, id);
        if named != 2 {
            let what = format!(
                "the detector `{id}` is named {named} times in the registry; it has a module and an entry there"
            );
            findings.push(Finding::new(REGISTRY, 1, what));
        }
        if !taped.contains(id) {
            let path = format!("{DETECTORS}{id}.rs");
            let what = format!("the detector `{id}` has no tape; add {TAPES}{id}/");
            findings.push(Finding::new(&path, 1, what));
        }
    }
    for id in taped.difference(&ids) {
        let path = format!("{TAPES}{id}/");
        let what = format!("tapes of no detector; add {DETECTORS}{id}.rs, or delete them");
        findings.push(Finding::new(&path, 1, what));
    }
    findings
}

/// How often the registry's code names the detector.
fn registry_names(files: &[SourceFile], id: &str) -> usize {
    let Some(registry) = files.iter().find(|file| file.path == REGISTRY) else {
        return 0;
    };
    let code = without_tests(&tokens(&registry.text)).tokens;
    code.iter().filter(|token| token.text == id).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<SourceFile> = files
            .iter()
            .map(|(path, text)| SourceFile::of(path, text))
            .collect();
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn three_places_and_no_fewer() {
        let file = ("crates/detect/src/detectors/spoofing.rs", "//! x\n");
        let registry = (
            "crates/detect/src/registry.rs",
            "//! spoofing\n#[path = \"detectors/spoofing.rs\"]\nmod spoofing;\nconst R: &[R] = &[spoofing::REGISTRATION];\n",
        );
        let tape = ("crates/detect/tests/tapes/spoofing/a.csv", "x\n");
        assert_eq!(findings(&[file, registry, tape]), Vec::<String>::new());
        assert_eq!(
            findings(&[file, tape]),
            [
                "crates/detect/src/registry.rs:1: the detector `spoofing` is named 0 times in the registry; it has a module and an entry there"
            ]
        );
        assert_eq!(findings(&[file, registry]).len(), 1);
        assert_eq!(findings(&[tape]).len(), 1);
        let twice = ("crates/detect/src/registry.rs", "mod spoofing;\n");
        assert_eq!(findings(&[file, twice, tape]).len(), 1);
    }
}
