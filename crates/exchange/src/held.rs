//! An order inside a market: on its way in, in the book, and as its owner sees it.
//!
//! Invariant: an order's leaves are what is shown and what is hidden of it, and with what has traded
//! they are its quantity.

use tapewatch_model::{BookOrder, OrderKey, Price, Quantity, Side};

use crate::command::{NewOrder, OrderType, SelfMatch};
use crate::event::Party;

/// The most parts in which an iceberg shows itself.
const ICEBERG_PARTS_MAX: u32 = 100;

/// What a market keeps beside an order in its book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub(crate) owner: u32,
    pub(crate) self_match: SelfMatch,
    pub(crate) post_only: bool,
    pub(crate) at_any_price: bool,
    /// What is shown at a time; nothing says that all is.
    pub(crate) display: Quantity,
    /// What is hidden.
    pub(crate) hidden: Quantity,
    pub(crate) traded: Quantity,
}

impl Terms {
    /// What would be shown of so much.
    pub(crate) fn shown(&self, leaves: Quantity) -> Quantity {
        if self.display == Quantity::ZERO {
            leaves
        } else {
            leaves.min(self.display)
        }
    }
}

/// An order on its way into the book; what of it will be hidden is not said yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) order: OrderKey,
    pub(crate) side: Side,
    pub(crate) price: Option<Price>,
    pub(crate) leaves: Quantity,
    pub(crate) terms: Terms,
}

impl Incoming {
    pub(crate) fn of(new: &NewOrder) -> Self {
        Self {
            order: new.order,
            side: new.side,
            price: new.price(),
            leaves: new.quantity,
            terms: Terms {
                owner: new.owner,
                self_match: new.self_match,
                post_only: new.post_only,
                at_any_price: new.order_type == OrderType::Market,
                display: new.display.unwrap_or_default(),
                hidden: Quantity::ZERO,
                traded: Quantity::ZERO,
            },
        }
    }

    /// Whether it trades with the other side at this price.
    #[inline]
    pub(crate) fn takes(&self, price: Price) -> bool {
        match (self.price, self.side) {
            (None, _) => true,
            (Some(limit), Side::Buy) => price <= limit,
            (Some(limit), Side::Sell) => price >= limit,
        }
    }

    /// Notes a trade.
    #[inline]
    pub(crate) fn trade(&mut self, quantity: Quantity) -> Party {
        self.leaves = self.leaves.saturating_sub(quantity);
        self.terms.traded = sum(self.terms.traded, quantity);
        Party {
            order: self.order,
            owner: self.terms.owner,
            leaves: self.leaves,
        }
    }
}

/// An order that waits, as its owner knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// Its name.
    pub order: OrderKey,
    /// Whose it is.
    pub owner: u32,
    /// Its side.
    pub side: Side,
    /// Its limit; none for one at any price.
    pub price: Option<Price>,
    /// What of it is shown.
    pub displayed: Quantity,
    /// What is left of it, shown or not.
    pub leaves: Quantity,
    /// What has traded.
    pub traded: Quantity,
}

/// Whether an iceberg shows itself in more parts than it may.
pub(crate) fn too_many_parts(quantity: Quantity, shown: Quantity) -> bool {
    let most = i128::from(shown.units()) * i128::from(ICEBERG_PARTS_MAX);
    i128::from(quantity.units()) > most
}

/// What is left of an order, shown or not.
#[inline]
pub(crate) fn leaves(order: &BookOrder<Terms>) -> Quantity {
    sum(order.quantity, order.extra.hidden)
}

/// The sum of two parts of one order's quantity, which therefore fits.
#[inline]
pub(crate) fn sum(one: Quantity, other: Quantity) -> Quantity {
    match one.checked_add(other) {
        Some(sum) => sum,
        None => unreachable!("parts of an order are no more than the order"),
    }
}

pub(crate) fn resting(order: &BookOrder<Terms>) -> Resting {
    Resting {
        order: order.key,
        owner: order.extra.owner,
        side: order.side,
        price: (!order.extra.at_any_price).then_some(order.price),
        displayed: order.quantity,
        leaves: leaves(order),
        traded: order.extra.traded,
    }
}
