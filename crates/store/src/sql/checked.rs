//! `+`, `-` and `*` of whole numbers that fail where the result does not fit, in place of those of the
//! engine, which begin again at the other end.
//!
//! Invariant: the types and names of a plan stay. Decimals, floats and times stay with the engine, which
//! checks the first and the last of them itself.

use std::sync::Arc;

use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, exec_datafusion_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable as _, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

/// The functions.
pub(super) fn functions() -> [Arc<ScalarUDF>; 3] {
    [
        ("checked_add", Operator::Plus),
        ("checked_subtract", Operator::Minus),
        ("checked_multiply", Operator::Multiply),
    ]
    .map(|(name, operator)| {
        Arc::new(ScalarUDF::from(Checked {
            name,
            operator,
            signature: Signature::user_defined(Volatility::Immutable),
        }))
    })
}

/// Puts the functions in the place of the operators.
#[derive(Debug)]
pub(super) struct CheckWholeNumbers([Arc<ScalarUDF>; 3]);

impl CheckWholeNumbers {
    pub(super) fn new() -> Self {
        Self(functions())
    }
}

impl FunctionRewrite for CheckWholeNumbers {
    fn name(&self) -> &str {
        "check_whole_numbers"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
            return Ok(Transformed::no(expr));
        };
        // A parameter or a column of a query around this one has no type here.
        let whole = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_integer());
        let [plus, minus, times] = &self.0;
        let function = match op {
            Operator::Plus => plus,
            Operator::Minus => minus,
            Operator::Multiply => times,
            _ => {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
                    left,
                    op,
                    right,
                })));
            }
        };
        if !whole(&left) || !whole(&right) {
            return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
                left,
                op,
                right,
            })));
        }
        let call = ScalarFunction::new_udf(Arc::clone(function), vec![*left, *right]);
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    }
}

/// An operator as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    name: &'static str,
    operator: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = kinds else {
            return Err(exec_datafusion_err!("{} takes two numbers", self.name));
        };
        let (left, right) =
            BinaryTypeCoercer::new(left, &self.operator, right).get_input_types()?;
        Ok(vec![left, right])
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        let [left, right] = kinds else {
            return Err(exec_datafusion_err!("{} takes two numbers", self.name));
        };
        BinaryTypeCoercer::new(left, &self.operator, right).get_result_type()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(exec_datafusion_err!("{} takes two numbers", self.name));
        };
        let operate = match self.operator {
            Operator::Plus => add,
            Operator::Minus => sub,
            _ => mul,
        };
        let kind = args.return_type();
        apply(left, right, operate).map_err(|error| {
            exec_datafusion_err!(
                "Arithmetic overflow: a result of {} is beyond {kind} ({error}); CAST one side AS DECIMAL(38, 0)",
                self.operator
            )
        })
    }
}
