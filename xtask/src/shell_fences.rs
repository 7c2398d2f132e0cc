//! Pure: the shell commands in a Markdown page's fences marked `sh`.

/// One command of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShellCommand {
    /// The line of the page on which it begins, from 1.
    pub(crate) line: usize,
    /// What the shell is given, without a trailing `&`.
    pub(crate) text: String,
    /// Whether it ends in `&`.
    pub(crate) background: bool,
}

/// The commands of all fences whose info string is exactly `sh`, in order.
///
/// A command goes on over a line that ends in `\`, over an open quotation mark and to the end of a here-document.
/// Comment lines and empty lines are no commands.
pub(crate) fn commands(markdown: &str) -> Vec<ShellCommand> {
    let mut found = Vec::new();
    let mut fence: Option<Fence> = None;
    let mut open: Option<(usize, String)> = None;
    for (number, raw) in markdown.lines().enumerate() {
        let Some(inside) = &fence else {
            fence = Fence::opening(raw);
            continue;
        };
        if inside.is_closed_by(raw) {
            fence = None;
            found.extend(open.take().map(|(line, text)| finished(line, &text)));
            continue;
        }
        if !inside.shell {
            continue;
        }
        let line = raw
            .get(..inside.indent)
            .filter(|lead| lead.trim().is_empty());
        let line = line.map_or(raw.trim_start(), |_| {
            raw.get(inside.indent..).unwrap_or_default()
        });
        let (start, text) = match open.take() {
            Some((start, text)) => (start, format!("{text}\n{line}")),
            None if line.trim().is_empty() || line.trim_start().starts_with('#') => continue,
            None => (number + 1, line.to_owned()),
        };
        if is_complete(&text) {
            found.push(finished(start, &text));
        } else {
            open = Some((start, text));
        }
    }
    found.extend(open.map(|(line, text)| finished(line, &text)));
    found
}

/// An open fence.
struct Fence {
    indent: usize,
    marks: usize,
    mark: char,
    shell: bool,
}

impl Fence {
    fn opening(line: &str) -> Option<Self> {
        let text = line.trim_start();
        let mark = text.chars().next().filter(|mark| "`~".contains(*mark))?;
        let info = text.trim_start_matches(mark);
        let marks = text.len() - info.len();
        (marks >= 3).then(|| Self {
            indent: line.len() - text.len(),
            marks,
            mark,
            shell: info.trim() == "sh",
        })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let text = line.trim();
        text.len() >= self.marks && text.chars().all(|mark| mark == self.mark)
    }
}

fn finished(line: usize, text: &str) -> ShellCommand {
    let trimmed = text.trim_end();
    let without = trimmed
        .strip_suffix('&')
        .filter(|rest| !rest.ends_with('&'));
    ShellCommand {
        line,
        text: without.unwrap_or(trimmed).trim_end().to_owned(),
        background: without.is_some(),
    }
}

/// Whether the shell would run `text` rather than ask for more.
fn is_complete(text: &str) -> bool {
    if let Some(delimiter) = here_document(text) {
        return text.lines().skip(1).any(|line| line == delimiter);
    }
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            // A backslash at the very end joins the next line; any other takes its character along.
            (None | Some('"'), '\\') if characters.next().is_none() => return false,
            (None, '\'' | '"') => quote = Some(character),
            _ => {}
        }
    }
    quote.is_none()
}

/// The delimiter of a here-document that begins on the first line.
fn here_document(text: &str) -> Option<&str> {
    let first = text.lines().next()?;
    let (_, rest) = first.split_once("<<")?;
    if rest.starts_with('<') {
        return None;
    }
    let word = rest.split_whitespace().next()?;
    let delimiter = word.trim_matches(|mark| mark == '\'' || mark == '"');
    (!delimiter.is_empty()).then_some(delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(markdown: &str) -> Vec<(usize, String, bool)> {
        let found = commands(markdown).into_iter();
        found
            .map(|command| (command.line, command.text, command.background))
            .collect()
    }

    fn plain(line: usize, text: &str) -> (usize, String, bool) {
        (line, text.to_owned(), false)
    }

    #[test]
    fn only_fences_marked_sh_count() {
        let page = "# T\n```sh\ncargo xtask demo\n\n# a comment\ncargo xtask test\n```\n\
                    ```text\nnot this\n```\n```console\n$ nor this\n```\n~~~sh\ntapewatch sql 'x'\n~~~\n";
        assert_eq!(
            texts(page),
            [
                plain(3, "cargo xtask demo"),
                plain(6, "cargo xtask test"),
                plain(15, "tapewatch sql 'x'")
            ]
        );
    }

    #[test]
    fn a_trailing_ampersand_means_background() {
        let page = "```sh\ntapewatch up &\ntrue && true\n```\n";
        assert_eq!(
            texts(page),
            [
                (2, "tapewatch up".to_owned(), true),
                plain(3, "true && true")
            ]
        );
    }

    #[test]
    fn commands_go_on_over_lines() {
        let page = "```sh\na \\\n  b\nc 'd\ne' f\ncat > x <<'EOF'\n# kept\ny\nEOF\ng\n```\n";
        assert_eq!(
            texts(page),
            [
                plain(2, "a \\\n  b"),
                plain(4, "c 'd\ne' f"),
                plain(6, "cat > x <<'EOF'\n# kept\ny\nEOF"),
                plain(10, "g"),
            ]
        );
    }

    #[test]
    fn an_indented_fence_loses_its_indent() {
        assert_eq!(texts("1. do\n   ```sh\n   a\n   ```\n"), [plain(3, "a")]);
    }

    #[test]
    fn a_longer_fence_holds_a_shorter_one() {
        assert_eq!(
            texts("````text\n```sh\nno\n```\n````\n```sh\nyes\n```\n"),
            [plain(7, "yes")]
        );
    }

    #[test]
    fn a_command_cut_off_by_the_fence_is_still_there() {
        assert_eq!(texts("```sh\na \\\n```\n"), [plain(2, "a \\")]);
    }
}
