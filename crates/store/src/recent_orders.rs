//! Today's orders in memory: sealed batches and one that is still open.
//!
//! Invariant: rows ascend by sequence number; a sealed batch never changes, so that a query's
//! snapshot shares it and costs the appender no more than a copy of the open one; batches share
//! their dictionaries as long as these do not grow.

use std::ops::Range;
use std::sync::Arc;

use tapewatch_model::{Interner, Order, OrderBatch, Time};

/// The open batch is sealed at this size: what a snapshot may cost to copy.
const SEAL_ROWS: usize = 16_384;
/// A batch of this size is sealed as it came; smaller ones are collected.
const ADOPT_ROWS: usize = 2_048;

/// A part of a sealed batch.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    orders: Arc<OrderBatch>,
    rows: Range<usize>,
    /// No row is earlier than the first or later than the second.
    times: (Time, Time),
    /// Whether no row is earlier than the one before it.
    ascending: bool,
}

/// The orders of today.
#[derive(Default)]
pub(crate) struct RecentOrders {
    sealed: Arc<Vec<Chunk>>,
    open: Arc<OrderBatch>,
    syms: Arc<Interner>,
    traders: Arc<Interner>,
    accounts: Arc<Interner>,
    sealed_rows: usize,
    sealed_bytes: usize,
}

/// The orders of today at one instant.
#[derive(Clone)]
pub(crate) struct OrderRows {
    sealed: Arc<Vec<Chunk>>,
    open: Option<Chunk>,
}

impl Chunk {
    /// `None` when there is no row.
    pub(crate) fn of(orders: Arc<OrderBatch>, rows: Range<usize>) -> Option<Self> {
        let times = orders.times().get(rows.clone())?;
        let ascending = times.is_sorted();
        let times = (*times.iter().min()?, *times.iter().max()?);
        Some(Self {
            orders,
            rows,
            times,
            ascending,
        })
    }

    /// The batch.
    pub(crate) fn orders(&self) -> &OrderBatch {
        &self.orders
    }

    /// The rows of the batch that are meant.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The times between which all rows lie.
    pub(crate) fn times(&self) -> (Time, Time) {
        self.times
    }

    /// The rows with `from <= time <= upto`, when these stand together.
    pub(crate) fn span(&self, from: Time, upto: Time) -> Option<Range<usize>> {
        let times = self.orders.times().get(self.rows())?;
        let first = times.partition_point(|&time| time < from);
        let end = times.partition_point(|&time| time <= upto);
        let start = self.rows.start;
        (self.ascending && first <= end).then(|| start + first..start + end)
    }

    /// The first and the last sequence number.
    pub(crate) fn seqs(&self) -> (u64, u64) {
        let last = self.rows.end.saturating_sub(1);
        (self.orders.seq(self.rows.start), self.orders.seq(last))
    }

    /// The rows with `after < seq <= through`.
    fn between(&self, after: u64, through: u64) -> Option<Self> {
        let from = first_after(&self.orders, self.rows(), after);
        let upto = first_after(&self.orders, from..self.rows.end, through);
        (from < upto).then(|| Self {
            rows: from..upto,
            ..self.clone()
        })
    }

    fn read(&self, rows: Range<usize>, out: &mut Vec<Order>) {
        out.extend(rows.filter_map(|row| self.orders.order(row)));
    }

    fn bytes(&self, before: Option<&Self>) -> usize {
        bytes(&self.orders, before)
    }
}

/// Bytes on the heap, without the dictionaries that the chunk before counted.
fn bytes(orders: &OrderBatch, before: Option<&Chunk>) -> usize {
    let new = |dictionary: fn(&OrderBatch) -> Option<&Arc<Interner>>| {
        let mine = dictionary(orders);
        let known = before.and_then(|before| dictionary(&before.orders));
        match (mine, known) {
            (Some(mine), Some(known)) if Arc::ptr_eq(mine, known) => 0,
            (mine, _) => mine.map_or(0, |mine| mine.heap_bytes()),
        }
    };
    orders.heap_bytes()
        + new(|orders| Some(orders.syms()))
        + new(|orders| Some(orders.traders()))
        + new(|orders| Some(orders.accounts()?.0))
}

/// The first of the rows whose sequence number is above `seq`; their end when there is none.
pub(crate) fn first_after(orders: &OrderBatch, rows: Range<usize>, seq: u64) -> usize {
    let Range { mut start, mut end } = rows;
    while start < end {
        let middle = start.midpoint(end);
        if orders.seq(middle) <= seq {
            start = middle + 1;
        } else {
            end = middle;
        }
    }
    start
}

impl RecentOrders {
    /// Adds the rows above `mark`.
    pub(crate) fn append(&mut self, batch: OrderBatch, mark: u64) {
        let rows = first_after(&batch, 0..batch.len(), mark)..batch.len();
        if rows.is_empty() {
            return;
        }
        if rows.start > 0 || rows.len() >= ADOPT_ROWS {
            self.seal();
            self.adopt(batch, rows);
            return;
        }
        if let Err(error) = Arc::make_mut(&mut self.open).append(&batch) {
            unreachable!("a batch's rows are checked: {error}");
        }
        if self.open.len() >= SEAL_ROWS {
            self.seal();
        }
    }

    fn seal(&mut self) {
        let open = std::mem::take(&mut self.open);
        let rows = 0..open.len();
        self.adopt(Arc::unwrap_or_clone(open), rows);
    }

    fn adopt(&mut self, mut batch: OrderBatch, rows: Range<usize>) {
        batch.recode(&mut self.syms, &mut self.traders);
        batch.recode_accounts(&mut self.accounts);
        batch.shrink_to_fit();
        self.open = Arc::new(OrderBatch::following(&batch, 0));
        let Some(chunk) = Chunk::of(Arc::new(batch), rows) else {
            return;
        };
        self.sealed_rows += chunk.len();
        self.sealed_bytes += chunk.bytes(self.sealed.last());
        Arc::make_mut(&mut self.sealed).push(chunk);
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.sealed_rows + self.open.len()
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.sealed_bytes + bytes(&self.open, self.sealed.last())
    }

    /// The rows as they are now.
    pub(crate) fn snapshot(&self) -> OrderRows {
        OrderRows {
            sealed: Arc::clone(&self.sealed),
            open: Chunk::of(Arc::clone(&self.open), 0..self.open.len()),
        }
    }

    /// The oldest sealed rows, as many as must go for the others to take at most `kept` bytes.
    pub(crate) fn oldest(&self, kept: usize) -> Vec<Chunk> {
        let mut left = self.bytes();
        let before = std::iter::once(None).chain(self.sealed.iter().map(Some));
        let chunks = self.sealed.iter().zip(before);
        let must_go = chunks.take_while(|(chunk, before)| {
            let goes = left > kept;
            left = left.saturating_sub(chunk.bytes(*before));
            goes
        });
        must_go.map(|(chunk, _)| chunk.clone()).collect()
    }

    /// Takes the sealed chunks away that end at or before a sequence number.
    pub(crate) fn drop_through(&mut self, seq: u64) -> Arc<Vec<Chunk>> {
        let kept = self.sealed.iter().filter(|chunk| chunk.seqs().1 > seq);
        let kept = kept.cloned().collect();
        self.replace(kept)
    }

    /// Puts chunks before all others.
    pub(crate) fn prepend(&mut self, chunks: Vec<Chunk>) {
        let chunks = chunks.into_iter().filter_map(|chunk| {
            let mut orders = Arc::unwrap_or_clone(chunk.orders);
            orders.recode(&mut self.syms, &mut self.traders);
            orders.recode_accounts(&mut self.accounts);
            Chunk::of(Arc::new(orders), chunk.rows)
        });
        let mut all: Vec<_> = chunks.collect();
        all.extend(self.sealed.iter().cloned());
        self.replace(all);
    }

    /// Forgets the rows up to a sequence number.
    pub(crate) fn forget(&mut self, through: u64) {
        self.seal();
        let kept = self
            .sealed
            .iter()
            .filter_map(|chunk| chunk.between(through, u64::MAX));
        let kept = kept.collect();
        self.replace(kept);
    }

    /// Other sealed chunks in the place of those here, which are given back.
    fn replace(&mut self, chunks: Vec<Chunk>) -> Arc<Vec<Chunk>> {
        self.sealed_rows = chunks.iter().map(Chunk::len).sum();
        let before = std::iter::once(None).chain(chunks.iter().map(Some));
        let bytes = chunks.iter().zip(before);
        self.sealed_bytes = bytes.map(|(chunk, before)| chunk.bytes(before)).sum();
        std::mem::replace(&mut self.sealed, Arc::new(chunks))
    }
}

impl OrderRows {
    /// All chunks in order.
    pub(crate) fn chunks(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        self.sealed.iter().chain(&self.open)
    }

    /// The rows with `after < seq <= through`.
    pub(crate) fn between(&self, after: u64, through: u64) -> Vec<Chunk> {
        self.chunks()
            .filter_map(|chunk| chunk.between(after, through))
            .collect()
    }

    /// The first orders after `after`, at most `limit`.
    pub(crate) fn first(&self, after: u64, limit: usize) -> Vec<Order> {
        let mut orders = Vec::new();
        for chunk in self.chunks() {
            let from = first_after(&chunk.orders, chunk.rows(), after);
            let missing = limit - orders.len();
            let upto = chunk.rows.end.min(from.saturating_add(missing));
            chunk.read(from..upto, &mut orders);
            if orders.len() >= limit {
                break;
            }
        }
        orders
    }

    /// The last orders, at most `limit`, ascending.
    pub(crate) fn last(&self, limit: usize) -> Vec<Order> {
        let mut parts = Vec::new();
        let mut missing = limit;
        for chunk in self.chunks().rev() {
            let take = missing.min(chunk.len());
            parts.push((chunk, chunk.rows.end - take..chunk.rows.end));
            missing -= take;
            if missing == 0 {
                break;
            }
        }
        let mut orders = Vec::new();
        for (chunk, rows) in parts.into_iter().rev() {
            chunk.read(rows, &mut orders);
        }
        orders
    }
}
