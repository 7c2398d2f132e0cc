//! The market of one instrument: its book, its phase, and what may enter.
//!
//! Invariant: in continuous trading the book is never crossed and no order at any price waits; while
//! the market is closed nothing waits.

use tapewatch_model::{Book, BookOrder, OrderKey, Price, Priority, Quantity, Side};

use crate::command::{Amend, Command, Cross, NewOrder, OrderType, Refusal, TimeInForce};
use crate::event::{CancelReason, Event, EventKind};
use crate::exchange::Instrument;
use crate::held::{Incoming, Resting, Terms, leaves, resting, sum, too_many_parts};
use crate::rules::Rules;

/// What the market does with orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It refuses them. Its beginning ends all orders.
    Closed,
    /// It collects them; its end is the opening auction.
    OpeningCall,
    /// It matches each as it comes.
    Continuous,
    /// It collects them; its end is the closing auction.
    ClosingCall,
    /// Trading was stopped: it collects them, its end is an auction.
    Halted,
}

impl Phase {
    /// Whether orders are collected for an auction.
    #[must_use]
    pub const fn is_call(self) -> bool {
        matches!(self, Self::OpeningCall | Self::ClosingCall | Self::Halted)
    }
}

/// The market of one instrument.
#[derive(Debug, Clone)]
pub struct Market {
    instrument: Instrument,
    rules: Rules,
    phase: Phase,
    last: Option<Price>,
    pub(crate) limits: Book<Terms>,
    /// Orders at any price that wait for an auction; their price here is 0 and means nothing.
    pub(crate) markets: Book<Terms>,
}

impl Market {
    pub(crate) fn new(instrument: Instrument, rules: Rules) -> Self {
        Self {
            instrument,
            rules,
            phase: Phase::Closed,
            last: None,
            limits: Book::with_limit(rules.orders_max()),
            markets: Book::with_limit(rules.orders_max()),
        }
    }

    /// Its instrument.
    #[must_use]
    pub const fn instrument(&self) -> Instrument {
        self.instrument
    }

    /// Its rules.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Its phase.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The price of the last trade, before the first one the rules' reference price.
    #[must_use]
    pub fn reference(&self) -> Option<Price> {
        self.last.or(self.rules.reference())
    }

    /// What everybody sees: the orders with a limit, by what of them is shown.
    #[must_use]
    pub const fn book(&self) -> &Book<Terms> {
        &self.limits
    }

    /// An order that waits.
    #[must_use]
    pub fn resting(&self, order: OrderKey) -> Option<Resting> {
        let limit = self.limits.get(order).map(|order| resting(&order));
        limit.or_else(|| self.markets.get(order).map(|order| resting(&order)))
    }

    /// All orders of a side that wait, in the order in which they trade: those at any price first.
    pub fn orders(&self, side: Side) -> impl Iterator<Item = Resting> {
        let markets = self.markets.orders(side).map(|order| resting(&order));
        markets.chain(self.limits.orders(side).map(|order| resting(&order)))
    }

    #[inline]
    pub(crate) fn submit(&mut self, command: Command, events: &mut Vec<Event>) {
        let done = match command {
            _ if self.phase == Phase::Closed => Err(Refusal::Closed),
            Command::New(new) => self.new_order(&new, events),
            Command::Amend(amend) => self.amend(amend, events),
            Command::Cancel(order) => self.cancel(order, events),
            Command::Cross(cross) => self.cross(cross, events),
        };
        if let Err(reason) = done {
            let order = command.order();
            self.tell(events, EventKind::Refused { order, reason });
        }
    }

    pub(crate) fn begin(&mut self, phase: Phase, events: &mut Vec<Event>) {
        if phase == self.phase {
            return;
        }
        if self.phase.is_call() {
            self.uncross(events);
        }
        if phase == Phase::Closed {
            while let Some(order) = self.limits.first_mut(Side::Buy) {
                let order = order.remove();
                self.tell_cancelled(events, &order, CancelReason::Expired);
            }
            while let Some(order) = self.limits.first_mut(Side::Sell) {
                let order = order.remove();
                self.tell_cancelled(events, &order, CancelReason::Expired);
            }
        }
        self.phase = phase;
        self.tell(events, EventKind::PhaseBegan(phase));
    }

    fn new_order(&mut self, new: &NewOrder, events: &mut Vec<Event>) -> Result<(), Refusal> {
        self.check(new)?;
        self.tell(events, EventKind::Accepted(*new));
        self.enter(Incoming::of(new), new.time_in_force, events);
        Ok(())
    }

    fn check(&self, new: &NewOrder) -> Result<(), Refusal> {
        let in_lots = |quantity| self.rules.in_lots(quantity);
        if !in_lots(new.quantity) || !new.display.is_none_or(in_lots) {
            return Err(Refusal::Lot);
        }
        if !new.price().is_none_or(|price| self.rules.on_tick(price)) {
            return Err(Refusal::Tick);
        }
        let day = new.time_in_force == TimeInForce::Day;
        let at_limit = new.order_type != OrderType::Market;
        if (new.post_only || new.display.is_some()) && !(day && at_limit) {
            return Err(Refusal::NotResting);
        }
        if new
            .display
            .is_some_and(|shown| too_many_parts(new.quantity, shown))
        {
            return Err(Refusal::Display);
        }
        let call = self.phase.is_call();
        if call && !day {
            return Err(Refusal::CallPhase);
        }
        if self.limits.contains(new.order) || self.markets.contains(new.order) {
            return Err(Refusal::DuplicateOrder);
        }
        let may_rest = day && (call || at_limit);
        let resting = self.limits.len() + self.markets.len();
        if may_rest && resting >= self.rules.orders_max() as usize {
            return Err(Refusal::Full);
        }
        if new.post_only && self.would_trade(new.side, new.price()) {
            return Err(Refusal::WouldTrade);
        }
        Ok(())
    }

    /// Whether an order that came in now would trade at once.
    fn would_trade(&self, side: Side, limit: Option<Price>) -> bool {
        let best = self.limits.best_price(side.opposite());
        let crosses = limit.zip(best).is_some_and(|(limit, best)| match side {
            Side::Buy => limit >= best,
            Side::Sell => limit <= best,
        });
        crosses && self.phase == Phase::Continuous
    }

    fn amend(&mut self, amend: Amend, events: &mut Vec<Event>) -> Result<(), Refusal> {
        if !self.rules.in_lots(amend.quantity) {
            return Err(Refusal::Lot);
        }
        if !amend.price.is_none_or(|price| self.rules.on_tick(price)) {
            return Err(Refusal::Tick);
        }
        let resting = self.resting(amend.order).ok_or(Refusal::UnknownOrder)?;
        if resting.price.is_none() && amend.price.is_some() {
            return Err(Refusal::NoLimit);
        }
        if amend.quantity <= resting.traded {
            return Err(Refusal::Filled);
        }
        let leaves = amend.quantity.saturating_sub(resting.traded);
        let price = amend.price.or(resting.price);
        if price == resting.price && leaves <= resting.leaves {
            self.amend_in_place(&resting, leaves, events);
            return Ok(());
        }
        self.amend_anew(&resting, price, leaves, events)
    }

    fn amend_in_place(&mut self, resting: &Resting, leaves: Quantity, events: &mut Vec<Event>) {
        let displayed = resting.displayed.min(leaves);
        if let Some(mut order) = self.book_of(resting).get_mut(resting.order) {
            order.extra_mut().hidden = leaves.saturating_sub(displayed);
            order.reduce(resting.displayed.saturating_sub(displayed));
        }
        let amended = EventKind::Amended {
            order: resting.order,
            owner: resting.owner,
            side: resting.side,
            price: resting.price,
            leaves,
            displayed,
            priority: Priority::Kept,
        };
        self.tell(events, amended);
    }

    fn amend_anew(
        &mut self,
        resting: &Resting,
        price: Option<Price>,
        leaves: Quantity,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let would_trade = self.would_trade(resting.side, price);
        let Some(order) = self.book_of(resting).get_mut(resting.order) else {
            return Err(Refusal::UnknownOrder);
        };
        let terms = order.order().extra;
        let quantity = sum(leaves, resting.traded);
        if terms.display > Quantity::ZERO && too_many_parts(quantity, terms.display) {
            return Err(Refusal::Display);
        }
        if terms.post_only && would_trade {
            return Err(Refusal::WouldTrade);
        }
        order.remove();
        let amended = EventKind::Amended {
            order: resting.order,
            owner: resting.owner,
            side: resting.side,
            price,
            leaves,
            displayed: terms.shown(leaves),
            priority: Priority::Lost,
        };
        self.tell(events, amended);
        let incoming = Incoming {
            order: resting.order,
            side: resting.side,
            price,
            leaves,
            terms,
        };
        self.enter(incoming, TimeInForce::Day, events);
        Ok(())
    }

    fn cancel(&mut self, order: OrderKey, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let removed = self.limits.remove(order);
        let removed = removed.or_else(|| self.markets.remove(order));
        let removed = removed.ok_or(Refusal::UnknownOrder)?;
        self.tell_cancelled(events, &removed, CancelReason::Requested);
        Ok(())
    }

    fn cross(&self, cross: Cross, events: &mut Vec<Event>) -> Result<(), Refusal> {
        if !self.rules.in_lots(cross.quantity) {
            return Err(Refusal::Lot);
        }
        if !self.rules.on_tick(cross.price) {
            return Err(Refusal::Tick);
        }
        if self.phase.is_call() {
            return Err(Refusal::CallPhase);
        }
        let keys = [cross.buy, cross.sell];
        if cross.buy == cross.sell || keys.iter().any(|key| self.limits.contains(*key)) {
            return Err(Refusal::DuplicateOrder);
        }
        let best = |side| self.limits.best_price(side);
        let below = best(Side::Buy).is_some_and(|bid| cross.price < bid);
        if below || best(Side::Sell).is_some_and(|ask| cross.price > ask) {
            return Err(Refusal::CrossPrice);
        }
        self.tell(events, EventKind::Crossed(cross));
        Ok(())
    }

    /// Matches an order where the phase does, and lets the rest of it wait where it may.
    fn enter(&mut self, mut incoming: Incoming, wait: TimeInForce, events: &mut Vec<Event>) {
        let unfilled = if self.phase.is_call() {
            None
        } else if wait == TimeInForce::FillOrKill && !self.can_fill(&incoming) {
            Some(CancelReason::FillOrKill)
        } else if self.take(&mut incoming, events).is_break() {
            Some(CancelReason::SelfMatch)
        } else {
            let waits = wait == TimeInForce::Day && incoming.price.is_some();
            (!waits).then_some(CancelReason::Unfilled)
        };
        if incoming.leaves == Quantity::ZERO {
            return;
        }
        match unfilled {
            None => self.rest(incoming, events),
            Some(reason) => {
                let cancelled = EventKind::Cancelled {
                    order: incoming.order,
                    owner: incoming.terms.owner,
                    side: incoming.side,
                    price: incoming.price,
                    leaves: incoming.leaves,
                    reason,
                };
                self.tell(events, cancelled);
            }
        }
    }

    fn rest(&mut self, incoming: Incoming, events: &mut Vec<Event>) {
        let quantity = incoming.terms.shown(incoming.leaves);
        let order = BookOrder {
            key: incoming.order,
            side: incoming.side,
            price: incoming.price.unwrap_or_default(),
            quantity,
            extra: Terms {
                hidden: incoming.leaves.saturating_sub(quantity),
                ..incoming.terms
            },
        };
        let book = match incoming.price {
            Some(_) => &mut self.limits,
            None => &mut self.markets,
        };
        if let Err(error) = book.add(order) {
            unreachable!("key and room were looked at before: {error}");
        }
        let rested = EventKind::Rested {
            order: incoming.order,
            side: incoming.side,
            price: incoming.price,
            quantity,
        };
        self.tell(events, rested);
    }

    fn book_of(&mut self, resting: &Resting) -> &mut Book<Terms> {
        match resting.price {
            Some(_) => &mut self.limits,
            None => &mut self.markets,
        }
    }

    #[inline]
    pub(crate) fn note_last(&mut self, price: Price) {
        self.last = Some(price);
    }

    #[inline]
    pub(crate) fn tell(&self, events: &mut Vec<Event>, kind: EventKind) {
        let instrument = self.instrument;
        events.push(Event { instrument, kind });
    }

    pub(crate) fn tell_cancelled(
        &self,
        events: &mut Vec<Event>,
        order: &BookOrder<Terms>,
        reason: CancelReason,
    ) {
        let cancelled = EventKind::Cancelled {
            order: order.key,
            owner: order.extra.owner,
            side: order.side,
            price: (!order.extra.at_any_price).then_some(order.price),
            leaves: leaves(order),
            reason,
        };
        self.tell(events, cancelled);
    }
}
