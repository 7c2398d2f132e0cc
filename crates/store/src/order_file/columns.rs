//! The typed columns of one decoded batch of a Parquet file.
//!
//! Invariant: reading a row allocates nothing unless the row is refused; what a dictionary says once
//! is parsed once for the batch.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit,
};
use arrow::error::ArrowError;
use tapewatch_model::{
    EventType, NumberError, OrderBatch, Price, Quantity, RowError, RowRef, Side, Time,
};

/// The columns of an order.
pub(super) struct Columns {
    time: Times,
    sym: Texts,
    event_type: Words<EventType>,
    trader: Texts,
    side: Words<Side>,
    order_id: Texts,
    price: Numbers,
    quantity: Numbers,
}

/// Whether a column can be of this type; if not, what it can be.
pub(super) fn check_type(name: &str, kind: &DataType) -> Result<(), &'static str> {
    let kind = match kind {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    let text = matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let (fits, wanted) = match name {
        "time" => (
            text || matches!(kind, DataType::Timestamp(..) | DataType::Int64),
            "a timestamp, text, or whole nanoseconds as int64",
        ),
        "price" | "quantity" => (text || kind.is_numeric(), "a number, a decimal or text"),
        _ => (text, "text"),
    };
    if fits { Ok(()) } else { Err(wanted) }
}

impl Columns {
    /// The columns at the given places of a batch.
    pub(super) fn of(batch: &RecordBatch, places: [usize; 8]) -> Result<Self, ArrowError> {
        let [
            time,
            sym,
            event_type,
            trader,
            side,
            order_id,
            price,
            quantity,
        ] = places.map(|place| Arc::clone(batch.column(place)));
        Ok(Self {
            time: Times::of(&time)?,
            sym: Texts::of(&sym)?,
            event_type: Words::of(&event_type, EventType::parse)?,
            trader: Texts::of(&trader)?,
            side: Words::of(&side, Side::parse)?,
            order_id: Texts::of(&order_id)?,
            price: Numbers::of(&price)?,
            quantity: Numbers::of(&quantity)?,
        })
    }

    /// Adds the row at `index` to a batch of orders.
    pub(super) fn push(&self, index: usize, orders: &mut OrderBatch) -> Result<(), RowError> {
        let row = RowRef {
            time: self.time.get(index)?,
            sym: self.sym.get(index).ok_or_else(|| missing("sym"))?,
            event_type: self.event_type.get(index, "event_type")?,
            trader: self.trader.get(index).ok_or_else(|| missing("trader"))?,
            side: self.side.get(index, "side")?,
            order_id: self
                .order_id
                .get(index)
                .ok_or_else(|| missing("order_id"))?,
            price: self.price.price(index)?,
            quantity: self.quantity.quantity(index)?,
        };
        orders.push(&row)
    }
}

fn missing(column: &'static str) -> RowError {
    RowError::new(column, "is null")
}

/// A column of texts, plain or through a dictionary.
enum Texts {
    Plain(StringArray),
    Coded(Int32Array, StringArray),
}

impl Texts {
    fn of(column: &ArrayRef) -> Result<Self, ArrowError> {
        if matches!(column.data_type(), DataType::Dictionary(..)) {
            let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            let coded = cast(column, &kind)?;
            let coded = coded.as_dictionary::<Int32Type>();
            return Ok(Self::Coded(
                coded.keys().clone(),
                coded.values().as_string::<i32>().clone(),
            ));
        }
        Ok(Self::Plain(
            cast(column, &DataType::Utf8)?.as_string::<i32>().clone(),
        ))
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        match self {
            Self::Plain(texts) => text(texts, index),
            Self::Coded(codes, texts) => text(texts, code(codes, index)?),
        }
    }
}

fn text(texts: &StringArray, index: usize) -> Option<&[u8]> {
    texts.is_valid(index).then(|| texts.value(index).as_bytes())
}

fn code(codes: &Int32Array, index: usize) -> Option<usize> {
    if codes.is_null(index) {
        return None;
    }
    usize::try_from(codes.value(index)).ok()
}

/// A column of a few known words.
enum Words<T> {
    Plain(StringArray, fn(&[u8]) -> Option<T>),
    /// Codes, the texts, and what each text means.
    Coded(Int32Array, StringArray, Vec<Option<T>>),
}

impl<T: Copy> Words<T> {
    fn of(column: &ArrayRef, parse: fn(&[u8]) -> Option<T>) -> Result<Self, ArrowError> {
        Ok(match Texts::of(column)? {
            Texts::Plain(texts) => Self::Plain(texts, parse),
            Texts::Coded(codes, texts) => {
                let meanings = (0..texts.len()).map(|index| parse(text(&texts, index)?));
                let meanings = meanings.collect();
                Self::Coded(codes, texts, meanings)
            }
        })
    }

    fn get(&self, index: usize, column: &'static str) -> Result<T, RowError> {
        let (word, texts, at) = match self {
            Self::Plain(texts, parse) => {
                let word = text(texts, index).ok_or_else(|| missing(column))?;
                (parse(word), texts, index)
            }
            Self::Coded(codes, texts, meanings) => {
                let at = code(codes, index).ok_or_else(|| missing(column))?;
                (meanings.get(at).copied().flatten(), texts, at)
            }
        };
        word.ok_or_else(|| match text(texts, at) {
            Some(word) => RowError::new(
                column,
                format_args!(
                    "is {:?}, not one that is known",
                    String::from_utf8_lossy(word)
                ),
            ),
            None => missing(column),
        })
    }
}

/// A column of times.
enum Times {
    /// Whole numbers of a unit, and nanoseconds in it.
    Whole(Int64Array, i64),
    Text(Texts),
}

impl Times {
    fn of(column: &ArrayRef) -> Result<Self, ArrowError> {
        let scale = match column.data_type() {
            DataType::Int64 | DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
            DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
            DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
            DataType::Dictionary(_, values) if !is_text(values) => {
                return Self::of(&cast(column, values)?);
            }
            _ => return Ok(Self::Text(Texts::of(column)?)),
        };
        // A zone says only how it is shown: the number counts from 1970 in UTC.
        let whole = cast(column, &DataType::Int64)?;
        Ok(Self::Whole(
            whole.as_primitive::<Int64Type>().clone(),
            scale,
        ))
    }

    fn get(&self, index: usize) -> Result<Time, RowError> {
        match self {
            Self::Whole(values, scale) => {
                if values.is_null(index) {
                    return Err(missing("time"));
                }
                let nanos = values.value(index).checked_mul(*scale);
                nanos
                    .map(Time::from_nanos)
                    .ok_or_else(|| RowError::new("time", tapewatch_model::TimeError::OutOfRange))
            }
            Self::Text(texts) => {
                let text = texts.get(index).ok_or_else(|| missing("time"))?;
                Time::parse(text).map_err(|error| RowError::new("time", error))
            }
        }
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// A column of numbers.
enum Numbers {
    Double(Float64Array),
    Single(Float32Array),
    /// Whole numbers of `10^-scale`.
    Decimal(Decimal128Array, i32),
    Text(Texts),
}

/// Digits that a decimal column may have.
const DECIMAL_DIGITS: u8 = 38;

impl Numbers {
    fn of(column: &ArrayRef) -> Result<Self, ArrowError> {
        let decimal = |scale: i8| -> Result<Self, ArrowError> {
            let wide = cast(column, &DataType::Decimal128(DECIMAL_DIGITS, scale))?;
            let values = wide.as_primitive::<Decimal128Type>().clone();
            Ok(Self::Decimal(values, scale.into()))
        };
        match column.data_type() {
            DataType::Float64 => Ok(Self::Double(column.as_primitive::<Float64Type>().clone())),
            DataType::Float32 => Ok(Self::Single(column.as_primitive::<Float32Type>().clone())),
            DataType::Float16 => Self::of(&cast(column, &DataType::Float32)?),
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale)
            | DataType::Decimal256(_, scale) => decimal(*scale),
            kind if kind.is_integer() => decimal(0),
            DataType::Dictionary(_, values) if !is_text(values) => Self::of(&cast(column, values)?),
            _ => Ok(Self::Text(Texts::of(column)?)),
        }
    }

    fn price(&self, index: usize) -> Result<Price, RowError> {
        let price = match self {
            Self::Double(values) if values.is_valid(index) => Price::from_f64(values.value(index)),
            Self::Single(values) if values.is_valid(index) => {
                single(values.value(index)).and_then(|text| Price::parse(text.as_bytes()))
            }
            Self::Decimal(values, scale) if values.is_valid(index) => {
                units(values.value(index), *scale, Price::SCALE).map(Price::from_units)
            }
            Self::Text(texts) => Price::parse(texts.get(index).ok_or_else(|| missing("price"))?),
            _ => return Err(missing("price")),
        };
        price.map_err(|error| RowError::new("price", error))
    }

    fn quantity(&self, index: usize) -> Result<Quantity, RowError> {
        let quantity = match self {
            Self::Double(values) if values.is_valid(index) => {
                Quantity::from_f64(values.value(index))
            }
            Self::Single(values) if values.is_valid(index) => {
                single(values.value(index)).and_then(|text| Quantity::parse(text.as_bytes()))
            }
            Self::Decimal(values, scale) if values.is_valid(index) => {
                units(values.value(index), *scale, Quantity::SCALE).and_then(Quantity::from_units)
            }
            Self::Text(texts) => {
                Quantity::parse(texts.get(index).ok_or_else(|| missing("quantity"))?)
            }
            _ => return Err(missing("quantity")),
        };
        quantity.map_err(|error| RowError::new("quantity", error))
    }
}

/// What a 32-bit float meant is its shortest text, not its digits as a 64-bit one.
fn single(value: f32) -> Result<String, NumberError> {
    if value.is_finite() {
        Ok(value.to_string())
    } else {
        Err(NumberError::Format)
    }
}

/// A whole number of `10^-from` as one of `10^-to`, exactly.
fn units(value: i128, from: i32, to: u32) -> Result<i64, NumberError> {
    let shift = i64::from(to) - i64::from(from);
    let power = u32::try_from(shift.unsigned_abs())
        .ok()
        .and_then(|digits| 10_i128.checked_pow(digits))
        .ok_or(NumberError::OutOfRange)?;
    let scaled = if shift >= 0 {
        value.checked_mul(power).ok_or(NumberError::OutOfRange)?
    } else if value % power == 0 {
        value / power
    } else {
        return Err(NumberError::TooFine(to));
    };
    i64::try_from(scaled).map_err(|_| NumberError::OutOfRange)
}
