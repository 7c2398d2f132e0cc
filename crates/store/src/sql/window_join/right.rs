//! The right side of a join by time, as much of it as the window at hand needs.
//!
//! Invariant: rows have numbers in the order in which they come, from 0; the parts that are held are
//! whole batches without a gap, and their memory is taken from the query's pool.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::TimestampNanosecondType;
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt as _;

/// What the window's own lists take for a row and a measure.
const LIST_BYTES: usize = 24;

/// A batch of the right side.
pub(super) struct Part {
    /// The number of its first row.
    base: u64,
    keys: Option<Rows>,
    times: ScalarBuffer<i64>,
    /// What is measured, one array a measure.
    pub(super) arguments: Vec<ArrayRef>,
    /// The same as bytes that compare like the values, where least or greatest are wanted.
    pub(super) sorted: Vec<Option<Rows>>,
    pub(super) bytes: usize,
}

impl Part {
    pub(super) fn time(&self, row: usize) -> i64 {
        self.times.get(row).copied().unwrap_or(i64::MAX)
    }

    /// The key; `None` where there are no keys, which makes all rows one group.
    pub(super) fn key(&self, row: usize) -> Option<Row<'_>> {
        self.keys.as_ref().map(|keys| keys.row(row))
    }
}

/// The right side.
pub(super) struct Right {
    stream: SendableRecordBatchStream,
    keys: RowConverter,
    key_count: usize,
    /// For each measure: how its values become bytes, where they are compared.
    converters: Vec<Option<RowConverter>>,
    parts: VecDeque<Arc<Part>>,
    /// Rows that came so far.
    len: u64,
    reservation: MemoryReservation,
}

impl Right {
    pub(super) fn new(
        stream: SendableRecordBatchStream,
        key_count: usize,
        compared: &[bool],
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let schema = stream.schema();
        let field = |at: usize| {
            let field = schema.fields().get(at);
            field.map(|field| SortField::new(field.data_type().clone()))
        };
        let keys = (0..key_count).filter_map(field).collect();
        let measures = compared.iter().enumerate().map(|(at, compared)| {
            let field = field(key_count + 1 + at).filter(|_| *compared);
            field
                .map(|field| RowConverter::new(vec![field]))
                .transpose()
        });
        Ok(Self {
            converters: measures.collect::<Result<_, _>>()?,
            keys: RowConverter::new(keys)?,
            stream,
            key_count,
            parts: VecDeque::new(),
            len: 0,
            reservation,
        })
    }

    /// The keys of a batch of either side; `None` where there are none.
    pub(super) fn keys_of(&self, columns: &[ArrayRef]) -> Result<Option<Rows>> {
        let keys = columns.get(..self.key_count).unwrap_or_default();
        match keys {
            [] => Ok(None),
            keys => Ok(Some(self.keys.convert_columns(keys)?)),
        }
    }

    /// The part with row `at`, and where in it; `None` behind the last row.
    pub(super) async fn get(&mut self, at: u64) -> Result<Option<(Arc<Part>, usize)>> {
        while at >= self.len {
            match self.stream.next().await.transpose()? {
                Some(batch) => self.push(&batch)?,
                None => return Ok(None),
            }
        }
        self.held(at).map(Some)
    }

    /// The same of a row that is held.
    pub(super) fn held(&self, at: u64) -> Result<(Arc<Part>, usize)> {
        let behind = self.parts.partition_point(|part| part.base <= at);
        let part = behind
            .checked_sub(1)
            .and_then(|index| self.parts.get(index));
        let part = part.ok_or_else(|| internal_datafusion_err!("a row of the window has gone"))?;
        let row = usize::try_from(at - part.base).unwrap_or(usize::MAX);
        Ok((Arc::clone(part), row))
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = batch.columns();
        let missing = || internal_datafusion_err!("the right side lacks a column");
        let times = columns.get(self.key_count).ok_or_else(missing)?;
        let times = times.as_primitive_opt::<TimestampNanosecondType>();
        let arguments = columns.iter().skip(self.key_count + 1);
        let arguments: Vec<ArrayRef> = arguments.take(self.converters.len()).cloned().collect();
        let sorted = self.converters.iter().zip(&arguments);
        let sorted = sorted.map(|(converter, argument)| {
            let rows = |converter: &RowConverter| {
                converter.convert_columns(std::slice::from_ref(argument))
            };
            converter.as_ref().map(rows).transpose()
        });
        let sorted: Vec<Option<Rows>> = sorted.collect::<Result<_, _>>()?;
        let keys = self.keys_of(columns)?;
        let rows = keys.iter().chain(sorted.iter().flatten());
        let bytes = batch.get_array_memory_size()
            + rows.map(Rows::size).sum::<usize>()
            + LIST_BYTES * (arguments.len() + 1) * batch.num_rows();
        self.reservation.try_grow(bytes)?;
        self.parts.push_back(Arc::new(Part {
            base: self.len,
            keys,
            times: times.ok_or_else(missing)?.values().clone(),
            arguments,
            sorted,
            bytes,
        }));
        self.len += batch.num_rows() as u64;
        Ok(())
    }

    /// Lets go what stands wholly before row `at`.
    pub(super) fn forget_before(&mut self, at: u64) {
        while let Some(part) = self.parts.front() {
            if part.base + part.times.len() as u64 > at {
                break;
            }
            self.reservation
                .shrink(part.bytes.min(self.reservation.size()));
            self.parts.pop_front();
        }
    }
}
