//! The tickerplant's side of kdb+tick: what clients ask, rows in and rows out.
//!
//! Invariant: a message is understood whole or refused whole; within an update that is understood,
//! each row becomes exactly one order or one dead letter.

mod cells;
mod reply;
mod request;
mod rows;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

use tapewatch_model::Time;

pub use self::reply::{
    alert_table, cols, columns_of, end_of_day, meta, no_log, order_table, publish, schema,
    subscribed, tables, update,
};
pub use self::request::{Refused, Request, Subscription, Syms, Update};
pub use self::rows::{AlertRow, AlertRows, OrderRows, UpdateError};

use super::value::{INFINITE_LONG, Items, MINUS_INFINITE_LONG, NULL_LONG, Symbols};

/// The reference's table of orders.
pub const ORDER: &str = "order";
/// The reference's table of alerts.
pub const ORDER_ALERTS: &str = "orderAlerts";

/// Nanoseconds from 1970 to 2000, where q's times begin.
const EPOCH: i64 = 10_957 * 86_400 * 1_000_000_000;
/// Days from 1970 to 2000.
pub(super) const EPOCH_DAYS: i32 = 10_957;

/// What the reference keeps in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// `p`
    Timestamp,
    /// `s`
    Symbol,
    /// `C`: a list of characters each.
    Text,
    /// `f`
    Float,
    /// `j`
    Long,
    /// `n`
    Timespan,
    /// `d`
    Date,
    /// `b`
    Bool,
}

impl ColumnKind {
    /// A column without values.
    #[must_use]
    pub fn empty(self) -> Items {
        match self {
            Self::Timestamp => Items::Timestamp(Vec::new()),
            Self::Symbol => Items::Symbol(Symbols::default()),
            Self::Text => Items::Mixed(Vec::new()),
            Self::Float => Items::Float(Vec::new()),
            Self::Long => Items::Long(Vec::new()),
            Self::Timespan => Items::Timespan(Vec::new()),
            Self::Date => Items::Date(Vec::new()),
            Self::Bool => Items::Bool(Vec::new()),
        }
    }
}

/// Name and kind of the columns of a table of the reference, in its order; of another table nothing.
#[must_use]
pub fn columns(table: &str) -> Option<&'static [(&'static str, ColumnKind)]> {
    use ColumnKind::{Float, Long, Symbol, Text, Timespan, Timestamp};
    const ALL: &[(&str, ColumnKind)] = &[
        ("time", Timestamp),
        ("sym", Symbol),
        ("eventType", Symbol),
        ("trader", Text),
        ("side", Symbol),
        ("orderID", Text),
        ("price", Float),
        ("quantity", Float),
        ("alertName", Symbol),
        ("totalCancelQty", Float),
        ("totalCancelCount", Long),
        ("cancelQtyThreshold", Long),
        ("cancelCountThreshold", Long),
        ("lookbackInterval", Timespan),
    ];
    match table {
        ORDER => ALL.get(..8),
        ORDER_ALERTS => Some(ALL),
        _ => None,
    }
}

/// q's timestamp of a time. Times before 1707-09-22, which q cannot say, become `-0Wp`.
#[must_use]
pub fn to_timestamp(time: Time) -> i64 {
    time.nanos().saturating_sub(EPOCH).max(MINUS_INFINITE_LONG)
}

/// q's date of a number of days since 1970; its null of none.
#[must_use]
pub fn to_date(days: Option<i32>) -> i32 {
    days.map_or(i32::MIN, |days| days.saturating_sub(EPOCH_DAYS))
}

/// The time of q's timestamp.
///
/// # Errors
/// What is wrong with it: it is null, infinite, or later than 2262-04-11.
pub fn from_timestamp(timestamp: i64) -> Result<Time, &'static str> {
    match timestamp {
        NULL_LONG => Err("is null"),
        INFINITE_LONG | MINUS_INFINITE_LONG => Err("is infinite"),
        _ => timestamp
            .checked_add(EPOCH)
            .map(Time::from_nanos)
            .ok_or("time out of range 1677-09-21 to 2262-04-11"),
    }
}
