//! The order book of one instrument: its orders by price and time, found by key.
//!
//! Invariant: an order is in exactly one queue, that of its side and price; a queue is never empty
//! and its total is the sum of its orders; within a queue orders stand in the order in which they
//! came to its back. The book keeps what it is told, crossed or not: a feed's book crosses before
//! an auction, and whoever matches sees to it that his does not. It holds at most so many orders as
//! it was made for. Nothing allocates once it has held as many orders and prices as it will hold.

mod ladder;
mod slots;

use std::fmt;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::fixed::{Decimal, Price, Quantity};
use crate::order::Side;
use ladder::{Ladder, Level};
use slots::Slots;

/// What names an order within a book: the source's number, or a code for its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OrderKey(pub u64);

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Orders by price and time. `T` is what the book's owner keeps beside each order.
#[derive(Debug, Clone)]
pub struct Book<T = ()> {
    /// Where an order is in `slots`, by its key, which is there alone: so the table stays small
    /// enough for a near cache. Never iterated.
    keys: HashTable<u32>,
    slots: Slots<T>,
    bids: Ladder,
    asks: Ladder,
    /// As many orders fit without more memory.
    room: usize,
    orders_max: u32,
}

/// The room of the first order: twice as much, and twice that again, fills a table of a power of two
/// to its last place.
const ROOM_MIN: usize = 14;

/// An order as it stands in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookOrder<T = ()> {
    /// Its name.
    pub key: OrderKey,
    /// Its side.
    pub side: Side,
    /// Its limit.
    pub price: Price,
    /// What of it can be seen; above zero.
    pub quantity: Quantity,
    /// What the book's owner keeps beside it.
    pub extra: T,
}

/// All orders of one side and price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookLevel {
    /// Their price.
    pub price: Price,
    /// The sum of their quantities.
    pub quantity: Decimal,
    /// How many they are.
    pub orders: u32,
}

/// What stands before an order in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// How many orders.
    pub orders: u32,
    /// The sum of their quantities.
    pub quantity: Decimal,
}

/// Whether a changed order stayed where it was in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// It kept its place.
    Kept,
    /// It went to the back of the queue of its price.
    Lost,
}

/// Why an order was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Another order has its key.
    #[error("order {0} is in the book already; remove or modify it")]
    Duplicate(OrderKey),
    /// The book holds as many as it may.
    #[error("order {key} is one more than the {orders_max} that the book may hold")]
    Full {
        /// The order.
        key: OrderKey,
        /// The limit.
        orders_max: u32,
    },
    /// There is nothing to trade.
    #[error("order {0} has no quantity")]
    NoQuantity(OrderKey),
}

impl<T: Copy> Book<T> {
    /// An empty book for so many orders; memory is taken as they come.
    #[must_use]
    pub fn with_limit(orders_max: u32) -> Self {
        Self {
            keys: HashTable::new(),
            slots: Slots::default(),
            bids: Ladder::new(Side::Buy),
            asks: Ladder::new(Side::Sell),
            room: 0,
            orders_max,
        }
    }

    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has no orders.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether it holds as many orders as it may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.keys.len() >= self.orders_max as usize
    }

    /// Puts an order at the back of the queue of its price.
    ///
    /// # Errors
    /// [`AddError`]; the book is then as before.
    pub fn add(&mut self, order: BookOrder<T>) -> Result<(), AddError> {
        if order.quantity == Quantity::ZERO {
            return Err(AddError::NoQuantity(order.key));
        }
        if self.is_full() && !self.contains(order.key) {
            return Err(AddError::Full {
                key: order.key,
                orders_max: self.orders_max,
            });
        }
        if self.keys.len() == self.room {
            self.grow();
        }
        let slots = &self.slots;
        let is = |&at: &u32| slots.get(at).key == order.key;
        let rehash = |&at: &u32| hash(slots.get(at).key);
        let Entry::Vacant(entry) = self.keys.entry(hash(order.key), is, rehash) else {
            return Err(AddError::Duplicate(order.key));
        };
        let ladder = match order.side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        };
        let level = ladder.find_or_open(order.price);
        let at = self.slots.take(&order, level);
        self.slots
            .push_back(&mut ladder.level_mut(level).queue, at, order.quantity);
        entry.insert(at);
        Ok(())
    }

    /// Whether there is an order with this key.
    #[must_use]
    #[inline]
    pub fn contains(&self, key: OrderKey) -> bool {
        self.find(key).is_some()
    }

    /// The order with this key.
    #[must_use]
    pub fn get(&self, key: OrderKey) -> Option<BookOrder<T>> {
        self.find(key).map(|at| self.order(at))
    }

    /// Twice as many keys as orders: so the table never needs more memory to forget those that went.
    #[cold]
    fn grow(&mut self) {
        self.room = (self.room * 2).max(ROOM_MIN);
        let slots = &self.slots;
        let rehash = |&at: &u32| hash(slots.get(at).key);
        self.keys.reserve(2 * self.room - self.keys.len(), rehash);
        self.slots.reserve(self.room);
    }

    /// The order with this key, to change or remove.
    pub fn get_mut(&mut self, key: OrderKey) -> Option<OrderMut<'_, T>> {
        let at = self.find(key)?;
        Some(OrderMut { book: self, at })
    }

    /// The order of a side that trades first.
    #[must_use]
    pub fn first(&self, side: Side) -> Option<BookOrder<T>> {
        let level = self.ladder(side).best()?;
        Some(self.order(level.queue.head))
    }

    /// The order of a side that trades first, to change or remove.
    #[inline]
    pub fn first_mut(&mut self, side: Side) -> Option<OrderMut<'_, T>> {
        let at = self.ladder(side).best()?.queue.head;
        Some(OrderMut { book: self, at })
    }

    /// Takes an order out; `None` when there is none with this key.
    pub fn remove(&mut self, key: OrderKey) -> Option<BookOrder<T>> {
        self.get_mut(key).map(OrderMut::remove)
    }

    /// Changes an order as markets do: a smaller quantity at its price keeps its place, all else
    /// puts it at the back. No quantity removes it. `None` when there is none with this key.
    pub fn modify(&mut self, key: OrderKey, price: Price, quantity: Quantity) -> Option<Priority> {
        let before = self.get(key)?;
        if price == before.price && quantity <= before.quantity {
            let less = before.quantity.saturating_sub(quantity);
            self.get_mut(key)?.reduce(less);
            return Some(Priority::Kept);
        }
        let order = BookOrder {
            price,
            quantity,
            ..self.remove(key)?
        };
        // The key and its room have just become free, so that only an order of nothing is refused.
        let _ = self.add(order);
        Some(Priority::Lost)
    }

    /// Removes all orders, keeps the memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.slots.clear();
        self.bids.clear();
        self.asks.clear();
    }

    /// The best level of a side: the highest bid, the lowest ask.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<BookLevel> {
        self.ladder(side).best().map(Level::view)
    }

    /// The price of the best level of a side.
    #[must_use]
    #[inline]
    pub fn best_price(&self, side: Side) -> Option<Price> {
        self.ladder(side).best().map(|level| level.price)
    }

    /// Whether the highest bid is at or above the lowest ask.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        let bid = self.best_price(Side::Buy);
        bid.is_some()
            && self
                .best_price(Side::Sell)
                .is_some_and(|ask| bid >= Some(ask))
    }

    /// The levels of a side, best first; the depth of the first `n` is `levels(side).take(n)`.
    pub fn levels(&self, side: Side) -> impl DoubleEndedIterator<Item = BookLevel> {
        self.ladder(side).levels().map(Level::view)
    }

    /// The level of a side at a price.
    #[must_use]
    pub fn level(&self, side: Side, price: Price) -> Option<BookLevel> {
        self.ladder(side).find(price).map(Level::view)
    }

    /// The orders of a side, those that trade first before the others.
    pub fn orders(&self, side: Side) -> impl Iterator<Item = BookOrder<T>> {
        let queues = self.ladder(side).levels().map(|level| level.queue.head);
        queues.flat_map(|head| self.slots.queue(head).map(|at| self.order(at)))
    }

    /// The orders of a side at a price, in the order of their queue.
    pub fn orders_at(&self, side: Side, price: Price) -> impl Iterator<Item = BookOrder<T>> {
        let level = self.ladder(side).find(price);
        let head = level.map(|level| level.queue.head);
        head.into_iter()
            .flat_map(|head| self.slots.queue(head).map(|at| self.order(at)))
    }

    /// What stands before an order in its queue; takes as long as that is many. `None` when there
    /// is no order with this key.
    #[must_use]
    pub fn ahead(&self, key: OrderKey) -> Option<Ahead> {
        let at = self.find(key)?;
        let (mut orders, mut units) = (0, 0);
        for before in self.slots.before(at) {
            orders += 1;
            units += i128::from(self.slots.get(before).quantity.units());
        }
        Some(Ahead {
            orders,
            quantity: Decimal::from_quantity_units(units),
        })
    }

    /// The slot of the order with this key.
    #[inline]
    fn find(&self, key: OrderKey) -> Option<u32> {
        let is = |&at: &u32| self.slots.get(at).key == key;
        self.keys.find(hash(key), is).copied()
    }

    #[inline]
    fn ladder(&self, side: Side) -> &Ladder {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    #[inline]
    fn ladder_mut(&mut self, side: Side) -> &mut Ladder {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    #[inline]
    fn order(&self, at: u32) -> BookOrder<T> {
        let slot = self.slots.get(at);
        BookOrder {
            key: slot.key,
            side: slot.side,
            price: self.ladder(slot.side).level(slot.level).price,
            quantity: slot.quantity,
            extra: slot.extra,
        }
    }
}

#[inline]
fn hash(key: OrderKey) -> u64 {
    FixedState::default().hash_one(key)
}

/// An order of a book, held to be changed: it is there as long as this is.
#[derive(Debug)]
pub struct OrderMut<'a, T: Copy> {
    book: &'a mut Book<T>,
    at: u32,
}

impl<T: Copy> OrderMut<'_, T> {
    /// The order.
    #[must_use]
    #[inline]
    pub fn order(&self) -> BookOrder<T> {
        self.book.order(self.at)
    }

    /// What of it can be seen.
    #[must_use]
    #[inline]
    pub fn quantity(&self) -> Quantity {
        self.book.slots.get(self.at).quantity
    }

    /// What the book's owner keeps beside it.
    #[must_use]
    #[inline]
    pub fn extra(&self) -> &T {
        &self.book.slots.get(self.at).extra
    }

    /// What the book's owner keeps beside it, to change.
    #[inline]
    pub fn extra_mut(&mut self) -> &mut T {
        &mut self.book.slots.get_mut(self.at).extra
    }

    /// Takes a part of its quantity; it keeps its place. Who takes all of it, or more, removes it.
    #[inline]
    pub fn reduce(self, by: Quantity) {
        let slot = self.book.slots.get_mut(self.at);
        if by >= slot.quantity {
            self.remove();
            return;
        }
        slot.quantity = slot.quantity.saturating_sub(by);
        let (side, level) = (slot.side, slot.level);
        let queue = &mut self.book.ladder_mut(side).level_mut(level).queue;
        queue.units -= i128::from(by.units());
    }

    /// Puts it at the back of its queue with a new quantity; none removes it.
    pub fn requeue(self, quantity: Quantity) {
        if quantity == Quantity::ZERO {
            self.remove();
            return;
        }
        let slot = self.book.slots.get(self.at);
        let (side, level) = (slot.side, slot.level);
        let ladder = match side {
            Side::Buy => &mut self.book.bids,
            Side::Sell => &mut self.book.asks,
        };
        let queue = &mut ladder.level_mut(level).queue;
        self.book.slots.unlink(queue, self.at);
        self.book.slots.push_back(queue, self.at, quantity);
    }

    /// Takes it out.
    #[inline]
    pub fn remove(self) -> BookOrder<T> {
        let order = self.order();
        self.take_out();
        order
    }

    fn take_out(self) {
        let slot = self.book.slots.get(self.at);
        let (key, side, level) = (slot.key, slot.side, slot.level);
        let ladder = match side {
            Side::Buy => &mut self.book.bids,
            Side::Sell => &mut self.book.asks,
        };
        let queue = &mut ladder.level_mut(level).queue;
        self.book.slots.unlink(queue, self.at);
        if queue.orders == 0 {
            ladder.close(level);
        }
        let found = self.book.keys.find_entry(hash(key), |&at| at == self.at);
        if let Ok(entry) = found {
            entry.remove();
        }
        self.book.slots.give_back(self.at);
    }
}
