//! Order events in columns, as they travel from a feed to the journal, the engine and the tables.
//!
//! Invariant: all columns have the same length; every code points into its dictionary; a row is
//! added whole or not at all. `sym` and `trader` are codes into dictionaries that the batch owns or
//! shares with other batches; a dictionary that is shared never changes, so that two batches with
//! the same one mean the same by a code, and a batch can be moved and dropped without the others.

mod columns;
mod details;
mod memory;
mod row;

use std::sync::Arc;

use crate::details::Flags;
use crate::fixed::{Price, Quantity};
use crate::order::{EventType, Order, RowError, Side};
use crate::text::{Interner, ORDER_ID_BYTES_MAX, SYM_BYTES_MAX, TRADER_BYTES_MAX, TextColumn};
use crate::time::{Time, TimeSpan};

pub use columns::OrderColumns;
pub use row::{CodedRow, RowRef};

use details::DetailColumns;
pub(crate) use row::{check_coded, check_sym, check_trader};
use row::{check_length, check_text, not_utf8, unknown_code};

/// The sequence numbers of a batch's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seqs {
    /// Consecutive from the first.
    Run(u64),
    /// One for each row, ascending.
    List(Vec<u64>),
}

/// A dictionary with more texts than this is not carried on to the next batch: adding to one that is
/// shared copies it.
const DICTIONARY_MAX: usize = 16_384;

/// Order events in columns. Two are equal when their rows and numbers are, whatever their
/// dictionaries hold besides.
#[derive(Debug, Clone)]
pub struct OrderBatch {
    seqs: Seqs,
    time: Vec<Time>,
    syms: Arc<Interner>,
    sym: Vec<u32>,
    event_type: Vec<EventType>,
    traders: Arc<Interner>,
    trader: Vec<u32>,
    side: Vec<Side>,
    order_id: TextColumn,
    price: Vec<Price>,
    quantity: Vec<Quantity>,
    /// None while no row has any.
    details: Option<Box<DetailColumns>>,
}

impl Default for OrderBatch {
    fn default() -> Self {
        Self {
            seqs: Seqs::Run(0),
            time: Vec::new(),
            syms: Arc::default(),
            sym: Vec::new(),
            event_type: Vec::new(),
            traders: Arc::default(),
            trader: Vec::new(),
            side: Vec::new(),
            order_id: TextColumn::default(),
            price: Vec::new(),
            quantity: Vec::new(),
            details: None,
        }
    }
}

impl PartialEq for OrderBatch {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.rows().eq(other.rows())
    }
}

impl Eq for OrderBatch {}

impl OrderBatch {
    /// An empty batch with room for so many rows that shares the dictionaries of `before`: what comes
    /// from one source keeps its codes.
    #[must_use]
    pub fn following(before: &Self, rows: usize) -> Self {
        let mut batch = Self {
            syms: Arc::clone(&before.syms),
            traders: Arc::clone(&before.traders),
            details: before.following_details(),
            ..Self::default()
        };
        batch.drop_large_dictionaries();
        batch.reserve(rows);
        batch
    }

    /// Makes room for so many more rows.
    pub fn reserve(&mut self, rows: usize) {
        self.time.reserve(rows);
        self.sym.reserve(rows);
        self.event_type.reserve(rows);
        self.trader.reserve(rows);
        self.side.reserve(rows);
        self.order_id.reserve(rows, 0);
        self.price.reserve(rows);
        self.quantity.reserve(rows);
    }

    fn drop_large_dictionaries(&mut self) {
        for dictionary in [&mut self.syms, &mut self.traders] {
            if dictionary.len() > DICTIONARY_MAX {
                *dictionary = Arc::default();
            }
        }
    }

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

    /// Forgets all rows, keeps the memory and the dictionaries.
    pub fn clear(&mut self) {
        self.drop_large_dictionaries();
        self.seqs = Seqs::Run(0);
        self.time.clear();
        self.sym.clear();
        self.event_type.clear();
        self.trader.clear();
        self.side.clear();
        self.order_id.clear();
        self.price.clear();
        self.quantity.clear();
        self.details = self.following_details();
    }

    /// Adds a row whose texts come from outside.
    ///
    /// # Errors
    /// [`RowError`] when `sym` or `trader` is empty, or a text is too long or not UTF-8; the batch
    /// is unchanged then (a dictionary may know one text more).
    #[inline]
    pub fn push(&mut self, row: &RowRef<'_, [u8]>) -> Result<(), RowError> {
        let order_id = check_length("order_id", row.order_id, ORDER_ID_BYTES_MAX)?;
        let sym = check_text("sym", row.sym, SYM_BYTES_MAX)?;
        let trader = match row.trader {
            // Whose it is must be told, or that it is not told: a mistake would join strangers.
            [] if row.details.flags.has(Flags::ANONYMOUS) => row.trader,
            trader => check_text("trader", trader, TRADER_BYTES_MAX)?,
        };
        let sym = intern(&mut self.syms, sym).map_err(|_| not_utf8("sym"))?;
        let trader = intern(&mut self.traders, trader).map_err(|_| not_utf8("trader"))?;
        details::check(&row.details)?;
        self.order_id
            .push_bytes(order_id)
            .map_err(|_| not_utf8("order_id"))?;
        self.push_details(&row.details);
        self.sym.push(sym);
        self.trader.push(trader);
        self.time.push(row.time);
        self.event_type.push(row.event_type);
        self.side.push(row.side);
        self.price.push(row.price);
        self.quantity.push(row.quantity);
        Ok(())
    }

    /// The code of an instrument in this batch, for [`Self::push_coded`].
    ///
    /// # Errors
    /// [`RowError`] when the text is empty, too long or not UTF-8.
    pub fn sym_code(&mut self, text: &[u8]) -> Result<u32, RowError> {
        let text = check_sym(text)?;
        intern(&mut self.syms, text).map_err(|_| not_utf8("sym"))
    }

    /// The code of a trader in this batch, for [`Self::push_coded`].
    ///
    /// # Errors
    /// [`RowError`] when the text is empty, too long or not UTF-8.
    pub fn trader_code(&mut self, text: &[u8]) -> Result<u32, RowError> {
        let text = check_trader(text)?;
        intern(&mut self.traders, text).map_err(|_| not_utf8("trader"))
    }

    /// The code of a trader whom the source does not name, for [`Self::push_coded`].
    pub fn anonymous_code(&mut self) -> u32 {
        intern(&mut self.traders, b"").unwrap_or_default() // nothing is UTF-8
    }

    /// Adds a row whose instrument and trader are codes of this batch.
    ///
    /// # Errors
    /// [`RowError`] when a code is not in its dictionary or the order id is too long; the batch is
    /// unchanged then.
    #[inline]
    pub fn push_coded(&mut self, row: &CodedRow<'_>) -> Result<(), RowError> {
        check_length("order_id", row.order_id, ORDER_ID_BYTES_MAX)?;
        if row.sym as usize >= self.syms.len() || row.trader as usize >= self.traders.len() {
            return Err(unknown_code());
        }
        details::check(&row.details)?;
        self.order_id
            .push_bytes(row.order_id)
            .map_err(|_| not_utf8("order_id"))?;
        self.push_details(&row.details);
        self.sym.push(row.sym);
        self.trader.push(row.trader);
        self.time.push(row.time);
        self.event_type.push(row.event_type);
        self.side.push(row.side);
        self.price.push(row.price);
        self.quantity.push(row.quantity);
        Ok(())
    }

    /// Puts the rows under the dictionaries `syms` and `traders`, which grow where they must.
    /// Nothing to do when the batch has them already.
    pub fn recode(&mut self, syms: &mut Arc<Interner>, traders: &mut Arc<Interner>) {
        recode(&mut self.sym, &mut self.syms, syms);
        recode(&mut self.trader, &mut self.traders, traders);
    }

    /// Appends the rows of `other` with their numbers, which must come behind those here.
    ///
    /// # Errors
    /// None can happen: the rows are checked already.
    pub fn append(&mut self, other: &Self) -> Result<(), RowError> {
        let before = self.len();
        other
            .rows()
            .try_for_each(|(_, row)| self.push(&row.as_bytes()))?;
        let run = match (&self.seqs, &other.seqs) {
            (_, Seqs::Run(first)) if before == 0 => Some(*first),
            (Seqs::Run(mine), Seqs::Run(first)) if mine + before as u64 == *first => Some(*mine),
            _ => None,
        };
        match (run, &mut self.seqs) {
            (Some(first), seqs) => *seqs = Seqs::Run(first),
            (None, Seqs::List(seqs)) => seqs.extend((0..other.len()).map(|row| other.seq(row))),
            (None, Seqs::Run(first)) => {
                let mine = *first..*first + before as u64;
                let theirs = (0..other.len()).map(|row| other.seq(row));
                self.seqs = Seqs::List(mine.chain(theirs).collect());
            }
        }
        Ok(())
    }

    /// Moves all times by a span; a time that would leave the range stops at its end.
    pub fn shift_times(&mut self, by: TimeSpan) {
        for time in &mut self.time {
            *time = time.saturating_add(by);
        }
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

    /// The instruments that codes stand for; some may be in no row.
    #[must_use]
    pub fn syms(&self) -> &Arc<Interner> {
        &self.syms
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

    /// The traders that codes stand for; some may be in no row.
    #[must_use]
    pub fn traders(&self) -> &Arc<Interner> {
        &self.traders
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
            details: self.details_at(index),
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
            account: row.details.account.to_owned(),
            exec_id: row.details.exec_id.to_owned(),
            display: row.details.display,
            flags: row.details.flags,
        })
    }
}

/// A text that is known costs no copy of a shared dictionary.
#[inline]
fn intern(dictionary: &mut Arc<Interner>, text: &[u8]) -> Result<u32, std::str::Utf8Error> {
    match dictionary.find(text) {
        Some(code) => Ok(code),
        None => Arc::make_mut(dictionary).intern(text),
    }
}

/// Turns codes of `from` into codes of `to`, which takes its place.
fn recode(codes: &mut [u32], from: &mut Arc<Interner>, to: &mut Arc<Interner>) {
    if Arc::ptr_eq(from, to) || from.extends(to) {
        *to = Arc::clone(from);
        return;
    }
    if to.len() > DICTIONARY_MAX {
        *to = Arc::default();
    }
    let mut known: Vec<Option<u32>> = vec![None; from.len()];
    for code in codes {
        let Some(slot) = known.get_mut(*code as usize) else {
            continue; // every code points into its dictionary
        };
        let text = || from.get(*code).unwrap_or_default();
        // A text of a dictionary is UTF-8, so interning it cannot fail.
        *code = *slot.get_or_insert_with(|| intern(to, text().as_bytes()).unwrap_or_default());
    }
    *from = Arc::clone(to);
}
