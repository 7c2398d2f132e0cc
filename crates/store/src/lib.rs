//! Recent (today in memory), history (Delta Lake) and SQL over both.
//!
//! ```text
//!            append_orders, append_hits, append_dead_letters        end_of_day
//! pipeline ─────────────────────────────────────────────► recent ─────────────► history
//!                                                            └───────┬─────────────┘
//!                                                                snapshot ──► sql, history_orders
//! ```
//!
//! Invariant: this is the only crate that names Arrow, Parquet, DataFusion and Delta Lake, and its
//! interface shows none of them.

// The tests' helpers name this crate as its users do, inside it too.
#[cfg(test)]
extern crate self as tapewatch_store;

mod coded;
mod end_of_day;
mod history;
pub mod order_file;
mod recent;
mod rows;
mod scan;
mod schema;
mod sql;
mod store;

pub use end_of_day::{EndOfDayError, EndOfDayReport, TableReport};
pub use scan::{OrderScan, ScanError, ScanRequest, ScanUnit};
pub use sql::{Column, Format, FormatError, HistoryOrders, Place, QueryResult, SqlError};
pub use store::{Counts, HighWater, OpenError, Store, StoreOptions};
