//! One order event and the words its fields are written with.
//!
//! Invariant: the numbers of [`EventType`] and [`Side`] are part of the journal's format and never
//! change; a new kind takes a new number.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fixed::{Price, Quantity};
use crate::time::Time;

/// What happened to the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum EventType {
    /// The order entered the market.
    New = 1,
    /// Its price or quantity changed.
    Amended = 2,
    /// It left the market unfilled.
    Cancelled = 3,
    /// It traded.
    Filled = 4,
}

/// Which side of the market the order is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Side {
    /// Buy.
    #[serde(rename = "B")]
    Buy = 1,
    /// Sell.
    #[serde(rename = "S")]
    Sell = 2,
}

impl EventType {
    /// Reads the reference's words, common spellings and FIX `ExecType` (tag 150).
    #[must_use]
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"new" | b"New" | b"NEW" | b"0" => Self::New,
            b"amended" | b"Amended" | b"AMENDED" | b"replaced" | b"5" => Self::Amended,
            b"cancelled" | b"canceled" | b"Cancelled" | b"Canceled" | b"CANCELLED"
            | b"CANCELED" | b"4" => Self::Cancelled,
            b"filled" | b"Filled" | b"FILLED" | b"F" => Self::Filled,
            _ => return None,
        })
    }

    /// The kind with this number in the journal.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::New,
            2 => Self::Amended,
            3 => Self::Cancelled,
            4 => Self::Filled,
            _ => return None,
        })
    }

    /// The word in tables and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Amended => "amended",
            Self::Cancelled => "cancelled",
            Self::Filled => "filled",
        }
    }
}

impl Side {
    /// Reads `B`/`S`, `buy`/`sell` and FIX `Side` (tag 54, 1 and 2).
    #[must_use]
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"B" | b"b" | b"1" | b"buy" | b"Buy" | b"BUY" => Self::Buy,
            b"S" | b"s" | b"2" | b"sell" | b"Sell" | b"SELL" => Self::Sell,
            _ => return None,
        })
    }

    /// The side with this number in the journal.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Buy),
            2 => Some(Self::Sell),
            _ => None,
        }
    }

    /// The letter in tables and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buy => "B",
            Self::Sell => "S",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One order event with its own texts; [`crate::OrderBatch`] holds many of them in columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Journal sequence number (in a replay of a file: the number of the data row, from 1).
    pub seq: u64,
    /// When it happened, by the source's clock.
    pub time: Time,
    /// Instrument.
    pub sym: String,
    /// What happened.
    pub event_type: EventType,
    /// Who did it.
    pub trader: String,
    /// Side of the market.
    pub side: Side,
    /// The order's id at the source.
    pub order_id: String,
    /// Limit price.
    pub price: Price,
    /// Quantity of the event.
    pub quantity: Quantity,
}

/// Why one row cannot be used: the column and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct RowError {
    /// Column of the order schema, or `row` when it concerns the whole row.
    pub column: &'static str,
    /// What is wrong, without the column's name.
    pub reason: String,
}

impl RowError {
    /// A refusal of `column` for `reason`.
    pub fn new(column: &'static str, reason: impl fmt::Display) -> Self {
        Self {
            column,
            reason: reason.to_string(),
        }
    }
}
