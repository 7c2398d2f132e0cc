//! The typed columns of one decoded batch of a Parquet file.
//!
//! Invariant: reading a row allocates nothing unless the row is refused; what a dictionary says once
//! is parsed once for the batch.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Decimal128Array, Float32Array, Float64Array, Int64Array,
    RecordBatch, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use tapewatch_model::{
    CodedRow, Details, EventType, EventTypes, Flags, NumberError, OrderBatch, OrderColumns, Price,
    Quantity, RowError, RowRef, Side, Time,
};

use super::Places;
use super::details::DetailColumns;
use crate::coded::{Coded, TextCodes, coded_type};

/// The columns of an order.
pub(super) struct Columns {
    time: Times,
    sym: Coded,
    event_type: Words<EventType>,
    trader: Coded,
    side: Words<Side>,
    order_id: StringViewArray,
    price: Numbers,
    quantity: Numbers,
    details: Option<DetailColumns>,
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
        "price" | "quantity" | "display_quantity" => {
            (text || kind.is_numeric(), "a number, a decimal or text")
        }
        _ => (text, "text"),
    };
    if fits { Ok(()) } else { Err(wanted) }
}

/// The type that a column is read as, where it is not its own: few distinct texts by their codes,
/// and other texts where they are, so that those of rows that are passed over are never copied.
pub(super) fn read_as(name: &str, kind: &DataType) -> Option<DataType> {
    let text = match kind {
        DataType::Dictionary(_, values) => is_text(values),
        other => is_text(other),
    };
    text.then(|| match name {
        "sym" | "event_type" | "trader" | "side" | "account" | "flags" => coded_type(),
        _ => DataType::Utf8View,
    })
}

/// What the texts of decoded batches are in the batch of orders that is being filled.
#[derive(Default)]
pub(super) struct Codes {
    sym: TextCodes,
    trader: TextCodes,
}

impl Codes {
    /// Forgets what does not hold for these columns and this batch of orders.
    pub(super) fn begin(&mut self, columns: &Columns, orders: &OrderBatch) {
        self.sym.begin(&columns.sym, orders.syms());
        self.trader.begin(&columns.trader, orders.traders());
    }

    /// Notes what the batch's dictionaries have grown into.
    pub(super) fn end(&mut self, orders: &OrderBatch) {
        self.sym.end(orders.syms());
        self.trader.end(orders.traders());
    }
}

impl Columns {
    /// The columns at the given places of a batch.
    pub(super) fn of(batch: &RecordBatch, places: &Places) -> Result<Self, ArrowError> {
        let [
            time,
            sym,
            event_type,
            trader,
            side,
            order_id,
            price,
            quantity,
        ] = places.all.map(|place| Arc::clone(batch.column(place)));
        Ok(Self {
            time: Times::of(&time)?,
            sym: Coded::of(&sym)?,
            event_type: Words::of(&event_type, EventType::parse)?,
            trader: Coded::of(&trader)?,
            side: Words::of(&side, Side::parse)?,
            order_id: texts(&order_id)?,
            price: Numbers::of(&price)?,
            quantity: Numbers::of(&quantity)?,
            details: DetailColumns::of(batch, places.some)?,
        })
    }

    /// Those of the rows that cannot be passed over when only some events are wanted.
    pub(super) fn wanted(
        &self,
        events: EventTypes,
        rows: Range<usize>,
    ) -> impl Iterator<Item = usize> {
        let words = &self.event_type;
        let wanted = |word: &Option<EventType>| word.is_none_or(|event| events.contains(event));
        let wanted: Vec<bool> = words.meanings.iter().map(wanted).collect();
        rows.filter(move |&index| {
            let at = words.column.code(index);
            at.and_then(|at| wanted.get(at))
                .is_none_or(|wanted| *wanted)
        })
    }

    /// Adds these rows to a batch of orders, column by column; `false` (and no row) when something is
    /// wrong with one of them, or they tell more than every source does.
    pub(super) fn fill(
        &self,
        rows: &[u32],
        codes: &mut Codes,
        columns: &mut OrderColumns,
        orders: &mut OrderBatch,
    ) -> bool {
        if self.details.is_some() {
            return false;
        }
        columns.clear();
        let mut sym = |at| {
            let find = || orders.sym_code(self.sym.text(at)?).ok();
            codes.sym.code(at, find)
        };
        let mut good = each(rows, &mut columns.sym, |row| sym(self.sym.code(row)?));
        let mut trader = |at| {
            let find = || orders.trader_code(self.trader.text(at)?).ok();
            codes.trader.code(at, find)
        };
        good = good
            && each(rows, &mut columns.trader, |row| {
                trader(self.trader.code(row)?)
            });
        good = good && each(rows, &mut columns.time, |row| self.time.get(row).ok());
        good = good
            && each(rows, &mut columns.event_type, |row| {
                self.event_type.meaning(row)
            });
        good = good && each(rows, &mut columns.side, |row| self.side.meaning(row));
        good = good && each(rows, &mut columns.price, |row| self.price.price(row).ok());
        good = good
            && each(rows, &mut columns.quantity, |row| {
                self.quantity.quantity(row, "quantity").ok()
            });
        let order_id = &mut columns.order_id;
        order_id.reserve(rows.len(), 0);
        good = good
            && rows.iter().all(|&row| {
                let text = text(&self.order_id, row as usize);
                text.is_some_and(|text| order_id.push_bytes(text).is_ok())
            });
        good && orders.push_columns(columns).is_ok()
    }

    /// Adds the row at `index` to a batch of orders.
    #[inline]
    pub(super) fn push(
        &self,
        index: usize,
        codes: &mut Codes,
        orders: &mut OrderBatch,
    ) -> Result<(), RowError> {
        match self.coded_row(index, codes, orders) {
            Some(row) if orders.push_coded(&row).is_ok() => Ok(()),
            // Something is wrong with it: what comes first by the order of the columns is told.
            _ => self.push_checked(index, orders),
        }
    }

    /// The row by its codes; `None` when something is wrong with it.
    #[inline]
    fn coded_row(
        &self,
        index: usize,
        codes: &mut Codes,
        orders: &mut OrderBatch,
    ) -> Option<CodedRow<'_>> {
        let (sym, trader) = (self.sym.code(index)?, self.trader.code(index)?);
        let sym = codes
            .sym
            .code(sym, || orders.sym_code(self.sym.text(sym)?).ok())?;
        let trader = codes.trader.code(trader, || {
            orders.trader_code(self.trader.text(trader)?).ok()
        })?;
        let event_type = self.event_type.meaning(index)?;
        let details = self.details(index).ok()?;
        Some(CodedRow {
            time: self.time.get(index).ok()?,
            sym,
            event_type,
            trader,
            side: self.side.meaning(index)?,
            order_id: text(&self.order_id, index)?,
            price: self.price_of(index, event_type, details.flags).ok()?,
            quantity: self.quantity.quantity(index, "quantity").ok()?,
            details,
        })
    }

    fn details(&self, index: usize) -> Result<Details<'_, [u8]>, RowError> {
        match &self.details {
            None => Ok(Details::default()),
            Some(columns) => columns.row(index),
        }
    }

    fn price_of(&self, index: usize, event: EventType, flags: Flags) -> Result<Price, RowError> {
        if flags.need_no_price(event) && !self.price.tells(index) {
            return Ok(Price::default());
        }
        self.price.price(index)
    }

    /// Also for a row whose trader the source does not name.
    #[cold]
    fn push_checked(&self, index: usize, orders: &mut OrderBatch) -> Result<(), RowError> {
        let details = self.details(index)?;
        let event_type = self.event_type.get(index, "event_type")?;
        let anonymous = details.flags.has(Flags::ANONYMOUS).then_some(&[][..]);
        let row = RowRef {
            time: self.time.get(index)?,
            sym: self.sym.get(index).ok_or_else(|| missing("sym"))?,
            event_type,
            trader: self
                .trader
                .get(index)
                .or(anonymous)
                .ok_or_else(|| missing("trader"))?,
            side: self.side.get(index, "side")?,
            order_id: text(&self.order_id, index).ok_or_else(|| missing("order_id"))?,
            price: self.price_of(index, event_type, details.flags)?,
            quantity: self.quantity.quantity(index, "quantity")?,
            details,
        };
        orders.push(&row)
    }
}

/// Adds a value for each row; `false` when one has none.
#[inline]
fn each<T>(rows: &[u32], to: &mut Vec<T>, mut value: impl FnMut(usize) -> Option<T>) -> bool {
    to.reserve(rows.len());
    rows.iter()
        .all(|&row| value(row as usize).map(|value| to.push(value)).is_some())
}

fn missing(column: &'static str) -> RowError {
    RowError::new(column, "is null")
}

pub(super) fn texts(column: &ArrayRef) -> Result<StringViewArray, ArrowError> {
    Ok(cast(column, &DataType::Utf8View)?.as_string_view().clone())
}

#[inline]
fn text(texts: &StringViewArray, index: usize) -> Option<&[u8]> {
    texts.is_valid(index).then(|| texts.value(index).as_bytes())
}

/// A column of a few known words.
struct Words<T> {
    column: Coded,
    /// What each text of the dictionary means.
    meanings: Vec<Option<T>>,
}

impl<T: Copy> Words<T> {
    fn of(column: &ArrayRef, parse: fn(&[u8]) -> Option<T>) -> Result<Self, ArrowError> {
        let column = Coded::of(column)?;
        let meaning = |at| column.text(at).and_then(parse);
        let meanings = (0..column.len()).map(meaning).collect();
        Ok(Self { column, meanings })
    }

    #[inline]
    fn meaning(&self, index: usize) -> Option<T> {
        *self.meanings.get(self.column.code(index)?)?
    }

    fn get(&self, index: usize, column: &'static str) -> Result<T, RowError> {
        self.meaning(index).ok_or_else(|| {
            self.column.get(index).map_or_else(
                || missing(column),
                |word| {
                    let word = String::from_utf8_lossy(word);
                    RowError::new(column, format_args!("is {word:?}, not one that is known"))
                },
            )
        })
    }
}

/// A column of times.
enum Times {
    /// Whole numbers of a unit, and nanoseconds in it.
    Whole(Int64Array, i64),
    Text(StringViewArray),
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
            _ => return Ok(Self::Text(texts(column)?)),
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
                let text = text(texts, index).ok_or_else(|| missing("time"))?;
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
pub(super) enum Numbers {
    Double(Float64Array),
    Single(Float32Array),
    Whole(Int64Array),
    /// Whole numbers of `10^-scale`.
    Decimal(Decimal128Array, i32),
    Text(StringViewArray),
}

/// Digits that a decimal column may have.
const DECIMAL_DIGITS: u8 = 38;

impl Numbers {
    pub(super) fn of(column: &ArrayRef) -> Result<Self, ArrowError> {
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
            DataType::UInt64 => decimal(0),
            kind if kind.is_integer() => {
                let whole = cast(column, &DataType::Int64)?;
                Ok(Self::Whole(whole.as_primitive::<Int64Type>().clone()))
            }
            DataType::Dictionary(_, values) if !is_text(values) => Self::of(&cast(column, values)?),
            _ => Ok(Self::Text(texts(column)?)),
        }
    }

    fn price(&self, index: usize) -> Result<Price, RowError> {
        let price = match self {
            Self::Double(values) if values.is_valid(index) => Price::from_f64(values.value(index)),
            Self::Single(values) if values.is_valid(index) => {
                single(values.value(index)).and_then(|text| Price::parse(text.as_bytes()))
            }
            Self::Whole(values) if values.is_valid(index) => {
                units(values.value(index).into(), 0, Price::SCALE).map(Price::from_units)
            }
            Self::Decimal(values, scale) if values.is_valid(index) => {
                units(values.value(index), *scale, Price::SCALE).map(Price::from_units)
            }
            Self::Text(texts) => Price::parse(text(texts, index).ok_or_else(|| missing("price"))?),
            _ => return Err(missing("price")),
        };
        price.map_err(|error| RowError::new("price", error))
    }

    /// Whether there is a value: neither null nor an empty text.
    pub(super) fn tells(&self, index: usize) -> bool {
        match self {
            Self::Double(values) => values.is_valid(index),
            Self::Single(values) => values.is_valid(index),
            Self::Whole(values) => values.is_valid(index),
            Self::Decimal(values, _) => values.is_valid(index),
            Self::Text(texts) => text(texts, index).is_some_and(|text| !text.is_empty()),
        }
    }

    pub(super) fn quantity(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<Quantity, RowError> {
        let quantity = match self {
            Self::Double(values) if values.is_valid(index) => {
                Quantity::from_f64(values.value(index))
            }
            Self::Single(values) if values.is_valid(index) => {
                single(values.value(index)).and_then(|text| Quantity::parse(text.as_bytes()))
            }
            Self::Whole(values) if values.is_valid(index) => {
                Quantity::from_whole(values.value(index))
            }
            Self::Decimal(values, scale) if values.is_valid(index) => {
                units(values.value(index), *scale, Quantity::SCALE).and_then(Quantity::from_units)
            }
            Self::Text(texts) => {
                Quantity::parse(text(texts, index).ok_or_else(|| missing(column))?)
            }
            _ => return Err(missing(column)),
        };
        quantity.map_err(|error| RowError::new(column, error))
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
