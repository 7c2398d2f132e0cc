//! Rows that this process lends to the executors of its own queries.
//!
//! Invariant: they are made on the threads of queries, as they are taken.

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::{StreamExt as _, TryStreamExt as _};
use tonic::Status;

use super::Desk;
use super::service::Answers;
use crate::cluster::PREFIX;

/// The rows of a ticket; `None` when it is another kind of ticket.
pub(super) fn rows<D: Desk>(
    desk: &D,
    ticket: &[u8],
) -> Option<Result<Answers<FlightData>, Status>> {
    let ticket = std::str::from_utf8(ticket).ok()?;
    if !ticket.starts_with(PREFIX) {
        return None;
    }
    let store = match desk.tables() {
        Ok(store) => store,
        Err(refusal) => return Some(Err(refusal.into())),
    };
    let cluster = store.inner.cluster.as_ref();
    let Some(lent) = cluster.and_then(|cluster| cluster.lender.rows(ticket)) else {
        let text = "no such rows are lent: their query has ended";
        return Some(Err(Status::not_found(text)));
    };
    let aborted =
        |error: crate::SqlError| FlightError::Tonic(Box::new(Status::aborted(error.to_string())));
    let rows = store.pump(lent.rows).map_err(aborted);
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(lent.schema)
        .build(rows);
    let messages = messages.map_err(Status::from).boxed();
    Some(Ok(Box::pin(messages)))
}
