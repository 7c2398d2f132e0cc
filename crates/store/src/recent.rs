//! Today's rows in memory: sealed chunks and one that is still open, for each table.
//!
//! Invariant: rows are in order of their sequence numbers; a sealed chunk never changes, so that a
//! query's snapshot shares it and costs the appender no more than a copy of the open chunk.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::rows::{Rows, seqs};

/// The rows of one table.
#[derive(Default)]
pub(crate) struct Recent<R> {
    sealed: Arc<Vec<RecordBatch>>,
    open: R,
    /// The open chunk as the last snapshot saw it, while nothing was added.
    copied: Option<RecordBatch>,
    sealed_rows: usize,
}

/// The rows of one table at one instant.
#[derive(Clone)]
pub(crate) struct RecentRows {
    sealed: Arc<Vec<RecordBatch>>,
    open: Option<RecordBatch>,
}

impl<R: Rows> Recent<R> {
    /// The open chunk, to add rows to; [`Self::added`] must follow.
    pub(crate) fn open(&mut self) -> &mut R {
        &mut self.open
    }

    /// Seals the open chunk when it is full.
    pub(crate) fn added(&mut self) {
        self.copied = None;
        if self.open.is_full() {
            self.seal();
        }
    }

    fn seal(&mut self) {
        self.copied = None;
        if self.open.len() > 0 {
            let chunk = self.open.take();
            self.push(chunk);
        }
    }

    fn push(&mut self, chunk: RecordBatch) {
        self.sealed_rows += chunk.num_rows();
        Arc::make_mut(&mut self.sealed).push(chunk);
    }

    /// Takes a chunk as it is; its rows must come behind those here.
    pub(crate) fn adopt(&mut self, chunk: RecordBatch) {
        self.seal();
        self.push(chunk);
    }

    /// The last sequence number.
    pub(crate) fn last_seq(&mut self) -> Option<u64> {
        self.seal();
        last_seq(&self.sealed)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.sealed_rows + self.open.len()
    }

    /// The rows as they are now.
    pub(crate) fn snapshot(&mut self) -> RecentRows {
        if self.copied.is_none() && self.open.len() > 0 {
            self.copied = Some(self.open.copy());
        }
        RecentRows {
            sealed: Arc::clone(&self.sealed),
            open: self.copied.clone(),
        }
    }

    /// Forgets the rows up to a sequence number.
    pub(crate) fn forget(&mut self, through: u64) {
        self.seal();
        let kept: Vec<_> = self
            .sealed
            .iter()
            .filter_map(|chunk| after(chunk, through))
            .collect();
        self.sealed_rows = kept.iter().map(RecordBatch::num_rows).sum();
        self.sealed = Arc::new(kept);
    }
}

impl RecentRows {
    /// All chunks in order.
    pub(crate) fn chunks(&self) -> impl DoubleEndedIterator<Item = &RecordBatch> {
        self.sealed.iter().chain(&self.open)
    }

    /// The rows with `after < seq <= through`.
    pub(crate) fn between(&self, seq_after: u64, through: u64) -> Vec<RecordBatch> {
        self.chunks()
            .filter_map(|chunk| up_to(&after(chunk, seq_after)?, through))
            .collect()
    }
}

/// The last sequence number of batches in order.
pub(crate) fn last_seq(batches: &[RecordBatch]) -> Option<u64> {
    let last = seqs(batches.last()?)?.last()?;
    Some(last.cast_unsigned())
}

/// Rows of a chunk whose sequence number is at most `seq`.
pub(crate) fn rows_up_to(chunk: &RecordBatch, seq: u64) -> usize {
    let seqs = seqs(chunk).unwrap_or_default();
    seqs.partition_point(|&s| s.cast_unsigned() <= seq)
}

/// The rows of a chunk with a sequence number above `seq`; `None` when there are none.
pub(crate) fn after(chunk: &RecordBatch, seq: u64) -> Option<RecordBatch> {
    let from = rows_up_to(chunk, seq);
    let rows = chunk.num_rows() - from;
    (rows > 0).then(|| chunk.slice(from, rows))
}

fn up_to(chunk: &RecordBatch, seq: u64) -> Option<RecordBatch> {
    let rows = rows_up_to(chunk, seq);
    (rows > 0).then(|| chunk.slice(0, rows))
}
