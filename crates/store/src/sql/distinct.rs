//! Distinct values counted by a grouping of their own: the engine's rule, where it keeps the types.
//!
//! Invariant: no plan changes the types of its columns. The rule makes a sum of sums, and a sum of decimals
//! has more digits than what it adds up: what was planned over the first would not fit the second.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};

/// The engine's own rules with this one in place of the one that it holds back.
pub(super) fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let held = SingleDistinctToGroupBy::new();
    let rules = Optimizer::new().rules.into_iter();
    rules
        .map(|rule| match rule.name() == held.name() {
            true => Arc::new(Distinct::default()),
            false => rule,
        })
        .collect()
}

#[derive(Debug, Default)]
struct Distinct(SingleDistinctToGroupBy);

impl OptimizerRule for Distinct {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Aggregate(groups) if sums_decimals(groups) => Ok(Transformed::no(plan)),
            _ => self.0.rewrite(plan, config),
        }
    }
}

fn sums_decimals(groups: &Aggregate) -> bool {
    let is_sum = |expr: &Expr| match expr.clone().unalias() {
        Expr::AggregateFunction(function) => function.func.name() == "sum",
        _ => false,
    };
    // Its columns are the groups', then the aggregates'.
    let fields = groups.schema.fields().iter().rev();
    let aggregates = groups.aggr_expr.iter().rev().zip(fields);
    aggregates
        .filter(|(_, field)| {
            matches!(
                field.data_type(),
                DataType::Decimal128(..) | DataType::Decimal256(..)
            )
        })
        .any(|(expr, _)| is_sum(expr))
}
