//! How much is in a store.
//!
//! Invariant: all numbers are of one instant.

/// Numbers of rows, in recent and history together unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Orders.
    pub orders: u64,
    /// Hits.
    pub hits: u64,
    /// Alerts: hits that are the first of their alert.
    pub alerts: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Orders that are in memory.
    pub recent_orders: u64,
    /// Bytes of memory that these orders take.
    pub recent_bytes: u64,
    /// Orders of today that are on the local disk.
    pub spilled_orders: u64,
}
