//! Values of a column as Postgres clients read them, in text and in binary.
//!
//! Invariant: exact, but for times, which the protocol counts in microseconds: what is below one is cut
//! off, towards the past. A decimal has no zeros behind its last digit, as elsewhere.

use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, StringArray, Time64MicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DecimalType as _, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::error::ArrowError;
use pgwire::api::Type;

use super::types;
use super::values::{EPOCH_DAYS, EPOCH_MICROS};
use crate::sql::Cells;

const MICROS_A_SECOND: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;

/// A column in one of the few forms that [`Column`] writes.
pub(super) fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = match array.data_type() {
        DataType::Dictionary(_, values) => {
            return plain(&cast(array, values)?);
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let nanos = array.as_primitive::<TimestampNanosecondType>();
            let micros: Int64Array = nanos.unary(|nanos| nanos.div_euclid(1_000));
            return Ok(Arc::new(micros));
        }
        DataType::Timestamp(..) => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let micros = micros.as_primitive::<TimestampMicrosecondType>();
            return Ok(Arc::new(micros.reinterpret_cast::<Int64Type>()));
        }
        DataType::FixedSizeList(element, _) | DataType::LargeList(element) => {
            return plain(&cast(array, &DataType::List(Arc::clone(element)))?);
        }
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal128(_, scale) if *scale < 0 => DataType::Decimal128(38, 0),
        DataType::Decimal256(_, scale) => DataType::Decimal128(38, (*scale).clamp(0, 38)),
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => {
            DataType::Time64(TimeUnit::Microsecond)
        }
        DataType::Duration(_) | DataType::Interval(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        kind if types::of(kind) == Type::TEXT && !matches!(kind, DataType::Null) => DataType::Utf8,
        _ => return Ok(Arc::clone(array)),
    };
    match array.data_type() == &to {
        true => Ok(Arc::clone(array)),
        false => cast(array, &to),
    }
}

/// What does not fit is an error, not NULL.
fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options)
}

/// A column, ready to write its values.
pub(super) struct Column<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Bool(&'a BooleanArray),
    Int2(&'a Int16Array),
    Int4(&'a Int32Array),
    Int8(&'a Int64Array),
    Float4(&'a Float32Array),
    Float8(&'a Float64Array),
    Numeric(&'a Decimal128Array),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    /// Microseconds since 1970, and whether the time has a zone.
    Time(&'a Int64Array, bool),
    Date(&'a Date32Array),
    TimeOfDay(&'a Time64MicrosecondArray),
    Interval(&'a IntervalMonthDayNanoArray),
    /// The elements, made plain, and their type.
    List(&'a ListArray, ArrayRef, Type),
    Json(Cells<'a>),
    Null,
}

impl<'a> Column<'a> {
    /// A plain array; `was` is the type that it had.
    pub(super) fn new(array: &'a dyn Array, was: &DataType) -> Result<Self, ArrowError> {
        let was = match was {
            DataType::Dictionary(_, values) => values,
            was => was,
        };
        let kind = match (array.data_type(), was) {
            (DataType::Int64, DataType::Timestamp(_, zone)) => {
                Kind::Time(array.as_primitive::<Int64Type>(), zone.is_some())
            }
            (DataType::Boolean, _) => Kind::Bool(array.as_boolean()),
            (DataType::Int16, _) => Kind::Int2(array.as_primitive::<Int16Type>()),
            (DataType::Int32, _) => Kind::Int4(array.as_primitive::<Int32Type>()),
            (DataType::Int64, _) => Kind::Int8(array.as_primitive::<Int64Type>()),
            (DataType::Float32, _) => Kind::Float4(array.as_primitive::<Float32Type>()),
            (DataType::Float64, _) => Kind::Float8(array.as_primitive::<Float64Type>()),
            (DataType::Decimal128(..), _) => Kind::Numeric(array.as_primitive::<Decimal128Type>()),
            (DataType::Utf8, _) => Kind::Text(array.as_string::<i32>()),
            (DataType::Binary, _) => Kind::Bytes(array.as_binary::<i32>()),
            (DataType::Date32, _) => Kind::Date(array.as_primitive::<Date32Type>()),
            (DataType::Time64(_), _) => {
                Kind::TimeOfDay(array.as_primitive::<Time64MicrosecondType>())
            }
            (DataType::Interval(_), _) => {
                Kind::Interval(array.as_primitive::<IntervalMonthDayNanoType>())
            }
            (DataType::List(element), _) if types::of(array.data_type()) != Type::JSON => {
                let list = array.as_list::<i32>();
                Kind::List(list, plain(list.values())?, types::of(element.data_type()))
            }
            (DataType::Null, _) => Kind::Null,
            _ => Kind::Json(Cells::new(array)?),
        };
        Ok(Self { array, kind })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        matches!(self.kind, Kind::Null) || self.array.is_null(row)
    }

    /// Appends a value with its length before it, -1 for NULL.
    pub(super) fn write(
        &self,
        row: usize,
        binary: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ArrowError> {
        if self.is_null(row) {
            out.extend((-1_i32).to_be_bytes());
            return Ok(());
        }
        let at = out.len();
        out.extend([0; 4]);
        match binary {
            true => self.write_binary(row, out)?,
            false => self.write_text(row, out)?,
        }
        let length = out.len() - at - 4;
        set_length(out, at, length)
    }

    /// Appends a value that is not NULL as text.
    pub(super) fn write_text(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        // Writing to memory cannot fail.
        let _ = match &self.kind {
            Kind::Bool(values) => write!(out, "{}", if values.value(row) { 't' } else { 'f' }),
            Kind::Int2(values) => write!(out, "{}", values.value(row)),
            Kind::Int4(values) => write!(out, "{}", values.value(row)),
            Kind::Int8(values) => write!(out, "{}", values.value(row)),
            Kind::Float4(values) => float(&format!("{:?}", values.value(row)), out),
            Kind::Float8(values) => float(&format!("{:?}", values.value(row)), out),
            Kind::Numeric(values) => write!(out, "{}", decimal(values, row)),
            Kind::Text(values) => out.write_all(values.value(row).as_bytes()),
            Kind::Bytes(values) => {
                let _ = out.write_all(b"\\x");
                values
                    .value(row)
                    .iter()
                    .try_for_each(|byte| write!(out, "{byte:02x}"))
            }
            Kind::Time(values, zoned) => time(values.value(row), *zoned, out),
            Kind::Date(values) => date(values.value(row).into(), out),
            Kind::TimeOfDay(values) => clock(values.value(row), out),
            Kind::Interval(values) => interval(values, row, out),
            Kind::List(list, elements, _) => return list_text(list, elements, row, out),
            Kind::Json(cells) => {
                let mut text = String::new();
                cells.write_json(row, &mut text);
                out.write_all(text.as_bytes())
            }
            Kind::Null => Ok(()),
        };
        Ok(())
    }

    fn write_binary(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        match &self.kind {
            Kind::Bool(values) => out.push(values.value(row).into()),
            Kind::Int2(values) => out.extend(values.value(row).to_be_bytes()),
            Kind::Int4(values) => out.extend(values.value(row).to_be_bytes()),
            Kind::Int8(values) => out.extend(values.value(row).to_be_bytes()),
            Kind::Float4(values) => out.extend(values.value(row).to_be_bytes()),
            Kind::Float8(values) => out.extend(values.value(row).to_be_bytes()),
            Kind::Numeric(values) => numeric(&decimal(values, row), out),
            Kind::Bytes(values) => out.extend(values.value(row)),
            Kind::Time(values, _) => {
                let micros = values.value(row).saturating_sub(EPOCH_MICROS);
                out.extend(micros.to_be_bytes());
            }
            Kind::Date(values) => {
                let days = values.value(row).saturating_sub(EPOCH_DAYS);
                out.extend(days.to_be_bytes());
            }
            Kind::TimeOfDay(values) => out.extend(values.value(row).to_be_bytes()),
            Kind::Interval(values) => {
                let value = values.value(row);
                out.extend(value.nanoseconds.div_euclid(1_000).to_be_bytes());
                out.extend(value.days.to_be_bytes());
                out.extend(value.months.to_be_bytes());
            }
            Kind::List(list, elements, kind) => {
                return list_binary(list, (elements, kind), row, out);
            }
            Kind::Text(_) | Kind::Json(_) => return self.write_text(row, out),
            Kind::Null => {}
        }
        Ok(())
    }
}

/// Writes a length at its place.
pub(super) fn set_length(out: &mut [u8], at: usize, length: usize) -> Result<(), ArrowError> {
    let length = i32::try_from(length);
    let place = out.get_mut(at..at + 4);
    match (length, place) {
        (Ok(length), Some(place)) => {
            place.copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        _ => Err(ArrowError::ComputeError(
            "a row has more bytes than a message may have".to_owned(),
        )),
    }
}

/// `1.5`, `1e300`, `NaN`, `-Infinity`.
fn float(text: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
    match text {
        "inf" => out.write_all(b"Infinity"),
        "-inf" => out.write_all(b"-Infinity"),
        text => out.write_all(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
    }
}

fn decimal(values: &Decimal128Array, row: usize) -> String {
    let mut text =
        Decimal128Type::format_decimal(values.value(row), values.precision(), values.scale());
    if text.contains('.') {
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
    }
    text
}

/// Digits of base 10,000 with the point between two of them.
fn numeric(text: &str, out: &mut Vec<u8>) {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (0x4000_u16, digits),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let groups_before = whole.len().div_ceil(4);
    let padded = format!(
        "{whole:0>before$}{fraction:0<behind$}",
        before = groups_before * 4,
        behind = fraction.len().div_ceil(4) * 4
    );
    let groups = padded.as_bytes().chunks(4).map(|group| {
        group
            .iter()
            .fold(0_u16, |value, digit| value * 10 + u16::from(digit - b'0'))
    });
    let groups: Vec<u16> = groups.collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let kept = groups
        .iter()
        .rposition(|group| *group != 0)
        .map_or(0, |last| last + 1);
    let shown = groups.get(leading..kept).unwrap_or_default();
    // None of these is more than a few dozens.
    let weight = match shown.is_empty() {
        true => 0,
        false => groups_before as i16 - 1 - leading as i16,
    };
    let sign = if shown.is_empty() { 0 } else { sign };
    out.extend((shown.len() as u16).to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(sign.to_be_bytes());
    out.extend((fraction.len() as u16).to_be_bytes());
    out.extend(shown.iter().flat_map(|group| group.to_be_bytes()));
}

/// `2015-04-17`, and `0044-03-15 BC`.
fn date(days: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (year, month, day) = civil(days);
    match year {
        1.. => write!(out, "{year:04}-{month:02}-{day:02}"),
        _ => write!(out, "{:04}-{month:02}-{day:02} BC", 1 - year),
    }
}

/// Year, month and day of a day since 1970-01-01, by the Gregorian calendar: eras of 400 years that
/// begin with March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

/// `2015-04-17 09:30:00.25+00`.
fn time(micros: i64, zoned: bool, out: &mut Vec<u8>) -> std::io::Result<()> {
    let a_day = SECONDS_A_DAY * MICROS_A_SECOND;
    let days = micros.div_euclid(a_day);
    let mut day = Vec::new();
    date(days, &mut day)?;
    let (day, era) = match day.strip_suffix(b" BC") {
        Some(day) => (day, " BC"),
        None => (day.as_slice(), ""),
    };
    out.write_all(day)?;
    out.push(b' ');
    clock(micros.rem_euclid(a_day), out)?;
    write!(out, "{}{era}", if zoned { "+00" } else { "" })
}

/// `09:30:00.25`.
fn clock(micros: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (seconds, micros) = (micros / MICROS_A_SECOND, micros % MICROS_A_SECOND);
    write!(
        out,
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )?;
    if micros > 0 {
        let fraction = format!("{micros:06}");
        write!(out, ".{}", fraction.trim_end_matches('0'))?;
    }
    Ok(())
}

/// `1 year 2 mons -3 days 04:05:06.7`.
fn interval(
    values: &IntervalMonthDayNanoArray,
    row: usize,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    let value = values.value(row);
    let from = out.len();
    let parts = [
        (value.months / 12, "year"),
        (value.months % 12, "mon"),
        (value.days, "day"),
    ];
    for (count, name) in parts.into_iter().filter(|(count, _)| *count != 0) {
        let many = if count == 1 { "" } else { "s" };
        write!(out, "{count} {name}{many} ")?;
    }
    let micros = value.nanoseconds.div_euclid(1_000);
    if micros != 0 || out.len() == from {
        if micros < 0 {
            out.push(b'-');
        }
        clock(
            i64::try_from(micros.unsigned_abs()).unwrap_or(i64::MAX),
            out,
        )?;
    } else {
        out.pop();
    }
    Ok(())
}

/// The elements of a list.
fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    match (offsets.get(row), offsets.get(row + 1)) {
        (Some(&from), Some(&to)) => from as usize..to as usize,
        _ => 0..0,
    }
}

fn element(list: &ListArray) -> DataType {
    match list.data_type() {
        DataType::List(element) => element.data_type().clone(),
        _ => DataType::Null,
    }
}

/// `{1,NULL,"a b"}`.
fn list_text(
    list: &ListArray,
    elements: &ArrayRef,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), ArrowError> {
    let column = Column::new(elements, &element(list))?;
    let mut part = Vec::new();
    out.push(b'{');
    for (index, at) in range(list, row).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if column.is_null(at) {
            out.extend(b"NULL");
            continue;
        }
        part.clear();
        column.write_text(at, &mut part)?;
        let special = |byte: &u8| b"{},\"\\".contains(byte) || byte.is_ascii_whitespace();
        let quoted =
            part.is_empty() || part.iter().any(special) || part.eq_ignore_ascii_case(b"null");
        if !quoted {
            out.extend(&part);
            continue;
        }
        out.push(b'"');
        for byte in &part {
            if b"\"\\".contains(byte) {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
    out.push(b'}');
    Ok(())
}

/// An array of one dimension, counted from 1.
fn list_binary(
    list: &ListArray,
    (elements, kind): (&ArrayRef, &Type),
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), ArrowError> {
    let column = Column::new(elements, &element(list))?;
    let range = range(list, row);
    let nulls = range.clone().any(|at| column.is_null(at));
    let dimensions = i32::from(!range.is_empty());
    out.extend(dimensions.to_be_bytes());
    out.extend(i32::from(nulls).to_be_bytes());
    out.extend(kind.oid().to_be_bytes());
    if range.is_empty() {
        return Ok(());
    }
    // A list of Arrow has at most so many elements.
    out.extend(i32::try_from(range.len()).unwrap_or(i32::MAX).to_be_bytes());
    out.extend(1_i32.to_be_bytes());
    range
        .into_iter()
        .try_for_each(|at| column.write(at, true, out))
}
