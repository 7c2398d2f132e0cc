//! What a statement wants: rows of the engine, or something of the session.
//!
//! Invariant: what is not known here is the engine's to plan or to refuse; nothing is evaluated.

use super::copy::{self, CopyFormat};
use super::lex::{self, Kind, Lexeme};

/// What a statement wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// The rows of a statement.
    Query,
    Begin,
    /// The end of a transaction, kept or thrown away: nothing was written.
    End {
        kept: bool,
        word: &'static str,
    },
    /// Something that changes nothing here: the word to answer.
    Nothing(&'static str),
    Set {
        name: String,
        value: Option<String>,
    },
    Show(String),
    ShowAll,
    Reset,
    Discard,
    Deallocate(Option<String>),
    /// A cursor, kept behind the transaction or not. The statement is its query.
    Declare {
        cursor: String,
        kept: bool,
    },
    /// Rows of a cursor; `None`: all. Moved over, if they are not wanted.
    Fetch {
        cursor: String,
        rows: Option<u64>,
        wanted: bool,
    },
    CloseCursor(Option<String>),
    /// Rows as text. The statement is its query.
    Copy(CopyFormat),
}

/// A statement, and what it wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) command: Command,
    /// The part that the engine plans; empty where there is none.
    pub(super) query: String,
    /// Where that part begins in the statement, in bytes; `None` when it was made here.
    pub(super) at: Option<usize>,
}

/// Why a statement is refused before the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsupported {
    pub(super) what: String,
    pub(super) hint: &'static str,
    pub(super) syntax: bool,
}

impl Unsupported {
    fn new(what: &str, hint: &'static str) -> Self {
        Self {
            what: what.to_owned(),
            hint,
            syntax: false,
        }
    }

    fn syntax(what: &str) -> Self {
        Self {
            what: format!("{what} is not understood"),
            hint: "",
            syntax: true,
        }
    }
}

type Found = Result<Asked, Unsupported>;

fn plain(command: Command) -> Found {
    Ok(Asked {
        command,
        query: String::new(),
        at: None,
    })
}

/// What one statement wants.
pub(super) fn of(text: &str) -> Found {
    let words = lex::lexemes(text);
    let starts = |wanted: &str| {
        let wanted: Vec<&str> = wanted.split(' ').collect();
        wanted.len() <= words.len()
            && words
                .iter()
                .zip(wanted)
                .all(|(lexeme, word)| lexeme.is(word))
    };
    let first = words.first().filter(|first| first.kind == Kind::Word);
    let first = first
        .map(|first| first.text.to_ascii_uppercase())
        .unwrap_or_default();
    match first.as_str() {
        "BEGIN" | "START" => plain(Command::Begin),
        "COMMIT" | "END" => end(&words, true, "COMMIT"),
        "ROLLBACK" | "ABORT" => end(&words, false, "ROLLBACK"),
        "SAVEPOINT" => plain(Command::Nothing("SAVEPOINT")),
        "RELEASE" => plain(Command::Nothing("RELEASE")),
        "UNLISTEN" => plain(Command::Nothing("UNLISTEN")),
        "LISTEN" | "NOTIFY" => Err(Unsupported::new(
            &first,
            "Subscribe over Arrow Flight or a WebSocket instead.",
        )),
        "PREPARE" | "EXECUTE" => Err(Unsupported::new(
            &format!("{first} as a statement"),
            "Drivers prepare statements by the protocol; in psql use \\bind.",
        )),
        "SET" => set(&words),
        "RESET" => plain(Command::Reset),
        "DISCARD" => plain(Command::Discard),
        "DEALLOCATE" => named(&words, "PREPARE").map_or_else(
            || Err(Unsupported::syntax(text)),
            |name| plain(Command::Deallocate(name)),
        ),
        "CLOSE" => named(&words, "").map_or_else(
            || Err(Unsupported::syntax(text)),
            |name| plain(Command::CloseCursor(name)),
        ),
        // These are the engine's.
        "SHOW"
            if ["SHOW TABLES", "SHOW COLUMNS", "SHOW FUNCTIONS"]
                .into_iter()
                .any(starts) =>
        {
            query(text)
        }
        "SHOW" => show(&words),
        "DECLARE" => declare(text, &words),
        "FETCH" | "MOVE" => fetch(text, &words, first == "FETCH"),
        "COPY" => copy(text, &words),
        _ => query(text),
    }
}

fn query(text: &str) -> Found {
    Ok(Asked {
        command: Command::Query,
        query: text.to_owned(),
        at: Some(0),
    })
}

/// `ROLLBACK TO` is not the end.
fn end(words: &[Lexeme<'_>], kept: bool, word: &'static str) -> Found {
    match words.iter().any(|lexeme| lexeme.is("TO")) {
        true => plain(Command::Nothing("ROLLBACK")),
        false => plain(Command::End { kept, word }),
    }
}

/// A name behind the first word and `noise`; `Some(None)` for all.
fn named(words: &[Lexeme<'_>], noise: &str) -> Option<Option<String>> {
    let mut rest = words.iter().skip(1).filter(|lexeme| !lexeme.is(noise));
    let name = rest.next()?;
    match rest.next() {
        None if name.is("ALL") => Some(None),
        None if matches!(name.kind, Kind::Word | Kind::Quoted) => Some(Some(name.value())),
        _ => None,
    }
}

/// `SET [SESSION | LOCAL] name {= | TO} value`, `SET TIME ZONE value`, `SET TRANSACTION …`.
fn set(words: &[Lexeme<'_>]) -> Found {
    let mut rest = words
        .iter()
        .skip(1)
        .filter(|lexeme| !lexeme.is("LOCAL"))
        .peekable();
    if rest.peek().is_some_and(|lexeme| lexeme.is("SESSION")) {
        rest.next();
    }
    let wrong = || Err(Unsupported::syntax("this SET"));
    let Some(name) = rest.next() else {
        return wrong();
    };
    if name.is("TRANSACTION") || name.is("CHARACTERISTICS") || name.is("CONSTRAINTS") {
        return plain(Command::Nothing("SET"));
    }
    let mut full = name.value();
    if name.is("TIME") && rest.next_if(|lexeme| lexeme.is("ZONE")).is_some() {
        full = "TimeZone".to_owned();
    } else {
        while rest.next_if(|lexeme| lexeme.is_sign(".")).is_some() {
            full.push('.');
            full.push_str(&rest.next().map(Lexeme::value).unwrap_or_default());
        }
        match rest.next() {
            Some(sign) if sign.is_sign("=") || sign.is("TO") => {}
            // `SET NAMES 'UTF8'` is the encoding.
            Some(value) if name.is("NAMES") => {
                let value = Some(value.value());
                return plain(Command::Set {
                    name: "client_encoding".to_owned(),
                    value,
                });
            }
            _ => return wrong(),
        }
    }
    let values: Vec<&Lexeme<'_>> = rest.collect();
    if values.is_empty() {
        return wrong();
    }
    let default = matches!(values.as_slice(), [only] if only.is("DEFAULT"));
    let value = values
        .iter()
        .map(|lexeme| lexeme.value())
        .collect::<String>();
    plain(Command::Set {
        name: full,
        value: (!default).then(|| value.replace(',', ", ")),
    })
}

fn show(words: &[Lexeme<'_>]) -> Found {
    let rest = words.get(1..).unwrap_or_default();
    match rest {
        [all] if all.is("ALL") => plain(Command::ShowAll),
        [time, zone] if time.is("TIME") && zone.is("ZONE") => {
            plain(Command::Show("TimeZone".to_owned()))
        }
        [transaction, isolation, level]
            if transaction.is("TRANSACTION") && isolation.is("ISOLATION") && level.is("LEVEL") =>
        {
            plain(Command::Show("transaction_isolation".to_owned()))
        }
        [] => Err(Unsupported::syntax("this SHOW")),
        parts => plain(Command::Show(parts.iter().map(Lexeme::value).collect())),
    }
}

/// `DECLARE name [BINARY] [[NO] SCROLL] CURSOR [{WITH | WITHOUT} HOLD] FOR query`.
fn declare(text: &str, words: &[Lexeme<'_>]) -> Found {
    let wrong = || Unsupported::syntax("this DECLARE");
    let cursor = words
        .get(1)
        .filter(|name| matches!(name.kind, Kind::Word | Kind::Quoted));
    let cursor = cursor.ok_or_else(wrong)?.value();
    let end = words
        .iter()
        .position(|lexeme| lexeme.is("FOR"))
        .ok_or_else(wrong)?;
    let options = words.get(2..end).ok_or_else(wrong)?;
    if !options.iter().any(|lexeme| lexeme.is("CURSOR")) {
        return Err(wrong());
    }
    let has = |word: &str| options.iter().any(|lexeme| lexeme.is(word));
    if has("SCROLL") && !has("NO") {
        return Err(Unsupported::new(
            "a cursor that scrolls",
            "Declare it with NO SCROLL: rows come once, in order.",
        ));
    }
    if has("BINARY") {
        return Err(Unsupported::new(
            "a binary cursor",
            "Ask for binary results by the protocol.",
        ));
    }
    let kept = has("HOLD") && !has("WITHOUT");
    let at = words.get(end + 1).ok_or_else(wrong)?.at;
    Ok(Asked {
        command: Command::Declare { cursor, kept },
        query: text.get(at..).unwrap_or_default().to_owned(),
        at: Some(at),
    })
}

/// `FETCH [NEXT | FORWARD] [count | ALL] [FROM | IN] name`.
fn fetch(text: &str, words: &[Lexeme<'_>], wanted: bool) -> Found {
    let back = Unsupported::new(
        "going back in a cursor",
        "Rows come once, in order: use FORWARD.",
    );
    let (mut rows, mut rest) = (Some(1), words.iter().skip(1).peekable());
    if let Some(word) = rest.peek() {
        let word = word.text.to_ascii_uppercase();
        if ["PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "BACKWARD"].contains(&word.as_str()) {
            return Err(back);
        }
    }
    rest.next_if(|lexeme| lexeme.is("NEXT") || lexeme.is("FORWARD"));
    if rest.peek().is_some_and(|lexeme| lexeme.is_sign("-")) {
        return Err(back);
    }
    if let Some(count) = rest.next_if(|lexeme| lexeme.kind == Kind::Number) {
        rows = Some(count.text.parse().map_err(|_| Unsupported::syntax(text))?);
    } else if rest.next_if(|lexeme| lexeme.is("ALL")).is_some() {
        rows = None;
    }
    rest.next_if(|lexeme| lexeme.is("FROM") || lexeme.is("IN"));
    match (rest.next(), rest.next()) {
        (Some(name), None) if matches!(name.kind, Kind::Word | Kind::Quoted) => {
            let cursor = name.value();
            plain(Command::Fetch {
                cursor,
                rows,
                wanted,
            })
        }
        _ => Err(Unsupported::syntax(text)),
    }
}

/// `COPY {(query) | table [(columns)]} TO STDOUT options`.
fn copy(text: &str, words: &[Lexeme<'_>]) -> Found {
    let wrong = || Unsupported::syntax("this COPY");
    let mut depth = 0_usize;
    let direction = words.iter().position(|lexeme| {
        match lexeme.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (lexeme.is("TO") || lexeme.is("FROM"))
    });
    let direction = direction.ok_or_else(wrong)?;
    let to = words.get(direction).is_some_and(|lexeme| lexeme.is("TO"));
    if !to {
        let hint = "Publish orders with `tapewatch feed`, over HTTP or with Arrow Flight.";
        return Err(Unsupported::new("COPY FROM", hint));
    }
    if !words
        .get(direction + 1)
        .is_some_and(|lexeme| lexeme.is("STDOUT"))
    {
        let hint = "COPY TO STDOUT, or in psql \\copy, writes on the client's side.";
        return Err(Unsupported::new("COPY to a file of the server", hint));
    }
    let source = words.get(1..direction).unwrap_or_default();
    let (query, at) = match source {
        [open, inner @ .., _close] if open.is_sign("(") => {
            let (from, last) = (
                inner.first().ok_or_else(wrong)?,
                inner.last().ok_or_else(wrong)?,
            );
            let query = text.get(from.at..last.at + last.text.len());
            (query.unwrap_or_default().to_owned(), Some(from.at))
        }
        [_, ..] => (copy::of_table(source).ok_or_else(wrong)?, None),
        [] => return Err(wrong()),
    };
    let format = copy::options(words.get(direction + 2..).unwrap_or_default());
    Ok(Asked {
        command: Command::Copy(format.map_err(|what| Unsupported::new(&what, ""))?),
        query,
        at,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn command(text: &str) -> Command {
        of(text).unwrap().command
    }

    #[test]
    fn statements_of_the_session() {
        let set = |name: &str, value: Option<&str>| Command::Set {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        for (text, expected) in [
            ("begin read only", Command::Begin),
            (
                "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                Command::Begin,
            ),
            (
                "commit",
                Command::End {
                    kept: true,
                    word: "COMMIT",
                },
            ),
            (
                "END",
                Command::End {
                    kept: true,
                    word: "COMMIT",
                },
            ),
            (
                "rollback",
                Command::End {
                    kept: false,
                    word: "ROLLBACK",
                },
            ),
            (
                "rollback to savepoint \"_pg3_1\"",
                Command::Nothing("ROLLBACK"),
            ),
            (
                "set statement_timeout = '5s'",
                set("statement_timeout", Some("5s")),
            ),
            (
                "SET SESSION datestyle TO ISO, MDY",
                set("datestyle", Some("ISO, MDY")),
            ),
            ("set local x.y to default", set("x.y", None)),
            ("set time zone 'UTC'", set("TimeZone", Some("UTC"))),
            ("set names 'UTF8'", set("client_encoding", Some("UTF8"))),
            ("set transaction read only", Command::Nothing("SET")),
            (
                "show server_version",
                Command::Show("server_version".into()),
            ),
            (
                "show transaction isolation level",
                Command::Show("transaction_isolation".into()),
            ),
            ("show all", Command::ShowAll),
            ("show tables", Command::Query),
            ("DEALLOCATE ALL", Command::Deallocate(None)),
            (
                "deallocate prepare \"x\"",
                Command::Deallocate(Some("x".into())),
            ),
            ("close \"My\"", Command::CloseCursor(Some("My".into()))),
            (
                "fetch forward 100 from \"c\"",
                Command::Fetch {
                    cursor: "c".into(),
                    rows: Some(100),
                    wanted: true,
                },
            ),
            (
                "FETCH ALL IN c",
                Command::Fetch {
                    cursor: "c".into(),
                    rows: None,
                    wanted: true,
                },
            ),
            (
                "move 5 c",
                Command::Fetch {
                    cursor: "c".into(),
                    rows: Some(5),
                    wanted: false,
                },
            ),
            (
                "fetch c",
                Command::Fetch {
                    cursor: "c".into(),
                    rows: Some(1),
                    wanted: true,
                },
            ),
            ("/* x */ select 1", Command::Query),
            ("(select 1)", Command::Query),
            ("insert into orders values (1)", Command::Query),
        ] {
            assert_eq!(command(text), expected, "{text}");
        }
    }

    #[test]
    fn queries_within_statements() {
        let asked = of("declare \"c\" no scroll cursor with hold for select 1").unwrap();
        assert_eq!(
            asked.command,
            Command::Declare {
                cursor: "c".into(),
                kept: true
            }
        );
        assert_eq!((asked.query.as_str(), asked.at), ("select 1", Some(43)));
        let asked = of("COPY  ( select 'TO' from orders ) TO STDOUT csv header").unwrap();
        assert_eq!(
            (asked.query.as_str(), asked.at),
            ("select 'TO' from orders", Some(8))
        );
        let asked = of("copy orders (sym, \"time\") to stdout").unwrap();
        assert_eq!(asked.query, "SELECT sym, \"time\" FROM orders");
    }

    #[test]
    fn what_is_not_done_says_what_to_do() {
        for (text, what) in [
            ("copy orders from stdin", "COPY FROM"),
            ("copy orders to '/tmp/x'", "COPY to a file"),
            ("declare c scroll cursor for select 1", "scrolls"),
            ("declare c cursor", "not understood"),
            ("fetch prior from c", "going back"),
            ("fetch -1 from c", "going back"),
            ("listen x", "LISTEN"),
            ("prepare x as select 1", "PREPARE"),
            ("set", "not understood"),
            ("set x", "not understood"),
            ("close", "not understood"),
            ("copy", "not understood"),
            ("copy () to stdout", "not understood"),
        ] {
            let refused = of(text).unwrap_err();
            assert!(refused.what.contains(what), "{text}: {refused:?}");
        }
    }
}
