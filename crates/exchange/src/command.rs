//! What can be asked of a market, and why it is refused.
//!
//! Invariant: a command says all that matching needs; fields have the names and meanings of FIX.

use tapewatch_model::{OrderKey, Price, Quantity, Side};

/// Something asked of a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A new order.
    New(NewOrder),
    /// A change of an order that rests.
    Amend(Amend),
    /// The end of an order that rests.
    Cancel(OrderKey),
    /// A trade that its two sides have agreed upon, and declare.
    Cross(Cross),
}

/// A declared cross (FIX `NewOrderCross`): both sides trade with each other and with nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cross {
    /// The buying order, which never rests.
    pub buy: OrderKey,
    /// Whose it is.
    pub buyer: u32,
    /// The selling order, which never rests.
    pub sell: OrderKey,
    /// Whose it is.
    pub seller: u32,
    /// At which price; no worse for either than the best that waits.
    pub price: Price,
    /// How much.
    pub quantity: Quantity,
}

/// A new order (FIX `NewOrderSingle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewOrder {
    /// Its name; no other order that rests in this market has it.
    pub order: OrderKey,
    /// Whose it is: a code for trader or account, by which self-matches are known.
    pub owner: u32,
    /// `Side` (54).
    pub side: Side,
    /// `OrderQty` (38): all of it, shown or not.
    pub quantity: Quantity,
    /// `OrdType` (40), with its price.
    pub order_type: OrderType,
    /// `TimeInForce` (59).
    pub time_in_force: TimeInForce,
    /// `ExecInst` (18) `6`, participate don't initiate: refused where it would trade at once.
    pub post_only: bool,
    /// `DisplayQty` (1138): what others see at a time, of an iceberg; at least a hundredth of it.
    pub display: Option<Quantity>,
    /// `SelfMatchPreventionInstruction` (2964): what happens where it would trade with its owner.
    pub self_match: SelfMatch,
}

impl NewOrder {
    /// A plain order that rests until it is filled, cancelled or the session ends.
    #[must_use]
    pub const fn limit(
        order: OrderKey,
        owner: u32,
        side: Side,
        quantity: Quantity,
        price: Price,
    ) -> Self {
        Self {
            order,
            owner,
            side,
            quantity,
            order_type: OrderType::Limit(price),
            time_in_force: TimeInForce::Day,
            post_only: false,
            display: None,
            self_match: SelfMatch::Allow,
        }
    }

    /// An order at any price.
    #[must_use]
    pub const fn market(order: OrderKey, owner: u32, side: Side, quantity: Quantity) -> Self {
        Self {
            order_type: OrderType::Market,
            ..Self::limit(order, owner, side, quantity, Price::from_units(0))
        }
    }

    /// Its limit; `None` for an order at any price.
    #[must_use]
    pub const fn price(&self) -> Option<Price> {
        match self.order_type {
            OrderType::Market => None,
            OrderType::Limit(price) => Some(price),
        }
    }
}

/// At which prices an order trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderType {
    /// At any. In continuous trading what finds no one to trade with is cancelled; in a call phase
    /// it waits for the auction, ahead of all limits, and what the auction leaves is cancelled.
    Market,
    /// At this one or a better one.
    Limit(Price),
}

/// How long an order waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeInForce {
    /// Until the market closes.
    Day,
    /// Not at all: what does not trade at once is cancelled.
    ImmediateOrCancel,
    /// Not at all: unless all of it trades at once, none does.
    FillOrKill,
}

/// What happens in continuous trading when an incoming order meets one of the same owner; the
/// incoming order's word counts. Auctions let them trade: nobody chose the other side there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfMatch {
    /// They trade.
    Allow,
    /// The one that rests is cancelled, the incoming one goes on.
    CancelResting,
    /// What is left of the incoming one is cancelled.
    CancelIncoming,
    /// Both are cancelled.
    CancelBoth,
}

/// A change of a resting order (FIX `OrderCancelReplaceRequest`). A smaller quantity at the same price
/// keeps the order's place in its queue and comes out of its hidden part first; any other change
/// takes it out and lets it come in again, when it may trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amend {
    /// The order.
    pub order: OrderKey,
    /// The new `OrderQty` (38), which includes what has traded.
    pub quantity: Quantity,
    /// The new limit; `None` leaves it, and is all that an order at any price can say.
    pub price: Option<Price>,
}

/// Why a command is refused; nothing has changed then. Where several reasons hold, the first in this
/// list is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No market with this number.
    #[error("the instrument is not listed")]
    UnknownInstrument,
    /// The market is closed.
    #[error("the market is closed")]
    Closed,
    /// The quantity, or the displayed one, is nothing or not a multiple of the lot.
    #[error("the quantity, or the displayed one, is not a positive multiple of the lot")]
    Lot,
    /// The price is not a multiple of the tick.
    #[error("the price is not a multiple of the tick")]
    Tick,
    /// Only an order that waits at a limit can be post-only, and only such a one can hide a part.
    #[error("post-only and a displayed quantity need a day order with a limit")]
    NotResting,
    /// An iceberg that is shown in too many parts: each could cost a command an execution.
    #[error("an iceberg shows at least a hundredth of its quantity at a time")]
    Display,
    /// It would have to trade at once, and a call phase only collects.
    #[error("orders that do not wait are not taken in a call phase")]
    CallPhase,
    /// An order that rests has this key.
    #[error("an order with this key rests in the market already")]
    DuplicateOrder,
    /// No order with this key rests in the market.
    #[error("no order with this key rests in the market; it may have traded or been cancelled")]
    UnknownOrder,
    /// An order at any price has no limit to change.
    #[error("an order at any price has no limit to change")]
    NoLimit,
    /// All of the new quantity has traded.
    #[error("the new quantity is not above what has traded already")]
    Filled,
    /// The market holds as many orders as it may.
    #[error("the market holds as many orders as it may")]
    Full,
    /// A declared cross at a price at which others would have traded first.
    #[error("a cross is at the best prices or between them")]
    CrossPrice,
    /// It is post-only and would trade at once.
    #[error("the order is post-only and would trade at once")]
    WouldTrade,
}
