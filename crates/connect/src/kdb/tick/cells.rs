//! Single cells of tables: which types may stand where, and what they say.
//!
//! Invariant: no number is rounded: a float becomes the decimal that is this very float and no other,
//! or is refused.

use tapewatch_model::{Decimal, NumberError, Price, Quantity, RowError, Time};

use super::{ColumnKind, from_timestamp};
use crate::kdb::value::{Atom, Items, NULL_LONG, Value};

/// Bytes of a text that a dead letter shows.
const SHOWN_BYTES: usize = 128;

/// A cell that holds a number.
pub(super) enum Number {
    Whole(i64),
    Real(f32),
    Float(f64),
}

/// Whether all cells are of a type that can be told as `kind`.
pub(super) fn fits(items: &Items, kind: ColumnKind) -> bool {
    if let Items::Mixed(values) = items {
        return values.iter().all(|value| cell_fits(value, kind));
    }
    match kind {
        ColumnKind::Timestamp => matches!(items, Items::Timestamp(_) | Items::Datetime(_)),
        ColumnKind::Symbol | ColumnKind::Text => {
            matches!(items, Items::Symbol(_) | Items::Char(_))
        }
        ColumnKind::Timespan => matches!(items, Items::Timespan(_)),
        _ => matches!(
            items,
            Items::Short(_) | Items::Int(_) | Items::Long(_) | Items::Real(_) | Items::Float(_)
        ),
    }
}

fn cell_fits(value: &Value, kind: ColumnKind) -> bool {
    match kind {
        ColumnKind::Symbol | ColumnKind::Text => as_text(value).is_some(),
        ColumnKind::Timestamp => {
            matches!(value, Value::Atom(Atom::Timestamp(_) | Atom::Datetime(_)))
        }
        ColumnKind::Timespan => matches!(value, Value::Atom(Atom::Timespan(_))),
        _ => matches!(
            value,
            Value::Atom(
                Atom::Short(_) | Atom::Int(_) | Atom::Long(_) | Atom::Real(_) | Atom::Float(_)
            )
        ),
    }
}

fn as_text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Atom(Atom::Symbol(symbol)) => Some(symbol.bytes()),
        Value::Atom(Atom::Char(one)) => Some(std::slice::from_ref(one)),
        Value::List(list) => match &list.items {
            Items::Char(text) => Some(text),
            // q's `()` stands for a text without characters too.
            Items::Mixed(none) if none.is_empty() => Some(&[]),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn text(items: &Items, row: usize) -> Option<&[u8]> {
    match items {
        Items::Symbol(symbols) => symbols.get(row),
        // q makes one string of texts that have one character each.
        Items::Char(text) => text.get(row..row + 1),
        Items::Mixed(values) => as_text(values.get(row)?),
        _ => None,
    }
}

impl Number {
    /// The number of a cell; `None` when it is null.
    pub(super) fn of(cell: &Value) -> Option<Self> {
        let whole = |value: i64, null: i64| (value != null).then_some(Self::Whole(value));
        match *cell {
            Value::Atom(Atom::Short(value)) => whole(value.into(), i16::MIN.into()),
            Value::Atom(Atom::Int(value)) => whole(value.into(), i32::MIN.into()),
            Value::Atom(Atom::Long(value) | Atom::Timespan(value)) => whole(value, NULL_LONG),
            Value::Atom(Atom::Real(value)) => (!value.is_nan()).then_some(Self::Real(value)),
            Value::Atom(Atom::Float(value)) => (!value.is_nan()).then_some(Self::Float(value)),
            _ => None,
        }
    }
}

/// A datetime is a float of days, which q itself takes as exact to the millisecond.
pub(super) fn from_datetime(days: f64) -> Result<Time, &'static str> {
    const MS_PER_DAY: f64 = 86_400_000.0;
    if days.is_nan() {
        return Err("is null");
    }
    let millis = (days * MS_PER_DAY).round();
    // Within 2^53 milliseconds, hence a whole number that i64 holds; times end far before.
    if millis.abs() > 9_007_199_254_740_992.0 {
        return Err("time out of range 1677-09-21 to 2262-04-11");
    }
    let nanos = (millis as i64).checked_mul(1_000_000);
    nanos.map_or(Err("time out of range 1677-09-21 to 2262-04-11"), |nanos| {
        from_timestamp(nanos)
    })
}

pub(super) fn decimal<T>(
    column: &'static str,
    cell: Option<Number>,
    float: fn(f64) -> Result<T, NumberError>,
    parse: fn(&[u8]) -> Result<T, NumberError>,
) -> Result<T, RowError> {
    let parsed = match cell {
        None => return Err(RowError::new(column, "is null")),
        Some(Number::Whole(value)) => parse(value.to_string().as_bytes()),
        Some(Number::Real(value)) => parse(value.to_string().as_bytes()),
        Some(Number::Float(value)) => float(value),
    };
    parsed.map_err(|error| RowError::new(column, error))
}

/// Whole units of a float that is exactly so many, where doubles are fine enough to tell.
fn units(value: f64, per_one: f64) -> Option<i64> {
    const TOLD_APART: f64 = 2_251_799_813_685_248.0; // 2^51
    let units = (value * per_one).round();
    (units.abs() < TOLD_APART && units / per_one == value).then_some(units as i64)
}

/// The shortest decimal that is this very float; not one near it.
pub(super) fn exact_price(value: f64) -> Result<Price, NumberError> {
    match units(value, 1e9) {
        Some(units) => Ok(Price::from_units(units)),
        None => Price::parse(value.to_string().as_bytes()),
    }
}

pub(super) fn exact_quantity(value: f64) -> Result<Quantity, NumberError> {
    match units(value, 1e8) {
        Some(units) => Quantity::from_units(units),
        None => Quantity::parse(value.to_string().as_bytes()),
    }
}

pub(super) fn exact_decimal(value: f64) -> Result<Decimal, NumberError> {
    exact_price(value).map(Decimal::from)
}

pub(super) fn clipped(text: &[u8]) -> String {
    String::from_utf8_lossy(text.get(..SHOWN_BYTES).unwrap_or(text)).into_owned()
}

pub(super) fn show(items: &Items, row: usize) -> String {
    if let Some(text) = text(items, row) {
        return clipped(text);
    }
    match items.get(row) {
        Some(Value::Atom(Atom::Timestamp(at))) => {
            from_timestamp(at).map_or_else(|_| format!("{at}p"), |time| time.to_string())
        }
        Some(Value::Atom(Atom::Datetime(days))) => days.to_string(),
        Some(cell) => match Number::of(&cell) {
            Some(Number::Whole(value)) => value.to_string(),
            Some(Number::Real(value)) => value.to_string(),
            Some(Number::Float(value)) => value.to_string(),
            None => String::new(),
        },
        None => String::new(),
    }
}
