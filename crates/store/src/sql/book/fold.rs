//! What each event of an order does to the book that others see.
//!
//! Invariant: after each event the book holds the orders that wait, each with what is shown of it, as
//! the market's own rules leave them: the tests compare with the book that matched. It holds only what
//! it was told of: an order that came before the first event is not in it.

use std::collections::HashMap;

use tapewatch_model::{
    AddError, Book, BookOrder, EventType, Flags, OrderKey, Price, Quantity, RowRef, Side,
};

/// Orders that a book holds at most.
const ORDERS_MAX: u32 = 1 << 22;
/// What an order takes in the book and in the table of names, its name aside.
const ORDER_BYTES: usize = 160;

/// What of an order is not in the book.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    /// All that is open, shown or not.
    open: Quantity,
    /// What is shown at a time; `None` when all is.
    display: Option<Quantity>,
}

impl Rest {
    fn shown(&self) -> Quantity {
        self.display
            .map_or(self.open, |display| display.min(self.open))
    }
}

/// A book that is being rebuilt.
#[derive(Debug)]
pub(super) struct BookFold {
    book: Book<Rest>,
    /// Numbers of the orders in the book, by their names. Never iterated.
    keys: HashMap<String, OrderKey>,
    name_bytes: usize,
    next: u64,
    /// The order that came last and may trade at once, while only executions followed.
    coming: Option<OrderKey>,
}

impl Default for BookFold {
    fn default() -> Self {
        Self {
            book: Book::with_limit(ORDERS_MAX),
            keys: HashMap::new(),
            name_bytes: 0,
            next: 0,
            coming: None,
        }
    }
}

impl BookFold {
    /// The book.
    pub(super) fn book(&self) -> &Book<impl Copy + use<>> {
        &self.book
    }

    /// Roughly the memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.name_bytes + ORDER_BYTES * self.keys.capacity()
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// [`AddError::Full`] when the book holds as many orders as it may.
    pub(super) fn take(&mut self, row: &RowRef<'_>) -> Result<(), AddError> {
        if row.order_id.is_empty() {
            return Ok(());
        }
        if row.event_type != EventType::Filled {
            self.coming = None;
        }
        match row.event_type {
            EventType::New => {
                // A name that comes again is another order, or the next part of a hidden one.
                self.remove(row.order_id);
                let never = Flags::MARKET.with(Flags::IOC).with(Flags::FOK);
                let rest = Rest {
                    open: row.quantity,
                    display: row.details.display.filter(|shown| *shown > Quantity::ZERO),
                };
                match row.details.flags.has(never) {
                    true => Ok(()),
                    false => self.enter(row, row.side, row.price, rest),
                }
            }
            EventType::Amended => self.amend(row),
            EventType::Cancelled => {
                self.remove(row.order_id);
                Ok(())
            }
            EventType::Filled => {
                self.fill(row);
                Ok(())
            }
        }
    }

    /// Puts an order at the back of the queue of its price.
    fn enter(
        &mut self,
        row: &RowRef<'_>,
        side: Side,
        price: Price,
        rest: Rest,
    ) -> Result<(), AddError> {
        if rest.open == Quantity::ZERO {
            return Ok(());
        }
        let key = OrderKey(self.next);
        let across = self.book.best_price(side.opposite());
        let crosses = across.is_some_and(|across| match side {
            Side::Buy => price >= across,
            Side::Sell => price <= across,
        });
        self.book.add(BookOrder {
            key,
            side,
            price,
            quantity: rest.shown(),
            extra: rest,
        })?;
        self.next += 1;
        self.coming = crosses.then_some(key);
        self.name_bytes += row.order_id.len();
        self.keys.insert(row.order_id.to_owned(), key);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Option<BookOrder<Rest>> {
        let key = self.keys.remove(name)?;
        self.name_bytes -= name.len();
        self.book.remove(key)
    }

    fn amend(&mut self, row: &RowRef<'_>) -> Result<(), AddError> {
        let Some(&key) = self.keys.get(row.order_id) else {
            return Ok(());
        };
        let Some(mut order) = self.book.get_mut(key) else {
            return Ok(());
        };
        let before = order.order();
        let at_any = row.details.flags.has(Flags::MARKET);
        let price = if at_any { before.price } else { row.price };
        let display = row.details.display.filter(|shown| *shown > Quantity::ZERO);
        let rest = Rest {
            open: row.quantity,
            display: display.or(before.extra.display),
        };
        // Less at the same price keeps its place, all else goes to the back.
        if price != before.price || rest.open > before.extra.open || rest.open == Quantity::ZERO {
            self.remove(row.order_id);
            return self.enter(row, before.side, price, rest);
        }
        *order.extra_mut() = rest;
        if rest.shown() > before.quantity {
            order.requeue(rest.shown());
        } else {
            order.reduce(before.quantity.saturating_sub(rest.shown()));
        }
        Ok(())
    }

    fn fill(&mut self, row: &RowRef<'_>) {
        let Some(&key) = self.keys.get(row.order_id) else {
            return;
        };
        let Some(mut order) = self.book.get_mut(key) else {
            return;
        };
        let rest = order.extra_mut();
        rest.open = rest.open.saturating_sub(row.quantity);
        let rest = *rest;
        if rest.open == Quantity::ZERO {
            self.remove(row.order_id);
        } else if self.coming == Some(key) || order.quantity() <= row.quantity {
            // What comes shows its part when it has traded; the next part of an iceberg goes to the
            // back.
            order.requeue(rest.shown());
        } else {
            order.reduce(row.quantity);
        }
    }
}
