//! Grouping of orders by columns of few texts: by the codes that today's have in memory, and those of
//! the history in their files ([`super::past_groups`]).
//!
//! Invariant: what comes out is what DataFusion's own partial aggregation makes of the same rows; only
//! how a row finds its group differs. Where that cannot be said, the plan stays as it is.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, Partitioning};
use tapewatch_model::{EventType, EventTypes, Interner, OrderBatch, Side};

use super::arguments::{Arguments, arguments};
use super::past_groups::PastGroups;
use super::past_rows::PastRows;
use super::picked::{Coded, Picked};
use super::recent_scan::Scan;
use crate::recent_orders::Chunk;

/// Combinations of codes, each of which takes a number in memory.
const SLOTS_MAX: usize = 1 << 20;
/// No group is there yet.
const NONE: u32 = u32::MAX;

/// Replaces partial aggregations over orders where their groups are codes.
#[derive(Debug)]
pub(super) struct GroupByCodes;

impl PhysicalOptimizerRule for GroupByCodes {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let parts = config.execution.target_partitions;
        let replaced = plan.transform_down(|node| {
            let aggregate = node.downcast_ref::<AggregateExec>();
            let replaced = aggregate.map(|aggregate| replaced(aggregate, parts));
            Ok(match replaced.transpose()?.flatten() {
                // What is below was looked at.
                Some(plan) => Transformed::new(plan, true, TreeNodeRecursion::Jump),
                None => Transformed::no(node),
            })
        });
        PastRows::untold(replaced?.data)
    }

    fn name(&self) -> &str {
        "GroupByCodes"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A column that is grouped by.
#[derive(Debug, Clone)]
struct By {
    column: Coded,
    /// All texts, by their codes.
    texts: Arc<Interner>,
    /// Codes are below.
    width: usize,
}

/// A partial aggregation of one reading of the table.
#[derive(Debug, Clone)]
struct Groups {
    scan: Scan,
    by: Vec<By>,
    functions: Vec<Arc<AggregateFunctionExpr>>,
    /// Of each function, over the columns of the scan.
    arguments: Arguments,
    schema: SchemaRef,
}

/// What takes the aggregation's place, if something can: over a union each part has its own.
fn replaced(aggregate: &AggregateExec, parts: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let input = past_handing_on(aggregate.input());
    let groups = |input: &Arc<dyn ExecutionPlan>| -> Option<Arc<dyn ExecutionPlan>> {
        if let Some(scan) = scan_of(input) {
            let groups = Groups::of(aggregate, scan, parts)?;
            return Some(DataSourceExec::from_data_source(groups));
        }
        let groups = PastGroups::of(aggregate, input, parts)?;
        Some(DataSourceExec::from_data_source(groups))
    };
    let Some(union) = input.downcast_ref::<UnionExec>() else {
        return Ok(groups(input));
    };
    let found: Vec<_> = union.inputs().iter().map(groups).collect();
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    let each = found
        .into_iter()
        .zip(union.inputs())
        .map(|(found, input)| found.map_or_else(|| over(aggregate, Arc::clone(input)), Ok));
    UnionExec::try_new(each.collect::<Result<_>>()?).map(Some)
}

/// The same aggregation of a part of its rows.
fn over(aggregate: &AggregateExec, rows: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(Arc::new(AggregateExec::try_new(
        *aggregate.mode(),
        aggregate.group_expr().clone(),
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        rows,
        aggregate.input_schema(),
    )?))
}

/// The plan below nodes that only hand batches on.
pub(super) fn past_handing_on(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    match (plan.name(), plan.children().as_slice()) {
        ("CooperativeExec" | "RepartitionExec", [only]) if plan.fetch().is_none() => {
            past_handing_on(only)
        }
        _ => plan,
    }
}

/// The reading that a plan is.
fn scan_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&Scan> {
    let source = past_handing_on(plan).downcast_ref::<DataSourceExec>()?;
    source.data_source().downcast_ref::<Scan>()
}

/// Whether it is a partial aggregation by columns, of all rows and by functions that take groups.
pub(super) fn is_plain(aggregate: &AggregateExec) -> bool {
    let by = aggregate.group_expr();
    let fits = |function: &Arc<AggregateFunctionExpr>| {
        function.groups_accumulator_supported() && function.order_bys().is_empty()
    };
    *aggregate.mode() == AggregateMode::Partial
        && by.is_single()
        && !by.is_empty()
        && aggregate.limit_options().is_none()
        && aggregate.filter_expr().iter().all(Option::is_none)
        && aggregate.aggr_expr().iter().all(fits)
}

impl Groups {
    fn of(aggregate: &AggregateExec, scan: &Scan, parts: usize) -> Option<Self> {
        if !is_plain(aggregate) || scan.fetch().is_some() {
            return None;
        }
        let functions = aggregate.aggr_expr().to_vec();
        let by: Vec<By> = aggregate
            .group_expr()
            .expr()
            .iter()
            .map(|(expr, _)| By::of(expr, scan.chunks()))
            .collect::<Option<_>>()?;
        let slots = by
            .iter()
            .try_fold(1_usize, |slots, by| slots.checked_mul(by.width))?;
        if slots > SLOTS_MAX {
            return None;
        }
        let (columns, arguments) = arguments(&aggregate.input_schema(), &functions)?;
        Some(Self {
            scan: scan.in_parts(parts).with_schema(columns),
            by,
            functions,
            arguments,
            schema: aggregate.schema(),
        })
    }
}

impl By {
    /// `None` when the expression is no such column, or a code means different things in two chunks.
    fn of(expr: &Arc<dyn PhysicalExpr>, chunks: &[Chunk]) -> Option<Self> {
        let column = Coded::named(expr.downcast_ref::<Column>()?.name())?;
        let of = match column {
            Coded::Sym => OrderBatch::syms,
            Coded::Trader => OrderBatch::traders,
            Coded::EventType => {
                let kinds = EventTypes::ALL.iter().map(|kind| kind as usize + 1);
                return Some(Self::of_numbers(column, kinds.max()?));
            }
            Coded::Side => {
                let sides = (0..=u8::MAX).filter_map(Side::from_number);
                return Some(Self::of_numbers(
                    column,
                    sides.map(|s| s as usize + 1).max()?,
                ));
            }
        };
        let mut texts = Arc::clone(of(chunks.last()?.orders()));
        for chunk in chunks.iter().rev() {
            let known = of(chunk.orders());
            if known.len() > texts.len() && known.extends(&texts) {
                texts = Arc::clone(known);
            } else if !Arc::ptr_eq(known, &texts) && !texts.extends(known) {
                return None;
            }
        }
        let width = texts.len();
        Some(Self {
            column,
            texts,
            width,
        })
    }

    fn of_numbers(column: Coded, width: usize) -> Self {
        Self {
            column,
            texts: Arc::default(),
            width,
        }
    }

    /// Adds the codes of the rows, times `stride`, to the slots.
    fn add(&self, orders: &OrderBatch, rows: &Picked, stride: usize, slots: &mut [usize]) {
        match self.column {
            Coded::Sym => add(orders.sym_codes(), rows, slots, |&code| {
                code as usize * stride
            }),
            Coded::Trader => {
                add(orders.trader_codes(), rows, slots, |&code| {
                    code as usize * stride
                });
            }
            Coded::EventType => {
                add(orders.event_types(), rows, slots, |&kind| {
                    kind as usize * stride
                });
            }
            Coded::Side => add(orders.sides(), rows, slots, |&side| side as usize * stride),
        }
    }

    fn text(&self, code: usize) -> &str {
        let number = u8::try_from(code).unwrap_or_default();
        match self.column {
            Coded::Sym | Coded::Trader => self.texts.texts().get(code).unwrap_or_default(),
            Coded::EventType => EventType::from_number(number).map_or("", EventType::name),
            Coded::Side => Side::from_number(number).map_or("", Side::name),
        }
    }
}

fn add<T>(values: &[T], rows: &Picked, slots: &mut [usize], place: impl Fn(&T) -> usize) {
    match rows {
        Picked::All(rows) => {
            let values = values.get(rows.clone()).unwrap_or_default();
            for (slot, value) in slots.iter_mut().zip(values) {
                *slot += place(value);
            }
        }
        Picked::Some(rows) => {
            for (slot, &row) in slots.iter_mut().zip(rows) {
                *slot += values.get(row as usize).map_or(0, &place);
            }
        }
    }
}

/// One partition while it is aggregated.
struct Running<P> {
    plan: Groups,
    parts: P,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// The group of each slot, and the slot of each group.
    groups: Vec<u32>,
    slots: Vec<usize>,
    /// Of the rows at hand.
    of_rows: Vec<usize>,
    memory: MemoryReservation,
    ended: bool,
}

impl<P: Iterator<Item = (Chunk, Picked)>> Running<P> {
    /// The next groups; `None` when there are no more.
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        while !self.ended {
            let Some((chunk, rows)) = self.parts.next() else {
                self.ended = true;
                break;
            };
            self.take(&chunk, &rows)?;
            let size = self.accumulators.iter().map(|it| it.size()).sum::<usize>();
            // Where memory is short, what there is goes on: groups may come out twice.
            if self
                .memory
                .try_resize(size + self.groups.len() * 4)
                .is_err()
            {
                break;
            }
            tokio::task::consume_budget().await;
        }
        if self.slots.is_empty() {
            return Ok(None);
        }
        let batch = self.emit()?;
        self.memory.free();
        Ok(Some((batch, self)))
    }

    fn take(&mut self, chunk: &Chunk, rows: &Picked) -> Result<()> {
        let orders = chunk.orders();
        self.of_rows.clear();
        self.of_rows.resize(rows.len(), 0);
        let mut stride = 1;
        for by in &self.plan.by {
            by.add(orders, rows, stride, &mut self.of_rows);
            stride *= by.width;
        }
        for slot in &mut self.of_rows {
            let known = self.groups.get_mut(*slot).ok_or_else(wrong)?;
            if *known == NONE {
                *known = self.slots.len() as u32;
                self.slots.push(*slot);
            }
            *slot = *known as usize;
        }
        let batch = self.plan.scan.batch(chunk, rows)?;
        let functions = self.accumulators.iter_mut().zip(&self.plan.arguments);
        for (accumulator, arguments) in functions {
            let values = arguments.iter().map(|argument| argument.values(&batch));
            let values = values.collect::<Result<Vec<ArrayRef>>>()?;
            accumulator.update_batch(&values, &self.of_rows, None, self.slots.len())?;
        }
        Ok(())
    }

    /// What there is, taken.
    fn emit(&mut self) -> Result<RecordBatch> {
        let slots = std::mem::take(&mut self.slots);
        self.groups.fill(NONE);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.plan.schema.fields().len());
        let mut stride = 1;
        for by in &self.plan.by {
            let texts = slots.iter().map(|slot| by.text(slot / stride % by.width));
            columns.push(Arc::new(StringArray::from_iter_values(texts)));
            stride *= by.width;
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

impl DataSource for Groups {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let functions = self.functions.iter();
        let memory = MemoryConsumer::new(format!("groups of recent orders {partition}"));
        let running = Running {
            parts: self
                .scan
                .parts(partition, context.session_config().batch_size()),
            accumulators: functions
                .map(|function| function.create_groups_accumulator())
                .collect::<Result<_>>()?,
            groups: vec![NONE; self.by.iter().map(|by| by.width).product()],
            slots: Vec::new(),
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

    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by: Vec<_> = self.by.iter().map(|by| by.column).collect();
        write!(f, "groups by the codes of {by:?} over ")?;
        self.scan.fmt_as(kind, f)
    }

    fn output_partitioning(&self) -> Partitioning {
        self.scan.output_partitioning()
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
