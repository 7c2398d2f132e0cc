//! Rows that only this process has, lent to the executors of a query: what they read of it they fetch
//! from here, by a ticket.
//!
//! Invariant: a ticket is known as long as its query runs and to nobody else; whoever fetches it, and
//! however often, gets the same rows in the same order, made anew.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, reset_plan_states};
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, Partitioning,
    PlanProperties,
};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::dial::{Dialer, fetch};
use crate::sql::SqlError;

/// What a ticket begins with.
pub(crate) const PREFIX: &str = "tapewatch-lent:";

/// What is lent to the executors of all queries.
#[derive(Default)]
pub(crate) struct Lender(Mutex<HashMap<String, Loan>>);

/// Why rows could not be made, the first time that they could not.
type Why = Arc<Mutex<Option<SqlError>>>;

/// The rows behind a ticket.
#[derive(Clone)]
struct Loan {
    rows: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
    why: Why,
}

/// The rows of a ticket, as they are read.
pub(crate) struct LentRows {
    pub(crate) schema: SchemaRef,
    pub(crate) rows: BoxStream<'static, Result<RecordBatch, SqlError>>,
}

/// The tickets of a query; they are void once it is dropped.
pub(crate) struct Loans {
    lender: Arc<Lender>,
    tickets: Vec<String>,
    why: Why,
}

impl Drop for Loans {
    fn drop(&mut self) {
        let mut known = self.lender.known();
        for ticket in &self.tickets {
            known.remove(ticket);
        }
    }
}

impl Lender {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Loan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of a ticket, made as they are read; `None` when it is not, or no longer, one.
    pub(crate) fn rows(&self, ticket: &str) -> Option<LentRows> {
        let loan = self.known().get(ticket).cloned()?;
        let schema = loan.rows.schema();
        let rows = reset_plan_states(loan.rows);
        let rows = rows.and_then(|rows| rows.execute(0, loan.task));
        let rows = stream::once(async move { rows }).try_flatten();
        let why = loan.why;
        let rows = rows.map_err(move |error| {
            let error = SqlError::of(error, "");
            let text = error.to_string();
            let mut first = why.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
            SqlError::Execution { message: text }
        });
        Some(LentRows {
            schema,
            rows: rows.boxed(),
        })
    }
}

impl Loans {
    pub(super) fn new(lender: &Arc<Lender>) -> Self {
        Self {
            lender: Arc::clone(lender),
            tickets: Vec::new(),
            why: Why::default(),
        }
    }

    /// Why rows that are lent could not be made, if any could not.
    pub(super) fn why(&self) -> Option<SqlError> {
        self.why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.tickets.len()
    }

    /// Lends rows as one part, in their order where they have one.
    pub(super) fn lend(
        &mut self,
        at: &str,
        rows: Arc<dyn ExecutionPlan>,
        task: &Arc<TaskContext>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let parts = rows.output_partitioning().partition_count();
        let rows: Arc<dyn ExecutionPlan> = match rows.output_ordering().cloned() {
            _ if parts == 1 => rows,
            Some(order) => Arc::new(SortPreservingMergeExec::new(order, rows)),
            None => Arc::new(CoalescePartitionsExec::new(rows)),
        };
        let ticket = new_ticket();
        let lent = LentExec::new(at.to_owned(), ticket.clone(), rows.schema(), None);
        let loan = Loan {
            rows,
            task: Arc::clone(task),
            why: Arc::clone(&self.why),
        };
        self.lender.known().insert(ticket.clone(), loan);
        self.tickets.push(ticket);
        Ok(Arc::new(lent))
    }
}

/// A ticket that nobody guesses: 128 bits that the system's random numbers are in.
fn new_ticket() -> String {
    let half = || RandomState::new().hash_one(0_u8);
    format!("{PREFIX}{:016x}{:016x}", half(), half())
}

/// The same rows under the names of a plan: what else a schema says may change on its way.
pub(super) fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options);
    batch.map_err(DataFusionError::from)
}

/// Reads rows that are lent.
#[derive(Debug)]
pub(super) struct LentExec {
    /// Who lends, `host:port`.
    pub(super) at: String,
    pub(super) ticket: String,
    properties: Arc<PlanProperties>,
    /// How who lends is reached; `None` where nobody reads.
    dialer: Option<Dialer>,
}

impl LentExec {
    pub(super) fn new(
        at: String,
        ticket: String,
        schema: SchemaRef,
        dialer: Option<Dialer>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            at,
            ticket,
            properties: Arc::new(properties),
            dialer,
        }
    }
}

impl DisplayAs for LentExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LentRows: at={}", self.at)
    }
}

impl ExecutionPlan for LentExec {
    fn name(&self) -> &str {
        "LentRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("{} children, not none", children.len()),
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
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(dialer) = self.dialer.clone() else {
            return internal_err!("lent rows are read by executors alone");
        };
        let (at, ticket, schema) = (self.at.clone(), self.ticket.clone(), self.schema());
        let wanted = Arc::clone(&schema);
        let rows = stream::once(async move { fetch(&dialer, &at, ticket).await });
        let rows = rows.try_flatten();
        let rows = rows.map(move |batch| with_schema(&batch?, &wanted));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
