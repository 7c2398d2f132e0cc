//! Whole queries: their phrases put together as SQL.
//!
//! Invariant: an answer has an order: that of the keys where there are keys, else that of the rows in
//! the journal.

use super::expression::{Parser, Typed};
use super::lex::{Token, What, tokens};
use super::source::Source;
use super::{Error, Select, Shape};
use crate::kdb::tick::ColumnKind;

/// Takes and counts before a query.
const PREFIXES_MAX: usize = 8;

/// A query before it is SQL.
struct Query {
    /// SQL, name and kind.
    columns: Vec<(String, String, ColumnKind)>,
    from: String,
    wheres: Vec<String>,
    group: Vec<String>,
    /// SQL, and whether downwards.
    order: Vec<(String, bool)>,
    /// So many of the first rows, or of the last.
    head: Option<i64>,
    keys: usize,
    shape: Shape,
}

/// Named expressions.
type Phrase = Vec<(String, Typed)>;

/// A query as SQL.
///
/// # Errors
/// [`Error`] when it is none, or goes beyond what is understood.
pub fn parse(text: &str) -> Result<Select, Error> {
    let begins = text.trim_start().bytes().next();
    if !begins.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Error::NoQuery);
    }
    prefixed(&tokens(text)?, PREFIXES_MAX).and_then(Prefixed::finish)
}

/// A query, or the count of its rows.
enum Prefixed {
    Rows(Query),
    Count(Query),
}

impl Prefixed {
    fn finish(self) -> Result<Select, Error> {
        match self {
            Self::Rows(query) => Ok(query.finish()),
            Self::Count(query) => Ok(Select {
                sql: format!("SELECT count(*) AS x FROM ({}) AS t", query.sql()),
                columns: vec![("x".to_owned(), ColumnKind::Long)],
                keys: 0,
                shape: Shape::Atom,
            }),
        }
    }
}

/// What stands before a query, and the query.
fn prefixed(tokens: &[Token], deeper: usize) -> Result<Prefixed, Error> {
    let Some(deeper) = deeper.checked_sub(1) else {
        return Err(Error::Beyond("too much before a query".to_owned()));
    };
    let what: Vec<&What> = tokens.iter().take(2).map(|token| &token.what).collect();
    let rest = |skip: usize| tokens.get(skip..).unwrap_or_default();
    let rows = |skip| match prefixed(rest(skip), deeper)? {
        Prefixed::Rows(query) => Ok(query),
        Prefixed::Count(_) => Err(Error::Beyond("something of a count".to_owned())),
    };
    match what.as_slice() {
        [What::Name(word), What::Name(_)] if word == "count" => Ok(Prefixed::Count(rows(1)?)),
        [What::Number(n, ColumnKind::Long), What::Sign("!")] if n == "0" => {
            let query = rows(2)?;
            Ok(Prefixed::Rows(Query { keys: 0, ..query }))
        }
        [What::Number(n, ColumnKind::Long), second] if is_take(second) => {
            let query = rows(2)?;
            let all = query.shape == Shape::Table && query.head.is_none();
            let head = n.parse().ok().filter(|_| all);
            match head {
                None => Err(Error::Beyond("a part of a part".to_owned())),
                head => Ok(Prefixed::Rows(Query { head, ..query })),
            }
        }
        [What::Name(word), ..] if word == "select" || word == "exec" => {
            select(rest(1), word == "exec").map(Prefixed::Rows)
        }
        [What::Name(word), ..] if word == "update" => numbered(rest(1)).map(Prefixed::Rows),
        [What::Name(table)] if super::is_name(table) => {
            let source = Source::find(table);
            // A word alone is more often a variable or function than a table that is not there.
            let source = source.ok_or(Error::NoQuery)?;
            Ok(Prefixed::Rows(Query::all(source)))
        }
        _ => Err(Error::NoQuery),
    }
}

fn is_take(what: &What) -> bool {
    match what {
        What::Sign(sign) => *sign == "#",
        What::Name(word) => word == "sublist",
        _ => false,
    }
}

impl Query {
    /// All rows and columns.
    fn all(source: Source) -> Self {
        let column = |(name, kind): &(&str, ColumnKind)| {
            (format!("t.\"{name}\""), (*name).to_owned(), *kind)
        };
        Self {
            columns: source.columns.iter().map(column).collect(),
            from: format!("{} AS t", source.sql),
            wheres: Vec::new(),
            group: Vec::new(),
            order: vec![("t._seq".to_owned(), false)],
            head: None,
            keys: 0,
            shape: Shape::Table,
        }
    }

    fn sql(&self) -> String {
        let listed = |parts: &[String]| parts.join(", ");
        let named = |(sql, name, _): &(String, String, ColumnKind)| format!("{sql} AS \"{name}\"");
        let mut columns: Vec<String> = self.columns.iter().map(named).collect();
        let last = self.head.is_some_and(|head| head < 0);
        if last {
            let order = self.order.iter().enumerate();
            columns.extend(order.map(|(at, (sql, _))| format!("{sql} AS _{at}")));
        }
        let mut sql = format!("SELECT {} FROM {}", listed(&columns), self.from);
        if !self.wheres.is_empty() {
            sql += &format!(" WHERE {}", self.wheres.join(" AND "));
        }
        if !self.group.is_empty() {
            sql += &format!(" GROUP BY {}", listed(&self.group));
        }
        let ordered = |parts: Vec<(String, bool)>| {
            let part = |(sql, down): (String, bool)| if down { sql + " DESC" } else { sql };
            match parts.is_empty() {
                true => String::new(),
                false => format!(
                    " ORDER BY {}",
                    parts.into_iter().map(part).collect::<Vec<_>>().join(", ")
                ),
            }
        };
        if last {
            let turned = self.order.iter().map(|(sql, down)| (sql.clone(), !down));
            sql += &ordered(turned.collect());
            sql += &format!(" LIMIT {}", self.head.unwrap_or_default().unsigned_abs());
            let names = self
                .columns
                .iter()
                .map(|(_, name, _)| format!("\"{name}\""));
            let names: Vec<String> = names.collect();
            let order = self.order.iter().enumerate();
            let order = order.map(|(at, (_, down))| (format!("_{at}"), *down));
            return format!(
                "SELECT {} FROM ({sql}) AS t{}",
                listed(&names),
                ordered(order.collect())
            );
        }
        sql += &ordered(self.order.clone());
        if let Some(head) = self.head {
            sql += &format!(" LIMIT {head}");
        }
        sql
    }

    fn finish(self) -> Select {
        Select {
            sql: self.sql(),
            columns: self
                .columns
                .into_iter()
                .map(|(_, name, kind)| (name, kind))
                .collect(),
            keys: self.keys,
            shape: self.shape,
        }
    }
}

/// `update alertID:1+til count i from orderAlerts`: the rows numbered from 1.
fn numbered(tokens: &[Token]) -> Result<Query, Error> {
    let what: Vec<&What> = tokens.iter().map(|token| &token.what).collect();
    let is = |what: &What, word: &str| matches!(what, What::Name(name) if name == word);
    let (name, table) = match what.as_slice() {
        [
            What::Name(name),
            What::Sign(":"),
            What::Number(one, ColumnKind::Long),
            What::Sign("+"),
            til,
            count,
            i,
            from,
            What::Name(table),
        ] if one == "1"
            && is(til, "til")
            && is(count, "count")
            && is(i, "i")
            && is(from, "from") =>
        {
            (name, table)
        }
        _ => {
            let what = "update other than of the rows' numbers, NAME:1+til count i";
            return Err(Error::Beyond(what.to_owned()));
        }
    };
    if !super::is_name(name) {
        return Err(Error::Unknown("name", name.clone()));
    }
    let mut query = Query::all(find(table)?);
    let number = "CAST(row_number() OVER (ORDER BY t._seq) AS BIGINT)".to_owned();
    query.columns.retain(|(_, other, _)| other != name);
    query.columns.push((number, name.clone(), ColumnKind::Long));
    Ok(query)
}

fn find(table: &str) -> Result<Source, Error> {
    Source::find(table).ok_or_else(|| Error::Unknown("table", table.to_owned()))
}

/// The table behind `from`, which says what names mean before it.
fn source(tokens: &[Token]) -> Result<Source, Error> {
    let is_from = |token: &&Token| matches!(&token.what, What::Name(name) if name == "from");
    let from = tokens.iter().skip_while(|token| !is_from(token)).nth(1);
    match from.map(|token| &token.what) {
        Some(What::Name(table)) => find(table),
        Some(What::Symbols(tables)) if tables.len() == 1 => find(tables.first().map_or("", |t| t)),
        _ => Err(Error::Beyond("from other than a table's name".to_owned())),
    }
}

fn select(tokens: &[Token], exec: bool) -> Result<Query, Error> {
    let source = source(tokens)?;
    let mut parser = Parser {
        tokens,
        source,
        uses_row: false,
        depth: 0,
    };
    let (head, sort) = limit(&mut parser)?;
    let distinct = parser.word("distinct");
    let unnumbered = phrase(&mut parser, &["by", "from"])?;
    let mut by = Phrase::new();
    if parser.word("by") {
        for (name, typed) in phrase(&mut parser, &["from"])? {
            by.push((unique(name, &by), typed));
        }
    }
    // Keys stand before the other columns, and keep their names.
    let mut columns = by.clone();
    for (name, typed) in unnumbered {
        columns.push((unique(name, &columns), typed));
    }
    let columns = columns.split_off(by.len());
    parser.next(); // from
    parser.next(); // the table
    let (wheres, first) = conditions(&mut parser)?;
    if !parser.tokens.is_empty() {
        return Err(parser.unexpected("the end"));
    }
    let mut query = Query::all(source);
    query.head = head;
    query.wheres = wheres;
    query.from = from(source, first, parser.uses_row);
    let shown = shown(&mut query, &columns, &by, distinct)?;
    if exec {
        query.shape = match (columns.len(), by.len(), shown) {
            (1, 0, true) => Shape::Atom,
            (1, 0, false) => Shape::List,
            (_, 0, true) => Shape::Row,
            (2.., 0, false) => Shape::Dict,
            (1, 1, _) => Shape::Dict,
            _ => {
                return Err(Error::Beyond(
                    "exec of all, or of several by several".to_owned(),
                ));
            }
        };
    }
    if let Some((column, down)) = sort {
        if !by.is_empty() || shown || distinct {
            let what = "a sorted part of what is not the rows themselves";
            return Err(Error::Beyond(what.to_owned()));
        }
        let hides = |(sql, name, _): &(String, String, ColumnKind)| {
            *sql != column && column == format!("t.\"{name}\"")
        };
        if query.columns.iter().any(hides) {
            let what = "sorted by a column while another has its name";
            return Err(Error::Beyond(what.to_owned()));
        }
        query.order.insert(0, (column, down));
    }
    Ok(query)
}

/// Fills in what is shown, and says whether that is one row of aggregates.
fn shown(query: &mut Query, columns: &Phrase, by: &Phrase, distinct: bool) -> Result<bool, Error> {
    let part = |(name, typed): &(String, Typed)| (typed.sql.clone(), name.clone(), typed.kind);
    let aggregates = columns.iter().filter(|(_, typed)| typed.aggregate).count();
    if by.iter().any(|(_, typed)| typed.aggregate) {
        return Err(Error::Beyond("by what is one value for all".to_owned()));
    }
    if !by.is_empty() {
        if distinct || aggregates != columns.len() {
            let what = "columns of lists: beside `by`, show count, last, sum and the like";
            return Err(Error::Beyond(what.to_owned()));
        }
        let mut all: Vec<_> = by.iter().map(part).collect();
        query.keys = all.len();
        query.group = all.iter().map(|(sql, ..)| sql.clone()).collect();
        query.order = query.group.iter().map(|sql| (sql.clone(), false)).collect();
        if columns.is_empty() {
            // The last row of each.
            let others = std::mem::take(&mut query.columns).into_iter();
            let others = others.filter(|(_, name, _)| by.iter().all(|(key, _)| key != name));
            let last =
                |(sql, name, kind)| (format!("last_value({sql} ORDER BY t._seq)"), name, kind);
            all.extend(others.map(last));
        } else {
            all.extend(columns.iter().map(part));
        }
        query.columns = all;
        return Ok(false);
    }
    if !columns.is_empty() {
        query.columns = columns.iter().map(part).collect();
    }
    if aggregates > 0 {
        if aggregates != columns.len() || distinct {
            let what = "aggregates beside columns without `by`";
            return Err(Error::Beyond(what.to_owned()));
        }
        query.order.clear();
        return Ok(true);
    }
    if distinct {
        query.group = query.columns.iter().map(|(sql, ..)| sql.clone()).collect();
        query.order = vec![("min(t._seq)".to_owned(), false)];
    }
    Ok(false)
}

/// `[n]`, `[n;>column]`, `[>column]`.
type Limit = (Option<i64>, Option<(String, bool)>);

fn limit(parser: &mut Parser<'_>) -> Result<Limit, Error> {
    if !parser.sign("[") {
        return Ok((None, None));
    }
    let mut head = None;
    if let Some(What::Number(n, ColumnKind::Long)) = parser.peek() {
        head = n.parse().ok();
        parser.next();
        if parser.sign("]") {
            return Ok((head, None));
        }
        parser.expect(";", "`;` or `]`")?;
    }
    let down = match parser.peek() {
        Some(What::Sign(">")) => true,
        Some(What::Sign("<")) => false,
        _ => return Err(parser.unexpected("a number of rows, or `<` or `>` and a column")),
    };
    parser.next();
    let column = parser.expression()?;
    parser.expect("]", "`]`")?;
    match head {
        Some(head) if head < 0 => Err(Error::Beyond("the last of sorted rows".to_owned())),
        head => Ok((head, Some((column.sql, down)))),
    }
}

/// Named expressions up to one of these words.
fn phrase(parser: &mut Parser<'_>, ends: &[&str]) -> Result<Phrase, Error> {
    let mut phrase: Phrase = Vec::new();
    if ends.iter().any(|end| parser.is_word(end)) {
        return Ok(phrase);
    }
    loop {
        let named = match parser.tokens {
            [
                Token {
                    what: What::Name(name),
                    ..
                },
                Token {
                    what: What::Sign(":"),
                    ..
                },
                rest @ ..,
            ] if super::is_name(name) => {
                parser.tokens = rest;
                Some(name.clone())
            }
            _ => None,
        };
        let typed = parser.expression()?;
        if typed.sql.is_empty() || typed.is_distinct() {
            let what = "a list, or distinct within a phrase, as a column";
            return Err(Error::Beyond(what.to_owned()));
        }
        let name = named.or_else(|| typed.name.clone());
        phrase.push((name.unwrap_or_else(|| "x".to_owned()), typed));
        if parser.sign(",") {
            continue;
        }
        if ends.iter().any(|end| parser.is_word(end)) {
            return Ok(phrase);
        }
        return Err(parser.unexpected("`,`, `by` or `from`"));
    }
}

/// q numbers names that come again: `price`, `price1`.
fn unique(name: String, before: &Phrase) -> String {
    let taken = |name: &str| before.iter().any(|(other, _)| other == name);
    if !taken(&name) {
        return name;
    }
    let mut numbered = (1..).map(|n| format!("{name}{n}"));
    numbered.find(|name| !taken(name)).unwrap_or(name)
}

/// The conditions, and how many of the first rows there may be at most: `i<n` is about the table's
/// rows, whatever the other conditions say, and rows behind need not be looked at.
fn conditions(parser: &mut Parser<'_>) -> Result<(Vec<String>, Option<u64>), Error> {
    let mut wheres = Vec::new();
    let mut first: Option<u64> = None;
    if !parser.word("where") {
        return Ok((wheres, first));
    }
    loop {
        let used = parser.uses_row;
        let before = parser.tokens;
        let typed = parser.expression()?;
        let consumed = before.len() - parser.tokens.len();
        if typed.kind != ColumnKind::Bool || typed.aggregate || typed.sql.is_empty() {
            let what = "where with other than comparisons of columns and values";
            return Err(Error::Beyond(what.to_owned()));
        }
        match before.get(..consumed).and_then(first_rows) {
            Some(rows) => {
                parser.uses_row = used;
                first = Some(first.map_or(rows, |first| first.min(rows)));
            }
            None => wheres.push(typed.sql),
        }
        if !parser.sign(",") {
            return Ok((wheres, first));
        }
    }
}

/// `i<n` or `i<=n`.
fn first_rows(tokens: &[Token]) -> Option<u64> {
    let [i, sign, n] = tokens else { return None };
    let (What::Name(i), What::Sign(sign), What::Number(n, ColumnKind::Long)) =
        (&i.what, &sign.what, &n.what)
    else {
        return None;
    };
    let n = n.parse::<i64>().ok()?;
    match (i.as_str(), *sign) {
        ("i", "<") => Some(n.max(0).unsigned_abs()),
        ("i", "<=") => Some(n.saturating_add(1).max(0).unsigned_abs()),
        _ => None,
    }
}

fn from(source: Source, first: Option<u64>, uses_row: bool) -> String {
    let mut from = source.sql.to_owned();
    if uses_row {
        let number = "CAST(row_number() OVER (ORDER BY _seq) AS BIGINT) - 1 AS i";
        from = format!("(SELECT *, {number} FROM {from} AS s)");
    }
    if let Some(first) = first {
        from = format!("(SELECT * FROM {from} AS r ORDER BY _seq LIMIT {first})");
    }
    format!("{from} AS t")
}
