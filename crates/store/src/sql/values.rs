//! The columns of a result as plain vectors, for who answers in a form of his own.
//!
//! Invariant: a column keeps its kind through all parts of a result; what has no kind here is text.

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType,
};
use arrow::error::ArrowError;

use super::error::SqlError;
use super::result::QueryResult;

/// Values of a column; `None` is NULL.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Texts, and whatever has no kind of its own.
    Text(Vec<Option<String>>),
    /// Whole numbers, and lengths of time in nanoseconds.
    Long(Vec<Option<i64>>),
    /// Floats, and decimals as the nearest float.
    Float(Vec<Option<f64>>),
    /// Nanoseconds since 1970.
    Time(Vec<Option<i64>>),
    /// Days since 1970.
    Date(Vec<Option<i32>>),
    /// Truth.
    Bool(Vec<Option<bool>>),
}

impl Values {
    fn of(array: &ArrayRef) -> Result<Self, ArrowError> {
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let as_kind = |kind| cast(array, &kind);
        Ok(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean().iter().collect()),
            DataType::Timestamp(..) => {
                let times = as_kind(nanos)?;
                let times = times.as_primitive::<TimestampNanosecondType>();
                Self::Time(times.iter().collect())
            }
            DataType::Date32 | DataType::Date64 => {
                let dates = as_kind(DataType::Date32)?;
                Self::Date(dates.as_primitive::<Date32Type>().iter().collect())
            }
            kind if kind.is_integer() => {
                let numbers = as_kind(DataType::Int64)?;
                Self::Long(numbers.as_primitive::<Int64Type>().iter().collect())
            }
            kind if kind.is_floating() || kind.is_decimal() => {
                let numbers = as_kind(DataType::Float64)?;
                Self::Float(numbers.as_primitive::<Float64Type>().iter().collect())
            }
            _ => {
                let texts = as_kind(DataType::Utf8)?;
                let texts = texts.as_string::<i32>().iter();
                Self::Text(texts.map(|text| text.map(str::to_owned)).collect())
            }
        })
    }
}

impl QueryResult {
    /// The columns of the next rows; `None` at the end.
    ///
    /// # Errors
    /// [`SqlError`] when the query fails or hits a limit.
    pub async fn next_columns(&mut self) -> Result<Option<Vec<Values>>, SqlError> {
        let Some(batch) = self.next().await? else {
            return Ok(None);
        };
        let columns = batch.columns().iter().map(Values::of);
        let columns = columns.collect::<Result<_, _>>();
        columns.map(Some).map_err(|error| self.failed(&error))
    }
}
