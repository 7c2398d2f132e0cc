//! What a process needs that hands calls on to others: which table a call is about, and refusals in
//! the protocol's own words.
//!
//! Invariant: a call is read as the service reads it; what cannot be read is left to the service to
//! refuse.

use arrow_flight::{FlightData, Ticket as FlightTicket};
use prost::Message as _;
use tonic::Status;
use tonic::codegen::http::{HeaderMap, Response};

use super::service::ticket_of;
use super::{Refusal, Ticket, Topic};

/// Whether the table that a call is about stands in the first message of its stream.
#[must_use]
pub fn names_a_table(call: &str) -> bool {
    matches!(call, "DoGet" | "DoExchange")
}

/// The table that the first message (without its length) of such a call names; `None` when it cannot
/// be read.
#[must_use]
pub fn table_of(call: &str, message: &[u8]) -> Option<Topic> {
    let ticket = match call {
        "DoGet" => Ticket::parse(&FlightTicket::decode(message).ok()?.ticket),
        _ => ticket_of(&FlightData::decode(message).ok()?.flight_descriptor?),
    };
    ticket.ok().map(|ticket| ticket.table)
}

/// The answer to a call that was refused before it began.
#[must_use]
pub fn refused<B: Default>(refusal: Refusal) -> Response<B> {
    Status::from(refusal).into_http()
}

/// The end of an answer that breaks off.
#[must_use]
pub fn broken_off(refusal: Refusal) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // It fails on details alone, and there are none.
    let _ = Status::from(refusal).add_header(&mut trailers);
    trailers
}
