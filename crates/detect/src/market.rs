//! What is known of an instrument's market: its book, who has which order there, its prints and pulse.
//!
//! Invariant: a market is a function of its instrument's rows in their order of arrival. Time never
//! goes back in it: a row that is older than one before it counts as of that one's time. Orders that
//! came in and may trade at once stand aside until a row shows that they did not; so the book is
//! crossed only where the source's is, before an auction. Everything in it is limited: what is
//! beyond is passed over and counted.

mod order;
mod presence;
mod prints;
mod pulse;
mod saved;
mod sizes;

use tapewatch_model::{
    Book, BookOrder, EventType, Flags, OrderKey, OrderMut, Price, Quantity, Side,
};

pub(crate) use order::{Held, Incoming, OrderName, Party, Seen, Trade, exec_number};
pub(crate) use presence::Presences;
pub(crate) use prints::{Print, Prints, Traded};
pub(crate) use pulse::{Pulse, volatility};
pub(crate) use saved::SavedMarket;
pub(crate) use sizes::Sizes;

/// Orders that a book holds; beyond, new ones are passed over and counted.
const ORDERS_MAX: u32 = 131_072;
/// Orders that stand aside; beyond, the oldest is passed over and counted.
const ASIDE_MAX: usize = 256;
/// For how long an order that does not wait is remembered when its end is not told.
const ASIDE_KEPT: i64 = 1_000_000_000;
/// For how long after an auction or a halt prices say little.
const UNCALM: i64 = 60_000_000_000;

/// The first side of an execution.
#[derive(Debug, Clone, Copy)]
struct OpenExecution {
    exec: u64,
    side: Side,
    party: Party,
}

/// An order that came in and may trade at once.
#[derive(Debug, Clone, Copy)]
struct Aside {
    key: u64,
    held: Held,
}

/// The market of one instrument.
#[derive(Debug, Clone)]
pub(crate) struct Market {
    book: Book<Held>,
    presence: Presences,
    /// Oldest first.
    aside: Vec<Aside>,
    now: i64,
    /// Twice the middle of the book when it was last not crossed; 0 before.
    mid2: i64,
    prints: Prints,
    pulse: Pulse,
    sizes: Sizes,
    open: Option<OpenExecution>,
    /// When a row last was of an auction or a halt.
    uncalm: i64,
    /// What the last row meant: it lies here because it is large, and is lent to all detectors.
    seen: Seen,
    overflows: u64,
}

impl Default for Market {
    fn default() -> Self {
        Self {
            book: Book::with_limit(ORDERS_MAX),
            presence: Presences::default(),
            aside: Vec::new(),
            now: i64::MIN,
            mid2: 0,
            prints: Prints::default(),
            pulse: Pulse::default(),
            sizes: Sizes::default(),
            open: None,
            uncalm: i64::MIN,
            seen: Seen::default(),
            overflows: 0,
        }
    }
}

impl Market {
    /// The orders that rest, in displayed quantities.
    pub(crate) fn book(&self) -> &Book<Held> {
        &self.book
    }

    /// What traders have in the book and put there of late.
    pub(crate) fn presence(&self) -> &Presences {
        &self.presence
    }

    /// The latest time of its rows.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// Twice the middle of the book, in units of price; `None` while there never was one.
    pub(crate) fn mid2(&self) -> Option<i64> {
        (self.mid2 != 0).then_some(self.mid2)
    }

    /// Executions of the last half hour.
    pub(crate) fn prints(&self) -> &Prints {
        &self.prints
    }

    /// Middles and messages by the second.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How large its orders are.
    pub(crate) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Whether no auction and no halt was within the last 60 s.
    pub(crate) fn is_calm(&self) -> bool {
        self.now.saturating_sub(self.uncalm) > UNCALM
    }

    /// Orders passed over because the book was full.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// What is shown on the best `levels` prices of a side, in units.
    pub(crate) fn depth(&self, side: Side, levels: usize) -> i128 {
        let units = |level: tapewatch_model::BookLevel| level.quantity.units() / 10;
        self.book.levels(side).take(levels).map(units).sum()
    }

    /// What the last row meant.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes a row in.
    pub(crate) fn take(&mut self, row: &Incoming) -> &Seen {
        self.now = self.now.max(row.time);
        let called = row.flags.has(Flags::AUCTION.with(Flags::HALT));
        if called {
            self.uncalm = self.now;
        }
        if row.kind != EventType::Filled && !self.aside.is_empty() {
            self.settle();
        }
        self.seen.trade = None;
        self.seen.aggressor = None;
        self.seen.order = match row.kind {
            EventType::New => Some(self.enter(row)),
            EventType::Amended => self.amend(row),
            EventType::Cancelled => self.remove(row.order),
            EventType::Filled => self.fill(row),
        };
        self.note_middle();
        self.pulse.take(self.now, self.mid2, row.kind, called);
        &self.seen
    }

    /// Those aside did not trade any more: what is left of them rests.
    fn settle(&mut self) {
        let mut aside = std::mem::take(&mut self.aside);
        aside.retain(|waiting| {
            let held = &waiting.held;
            if held.can_rest() {
                self.rest(waiting.key, *held, held.shown());
                return false;
            }
            // One at any price may wait for an auction.
            let waits = held.flags.has(Flags::AUCTION);
            waits || self.now.saturating_sub(held.entered) <= ASIDE_KEPT
        });
        if let Some(beyond) = aside.len().checked_sub(ASIDE_MAX) {
            self.overflows += beyond as u64;
            aside.drain(..beyond);
        }
        self.aside = aside;
    }

    fn rest(&mut self, key: u64, held: Held, shown: i64) {
        let (Ok(quantity), false) = (Quantity::from_units(shown), held.leaves <= 0) else {
            return;
        };
        let order = BookOrder {
            key: OrderKey(key),
            side: held.side,
            price: Price::from_units(held.price),
            quantity,
            extra: held,
        };
        match self.book.add(order) {
            Ok(()) => self.presence.enters(self.now, &held),
            Err(_) => self.overflows += 1,
        }
    }

    fn enter(&mut self, row: &Incoming) -> Held {
        let held = Held {
            trader: row.trader,
            owner: row.owner,
            entered: self.now,
            entered_seq: row.seq,
            placed: self.now,
            side: row.side,
            price: row.price,
            quantity: row.quantity,
            traded: 0,
            leaves: row.quantity,
            display: row.display,
            flags: row.flags,
            mid2: self.mid2,
            check: row.order.check,
        };
        if !row.flags.has(Flags::SNAPSHOT) {
            self.sizes.push(row.quantity);
        }
        if row.order.key != 0 {
            self.place(row.order.key, held, row.flags);
        }
        held
    }

    /// Puts an order where it belongs: aside while it may trade at once.
    fn place(&mut self, key: u64, held: Held, now: Flags) {
        let waits = now.has(Flags::AUCTION.with(Flags::HALT).with(Flags::SNAPSHOT));
        let across = self.book.best_price(held.side.opposite());
        let crosses = across.is_some_and(|across| match held.side {
            Side::Buy => held.price >= across.units(),
            Side::Sell => held.price <= across.units(),
        });
        if held.can_rest() && (waits || !crosses) {
            self.rest(key, held, held.shown());
        } else {
            self.aside.push(Aside { key, held });
        }
    }

    fn amend(&mut self, row: &Incoming) -> Option<Held> {
        let waits = self.waiting(row.order).is_some();
        let resting = if waits { None } else { self.resting(row.order) };
        let (before, after) = match resting {
            None => {
                let before = self.remove(row.order)?;
                (before, before.amended(row))
            }
            Some(mut order) => {
                let before = *order.extra();
                let after = before.amended(row);
                if after.price == before.price && after.leaves <= before.leaves {
                    *order.extra_mut() = after;
                    let shown = Quantity::from_units(after.shown()).unwrap_or_default();
                    let before_shown = order.quantity();
                    if shown > before_shown {
                        order.requeue(shown);
                    } else {
                        order.reduce(before_shown.saturating_sub(shown));
                    }
                    self.presence.leaves(&before, before.leaves - after.leaves);
                    return Some(before);
                }
                order.remove();
                self.presence.leaves(&before, before.leaves);
                (before, after)
            }
        };
        let placed = self.now;
        self.place(row.order.key, Held { placed, ..after }, row.flags);
        Some(before)
    }

    /// Where the order stands aside, if it does.
    #[inline]
    fn waiting(&self, name: OrderName) -> Option<usize> {
        let is = |aside: &Aside| aside.key == name.key && aside.held.check == name.check;
        self.aside.iter().rposition(is)
    }

    /// The order as it rests, if it does.
    #[inline]
    fn resting(&mut self, name: OrderName) -> Option<OrderMut<'_, Held>> {
        if name.key == 0 {
            return None;
        }
        let order = self.book.get_mut(OrderKey(name.key))?;
        (order.extra().check == name.check).then_some(order)
    }

    fn remove(&mut self, name: OrderName) -> Option<Held> {
        if let Some(at) = self.waiting(name) {
            return Some(self.aside.remove(at).held);
        }
        let order = self.resting(name)?;
        let held = *order.extra();
        order.remove();
        self.presence.leaves(&held, held.leaves);
        Some(held)
    }

    fn fill(&mut self, row: &Incoming) -> Option<Held> {
        let came_in = self.waiting(row.order);
        let order = match came_in {
            Some(at) => self.reduce_aside(row, at),
            None => self.reduce(row),
        };
        let aggressor = match row.flags {
            flags if flags.has(Flags::AUCTION) => None,
            flags if flags.has(Flags::AGGRESSOR) => Some(row.side),
            flags if flags.has(Flags::PASSIVE) => Some(row.side.opposite()),
            _ if came_in.is_some() => Some(row.side),
            _ => None,
        };
        let party = Party {
            trader: row.trader,
            owner: row.owner,
            seq: row.seq,
            order,
        };
        self.seen.trade = self.pair(row, party, aggressor);
        // Both sides tell the same print: the first one counts it.
        let counts = match row.exec {
            0 => {
                let auctioned = row.flags.has(Flags::AUCTION) && row.side == Side::Sell;
                !row.flags.has(Flags::AGGRESSOR) && !auctioned
            }
            _ => self.seen.trade.is_none(),
        };
        if counts {
            self.prints.push(Print {
                time: self.now,
                price: row.price,
                quantity: row.quantity,
                aggressor,
            });
        }
        self.seen.aggressor = aggressor;
        order
    }

    /// The execution, when its other side was the one before.
    fn pair(&mut self, row: &Incoming, party: Party, aggressor: Option<Side>) -> Option<Trade> {
        if row.exec == 0 {
            return None;
        }
        let first = self.open.take();
        let Some(first) = first.filter(|first| first.exec == row.exec && first.side != row.side)
        else {
            self.open = Some(OpenExecution {
                exec: row.exec,
                side: row.side,
                party,
            });
            return None;
        };
        let (buy, sell) = match row.side {
            Side::Buy => (party, first.party),
            Side::Sell => (first.party, party),
        };
        Some(Trade {
            buy,
            sell,
            price: row.price,
            quantity: row.quantity,
            aggressor,
            flags: row.flags,
        })
    }

    /// Takes what traded from an order that stands aside; the order before.
    fn reduce_aside(&mut self, row: &Incoming, at: usize) -> Option<Held> {
        let held = &mut self.aside.get_mut(at)?.held;
        let before = *held;
        *held = before.executed(row);
        if held.leaves == 0 {
            self.aside.remove(at);
        }
        Some(before)
    }

    /// Takes what traded from an order that rests; the order before.
    fn reduce(&mut self, row: &Incoming) -> Option<Held> {
        let mut order = self.resting(row.order)?;
        let before = *order.extra();
        let after = before.executed(row);
        *order.extra_mut() = after;
        let shown = order.quantity().units().saturating_sub(row.quantity);
        if shown > 0 {
            order.reduce(Quantity::from_units(row.quantity).unwrap_or_default());
        } else {
            // The next part of an iceberg goes to the back; of nothing, the order goes.
            order.requeue(Quantity::from_units(after.shown()).unwrap_or_default());
        }
        self.presence.leaves(&before, before.leaves - after.leaves);
        Some(before)
    }

    fn note_middle(&mut self) {
        let bid = self.book.best_price(Side::Buy).map(Price::units);
        let ask = self.book.best_price(Side::Sell).map(Price::units);
        if let (Some(bid), Some(ask)) = (bid, ask)
            && bid < ask
        {
            self.mid2 = bid.saturating_add(ask);
        }
    }
}

#[cfg(test)]
#[path = "market/tests.rs"]
mod tests;
