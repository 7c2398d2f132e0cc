//! Few rows of the history: found by the codes of their texts in the files, before any other column of
//! them is read.
//!
//! Invariant: the rows are those that the engine's own reading and filters give, with the same columns.
//! Where that cannot be said, the plan stays as it is.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, Partitioning};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::past_columns::PartColumns;
use super::past_parts::{PastParts, failed};
use super::past_rows::PastRows;
use super::picked::{Coded, Test};
use crate::scan::{Part, some_rows};
use crate::schema::PARTITION;

/// A reading of the rows that pass tests, at least one of which leaves few.
#[derive(Clone)]
pub(super) struct PastPicked {
    parts: PastParts,
    tests: Arc<[Test]>,
    schema: SchemaRef,
}

impl fmt::Debug for PastPicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastPicked").finish_non_exhaustive()
    }
}

impl PastPicked {
    /// What takes the place of a reading; `None` when it has to stay.
    pub(super) fn of(rows: &PastRows) -> Option<Arc<dyn ExecutionPlan>> {
        let (history, tests) = rows.told()?;
        let is_rare = |test: &Test| matches!(test, Test::Texts(Coded::Sym | Coded::Trader, _));
        let schema = rows.schema();
        // The day stands in the names of the files, and not in them.
        let of_files = schema.index_of(PARTITION).is_err();
        if !tests.iter().any(is_rare) || !of_files || rows.properties().output_ordering().is_some()
        {
            return None;
        }
        let partitions = rows.properties().output_partitioning().partition_count();
        let picked = Self {
            parts: PastParts::of(history, tests, partitions)?,
            tests: Arc::clone(tests),
            schema,
        };
        Some(DataSourceExec::from_data_source(picked))
    }

    /// The wanted rows of a row group; `None` when there are none.
    fn open(&self, part: Part) -> Result<Option<Reading>> {
        let fail = |error| failed(&error);
        let none = Arc::new(Schema::empty());
        let mut columns = PartColumns::open(&part, &[], &none, &self.tests).map_err(fail)?;
        let mut rows = Vec::new();
        while columns.next().map_err(fail)? {
            rows.extend(columns.numbers());
        }
        let names = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        Ok(match (rows.len(), self.schema.fields().is_empty()) {
            (0, _) => None,
            (count, true) => Some(Reading::Count(count)),
            _ => {
                let reader = some_rows(&part, rows.into_iter(), names).map_err(fail)?;
                Some(Reading::Rows(part, Box::new(reader)))
            }
        })
    }

    /// A batch with the columns as they are wanted.
    fn as_wanted(&self, read: &RecordBatch) -> Result<RecordBatch> {
        let fields = self.schema.fields().iter();
        let columns = fields.map(|field| match read.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            // A column that this file's table got later.
            None => Ok(new_null_array(field.data_type(), read.num_rows())),
        });
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// A row group at hand.
enum Reading {
    /// So many rows of which nothing else is wanted.
    Count(usize),
    Rows(Part, Box<ParquetRecordBatchReader>),
}

/// One partition while it is read.
struct Running<P> {
    plan: PastPicked,
    parts: P,
    reading: Option<Reading>,
}

impl<P: Iterator<Item = Result<Part>>> Running<P> {
    /// The next rows; `None` when there are no more.
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            match self.reading.take() {
                Some(Reading::Count(rows)) => {
                    let options = RecordBatchOptions::new().with_row_count(Some(rows));
                    let schema = Arc::clone(&self.plan.schema);
                    let batch = RecordBatch::try_new_with_options(schema, Vec::new(), &options)?;
                    return Ok(Some((batch, self)));
                }
                Some(Reading::Rows(part, mut reader)) => {
                    if let Some(batch) = reader.next() {
                        let batch = batch.map_err(|error| failed(&part.file.fail(error)))?;
                        let batch = self.plan.as_wanted(&batch)?;
                        self.reading = Some(Reading::Rows(part, reader));
                        return Ok(Some((batch, self)));
                    }
                }
                None => {
                    let Some(part) = self.parts.next().transpose()? else {
                        return Ok(None);
                    };
                    self.reading = self.plan.open(part)?;
                }
            }
            tokio::task::consume_budget().await;
        }
    }
}

impl DataSource for PastPicked {
    fn open(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let running = Running {
            parts: self.parts.of_partition(partition),
            reading: None,
            plan: self.clone(),
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            futures::stream::try_unfold(running, Running::next),
        )))
    }

    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, tests) = (self.parts.files(), &self.tests);
        write!(
            f,
            "past orders by their codes, files={files}, tests={tests:?}"
        )
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.parts.partitions())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(Arc::clone(&self.schema))
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.schema)))
    }

    fn with_fetch(&self, _fetch: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
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
