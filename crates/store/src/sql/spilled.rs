//! Today's older orders as a table: those on the local disk.
//!
//! Invariant: the rows are those of the table on disk; when they cannot be read, the error names the
//! file that is to blame, if one is damaged.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::datasource::TableType;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::TableProviderFilterPushDown;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion::prelude::{DataFrame, Expr};
use futures::TryStreamExt as _;

use super::as_of::planned;
use crate::schema::Table;
use crate::spill::Spilled;

/// The table.
pub(super) struct SpilledTable {
    spilled: Arc<Spilled>,
    rows: DataFrame,
}

impl SpilledTable {
    /// All rows, with the columns that the table has in SQL.
    pub(super) fn new(spilled: Arc<Spilled>, rows: DataFrame) -> Self {
        Self { spilled, rows }
    }
}

impl fmt::Debug for SpilledTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpilledTable").finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for SpilledTable {
    fn schema(&self) -> SchemaRef {
        Table::Orders.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match planned(self.rows.clone(), projection, filters, limit).await {
            Ok(rows) => Ok(Arc::new(Named {
                rows,
                spilled: Arc::clone(&self.spilled),
            })),
            Err(error) => Err(named(error, &self.spilled).await),
        }
    }
}

/// The error, and which file is to blame.
async fn named(error: DataFusionError, spilled: &Spilled) -> DataFusionError {
    match spilled.damage().await {
        Some(damage) => DataFusionError::Execution(format!(
            "{damage}; a restart makes it again from the journal ({})",
            error.strip_backtrace()
        )),
        None => error,
    }
}

/// Reads the rows, and says which file is to blame where it cannot.
struct Named {
    rows: Arc<dyn ExecutionPlan>,
    spilled: Arc<Spilled>,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("rows", &self.rows).finish()
    }
}

impl DisplayAs for Named {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpilledOrders: files={}", self.spilled.files.len())
    }
}

impl ExecutionPlan for Named {
    fn name(&self) -> &str {
        "SpilledOrders"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.rows.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
                spilled: Arc::clone(&self.spilled),
            })),
            Err(children) => internal_err!("{} children, not one", children.len()),
        }
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
        let spilled = Arc::clone(&self.spilled);
        let rows = self.rows.execute(partition, context)?;
        let schema = rows.schema();
        let rows = rows.or_else(move |error| {
            let spilled = Arc::clone(&spilled);
            async move { Err(named(error, &spilled).await) }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
