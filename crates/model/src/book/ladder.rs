//! The prices of one side of a book that have orders.
//!
//! Invariant: ranks ascend, so that the best price is the last; each has its level in `levels`, and
//! no level there is without a rank but those that are free. Trading happens near the best price, so
//! that few ranks move when a price comes or goes, and all of a thousand prices lie in a few
//! cache lines.

use super::BookLevel;
use super::slots::Queue;
use crate::fixed::{Decimal, Price};
use crate::order::Side;

/// One price and its orders.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub(super) price: Price,
    pub(super) queue: Queue,
}

impl Level {
    pub(super) fn view(&self) -> BookLevel {
        BookLevel {
            price: self.price,
            quantity: Decimal::from_quantity_units(self.queue.units),
            orders: self.queue.orders,
        }
    }
}

/// The levels of one side.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    side: Side,
    ranks: Vec<i64>,
    /// Where the level of the rank at the same index is in `levels`.
    places: Vec<u32>,
    levels: Vec<Level>,
    free: Vec<u32>,
}

impl Ladder {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            ranks: Vec::new(),
            places: Vec::new(),
            levels: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The better the price, the higher its rank. `!` turns the order of numbers round and, unlike
    /// `-`, has an answer for each.
    #[inline]
    fn rank(&self, price: Price) -> i64 {
        match self.side {
            Side::Buy => price.units(),
            Side::Sell => !price.units(),
        }
    }

    /// The index of a rank, or where it belongs.
    #[inline]
    fn search(&self, rank: i64) -> Result<usize, usize> {
        // Most orders come to the best price.
        match self.ranks.last() {
            Some(&best) if best == rank => Ok(self.ranks.len() - 1),
            Some(&best) if best < rank => Err(self.ranks.len()),
            _ => self.ranks.binary_search(&rank),
        }
    }

    #[inline]
    pub(super) fn best(&self) -> Option<&Level> {
        self.places.last().map(|&level| self.level(level))
    }

    pub(super) fn find(&self, price: Price) -> Option<&Level> {
        let index = self.search(self.rank(price)).ok()?;
        self.places.get(index).map(|&level| self.level(level))
    }

    /// All levels, best first.
    pub(super) fn levels(&self) -> impl DoubleEndedIterator<Item = &Level> {
        self.places.iter().rev().map(|&level| self.level(level))
    }

    /// The level of a price, a new one when it has none; who opens one must put an order into it.
    #[inline]
    pub(super) fn find_or_open(&mut self, price: Price) -> u32 {
        let rank = self.rank(price);
        let index = match self.search(rank) {
            Ok(index) => match self.places.get(index) {
                Some(&level) => return level,
                None => unreachable!("ranks and places are of one length"),
            },
            Err(index) => index,
        };
        let level = Level {
            price,
            queue: Queue::EMPTY,
        };
        let at = match self.free.pop() {
            Some(at) => {
                *self.level_mut(at) = level;
                at
            }
            None => {
                self.levels.push(level);
                (self.levels.len() - 1) as u32
            }
        };
        self.ranks.insert(index, rank);
        self.places.insert(index, at);
        at
    }

    /// Forgets a level, which has no orders any more.
    #[inline]
    pub(super) fn close(&mut self, at: u32) {
        let rank = self.rank(self.level(at).price);
        if let Ok(index) = self.search(rank) {
            self.ranks.remove(index);
            self.places.remove(index);
            self.free.push(at);
        }
    }

    pub(super) fn clear(&mut self) {
        self.ranks.clear();
        self.places.clear();
        self.levels.clear();
        self.free.clear();
    }

    #[inline]
    pub(super) fn level(&self, at: u32) -> &Level {
        match self.levels.get(at as usize) {
            Some(level) => level,
            None => unreachable!("an order's level is there as long as the order"),
        }
    }

    #[inline]
    pub(super) fn level_mut(&mut self, at: u32) -> &mut Level {
        match self.levels.get_mut(at as usize) {
            Some(level) => level,
            None => unreachable!("an order's level is there as long as the order"),
        }
    }
}
