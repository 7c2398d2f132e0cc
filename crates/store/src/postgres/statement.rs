//! Statements and portals of a session.
//!
//! Invariant: a portal's query runs from its first Describe or Execute on, and ends with the portal.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::command::{self, Asked, Command};
use super::errors::Failure;
use super::lex;
use super::rows::{Formats, Rows};
use super::types;
use crate::query::{Description, Parameter};
use crate::sql::SqlError;

/// Statements that a session may have prepared at a time.
pub(super) const STATEMENTS_MAX: usize = 1_024;
/// Portals and cursors that a session may have open at a time: each may hold the memory of a query.
pub(super) const PORTALS_MAX: usize = 64;

/// A statement, in the text that the client sent.
pub(super) struct Statement {
    text: Arc<str>,
    /// Where it begins in the text, in bytes.
    from: usize,
    /// `None`: it is empty.
    pub(super) asked: Option<Asked>,
    /// The types of its parameters as the client said them; 0 where it did not.
    pub(super) types: Vec<u32>,
    pub(super) description: OnceLock<Arc<Description>>,
    /// Parameters that stand for lists, from 1.
    lists: Vec<usize>,
}

impl Statement {
    /// All statements of a text.
    pub(super) fn all(text: &str) -> Vec<Result<Self, Failure>> {
        let whole: Arc<str> = text.into();
        let pieces = lex::statements(text).into_iter();
        pieces
            .map(|piece| {
                let from = piece.start;
                let asked = command::of(text.get(piece).unwrap_or_default());
                let text = Arc::clone(&whole);
                Ok(Self::new(text, from, Some(asked?), Vec::new()))
            })
            .collect()
    }

    /// The one statement of a text.
    pub(super) fn one(text: &str, types: Vec<u32>) -> Result<Self, Failure> {
        let pieces = lex::statements(text);
        let (from, asked) = match pieces.as_slice() {
            [] => (0, None),
            [one] => (
                one.start,
                Some(command::of(text.get(one.clone()).unwrap_or_default())?),
            ),
            _ => {
                let text = "a prepared statement cannot be several statements";
                return Err(Failure::new("42601", text));
            }
        };
        Ok(Self::new(text.into(), from, asked, types))
    }

    fn new(text: Arc<str>, from: usize, asked: Option<Asked>, types: Vec<u32>) -> Self {
        let lists = asked.as_ref().map(|asked| lists(&asked.query));
        Self {
            text,
            from,
            asked,
            types,
            description: OnceLock::new(),
            lists: lists.unwrap_or_default(),
        }
    }

    /// Whether a parameter, counted from 0, stands where a list is wanted.
    pub(super) fn wants_list(&self, parameter: usize) -> bool {
        self.lists.contains(&(parameter + 1))
    }

    pub(super) fn command(&self) -> Option<&Command> {
        self.asked.as_ref().map(|asked| &asked.command)
    }

    /// The part that the engine plans.
    pub(super) fn query(&self) -> &str {
        self.asked.as_ref().map_or("", |asked| &asked.query)
    }

    /// Whether there is a part that the engine plans.
    pub(super) fn has_query(&self) -> bool {
        !self.query().is_empty()
    }

    pub(super) fn failure(&self, error: &SqlError) -> Failure {
        let at = self.asked.as_ref().and_then(|asked| asked.at);
        Failure::of_sql(error, &self.text, at.map(|at| self.from + at))
    }

    /// The numbers of the parameters' types: as they were said, else as the statement has them.
    pub(super) fn parameters(&self, description: &Description) -> Vec<u32> {
        let described = description.parameters.iter();
        let described = described.map(|kind| match kind {
            Some(kind) => types::of(kind).oid(),
            None => types::of(&DataType::Utf8).oid(),
        });
        let mut numbers: Vec<u32> = described.collect();
        for (number, said) in numbers.iter_mut().zip(&self.types) {
            if *said != 0 {
                *number = *said;
            }
        }
        numbers
    }
}

/// The parameters in `ANY($1)` and the like, and in `$1::text[]`: the engine does not say that they are lists.
fn lists(query: &str) -> Vec<usize> {
    let lexemes = lex::lexemes(query);
    let calls = lexemes.windows(4).filter_map(|window| match window {
        [word, open, parameter, close]
            if ["ANY", "ALL", "SOME"].iter().any(|known| word.is(known))
                && open.is_sign("(")
                && close.is_sign(")") =>
        {
            parameter.text.strip_prefix('$')?.parse().ok()
        }
        _ => None,
    });
    let casts = lexemes.windows(6).filter_map(|window| match window {
        [parameter, one, two, _kind, open, close]
            if one.is_sign(":") && two.is_sign(":") && open.is_sign("[") && close.is_sign("]") =>
        {
            parameter.text.strip_prefix('$')?.parse().ok()
        }
        _ => None,
    });
    calls.chain(casts).collect()
}

/// A statement with values, or a cursor.
pub(super) struct Portal {
    pub(super) statement: Arc<Statement>,
    pub(super) values: Vec<Parameter>,
    pub(super) formats: Formats,
    pub(super) progress: Progress,
    /// A cursor that lives on behind its transaction.
    pub(super) kept: bool,
}

/// How far the rows of a portal are.
pub(super) enum Progress {
    Before,
    Within(Box<Rows>),
    /// All were given; these were their columns.
    Behind(SchemaRef),
}

impl Progress {
    /// What a portal of this statement wants: a cursor that was declared gives its rows.
    pub(super) fn wants<'s>(&self, statement: &'s Statement) -> Option<&'s Command> {
        match (statement.command(), self) {
            (Some(Command::Declare { .. }), Self::Within(_) | Self::Behind(_)) => {
                Some(&Command::Query)
            }
            (command, _) => command,
        }
    }

    pub(super) fn schema(&self) -> Option<&SchemaRef> {
        match self {
            Self::Before => None,
            Self::Within(rows) => Some(rows.schema()),
            Self::Behind(schema) => Some(schema),
        }
    }
}

/// Columns of texts: of answers that are made here.
pub(super) fn texts(names: &[&str]) -> SchemaRef {
    let fields = names
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
