//! Rows as the messages that a subscriber gets.
//!
//! Invariant: every batch tells, as `{"next_seq": N}` beside it, where a subscription that breaks
//! here is to go on; the columns are those of the table in SQL.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{FlightData, SchemaAsIpc};
use bytes::Bytes;
use tapewatch_model::OrderBatch;

use super::schema_of;
use super::topic::Topic;
use crate::order_arrays;

/// Rows in one message: below what clients take unless they say more (4 MiB).
const MESSAGE_ROWS: usize = 8_192;

/// The message with the schema, the first of a stream.
pub(super) fn schema(schema: &Schema) -> FlightData {
    SchemaAsIpc::new(schema, &IpcWriteOptions::default()).into()
}

/// Where a subscription that breaks behind this message is to go on.
pub(super) fn position(next_seq: u64) -> Bytes {
    format!("{{\"next_seq\":{next_seq}}}").into()
}

/// Makes the messages of one stream.
#[derive(Default)]
pub(super) struct Encoder {
    /// The tables' columns have no dictionaries.
    tracker: Option<DictionaryTracker>,
    context: IpcWriteContext,
}

impl Encoder {
    /// The messages of orders that are numbered; the last tells `next_seq`.
    pub(super) fn orders(
        &mut self,
        orders: &OrderBatch,
        next_seq: u64,
    ) -> Result<Vec<FlightData>, ArrowError> {
        let schema = schema_of(Topic::Orders);
        let mut messages = Vec::new();
        let mut from = 0;
        while from < orders.len() {
            let upto = orders.len().min(from + MESSAGE_ROWS);
            let next = match upto == orders.len() {
                true => next_seq,
                false => orders.seq(upto),
            };
            let batch = order_arrays::rows(orders, from..upto, &schema)?;
            messages.push(self.batch(&batch, Some(next))?);
            from = upto;
        }
        Ok(messages)
    }

    /// The messages of a batch of any table, without saying where to go on: rows of one number may
    /// be in the next batch.
    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>, ArrowError> {
        let mut messages = Vec::new();
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = MESSAGE_ROWS.min(batch.num_rows() - from);
            messages.push(self.batch(&batch.slice(from, rows), None)?);
            from += rows;
        }
        Ok(messages)
    }

    fn batch(
        &mut self,
        batch: &RecordBatch,
        next_seq: Option<u64>,
    ) -> Result<FlightData, ArrowError> {
        let tracker = self
            .tracker
            .get_or_insert_with(|| DictionaryTracker::new(false));
        let options = IpcWriteOptions::default();
        let generator = IpcDataGenerator::default();
        let (_, encoded) = generator.encode(batch, tracker, &options, &mut self.context)?;
        let mut message = FlightData::from(encoded);
        if let Some(next_seq) = next_seq {
            message.app_metadata = position(next_seq);
        }
        Ok(message)
    }
}
