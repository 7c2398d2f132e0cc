//! The orders of a book, all in one piece of memory, and the queues that run through them.
//!
//! Invariant: a slot is in one queue or in the list of free ones; both are chains of slot numbers,
//! so that an order costs no allocation, and joins or leaves a queue in constant time.

use super::{BookOrder, OrderKey};
use crate::fixed::Quantity;
use crate::order::Side;

/// No slot.
const NONE: u32 = u32::MAX;

/// An order and its neighbours in its queue, in one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Slot<T> {
    pub(super) key: OrderKey,
    pub(super) quantity: Quantity,
    /// Number of its level in its side's ladder.
    pub(super) level: u32,
    previous: u32,
    /// The slot behind it in its queue, or in the list of free ones.
    next: u32,
    pub(super) side: Side,
    pub(super) extra: T,
}

/// The orders of one price, in order of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    /// The sum of their quantities, in units of 1e-8: any number of them fits.
    pub(super) units: i128,
    pub(super) head: u32,
    tail: u32,
    pub(super) orders: u32,
}

impl Queue {
    pub(super) const EMPTY: Self = Self {
        units: 0,
        head: NONE,
        tail: NONE,
        orders: 0,
    };
}

/// All slots.
#[derive(Debug, Clone)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// The first of the free ones.
    free: u32,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
        }
    }
}

impl<T: Copy> Slots<T> {
    #[inline]
    pub(super) fn get(&self, at: u32) -> &Slot<T> {
        match self.slots.get(at as usize) {
            Some(slot) => slot,
            None => unreachable!("queues and keys lead to slots"),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: u32) -> &mut Slot<T> {
        match self.slots.get_mut(at as usize) {
            Some(slot) => slot,
            None => unreachable!("queues and keys lead to slots"),
        }
    }

    /// Makes room for so many orders in all.
    pub(super) fn reserve(&mut self, orders: usize) {
        self.slots.reserve(orders.saturating_sub(self.slots.len()));
    }

    /// A slot with this order, in no queue yet.
    #[inline]
    pub(super) fn take(&mut self, order: &BookOrder<T>, level: u32) -> u32 {
        let slot = Slot {
            key: order.key,
            quantity: order.quantity,
            level,
            previous: NONE,
            next: NONE,
            side: order.side,
            extra: order.extra,
        };
        if self.free == NONE {
            self.slots.push(slot);
            return (self.slots.len() - 1) as u32;
        }
        let at = self.free;
        let place = self.get_mut(at);
        let free = place.next;
        *place = slot;
        self.free = free;
        at
    }

    /// Makes a slot that is in no queue free.
    #[inline]
    pub(super) fn give_back(&mut self, at: u32) {
        let free = self.free;
        self.get_mut(at).next = free;
        self.free = at;
    }

    /// Puts a slot that is in no queue at the back of one.
    #[inline]
    pub(super) fn push_back(&mut self, queue: &mut Queue, at: u32, quantity: Quantity) {
        let slot = self.get_mut(at);
        slot.quantity = quantity;
        slot.previous = queue.tail;
        slot.next = NONE;
        if queue.tail == NONE {
            queue.head = at;
        } else {
            self.get_mut(queue.tail).next = at;
        }
        queue.tail = at;
        queue.orders += 1;
        queue.units += i128::from(quantity.units());
    }

    /// Takes a slot out of its queue.
    #[inline]
    pub(super) fn unlink(&mut self, queue: &mut Queue, at: u32) {
        let slot = self.get(at);
        let (previous, next, quantity) = (slot.previous, slot.next, slot.quantity);
        if previous == NONE {
            queue.head = next;
        } else {
            self.get_mut(previous).next = next;
        }
        if next == NONE {
            queue.tail = previous;
        } else {
            self.get_mut(next).previous = previous;
        }
        queue.orders -= 1;
        queue.units -= i128::from(quantity.units());
    }

    /// The slots from this one to the back of its queue.
    pub(super) fn queue(&self, head: u32) -> impl Iterator<Item = u32> {
        let there = |at: u32| (at != NONE).then_some(at);
        std::iter::successors(there(head), move |&at| there(self.get(at).next))
    }

    /// The slots before this one in its queue, the nearest first.
    pub(super) fn before(&self, at: u32) -> impl Iterator<Item = u32> {
        let there = |at: u32| (at != NONE).then_some(at);
        let first = there(self.get(at).previous);
        std::iter::successors(first, move |&at| there(self.get(at).previous))
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.free = NONE;
    }
}
