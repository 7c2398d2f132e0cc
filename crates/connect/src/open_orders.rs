//! What a source's orders have open, so that a part of an order can be told from all of it.
//!
//! Invariant: an order that is held has a quantity above zero; at most `ORDERS_MAX` are held.

use std::collections::BTreeMap;

use tapewatch_model::{Price, Quantity, RowError, Side};

/// Orders that are held; at about 60 bytes each, 250 MB.
const ORDERS_MAX: usize = 1 << 22;

/// An order's number within its instrument's.
pub(crate) type Key = (u32, u64);

/// What an order has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) side: Side,
    pub(crate) price: Price,
    pub(crate) quantity: Quantity,
}

/// Open orders by key; in order, so that those of an instrument can be found.
#[derive(Debug, Default)]
pub(crate) struct OpenOrders(BTreeMap<Key, Open>);

impl OpenOrders {
    pub(crate) fn get(&self, key: Key) -> Option<Open> {
        self.0.get(&key).copied()
    }

    /// Holds a new order.
    pub(crate) fn add(&mut self, key: Key, open: Open) -> Result<(), RowError> {
        if self.0.contains_key(&key) {
            let reason = format!("{} is the id of an order that is open", key.1);
            return Err(RowError::new("order_id", reason));
        }
        self.set(key, open)
    }

    /// Holds what an order has open now; nothing open is forgotten.
    pub(crate) fn set(&mut self, key: Key, open: Open) -> Result<(), RowError> {
        if open.quantity == Quantity::ZERO {
            self.0.remove(&key);
        } else if self.0.len() < ORDERS_MAX || self.0.contains_key(&key) {
            self.0.insert(key, open);
        } else {
            let reason = format!("is one more than the {ORDERS_MAX} open orders that are held");
            return Err(RowError::new("order_id", reason));
        }
        Ok(())
    }

    /// Takes a part of an order, or all that is left, and says what it has open then; `None` when
    /// the order is not held.
    pub(crate) fn reduce(&mut self, key: Key, by: Quantity) -> Option<Open> {
        let open = self.0.get_mut(&key)?;
        open.quantity = open.quantity.saturating_sub(by);
        let left = *open;
        if left.quantity == Quantity::ZERO {
            self.0.remove(&key);
        }
        Some(left)
    }

    /// Takes the first order of an instrument out.
    pub(crate) fn take_first(&mut self, instrument: u32) -> Option<(u64, Open)> {
        let mut of_it = self.0.range((instrument, 0)..=(instrument, u64::MAX));
        let key = *of_it.next()?.0;
        self.0.remove(&key).map(|open| (key.1, open))
    }
}
