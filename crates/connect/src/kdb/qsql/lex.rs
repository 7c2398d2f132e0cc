//! A query's text as words, signs and literals.
//!
//! Invariant: every token is in the text; a number, date or time that does not exist is an error.

use tapewatch_model::{Date, Time, TimeSpan};

use super::Error;
use crate::kdb::tick::ColumnKind;

/// A word, a sign or a literal, and its first character, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Name(String),
    /// `` `a`b ``
    Symbols(Vec<String>),
    /// `"a"`
    Text(String),
    /// A number, date or time as SQL, and its kind.
    Number(String, ColumnKind),
    /// Anything else; two characters at most.
    Sign(&'static str),
}

const SIGNS: [&str; 22] = [
    "<>", "<=", ">=", "<", ">", "=", "+", "-", "*", "%", "&", "|", ",", ";", ":", "(", ")", "[",
    "]", "#", "!", "~",
];

/// The tokens of `text`.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text;
    let mut spaced = true;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len() + 1;
        if first.is_ascii_whitespace() {
            rest = rest.trim_ascii_start();
            spaced = true;
            continue;
        }
        let (what, after) = match first {
            '`' => symbols(rest),
            '"' => quoted(rest).ok_or_else(|| unexpected(first, at, "a text with its end"))?,
            _ if first.is_ascii_alphabetic() || first == '.' && !digit_at(rest, 1) => word(rest),
            _ if first.is_ascii_digit() || first == '.' => number(rest, at)?,
            '-' if digit_at(rest, 1) && negates(tokens.last(), spaced) => {
                let (what, after) = number(rest.get(1..).unwrap_or_default(), at)?;
                match what {
                    What::Number(text, kind @ (ColumnKind::Long | ColumnKind::Float)) => {
                        (What::Number(format!("-{text}"), kind), after)
                    }
                    _ => return Err(unexpected(first, at, "a number behind the minus")),
                }
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| unexpected(first, at, "a word, number or sign"))?;
                (What::Sign(sign), rest.get(sign.len()..).unwrap_or_default())
            }
        };
        tokens.push(Token { at, what });
        rest = after;
        spaced = false;
    }
    Ok(tokens)
}

fn unexpected(found: char, at: usize, wanted: &'static str) -> Error {
    let found = found.to_string();
    Error::Unexpected { found, at, wanted }
}

fn digit_at(text: &str, at: usize) -> bool {
    text.as_bytes().get(at).is_some_and(u8::is_ascii_digit)
}

/// Whether a minus before a digit belongs to the number: not right behind a value, and behind a name
/// or a bracket not even after a space.
fn negates(before: Option<&Token>, spaced: bool) -> bool {
    match before.map(|token| &token.what) {
        Some(What::Number(..)) => spaced,
        Some(What::Sign(sign)) => !matches!(*sign, ")" | "]"),
        // Behind `count`, `in` and the like a number may be negative, behind a column it is a
        // difference: what it is is not known here, so only a space before it makes it negative.
        Some(What::Name(_)) => spaced,
        Some(What::Symbols(_) | What::Text(_)) => false,
        None => true,
    }
}

/// Splits behind the longest beginning of such characters.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn word(text: &str) -> (What, &str) {
    let (name, rest) = split(text, |c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    (What::Name(name.to_owned()), rest)
}

fn symbols(text: &str) -> (What, &str) {
    let mut rest = text;
    let mut symbols = Vec::new();
    while let Some(after) = rest.strip_prefix('`') {
        let (symbol, after) = split(after, |c| {
            c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '/')
        });
        symbols.push(symbol.to_owned());
        rest = after;
    }
    (What::Symbols(symbols), rest)
}

fn quoted(text: &str) -> Option<(What, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((What::Text(value), text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other @ ('"' | '\\') => value.push(other),
                _ => return None,
            },
            other => value.push(other),
        }
    }
    None
}

fn number(text: &str, at: usize) -> Result<(What, &str), Error> {
    let (mut literal, mut rest) = split(text, |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | ':')
    });
    // 1e-3
    let scientific = literal.ends_with('e') && literal.starts_with(|c: char| c.is_ascii_digit());
    if scientific && rest.starts_with('-') && digit_at(rest, 1) {
        let (exponent, _) = split(rest.get(1..).unwrap_or_default(), |c| c.is_ascii_digit());
        let end = literal.len() + 1 + exponent.len();
        (literal, rest) = text.split_at(end);
    }
    let wrong = || Error::Unexpected {
        found: literal.chars().take(40).collect(),
        at,
        wanted: "a number, a date such as 2015.04.17, a timestamp such as 2015.04.17D12:00:00, or a timespan such as 0D00:05",
    };
    let (sql, kind) = literal_sql(literal).ok_or_else(wrong)?;
    Ok((What::Number(sql, kind), rest))
}

fn literal_sql(literal: &str) -> Option<(String, ColumnKind)> {
    if let Some((day, _)) = literal.split_once('D') {
        if day.contains('.') {
            let time = Time::parse(literal.as_bytes()).ok()?;
            return Some((timestamp(time), ColumnKind::Timestamp));
        }
        let span = TimeSpan::parse(literal).ok()?;
        return Some((span.nanos().to_string(), ColumnKind::Timespan));
    }
    if literal.matches('.').count() == 2 {
        let date = Date::parse(literal.as_bytes()).ok()?;
        return Some((format!("DATE '{date}'"), ColumnKind::Date));
    }
    if let "0b" | "1b" = literal {
        let sql = if literal == "1b" { "TRUE" } else { "FALSE" };
        return Some((sql.to_owned(), ColumnKind::Bool));
    }
    let whole = literal.strip_suffix(['j', 'i', 'h']).unwrap_or(literal);
    if let Ok(value) = whole.parse::<i64>() {
        return Some((value.to_string(), ColumnKind::Long));
    }
    let float = literal.strip_suffix(['f', 'e']).unwrap_or(literal);
    let value: f64 = float.parse().ok()?;
    value
        .is_finite()
        .then(|| (format!("CAST('{value:e}' AS DOUBLE)"), ColumnKind::Float))
}

/// A point in time as SQL.
pub(super) fn timestamp(time: Time) -> String {
    format!("arrow_cast('{time}', 'Timestamp(Nanosecond, Some(\"UTC\"))')")
}
