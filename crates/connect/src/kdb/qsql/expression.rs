//! One expression: read from the right without precedence, as q does, and typed on the way.
//!
//! Invariant: an expression has SQL only after its types were found to fit, so that a comparison that
//! q reads in another way than it looks is an error here and not another answer.

use super::Error;
use super::lex::{Token, What};
use super::source::Source;
use crate::kdb::tick::ColumnKind;

/// What only `count` can stand before.
const DISTINCT: &str = "DISTINCT ";
/// Expressions within expressions.
const DEPTH_MAX: usize = 32;

/// An expression as SQL.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) sql: String,
    pub(super) kind: ColumnKind,
    /// Whether it is one value for many rows.
    pub(super) aggregate: bool,
    /// The column that an unnamed result is called after: the last that is named.
    pub(super) name: Option<String>,
    /// Of a literal: its values.
    values: Vec<String>,
}

/// Reads tokens from left to right.
pub(super) struct Parser<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) source: Source,
    /// Whether `i` was used as a number.
    pub(super) uses_row: bool,
    pub(super) depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Option<&'a What> {
        self.tokens.first().map(|token| &token.what)
    }

    pub(super) fn next(&mut self) -> Option<&'a What> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(&first.what)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(What::Name(name)) if name == word)
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(What::Sign(found)) if *found == sign)
    }

    /// Passes over a sign if it is there.
    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let there = self.is_sign(sign);
        if there {
            self.next();
        }
        there
    }

    /// Passes over a word if it is there.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let there = self.is_word(word);
        if there {
            self.next();
        }
        there
    }

    pub(super) fn unexpected(&self, wanted: &'static str) -> Error {
        unexpected(self.tokens.first(), wanted)
    }

    pub(super) fn expect(&mut self, sign: &str, wanted: &'static str) -> Result<(), Error> {
        if self.sign(sign) {
            Ok(())
        } else {
            Err(self.unexpected(wanted))
        }
    }

    /// An expression, up to what cannot belong to it.
    pub(super) fn expression(&mut self) -> Result<Typed, Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(beyond("too many expressions within expressions"));
        }
        let read = self.expression_here();
        self.depth -= 1;
        read
    }

    fn expression_here(&mut self) -> Result<Typed, Error> {
        let left = match self.peek() {
            Some(What::Name(name)) if is_function(name) => {
                self.next();
                if !self.sign("[") {
                    let argument = self.argument(name)?;
                    return apply(name, argument);
                }
                let argument = self.argument(name)?;
                self.expect("]", "`]`")?;
                apply(name, argument)?
            }
            _ => self.term()?,
        };
        let operator = match self.peek() {
            Some(What::Sign(sign)) if is_operator(sign) => *sign,
            Some(What::Name(name)) if is_operator(name) => name.as_str(),
            _ => return Ok(left),
        };
        self.next();
        let right = self.expression()?;
        combine(left, operator, right)
    }

    /// The argument of a function; `i` stands for the rows where they are only counted.
    fn argument(&mut self, function: &str) -> Result<Typed, Error> {
        let row = matches!(self.peek(), Some(What::Name(name)) if name == "i");
        let used = self.uses_row;
        let argument = self.expression()?;
        if function == "count" && row {
            self.uses_row = used;
        }
        Ok(argument)
    }

    fn term(&mut self) -> Result<Typed, Error> {
        let here = self.tokens.first();
        match self.next() {
            Some(What::Number(sql, kind)) => {
                let mut values = vec![sql.clone()];
                while let Some(What::Number(sql, other)) = self.peek() {
                    if other != kind {
                        return Err(self.unexpected("a number of the same kind"));
                    }
                    values.push(sql.clone());
                    self.next();
                }
                Ok(Typed::literal(*kind, values))
            }
            Some(What::Symbols(symbols)) => {
                let values = symbols.iter().map(|symbol| quote(symbol)).collect();
                Ok(Typed::literal(ColumnKind::Symbol, values))
            }
            Some(What::Text(text)) => Ok(Typed::literal(ColumnKind::Text, vec![quote(text)])),
            Some(What::Name(name)) if name == "enlist" => self.term(),
            Some(What::Name(name)) => self.column(name),
            Some(What::Sign("(")) => {
                let mut inner = self.expression()?;
                while self.sign(";") {
                    let more = self.expression()?;
                    let literal = !inner.values.is_empty() && !more.values.is_empty();
                    if !literal || inner.kind != more.kind {
                        return Err(beyond(
                            "a list in brackets of other than literals of a kind",
                        ));
                    }
                    inner.values.extend(more.values);
                    inner.sql.clear();
                }
                self.expect(")", "`)`")?;
                Ok(inner)
            }
            _ => Err(unexpected(here, "a column or a value")),
        }
    }

    fn column(&mut self, name: &str) -> Result<Typed, Error> {
        let kind = self
            .source
            .kind(name)
            .ok_or_else(|| Error::Unknown("column or function", name.to_owned()))?;
        self.uses_row |= name == "i";
        Ok(Typed {
            sql: format!("t.\"{name}\""),
            kind,
            aggregate: false,
            name: (name != "i").then(|| name.to_owned()),
            values: Vec::new(),
        })
    }
}

impl Typed {
    fn literal(kind: ColumnKind, values: Vec<String>) -> Self {
        let sql = match values.as_slice() {
            [one] => one.clone(),
            _ => String::new(),
        };
        Self {
            sql,
            kind,
            aggregate: false,
            name: None,
            values,
        }
    }

    /// Whether it is `distinct column`, which is no value of a row.
    pub(super) fn is_distinct(&self) -> bool {
        self.sql.starts_with(DISTINCT)
    }

    /// A list has no SQL of its own: it stands behind `in` and `within` only.
    fn single(self) -> Result<Self, Error> {
        if self.sql.is_empty() {
            return Err(beyond("a list stands behind `in` or `within` only"));
        }
        Ok(self)
    }
}

fn beyond(what: impl Into<String>) -> Error {
    Error::Beyond(what.into())
}

fn unexpected(token: Option<&Token>, wanted: &'static str) -> Error {
    let Some(token) = token else {
        return Error::Ends(wanted);
    };
    let found = match &token.what {
        What::Name(name) => name.clone(),
        What::Symbols(symbols) => format!("`{}", symbols.join("`")),
        What::Text(text) => format!("{text:?}"),
        What::Number(sql, _) => sql.clone(),
        What::Sign(sign) => (*sign).to_owned(),
    };
    Error::Unexpected {
        found: found.chars().take(40).collect(),
        at: token.at,
        wanted,
    }
}

/// A text as SQL writes it.
/// A number as a float. Not by a cast: it leaves no trace in the name that the engine gives a sum, and
/// two sums of one name, one with it and one without, are an error there.
fn as_float(sql: &str, kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Float => sql.to_owned(),
        _ => format!("({sql} + 0e0)"),
    }
}

pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

const fn is_number(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Long | ColumnKind::Float)
}

fn is_function(name: &str) -> bool {
    [
        "count", "sum", "avg", "min", "max", "first", "last", "dev", "var", "distinct", "not",
        "neg", "abs",
    ]
    .contains(&name)
}

fn is_operator(name: &str) -> bool {
    [
        "+", "-", "*", "%", "=", "<>", "<", ">", "<=", ">=", "&", "|", "and", "or", "in", "within",
        "like", "xbar", "wavg", "wsum",
    ]
    .contains(&name)
}

fn apply(function: &str, argument: Typed) -> Result<Typed, Error> {
    use ColumnKind::{Bool, Float, Long, Text, Timespan};
    let argument = argument.single()?;
    let x = &argument.sql;
    let as_number = match argument.kind {
        Bool => format!("CASE WHEN {x} THEN 1 ELSE 0 END"),
        _ => x.clone(),
    };
    let number = is_number(argument.kind) || argument.kind == Bool;
    let summed = match argument.kind {
        Bool => Long,
        kind => kind,
    };
    let refuse = || {
        let what = format!("{function} of {:?}", argument.kind);
        Err(beyond(what))
    };
    let each = matches!(function, "not" | "neg" | "abs" | "distinct");
    if argument.is_distinct() && function != "count" {
        return Err(beyond(format!("{function} of distinct values")));
    }
    if argument.aggregate && !each {
        return Err(beyond(format!("{function} of what is one value already")));
    }
    let (sql, kind) = match function {
        "count" => match x.strip_prefix(DISTINCT) {
            Some(of) => (format!("count(DISTINCT {of})"), Long),
            None => ("count(*)".to_owned(), Long),
        },
        "sum" if number || argument.kind == Timespan => {
            (format!("COALESCE(sum({as_number}), 0)"), summed)
        }
        "avg" if number => (format!("avg(CAST({as_number} AS DOUBLE))"), Float),
        "dev" if number => (format!("stddev_pop({as_number})"), Float),
        "var" if number => (format!("var_pop({as_number})"), Float),
        "min" | "max" if !matches!(argument.kind, Bool | Text) => {
            (format!("{function}({x})"), argument.kind)
        }
        "first" | "last" => (
            format!("{function}_value({x} ORDER BY t._seq)"),
            argument.kind,
        ),
        "distinct" if argument.name.is_some() && !argument.aggregate => {
            (format!("{DISTINCT}{x}"), argument.kind)
        }
        "not" if argument.kind == Bool => (format!("(NOT {x})"), Bool),
        "neg" if is_number(argument.kind) => (format!("(- {x})"), argument.kind),
        "abs" if is_number(argument.kind) => (format!("abs({x})"), argument.kind),
        _ => return refuse(),
    };
    let name = argument.name.filter(|_| !x.is_empty());
    Ok(Typed {
        sql,
        kind,
        aggregate: argument.aggregate || !each,
        name,
        values: Vec::new(),
    })
}

fn combine(left: Typed, operator: &str, right: Typed) -> Result<Typed, Error> {
    use ColumnKind::{Bool, Float, Long};
    if left.is_distinct() || right.is_distinct() {
        return Err(beyond("distinct within an expression"));
    }
    let left = left.single()?;
    let list = matches!(operator, "in" | "within");
    let right = if list { right } else { right.single()? };
    let (a, b) = (&left.sql, &right.sql);
    let mut aggregate = left.aggregate || right.aggregate;
    let numbers = is_number(left.kind) && is_number(right.kind);
    let either = match (left.kind, right.kind) {
        (Long, Long) => Long,
        _ => Float,
    };
    let name = right.name.clone().or_else(|| left.name.clone());
    let (sql, kind) = match operator {
        "+" | "-" | "*" if numbers => (format!("({a} {operator} {b})"), either),
        "%" if numbers => {
            let sql = format!("(CAST({a} AS DOUBLE) / CAST({b} AS DOUBLE))");
            (sql, Float)
        }
        "=" | "<>" | "<" | ">" | "<=" | ">=" => {
            let kind = common(left.kind, right.kind, operator)?;
            let (a, b) = (as_kind(a, left.kind, kind), as_kind(b, right.kind, kind));
            (format!("({a} {operator} {b})"), Bool)
        }
        "&" | "and" | "|" | "or" => {
            if left.kind != Bool || right.kind != Bool {
                return Err(beyond(
                    "q reads from the right: set comparisons beside `and` or `or` in brackets, or part them by commas",
                ));
            }
            let word = if matches!(operator, "&" | "and") {
                "AND"
            } else {
                "OR"
            };
            (format!("({a} {word} {b})"), Bool)
        }
        "in" | "within" => (among(&left, operator, &right)?, Bool),
        "like" => (like(&left, &right)?, Bool),
        "xbar" => (bar(&left, &right)?, right.kind),
        "wavg" | "wsum" if numbers && !aggregate => {
            aggregate = true;
            let (a, b) = (as_float(a, left.kind), as_float(b, right.kind));
            let sum = format!("sum({a} * {b})");
            let sql = match operator {
                "wsum" => format!("COALESCE({sum}, 0)"),
                _ => format!("({sum} / sum({a}))"),
            };
            (sql, Float)
        }
        _ => {
            let what = format!("{:?} {operator} {:?}", left.kind, right.kind);
            return Err(beyond(what));
        }
    };
    Ok(Typed {
        sql,
        kind,
        aggregate,
        name,
        values: Vec::new(),
    })
}

/// The kind in which both are compared.
fn common(left: ColumnKind, right: ColumnKind, operator: &str) -> Result<ColumnKind, Error> {
    use ColumnKind::{Date, Text, Timestamp};
    match (left, right) {
        (Text, _) | (_, Text) => Err(beyond(format!(
            "{operator} of texts, which q compares character by character: use `like`"
        ))),
        (Timestamp, Date) | (Date, Timestamp) => Ok(Timestamp),
        (left, right) if left == right || is_number(left) && is_number(right) => Ok(left),
        (left, right) => Err(beyond(format!("{left:?} {operator} {right:?}"))),
    }
}

fn as_kind(sql: &str, from: ColumnKind, to: ColumnKind) -> String {
    match (from, to) {
        (ColumnKind::Date, ColumnKind::Timestamp) => {
            format!("arrow_cast({sql}, 'Timestamp(Nanosecond, Some(\"UTC\"))')")
        }
        _ => sql.to_owned(),
    }
}

fn among(left: &Typed, operator: &str, right: &Typed) -> Result<String, Error> {
    if right.values.is_empty() {
        return Err(beyond(format!(
            "{operator} something that is no list of values"
        )));
    }
    let kind = match (left.kind, right.kind, operator) {
        (ColumnKind::Text, ColumnKind::Text, "in") => ColumnKind::Text,
        (left, right, operator) => common(left, right, operator)?,
    };
    let values: Vec<String> = right
        .values
        .iter()
        .map(|value| as_kind(value, right.kind, kind))
        .collect();
    let x = as_kind(&left.sql, left.kind, kind);
    match (operator, values.as_slice()) {
        ("in", values) => Ok(format!("({x} IN ({}))", values.join(", "))),
        (_, [from, to]) => Ok(format!("({x} BETWEEN {from} AND {to})")),
        _ => Err(beyond("within has two values, the first and the last")),
    }
}

/// `*` and `?` of q are `%` and `_` of SQL.
fn like(left: &Typed, right: &Typed) -> Result<String, Error> {
    let text = matches!(left.kind, ColumnKind::Symbol | ColumnKind::Text);
    let [pattern] = right.values.as_slice() else {
        return Err(beyond("like something that is no text"));
    };
    if !text || right.kind != ColumnKind::Text {
        return Err(beyond("like of other than text"));
    }
    if pattern.contains(['[', '\\']) {
        return Err(beyond("like with [ or \\"));
    }
    let mut sql = String::with_capacity(pattern.len());
    for character in pattern.chars() {
        match character {
            '%' | '_' => sql.extend(['\\', character]),
            '*' => sql.push('%'),
            '?' => sql.push('_'),
            other => sql.push(other),
        }
    }
    Ok(format!("({} LIKE {sql} ESCAPE '\\')", left.sql))
}

fn bar(width: &Typed, of: &Typed) -> Result<String, Error> {
    use ColumnKind::{Float, Long, Timespan, Timestamp};
    let [n] = width.values.as_slice() else {
        return Err(beyond("xbar of a width that is no number"));
    };
    if n.starts_with('-') || n == "0" {
        return Err(beyond("xbar of a width that is not above 0"));
    }
    let x = &of.sql;
    match (width.kind, of.kind) {
        (Long, Long) => Ok(format!(
            "CAST(floor(CAST({x} AS DOUBLE) / {n}) * {n} AS BIGINT)"
        )),
        (Long | Float, Float) => Ok(format!("(floor({x} / {n}) * {n})")),
        // q's bars of time begin in 2000.
        (Timespan, Timestamp) => Ok(format!(
            "date_bin(INTERVAL '{n} nanoseconds', {x}, {})",
            super::lex::timestamp(tapewatch_model::Date::from_days(10_957).start())
        )),
        (width, of) => Err(beyond(format!("{width:?} xbar {of:?}"))),
    }
}
