//! The words of statements: as much of the language as it takes to tell where a statement ends and what
//! it wants of the session. What it means otherwise is the engine's to say.
//!
//! Invariant: pieces and lexemes stand in order and do not overlap; between them there is only white
//! space and comments.

use std::ops::Range;

/// A word or a sign of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lexeme<'a> {
    pub(super) kind: Kind,
    /// As it is written.
    pub(super) text: &'a str,
    /// Where it begins, in bytes.
    pub(super) at: usize,
}

/// What a lexeme is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// `"…"`.
    Quoted,
    /// `'…'` or `$$…$$`.
    Text,
    Number,
    /// One sign.
    Sign,
}

impl Lexeme<'_> {
    pub(super) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    /// What it stands for: without its quotes.
    pub(super) fn value(&self) -> String {
        let inner = |mark: char| {
            let text = self.text.strip_prefix(['E', 'e']).unwrap_or(self.text);
            let text = text.strip_prefix(mark).unwrap_or(text);
            text.strip_suffix(mark).unwrap_or(text).to_owned()
        };
        match self.kind {
            Kind::Quoted => inner('"').replace("\"\"", "\""),
            Kind::Text if self.text.starts_with('$') => {
                let mark = self.text.find('$').and_then(|from| {
                    let rest = self.text.get(from + 1..)?;
                    Some(rest.find('$')? + 2)
                });
                let mark = mark.unwrap_or(0);
                let inner = self.text.get(mark..self.text.len().saturating_sub(mark));
                inner.unwrap_or_default().to_owned()
            }
            Kind::Text => inner('\'').replace("''", "'"),
            Kind::Word | Kind::Number | Kind::Sign => self.text.to_owned(),
        }
    }
}

/// All lexemes of a text.
pub(super) fn lexemes(text: &str) -> Vec<Lexeme<'_>> {
    let mut lexemes = Vec::new();
    let mut at = 0;
    while let Some(first) = rest(text, at).chars().next() {
        let skipped = blank(rest(text, at));
        if skipped > 0 {
            at += skipped;
            continue;
        }
        let (kind, length) = one(rest(text, at), first);
        lexemes.push(Lexeme {
            kind,
            text: text.get(at..at + length).unwrap_or_default(),
            at,
        });
        at += length;
    }
    lexemes
}

/// The statements of a text, without the semicolons between them and without what is empty.
pub(super) fn statements(text: &str) -> Vec<Range<usize>> {
    let (mut pieces, mut from, mut end) = (Vec::new(), None, 0);
    for lexeme in lexemes(text) {
        if lexeme.is_sign(";") {
            pieces.extend(from.take().map(|from| from..end));
            continue;
        }
        from.get_or_insert(lexeme.at);
        end = lexeme.at + lexeme.text.len();
    }
    pieces.extend(from.map(|from| from..end));
    pieces
}

fn rest(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or_default()
}

/// Bytes of white space or of a comment in front.
fn blank(text: &str) -> usize {
    let white = text.len() - text.trim_start().len();
    if white > 0 {
        return white;
    }
    if text.starts_with("--") {
        return text.find('\n').unwrap_or(text.len());
    }
    if !text.starts_with("/*") {
        return 0;
    }
    // Comments may stand in comments.
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let here = text.as_bytes().get(at..at + 2);
        match here {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// What stands in front, and its bytes.
fn one(text: &str, first: char) -> (Kind, usize) {
    let word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
    let bytes = |more: fn(char) -> bool| text.find(|letter| !more(letter)).unwrap_or(text.len());
    let quoted =
        |from: usize, mark: u8, escapes: bool| from + quoted(text.get(from..), mark, escapes);
    match first {
        '\'' => (Kind::Text, quoted(0, b'\'', false)),
        '"' => (Kind::Quoted, quoted(0, b'"', false)),
        'E' | 'e' if text.get(1..2) == Some("'") => (Kind::Text, quoted(1, b'\'', true)),
        '$' => match dollar(text) {
            Some(length) => (Kind::Text, length),
            None => (Kind::Sign, 1 + digits(text.get(1..).unwrap_or_default())),
        },
        '0'..='9' => (
            Kind::Number,
            bytes(|letter| letter.is_ascii_digit() || letter == '.').max(1),
        ),
        letter if letter.is_alphabetic() || letter == '_' => (
            Kind::Word,
            text.find(|letter| !word(letter)).unwrap_or(text.len()),
        ),
        letter => (Kind::Sign, letter.len_utf8()),
    }
}

fn digits(text: &str) -> usize {
    text.find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len())
}

/// Bytes of a text up to its end, in which two marks are one; all where it has no end.
fn quoted(text: Option<&str>, mark: u8, escapes: bool) -> usize {
    let text = text.unwrap_or_default().as_bytes();
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match *byte {
            b'\\' if escapes => at += 2,
            byte if byte == mark && text.get(at + 1) == Some(&mark) => at += 2,
            byte if byte == mark => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Bytes of `$mark$…$mark$`; `None` when it is not one.
fn dollar(text: &str) -> Option<usize> {
    let length = text.get(1..)?.find('$')? + 2;
    let mark = text.get(..length)?;
    let name = mark.trim_matches('$');
    let is_name = |name: &str| {
        !name.starts_with(|letter: char| letter.is_ascii_digit())
            && name
                .chars()
                .all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    if !is_name(name) {
        return None;
    }
    let inner = text.get(length..)?.find(mark);
    Some(inner.map_or(text.len(), |inner| length + inner + length))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_end_where_they_end() {
        for (text, expected) in [
            ("", &[][..]),
            (" ;; -- ping", &[]),
            ("-- ping", &[]),
            ("select 1", &["select 1"]),
            ("a; b ;", &["a", "b"]),
            ("select ';', \";\"; c", &["select ';', \";\"", "c"]),
            ("select 'it''s;' ; d", &["select 'it''s;'", "d"]),
            (r"select E'\';' ; e", &[r"select E'\';'", "e"]),
            (r"select '\'; f", &[r"select '\'", "f"]),
            ("select $$;$$; g", &["select $$;$$", "g"]),
            ("select $x$;$$;$x$; h", &["select $x$;$$;$x$", "h"]),
            ("select $1;i", &["select $1", "i"]),
            ("/* ; /* ; */ ; */ j --;\n; k", &["j", "k"]),
            ("select 1 /* open ;", &["select 1"]),
            ("select 'open ;", &["select 'open ;"]),
        ] {
            let found: Vec<_> = statements(text)
                .into_iter()
                .map(|range| &text[range])
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn values_have_no_quotes() {
        let values = |text| lexemes(text).iter().map(Lexeme::value).collect::<Vec<_>>();
        assert_eq!(
            values(r#""a""b" 'c''d' $$e$$ $f$g$f$ h 1.5 ,"#),
            ["a\"b", "c'd", "e", "g", "h", "1.5", ","]
        );
    }

    proptest! {
        #[test]
        fn lexemes_are_in_order(text in "[a-zE'\"$;/*\\- \n\u{e9}0-9\\\\]{0,40}") {
            let mut end = 0;
            for lexeme in lexemes(&text) {
                prop_assert!(lexeme.at >= end && !lexeme.text.is_empty());
                prop_assert_eq!(text.get(lexeme.at..lexeme.at + lexeme.text.len()), Some(lexeme.text));
                end = lexeme.at + lexeme.text.len();
                let _ = lexeme.value();
            }
            for range in statements(&text) {
                prop_assert!(text.get(range).is_some());
            }
        }
    }
}
