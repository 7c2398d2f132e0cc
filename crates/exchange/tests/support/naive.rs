//! A market written from the rules, not from the engine: one list of orders, sorted anew for each
//! question, and an auction that tries every price.

use std::cmp::Reverse;

use tapewatch_exchange::{
    Amend, CancelReason, Command, EventKind, NewOrder, OrderType, Party, Phase, Refusal, Resting,
    Rules, SelfMatch, TimeInForce,
};
use tapewatch_model::{Decimal, Price, Priority, Quantity, Side};

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// With its quantity as it was last asked for.
    new: NewOrder,
    /// When it joined its queue.
    joined: u64,
    displayed: i64,
    leaves: i64,
    traded: i64,
}

impl Waiting {
    fn price(&self) -> Option<Price> {
        self.new.price()
    }

    fn peak(&self) -> i64 {
        self.new.display.map_or(i64::MAX, Quantity::units)
    }

    fn party(&self) -> Party {
        Party {
            order: self.new.order,
            owner: self.new.owner,
            leaves: quantity(self.leaves),
        }
    }
}

fn quantity(units: i64) -> Quantity {
    Quantity::from_units(units).unwrap()
}

/// More than a hundred parts.
fn too_many_parts(quantity: Quantity, display: Option<Quantity>) -> bool {
    display.is_some_and(|shown| quantity.units() > 100 * shown.units())
}

/// Whether an order of this side and limit would trade at a price.
fn would_take(side: Side, limit: Option<Price>, price: Price) -> bool {
    limit.is_none_or(|limit| match side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    })
}

/// The market.
pub(crate) struct Naive {
    rules: Rules,
    phase: Phase,
    last: Option<Price>,
    waiting: Vec<Waiting>,
    clock: u64,
    pub(crate) events: Vec<EventKind>,
}

impl Naive {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            phase: Phase::Closed,
            last: rules.reference(),
            waiting: Vec::new(),
            clock: 0,
            events: Vec::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Orders of a side by priority.
    fn sorted(&self, side: Side) -> Vec<Waiting> {
        let mut orders: Vec<Waiting> = self.waiting.clone();
        orders.retain(|order| order.new.side == side);
        orders.sort_by_key(|order| {
            let price = order.price().map(Price::units);
            let rank = match side {
                Side::Buy => Reverse(price.map_or(i128::MAX, i128::from)),
                Side::Sell => Reverse(price.map_or(i128::MAX, |price| -i128::from(price))),
            };
            (rank, order.joined)
        });
        orders
    }

    pub(crate) fn orders(&self, side: Side) -> Vec<Resting> {
        let view = |order: Waiting| Resting {
            order: order.new.order,
            owner: order.new.owner,
            side,
            price: order.price(),
            displayed: quantity(order.displayed),
            leaves: quantity(order.leaves),
            traded: quantity(order.traded),
        };
        self.sorted(side).into_iter().map(view).collect()
    }

    pub(crate) fn submit(&mut self, command: Command) {
        let refused = match command {
            _ if self.phase == Phase::Closed => Some(Refusal::Closed),
            Command::New(new) => self.new_order(new),
            Command::Amend(amend) => self.amend(amend),
            Command::Cross(_) => unreachable!("no step declares a cross"),
            Command::Cancel(order) => match self.find(order) {
                None => Some(Refusal::UnknownOrder),
                Some(at) => {
                    self.cancel(at, CancelReason::Requested);
                    None
                }
            },
        };
        if let Some(reason) = refused {
            let order = command.order();
            self.events.push(EventKind::Refused { order, reason });
        }
    }

    fn find(&self, order: tapewatch_model::OrderKey) -> Option<usize> {
        self.waiting.iter().position(|w| w.new.order == order)
    }

    fn cancel(&mut self, at: usize, reason: CancelReason) {
        let order = self.waiting.remove(at);
        self.events.push(EventKind::Cancelled {
            order: order.new.order,
            owner: order.new.owner,
            side: order.new.side,
            price: order.price(),
            leaves: quantity(order.leaves),
            reason,
        });
    }

    fn bad_quantity(&self, quantity: Quantity) -> bool {
        quantity == Quantity::ZERO || quantity.units() % self.rules.lot().units() != 0
    }

    fn bad_price(&self, price: Option<Price>) -> bool {
        price.is_some_and(|price| price.units() % self.rules.tick().units() != 0)
    }

    fn crosses(&self, new: &NewOrder, limit: Option<Price>) -> bool {
        let other = self.sorted(new.side.opposite());
        let takes = |order: &Waiting| {
            order
                .price()
                .is_some_and(|price| would_take(new.side, limit, price))
        };
        self.phase == Phase::Continuous && other.iter().any(takes)
    }

    fn new_order(&mut self, new: NewOrder) -> Option<Refusal> {
        let plain = new.time_in_force == TimeInForce::Day && new.price().is_some();
        let rests = new.time_in_force == TimeInForce::Day
            && (self.phase.is_call() || new.price().is_some());
        let reasons = [
            (
                self.bad_quantity(new.quantity)
                    || new.display.is_some_and(|d| self.bad_quantity(d)),
                Refusal::Lot,
            ),
            (self.bad_price(new.price()), Refusal::Tick),
            (
                !plain && (new.post_only || new.display.is_some()),
                Refusal::NotResting,
            ),
            (too_many_parts(new.quantity, new.display), Refusal::Display),
            (
                self.phase.is_call() && new.time_in_force != TimeInForce::Day,
                Refusal::CallPhase,
            ),
            (self.find(new.order).is_some(), Refusal::DuplicateOrder),
            (
                rests && self.waiting.len() >= self.rules.orders_max() as usize,
                Refusal::Full,
            ),
            (
                new.post_only && self.crosses(&new, new.price()),
                Refusal::WouldTrade,
            ),
        ];
        if let Some((_, reason)) = reasons.into_iter().find(|(holds, _)| *holds) {
            return Some(reason);
        }
        self.events.push(EventKind::Accepted(new));
        self.enter(Waiting {
            new,
            joined: 0,
            displayed: 0,
            leaves: new.quantity.units(),
            traded: 0,
        });
        None
    }

    fn amend(&mut self, amend: Amend) -> Option<Refusal> {
        if self.bad_quantity(amend.quantity) {
            return Some(Refusal::Lot);
        }
        if self.bad_price(amend.price) {
            return Some(Refusal::Tick);
        }
        let Some(at) = self.find(amend.order) else {
            return Some(Refusal::UnknownOrder);
        };
        let mut order = self.waiting[at];
        if order.price().is_none() && amend.price.is_some() {
            return Some(Refusal::NoLimit);
        }
        let leaves = amend.quantity.units() - order.traded;
        if leaves <= 0 {
            return Some(Refusal::Filled);
        }
        let price = amend.price.or(order.price());
        let keeps = price == order.price() && leaves <= order.leaves;
        if !keeps && too_many_parts(amend.quantity, order.new.display) {
            return Some(Refusal::Display);
        }
        if !keeps && order.new.post_only && self.crosses(&order.new, price) {
            return Some(Refusal::WouldTrade);
        }
        order.leaves = leaves;
        order.new.order_type = price.map_or(OrderType::Market, OrderType::Limit);
        order.displayed = leaves.min(if keeps { order.displayed } else { order.peak() });
        self.events.push(EventKind::Amended {
            order: amend.order,
            owner: order.new.owner,
            side: order.new.side,
            price,
            leaves: quantity(leaves),
            displayed: quantity(order.displayed),
            priority: if keeps {
                Priority::Kept
            } else {
                Priority::Lost
            },
        });
        if keeps {
            self.waiting[at] = order;
        } else {
            self.waiting.remove(at);
            self.enter(order);
        }
        None
    }

    /// Trades and rests.
    fn enter(&mut self, mut order: Waiting) {
        if self.phase.is_call() {
            return self.rest(order);
        }
        let mut reason = CancelReason::Unfilled;
        if order.new.time_in_force == TimeInForce::FillOrKill {
            // The rule taken by its word: try it on a copy.
            let mut copy = Self {
                waiting: self.waiting.clone(),
                events: Vec::new(),
                ..*self
            };
            let mut tried = order;
            copy.take(&mut tried);
            if tried.leaves > 0 {
                reason = CancelReason::FillOrKill;
            }
        }
        let mut stopped = reason == CancelReason::FillOrKill;
        if !stopped && self.take(&mut order) {
            reason = CancelReason::SelfMatch;
            stopped = true;
        }
        if order.leaves == 0 {
            return;
        }
        let waits = order.new.time_in_force == TimeInForce::Day && order.price().is_some();
        if waits && !stopped {
            self.rest(order);
        } else {
            self.waiting.push(order);
            self.cancel(self.waiting.len() - 1, reason);
        }
    }

    /// Whether it stopped at an order of its owner.
    fn take(&mut self, order: &mut Waiting) -> bool {
        while order.leaves > 0 {
            let side = order.new.side;
            let Some(best) = self.sorted(side.opposite()).first().copied() else {
                return false;
            };
            let price = best.price().unwrap();
            if !would_take(side, order.price(), price) {
                return false;
            }
            let at = self.find(best.new.order).unwrap();
            let rule = order.new.self_match;
            if best.new.owner == order.new.owner && rule != SelfMatch::Allow {
                if matches!(rule, SelfMatch::CancelResting | SelfMatch::CancelBoth) {
                    self.cancel(at, CancelReason::SelfMatch);
                }
                if matches!(rule, SelfMatch::CancelIncoming | SelfMatch::CancelBoth) {
                    return true;
                }
                continue;
            }
            let units = order.leaves.min(best.displayed);
            order.leaves -= units;
            order.traded += units;
            let resting = &mut self.waiting[at];
            resting.leaves -= units;
            resting.displayed -= units;
            resting.traded += units;
            let resting = *resting;
            self.executed(*order, resting, Some(side), price, units);
            if resting.leaves == 0 {
                self.waiting.remove(at);
            } else if resting.displayed == 0 {
                self.waiting.remove(at);
                self.rest(resting);
            }
        }
        false
    }

    fn executed(
        &mut self,
        one: Waiting,
        other: Waiting,
        aggressor: Option<Side>,
        price: Price,
        units: i64,
    ) {
        let (buy, sell) = match one.new.side {
            Side::Buy => (one.party(), other.party()),
            Side::Sell => (other.party(), one.party()),
        };
        self.events.push(EventKind::Executed {
            buy,
            sell,
            aggressor,
            price,
            quantity: quantity(units),
        });
        self.last = Some(price);
    }

    fn rest(&mut self, mut order: Waiting) {
        self.clock += 1;
        order.joined = self.clock;
        order.displayed = order.leaves.min(order.peak());
        self.waiting.push(order);
        self.events.push(EventKind::Rested {
            order: order.new.order,
            side: order.new.side,
            price: order.price(),
            quantity: quantity(order.displayed),
        });
    }

    pub(crate) fn begin(&mut self, phase: Phase) {
        if self.phase == phase {
            return;
        }
        if self.phase.is_call() {
            self.auction();
        }
        if phase == Phase::Closed {
            for side in [Side::Buy, Side::Sell] {
                for order in self.sorted(side) {
                    self.cancel(self.find(order.new.order).unwrap(), CancelReason::Expired);
                }
            }
        }
        self.phase = phase;
        self.events.push(EventKind::PhaseBegan(phase));
    }

    /// What would be bought and sold at a price.
    fn wanted(&self, price: Price) -> (i128, i128) {
        let of = |side| {
            let wants =
                |order: &&Waiting| order.new.side == side && would_take(side, order.price(), price);
            let orders = self.waiting.iter().filter(wants);
            orders.map(|order| i128::from(order.leaves)).sum()
        };
        (of(Side::Buy), of(Side::Sell))
    }

    fn clearing_price(&self) -> Option<(Price, i128)> {
        let mut prices: Vec<Price> = self.waiting.iter().filter_map(Waiting::price).collect();
        prices.extend(self.last);
        prices.sort_unstable();
        prices.dedup();
        let volume = |price: &Price| {
            let (bought, sold) = self.wanted(*price);
            bought.min(sold)
        };
        let surplus = |price: &Price| {
            let (bought, sold) = self.wanted(*price);
            bought - sold
        };
        let most = prices.iter().map(volume).max()?;
        prices.retain(|price| volume(price) == most);
        let least = prices.iter().map(|price| surplus(price).abs()).min()?;
        prices.retain(|price| surplus(price).abs() == least);
        if let Some(last) = self.last {
            let distance = |price: &Price| (price.units() - last.units()).abs();
            let closest = prices.iter().map(distance).min()?;
            prices.retain(|price| distance(price) == closest);
        }
        let buyers_left = prices.iter().rfind(|price| surplus(price) > 0);
        let price = *buyers_left.or(prices.first())?;
        (most > 0).then_some((price, most))
    }

    fn auction(&mut self) {
        if let Some((price, volume)) = self.clearing_price() {
            self.events.push(EventKind::Uncrossed {
                price,
                volume: Decimal::from_quantity_units(volume),
            });
            let mut left = volume;
            while left > 0 {
                let buy = self.sorted(Side::Buy)[0];
                let sell = self.sorted(Side::Sell)[0];
                let units = buy.leaves.min(sell.leaves);
                left -= i128::from(units);
                for order in [buy, sell] {
                    let at = self.find(order.new.order).unwrap();
                    let order = &mut self.waiting[at];
                    order.leaves -= units;
                    order.traded += units;
                    // Hidden parts trade first.
                    order.displayed = order.displayed.min(order.leaves);
                }
                let now = |order: Waiting| self.waiting[self.find(order.new.order).unwrap()];
                self.executed(now(buy), now(sell), None, price, units);
                self.waiting.retain(|order| order.leaves > 0);
            }
            assert_eq!(left, 0, "an auction trades its volume");
        }
        for side in [Side::Buy, Side::Sell] {
            for order in self.sorted(side).iter().filter(|o| o.price().is_none()) {
                self.cancel(
                    self.find(order.new.order).unwrap(),
                    CancelReason::AuctionOver,
                );
            }
        }
    }
}
