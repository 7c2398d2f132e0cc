//! SQL functions of our own: `measure`, `threshold`, `severity` and `kdb_timespan`.
//!
//! Invariant: they are pure, and say NULL for what is not there.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Decimal128Builder, Int32Array, StringArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use datafusion::common::cast::{as_list_array, as_string_array, as_struct_array};
use datafusion::common::{DataFusionError, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tapewatch_model::{Severity, TimeSpan};

use crate::schema::MEASURED;

/// All of them.
pub(crate) fn all() -> [ScalarUDF; 4] {
    [
        ScalarUDF::from(MeasureField::new("measure", "value")),
        ScalarUDF::from(MeasureField::new("threshold", "threshold")),
        ScalarUDF::from(SeverityOf {
            signature: Signature::any(1, Volatility::Immutable),
        }),
        ScalarUDF::from(KdbTimespan {
            signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable),
        }),
    ]
}

/// `measure(measures, 'name')` and `threshold(measures, 'name')`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MeasureField {
    name: &'static str,
    field: &'static str,
    signature: Signature,
}

impl MeasureField {
    fn new(name: &'static str, field: &'static str) -> Self {
        Self {
            name,
            field,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for MeasureField {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        match arguments {
            [DataType::List(element), DataType::Utf8]
                if matches!(element.data_type(), DataType::Struct(_)) =>
            {
                Ok(MEASURED)
            }
            _ => plan_err!(
                "{}(measures, 'name') takes the column measures and a text",
                self.name
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [lists, names] = arrays.as_slice() else {
            return exec_err!("{} takes two arguments", self.name);
        };
        let (lists, wanted) = (as_list_array(lists)?, as_string_array(names)?);
        let elements = as_struct_array(lists.values())?;
        let (Some(names), Some(values)) = (
            elements.column_by_name("name"),
            elements.column_by_name(self.field),
        ) else {
            return exec_err!("{} takes the column measures", self.name);
        };
        let names = as_string_array(names)?;
        let Some(values) = values.as_primitive_opt::<Decimal128Type>() else {
            return exec_err!("{} takes the column measures", self.name);
        };
        let mut out = Decimal128Builder::with_capacity(lists.len()).with_data_type(MEASURED);
        let offsets = lists.value_offsets();
        for (row, range) in offsets.windows(2).enumerate() {
            let found = match range {
                &[from, to] if lists.is_valid(row) && wanted.is_valid(row) => {
                    (from as usize..to as usize).find(|&at| names.value(at) == wanted.value(row))
                }
                _ => None,
            };
            out.append_option(
                found
                    .filter(|&at| values.is_valid(at))
                    .map(|at| values.value(at)),
            );
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

/// `severity(measures)`: 0 to 100.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SeverityOf {
    signature: Signature,
}

impl ScalarUDFImpl for SeverityOf {
    fn name(&self) -> &'static str {
        "severity"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        match arguments {
            [DataType::List(element)] if matches!(element.data_type(), DataType::Struct(_)) => {
                Ok(DataType::Int32)
            }
            _ => plan_err!("severity(measures) takes the column measures"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [lists] = arrays.as_slice() else {
            return exec_err!("severity takes one argument");
        };
        let lists = as_list_array(lists)?;
        let elements = as_struct_array(lists.values())?;
        let decimals = |name| {
            let column = elements.column_by_name(name)?;
            column.as_primitive_opt::<Decimal128Type>()
        };
        let (Some(values), Some(thresholds)) = (decimals("value"), decimals("threshold")) else {
            return exec_err!("severity takes the column measures");
        };
        let of = |row: usize, range: &[i32]| match range {
            &[from, to] if lists.is_valid(row) => {
                let measures = from as usize..to as usize;
                let measures = measures.map(|at| (values.value(at), thresholds.value(at)));
                Some(i32::from(Severity::of(measures).score()))
            }
            _ => None,
        };
        let ranges = lists.value_offsets().windows(2).enumerate();
        let scores: Int32Array = ranges.map(|(row, range)| of(row, range)).collect();
        Ok(ColumnarValue::Array(Arc::new(scores)))
    }
}

/// `kdb_timespan(nanoseconds)`: `0D00:00:25.000000000`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct KdbTimespan {
    signature: Signature,
}

impl ScalarUDFImpl for KdbTimespan {
    fn name(&self) -> &'static str {
        "kdb_timespan"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let spans = arrays
            .first()
            .and_then(|array| array.as_primitive_opt::<Int64Type>());
        let Some(spans) = spans else {
            return exec_err!("kdb_timespan takes nanoseconds as a BIGINT");
        };
        let text: StringArray = spans
            .iter()
            .map(|nanos| nanos.map(|nanos| TimeSpan::from_nanos(nanos).kdb()))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(text) as ArrayRef))
    }
}
