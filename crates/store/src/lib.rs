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

mod block_sums;
mod check;
mod checked_store;
pub mod cluster;
mod coded;
mod column_chunk;
mod columns;
mod counts;
mod data_file;
mod disk_rows;
mod end_of_day;
pub mod flight;
mod history;
mod hit_file;
mod object_file;
mod order_arrays;
pub mod order_file;
mod place;
pub mod postgres;
mod query;
mod recent;
mod recent_orders;
mod rows;
mod scan;
mod schema;
mod sorted_orders;
mod spill;
mod sql;
mod store;
mod upkeep;
mod versions;

pub use check::{CheckReport, Damage, DamagedFile, Repair};
pub use counts::Counts;
pub use end_of_day::{EndOfDayError, EndOfDayReport, TableReport};
pub use hit_file::HitFileError;
pub use place::HistoryOptions;
pub use query::{
    AskedLimits, Description, Door, Limit, Parameter, QueryEnd, QueryState, QueryStatus, Request,
};
pub use scan::{OrderScan, Place as ScanPlace, ScanError, ScanRequest, ScanUnit};
pub use spill::SpillError;
pub use sql::{
    Chunks, Column, Format, FormatError, HistoryOrders, Place, QueryResult, SqlError, Values,
};
pub use store::{HighWater, OpenError, Store, StoreOptions};
pub use upkeep::{UpkeepError, UpkeepReport};
pub use versions::TableVersion;
