//! One order event and the words its fields are written with.
//!
//! Invariant: the numbers of [`EventType`] and [`Side`] are part of the journal's format and never
//! change; a new kind takes a new number.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::batch::RowRef;
use crate::details::{Details, Flags};
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

/// A set of event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventTypes(u8);

impl EventTypes {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self::of(&[
        EventType::New,
        EventType::Amended,
        EventType::Cancelled,
        EventType::Filled,
    ]);

    /// These.
    #[must_use]
    pub const fn of(types: &[EventType]) -> Self {
        let mut set = 0;
        let mut rest = types;
        while let [first, others @ ..] = rest {
            set |= 1 << *first as u8;
            rest = others;
        }
        Self(set)
    }

    /// Whether it is one of them.
    #[must_use]
    #[inline]
    pub const fn contains(self, event_type: EventType) -> bool {
        self.0 & (1 << event_type as u8) != 0
    }

    /// Those of either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each of them, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = EventType> {
        (0..8)
            .filter_map(EventType::from_number)
            .filter(move |kind| self.contains(*kind))
    }
}

impl EventType {
    /// Reads the reference's words, common spellings and FIX `ExecType` (tag 150).
    #[must_use]
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        // The usual words first, by length and a few bytes: no table of cases to guess through.
        match (text.len(), text.first_chunk::<3>()) {
            (9, Some(b"can")) if text == b"cancelled" => return Some(Self::Cancelled),
            (3, Some(b"new")) => return Some(Self::New),
            (6, Some(b"fil")) if text == b"filled" => return Some(Self::Filled),
            (7, Some(b"ame")) if text == b"amended" => return Some(Self::Amended),
            _ => {}
        }
        Self::parse_other(text)
    }

    fn parse_other(text: &[u8]) -> Option<Self> {
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
    /// The other side.
    #[must_use]
    #[inline]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

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
    /// Limit price; of an execution, the price that was paid.
    pub price: Price,
    /// Quantity of the event.
    pub quantity: Quantity,
    /// Whose it is; empty when the source does not tell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// Names the execution; empty when there is none, or the source does not tell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub exec_id: String,
    /// What of it is shown; absent when all is, or it is not told.
    #[serde(rename = "display_quantity", skip_serializing_if = "Option::is_none")]
    pub display: Option<Quantity>,
    /// Its marks.
    #[serde(skip_serializing_if = "Flags::is_empty")]
    pub flags: Flags,
}

impl Order {
    /// The same order as a row to add to a batch, without its sequence number.
    #[must_use]
    pub fn as_row(&self) -> RowRef<'_> {
        RowRef {
            time: self.time,
            sym: &self.sym,
            event_type: self.event_type,
            trader: &self.trader,
            side: self.side,
            order_id: &self.order_id,
            price: self.price,
            quantity: self.quantity,
            details: Details {
                account: &self.account,
                exec_id: &self.exec_id,
                display: self.display,
                flags: self.flags,
            },
        }
    }
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
