//! What a process needs that hands calls on to others: who has what a call is about, and refusals in
//! the protocol's own words.
//!
//! Invariant: a call is read as the service reads it; what cannot be read is left to the service to
//! refuse.

use arrow_flight::{FlightData, FlightDescriptor, Ticket as FlightTicket};
use prost::Message as _;
use tonic::Status;
use tonic::codegen::http::{HeaderMap, Response};

use super::service::ticket_of;
use super::{Refusal, Ticket, Topic, sql};

/// Whether it stands in the first message of a call who is to answer it.
#[must_use]
pub fn looks_inside(call: &str) -> bool {
    let calls = [
        "DoGet",
        "DoExchange",
        "DoPut",
        "DoAction",
        "GetFlightInfo",
        "GetSchema",
    ];
    calls.contains(&call)
}

/// Whether a call whose first message (without its length) is this is for who has the tables: a
/// statement, alerts or hits. What cannot be read is not.
#[must_use]
pub fn is_for_tables(call: &str, message: &[u8]) -> bool {
    let descriptor = match call {
        "DoAction" => return true,
        "DoGet" => {
            let ticket = FlightTicket::decode(message).unwrap_or_default().ticket;
            return sql::is_sql(&ticket)
                || Ticket::parse(&ticket).is_ok_and(|t| of_tables(t.table));
        }
        "GetFlightInfo" | "GetSchema" => FlightDescriptor::decode(message).ok(),
        _ => FlightData::decode(message)
            .ok()
            .and_then(|first| first.flight_descriptor),
    };
    descriptor.is_some_and(|descriptor| {
        let subscribes = || ticket_of(&descriptor).is_ok_and(|ticket| of_tables(ticket.table));
        sql::is_sql(&descriptor.cmd) || call == "DoExchange" && subscribes()
    })
}

fn of_tables(topic: Topic) -> bool {
    matches!(topic, Topic::Alerts | Topic::Hits)
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
