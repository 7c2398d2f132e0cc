//! Values of a result as text: the same in CSV, JSON and tables.
//!
//! Invariant: exact: decimals and times are written with all their digits; a float is written so
//! that reading it gives the same float. In JSON, only integers, floats and booleans are bare.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, ListArray, RecordBatch, StringArray, StructArray,
    TimestampNanosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tapewatch_model::Time;

static OPTIONS: FormatOptions<'static> = FormatOptions::new();

/// A column, ready to write its values.
pub(crate) struct Cells<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Text(&'a StringArray),
    Time(&'a TimestampNanosecondArray),
    Bool(&'a BooleanArray),
    Float(ArrayFormatter<'a>),
    Integer(ArrayFormatter<'a>),
    Decimal(ArrayFormatter<'a>),
    Other(ArrayFormatter<'a>),
    List(&'a ListArray, Box<Cells<'a>>),
    Struct(&'a StructArray, Vec<Cells<'a>>),
}

/// The batch with texts and times in the one form that [`Cells`] writes.
pub(crate) fn plain(batch: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
    let columns = batch.columns().iter();
    columns
        .map(|column| match column.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => cast(column, &DataType::Utf8),
            DataType::Dictionary(_, values) => match values.as_ref() {
                DataType::Utf8View | DataType::LargeUtf8 => cast(column, &DataType::Utf8),
                values => cast(column, values),
            },
            DataType::Timestamp(unit, zone) if *unit != TimeUnit::Nanosecond => cast(
                column,
                &DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
            ),
            _ => Ok(Arc::clone(column)),
        })
        .collect()
}

impl<'a> Cells<'a> {
    pub(crate) fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        let formatter = || ArrayFormatter::try_new(array, &OPTIONS);
        let kind = match array.data_type() {
            DataType::Utf8 => Kind::Text(array.as_string::<i32>()),
            DataType::Boolean => Kind::Bool(array.as_boolean()),
            kind if kind.is_floating() => Kind::Float(formatter()?),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Kind::Time(array.as_primitive::<TimestampNanosecondType>())
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::List(list, Box::new(Self::new(list.values())?))
            }
            DataType::Struct(_) => {
                let parts = array.as_struct();
                let columns = parts.columns().iter();
                Kind::Struct(
                    parts,
                    columns.map(|c| Self::new(c)).collect::<Result<_, _>>()?,
                )
            }
            kind if kind.is_integer() => Kind::Integer(formatter()?),
            kind if kind.is_decimal() => Kind::Decimal(formatter()?),
            _ => Kind::Other(formatter()?),
        };
        Ok(Self { array, kind })
    }

    fn is_null(&self, row: usize) -> bool {
        // A column of the type NULL keeps no bits about it.
        self.array.is_null(row) || matches!(self.array.data_type(), DataType::Null)
    }

    /// Appends the value as text, nothing for NULL; lists and structs as JSON.
    pub(crate) fn write_text(&self, row: usize, out: &mut String) {
        if self.is_null(row) {
            return;
        }
        match &self.kind {
            Kind::Text(texts) => out.push_str(texts.value(row)),
            Kind::Time(times) => write_time(times, row, out),
            Kind::Float(formatter) | Kind::Integer(formatter) | Kind::Other(formatter) => {
                // Writing to a String cannot fail; a value without a form is an empty text.
                let _ = write!(out, "{}", formatter.value(row));
            }
            Kind::Decimal(formatter) => write_decimal(formatter, row, out),
            Kind::Bool(_) | Kind::List(..) | Kind::Struct(..) => self.write_json(row, out),
        }
    }

    /// Appends the value as JSON.
    pub(crate) fn write_json(&self, row: usize, out: &mut String) {
        if self.is_null(row) {
            out.push_str("null");
            return;
        }
        match &self.kind {
            Kind::Text(texts) => write_json_text(texts.value(row), out),
            Kind::Bool(values) => out.push_str(if values.value(row) { "true" } else { "false" }),
            Kind::Integer(formatter) => {
                let _ = write!(out, "{}", formatter.value(row));
            }
            Kind::Float(formatter) => {
                // JSON has no NaN and no infinity.
                let text = formatter.value(row).to_string();
                let finite = text.parse().is_ok_and(f64::is_finite);
                out.push_str(if finite { &text } else { "null" });
            }
            Kind::Time(times) => {
                out.push('"');
                write_time(times, row, out);
                out.push('"');
            }
            Kind::Decimal(formatter) => {
                out.push('"');
                write_decimal(formatter, row, out);
                out.push('"');
            }
            Kind::Other(formatter) => write_json_text(&formatter.value(row).to_string(), out),
            Kind::List(list, values) => {
                let offsets = list.value_offsets();
                let range = (offsets.get(row), offsets.get(row + 1));
                let (from, to) = match range {
                    (Some(&from), Some(&to)) => (from as usize, to as usize),
                    _ => (0, 0),
                };
                out.push('[');
                for at in from..to {
                    if at > from {
                        out.push(',');
                    }
                    values.write_json(at, out);
                }
                out.push(']');
            }
            Kind::Struct(parts, columns) => {
                let named = parts.column_names().into_iter().zip(columns);
                write_object(named, row, out);
            }
        }
    }
}

/// Appends a decimal as the rest of the product writes it: `1.25`, not `1.250000000`.
fn write_decimal(formatter: &ArrayFormatter<'_>, row: usize, out: &mut String) {
    let text = formatter.value(row).to_string();
    out.push_str(match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    });
}

/// Appends a row as a JSON object.
pub(crate) fn write_object<'c, 'a: 'c>(
    columns: impl Iterator<Item = (&'c str, &'c Cells<'a>)>,
    row: usize,
    out: &mut String,
) {
    out.push('{');
    for (index, (name, cells)) in columns.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_json_text(name, out);
        out.push(':');
        cells.write_json(row, out);
    }
    out.push('}');
}

/// Appends a CSV field, quoted when it has to be.
pub(crate) fn write_csv_field(field: &str, out: &mut String) {
    if field.contains(['"', ',', '\n', '\r']) {
        out.push('"');
        out.push_str(&field.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(field);
    }
}

fn write_json_text(text: &str, out: &mut String) {
    // A string always has a JSON form.
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// `2015-04-17T12:00:20.000000000`, with `Z` when the column knows its zone.
fn write_time(times: &TimestampNanosecondArray, row: usize, out: &mut String) {
    let text = Time::from_nanos(times.value(row)).to_string();
    let zoned = times.timezone().is_some();
    out.push_str(if zoned {
        &text
    } else {
        text.trim_end_matches('Z')
    });
}
