//! What is known of an order and of an execution, and a row as a market takes it in.
//!
//! Invariant: prices and quantities are in units; who is who is told by the engine's numbers.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use tapewatch_model::{EventType, Flags, Side};

/// What is known of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// The engine's number of the trader.
    pub(crate) trader: u32,
    /// The engine's number of the owner.
    pub(crate) owner: u32,
    /// When it came in (nanoseconds), under which sequence number.
    pub(crate) entered: i64,
    pub(crate) entered_seq: u64,
    /// When it came to its place in the queue: in, or to another price, or to more.
    pub(crate) placed: i64,
    /// Its side and its limit now, in units; the limit of an order at any price is 0.
    pub(crate) side: Side,
    pub(crate) price: i64,
    /// All of it, what has traded of it and what is open, shown or not; in units.
    pub(crate) quantity: i64,
    pub(crate) traded: i64,
    pub(crate) leaves: i64,
    /// What is shown of it at a time; 0 when all is.
    pub(crate) display: i64,
    /// Marks of the row that brought it.
    pub(crate) flags: Flags,
    /// Twice the middle of the book just before it came in, in units of price; 0 when there was none.
    pub(crate) mid2: i64,
    /// Tells it from another whose key is the same.
    pub(crate) check: u32,
}

impl Held {
    /// What can be seen of it.
    pub(crate) fn shown(&self) -> i64 {
        match self.display {
            0 => self.leaves,
            display => self.leaves.min(display),
        }
    }

    /// It after an amendment.
    pub(super) fn amended(&self, row: &Incoming) -> Self {
        let at_any = row.flags.has(Flags::MARKET);
        Self {
            price: if at_any { self.price } else { row.price },
            leaves: row.quantity,
            quantity: self.traded.saturating_add(row.quantity),
            display: match row.display {
                0 => self.display,
                display => display,
            },
            ..*self
        }
    }

    /// It after an execution.
    pub(super) fn executed(&self, row: &Incoming) -> Self {
        Self {
            traded: self.traded.saturating_add(row.quantity),
            leaves: self.leaves.saturating_sub(row.quantity).max(0),
            ..*self
        }
    }

    /// Whether it waits in the book when it does not trade at once.
    pub(crate) fn can_rest(&self) -> bool {
        let never = Flags::MARKET.with(Flags::IOC).with(Flags::FOK);
        !self.flags.has(never)
    }
}

/// A row as a market takes it in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) seq: u64,
    pub(crate) time: i64,
    pub(crate) kind: EventType,
    pub(crate) side: Side,
    pub(crate) price: i64,
    pub(crate) quantity: i64,
    pub(crate) display: i64,
    pub(crate) flags: Flags,
    pub(crate) trader: u32,
    pub(crate) owner: u32,
    /// Of the order; 0 when the row names none.
    pub(crate) order: OrderName,
    /// Of the execution; 0 when the row names none.
    pub(crate) exec: u64,
}

/// An order's id, as a number and a second one to tell it from others with the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OrderName {
    pub(crate) key: u64,
    pub(super) check: u32,
}

impl OrderName {
    pub(crate) fn of(text: &[u8]) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        let key = hash(text);
        let check = (key ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let last = text
            .last_chunk::<4>()
            .map_or(0, |last| u32::from_le_bytes(*last));
        Self {
            key: key.max(1),
            check: (check >> 32) as u32 ^ last,
        }
    }
}

/// The number of an execution's name; 0 of none.
pub(crate) fn exec_number(text: &[u8]) -> u64 {
    if text.is_empty() {
        0
    } else {
        hash(text).max(1)
    }
}

fn hash(text: &[u8]) -> u64 {
    FixedState::default().hash_one(text)
}

/// One side of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) trader: u32,
    pub(crate) owner: u32,
    pub(crate) seq: u64,
    /// The order as it was before; `None` when the source did not tell of it.
    pub(crate) order: Option<Held>,
}

/// An execution whose two sides are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trade {
    pub(crate) buy: Party,
    pub(crate) sell: Party,
    pub(crate) price: i64,
    pub(crate) quantity: i64,
    /// Whose order came to the other; `None` in an auction, or where that is not known.
    pub(crate) aggressor: Option<Side>,
    pub(crate) flags: Flags,
}

impl Trade {
    /// The sequence numbers that it rests on: of its executions, and of the orders where they are known.
    pub(crate) fn seqs(&self) -> [u64; 4] {
        let of = |party: &Party| party.order.map_or(party.seq, |order| order.entered_seq);
        [of(&self.buy), of(&self.sell), self.buy.seq, self.sell.seq]
    }

    pub(crate) fn party(&self, side: Side) -> &Party {
        match side {
            Side::Buy => &self.buy,
            Side::Sell => &self.sell,
        }
    }
}

/// What a row meant to its market.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// The order as it was before; of a new one, as it came in.
    pub(crate) order: Option<Held>,
    /// At the row that tells an execution's second side: both.
    pub(crate) trade: Option<Trade>,
    /// Of an execution: the side of the order that came in, where that is known.
    pub(crate) aggressor: Option<Side>,
}
