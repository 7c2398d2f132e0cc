//! A part of q's queries as SQL over the tables `orders` and `hits`.
//!
//! Invariant: the SQL is made of parts that are written here; of the query only names that were
//! looked up, and numbers and texts that were parsed and are quoted again, get into it. What is not
//! understood is an error that names it: nothing is guessed, and nothing is run.

mod expression;
mod lex;
mod select;
mod source;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

pub use self::select::parse;
pub use self::source::rows_between;

use super::tick::ColumnKind;
use super::value::{Dict, Items, List, Symbols, Table, Value, ValueError};

/// A query as SQL, and what its answer looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// The SQL. Columns of its result are [`Self::columns`], in order. A `Timestamp` is a point in
    /// time, a `Timespan` whole nanoseconds, `Symbol` and `Text` are text, a `Float` is a double.
    pub sql: String,
    /// Names and kinds of the columns.
    pub columns: Vec<(String, ColumnKind)>,
    /// How many of them, from the first on, are keys of the answer.
    pub keys: usize,
    /// What the answer is.
    pub shape: Shape,
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A table; a keyed one when there are keys.
    Table,
    /// The first column as a list.
    List,
    /// The first row of the first column.
    Atom,
    /// Without keys: from names to lists; with one: from the keys to the other column.
    Dict,
    /// From names to the values of the only row.
    Row,
}

/// Why a query is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin like one.
    #[error("not a query")]
    NoQuery,
    /// A word or sign that cannot stand there.
    #[error("{found} at character {at}, wanted {wanted}")]
    Unexpected {
        /// What stands there.
        found: String,
        /// Where, from 1.
        at: usize,
        /// What could stand there.
        wanted: &'static str,
    },
    /// It ends too early.
    #[error("the query ends where {0} was wanted")]
    Ends(&'static str),
    /// A name that is none.
    #[error("no {0} {1:?}")]
    Unknown(&'static str, String),
    /// Something that means something in q, but not here.
    #[error("{0}")]
    Beyond(String),
}

impl Select {
    /// The answer of the columns that the SQL gave, each of the type of its kind (a `Text` is a
    /// mixed list of character lists).
    ///
    /// # Errors
    /// [`ValueError`] when there are not as many columns as [`Self::columns`], or of several lengths.
    pub fn answer(&self, columns: Vec<Items>) -> Result<Value, ValueError> {
        let names: Symbols = self.columns.iter().map(|(name, _)| name).collect();
        let lists: Vec<List> = columns.into_iter().map(List::from).collect();
        let whole = Table::new(names.clone(), lists)?;
        let first = || whole.columns().first().map(|list| list.items.clone());
        let list = |items: Items| Value::List(items.into());
        Ok(match self.shape {
            Shape::Table if self.keys == 0 => Value::Table(Box::new(whole)),
            Shape::Table => {
                let part = |from: usize, to: usize| {
                    let names = names.iter().skip(from).take(to - from).collect();
                    let columns = whole.columns().get(from..to).unwrap_or_default();
                    Table::new(names, columns.to_vec()).map(|table| Value::Table(Box::new(table)))
                };
                let keys = self.keys.min(names.len());
                dict(part(0, keys)?, part(keys, names.len())?)?
            }
            Shape::List => first().map_or(Value::NOTHING, list),
            Shape::Atom => first()
                .and_then(|items| items.get(0))
                .unwrap_or(Value::NOTHING),
            Shape::Dict if self.keys == 1 => {
                let values = whole.columns().get(1).map(|column| column.items.clone());
                let keys = first().map_or(Value::NOTHING, list);
                dict(keys, values.map_or(Value::NOTHING, list))?
            }
            Shape::Dict | Shape::Row => {
                let cell = |column: &List| match self.shape {
                    Shape::Row => column.items.get(0).unwrap_or(Value::NOTHING),
                    _ => Value::List(column.clone()),
                };
                let values = whole.columns().iter().map(cell).collect();
                dict(list(Items::Symbol(names)), Value::mixed(values))?
            }
        })
    }
}

fn dict(keys: Value, values: Value) -> Result<Value, ValueError> {
    Ok(Value::Dict(Box::new(Dict::new(false, keys, values)?)))
}

/// Whether it can be the name of a table or column.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
