//! A join by time as a step of a plan.
//!
//! Invariant: it asks for both sides sorted by keys and time, so that sorting, and spilling of what is
//! large, are the engine's.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
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

use super::super::ascending;
use super::call::Window;
use super::fold::Fold;
use super::right::Right;
use super::running::Function;

/// Where a column of the result comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Output {
    /// From the left side, by its place there.
    Left(usize),
    /// From the measures.
    Measured(usize),
}

/// What is to be done. The left side has its columns, then keys, then the time; the right one has
/// keys, the time, one argument a measure, and perhaps what orders rows of one time.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) left_columns: usize,
    pub(super) keys: usize,
    pub(super) window: Window,
    /// With the types of their results.
    pub(super) functions: Vec<(Function, DataType)>,
    pub(super) outputs: Vec<Output>,
    pub(super) schema: SchemaRef,
}

/// The step.
#[derive(Debug)]
pub(super) struct WindowJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    plan: Arc<Plan>,
    properties: Arc<PlanProperties>,
}

impl WindowJoinExec {
    pub(super) fn new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        plan: Plan,
    ) -> Result<Self> {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&plan.schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            left,
            right,
            plan: Arc::new(plan),
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for WindowJoinExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { keys, window, .. } = self.plan.as_ref();
        write!(
            f,
            "WindowJoinExec: keys={keys}, begin={}, end={}, prevailing={}",
            window.begin, window.end, window.prevailing
        )
    }
}

impl ExecutionPlan for WindowJoinExec {
    fn name(&self) -> &'static str {
        "WindowJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition; 2])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let (first, keys) = (self.plan.left_columns, self.plan.keys);
        let left = ascending(&self.left, first..=first + keys);
        let order = keys + 1 + self.plan.functions.len();
        let right = ascending(&self.right, (0..=keys).chain([order]));
        vec![left, right]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([left, right]) = <[_; 2]>::try_from(children) else {
            return internal_err!("a join by time has two sides");
        };
        Ok(Arc::new(Self {
            left,
            right,
            plan: Arc::clone(&self.plan),
            properties: Arc::clone(&self.properties),
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
        let compared: Vec<bool> = self
            .plan
            .functions
            .iter()
            .map(|(f, _)| f.compares())
            .collect();
        let right = Right::new(
            self.right.execute(partition, Arc::clone(&context))?,
            self.plan.keys,
            &compared,
            MemoryConsumer::new("join by time").register(context.memory_pool()),
        )?;
        let left = self.left.execute(partition, context)?;
        let fold = Fold::new(left, right, Arc::clone(&self.plan));
        let batches = futures::stream::try_unfold(fold, |mut fold| async move {
            Ok(fold.next().await?.map(|batch| (batch, fold)))
        });
        let schema = Arc::clone(&self.plan.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}
