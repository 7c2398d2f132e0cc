//! A reader of Rust sources that knows strings, comments and test modules, and the rules on lengths.

use super::text::{LONGEST, LONGEST_TEST, is_test_or_generated, too_long};
use super::{Finding, SourceFile};

/// The longest function.
const LONGEST_FUNCTION: usize = 70;

/// A word or a punctuation mark of the code, never of a string or a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// The rules for one Rust file.
pub(super) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.text.starts_with("//!") {
        let what = "the first line is not `//! …`; say there what the file owns";
        findings.push(Finding::new(&file.path, 1, what));
    }
    let all = tokens(&file.text);
    let code = without_tests(&all);
    let lines = file.text.lines().count();
    if is_test_or_generated(file) {
        findings.extend((lines > LONGEST_TEST).then(|| too_long(file, lines, LONGEST_TEST)));
        return findings;
    }
    let own = lines.saturating_sub(code.test_lines);
    if own > LONGEST {
        findings.push(too_long(file, own, LONGEST));
    } else if lines > LONGEST_TEST {
        findings.push(too_long(file, lines, LONGEST_TEST));
    }
    for function in functions(&code.tokens) {
        if function.lines > LONGEST_FUNCTION {
            let what = format!(
                "the function `{}` has {} lines, more than {LONGEST_FUNCTION}; name its parts",
                function.name, function.lines
            );
            findings.push(Finding::new(&file.path, function.line, what));
        }
    }
    findings
}

/// The tokens of a file without its tests.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) tokens: Vec<Token>,
    /// How many lines the tests take.
    test_lines: usize,
}

/// Leaves out every item under `#[cfg(test)]`.
pub(super) fn without_tests(all: &[Token]) -> Code {
    let mut code = Code::default();
    let mut rest = all;
    while let Some((first, after)) = rest.split_first() {
        let attribute = attribute_length(rest);
        if attribute.is_some_and(|length| is_cfg_test(rest.get(..length).unwrap_or_default())) {
            let (test, others) = rest.split_at(item_length(rest));
            let last = test.last().map_or(first.line, |token| token.line);
            code.test_lines += last - first.line + 1;
            rest = others;
        } else {
            code.tokens.push(first.clone());
            rest = after;
        }
    }
    code
}

/// The number of tokens of the attribute with which `tokens` begins.
fn attribute_length(tokens: &[Token]) -> Option<usize> {
    let mut start = tokens.iter().map(|token| token.text.as_str());
    (start.next() == Some("#") && start.next() == Some("["))
        .then(|| 1 + group_length(tokens.get(1..)))
}

/// The number of tokens of the bracketed group with which `tokens` begins.
fn group_length(tokens: Option<&[Token]>) -> usize {
    let mut depth = 0_usize;
    let tokens = tokens.unwrap_or_default();
    for (index, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

fn is_cfg_test(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.text == word);
    attribute.get(2).is_some_and(|token| token.text == "cfg") && has("test") && !has("not")
}

/// The number of tokens of an item, with its attributes: to its `;` or to the end of its braces.
fn item_length(tokens: &[Token]) -> usize {
    let mut at = 0;
    while let Some(length) = tokens.get(at..).and_then(attribute_length) {
        at += length;
    }
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return at + 1,
            "{" => return at + group_length(tokens.get(at..)),
            "(" | "[" => at += group_length(tokens.get(at..)),
            _ => at += 1,
        }
    }
    tokens.len()
}

/// A function and its length from `fn` to the closing brace.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(index + 1).filter(|_| token.text == "fn") else {
            continue;
        };
        if !name.text.starts_with(is_word) {
            // A function pointer's type.
            continue;
        }
        let rest = tokens.get(index..).unwrap_or_default();
        let last = rest.get(item_length(rest).saturating_sub(1));
        if let Some(last) = last.filter(|last| last.text == "}") {
            found.push(Function {
                name: name.text.clone(),
                line: token.line,
                lines: last.line - token.line + 1,
            });
        }
    }
    found
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The code of a source as words and punctuation marks.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(character) = rest.chars().next() {
        let length = if character.is_whitespace() {
            character.len_utf8()
        } else if let Some(length) = skipped_length(rest) {
            length
        } else {
            let word = rest
                .find(|character| !is_word(character))
                .unwrap_or(rest.len());
            let length = word.max(character.len_utf8());
            tokens.push(Token {
                text: rest.get(..length).unwrap_or_default().to_owned(),
                line,
            });
            length
        };
        let (done, after) = rest.split_at(length.min(rest.len()));
        line += done.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The length of the comment, string, character or lifetime with which `text` begins.
fn skipped_length(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment_length(text));
    }
    if text.starts_with('\'') {
        return Some(character_length(text));
    }
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| {
            rest.starts_with('"')
                || (prefix.ends_with('r')
                    && rest.trim_start_matches('#').starts_with('"')
                    && rest.starts_with('#'))
                || (*prefix == "b" && rest.starts_with('\''))
        })
    })?;
    let rest = text.get(prefix.len()..)?;
    let length = if rest.starts_with('\'') {
        character_length(rest)
    } else if prefix.ends_with('r') {
        raw_string_length(rest)
    } else {
        string_length(rest)
    };
    Some(prefix.len() + length)
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_length(text: &str) -> usize {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let start = hashes + 1;
    let body = text.get(start..).unwrap_or_default();
    body.find(&end)
        .map_or(text.len(), |at| start + at + end.len())
}

/// A character such as `'x'` or `'\''`, or else a lifetime's mark.
fn character_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => {
            // What is escaped may be the quotation mark itself.
            characters.next();
            characters
                .find(|(_, character)| *character == '\'')
                .map_or(text.len(), |(at, _)| at + 1)
        }
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(source: &str) -> Vec<(String, usize, usize)> {
        let code = without_tests(&tokens(source));
        let found = functions(&code.tokens).into_iter();
        found
            .map(|function| (function.name, function.line, function.lines))
            .collect()
    }

    #[test]
    fn a_function_reaches_from_fn_to_its_brace() {
        let source = "//! x\nfn a(x: [u8; 4]) -> u8\nwhere\n    u8: Copy,\n{\n    if x {\n    }\n}\nfn b() {}\n";
        assert_eq!(
            lengths(source),
            [("a".to_owned(), 2, 7), ("b".to_owned(), 9, 1)]
        );
    }

    #[test]
    fn braces_in_text_do_not_count() {
        let source = r##"fn a<'a>(x: &'a str) {
    let _ = "} \" }"; // }
    let _ = r#"}"}"#; /* } /* } */ } */
    let _ = ['}', '\'', '{', b'}', '\u{7d}'];
    let _ = br"}\";
    let r#type = b"}\"";
    loop { break 'a }
}
fn b() {
}
"##;
        assert_eq!(
            lengths(source),
            [("a".to_owned(), 1, 8), ("b".to_owned(), 9, 2)]
        );
    }

    #[test]
    fn declarations_and_function_types_have_no_body() {
        assert_eq!(
            lengths("trait T { fn a(&self); }\nstruct S { f: fn(u8) -> u8 }\n"),
            []
        );
    }

    #[test]
    fn nested_functions_are_measured_too() {
        let source = "fn a() {\n    fn b() {\n    }\n}\n";
        assert_eq!(
            lengths(source),
            [("a".to_owned(), 1, 4), ("b".to_owned(), 2, 2)]
        );
    }

    #[test]
    fn tests_are_left_out() {
        let source = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn b() {}\n}\n#[cfg(not(test))]\nfn c() {}\n";
        assert_eq!(
            lengths(source),
            [("a".to_owned(), 1, 1), ("c".to_owned(), 8, 1)]
        );
        assert_eq!(without_tests(&tokens(source)).test_lines, 5);
        assert_eq!(
            lengths("#[cfg(test)]\nmod tests;\nfn a() {}\n"),
            [("a".to_owned(), 3, 1)]
        );
    }

    #[test]
    fn the_rules() {
        let long = format!("//! x\nfn a() {{\n{}}}\n", "    b();\n".repeat(69));
        let found = check(&SourceFile::of("a.rs", &long));
        assert_eq!(
            found,
            [Finding::new(
                "a.rs",
                2,
                "the function `a` has 71 lines, more than 70; name its parts"
            )]
        );
        assert_eq!(check(&SourceFile::of("a/tests/b.rs", &long)), []);
        assert_eq!(check(&SourceFile::of("a.rs", "use x;\n")).len(), 1);
        let file = format!("//! x\n{}", "use x;\n".repeat(500));
        assert_eq!(check(&SourceFile::of("a.rs", &file)).len(), 1);
        let tested = format!(
            "//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "use x;\n".repeat(500)
        );
        assert_eq!(check(&SourceFile::of("a.rs", &tested)), []);
    }
}
