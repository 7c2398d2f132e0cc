//! Grouping of orders of the history by columns of few texts: by the codes that they have in the files.
//!
//! Invariant: what comes out is what DataFusion's own partial aggregation makes of the same rows; only
//! how a row is read and finds its group differs. Where that cannot be said, the plan stays as it is.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::source::DataSource;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, Partitioning};
use tapewatch_model::Interner;

use super::arguments::{Arguments, arguments};
use super::groups::{is_plain, past_handing_on};
use super::past_columns::{PartColumns, is_read};
use super::past_parts::{PastParts, failed};
use super::past_rows::PastRows;
use super::picked::{Coded, Test};
use crate::scan::Part;
use crate::schema::time_type;

/// Combinations of codes of one row group that have a place in a table; beyond, each row looks for its
/// group by its codes.
const LOCAL_MAX: usize = 1 << 20;
/// No group is there yet.
const NONE: u32 = u32::MAX;

/// A partial aggregation of orders of the history.
#[derive(Clone)]
pub(super) struct PastGroups {
    parts: PastParts,
    tests: Arc<[Test]>,
    by: Vec<Coded>,
    functions: Vec<Arc<AggregateFunctionExpr>>,
    /// Of each function, over `columns`.
    arguments: Arguments,
    columns: SchemaRef,
    schema: SchemaRef,
}

impl fmt::Debug for PastGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastGroups").finish_non_exhaustive()
    }
}

/// The rows that a plan reads as they are in the history, if it gives them all and only their columns
/// by their names in SQL.
fn rows_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&PastRows> {
    let plan = past_handing_on(plan);
    if let Some(rows) = plan.downcast_ref::<PastRows>() {
        return Some(rows);
    }
    let projection = plan.downcast_ref::<ProjectionExec>()?;
    let named = projection.expr().iter().all(|each| {
        let column = each.expr.downcast_ref::<Column>();
        match column {
            Some(column) => column.name() == each.alias,
            // Of all columns only times are written as another type.
            None => each.alias == "time" && is_time(&each.expr),
        }
    });
    named.then(|| rows_of(projection.input())).flatten()
}

fn is_time(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let cast = expr.downcast_ref::<CastExpr>();
    cast.is_some_and(|cast| {
        let column = cast.expr().downcast_ref::<Column>();
        *cast.cast_type() == time_type() && column.is_some_and(|it| it.name() == "time_ns")
    })
}

impl PastGroups {
    /// What takes the place of an aggregation of these rows; `None` when it has to stay.
    pub(super) fn of(
        aggregate: &AggregateExec,
        input: &Arc<dyn ExecutionPlan>,
        partitions: usize,
    ) -> Option<Self> {
        let (history, tests) = rows_of(input)?.told()?;
        if !is_plain(aggregate) {
            return None;
        }
        let by = aggregate.group_expr().expr().iter();
        let by: Vec<Coded> = by
            .map(|(expr, _)| Coded::named(expr.downcast_ref::<Column>()?.name()))
            .collect::<Option<_>>()?;
        let functions = aggregate.aggr_expr().to_vec();
        let (columns, arguments) = arguments(&aggregate.input_schema(), &functions)?;
        if !columns.fields().iter().all(|field| is_read(field)) {
            return None;
        }
        let parts = PastParts::of(history, tests, partitions)?;
        Some(Self {
            parts,
            tests: Arc::clone(tests),
            by,
            functions,
            arguments,
            columns,
            schema: aggregate.schema(),
        })
    }
}

/// The groups so far, by the codes of their texts.
struct Known {
    /// The texts of each column, by their codes here.
    texts: Vec<Interner>,
    groups: HashMap<Box<[u32]>, u32>,
    /// The codes of each group, one group after another.
    codes: Vec<u32>,
}

impl Known {
    fn len(&self) -> usize {
        self.groups.len()
    }

    /// The group with these codes.
    fn group(&mut self, codes: &[u32]) -> u32 {
        if let Some(&group) = self.groups.get(codes) {
            return group;
        }
        let group = self.groups.len() as u32;
        self.groups.insert(codes.into(), group);
        self.codes.extend_from_slice(codes);
        group
    }

    fn size(&self) -> usize {
        let texts = self.texts.iter().map(Interner::heap_bytes);
        self.codes.capacity() * 12 + self.groups.capacity() * 40 + texts.sum::<usize>()
    }
}

/// One partition while it is aggregated.
struct Running<P> {
    plan: PastGroups,
    parts: P,
    reading: Option<PartColumns>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    known: Known,
    /// The group of each combination of codes of the row group at hand.
    local: Vec<u32>,
    /// Codes of the row group as codes here, of each column.
    codes: Vec<Vec<u32>>,
    /// Of the rows at hand.
    of_rows: Vec<usize>,
    memory: MemoryReservation,
    ended: bool,
}

impl<P: Iterator<Item = Result<Part>>> Running<P> {
    /// The next groups; `None` when there are no more.
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        while !self.ended {
            if !self.take()? {
                self.ended = true;
                break;
            }
            let size = self.accumulators.iter().map(|it| it.size()).sum::<usize>();
            let size = size + self.known.size() + self.local.len() * 4;
            // Where memory is short, what there is goes on: groups may come out twice.
            if self.memory.try_resize(size).is_err() {
                break;
            }
            tokio::task::consume_budget().await;
        }
        if self.known.len() == 0 {
            return Ok(None);
        }
        let batch = self.emit()?;
        self.memory.free();
        Ok(Some((batch, self)))
    }

    /// Takes the next rows; `false` at the end.
    fn take(&mut self) -> Result<bool> {
        let Some(reading) = &mut self.reading else {
            let Some(part) = self.parts.next().transpose()? else {
                return Ok(false);
            };
            let plan = &self.plan;
            let opened = PartColumns::open(&part, &plan.by, &plan.columns, &plan.tests);
            self.reading = Some(opened.map_err(|error| failed(&error))?);
            self.codes.iter_mut().for_each(Vec::clear);
            return Ok(true);
        };
        if !reading.next().map_err(|error| failed(&error))? {
            self.reading = None;
            return Ok(true);
        }
        if reading.rows() > 0 {
            self.find_groups()?;
            self.aggregate()?;
        }
        Ok(true)
    }

    /// Finds the group of each row.
    fn find_groups(&mut self) -> Result<()> {
        let Some(reading) = &self.reading else {
            return Ok(());
        };
        let (mut places, mut grown) = (1_usize, false);
        for (column, codes) in self.codes.iter_mut().enumerate() {
            let texts = reading.texts(column);
            for text in texts.iter().skip(codes.len()) {
                let interner = self.known.texts.get_mut(column).ok_or_else(wrong)?;
                codes.push(
                    interner
                        .intern(text)
                        .map_err(|_| reading.not_text(column))?,
                );
                grown = true;
            }
            places = places.saturating_mul(codes.len().max(1));
        }
        self.of_rows.clear();
        self.of_rows.resize(reading.rows(), 0);
        if places > LOCAL_MAX {
            return self.look_up();
        }
        if grown || self.local.len() != places {
            self.local.clear();
            self.local.resize(places, NONE);
        }
        let mut stride = 1;
        for (column, codes) in self.codes.iter().enumerate() {
            let rows = reading.codes(column);
            if codes.len() > 1 {
                for (place, &code) in self.of_rows.iter_mut().zip(rows) {
                    *place += code as usize * stride;
                }
            }
            stride *= codes.len().max(1);
        }
        for place in &mut self.of_rows {
            let group = self.local.get_mut(*place).ok_or_else(wrong)?;
            if *group == NONE {
                let mut rest = *place;
                let codes = self.codes.iter().map(|codes| {
                    let code = codes.get(rest % codes.len().max(1));
                    rest /= codes.len().max(1);
                    code.copied()
                });
                let codes: Vec<u32> = codes.collect::<Option<_>>().ok_or_else(wrong)?;
                *group = self.known.group(&codes);
            }
            *place = *group as usize;
        }
        Ok(())
    }

    /// The same, row by row: a row group with very many combinations.
    fn look_up(&mut self) -> Result<()> {
        let Some(reading) = &self.reading else {
            return Ok(());
        };
        self.local.clear();
        let mut wanted: Vec<u32> = vec![0; self.codes.len()];
        for (row, place) in self.of_rows.iter_mut().enumerate() {
            for (column, (codes, wanted)) in self.codes.iter().zip(&mut wanted).enumerate() {
                let code = reading.codes(column).get(row).ok_or_else(wrong)?;
                *wanted = *codes.get(*code as usize).ok_or_else(wrong)?;
            }
            *place = self.known.group(&wanted) as usize;
        }
        Ok(())
    }

    fn aggregate(&mut self) -> Result<()> {
        let Some(reading) = &self.reading else {
            return Ok(());
        };
        let columns = reading.columns()?;
        let options = RecordBatchOptions::new().with_row_count(Some(reading.rows()));
        let schema = Arc::clone(&self.plan.columns);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let functions = self.accumulators.iter_mut().zip(&self.plan.arguments);
        for (accumulator, arguments) in functions {
            let values = arguments.iter().map(|argument| argument.values(&batch));
            let values = values.collect::<Result<Vec<ArrayRef>>>()?;
            accumulator.update_batch(&values, &self.of_rows, None, self.known.len())?;
        }
        Ok(())
    }

    /// What there is, taken.
    fn emit(&mut self) -> Result<RecordBatch> {
        let codes = std::mem::take(&mut self.known.codes);
        self.known.groups.clear();
        self.local.fill(NONE);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.plan.schema.fields().len());
        for (column, texts) in self.known.texts.iter().enumerate() {
            let codes = codes.iter().skip(column).step_by(self.codes.len());
            let texts = codes.map(|&code| texts.get(code).unwrap_or_default());
            columns.push(Arc::new(StringArray::from_iter_values(texts)));
        }
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        Ok(RecordBatch::try_new(
            Arc::clone(&self.plan.schema),
            columns,
        )?)
    }
}

#[cold]
fn wrong() -> DataFusionError {
    DataFusionError::Internal("a code is not in its dictionary".to_owned())
}

impl DataSource for PastGroups {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let functions = self.functions.iter();
        let memory = MemoryConsumer::new(format!("groups of past orders {partition}"));
        let running = Running {
            parts: self.parts.of_partition(partition),
            reading: None,
            accumulators: functions
                .map(|function| function.create_groups_accumulator())
                .collect::<Result<_>>()?,
            known: Known {
                texts: vec![Interner::default(); self.by.len()],
                groups: HashMap::new(),
                codes: Vec::new(),
            },
            local: Vec::new(),
            codes: vec![Vec::new(); self.by.len()],
            of_rows: Vec::new(),
            memory: memory.with_can_spill(true).register(context.memory_pool()),
            ended: false,
            plan: self.clone(),
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            futures::stream::try_unfold(running, Running::next),
        )))
    }

    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = &self.by;
        write!(
            f,
            "groups by the codes of {by:?} over past orders, files={}",
            self.parts.files()
        )?;
        match self.tests.is_empty() {
            true => Ok(()),
            false => write!(f, ", tests={:?}", self.tests),
        }
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
