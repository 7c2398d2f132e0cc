//! `sum` that fails where a sum does not fit its type, in place of one that begins again at the other end.
//!
//! Invariant: the sum is exact, or there is an error that says what to write instead. Types that cannot
//! wrap (floats) or that no table has (spans of time) stay with the engine's own function.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, ArrowNativeTypeOp as _, AsArray as _, BooleanArray};
use arrow::array::{ArrowPrimitiveType, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::compute::{and, is_not_null, prep_null_mask_filter, sum_checked};
use arrow::datatypes::{
    ArrowNumericType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    FieldRef, Int64Type, UInt64Type,
};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_datafusion_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
    ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};

/// The function.
pub(super) fn checked_sum() -> AggregateUDF {
    AggregateUDF::from(CheckedSum(Sum::new()))
}

/// The engine's own, but for how it adds.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum(Sum);

/// Does something for the type of numbers that is summed; `None` of a type that is left to the engine.
macro_rules! of_type {
    ($kind:expr, $make:ident $(, $given:expr)*) => {
        match $kind {
            DataType::Int64 => Some($make::<Int64Type>($($given),*)),
            DataType::UInt64 => Some($make::<UInt64Type>($($given),*)),
            DataType::Decimal32(..) => Some($make::<Decimal32Type>($($given),*)),
            DataType::Decimal64(..) => Some($make::<Decimal64Type>($($given),*)),
            DataType::Decimal128(..) => Some($make::<Decimal128Type>($($given),*)),
            DataType::Decimal256(..) => Some($make::<Decimal256Type>($($given),*)),
            _ => None,
        }
    };
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.0.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let kind = args.return_type().clone();
        if !args.is_distinct {
            let made = of_type!(&kind, running, &kind);
            return made.map_or_else(|| self.0.accumulator(args), Ok);
        }
        let inner = self.0.accumulator(args)?;
        Ok(distinct(inner, &kind))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        let kind = args.return_type().clone();
        if !args.is_distinct {
            let made = of_type!(&kind, running, &kind);
            return made.map_or_else(|| self.0.create_sliding_accumulator(args), Ok);
        }
        let inner = self.0.create_sliding_accumulator(args)?;
        Ok(distinct(inner, &kind))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let kind = args.return_type().clone();
        let made = of_type!(&kind, groups, &kind);
        made.map_or_else(|| self.0.create_groups_accumulator(args), Ok)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.0.set_monotonicity(kind)
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.0.value_from_stats(args)
    }
}

#[cold]
fn overflow(kind: &DataType) -> DataFusionError {
    let widest = "DECIMAL(38, 0)";
    match kind {
        DataType::Int64 | DataType::UInt64 => exec_datafusion_err!(
            "Arithmetic overflow: a sum is beyond {kind}; write sum(CAST(... AS {widest}))"
        ),
        _ => exec_datafusion_err!(
            "Arithmetic overflow: a sum is beyond {kind}; sum fewer rows, or CAST(... AS DOUBLE)"
        ),
    }
}

fn add<T: ArrowPrimitiveType>(
    sum: T::Native,
    more: T::Native,
    kind: &DataType,
) -> Result<T::Native> {
    sum.add_checked(more).map_err(|_| overflow(kind))
}

/// Whether a decimal has more digits than its type says.
fn fits(value: &ScalarValue) -> bool {
    let within = |digits: u8, value: i128| {
        let bound = 10_i128.checked_pow(digits.into());
        bound.is_none_or(|bound| value.unsigned_abs() < bound.unsigned_abs())
    };
    match value {
        ScalarValue::Decimal32(Some(value), digits, _) => within(*digits, (*value).into()),
        ScalarValue::Decimal64(Some(value), digits, _) => within(*digits, (*value).into()),
        ScalarValue::Decimal128(Some(value), digits, _) => within(*digits, *value),
        _ => true,
    }
}

/// A sum without groups, from which rows may be taken away again.
struct Running<T: ArrowPrimitiveType> {
    sum: T::Native,
    rows: u64,
    kind: DataType,
}

fn running<T: ArrowNumericType>(kind: &DataType) -> Box<dyn Accumulator> {
    Box::new(Running::<T> {
        sum: T::default_value(),
        rows: 0,
        kind: kind.clone(),
    })
}

impl<T: ArrowPrimitiveType> fmt::Debug for Running<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({})", self.kind)
    }
}

/// The values that are summed, and how many there are.
fn sum_of<T: ArrowNumericType>(
    values: &[ArrayRef],
    kind: &DataType,
) -> Result<Option<(T::Native, u64)>> {
    let Some(values) = values.first().and_then(|v| v.as_primitive_opt::<T>()) else {
        return Err(wrong());
    };
    let sum = sum_checked(values).map_err(|_| overflow(kind))?;
    Ok(sum.map(|sum| (sum, (values.len() - values.null_count()) as u64)))
}

#[cold]
fn wrong() -> DataFusionError {
    DataFusionError::Internal("sum is called with other types than it was planned for".to_owned())
}

impl<T: ArrowNumericType> Accumulator for Running<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some((more, rows)) = sum_of::<T>(values, &self.kind)? {
            self.sum = add::<T>(self.sum, more, &self.kind)?;
            self.rows += rows;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some((less, rows)) = sum_of::<T>(values, &self.kind)? {
            let sum = self.sum.sub_checked(less);
            self.sum = sum.map_err(|_| overflow(&self.kind))?;
            self.rows = self.rows.saturating_sub(rows);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = (self.rows > 0).then_some(self.sum);
        let sum = ScalarValue::new_primitive::<T>(sum, &self.kind)?;
        match fits(&sum) {
            true => Ok(sum),
            false => Err(overflow(&self.kind)),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The engine's own of distinct values, whose sum is made of what it keeps.
#[derive(Debug)]
struct Distinct {
    inner: Box<dyn Accumulator>,
    kind: DataType,
}

fn distinct(inner: Box<dyn Accumulator>, kind: &DataType) -> Box<dyn Accumulator> {
    let kind = kind.clone();
    Box::new(Distinct { inner, kind })
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(mut sum) = of_type!(&self.kind, running, &self.kind) else {
            return self.inner.evaluate();
        };
        for kept in self.inner.state()? {
            if let ScalarValue::List(kept) = kept {
                sum.update_batch(&[Arc::clone(kept.values())])?;
            }
        }
        sum.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// A sum for each group.
struct Groups<T: ArrowPrimitiveType> {
    sums: Vec<T::Native>,
    /// Whether a group has any value.
    any: Vec<bool>,
    kind: DataType,
    of: PhantomData<T>,
}

fn groups<T: ArrowNumericType + Send>(kind: &DataType) -> Box<dyn GroupsAccumulator> {
    Box::new(Groups::<T> {
        sums: Vec::new(),
        any: Vec::new(),
        kind: kind.clone(),
        of: PhantomData,
    })
}

impl<T: ArrowNumericType> Groups<T> {
    fn take(&mut self, groups: impl Iterator<Item = (usize, T::Native)>) -> Result<()> {
        // The sum of a group stays at hand for as long as its rows come one after another.
        let (mut at, mut sum) = (usize::MAX, T::default_value());
        for (group, value) in groups {
            if group != at {
                self.put(at, sum);
                let (Some(begun), Some(any)) = (self.sums.get(group), self.any.get_mut(group))
                else {
                    return Err(wrong());
                };
                (at, sum, *any) = (group, *begun, true);
            }
            sum = sum.add_checked(value).map_err(|_| overflow(&self.kind))?;
        }
        self.put(at, sum);
        Ok(())
    }

    /// Keeps the sum of a group, if there is one.
    fn put(&mut self, group: usize, sum: T::Native) {
        if let Some(kept) = self.sums.get_mut(group) {
            *kept = sum;
        }
    }

    /// The sums of the first groups, taken.
    fn sums(&mut self, emit: EmitTo) -> PrimitiveArray<T> {
        let any: NullBuffer = emit.take_needed(&mut self.any).into();
        let any = (any.null_count() > 0).then_some(any);
        let sums = emit.take_needed(&mut self.sums);
        PrimitiveArray::<T>::new(sums.into(), any).with_data_type(self.kind.clone())
    }
}

impl<T: ArrowNumericType + Send> GroupsAccumulator for Groups<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sums.resize(total, T::default_value());
        self.any.resize(total, false);
        let Some(values) = values.first().and_then(|v| v.as_primitive_opt::<T>()) else {
            return Err(wrong());
        };
        let rows = groups.iter().copied().zip(values.values().iter().copied());
        if filter.is_none() && values.null_count() == 0 {
            return self.take(rows);
        }
        let counts = counted(values, filter)?;
        let rows = rows.zip(counts.values().iter());
        self.take(rows.filter(|(_, counts)| *counts).map(|(row, _)| row))
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.update_batch(values, groups, None, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = self.sums(emit);
        let kind = &self.kind;
        let beyond = match (sums.as_any().downcast_ref(), kind) {
            (Some(sums), DataType::Decimal128(digits, _)) => {
                PrimitiveArray::<Decimal128Type>::validate_decimal_precision(sums, *digits).is_err()
            }
            _ => false,
        };
        match beyond {
            true => Err(overflow(kind)),
            false => Ok(Arc::new(sums)),
        }
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(self.sums(emit))])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let Some(values) = values.first().and_then(|v| v.as_primitive_opt::<T>()) else {
            return Err(wrong());
        };
        let counts = counted(values, filter)?;
        let there = Some(NullBuffer::new(counts.values().clone()));
        let state = PrimitiveArray::<T>::new(values.values().clone(), there);
        Ok(vec![Arc::new(state.with_data_type(self.kind.clone()))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.any.capacity()
    }
}

/// Which values count: those that are there and that the filter lets pass.
fn counted(
    values: &dyn arrow::array::Array,
    filter: Option<&BooleanArray>,
) -> Result<BooleanArray> {
    let there = is_not_null(values)?;
    Ok(match filter {
        None => there,
        Some(filter) if filter.null_count() > 0 => and(&there, &prep_null_mask_filter(filter))?,
        Some(filter) => and(&there, filter)?,
    })
}
