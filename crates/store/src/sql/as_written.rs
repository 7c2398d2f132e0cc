//! Numbers that a query compares with decimals: taken as they are written.
//!
//! Invariant: 143.33 is the price 143.33. The engine would make a binary fraction of it and compare
//! that with all its digits, which no price has.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable as _, Operator};

/// Digits of a decimal.
const DIGITS_MAX: usize = 38;

/// Puts decimals in the place of such numbers.
#[derive(Debug)]
pub(super) struct NumbersAsWritten;

impl FunctionRewrite for NumbersAsWritten {
    fn name(&self) -> &str {
        "numbers_as_written"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let is_decimal = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_decimal());
        let boxed = |side: Box<Expr>| Box::new(as_written(*side));
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
                let (left, right) = match (is_decimal(&left), is_decimal(&right)) {
                    (true, false) => (left, boxed(right)),
                    (false, true) => (boxed(left), right),
                    _ => (left, right),
                };
                Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
            }
            Expr::Between(between) if is_decimal(&between.expr) => {
                Transformed::yes(Expr::Between(Between {
                    low: boxed(between.low),
                    high: boxed(between.high),
                    ..between
                }))
            }
            Expr::InList(among) if is_decimal(&among.expr) => {
                Transformed::yes(Expr::InList(InList {
                    list: among.list.into_iter().map(as_written).collect(),
                    ..among
                }))
            }
            other => Transformed::no(other),
        })
    }
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// The decimal that a number was written as; anything else as it is.
fn as_written(expr: Expr) -> Expr {
    let decimal = match &expr {
        Expr::Literal(ScalarValue::Float64(Some(number)), _) => decimal(*number),
        _ => None,
    };
    decimal.map_or(expr, |decimal| Expr::Literal(decimal, None))
}

/// The shortest decimal that is read as this number; `None` where it has too many digits.
fn decimal(number: f64) -> Option<ScalarValue> {
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{fraction}");
    let units: i128 = digits.parse().ok()?;
    let count = units.unsigned_abs().to_string().len().max(fraction.len());
    if count > DIGITS_MAX {
        return None;
    }
    let (digits, scale) = (
        u8::try_from(count).ok()?,
        i8::try_from(fraction.len()).ok()?,
    );
    Some(ScalarValue::Decimal128(Some(units), digits, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_decimal_that_was_written() {
        let of = |units, digits, scale| Some(ScalarValue::Decimal128(Some(units), digits, scale));
        assert_eq!(decimal(143.33), of(14_333, 5, 2));
        assert_eq!(decimal(-8.2), of(-82, 2, 1));
        assert_eq!(decimal(0.000_5), of(5, 4, 4));
        assert_eq!(decimal(-0.25), of(-25, 2, 2));
        assert_eq!(decimal(1e20), of(100_000_000_000_000_000_000, 21, 0));
        assert_eq!(decimal(0.0), of(0, 1, 0));
        for none in [f64::NAN, f64::INFINITY, 1e300, 1e-300] {
            assert_eq!(decimal(none), None);
        }
    }
}
