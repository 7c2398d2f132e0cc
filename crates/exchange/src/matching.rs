//! Continuous trading: an order that comes in takes the best that waits on the other side.
//!
//! Invariant: who waits at the better price trades first, at one price who waits longer, and always
//! at the price of the one who waits. An iceberg whose shown part has traded shows the next and goes
//! to the back of its queue.

use std::ops::ControlFlow;

use tapewatch_model::{BookOrder, Quantity, Side};

use crate::command::SelfMatch;
use crate::event::{CancelReason, Event, EventKind, Party};
use crate::held::{Incoming, Terms, leaves, sum};
use crate::market::Market;

impl Market {
    /// Trades an order with all that it can take. Breaks when what is left of it is to be cancelled
    /// since it met an order of its owner.
    pub(crate) fn take(
        &mut self,
        incoming: &mut Incoming,
        events: &mut Vec<Event>,
    ) -> ControlFlow<()> {
        while incoming.leaves > Quantity::ZERO {
            let Some(first) = self.limits.first_mut(incoming.side.opposite()) else {
                break;
            };
            let order = first.order();
            if !incoming.takes(order.price) {
                break;
            }
            if order.extra.owner == incoming.terms.owner
                && incoming.terms.self_match != SelfMatch::Allow
            {
                self.prevent(incoming, &order, events)?;
            } else {
                self.execute(incoming, &order, events);
            }
        }
        ControlFlow::Continue(())
    }

    /// Trades an order with the first of the other side.
    #[inline]
    fn execute(
        &mut self,
        incoming: &mut Incoming,
        order: &BookOrder<Terms>,
        events: &mut Vec<Event>,
    ) {
        let quantity = incoming.leaves.min(order.quantity);
        let resting = Party {
            order: order.key,
            owner: order.extra.owner,
            leaves: leaves(order).saturating_sub(quantity),
        };
        let refill = if quantity < order.quantity {
            Quantity::ZERO
        } else {
            order.extra.shown(order.extra.hidden)
        };
        if let Some(mut first) = self.limits.first_mut(order.side) {
            let terms = first.extra_mut();
            terms.traded = sum(terms.traded, quantity);
            if refill > Quantity::ZERO {
                terms.hidden = terms.hidden.saturating_sub(refill);
                first.requeue(refill);
            } else {
                first.reduce(quantity);
            }
        }
        let taking = incoming.trade(quantity);
        let (buy, sell) = match incoming.side {
            Side::Buy => (taking, resting),
            Side::Sell => (resting, taking),
        };
        let executed = EventKind::Executed {
            buy,
            sell,
            aggressor: Some(incoming.side),
            price: order.price,
            quantity,
        };
        self.tell(events, executed);
        self.note_last(order.price);
        if refill > Quantity::ZERO {
            let rested = EventKind::Rested {
                order: order.key,
                side: order.side,
                price: Some(order.price),
                quantity: refill,
            };
            self.tell(events, rested);
        }
    }

    /// Does what the incoming order says about meeting this one, of the same owner.
    #[cold]
    fn prevent(
        &mut self,
        incoming: &Incoming,
        order: &BookOrder<Terms>,
        events: &mut Vec<Event>,
    ) -> ControlFlow<()> {
        let instruction = incoming.terms.self_match;
        if instruction != SelfMatch::CancelIncoming {
            self.limits.remove(order.key);
            self.tell_cancelled(events, order, CancelReason::SelfMatch);
        }
        if instruction == SelfMatch::CancelResting {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    /// Whether all of an order would trade now.
    pub(crate) fn can_fill(&self, incoming: &Incoming) -> bool {
        let mut missing = i128::from(incoming.leaves.units());
        let other = incoming.side.opposite();
        for level in self.limits.levels(other) {
            if missing <= 0 || !incoming.takes(level.price) {
                break;
            }
            let mut hidden = 0;
            for order in self.limits.orders_at(other, level.price) {
                if order.extra.owner == incoming.terms.owner {
                    match incoming.terms.self_match {
                        SelfMatch::Allow => {}
                        SelfMatch::CancelResting => continue,
                        // Hidden parts come up behind this one: it is met before them.
                        _ => return missing <= 0,
                    }
                }
                missing -= i128::from(order.quantity.units());
                hidden += i128::from(order.extra.hidden.units());
            }
            missing -= hidden;
        }
        missing <= 0
    }
}
