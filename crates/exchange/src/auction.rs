//! Auctions: one price at which the most of what was collected trades.
//!
//! The rule. Candidates are the limits in the book and the reference price (the last trade's, before
//! the first one the rules'). Of them the auction takes
//!
//! 1. the one at which most trades: the lesser of what would buy at it or above and what would sell
//!    at it or below, hidden parts and orders at any price included;
//! 2. of several, the one that leaves least over;
//! 3. of several, the one closest to the reference price;
//! 4. of several, which needs a market without a reference price, the highest at which buyers are left
//!    over, and where there is no such price the lowest.
//!
//! Orders trade at that price in the order of orders at any price, then limits from the best, each by
//! time. Hidden parts trade before shown ones, so that an iceberg keeps its place. What is left
//! of orders at any price is cancelled. Self-match prevention does not apply: nobody chose whom
//! to meet.
//!
//! Invariant: after an auction the book is not crossed.

use std::cmp::Reverse;

use tapewatch_model::{Book, BookOrder, Decimal, Price, Quantity, Side};

use crate::event::{CancelReason, Event, EventKind, Party};
use crate::held::{Terms, leaves, sum};
use crate::market::Market;

/// What an auction would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clearing {
    /// Its price.
    pub price: Price,
    /// All that trades.
    pub volume: Decimal,
    /// What is left over at this price: above zero of buyers, below zero of sellers.
    pub surplus: Decimal,
}

impl Market {
    /// What the auction would come to if it were now; `None` when nothing would trade.
    #[must_use]
    pub fn indicative(&self) -> Option<Clearing> {
        let demand = Interest::of(self, Side::Buy);
        let supply = Interest::of(self, Side::Sell);
        let (price, at) = clear(&demand, &supply, self.reference())?;
        Some(Clearing {
            price,
            volume: Decimal::from_quantity_units(at.volume()),
            surplus: Decimal::from_quantity_units(at.surplus()),
        })
    }

    /// Holds the auction.
    pub(crate) fn uncross(&mut self, events: &mut Vec<Event>) {
        if let Some(clearing) = self.indicative() {
            let (price, volume) = (clearing.price, clearing.volume);
            self.tell(events, EventKind::Uncrossed { price, volume });
            self.note_last(price);
            while self.execute_at(price, events) {}
        }
        for side in [Side::Buy, Side::Sell] {
            while let Some(order) = self.markets.first_mut(side) {
                let order = order.remove();
                self.tell_cancelled(events, &order, CancelReason::AuctionOver);
            }
        }
    }

    /// Trades the first buyer with the first seller, as far as both want this price.
    fn execute_at(&mut self, price: Price, events: &mut Vec<Event>) -> bool {
        let (Some(buyer), Some(seller)) = (
            self.first_at(Side::Buy, price),
            self.first_at(Side::Sell, price),
        ) else {
            return false;
        };
        let quantity = leaves(&buyer).min(leaves(&seller));
        let buy = self.fill(&buyer, quantity);
        let sell = self.fill(&seller, quantity);
        let executed = EventKind::Executed {
            buy,
            sell,
            aggressor: None,
            price,
            quantity,
        };
        self.tell(events, executed);
        true
    }

    fn first_at(&self, side: Side, price: Price) -> Option<BookOrder<Terms>> {
        let limit = || {
            let first = self.limits.first(side)?;
            let wants = match side {
                Side::Buy => first.price >= price,
                Side::Sell => first.price <= price,
            };
            wants.then_some(first)
        };
        self.markets.first(side).or_else(limit)
    }

    /// Takes a part of an order, first of what is hidden.
    fn fill(&mut self, order: &BookOrder<Terms>, quantity: Quantity) -> Party {
        let book = if self.markets.contains(order.key) {
            &mut self.markets
        } else {
            &mut self.limits
        };
        if let Some(mut held) = book.get_mut(order.key) {
            let terms = held.extra_mut();
            let hidden = quantity.min(terms.hidden);
            terms.hidden = terms.hidden.saturating_sub(hidden);
            terms.traded = sum(terms.traded, quantity);
            held.reduce(quantity.saturating_sub(hidden));
        }
        Party {
            order: order.key,
            owner: order.extra.owner,
            leaves: leaves(order).saturating_sub(quantity),
        }
    }
}

/// What one side wants, in units of quantity.
#[derive(Debug, Default)]
struct Interest {
    at_any_price: i128,
    /// By limit, ascending.
    limits: Vec<(Price, i128)>,
}

impl Interest {
    fn of(market: &Market, side: Side) -> Self {
        let units = |order: BookOrder<Terms>| i128::from(leaves(&order).units());
        let limits: &Book<Terms> = &market.limits;
        let at = |price| limits.orders_at(side, price).map(units).sum();
        let mut limits: Vec<(Price, i128)> = limits
            .levels(side)
            .map(|level| (level.price, at(level.price)))
            .collect();
        if side == Side::Buy {
            limits.reverse();
        }
        Self {
            at_any_price: market.markets.orders(side).map(units).sum(),
            limits,
        }
    }

    fn all(&self) -> i128 {
        self.at_any_price + self.limits.iter().map(|(_, units)| units).sum::<i128>()
    }
}

/// What both sides want at a price, in units of quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    bought: i128,
    sold: i128,
}

impl Wanted {
    fn volume(self) -> i128 {
        self.bought.min(self.sold)
    }

    fn surplus(self) -> i128 {
        self.bought - self.sold
    }
}

/// The price of the rule above, and what is wanted at it.
fn clear(
    demand: &Interest,
    supply: &Interest,
    reference: Option<Price>,
) -> Option<(Price, Wanted)> {
    let limits = demand.limits.iter().chain(&supply.limits);
    let mut candidates: Vec<Price> = limits.map(|(price, _)| *price).chain(reference).collect();
    candidates.sort_unstable();
    candidates.dedup();

    let mut wanted = Wanted {
        bought: demand.all(),
        sold: supply.at_any_price,
    };
    let (mut bids, mut asks) = (demand.limits.as_slice(), supply.limits.as_slice());
    let mut chosen: Option<(Price, Wanted)> = None;
    for price in candidates {
        while let Some(((limit, units), rest)) = bids.split_first()
            && *limit < price
        {
            wanted.bought -= units;
            bids = rest;
        }
        while let Some(((limit, units), rest)) = asks.split_first()
            && *limit <= price
        {
            wanted.sold += units;
            asks = rest;
        }
        let merit = |price: Price, wanted: Wanted| {
            let distance =
                |from: Price| (i128::from(price.units()) - i128::from(from.units())).unsigned_abs();
            (
                wanted.volume(),
                Reverse(wanted.surplus().unsigned_abs()),
                Reverse(reference.map_or(0, distance)),
            )
        };
        let better = chosen.is_none_or(|(best, at_best)| {
            match merit(price, wanted).cmp(&merit(best, at_best)) {
                std::cmp::Ordering::Equal => wanted.surplus() > 0,
                order => order.is_gt(),
            }
        });
        if better {
            chosen = Some((price, wanted));
        }
    }
    chosen.filter(|(_, wanted)| wanted.volume() > 0)
}
