//! What the functions of a grouping are called with, made of the few columns that they look at.
//!
//! Invariant: a value is the one that the engine's own expression gives.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Decimal128Array, RecordBatch};
use arrow::datatypes::{Decimal128Type, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};

/// What each function is called with.
pub(super) type Arguments = Vec<Vec<Argument>>;

/// One of these.
#[derive(Debug, Clone)]
pub(super) struct Argument {
    expr: Arc<dyn PhysicalExpr>,
    /// Two columns, where it is their product.
    product: Option<(usize, usize)>,
}

/// The columns that the functions look at, and their arguments over these.
pub(super) fn arguments(
    schema: &Schema,
    functions: &[Arc<AggregateFunctionExpr>],
) -> Option<(SchemaRef, Arguments)> {
    let arguments: Vec<_> = functions
        .iter()
        .map(|function| function.expressions())
        .collect();
    let columns = arguments.iter().flatten().flat_map(collect_columns);
    let mut columns: Vec<usize> = columns.map(|column| column.index()).collect();
    columns.sort_unstable();
    columns.dedup();
    let schema = Arc::new(schema.project(&columns).ok()?);
    let over = |arguments: Vec<Arc<dyn PhysicalExpr>>| {
        let arguments = arguments.into_iter();
        arguments
            .map(|argument| Some(Argument::of(reassign_expr_columns(argument, &schema).ok()?)))
            .collect::<Option<Vec<_>>>()
    };
    let arguments = arguments.into_iter().map(over).collect::<Option<_>>()?;
    Some((schema, arguments))
}

impl Argument {
    fn of(expr: Arc<dyn PhysicalExpr>) -> Self {
        let product = expr.downcast_ref::<BinaryExpr>().and_then(|binary| {
            let column =
                |side: &Arc<dyn PhysicalExpr>| Some(side.downcast_ref::<Column>()?.index());
            let both = column(binary.left()).zip(column(binary.right()));
            both.filter(|_| *binary.op() == Operator::Multiply)
        });
        Self { expr, product }
    }

    /// Its values for the rows of a batch.
    pub(super) fn values(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        if let Some((left, right)) = self.product
            && let Some(products) = products(batch.columns().get(left), batch.columns().get(right))
        {
            let kind = self.expr.data_type(batch.schema_ref())?;
            let products = Decimal128Array::from(products).with_data_type(kind);
            return Ok(Arc::new(products));
        }
        self.expr.evaluate(batch)?.into_array(batch.num_rows())
    }
}

/// Products of decimals as the model has them, of 64 bits: what is wider, or not there, is the engine's.
fn products(left: Option<&ArrayRef>, right: Option<&ArrayRef>) -> Option<Vec<i128>> {
    let decimals = |column: Option<&ArrayRef>| -> Option<Decimal128Array> {
        let column = column?.as_primitive_opt::<Decimal128Type>()?;
        (column.null_count() == 0).then(|| column.clone())
    };
    let (left, right) = (decimals(left)?, decimals(right)?);
    let mut narrow = true;
    let both = left.values().iter().zip(right.values());
    let products = both.map(|(&left, &right)| {
        let (a, b) = (left as i64, right as i64);
        narrow &= i128::from(a) == left && i128::from(b) == right;
        // No product of two numbers of 64 bits needs more than 128.
        i128::from(a).wrapping_mul(i128::from(b))
    });
    let products: Vec<i128> = products.collect();
    narrow.then_some(products)
}
