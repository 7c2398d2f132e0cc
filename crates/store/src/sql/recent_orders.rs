//! Today's orders as a table: batches of the model become Arrow batches when a query reads them.
//!
//! Invariant: the rows of a partition come in the order of their sequence numbers, and there is more
//! than one partition only where the plan asks for it; a chunk is left out only when no row of it can
//! satisfy the filters; a filter that is a [`Test`] is decided here, on codes, and nowhere else.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Int64Array, TimestampNanosecondArray};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::TableProviderFilterPushDown;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::Expr;

use super::picked::{Test, in_order};
use super::recent_scan::Scan;
use crate::recent_orders::{Chunk, OrderRows};
use crate::schema::{PARTITION, Table, time_type};

/// The table.
pub(super) struct RecentOrdersTable {
    rows: OrderRows,
}

impl RecentOrdersTable {
    pub(super) fn new(rows: OrderRows) -> Self {
        Self { rows }
    }
}

impl fmt::Debug for RecentOrdersTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentOrdersTable").finish_non_exhaustive()
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
        let decided = filters.iter().map(|filter| match Test::of(filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Inexact,
        });
        Ok(decided.collect())
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
        let (tests, others): (Vec<_>, Vec<_>) = filters
            .iter()
            .partition(|filter| Test::of(filter).is_some());
        let tests = in_order(tests.into_iter().filter_map(Test::of).collect());
        let possible = |chunk: &&Chunk| tests.iter().all(|test| test.may_pass(chunk));
        let mut chunks: Vec<_> = self.rows.chunks().filter(possible).cloned().collect();
        if let Some(filter) = conjunction(others.into_iter().cloned()) {
            let names = DFSchema::try_from(Arc::clone(&schema))?;
            let filter = state.create_physical_expr(filter, &names)?;
            // Filters that say nothing about these columns leave everything in.
            let predicate = PruningPredicateBuilder::new().with_file_schema(schema);
            if let Ok(predicate) = predicate.try_build(filter) {
                let mut wanted = predicate.prune(&Ranges(&chunks))?.into_iter();
                chunks.retain(|_| wanted.next().unwrap_or(true));
            }
        }
        let scan = Scan::new(chunks.into(), tests.into(), projected, limit);
        Ok(DataSourceExec::from_data_source(scan))
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
