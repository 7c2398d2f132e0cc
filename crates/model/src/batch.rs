//! Order events in columns, as they travel from a feed to the journal, the engine and the tables.
//!
//! Invariant: all columns have the same length; every code points into its dictionary; a row is
//! added whole or not at all. `sym` and `trader` are codes into dictionaries of this batch alone,
//! so that a batch can be decoded, moved and dropped without knowing any other.

use crate::fixed::{Price, Quantity};
use crate::order::{EventType, Order, RowError, Side};
use crate::text::{Interner, ORDER_ID_BYTES_MAX, SYM_BYTES_MAX, TRADER_BYTES_MAX, TextColumn};
use crate::time::Time;

/// The sequence numbers of a batch's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seqs {
    /// Consecutive from the first.
    Run(u64),
    /// One for each row, ascending.
    List(Vec<u64>),
}

/// Order events in columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBatch {
    seqs: Seqs,
    time: Vec<Time>,
    syms: Interner,
    sym: Vec<u32>,
    event_type: Vec<EventType>,
    traders: Interner,
    trader: Vec<u32>,
    side: Vec<Side>,
    order_id: TextColumn,
    price: Vec<Price>,
    quantity: Vec<Quantity>,
}

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
    /// Limit price.
    pub price: Price,
    /// Quantity of the event.
    pub quantity: Quantity,
}

impl Default for OrderBatch {
    fn default() -> Self {
        Self {
            seqs: Seqs::Run(0),
            time: Vec::new(),
            syms: Interner::default(),
            sym: Vec::new(),
            event_type: Vec::new(),
            traders: Interner::default(),
            trader: Vec::new(),
            side: Vec::new(),
            order_id: TextColumn::default(),
            price: Vec::new(),
            quantity: Vec::new(),
        }
    }
}

impl OrderBatch {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// Forgets all rows and dictionaries, keeps the memory.
    pub fn clear(&mut self) {
        self.seqs = Seqs::Run(0);
        self.time.clear();
        self.syms.clear();
        self.sym.clear();
        self.event_type.clear();
        self.traders.clear();
        self.trader.clear();
        self.side.clear();
        self.order_id.clear();
        self.price.clear();
        self.quantity.clear();
    }

    /// Adds a row whose texts come from outside.
    ///
    /// # Errors
    /// [`RowError`] when `sym` or `trader` is empty, or a text is too long or not UTF-8; the batch
    /// is unchanged then (a dictionary may know one text more).
    #[inline]
    pub fn push(&mut self, row: &RowRef<'_, [u8]>) -> Result<(), RowError> {
        let order_id = check_length("order_id", row.order_id, ORDER_ID_BYTES_MAX)
            .and_then(|text| std::str::from_utf8(text).map_err(|_| not_utf8("order_id")))?;
        let sym = check_text("sym", row.sym, SYM_BYTES_MAX)?;
        let trader = check_text("trader", row.trader, TRADER_BYTES_MAX)?;
        let sym = self.syms.intern(sym).map_err(|_| not_utf8("sym"))?;
        let trader = self
            .traders
            .intern(trader)
            .map_err(|_| not_utf8("trader"))?;
        self.order_id.push(order_id);
        self.sym.push(sym);
        self.trader.push(trader);
        self.time.push(row.time);
        self.event_type.push(row.event_type);
        self.side.push(row.side);
        self.price.push(row.price);
        self.quantity.push(row.quantity);
        Ok(())
    }

    /// Numbers the rows consecutively from `first`.
    pub fn number_from(&mut self, first: u64) {
        self.seqs = Seqs::Run(first);
    }

    /// Gives each row its own number; `false` (and no change) when the lengths differ.
    #[must_use]
    pub fn number_with(&mut self, seqs: Vec<u64>) -> bool {
        let fits = seqs.len() == self.len();
        if fits {
            self.seqs = Seqs::List(seqs);
        }
        fits
    }

    /// Sequence number of the row at `index` (0 when there is no such row in a numbered list).
    #[must_use]
    pub fn seq(&self, index: usize) -> u64 {
        match &self.seqs {
            Seqs::Run(first) => first.saturating_add(index as u64),
            Seqs::List(seqs) => seqs.get(index).copied().unwrap_or_default(),
        }
    }

    /// Times, in row order.
    #[must_use]
    pub fn times(&self) -> &[Time] {
        &self.time
    }

    /// The distinct instruments.
    #[must_use]
    pub fn syms(&self) -> &TextColumn {
        self.syms.texts()
    }

    /// Codes into [`Self::syms`], in row order.
    #[must_use]
    pub fn sym_codes(&self) -> &[u32] {
        &self.sym
    }

    /// Event types, in row order.
    #[must_use]
    pub fn event_types(&self) -> &[EventType] {
        &self.event_type
    }

    /// The distinct traders.
    #[must_use]
    pub fn traders(&self) -> &TextColumn {
        self.traders.texts()
    }

    /// Codes into [`Self::traders`], in row order.
    #[must_use]
    pub fn trader_codes(&self) -> &[u32] {
        &self.trader
    }

    /// Sides, in row order.
    #[must_use]
    pub fn sides(&self) -> &[Side] {
        &self.side
    }

    /// Order ids, in row order.
    #[must_use]
    pub fn order_ids(&self) -> &TextColumn {
        &self.order_id
    }

    /// Prices, in row order.
    #[must_use]
    pub fn prices(&self) -> &[Price] {
        &self.price
    }

    /// Quantities, in row order.
    #[must_use]
    pub fn quantities(&self) -> &[Quantity] {
        &self.quantity
    }

    /// The row at `index`.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<RowRef<'_>> {
        Some(RowRef {
            time: *self.time.get(index)?,
            sym: self.syms.get(*self.sym.get(index)?)?,
            event_type: *self.event_type.get(index)?,
            trader: self.traders.get(*self.trader.get(index)?)?,
            side: *self.side.get(index)?,
            order_id: self.order_id.get(index)?,
            price: *self.price.get(index)?,
            quantity: *self.quantity.get(index)?,
        })
    }

    /// The rows in order, each with its sequence number.
    pub fn rows(&self) -> impl Iterator<Item = (u64, RowRef<'_>)> {
        (0..self.len()).filter_map(|index| Some((self.seq(index), self.row(index)?)))
    }

    /// The row at `index` with texts of its own.
    #[must_use]
    pub fn order(&self, index: usize) -> Option<Order> {
        let row = self.row(index)?;
        Some(Order {
            seq: self.seq(index),
            time: row.time,
            sym: row.sym.to_owned(),
            event_type: row.event_type,
            trader: row.trader.to_owned(),
            side: row.side,
            order_id: row.order_id.to_owned(),
            price: row.price,
            quantity: row.quantity,
        })
    }
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
        }
    }
}

#[inline]
fn check_text<'a>(column: &'static str, text: &'a [u8], max: usize) -> Result<&'a [u8], RowError> {
    // An entity without an instrument or a trader would join strangers; an order may have no id.
    if text.is_empty() {
        return Err(RowError::new(column, "is empty"));
    }
    check_length(column, text, max)
}

#[inline]
fn check_length<'a>(
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
fn too_long(column: &'static str, length: usize, max: usize) -> RowError {
    RowError::new(
        column,
        format!("has {length} bytes, at most {max} are allowed"),
    )
}

#[cold]
fn not_utf8(column: &'static str) -> RowError {
    RowError::new(column, "is not UTF-8")
}
