//! Tables as feed handlers and logs hold them, as orders, dead letters and alerts.
//!
//! Invariant: after the types of all cells were checked, a row fails only by what it says; a float
//! becomes the decimal that is this very float and no other, or the row is refused.

use tapewatch_model::{
    DeadLetter, Decimal, Details, EventType, Hit, Order, OrderBatch, Price, Quantity, RowError,
    RowRef, Side, Time, TimeSpan,
};

use super::cells::{
    Number, clipped, decimal, exact_decimal, exact_price, exact_quantity, fits, from_datetime,
    show, text,
};
use super::{ColumnKind, ORDER, ORDER_ALERTS, columns, from_timestamp};
use crate::kdb::value::{Atom, Dict, Items, List, Symbols, Table, Value};

/// Why an update is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Other columns than the table's.
    #[error("mismatch: {0}")]
    Mismatch(String),
    /// A column or row of another shape or length.
    #[error("length: {0}")]
    Length(String),
    /// A column that cannot become what the table holds.
    #[error("type: {0}")]
    Type(String),
}

impl UpdateError {
    /// The answer to who sent it.
    #[must_use]
    pub fn reply(&self) -> Value {
        Value::error(self.to_string())
    }
}

/// The columns of an update of the table of orders.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRows(Rows);

/// The columns of an update of the table of alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRows(Rows);

/// A row of the reference's table of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    /// The event at which the alert was raised; its sequence number is 0.
    pub order: Order,
    /// The detector's name.
    pub alert_name: String,
    /// Quantity cancelled in the lookback.
    pub total_cancel_quantity: Decimal,
    /// Cancels in the lookback.
    pub total_cancel_count: i64,
    /// What the quantity had to exceed, in whole pieces.
    pub cancel_quantity_threshold: i64,
    /// What the count had to exceed.
    pub cancel_count_threshold: i64,
    /// How far back.
    pub lookback: TimeSpan,
}

/// Checked columns in the order of the table.
#[derive(Debug, Clone, PartialEq)]
struct Rows {
    columns: Vec<List>,
    rows: usize,
}

impl OrderRows {
    /// The rows of an update: a table, a list of columns, or one row as a list or dictionary.
    ///
    /// # Errors
    /// [`UpdateError`] when columns, lengths or types are not those of the table: nothing of it can
    /// be taken then.
    pub fn of(data: Value) -> Result<Self, UpdateError> {
        Rows::of(data, ORDER).map(Self)
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.rows
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.rows == 0
    }

    /// Adds the row at `index`.
    ///
    /// # Errors
    /// [`RowError`] when it cannot be an order; the batch is unchanged then.
    pub fn push(&self, index: usize, orders: &mut OrderBatch) -> Result<(), RowError> {
        orders.push(&self.0.order(index)?)
    }

    /// The row at `index` as a dead letter, for `reason`.
    #[must_use]
    pub fn refuse(&self, index: usize, source: &str, line: u64, reason: &RowError) -> DeadLetter {
        self.0.refuse(index, source, line, reason)
    }
}

impl AlertRows {
    /// The rows of an update, as [`OrderRows::of`].
    ///
    /// # Errors
    /// [`UpdateError`] when columns, lengths or types are not those of the table.
    pub fn of(data: Value) -> Result<Self, UpdateError> {
        Rows::of(data, ORDER_ALERTS).map(Self)
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.rows
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.rows == 0
    }

    /// The row at `index` as a dead letter, for `reason`.
    #[must_use]
    pub fn refuse(&self, index: usize, source: &str, line: u64, reason: &RowError) -> DeadLetter {
        self.0.refuse(index, source, line, reason)
    }

    /// The row at `index`.
    ///
    /// # Errors
    /// [`RowError`] when it cannot be used.
    pub fn get(&self, index: usize) -> Result<AlertRow, RowError> {
        let mut one = OrderBatch::default();
        one.push(&self.0.order(index)?)?;
        let order = one.order(0).ok_or(RowError::new("row", "is missing"))?;
        let rows = &self.0;
        let whole = |at: usize, name| {
            let value = match rows.number(at, index) {
                Some(Number::Whole(value)) => Some(value),
                Some(Number::Float(value)) => Price::from_f64(value)
                    .ok()
                    .filter(|price| price.units() % 1_000_000_000 == 0)
                    .map(|price| price.units() / 1_000_000_000),
                _ => None,
            };
            value.ok_or_else(|| RowError::new(name, "is not a whole number"))
        };
        let name = rows.text(8, index);
        Ok(AlertRow {
            order,
            alert_name: String::from_utf8_lossy(name).into_owned(),
            total_cancel_quantity: decimal(
                "totalCancelQty",
                rows.number(9, index),
                exact_decimal,
                Decimal::parse,
            )?,
            total_cancel_count: whole(10, "totalCancelCount")?,
            cancel_quantity_threshold: whole(11, "cancelQtyThreshold")?,
            cancel_count_threshold: whole(12, "cancelCountThreshold")?,
            lookback: match rows.number(13, index) {
                Some(Number::Whole(nanos)) => TimeSpan::from_nanos(nanos),
                _ => return Err(RowError::new("lookbackInterval", "is null")),
            },
        })
    }
}

impl AlertRow {
    /// A hit of the spoofing detector as the reference tells it; `None` of another detector, which
    /// measures something else.
    #[must_use]
    pub fn of(hit: &Hit) -> Option<Self> {
        let measure = |name| hit.measures.iter().find(|measure| measure.name == name);
        let (quantity, count) = (measure("cancel_quantity")?, measure("cancel_count")?);
        let whole = |value: Decimal| i64::try_from(value.units() / 1_000_000_000).ok();
        Some(Self {
            order: Order {
                seq: 0,
                ..hit.order.clone()
            },
            alert_name: hit.detector.to_owned(),
            total_cancel_quantity: quantity.value,
            total_cancel_count: whole(count.value)?,
            cancel_quantity_threshold: whole(quantity.threshold)?,
            cancel_count_threshold: whole(count.threshold)?,
            lookback: hit.lookback,
        })
    }
}

impl Rows {
    fn of(data: Value, table: &'static str) -> Result<Self, UpdateError> {
        let wanted = columns(table).unwrap_or_default();
        let columns = match data {
            Value::Table(table) => by_name(*table, wanted)?,
            Value::Dict(row) => row_by_name(&row, wanted)?,
            Value::List(List {
                items: Items::Mixed(values),
                ..
            }) => by_place(values, wanted)?,
            _ => {
                let what = "wanted a table, a list of columns or a row";
                return Err(UpdateError::Type(what.to_owned()));
            }
        };
        let rows = columns.first().map_or(0, |column| column.items.len());
        for (column, (name, kind)) in columns.iter().zip(wanted) {
            let len = column.items.len();
            if len != rows {
                let what = format!("column {name} has {len} rows, the first has {rows}");
                return Err(UpdateError::Length(what));
            }
            if !fits(&column.items, *kind) {
                let what = format!("column {name} cannot become {kind:?}");
                return Err(UpdateError::Type(what));
            }
        }
        Ok(Self { columns, rows })
    }

    fn items(&self, column: usize) -> Option<&Items> {
        self.columns.get(column).map(|list| &list.items)
    }

    /// The text of a cell; the types were checked.
    fn text(&self, column: usize, row: usize) -> &[u8] {
        self.items(column)
            .and_then(|items| text(items, row))
            .unwrap_or_default()
    }

    /// The number of a cell; `None` when it is null.
    fn number(&self, column: usize, row: usize) -> Option<Number> {
        Number::of(&self.items(column)?.get(row)?)
    }

    fn time(&self, row: usize) -> Result<Time, RowError> {
        let time = match self.items(0).and_then(|items| items.get(row)) {
            Some(Value::Atom(Atom::Timestamp(at))) => from_timestamp(at),
            Some(Value::Atom(Atom::Datetime(days))) => from_datetime(days),
            _ => Err("is missing"),
        };
        time.map_err(|reason| RowError::new("time", reason))
    }

    /// The row without its promise to be valid: the batch checks its texts.
    fn order(&self, row: usize) -> Result<RowRef<'_, [u8]>, RowError> {
        let event_type = self.text(2, row);
        let side = self.text(4, row);
        let unknown = |column, text, known| {
            let text = clipped(text);
            RowError::new(column, format!("unknown {column} {text:?} ({known})"))
        };
        Ok(RowRef {
            time: self.time(row)?,
            sym: self.text(1, row),
            event_type: EventType::parse(event_type).ok_or_else(|| {
                unknown("event_type", event_type, "new, amended, cancelled, filled")
            })?,
            trader: self.text(3, row),
            side: Side::parse(side).ok_or_else(|| unknown("side", side, "B or S"))?,
            order_id: self.text(5, row),
            price: decimal("price", self.number(6, row), exact_price, Price::parse)?,
            quantity: decimal(
                "quantity",
                self.number(7, row),
                exact_quantity,
                Quantity::parse,
            )?,
            details: Details::default().as_bytes(),
        })
    }

    fn refuse(&self, row: usize, source: &str, line: u64, reason: &RowError) -> DeadLetter {
        let cells = self.columns.iter().map(|list| show(&list.items, row));
        let raw = cells.collect::<Vec<_>>().join(",");
        DeadLetter::new(source, line, reason.column, &reason.reason, raw.as_bytes())
    }
}

/// The columns of a table in the order that is wanted.
fn by_name(table: Table, wanted: &[(&str, ColumnKind)]) -> Result<Vec<List>, UpdateError> {
    let order = order_of(table.names(), wanted)?;
    let mut columns: Vec<Option<List>> = table.into_columns().into_iter().map(Some).collect();
    let taken = order.iter().map(|at| columns.get_mut(*at)?.take());
    Ok(taken.flatten().collect())
}

fn row_by_name(row: &Dict, wanted: &[(&str, ColumnKind)]) -> Result<Vec<List>, UpdateError> {
    let (
        Value::List(List {
            items: Items::Symbol(names),
            ..
        }),
        Value::List(List {
            items: Items::Mixed(values),
            ..
        }),
    ) = (row.keys(), row.values())
    else {
        let what = "wanted a dictionary from names to values of several kinds";
        return Err(UpdateError::Type(what.to_owned()));
    };
    let order = order_of(names, wanted)?;
    let cells = order.iter().filter_map(|at| values.get(*at));
    Ok(cells.map(|value| of_one(value.clone())).collect())
}

/// Where each wanted column stands.
fn order_of(names: &Symbols, wanted: &[(&str, ColumnKind)]) -> Result<Vec<usize>, UpdateError> {
    let place = |(name, _): &(&str, ColumnKind)| {
        names
            .iter()
            .position(|other| other == name.as_bytes())
            .ok_or_else(|| UpdateError::Mismatch(format!("there is no column {name}")))
    };
    let order = wanted.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    if names.len() != wanted.len() {
        let (found, wanted) = (names.len(), wanted.len());
        let what = format!("{found} columns, the table has {wanted}");
        return Err(UpdateError::Mismatch(what));
    }
    Ok(order)
}

fn by_place(values: Vec<Value>, wanted: &[(&str, ColumnKind)]) -> Result<Vec<List>, UpdateError> {
    if values.len() != wanted.len() {
        let (found, wanted) = (values.len(), wanted.len());
        let what = format!("{found} columns, the table has {wanted}");
        return Err(UpdateError::Length(what));
    }
    // A row begins with an atom; its texts are lists all the same.
    if matches!(values.first(), Some(Value::Atom(_))) {
        return Ok(values.into_iter().map(of_one).collect());
    }
    let column = |(value, (name, _)): (Value, &(&str, ColumnKind))| match value {
        Value::List(list) => Ok(list),
        _ => Err(UpdateError::Type(format!("column {name} is no list"))),
    };
    values.into_iter().zip(wanted).map(column).collect()
}

fn of_one(value: Value) -> List {
    Items::Mixed(vec![value]).into()
}
