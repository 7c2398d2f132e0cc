//! Rows of the history as a table; of orders one that remembers, down to the physical plan, which rows are
//! read: so that [`super::past_groups`] and [`super::past_picked`] can read them another way.
//!
//! Invariant: the rows are those of the table below, and a plan says truly which filters they have
//! passed: what is added later by anybody marks it as one that cannot be read otherwise.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::datasource::TableType;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::TableProviderFilterPushDown;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use datafusion::prelude::Expr;

use super::past_picked::PastPicked;
use super::picked::Test;
use crate::history::History;

/// The table.
pub(super) struct PastTable {
    rows: Arc<dyn TableProvider>,
    history: Option<Arc<History>>,
}

impl PastTable {
    /// With a history `rows` are the orders of it.
    pub(super) fn new(rows: Arc<dyn TableProvider>, history: Option<Arc<History>>) -> Self {
        Self { rows, history }
    }
}

impl fmt::Debug for PastTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastTable").finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for PastTable {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        self.rows.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Of a filter without a column of the files the table below says that it decides about it, and
        // keeps what it is NULL for: only what is never NULL is left to it.
        let said = self.rows.supports_filters_pushdown(filters)?.into_iter();
        let careful = said.zip(filters).map(|(said, filter)| match said {
            TableProviderFilterPushDown::Exact if Test::of(filter).is_none() => {
                TableProviderFilterPushDown::Inexact
            }
            said => said,
        });
        Ok(careful.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows.scan(state, projection, filters, limit).await?;
        let Some(history) = &self.history else {
            return Ok(rows);
        };
        let tests: Option<Vec<Test>> = filters.iter().map(Test::of).collect();
        let tests = tests.filter(|_| limit.is_none());
        Ok(Arc::new(PastRows {
            rows,
            history: Arc::clone(history),
            tests: tests.map(Arc::from),
        }))
    }
}

/// Rows of the history, as the table below reads them.
#[derive(Clone)]
pub(super) struct PastRows {
    rows: Arc<dyn ExecutionPlan>,
    history: Arc<History>,
    /// Which rows; `None`: it cannot be said in tests.
    tests: Option<Arc<[Test]>>,
}

impl PastRows {
    /// Where the rows are, and which they are, if that can be said.
    pub(super) fn told(&self) -> Option<(&History, &Arc<[Test]>)> {
        Some((&self.history, self.tests.as_ref()?))
    }

    /// The tests of rows that pass more filters, if those can be said in tests.
    fn with_tests(&self, filters: &[Arc<dyn PhysicalExpr>]) -> Option<Arc<[Test]>> {
        let mut tests = self.tests.as_ref()?.to_vec();
        for filter in filters.iter().flat_map(split_conjunction) {
            let test = Test::of_running(filter)?;
            if !tests.contains(&test) {
                tests.push(test);
            }
        }
        Some(tests.into())
    }

    /// The plan with the tables below in the place of all that tell of them, or a reading of ours where
    /// few rows are wanted.
    pub(super) fn untold(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let plain = plan.transform_down(|node| {
            let told = node.downcast_ref::<Self>();
            let rows =
                told.map(|told| PastPicked::of(told).unwrap_or_else(|| Arc::clone(&told.rows)));
            Ok(match rows {
                Some(rows) => Transformed::new(rows, true, TreeNodeRecursion::Jump),
                None => Transformed::no(node),
            })
        });
        Ok(plain?.data)
    }
}

impl fmt::Debug for PastRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastRows")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl DisplayAs for PastRows {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PastRows: tests={:?}", self.tests)
    }
}

impl ExecutionPlan for PastRows {
    fn name(&self) -> &str {
        "PastRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.rows.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.rows]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([rows]) => Ok(Arc::new(Self {
                rows,
                ..Self::clone(&self)
            })),
            Err(children) => internal_err!("{} children, not one", children.len()),
        }
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        config: &ConfigOptions,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let rows = self.rows.repartitioned(target_partitions, config)?;
        Ok(rows.map(|rows| {
            Arc::new(Self {
                rows,
                ..self.clone()
            }) as _
        }))
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.rows.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let only = inputs.first().map(Arc::clone);
        only.ok_or_else(|| DataFusionError::Internal("statistics of nothing".to_owned()))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let more = result.parent_filters.iter();
        let more: Vec<_> = more.map(|filter| Arc::clone(&filter.filter)).collect();
        let mut told: FilterPushdownPropagation<Arc<dyn ExecutionPlan>> =
            FilterPushdownPropagation::if_all(result);
        if !more.is_empty() && told.updated_node.is_none() {
            told.updated_node = Some(Arc::new(Self {
                tests: self.with_tests(&more),
                ..self.clone()
            }));
        }
        Ok(told)
    }
}
