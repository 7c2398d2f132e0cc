//! Functions that Postgres clients call when they look around, beside those of datafusion-pg-catalog.
//!
//! Invariant: an answer is a setting of the session's start, or what is true of every server that only
//! reads and has no comments, indexes or functions of its own.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use datafusion::prelude::SessionContext;

use crate::postgres;

/// What is NULL: there are no comments, definitions or addresses to tell.
const NOTHING: [&str; 15] = [
    "col_description",
    "inet_client_addr",
    "inet_server_addr",
    "obj_description",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_ruledef",
    "pg_get_serial_sequence",
    "pg_get_triggerdef",
    "pg_get_viewdef",
    "pg_tablespace_location",
    "shobj_description",
];
/// What is true.
const TRUE: [&str; 4] = [
    "has_function_privilege",
    "pg_function_is_visible",
    "pg_operator_is_visible",
    "pg_type_is_visible",
];

/// Makes them known.
pub(super) fn register(context: &SessionContext) {
    let constant = |name: &'static str, value: ScalarValue| {
        let signature = Signature::one_of(
            vec![TypeSignature::VariadicAny, TypeSignature::Nullary],
            Volatility::Immutable,
        );
        context.register_udf(ScalarUDF::from(Constant {
            name,
            value,
            signature,
        }));
    };
    for name in NOTHING {
        constant(name, ScalarValue::Utf8(None));
    }
    for name in TRUE {
        constant(name, ScalarValue::Boolean(Some(true)));
    }
    constant("pg_is_in_recovery", ScalarValue::Boolean(Some(false)));
    constant("version", ScalarValue::Utf8(Some(postgres::version())));
    let signature = Signature::variadic_any(Volatility::Stable);
    context.register_udf(ScalarUDF::from(CurrentSetting { signature }));
}

/// A function that says the same whatever it is asked.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// `current_setting('name' [, missing_ok])`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentSetting {
    signature: Signature,
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &'static str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let (name, missing) = match args.args.as_slice() {
            [name] => (name, false),
            [name, missing] => {
                let missing = matches!(
                    missing,
                    ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))
                );
                (name, missing)
            }
            _ => return exec_err!("current_setting takes a name, and whether it may be missing"),
        };
        let of = |name: &str| match postgres::setting(name) {
            Some(value) => Ok(Some(value.to_owned())),
            None if missing => Ok(None),
            None => Err(exec_datafusion_err!("there is no setting {name}")),
        };
        if let ColumnarValue::Scalar(name) = name {
            let value = match name.try_as_str() {
                Some(Some(name)) => of(name)?,
                _ => None,
            };
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(value)));
        }
        let names = arrow::compute::cast(&name.to_array(rows)?, &DataType::Utf8)?;
        let values = names.as_string::<i32>().iter();
        let values = values.map(|name| name.map_or(Ok(None), of));
        let values: StringArray = values.collect::<Result<Vec<_>>>()?.into_iter().collect();
        Ok(ColumnarValue::Array(Arc::new(values) as ArrayRef))
    }
}
