//! The step of a plan that rebuilds books from events: what it shows of them, the levels at the end or the
//! best prices on the way.
//!
//! Invariant: it takes the events in their order, in one part; what its books take is accounted for, and
//! limited, as memory of the query.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_datafusion_err, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements,
    Partitioning, PlanProperties,
};
use futures::StreamExt as _;
use tapewatch_model::RowRef;

use super::super::ascending;
use super::fold::BookFold;
use super::quotes::{self, Changes};
use crate::rows::OrderColumns;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// So many levels a side of the book after the last event; all events are of one instrument.
    Levels(usize),
    /// The best of each side whenever they change.
    Quotes,
}

impl Shows {
    pub(super) fn schema(self) -> SchemaRef {
        match self {
            Self::Levels(_) => super::schema(),
            Self::Quotes => quotes::schema(),
        }
    }

    /// The columns that the events come in the order of, the first of theirs.
    fn order(self) -> Range<usize> {
        match self {
            Self::Levels(_) => 0..1,
            Self::Quotes => 0..quotes::ORDER.len(),
        }
    }
}

/// Rebuilds books.
#[derive(Debug, Clone)]
pub(super) struct RebuildExec {
    events: Arc<dyn ExecutionPlan>,
    shows: Shows,
    projection: Arc<[usize]>,
    properties: Arc<PlanProperties>,
}

impl RebuildExec {
    /// From events in their order; the columns are all, or those of these places.
    pub(super) fn new(
        events: Arc<dyn ExecutionPlan>,
        shows: Shows,
        projection: Option<&Vec<usize>>,
    ) -> Result<Self> {
        let schema = shows.schema();
        let projection: Vec<usize> = match projection {
            Some(columns) => columns.clone(),
            None => (0..schema.fields().len()).collect(),
        };
        let emission = match shows {
            Shows::Levels(_) => EmissionType::Final,
            Shows::Quotes => EmissionType::Incremental,
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(schema.project(&projection)?)),
            Partitioning::UnknownPartitioning(1),
            emission,
            Boundedness::Bounded,
        );
        Ok(Self {
            events,
            shows,
            projection: projection.into(),
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for RebuildExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RebuildExec: {:?}", self.shows)
    }
}

impl ExecutionPlan for RebuildExec {
    fn name(&self) -> &'static str {
        "RebuildExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![ascending(&self.events, self.shows.order())]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.events]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([events]) = <[_; 1]>::try_from(children) else {
            return internal_err!("a book has one input");
        };
        Ok(Arc::new(Self {
            events,
            ..Self::clone(&self)
        }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let recompute = ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(recompute))
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
        let memory = MemoryConsumer::new("book").register(context.memory_pool());
        let events = self.events.execute(partition, context)?;
        let projection = Arc::clone(&self.projection);
        let rows = match self.shows {
            Shows::Levels(levels) => {
                let book = async move {
                    let book = rebuild(events, &memory).await?;
                    super::batch(&book, levels)
                };
                futures::stream::once(book).boxed()
            }
            Shows::Quotes => {
                let mut changes = Changes::default();
                let rows = events.map(move |batch| changes.take(&batch?, &memory));
                rows.boxed()
            }
        };
        let rows = rows.map(move |rows| Ok(rows?.project(&projection)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

/// One book from all events.
async fn rebuild(
    mut events: SendableRecordBatchStream,
    memory: &MemoryReservation,
) -> Result<BookFold> {
    let mut book = BookFold::default();
    while let Some(batch) = events.next().await.transpose()? {
        each(&batch, |_, row| take(&mut book, row))?;
        memory.try_resize(book.bytes())?;
    }
    Ok(book)
}

/// Hands on each row of a batch with its place in it.
pub(super) fn each(
    batch: &RecordBatch,
    mut hand_on: impl FnMut(usize, &RowRef<'_>) -> Result<()>,
) -> Result<()> {
    let wrong = || {
        exec_datafusion_err!("table orders: a row is not an order; restore the history from a copy")
    };
    let columns = OrderColumns::of(batch).ok_or_else(wrong)?;
    (0..batch.num_rows()).try_for_each(|index| {
        let (_, row) = columns.row(index).ok_or_else(wrong)?;
        hand_on(index, &row)
    })
}

/// What an event does to a book.
pub(super) fn take(book: &mut BookFold, row: &RowRef<'_>) -> Result<()> {
    let full = |error| DataFusionError::ResourcesExhausted(format!("the book: {error}"));
    book.take(row).map_err(full)
}
