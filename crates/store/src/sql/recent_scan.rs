//! One reading of today's orders: chunks, what of their rows is wanted, and in how many parts.
//!
//! Invariant: the partitions hold the chunks in order, each chunk in one of them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::source::DataSource;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, Partitioning};

use super::picked::{Picked, Test};
use crate::order_arrays;
use crate::recent_orders::Chunk;

/// Fewer rows are not worth a second thread.
const PARTITION_ROWS: usize = 131_072;
/// So few are looked at sooner than several threads are told to.
const SMALL_ROWS: usize = 1 << 20;

/// One reading of the table.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    chunks: Arc<[Chunk]>,
    tests: Arc<[Test]>,
    /// The columns that are wanted.
    schema: SchemaRef,
    fetch: Option<usize>,
    /// The chunks of each partition.
    partitions: Vec<Range<usize>>,
}

impl Scan {
    pub(super) fn new(
        chunks: Arc<[Chunk]>,
        tests: Arc<[Test]>,
        schema: SchemaRef,
        fetch: Option<usize>,
    ) -> Self {
        Self {
            partitions: std::iter::once(0..chunks.len()).collect(),
            chunks,
            tests,
            schema,
            fetch,
        }
    }

    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The same rows with other columns.
    pub(super) fn with_schema(&self, schema: SchemaRef) -> Self {
        Self {
            schema,
            ..self.clone()
        }
    }

    /// The same rows in at most so many parts.
    pub(super) fn in_parts(&self, parts_max: usize) -> Self {
        let rows: usize = self.chunks.iter().map(Chunk::len).sum();
        let parts = (rows / PARTITION_ROWS).clamp(1, parts_max.max(1));
        let (mut partitions, mut begun, mut done) = (Vec::with_capacity(parts), 0, 0);
        for (index, chunk) in self.chunks.iter().enumerate() {
            done += chunk.len();
            if done * parts >= rows * (partitions.len() + 1) {
                partitions.push(begun..index + 1);
                begun = index + 1;
            }
        }
        if begun < self.chunks.len() || partitions.is_empty() {
            partitions.push(begun..self.chunks.len());
        }
        Self {
            partitions,
            ..self.clone()
        }
    }

    /// Rows that are looked at; as many as come out where there are no tests.
    fn len(&self, partition: Option<usize>) -> usize {
        let chunks = partition.map_or(0..self.chunks.len(), |partition| self.of(partition));
        let chunks = self.chunks.get(chunks).unwrap_or_default();
        let rows = chunks.iter().map(Chunk::len).sum();
        self.fetch.map_or(rows, |fetch| fetch.min(rows))
    }

    fn of(&self, partition: usize) -> Range<usize> {
        self.partitions.get(partition).cloned().unwrap_or_default()
    }

    /// The wanted rows of a partition, at most `rows_max` at once.
    pub(super) fn parts(
        &self,
        partition: usize,
        rows_max: usize,
    ) -> impl Iterator<Item = (Chunk, Picked)> + Send + use<> {
        let mut left = self.fetch.unwrap_or(usize::MAX);
        let (chunks, tests) = (Arc::clone(&self.chunks), Arc::clone(&self.tests));
        let mut indices = self.of(partition);
        let mut at: Option<(Chunk, Picked)> = None;
        std::iter::from_fn(move || {
            while left > 0 {
                if let Some((chunk, rows)) = &mut at
                    && rows.len() > 0
                {
                    let part = rows.split(rows_max.min(left));
                    left -= part.len();
                    return Some((chunk.clone(), part));
                }
                let chunk = chunks.get(indices.next()?)?;
                at = Picked::of(chunk, &tests).map(|rows| (chunk.clone(), rows));
            }
            None
        })
    }

    /// Rows of a chunk with the columns that are wanted.
    pub(super) fn batch(&self, chunk: &Chunk, rows: &Picked) -> Result<RecordBatch, ArrowError> {
        let orders = chunk.orders();
        match rows {
            Picked::All(rows) => order_arrays::rows(orders, rows.clone(), &self.schema),
            Picked::Some(rows) => {
                let picked = rows.iter().map(|&row| (orders, row as usize));
                order_arrays::picked(picked, &self.schema)
            }
        }
    }
}

impl Scan {
    /// Rows of several chunks with the columns that are wanted.
    fn together(&self, parts: &[(Chunk, Picked)]) -> Result<RecordBatch, ArrowError> {
        let rows = parts.iter().flat_map(|(chunk, rows)| {
            let orders = chunk.orders();
            let (all, some) = match rows {
                Picked::All(rows) => (rows.clone(), &[][..]),
                Picked::Some(rows) => (0..0, rows.as_slice()),
            };
            let some = some.iter().map(|&row| row as usize);
            all.chain(some).map(move |row| (orders, row))
        });
        let rows: Vec<_> = rows.collect();
        order_arrays::picked(rows.iter().copied(), &self.schema)
    }

    /// Whether one thread reads it as fast as several.
    pub(super) fn is_small(&self) -> bool {
        self.len(None) <= SMALL_ROWS
    }
}

impl DataSource for Scan {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let scan = self.clone();
        let rows_max = context.session_config().batch_size();
        let mut parts = self.parts(partition, rows_max);
        let batches = std::iter::from_fn(move || {
            // Few rows of many chunks come as one batch.
            let (mut some, mut rows) = (Vec::new(), 0);
            while rows < rows_max / 4
                && let Some(part) = parts.next()
            {
                rows += part.1.len();
                some.push(part);
            }
            match some.as_slice() {
                [] => None,
                [(chunk, rows)] => Some(scan.batch(chunk, rows)),
                some => Some(scan.together(some)),
            }
        });
        let batches = batches.map(|batch| Ok(batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            futures::stream::iter(batches),
        )))
    }

    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recent orders, chunks={}", self.chunks.len())?;
        if !self.tests.is_empty() {
            write!(f, ", tests={:?}", self.tests)?;
        }
        self.fetch
            .map_or(Ok(()), |fetch| write!(f, ", fetch={fetch}"))
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        _repartition_file_min_size: usize,
        _output_ordering: Option<LexOrdering>,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let parts = self.in_parts(target_partitions);
        let more = parts.partitions.len() > self.partitions.len() && self.fetch.is_none();
        Ok(more.then(|| Arc::new(parts) as _))
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.partitions.len())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        let ascending = SortOptions::new(false, false);
        let by_seq = col("seq", &self.schema).map(|seq| [PhysicalSortExpr::new(seq, ascending)]);
        EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), by_seq)
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let unknown = Statistics::new_unknown(&self.schema);
        let rows = self.len(partition);
        Ok(Arc::new(unknown.with_num_rows(if self.tests.is_empty() {
            Precision::Exact(rows)
        } else {
            Precision::Inexact(rows)
        })))
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
