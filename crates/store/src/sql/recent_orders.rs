//! Today's orders as a table: batches of the model become Arrow batches when a query reads them.
//!
//! Invariant: rows come in the order of their sequence numbers, in one partition; a chunk is left
//! out only when no row of it can satisfy the filters; a column that the query does not name is
//! never made.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Int64Array, TimestampNanosecondArray};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::TableProviderFilterPushDown;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, Partitioning};
use datafusion::prelude::Expr;

use crate::order_arrays;
use crate::recent_orders::{Chunk, OrderRows};
use crate::schema::{PARTITION, Table, time_type};

/// The table.
#[derive(Debug)]
pub(super) struct RecentOrdersTable {
    chunks: Vec<Chunk>,
}

impl RecentOrdersTable {
    pub(super) fn new(rows: &OrderRows) -> Self {
        Self {
            chunks: rows.chunks().cloned().collect(),
        }
    }
}

#[async_trait]
impl TableProvider for RecentOrdersTable {
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
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let projected = match projection {
            Some(columns) => Arc::new(schema.project(columns)?),
            None => Arc::clone(&schema),
        };
        let mut chunks = self.chunks.clone();
        if let Some(filter) = conjunction(filters.iter().cloned()) {
            let names = DFSchema::try_from(Arc::clone(&schema))?;
            let filter = state.create_physical_expr(filter, &names)?;
            // Filters that say nothing about these columns leave everything in.
            let predicate = PruningPredicateBuilder::new().with_file_schema(schema);
            if let Ok(predicate) = predicate.try_build(filter) {
                let mut wanted = predicate.prune(&Ranges(&self.chunks))?.into_iter();
                chunks.retain(|_| wanted.next().unwrap_or(true));
            }
        }
        Ok(DataSourceExec::from_data_source(Scan {
            chunks: chunks.into(),
            schema: projected,
            fetch: limit,
        }))
    }
}

/// Least and greatest values of each chunk.
struct Ranges<'a>(&'a [Chunk]);

impl Ranges<'_> {
    fn values(&self, column: &Column, side: fn((i64, i64)) -> i64) -> Option<ArrayRef> {
        let times = |chunk: &Chunk| {
            let (first, last) = chunk.times();
            side((first.nanos(), last.nanos()))
        };
        let dates = |chunk: &Chunk| {
            let (first, last) = chunk.times();
            let days = (first.date().days().into(), last.date().days().into());
            i32::try_from(side(days)).unwrap_or_default()
        };
        let seqs = |chunk: &Chunk| {
            let (first, last) = chunk.seqs();
            side((first.cast_signed(), last.cast_signed()))
        };
        let chunks = self.0.iter();
        Some(match column.name() {
            "time" => {
                let times = TimestampNanosecondArray::from_iter_values(chunks.map(times));
                Arc::new(times.with_data_type(time_type()))
            }
            PARTITION => Arc::new(Date32Array::from_iter_values(chunks.map(dates))),
            "seq" => Arc::new(Int64Array::from_iter_values(chunks.map(seqs))),
            _ => return None,
        })
    }
}

impl PruningStatistics for Ranges<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |(least, _)| least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |(_, greatest)| greatest)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// One reading of the table.
#[derive(Debug, Clone)]
struct Scan {
    chunks: Arc<[Chunk]>,
    /// The columns that are wanted.
    schema: SchemaRef,
    fetch: Option<usize>,
}

impl Scan {
    fn len(&self) -> usize {
        let rows = self.chunks.iter().map(Chunk::len).sum();
        self.fetch.map_or(rows, |fetch| fetch.min(rows))
    }

    /// The rows in parts of at most `rows_max`: which chunk, and which rows of its batch.
    fn parts(&self, rows_max: usize) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let mut left = self.len();
        let chunks = Arc::clone(&self.chunks);
        let (mut index, mut done) = (0, 0);
        std::iter::from_fn(move || {
            let chunk = chunks.get(index)?;
            let rows = chunk.rows();
            let from = rows.start + done;
            let upto = rows.end.min(from + rows_max).min(from + left);
            left -= upto - from;
            done += upto - from;
            let part = (index, from..upto);
            if upto == rows.end {
                (index, done) = (index + 1, 0);
            }
            (!part.1.is_empty()).then_some(part)
        })
    }
}

impl DataSource for Scan {
    fn open(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let chunks = Arc::clone(&self.chunks);
        let schema = Arc::clone(&self.schema);
        let parts = self.parts(context.session_config().batch_size());
        let batches = parts.filter_map(move |(index, rows)| {
            let orders = chunks.get(index)?.orders();
            Some(order_arrays::rows(orders, rows, &schema).map_err(Into::into))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            futures::stream::iter(batches),
        )))
    }

    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recent orders, chunks={}", self.chunks.len())?;
        self.fetch
            .map_or(Ok(()), |fetch| write!(f, ", fetch={fetch}"))
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(1)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        let ascending = SortOptions::new(false, false);
        let by_seq = col("seq", &self.schema).map(|seq| [PhysicalSortExpr::new(seq, ascending)]);
        EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), by_seq)
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        let unknown = Statistics::new_unknown(&self.schema);
        Ok(Arc::new(
            unknown.with_num_rows(Precision::Exact(self.len())),
        ))
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn DataSource>> {
        Some(Arc::new(Self {
            fetch,
            ..self.clone()
        }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn try_swapping_with_projection(
        &self,
        _projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
}
