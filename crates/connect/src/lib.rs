//! Feed handlers: decoding is a pure function, the I/O loop stands beside it.
//!
//! Invariant: a row of a source comes out exactly once, as an order or as a dead letter with its
//! place and reason; what cannot be read at all is a [`tapewatch_model::SourceError`]. Nothing here
//! reads a clock or sleeps: [`pace`] says when a bucket is due, the caller waits.

mod csv;
mod dbn;
pub mod kdb;
mod lobster;
mod open_orders;
pub mod pace;
mod row_numbers;
mod strict;
mod thresholds;
// <new connector>

pub use self::dbn::DbnOrders;
pub use csv::{CsvOrders, ROW_BYTES_MAX};
pub use lobster::{LobsterOptions, LobsterOrders};
pub use pace::{Bucketer, Due, Pace, Speed, SpeedError};
pub use strict::first_error;
pub use thresholds::{SpoofingThresholds, read_thresholds};

use tapewatch_model::SourceError;

/// An error of the source called `source_name`.
fn source_error(source_name: &str, message: impl Into<String>) -> SourceError {
    SourceError {
        source_name: source_name.to_owned(),
        message: message.into(),
    }
}
