//! Answers to queries of kdb+ clients, from the tables.
//!
//! Invariant: a query runs within the limits of SQL, and its answer within one of its own; what is
//! NULL is q's null of the column's kind.

use tapewatch_connect::kdb::qsql::Select;
use tapewatch_connect::kdb::tick::{ColumnKind, to_date, to_timestamp};
use tapewatch_connect::kdb::value::{Items, NULL_LONG, Value};
use tapewatch_model::Time;
use tapewatch_store::{Door, Request, Store, Values};

use crate::shared::Shared;

/// Memory that an answer may take before it is sent.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// What an item takes beside its text.
const ITEM_BYTES: usize = 48;

/// The answer to a query, made by the threads of SQL.
///
/// # Errors
/// What the client is told.
pub(super) async fn query(shared: &Shared, select: Select) -> Result<Value, String> {
    if !shared.roles.tables() {
        return Err("this process holds no tables: ask the role recent".to_owned());
    }
    let store = shared.store.clone();
    let ran = shared.store.on_query_threads(async move {
        let columns = columns(&store, &select).await?;
        select.answer(columns).map_err(|error| error.to_string())
    });
    ran.await.map_err(|error| error.to_string())?
}

/// The columns that a query gives.
///
/// # Errors
/// Why there are none.
pub(super) async fn columns(store: &Store, select: &Select) -> Result<Vec<Items>, String> {
    let mut rows = store
        .query(Request::new(Door::Kdb, &*select.sql))
        .await
        .map_err(|error| error.to_string())?;
    let kinds = select.columns.iter().map(|(_, kind)| *kind);
    let mut columns: Vec<Column> = kinds.map(Column::new).collect();
    let mut bytes = 0;
    while let Some(parts) = rows
        .next_columns()
        .await
        .map_err(|error| error.to_string())?
    {
        for (column, part) in columns.iter_mut().zip(parts) {
            bytes += column.take(part);
        }
        if bytes > ANSWER_BYTES_MAX {
            return Err(format!(
                "limit: the answer takes more than {ANSWER_BYTES_MAX} bytes: ask for less at a time"
            ));
        }
    }
    Ok(columns.into_iter().map(|column| column.items).collect())
}

/// A column that is being made.
struct Column {
    kind: ColumnKind,
    items: Items,
}

impl Column {
    fn new(kind: ColumnKind) -> Self {
        let items = kind.empty();
        Self { kind, items }
    }

    /// Adds values; about how many bytes they take.
    fn take(&mut self, values: Values) -> usize {
        match (&mut self.items, values) {
            (Items::Symbol(symbols), Values::Text(texts)) => {
                texts.into_iter().fold(0, |bytes, text| {
                    let text = text.unwrap_or_default();
                    symbols.push(&text);
                    bytes + ITEM_BYTES + text.len()
                })
            }
            (Items::Mixed(items), Values::Text(texts)) => {
                texts.into_iter().fold(0, |bytes, text| {
                    let text = text.unwrap_or_default();
                    let taken = bytes + 2 * ITEM_BYTES + text.len();
                    items.push(Value::text(text));
                    taken
                })
            }
            (Items::Timestamp(items), Values::Time(times)) => {
                extend(items, times, |time| match time {
                    Some(nanos) => to_timestamp(Time::from_nanos(nanos)),
                    None => NULL_LONG,
                })
            }
            (Items::Float(items), Values::Float(numbers)) => {
                extend(items, numbers, |number| number.unwrap_or(f64::NAN))
            }
            (Items::Float(items), Values::Long(numbers)) => extend(items, numbers, |number| {
                number.map_or(f64::NAN, |number| number as f64)
            }),
            (Items::Long(items) | Items::Timespan(items), Values::Long(numbers)) => {
                extend(items, numbers, |number| number.unwrap_or(NULL_LONG))
            }
            (Items::Date(items), Values::Date(days)) => extend(items, days, to_date),
            (Items::Bool(items), Values::Bool(all)) => {
                extend(items, all, Option::unwrap_or_default)
            }
            (_, values) => {
                debug_assert!(false, "{:?} is not {:?}", values, self.kind);
                0
            }
        }
    }
}

fn extend<T, U>(items: &mut Vec<U>, values: Vec<Option<T>>, of: impl Fn(Option<T>) -> U) -> usize {
    let bytes = values.len() * ITEM_BYTES;
    items.extend(values.into_iter().map(of));
    bytes
}
