//! Plans for columns of some of today's orders, which is what most queries of a page or a program are:
//! with the few rules that can change such a plan, in place of all of them.
//!
//! Invariant: the rows are those that a plan by all rules gives. What is not of this kind, or reads so
//! much that several threads should share it, is left to the engine.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::recent_orders::RecentOrdersTable;
use super::recent_scan::Scan;

/// What plans such queries.
pub(super) struct Simple {
    optimizer: Optimizer,
    /// A session without rules for physical plans.
    plain: SessionState,
}

impl Simple {
    pub(super) fn of(state: SessionState) -> Self {
        let plain = SessionStateBuilder::new_from_existing(state);
        Self {
            optimizer: Optimizer::with_rules(vec![
                Arc::new(SimplifyExpressions::new()),
                Arc::new(PushDownFilter::new()),
                Arc::new(OptimizeProjections::new()),
            ]),
            plain: plain.with_physical_optimizer_rules(Vec::new()).build(),
        }
    }

    /// The plan as it runs; `None` when it is not of this kind.
    pub(super) async fn plan(
        &self,
        session: &SessionState,
        plan: &LogicalPlan,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if !is_simple(plan) {
            return Ok(None);
        }
        let analyzer = session.analyzer();
        let plan = analyzer.execute_and_check(plan.clone(), session.config_options(), |_, _| {})?;
        let plan = self.optimizer.optimize(plan, session, |_, _| {})?;
        let planner = self.plain.query_planner();
        let plan = planner.create_physical_plan(&plan, &self.plain).await?;
        Ok(is_small(&plan).then_some(plan))
    }
}

/// Whether it gives columns of today's orders where these are as a filter wants them.
fn is_simple(plan: &LogicalPlan) -> bool {
    let is_column = |expr: &Expr| match expr {
        Expr::Alias(alias) => matches!(*alias.expr, Expr::Column(_)),
        expr => matches!(expr, Expr::Column(_)),
    };
    match plan {
        LogicalPlan::Projection(columns) => {
            columns.expr.iter().all(is_column) && is_simple(&columns.input)
        }
        LogicalPlan::Filter(filter) => !has_subquery(&filter.predicate) && is_simple(&filter.input),
        LogicalPlan::SubqueryAlias(named) => is_simple(&named.input),
        LogicalPlan::TableScan(scan) => source_as_provider(&scan.source)
            .is_ok_and(|table| scan.fetch.is_none() && table.is::<RecentOrdersTable>()),
        _ => false,
    }
}

fn has_subquery(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode as _;
    let is_query = |part: &Expr| {
        Ok(matches!(
            part,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        ))
    };
    expr.exists(is_query).unwrap_or(true)
}

/// Whether all it reads are few of today's orders, and its filters are decided by their table.
fn is_small(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(columns) = plan.downcast_ref::<ProjectionExec>() {
        return is_small(columns.input());
    }
    let source = plan.downcast_ref::<DataSourceExec>();
    let scan = source.and_then(|source| source.data_source().downcast_ref::<Scan>());
    scan.is_some_and(Scan::is_small)
}
