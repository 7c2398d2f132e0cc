//! Orders of a span of time, streamed as batches of the model.
//!
//! Invariant: rows come ascending by sequence number, each with its own, whatever part of them is in
//! recent and whatever in history.

use std::fmt;

use tapewatch_model::{OrderBatch, Time};

use super::error::SqlError;
use super::result::QueryResult;
use crate::rows::OrderColumns;
use crate::store::Store;

/// Orders, batch after batch.
pub struct HistoryOrders {
    result: QueryResult,
}

impl fmt::Debug for HistoryOrders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryOrders").finish_non_exhaustive()
    }
}

impl Store {
    /// The orders with `from <= time < to`, of recent and history, ascending by sequence number.
    /// The time limit of queries does not hold for it.
    ///
    /// # Errors
    /// [`SqlError`] when the tables cannot be read.
    pub async fn history_orders(&self, from: Time, to: Time) -> Result<HistoryOrders, SqlError> {
        // The dates choose the partitions; the times choose the rows.
        let query = format!(
            "SELECT seq, time, sym, event_type, trader, side, order_id, price, quantity, account, \
             exec_id, display_quantity, flags FROM orders WHERE date >= DATE '{}' AND date <= DATE '{}' \
             AND time >= arrow_cast({}, 'Timestamp(Nanosecond, Some(\"UTC\"))') \
             AND time < arrow_cast({}, 'Timestamp(Nanosecond, Some(\"UTC\"))') ORDER BY seq",
            from.date(),
            to.date(),
            literal(from),
            literal(to),
        );
        let result = self.own_sql(&query).await?;
        Ok(HistoryOrders { result })
    }
}

/// The smallest integer is not a number in SQL: its minus is an operator.
fn literal(time: Time) -> String {
    let nanos = time.nanos();
    if nanos == i64::MIN {
        "(-9223372036854775807 - 1)".to_owned()
    } else {
        format!("({nanos})")
    }
}

impl HistoryOrders {
    /// The next orders, numbered as they were; `None` at the end.
    ///
    /// # Errors
    /// [`SqlError`] when a file cannot be read, or holds what is not an order.
    pub async fn next(&mut self) -> Result<Option<OrderBatch>, SqlError> {
        let Some(batch) = self.result.next().await? else {
            return Ok(None);
        };
        let wrong = |message: &str| SqlError::Execution {
            message: format!("table orders: {message}; restore the history from a copy"),
        };
        let columns = OrderColumns::of(&batch).ok_or_else(|| wrong("its columns changed"))?;
        let mut orders = OrderBatch::default();
        let mut seqs = Vec::with_capacity(batch.num_rows());
        for index in 0..batch.num_rows() {
            let (seq, row) = columns
                .row(index)
                .ok_or_else(|| wrong("a row is not an order"))?;
            orders
                .push(&row.as_bytes())
                .map_err(|error| wrong(&format!("row with seq {seq}: {error}")))?;
            seqs.push(seq);
        }
        if !orders.number_with(seqs) {
            return Err(wrong("rows without numbers"));
        }
        Ok(Some(orders))
    }
}
