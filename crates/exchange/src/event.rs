//! What happens in a market.
//!
//! Invariant: events tell all that changes a book, so that a reader who adds at [`EventKind::Rested`],
//! takes away at [`EventKind::Executed`], [`EventKind::Amended`] and [`EventKind::Cancelled`] has the
//! same book as the market.

use tapewatch_model::{Decimal, OrderKey, Price, Priority, Quantity, Side};

use crate::command::{Cross, NewOrder, Refusal};
use crate::exchange::Instrument;
use crate::market::Phase;

/// Something that happened, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The market.
    pub instrument: Instrument,
    /// What.
    pub kind: EventKind,
}

/// One side of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// The order.
    pub order: OrderKey,
    /// Whose it is.
    pub owner: u32,
    /// What of it is left (FIX `LeavesQty`), shown or not.
    pub leaves: Quantity,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A new order came in; what happens to it follows.
    Accepted(NewOrder),
    /// A command was refused; nothing changed.
    Refused {
        /// The order that it was about.
        order: OrderKey,
        /// Why.
        reason: Refusal,
    },
    /// Two orders traded.
    Executed {
        /// Who bought.
        buy: Party,
        /// Who sold.
        sell: Party,
        /// The side of the order that came in and found the other waiting; none in an auction.
        aggressor: Option<Side>,
        /// At which price.
        price: Price,
        /// How much.
        quantity: Quantity,
    },
    /// Two orders traded that were declared as a cross; no book has seen them.
    Crossed(Cross),
    /// An order joined the back of the queue of its price: a new one, one that was amended, or the
    /// next part of an iceberg.
    Rested {
        /// The order.
        order: OrderKey,
        /// Its side.
        side: Side,
        /// Its limit; none for an order at any price, which waits for an auction.
        price: Option<Price>,
        /// What of it is shown.
        quantity: Quantity,
    },
    /// An order was changed. When its priority is kept it shows `displayed` from now on; when it is
    /// lost it has left its queue, and what happens to it next follows.
    Amended {
        /// The order.
        order: OrderKey,
        /// Whose it is.
        owner: u32,
        /// Its side.
        side: Side,
        /// Its limit.
        price: Option<Price>,
        /// What of it is left, shown or not.
        leaves: Quantity,
        /// What of it would be shown.
        displayed: Quantity,
        /// Whether it stayed where it was.
        priority: Priority,
    },
    /// An order ended before it was filled.
    Cancelled {
        /// The order.
        order: OrderKey,
        /// Whose it is.
        owner: u32,
        /// Its side.
        side: Side,
        /// Its limit.
        price: Option<Price>,
        /// What was left of it.
        leaves: Quantity,
        /// Why.
        reason: CancelReason,
    },
    /// An auction found its price; its executions follow.
    Uncrossed {
        /// The price.
        price: Price,
        /// All that trades.
        volume: Decimal,
    },
    /// A trading phase began.
    PhaseBegan(Phase),
}

/// Why an order ended before it was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Its owner asked for it.
    Requested,
    /// It does not wait, and found no more to trade with.
    Unfilled,
    /// It had to trade whole at once, and could not.
    FillOrKill,
    /// It met an order of the same owner.
    SelfMatch,
    /// It was to trade at any price in an auction, which had no more for it.
    AuctionOver,
    /// The market closed.
    Expired,
}
