//! Which parts of a plan executors run, and which this process runs for them.
//!
//! Invariant: the carved plan gives the rows that the whole one gives. What executors read themselves
//! are files of the history; whatever else a plan reads, and every step that cannot be written down
//! for another process, stays here and is lent as rows.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{JoinType, Result};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties as _, Partitioning,
    ReplaceChildrenOptions, displayable,
};

use super::lent::{Lender, Loans};
use crate::query::{Stop, with_pauses};

/// Steps that can be written down for another process and done there part by part.
const CARRIED: [&str; 21] = [
    "AggregateExec",
    "BoundedWindowAggExec",
    "CoalesceBatchesExec",
    "CoalescePartitionsExec",
    "CooperativeExec",
    "CrossJoinExec",
    "EmptyExec",
    "FilterExec",
    "GlobalLimitExec",
    "HashJoinExec",
    "LocalLimitExec",
    "NestedLoopJoinExec",
    "ProjectionExec",
    "RepartitionExec",
    "SortExec",
    "SortExec(TopK)",
    "SortMergeJoinExec",
    "SortPreservingMergeExec",
    "UnionExec",
    "UnnestExec",
    "WindowAggExec",
];

/// A plan for executors, and what is lent to it.
pub(crate) struct Carved {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) loans: Loans,
}

impl fmt::Display for Carved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        displayable(self.plan.as_ref()).indent(false).fmt(f)
    }
}

/// Where rows are lent from.
pub(crate) struct Here<'a> {
    pub(crate) lender: &'a Arc<Lender>,
    /// Where executors find this process, `host:port`.
    pub(crate) at: &'a str,
    /// What lent plans run in.
    pub(crate) task: Arc<TaskContext>,
    /// Set once nobody wants the result.
    pub(crate) stop: &'a Stop,
}

/// Carves a plan whose result has at most so many rows (0: no limit).
///
/// # Errors
/// In the inner result, why the plan runs here, for people.
pub(crate) fn carve(
    plan: Arc<dyn ExecutionPlan>,
    here: &Here<'_>,
    rows_max: u64,
) -> Result<std::result::Result<Carved, String>> {
    if !reads_files(&plan) {
        return Ok(Err(match stays(&plan) {
            Some(step) => format!("the step {step} is of this process alone"),
            None => "it reads no file of the history".to_owned(),
        }));
    }
    if let Some(step) = divided_here(&plan) {
        return Ok(Err(format!(
            "the step {step} divides rows in this process alone"
        )));
    }
    let mut loans = Loans::new(here.lender);
    let plan = carried(plan, here, &mut loans)?;
    let plan = limited(plan, rows_max);
    Ok(Ok(Carved { plan, loans }))
}

/// The same plan that gives few rows more than are wanted: executors keep a result until it is whole.
fn limited(plan: Arc<dyn ExecutionPlan>, rows_max: u64) -> Arc<dyn ExecutionPlan> {
    let Some(fetch) = usize::try_from(rows_max).ok().filter(|rows| *rows > 0) else {
        return plan;
    };
    let fetch = fetch.saturating_add(1);
    match plan.output_partitioning().partition_count() {
        1 => Arc::new(GlobalLimitExec::new(plan, 0, Some(fetch))),
        _ => Arc::new(LocalLimitExec::new(plan, fetch)),
    }
}

/// Whether it is a scan of files.
fn is_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let source = plan.downcast_ref::<DataSourceExec>();
    source.is_some_and(|source| {
        source
            .data_source()
            .downcast_ref::<FileScanConfig>()
            .is_some()
    })
}

/// Whether there is a scan of files somewhere in it.
fn has_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    is_files(plan) || plan.children().into_iter().any(has_files)
}

/// The first step above a scan of files that is not carried.
fn stays(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let above = has_files(plan) && !is_files(plan);
    match is_carried(plan) {
        false if above => Some(plan.name().to_owned()),
        _ => plan.children().into_iter().find_map(stays),
    }
}

/// Whether a step can be done by executors, each for parts of it. A join that compares all with all can
/// tell only at its end what fitted nothing, and of that each executor would know a part.
fn is_carried(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let join = plan.downcast_ref::<NestedLoopJoinExec>();
    let tells = join.is_some_and(|join| *join.join_type() != JoinType::Inner);
    CARRIED.contains(&plan.name()) && !tells
}

/// Whether executors can read files for it: there is a scan, and each step above it is carried.
fn reads_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    is_files(plan) || is_carried(plan) && plan.children().into_iter().any(reads_files)
}

/// Whether its parts are chosen by values, which those who read them rely on.
fn is_by_values(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let parts = plan.output_partitioning();
    parts.partition_count() > 1 && matches!(parts, Partitioning::Hash(..) | Partitioning::Range(..))
}

/// Whether it is done here and its rows are lent.
fn is_lent(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let divides = is_by_values(plan) && is_carried(plan) || plan.is::<RepartitionExec>();
    !reads_files(plan) && !divides
}

/// A step whose rows would be lent as one part where others rely on its parts.
fn divided_here(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    match is_lent(plan) {
        true => is_by_values(plan).then(|| plan.name().to_owned()),
        false => plan.children().into_iter().find_map(divided_here),
    }
}

/// The plan as executors have it.
fn carried(
    plan: Arc<dyn ExecutionPlan>,
    here: &Here<'_>,
    loans: &mut Loans,
) -> Result<Arc<dyn ExecutionPlan>> {
    if is_files(&plan) || plan.is::<EmptyExec>() {
        return Ok(plan);
    }
    if is_lent(&plan) {
        let rows = with_pauses(plan, here.stop)?;
        return loans.lend(here.at, rows, &here.task);
    }
    let plan = counted_apart(plan)?;
    let children = plan.children().into_iter().cloned();
    let children = children.map(|child| carried(child, here, loans));
    let children = children.collect::<Result<Vec<_>>>()?;
    with_children(plan, children)
}

fn with_children(
    plan: Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    plan.replace_children(children, anew)
}

/// Sums of rows from here and of rows from files are made where the rows are: what is lent then is one
/// row a group.
fn counted_apart(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(groups) = plan.downcast_ref::<AggregateExec>() else {
        return Ok(plan);
    };
    let parts = match groups.input().downcast_ref::<UnionExec>() {
        Some(union) if *groups.mode() == AggregateMode::Partial => union.inputs().clone(),
        _ => return Ok(plan),
    };
    let parts = parts
        .into_iter()
        .map(|part| with_children(Arc::clone(&plan), vec![part]));
    UnionExec::try_new(parts.collect::<Result<Vec<_>>>()?)
}
