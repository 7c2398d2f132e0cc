//! Relative links of Markdown pages lead to files that exist.

use std::path::Path;

use super::{Finding, SourceFile};

/// Checks one page.
pub(super) fn check(root: &Path, file: &SourceFile) -> Vec<Finding> {
    let page = root.join(&file.path);
    let directory = page.parent().unwrap_or(root);
    let mut findings = Vec::new();
    for (line, target) in targets(&file.text) {
        let path = target.split(['#', '?']).next().unwrap_or_default();
        let outside = target.contains("://") || target.starts_with("mailto:") || path.is_empty();
        if outside || directory.join(path).exists() {
            continue;
        }
        let what = format!("the link to `{target}` leads nowhere; correct it, or add the file");
        findings.push(Finding::new(&file.path, line, what));
    }
    findings
}

/// The targets of all links and images outside code, with their lines.
fn targets(markdown: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in markdown.lines().enumerate() {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| trimmed.starts_with(mark));
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => {
                let text = without_code(line);
                found.extend(
                    line_targets(&text)
                        .into_iter()
                        .map(|target| (index + 1, target)),
                );
            }
            _ => {}
        }
    }
    found
}

/// A line without its `code`.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

fn line_targets(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (mark, end) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
        for part in line.split(mark).skip(1) {
            let target = part.split(end).next().unwrap_or_default();
            // `[a](b "title")`
            let target = target.split_whitespace().next().unwrap_or_default();
            found.push(target.trim_matches(['<', '>']).to_owned());
        }
    }
    let reference = line
        .split_once("]: ")
        .filter(|(label, _)| label.starts_with('[') && !label.starts_with("[^"));
    if let Some(target) = reference.and_then(|(_, target)| target.split_whitespace().next()) {
        found.push(target.trim_matches(['<', '>']).to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_images_and_references_are_found_outside_code() {
        let page = "[a](b.md#c) ![d](e.png \"f\") `[g](h)`\n```text\n[i](j)\n```\n[k]: l.md\n<img src=\"m.png\">\n";
        let found = targets(page);
        let found: Vec<(usize, &str)> = found
            .iter()
            .map(|(line, target)| (*line, target.as_str()))
            .collect();
        assert_eq!(
            found,
            [(1, "b.md#c"), (1, "e.png"), (5, "l.md"), (6, "m.png")]
        );
    }

    #[test]
    fn a_link_to_nothing_is_refused() {
        let root = Path::new(".");
        let page = "[a](Cargo.toml) [b](src/) [c](#x) [d](https://example.org/x) [e](missing.md)\n";
        let found = check(root, &SourceFile::of("page.md", page));
        assert_eq!(
            found,
            [Finding::new(
                "page.md",
                1,
                "the link to `missing.md` leads nowhere; correct it, or add the file"
            )]
        );
    }
}
