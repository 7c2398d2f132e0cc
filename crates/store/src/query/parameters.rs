//! Values for `$1`, `$2`, … of a statement.
//!
//! Invariant: a value is taken exactly or refused by its number; a bare value has the type that the
//! statement gives its place, else the plainest that holds it.

use std::str::FromStr as _;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use serde_json::Value;

use crate::sql::SqlError;

/// Most digits of a decimal.
const DIGITS_MAX: usize = 38;

/// A value for a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// As it was written, to be read as the type of its place.
    Bare(Bare),
    /// Of a type that was said.
    Typed(ScalarValue),
}

#[derive(Debug, Clone, PartialEq)]
enum Bare {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
}

impl Parameter {
    /// A value as JSON says it: `null`, `true`, a number or a text is read as the type of its place in
    /// the statement; `{"type": "TIMESTAMP", "value": "2015-04-17T12:00:00Z"}` says the type: `BIGINT`,
    /// `DOUBLE`, `DECIMAL(p,s)`, `TEXT`, `BOOLEAN`, `DATE`, `TIMESTAMP` (UTC), or Arrow's own name.
    ///
    /// # Errors
    /// [`SqlError::Request`] says what is wrong with it.
    pub fn from_json(value: &Value) -> Result<Self, SqlError> {
        let refuse = |message: String| Err(SqlError::Request { message });
        let Value::Object(map) = value else {
            return match bare(value) {
                Some(bare) => Ok(Self(Kind::Bare(bare))),
                None => refuse(format!("a parameter is a value, not {value}")),
            };
        };
        let (Some(Value::String(name)), Some(value), 2) =
            (map.get("type"), map.get("value"), map.len())
        else {
            return refuse(format!(
                "a parameter with a type is {{\"type\": …, \"value\": …}}, not {value}"
            ));
        };
        let Some(kind) = kind_of(name) else {
            return refuse(format!(
                "no type {name}: use BIGINT, DOUBLE, DECIMAL(p,s), TEXT, BOOLEAN, DATE or TIMESTAMP"
            ));
        };
        let read = bare(value).ok_or_else(|| format!("{value} is not a value"));
        match read.and_then(|bare| bare.read_as(&kind)) {
            Ok(value) => Ok(Self(Kind::Typed(value))),
            Err(message) => refuse(format!("a parameter: {message}")),
        }
    }

    /// A text, to be read as the type of its place: what is said without a type.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self(Kind::Bare(Bare::Text(text.to_owned())))
    }

    /// NULL of the type of its place.
    #[must_use]
    pub fn null() -> Self {
        Self(Kind::Bare(Bare::Null))
    }

    /// A value of its own type.
    pub(crate) fn value(value: ScalarValue) -> Self {
        Self(Kind::Typed(value))
    }

    /// A decimal with as many digits as it is written with; `None` when it is not one, or too long.
    pub(crate) fn decimal(text: &str) -> Option<ScalarValue> {
        exact(text)
    }

    fn scalar(&self, wanted: Option<&DataType>) -> Result<ScalarValue, String> {
        match (&self.0, wanted) {
            (Kind::Typed(value), _) => Ok(value.clone()),
            (Kind::Bare(bare), Some(wanted)) => bare.read_as(wanted),
            (Kind::Bare(bare), None) => bare.plain(),
        }
    }
}

fn bare(value: &Value) -> Option<Bare> {
    Some(match value {
        Value::Null => Bare::Null,
        Value::Bool(value) => Bare::Bool(*value),
        Value::Number(number) => Bare::Number(number.to_string()),
        Value::String(text) => Bare::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => return None,
    })
}

impl Bare {
    fn read_as(&self, kind: &DataType) -> Result<ScalarValue, String> {
        let text = match self {
            Self::Null => return ScalarValue::try_from(kind).map_err(|error| error.to_string()),
            Self::Bool(value) => value.to_string(),
            Self::Number(text) | Self::Text(text) => text.clone(),
        };
        let wrong = || format!("{text:?} cannot be read as {kind}");
        if let DataType::List(element) = kind {
            // A cast would make a list of one of it.
            let parts = crate::postgres::elements(&text).ok_or_else(wrong)?;
            let values = parts.into_iter().map(|part| {
                let part = part.map_or(Self::Null, Self::Text);
                part.read_as(element.data_type())
            });
            let values: Vec<_> = values.collect::<Result<_, _>>()?;
            let list = ScalarValue::new_list(&values, element.data_type(), true);
            return Ok(ScalarValue::List(list));
        }
        if kind.is_decimal() {
            // A cast would round.
            return exact(&text).ok_or_else(wrong);
        }
        let text = ScalarValue::Utf8(Some(text.clone()));
        text.cast_to(kind).map_err(|_| wrong())
    }

    fn plain(&self) -> Result<ScalarValue, String> {
        Ok(match self {
            Self::Null => ScalarValue::Null,
            Self::Bool(value) => ScalarValue::Boolean(Some(*value)),
            Self::Text(text) => ScalarValue::Utf8(Some(text.clone())),
            Self::Number(text) => match (text.parse(), exact(text), text.parse()) {
                (Ok(whole), _, _) => ScalarValue::Int64(Some(whole)),
                (_, Some(decimal), _) => decimal,
                (_, _, Ok(float)) => ScalarValue::Float64(Some(float)),
                _ => return Err(format!("{text} is not a number")),
            },
        })
    }
}

/// A decimal with as many digits as it is written with.
fn exact(text: &str) -> Option<ScalarValue> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = whole.len() + fraction.len();
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=DIGITS_MAX).contains(&digits) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let value = if text.starts_with('-') { -value } else { value };
    let (precision, scale) = (
        u8::try_from(digits).ok()?,
        i8::try_from(fraction.len()).ok()?,
    );
    Some(ScalarValue::Decimal128(Some(value), precision, scale))
}

/// The type of that name, of SQL or of Arrow.
fn kind_of(name: &str) -> Option<DataType> {
    use arrow::datatypes::TimeUnit::Nanosecond;
    let upper = name.to_ascii_uppercase();
    Some(match upper.as_str() {
        "BIGINT" => DataType::Int64,
        "INT" | "INTEGER" => DataType::Int32,
        "DOUBLE" => DataType::Float64,
        "TEXT" | "VARCHAR" => DataType::Utf8,
        "BOOLEAN" => DataType::Boolean,
        "DATE" => DataType::Date32,
        "TIMESTAMP" => DataType::Timestamp(Nanosecond, Some("UTC".into())),
        _ => {
            let sizes = upper
                .strip_prefix("DECIMAL(")
                .and_then(|rest| rest.strip_suffix(')'));
            match sizes.and_then(|sizes| sizes.split_once(',')) {
                Some((p, s)) => {
                    DataType::Decimal128(p.trim().parse().ok()?, s.trim().parse().ok()?)
                }
                None => DataType::from_str(name).ok()?,
            }
        }
    })
}

/// The types that a statement gives its parameters, `$1` first; `None` where it says none.
///
/// # Errors
/// [`SqlError::Request`] when they are not named `$1`, `$2`, … without a gap.
pub(super) fn types(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, SqlError> {
    let refuse = |message: String| SqlError::Request { message };
    let named = plan.get_parameter_types();
    let named = named.map_err(|error| refuse(error.strip_backtrace()))?;
    let mut types = vec![None; named.len()];
    for (name, kind) in named {
        let number = name
            .strip_prefix('$')
            .and_then(|number| number.parse::<usize>().ok());
        let place = number.and_then(|number| types.get_mut(number.checked_sub(1)?));
        let place = place.ok_or_else(|| {
            refuse(format!(
                "parameter {name}: write $1, $2, … without leaving one out"
            ))
        })?;
        *place = kind;
    }
    Ok(types)
}

/// The statement with its values.
pub(super) fn bind(plan: LogicalPlan, parameters: &[Parameter]) -> Result<LogicalPlan, SqlError> {
    let refuse = |message: String| SqlError::Request { message };
    let types = types(&plan)?;
    if types.len() != parameters.len() {
        return Err(refuse(format!(
            "the statement has {} parameters, {} values came",
            types.len(),
            parameters.len()
        )));
    }
    if types.is_empty() {
        return Ok(plan);
    }
    let mut values = Vec::with_capacity(types.len());
    for (number, (parameter, kind)) in (1..).zip(parameters.iter().zip(&types)) {
        let value = parameter.scalar(kind.as_ref());
        values.push(value.map_err(|why| refuse(format!("parameter ${number}: {why}")))?);
    }
    let bound = plan.with_param_values(values);
    bound.map_err(|error| refuse(error.strip_backtrace()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_exact_or_refused() {
        let decimal = DataType::Decimal128(19, 9);
        let read = |value: Value, kind: Option<&DataType>| {
            Parameter::from_json(&value).unwrap().scalar(kind)
        };
        let exactly =
            |value, precision, scale| Ok(ScalarValue::Decimal128(Some(value), precision, scale));
        assert_eq!(read(json!(72.25), Some(&decimal)), exactly(7225, 4, 2));
        assert_eq!(
            read(json!("-0.1234567891"), Some(&decimal)),
            exactly(-1_234_567_891, 11, 10)
        );
        assert_eq!(read(json!(0.1), None), exactly(1, 2, 1));
        assert_eq!(read(json!(7), None), Ok(ScalarValue::Int64(Some(7))));
        assert_eq!(
            read(json!(1e300), None),
            Ok(ScalarValue::Float64(Some(1e300)))
        );
        assert_eq!(
            read(json!(null), Some(&DataType::Int64)),
            Ok(ScalarValue::Int64(None))
        );
        for (value, kind) in [
            (json!("x"), &decimal),
            (json!(1.5), &DataType::Int64),
            (json!("2015-13-01"), &DataType::Date32),
            (json!("a"), &DataType::new_list(DataType::Utf8, true)),
            (json!("{1,x}"), &DataType::new_list(DataType::Int64, true)),
        ] {
            let why = read(value, Some(kind)).unwrap_err();
            assert!(why.contains("cannot be read as"), "{why}");
        }
        let typed = |name: &str| Parameter::from_json(&json!({"type": name, "value": "5"}));
        assert_eq!(
            typed("bigint").unwrap(),
            Parameter::value(ScalarValue::Int64(Some(5)))
        );
        assert!(
            typed("colour")
                .unwrap_err()
                .to_string()
                .contains("no type colour")
        );
    }
}
