//! The merge of both sides of a join by time, row after row of the left one.
//!
//! Invariant: both sides come sorted by keys and time; begin and end of the window only move forward
//! within a group, so that each right row comes in once and leaves once.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    RecordBatchOptions, new_null_array,
};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, TimestampNanosecondType};
use arrow::row::{OwnedRow, Row, Rows};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;

use super::call::Window;
use super::exec::{Output, Plan};
use super::right::Right;
use super::running::{Picked, Running, Value};

/// Parts of the right side that a batch of results may refer to.
const PARTS_MAX: usize = 16;

/// A batch of the left side that is being worked off.
struct LeftBatch {
    batch: RecordBatch,
    keys: Option<Rows>,
    /// The next row.
    next: usize,
}

/// The measures of rows that are not given out yet.
struct Results {
    kind: DataType,
    units: Vec<Option<i128>>,
    floats: Vec<Option<f64>>,
    picked: Picked,
}

/// The merge.
pub(super) struct Fold {
    left: SendableRecordBatchStream,
    right: Right,
    plan: Arc<Plan>,
    at: Option<LeftBatch>,
    /// The group that the window is in; `None` before the first.
    group: Option<Option<OwnedRow>>,
    /// The window: rows from `begin` to before `end`.
    begin: u64,
    end: u64,
    running: Vec<Running>,
}

impl Fold {
    pub(super) fn new(left: SendableRecordBatchStream, right: Right, plan: Arc<Plan>) -> Self {
        let functions = plan.functions.iter().enumerate();
        let running = functions
            .map(|(at, (function, kind))| Running::new(*function, kind.clone(), at))
            .collect();
        Self {
            left,
            right,
            plan,
            at: None,
            group: None,
            begin: 0,
            end: 0,
            running,
        }
    }

    /// The next results; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut at = match self.at.take() {
            Some(at) => at,
            None => loop {
                let Some(batch) = self.left.next().await.transpose()? else {
                    return Ok(None);
                };
                if batch.num_rows() > 0 {
                    let helpers = batch.columns().get(self.plan.left_columns..);
                    let keys = self.right.keys_of(helpers.unwrap_or_default())?;
                    break LeftBatch {
                        batch,
                        keys,
                        next: 0,
                    };
                }
            },
        };
        let kinds = self.plan.functions.iter().map(|(_, kind)| kind.clone());
        let mut results: Vec<Results> = kinds.map(Results::new).collect();
        let from = at.next;
        let times = at
            .batch
            .columns()
            .get(self.plan.left_columns + self.plan.keys);
        let times = times.and_then(|times| times.as_primitive_opt::<TimestampNanosecondType>());
        let times = times.cloned();
        let times = times.ok_or_else(|| internal_datafusion_err!("the left side has no time"))?;
        while at.next < at.batch.num_rows() {
            let row = at.next;
            // A row without a time has an empty window.
            let window = if times.is_valid(row) {
                let key = at.keys.as_ref().map(|keys| keys.row(row));
                self.enter_group(key).await?;
                self.move_to(key, times.value(row)).await?;
                true
            } else {
                false
            };
            self.measure(window, &mut results)?;
            at.next += 1;
            let kept = results.iter().map(|r| r.picked.parts().len());
            if kept.sum::<usize>() > PARTS_MAX * results.len() {
                break;
            }
        }
        let left = at.batch.slice(from, at.next - from);
        if at.next < at.batch.num_rows() {
            self.at = Some(at);
        }
        self.output(&left, results).map(Some)
    }

    /// Goes to the first right row of the key's group, or behind all before it.
    async fn enter_group(&mut self, key: Option<Row<'_>>) -> Result<()> {
        let same = |group: &Option<OwnedRow>| group.as_ref().map(OwnedRow::row) == key;
        if self.group.as_ref().is_some_and(same) {
            return Ok(());
        }
        self.group = Some(key.map(|key| key.owned()));
        self.running.iter_mut().for_each(Running::clear);
        while let Some((part, row)) = self.right.get(self.end).await? {
            if part.key(row) >= key {
                break;
            }
            self.end += 1;
            if row == 0 {
                self.right.forget_before(self.end);
            }
        }
        self.begin = self.end;
        self.right.forget_before(self.begin);
        Ok(())
    }

    /// Moves the window to that of a left row.
    async fn move_to(&mut self, key: Option<Row<'_>>, time: i64) -> Result<()> {
        // Beyond the range of times there are no rows.
        let Window { begin, end, .. } = self.plan.window;
        let (begin, end) = (time.saturating_add(begin), time.saturating_add(end));
        while let Some((part, row)) = self.right.get(self.end).await? {
            if part.key(row) != key || part.time(row) > end {
                break;
            }
            for running in &mut self.running {
                running.push(&self.right, &part, row, self.end)?;
            }
            self.end += 1;
            if row == 0 {
                // What a long way brings is let go on the way.
                self.leave_before(begin)?;
            }
        }
        self.leave_before(begin)
    }

    /// Takes the rows before the window's begin out of it.
    fn leave_before(&mut self, begin: i64) -> Result<()> {
        let prevailing = self.plan.window.prevailing;
        while self.begin < self.end {
            let (part, row) = self.right.held(self.begin)?;
            let leaves = if prevailing {
                let next = self.begin + 1;
                next < self.end && {
                    let (part, row) = self.right.held(next)?;
                    part.time(row) <= begin
                }
            } else {
                part.time(row) < begin
            };
            if !leaves {
                break;
            }
            for running in &mut self.running {
                running.pop(&part, row, self.begin)?;
            }
            self.begin += 1;
        }
        self.right.forget_before(self.begin);
        Ok(())
    }

    fn measure(&self, window: bool, results: &mut [Results]) -> Result<()> {
        for (running, results) in self.running.iter().zip(results) {
            let value = if window {
                running.value(self.begin, self.end)?
            } else {
                running.nothing()
            };
            results.push(value, &self.right)?;
        }
        Ok(())
    }

    fn output(&self, left: &RecordBatch, results: Vec<Results>) -> Result<RecordBatch> {
        let parts = results.into_iter().enumerate();
        let measured: Vec<ArrayRef> = parts
            .map(|(at, results)| results.finish(at))
            .collect::<Result<_>>()?;
        let missing = || internal_datafusion_err!("a column of the join is missing");
        let outputs = self.plan.outputs.iter();
        let columns = outputs.map(|output| {
            let column = match *output {
                Output::Left(at) => left.columns().get(at),
                Output::Measured(at) => measured.get(at),
            };
            column.cloned().ok_or_else(missing)
        });
        let rows = RecordBatchOptions::new().with_row_count(Some(left.num_rows()));
        let schema = Arc::clone(&self.plan.schema);
        let columns = columns.collect::<Result<_>>()?;
        Ok(RecordBatch::try_new_with_options(schema, columns, &rows)?)
    }
}

impl Results {
    fn new(kind: DataType) -> Self {
        Self {
            kind,
            units: Vec::new(),
            floats: Vec::new(),
            picked: Picked::default(),
        }
    }

    fn push(&mut self, value: Value, right: &Right) -> Result<()> {
        match value {
            // Whichever list is used, the others are not.
            Value::Null => {
                self.units.push(None);
                self.floats.push(None);
                self.picked.push(None);
            }
            Value::Count(count) => self.units.push(Some(count.into())),
            Value::Units(units) => {
                self.units.push(Some(units));
                self.picked.push(None);
            }
            Value::Float(float) => {
                self.floats.push(Some(float));
                self.picked.push(None);
            }
            Value::OfRow(row) => self.picked.push(Some(right.held(row)?)),
        }
        Ok(())
    }

    /// The column of measure `at`.
    fn finish(self, at: usize) -> Result<ArrayRef> {
        let parts = self.picked.parts();
        if !parts.is_empty() {
            let null = new_null_array(&self.kind, 1);
            let arguments = parts.iter().filter_map(|part| part.arguments.get(at));
            let arrays: Vec<_> = std::iter::once(&null)
                .chain(arguments)
                .map(AsRef::as_ref)
                .collect();
            return Ok(interleave(&arrays, &self.picked.places)?);
        }
        let narrow = |units: i128| i64::try_from(units).ok();
        Ok(match self.kind {
            DataType::Float64 if !self.floats.is_empty() => {
                Arc::new(Float64Array::from(self.floats))
            }
            DataType::Int64 if !self.units.is_empty() => {
                let units = self.units.into_iter();
                Arc::new(units.map(|u| u.and_then(narrow)).collect::<Int64Array>())
            }
            DataType::Decimal128(..) if !self.units.is_empty() => {
                let units = Decimal128Array::from(self.units);
                Arc::new(units.with_data_type(self.kind))
            }
            kind => new_null_array(&kind, self.picked.places.len()),
        })
    }
}
