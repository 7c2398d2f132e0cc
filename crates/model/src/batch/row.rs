//! One row of a batch, and what is checked of it.
//!
//! Invariant: a text that passed is within its length; that it is UTF-8 is checked where it is kept.

use super::details;
use crate::details::Details;
use crate::fixed::{Price, Quantity};
use crate::order::{EventType, RowError, Side};
use crate::text::{ORDER_ID_BYTES_MAX, SYM_BYTES_MAX, TRADER_BYTES_MAX, check_utf8};
use crate::time::Time;

/// One row, borrowed. Texts of a row that is being added may be any bytes: adding checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRef<'a, T: ?Sized = str> {
    /// When it happened.
    pub time: Time,
    /// Instrument.
    pub sym: &'a T,
    /// What happened.
    pub event_type: EventType,
    /// Who did it.
    pub trader: &'a T,
    /// Side of the market.
    pub side: Side,
    /// The order's id at the source.
    pub order_id: &'a T,
    /// Limit price; of an execution, the price that was paid.
    pub price: Price,
    /// Quantity: of a new order all of it, of an amended one what is open of it then, of a cancelled
    /// one what was open, of an execution what traded.
    pub quantity: Quantity,
    /// What else the source tells.
    pub details: Details<'a, T>,
}

/// One row to add whose instrument and trader have codes already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodedRow<'a> {
    /// When it happened.
    pub time: Time,
    /// Code of the instrument, from [`OrderBatch::sym_code`].
    pub sym: u32,
    /// What happened.
    pub event_type: EventType,
    /// Code of the trader, from [`OrderBatch::trader_code`].
    pub trader: u32,
    /// Side of the market.
    pub side: Side,
    /// The order's id at the source; adding checks that it is UTF-8.
    pub order_id: &'a [u8],
    /// Limit price; of an execution, the price that was paid.
    pub price: Price,
    /// Quantity: of a new order all of it, of an amended one what is open of it then, of a cancelled
    /// one what was open, of an execution what traded.
    pub quantity: Quantity,
    /// What else the source tells.
    pub details: Details<'a, [u8]>,
}

impl<'a> RowRef<'a> {
    /// The same row with its texts as bytes, to add it to another batch.
    #[must_use]
    pub fn as_bytes(&self) -> RowRef<'a, [u8]> {
        RowRef {
            time: self.time,
            sym: self.sym.as_bytes(),
            event_type: self.event_type,
            trader: self.trader.as_bytes(),
            side: self.side,
            order_id: self.order_id.as_bytes(),
            price: self.price,
            quantity: self.quantity,
            details: self.details.as_bytes(),
        }
    }
}

/// Whether [`OrderBatch::sym_code`](super::OrderBatch::sym_code) takes a text.
pub(crate) fn check_sym(text: &[u8]) -> Result<&[u8], RowError> {
    check_text("sym", text, SYM_BYTES_MAX)
}

/// Whether [`OrderBatch::trader_code`](super::OrderBatch::trader_code) takes a text.
pub(crate) fn check_trader(text: &[u8]) -> Result<&[u8], RowError> {
    check_text("trader", text, TRADER_BYTES_MAX)
}

/// Whether a row with codes that are known can be added.
#[inline]
pub(crate) fn check_coded(row: &CodedRow<'_>) -> Result<(), RowError> {
    check_length("order_id", row.order_id, ORDER_ID_BYTES_MAX)?;
    details::check(&row.details)?;
    check_utf8(row.order_id).map_err(|_| not_utf8("order_id"))
}

#[cold]
pub(super) fn unknown_code() -> RowError {
    RowError::new("row", "has a code that is in no dictionary")
}

#[inline]
pub(super) fn check_text<'a>(
    column: &'static str,
    text: &'a [u8],
    max: usize,
) -> Result<&'a [u8], RowError> {
    // An entity without an instrument or a trader would join strangers; an order may have no id.
    if text.is_empty() {
        return Err(RowError::new(column, "is empty"));
    }
    check_length(column, text, max)
}

#[inline]
pub(super) fn check_length<'a>(
    column: &'static str,
    text: &'a [u8],
    max: usize,
) -> Result<&'a [u8], RowError> {
    if text.len() > max {
        return Err(too_long(column, text.len(), max));
    }
    Ok(text)
}

#[cold]
pub(super) fn too_long(column: &'static str, length: usize, max: usize) -> RowError {
    RowError::new(
        column,
        format!("has {length} bytes, at most {max} are allowed"),
    )
}

#[cold]
pub(super) fn not_utf8(column: &'static str) -> RowError {
    RowError::new(column, "is not UTF-8")
}
