//! Aggregates over a window that only moves forward.
//!
//! Invariant: sums of integers and decimals are exact, and an error when the result's type cannot
//! hold them; sums of floats never subtract, so that nothing which has left the window shows. A row
//! costs the same however long the window is.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::{Result, exec_datafusion_err};

use super::right::{Part, Right};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
}

impl Function {
    /// The function of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "first_value" => Self::First,
            "last_value" => Self::Last,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first",
            Self::Last => "last",
        }
    }

    /// The type that it takes for values of this one, and the type of its result.
    pub(super) fn types(self, given: &DataType) -> Option<(DataType, DataType)> {
        use DataType::{Decimal128, Float64, Int64};
        let same = (given.clone(), given.clone());
        Some(match (self, given) {
            (Self::Count, _) => (given.clone(), Int64),
            (Self::Min | Self::Max | Self::First | Self::Last, _) => same,
            (Self::Sum, kind) if kind.is_integer() => (Int64, Int64),
            (Self::Avg, kind) if kind.is_integer() => (Int64, Float64),
            (Self::Sum | Self::Avg, kind) if kind.is_floating() => (Float64, Float64),
            // As `sum` and `avg` are elsewhere in SQL.
            (Self::Sum, Decimal128(precision, scale)) => {
                let precision = precision.saturating_add(10).min(38);
                (given.clone(), Decimal128(precision, *scale))
            }
            (Self::Avg, Decimal128(precision, scale)) => {
                let precision = precision.saturating_add(4).min(38);
                let scale = scale.saturating_add(4).min(38);
                (given.clone(), Decimal128(precision, scale))
            }
            _ => return None,
        })
    }

    /// Whether it compares values.
    pub(super) const fn compares(self) -> bool {
        matches!(self, Self::Min | Self::Max)
    }
}

/// The value of a measure in the window at hand.
pub(super) enum Value {
    Null,
    Count(i64),
    Units(i128),
    Float(f64),
    /// That of the row with this number.
    OfRow(u64),
}

/// One measure as the window moves.
pub(super) struct Running {
    function: Function,
    /// Of the result.
    kind: DataType,
    /// Which argument of the right side.
    at: usize,
    /// Values in the window that are not NULL.
    count: i64,
    units: i128,
    floats: Floats,
    /// The rows that may yet be the least or greatest, in their order.
    best: VecDeque<u64>,
}

impl Running {
    pub(super) fn new(function: Function, kind: DataType, at: usize) -> Self {
        Self {
            function,
            kind,
            at,
            count: 0,
            units: 0,
            floats: Floats::default(),
            best: VecDeque::new(),
        }
    }

    /// Begins with an empty window.
    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.units = 0;
        self.floats = Floats::default();
        self.best.clear();
    }

    fn argument<'a>(&self, part: &'a Part, row: usize) -> Option<&'a ArrayRef> {
        part.arguments
            .get(self.at)
            .filter(|array| array.is_valid(row))
    }

    /// Row `number` comes in at the end.
    pub(super) fn push(
        &mut self,
        right: &Right,
        part: &Part,
        row: usize,
        number: u64,
    ) -> Result<()> {
        let Some(argument) = self.argument(part, row) else {
            return Ok(());
        };
        match self.function {
            Function::Count => self.count += 1,
            Function::Sum | Function::Avg => {
                self.count += 1;
                match number_at(argument, row) {
                    Number::Units(units) => {
                        let sum = self.units.checked_add(units);
                        self.units = sum.ok_or_else(|| self.overflow())?;
                    }
                    Number::Float(float) => self.floats.push(float),
                }
            }
            Function::Min | Function::Max => {
                while let Some(&last) = self.best.back() {
                    let (other, at) = right.held(last)?;
                    if !self.beats(part, row, &other, at) {
                        break;
                    }
                    self.best.pop_back();
                }
                self.best.push_back(number);
            }
            Function::First | Function::Last => {}
        }
        Ok(())
    }

    /// Whether a value makes one that came before it useless.
    fn beats(&self, part: &Part, row: usize, other: &Part, at: usize) -> bool {
        let value = |part: &'_ Part, row| match part.sorted.get(self.at) {
            Some(Some(rows)) => Some(rows.row(row).owned()),
            _ => None,
        };
        let (new, old) = (value(part, row), value(other, at));
        match self.function {
            Function::Min => new <= old,
            _ => new >= old,
        }
    }

    /// Row `number`, the first of the window, leaves it.
    pub(super) fn pop(&mut self, part: &Part, row: usize, number: u64) -> Result<()> {
        let Some(argument) = self.argument(part, row) else {
            return Ok(());
        };
        match self.function {
            Function::Count => self.count -= 1,
            Function::Sum | Function::Avg => {
                self.count -= 1;
                match number_at(argument, row) {
                    Number::Units(units) => {
                        let sum = self.units.checked_sub(units);
                        self.units = sum.ok_or_else(|| self.overflow())?;
                    }
                    Number::Float(_) => self.floats.pop(),
                }
            }
            Function::Min | Function::Max => {
                if self.best.front() == Some(&number) {
                    self.best.pop_front();
                }
            }
            Function::First | Function::Last => {}
        }
        Ok(())
    }

    /// Its value while the window is the rows from `begin` to before `end`.
    pub(super) fn value(&self, begin: u64, end: u64) -> Result<Value> {
        let of_row = |row: Option<u64>| row.map_or(Value::Null, Value::OfRow);
        Ok(match self.function {
            Function::Count => Value::Count(self.count),
            Function::First => of_row((begin < end).then_some(begin)),
            Function::Last => of_row(end.checked_sub(1).filter(|_| begin < end)),
            Function::Min | Function::Max => of_row(self.best.front().copied()),
            Function::Sum | Function::Avg if self.count == 0 => Value::Null,
            Function::Sum => match &self.kind {
                DataType::Float64 => Value::Float(self.floats.sum()),
                kind => Value::Units(self.fits(self.units, kind)?),
            },
            Function::Avg => match (&self.kind, self.floats.is_empty()) {
                (DataType::Float64, false) => Value::Float(self.floats.sum() / self.count as f64),
                (DataType::Float64, true) => Value::Float(self.units as f64 / self.count as f64),
                // Four decimals more than the values have.
                (kind, _) => {
                    let units = self.units.checked_mul(10_000);
                    let units = units.ok_or_else(|| self.overflow())?;
                    Value::Units(self.fits(units / i128::from(self.count), kind)?)
                }
            },
        })
    }

    /// Its value in a window without rows.
    pub(super) fn nothing(&self) -> Value {
        match self.function {
            Function::Count => Value::Count(0),
            _ => Value::Null,
        }
    }

    fn fits(&self, units: i128, kind: &DataType) -> Result<i128> {
        let fits = match kind {
            DataType::Int64 => i64::try_from(units).is_ok(),
            DataType::Decimal128(precision, _) => {
                let limit = 10_i128.checked_pow(u32::from(*precision));
                limit.is_none_or(|limit| units.unsigned_abs() < limit.unsigned_abs())
            }
            _ => true,
        };
        match fits {
            true => Ok(units),
            false => Err(self.overflow()),
        }
    }

    fn overflow(&self) -> datafusion::error::DataFusionError {
        exec_datafusion_err!(
            "Arithmetic overflow: {} of a window is beyond {}",
            self.function.name(),
            self.kind
        )
    }
}

enum Number {
    Units(i128),
    Float(f64),
}

fn number_at(array: &ArrayRef, row: usize) -> Number {
    if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
        return Number::Float(floats.value(row));
    }
    if let Some(decimals) = array.as_primitive_opt::<Decimal128Type>() {
        return Number::Units(decimals.value(row));
    }
    let integers = array.as_primitive_opt::<Int64Type>();
    Number::Units(integers.map_or(0, |integers| integers.value(row).into()))
}

/// The sum of a queue of floats without subtraction: sums of what is yet to leave are kept from its
/// end, those of what came since from its begin.
#[derive(Default)]
struct Floats {
    /// Sums up to the end of the older part, the oldest last.
    older: Vec<f64>,
    newer: Vec<f64>,
    newer_sum: f64,
}

impl Floats {
    fn is_empty(&self) -> bool {
        self.older.is_empty() && self.newer.is_empty()
    }

    fn push(&mut self, value: f64) {
        self.newer.push(value);
        self.newer_sum += value;
    }

    fn pop(&mut self) {
        if self.older.is_empty() {
            let mut sum = 0.0;
            let newer = self.newer.drain(..).rev();
            self.older.extend(newer.map(|value| {
                sum += value;
                sum
            }));
            self.newer_sum = 0.0;
        }
        self.older.pop();
    }

    fn sum(&self) -> f64 {
        self.older.last().copied().unwrap_or_default() + self.newer_sum
    }
}

/// The arrays that picked rows are in, and where: [`Value::OfRow`] as places.
#[derive(Default)]
pub(super) struct Picked {
    parts: Vec<Arc<Part>>,
    /// For each row the part and the row in it; part 0 is the NULL.
    pub(super) places: Vec<(usize, usize)>,
}

impl Picked {
    pub(super) fn push(&mut self, found: Option<(Arc<Part>, usize)>) {
        let Some((part, row)) = found else {
            self.places.push((0, 0));
            return;
        };
        let known = self
            .parts
            .iter()
            .rposition(|known| Arc::ptr_eq(known, &part));
        let index = known.unwrap_or_else(|| {
            self.parts.push(part);
            self.parts.len() - 1
        });
        self.places.push((index + 1, row));
    }

    /// Parts that are kept alive.
    pub(super) fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }
}
