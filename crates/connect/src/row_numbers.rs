//! Numbers the rows that a source gives, from 1, refused ones too.
//!
//! Invariant: each row has the number after that of the row before it; orders keep theirs when rows
//! between them were refused.

use tapewatch_model::OrderBatch;

/// Counts rows over all batches, and remembers which of this batch are orders.
#[derive(Debug, Default)]
pub(crate) struct RowNumbers {
    rows: u64,
    /// Rows before this batch.
    before: u64,
    /// Numbers of this batch's orders, once they do not just follow each other.
    orders: Option<Vec<u64>>,
}

impl RowNumbers {
    /// Begins a batch.
    pub(crate) fn begin(&mut self) {
        self.before = self.rows;
        self.orders = None;
    }

    /// Rows of this batch so far.
    pub(crate) const fn in_batch(&self) -> u64 {
        self.rows - self.before
    }

    /// The next row is an order.
    pub(crate) fn order(&mut self) {
        self.rows += 1;
        if let Some(orders) = &mut self.orders {
            orders.push(self.rows);
        }
    }

    /// The next row is refused.
    pub(crate) fn refused(&mut self) {
        let (first, last) = (self.before + 1, self.rows);
        self.orders.get_or_insert_with(|| (first..=last).collect());
        self.rows += 1;
    }

    /// Gives this batch's orders their numbers.
    pub(crate) fn give(&mut self, orders: &mut OrderBatch) {
        match self.orders.take() {
            None => orders.number_from(self.before + 1),
            Some(numbers) => {
                let numbered = orders.number_with(numbers);
                debug_assert!(numbered, "a number for each order");
            }
        }
    }
}
