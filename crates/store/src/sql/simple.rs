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
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::recent_orders::RecentOrdersTable;
use super::recent_scan::Scan;

/// Comparisons of a filter; with more it is planned by all rules.
const PARTS_MAX: usize = 16;

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
        LogicalPlan::Filter(filter) => compares(&filter.predicate) && is_simple(&filter.input),
        LogicalPlan::SubqueryAlias(named) => is_simple(&named.input),
        LogicalPlan::TableScan(scan) => source_as_provider(&scan.source)
            .is_ok_and(|table| scan.fetch.is_none() && table.is::<RecentOrdersTable>()),
        _ => false,
    }
}

/// Whether it compares columns with what may be a value: what today's orders may decide themselves.
fn compares(predicate: &Expr) -> bool {
    let is_value = |expr: &Expr| match expr {
        Expr::Cast(cast) => matches!(*cast.expr, Expr::Literal(..)),
        expr => matches!(expr, Expr::Literal(..)),
    };
    let parts = split_conjunction(predicate);
    let fits = |part: &&Expr| match part {
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => {
            matches!(**left, Expr::Column(_)) && is_value(right)
        }
        Expr::Between(between) => is_value(&between.low) && is_value(&between.high),
        Expr::InList(among) => among.list.iter().all(is_value),
        _ => false,
    };
    parts.len() <= PARTS_MAX && parts.iter().all(fits)
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
