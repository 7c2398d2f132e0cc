//! Orders from whole Arrow batches that come over a wire: the columns of a file, by the same rules.
//!
//! Invariant: a batch is read whole or refused with the first row that is wrong; nothing of a refused
//! one is kept.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use tapewatch_model::{OrderBatch, OrderColumns, RowError};

use super::columns::{Codes, Columns};
use super::{Places, find_columns};

/// Reads the batches of one schema.
pub(crate) struct OrderRows {
    places: Places,
    codes: Codes,
    /// Kept for its memory.
    filling: OrderColumns,
    /// No rows: the dictionaries so far.
    before: OrderBatch,
}

/// Why a batch is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// A row is wrong.
    #[error("row {row}: column {}: {}", error.column, error.reason)]
    Row {
        /// Row, from 0.
        row: usize,
        /// What is wrong.
        error: RowError,
    },
    /// A column cannot be read as what it says it is.
    #[error("cannot be read: {0}")]
    Arrow(#[from] ArrowError),
}

impl OrderRows {
    /// Finds the columns.
    ///
    /// # Errors
    /// Which is missing, there twice, or of a type that cannot hold it.
    pub(crate) fn of(schema: &Schema) -> Result<Self, String> {
        Ok(Self {
            places: find_columns(schema)?,
            codes: Codes::default(),
            filling: OrderColumns::default(),
            before: OrderBatch::default(),
        })
    }

    /// The orders of a batch of the schema, not numbered.
    pub(crate) fn read(&mut self, batch: &RecordBatch) -> Result<OrderBatch, BatchError> {
        let mut orders = OrderBatch::following(&self.before, batch.num_rows());
        let columns = Columns::of(batch, &self.places)?;
        self.codes.begin(&columns, &orders);
        let rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        if !columns.fill(&rows, &mut self.codes, &mut self.filling, &mut orders) {
            for row in 0..batch.num_rows() {
                columns
                    .push(row, &mut self.codes, &mut orders)
                    .map_err(|error| BatchError::Row { row, error })?;
            }
        }
        self.codes.end(&orders);
        self.before = OrderBatch::following(&orders, 0);
        Ok(orders)
    }
}
