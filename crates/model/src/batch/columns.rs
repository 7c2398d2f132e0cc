//! Rows that are added to a batch by their columns, or taken out of one.
//!
//! Invariant: all of them are added or none.

use std::sync::Arc;

use super::OrderBatch;
use super::row::{too_long, unknown_code};
use crate::fixed::{Price, Quantity};
use crate::order::{EventType, RowError, Side};
use crate::text::{Interner, ORDER_ID_BYTES_MAX, TextColumn};
use crate::time::Time;

/// Rows to add by their columns, all of one length. Order ids and prices may both be left out: they
/// are empty and zero then.
#[derive(Debug, Clone, Default)]
pub struct OrderColumns {
    /// When it happened.
    pub time: Vec<Time>,
    /// Codes of the instruments, from [`OrderBatch::sym_code`].
    pub sym: Vec<u32>,
    /// What happened.
    pub event_type: Vec<EventType>,
    /// Codes of the traders, from [`OrderBatch::trader_code`].
    pub trader: Vec<u32>,
    /// Sides of the market.
    pub side: Vec<Side>,
    /// Quantities of the events.
    pub quantity: Vec<Quantity>,
    /// The orders' ids at the source.
    pub order_id: TextColumn,
    /// Limit prices.
    pub price: Vec<Price>,
}

impl OrderColumns {
    /// Forgets all rows, keeps the memory.
    pub fn clear(&mut self) {
        self.time.clear();
        self.sym.clear();
        self.event_type.clear();
        self.trader.clear();
        self.side.clear();
        self.quantity.clear();
        self.order_id.clear();
        self.price.clear();
    }
}

impl OrderBatch {
    /// Adds rows by their columns, which are empty then.
    ///
    /// # Errors
    /// [`RowError`] when the columns differ in length, a code is not in its dictionary or an order id
    /// is too long; the batch and the columns are unchanged then.
    pub fn push_columns(&mut self, columns: &mut OrderColumns) -> Result<(), RowError> {
        let rows = columns.time.len();
        let lengths = [
            columns.sym.len(),
            columns.event_type.len(),
            columns.trader.len(),
            columns.side.len(),
            columns.quantity.len(),
        ];
        let details = [columns.order_id.len(), columns.price.len()];
        let left_out = details == [0; 2];
        if lengths != [rows; 5] || !(left_out || details == [rows; 2]) {
            return Err(RowError::new("row", "has columns of different lengths"));
        }
        let below = |codes: &[u32], of: &Interner| {
            // Without an early end the compiler compares many at once.
            let known = of.len();
            codes
                .iter()
                .fold(true, |all, &code| all & ((code as usize) < known))
        };
        if !below(&columns.sym, &self.syms) || !below(&columns.trader, &self.traders) {
            return Err(unknown_code());
        }
        let longest = columns.order_id.longest();
        if longest > ORDER_ID_BYTES_MAX {
            return Err(too_long("order_id", longest, ORDER_ID_BYTES_MAX));
        }
        self.time.append(&mut columns.time);
        self.sym.append(&mut columns.sym);
        self.event_type.append(&mut columns.event_type);
        self.trader.append(&mut columns.trader);
        self.side.append(&mut columns.side);
        self.quantity.append(&mut columns.quantity);
        if left_out {
            self.order_id.push_empty(rows);
            self.price.resize(self.time.len(), Price::default());
        } else {
            self.order_id.append(&mut columns.order_id);
            self.price.append(&mut columns.price);
        }
        self.pad_details();
        Ok(())
    }

    /// The rows at these places, in this order, under the same dictionaries and without numbers; a
    /// place that is no row is passed over.
    #[must_use]
    pub fn picked(&self, rows: &[usize]) -> Self {
        Self {
            syms: Arc::clone(&self.syms),
            traders: Arc::clone(&self.traders),
            time: pick(&self.time, rows),
            sym: pick(&self.sym, rows),
            event_type: pick(&self.event_type, rows),
            trader: pick(&self.trader, rows),
            side: pick(&self.side, rows),
            order_id: self.order_id.picked(rows),
            price: pick(&self.price, rows),
            quantity: pick(&self.quantity, rows),
            details: self.picked_details(rows),
            ..Self::default()
        }
    }
}

pub(super) fn pick<T: Copy>(column: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter()
        .filter_map(|&row| column.get(row).copied())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::batch::RowRef;
    use crate::details::{Details, Flags};

    fn columns(sym: u32, trader: u32) -> OrderColumns {
        OrderColumns {
            time: vec![Time::from_nanos(7)],
            sym: vec![sym],
            event_type: vec![EventType::Cancelled],
            trader: vec![trader],
            side: vec![Side::Sell],
            quantity: vec![Quantity::from_whole(3).unwrap()],
            ..OrderColumns::default()
        }
    }

    #[test]
    fn columns_are_added_whole_or_not_at_all() {
        let mut batch = OrderBatch::default();
        let (sym, trader) = (
            batch.sym_code(b"A").unwrap(),
            batch.trader_code(b"T").unwrap(),
        );
        for mut wrong in [columns(sym + 1, trader), columns(sym, trader + 1)] {
            let before = wrong.time.clone();
            assert!(batch.push_columns(&mut wrong).is_err());
            assert_eq!((batch.len(), &wrong.time), (0, &before));
        }
        let mut longer = columns(sym, trader);
        longer.side.push(Side::Buy);
        assert!(batch.push_columns(&mut longer).is_err() && batch.is_empty());
        let mut right = columns(sym, trader);
        batch.push_columns(&mut right).unwrap();
        batch.push_columns(&mut columns(sym, trader)).unwrap();
        assert!(right.time.is_empty());
        let mut with_details = columns(sym, trader);
        with_details
            .order_id
            .push(&"x".repeat(ORDER_ID_BYTES_MAX + 1));
        assert!(
            batch.push_columns(&mut with_details).is_err(),
            "an id without a price"
        );
        with_details.price.push(Price::from_units(5));
        assert!(batch.push_columns(&mut with_details).is_err(), "too long");
        assert_eq!((batch.len(), with_details.order_id.len()), (2, 1));
        with_details.order_id.clear();
        with_details.order_id.push("O1");
        batch.push_columns(&mut with_details).unwrap();
        let row = batch.row(2).unwrap();
        assert_eq!((row.order_id, row.price.units()), ("O1", 5));
        let row = batch.row(1).unwrap();
        assert_eq!((row.sym, row.trader, row.order_id), ("A", "T", ""));
        assert_eq!(
            (row.price, row.quantity.units()),
            (Price::default(), 300_000_000)
        );
    }

    #[test]
    fn picked_rows_are_the_same_in_another_order() {
        let mut batch = OrderBatch::default();
        for number in 0..4_u8 {
            let account = [b'A' + number];
            let mut row = RowRef {
                time: Time::from_nanos(number.into()),
                sym: b"S".as_slice(),
                event_type: EventType::New,
                trader: &account,
                side: Side::Buy,
                order_id: &account,
                price: Price::from_units(number.into()),
                quantity: Quantity::default(),
                details: Details::default(),
            };
            if number > 1 {
                row.details.account = &account;
                row.details.exec_id = &account;
                row.details.flags = Flags::IOC;
                row.details.display = Quantity::from_whole(number.into()).ok();
            }
            batch.push(&row).unwrap();
        }
        let rows = [3, 0, 9, 2, 3];
        let picked = batch.picked(&rows);
        let there: Vec<_> = rows.iter().filter_map(|&row| batch.row(row)).collect();
        let found: Vec<_> = (0..picked.len())
            .filter_map(|row| picked.row(row))
            .collect();
        assert_eq!((found.len(), found), (4, there));
        assert!(Arc::ptr_eq(picked.syms(), batch.syms()));
    }
}
