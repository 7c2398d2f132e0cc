//! What a script has before it: the market as it sees it, its orders, its random numbers, and the ways
//! to wait.
//!
//! Invariant: a desk is used by its script and by the simulation in turn, never by both at once; its
//! lock only lets it be moved between threads.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tapewatch_model::{OrderKey, Price, Quantity, Side, Time};

use super::state::{Brief, Sent, State};
use super::{Ticket, View};
use crate::command::{Amend, Command, Cross, NewOrder, OrderType, SelfMatch, TimeInForce};
use crate::exchange::Instrument;
use crate::label::{LABEL_ORDERS_MAX, Label};
use crate::pattern::Pattern;
use crate::simulation::after;

/// A desk.
#[derive(Debug, Clone)]
pub(crate) struct Desk(Arc<Mutex<State>>);

impl Desk {
    pub(crate) fn new(brief: Brief) -> Self {
        Self(Arc::new(Mutex::new(State::new(brief))))
    }

    /// Uses what it is made of.
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&mut State) -> R) -> R {
        // A script that panicked takes the simulation with it: nobody sees half a state.
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn now(&self) -> Time {
        self.with(|state| state.now)
    }

    /// Nanoseconds since a time.
    pub(crate) fn since(&self, time: Time) -> i64 {
        self.now().nanos().saturating_sub(time.nanos())
    }

    /// Nanoseconds to the end of continuous trading.
    pub(crate) fn left(&self) -> i64 {
        -self.since(self.with(|state| state.brief.stops))
    }

    /// When the news comes that this is about, and the side that gains by it.
    pub(crate) fn news(&self) -> Option<(Time, Side)> {
        self.with(|state| state.brief.news)
    }

    /// Its own market.
    pub(crate) fn view(&self) -> View {
        self.with(|state| {
            let [own, _] = state.views;
            own
        })
    }

    /// The other market, where there is one.
    pub(crate) fn other_view(&self) -> Option<View> {
        self.with(|state| {
            let [_, other] = state.views;
            (state.brief.instruments.len() > 1).then_some(other)
        })
    }

    /// How many accounts it has.
    pub(crate) fn accounts(&self) -> usize {
        self.with(|state| state.brief.accounts.len())
    }

    pub(crate) fn between(&self, from: i64, to: i64) -> i64 {
        self.with(|state| state.brief.draws.between(from, to))
    }

    /// Whether something comes to pass that does so `times` in a hundred.
    pub(crate) fn chance(&self, times: u64) -> bool {
        self.with(|state| state.brief.draws.chance(times * 10))
    }

    pub(crate) fn side(&self) -> Side {
        self.with(|state| state.brief.draws.side())
    }

    /// A heavy-tailed size.
    pub(crate) fn size(&self, unit: i64) -> i64 {
        self.with(|state| state.brief.draws.size(unit.unsigned_abs().max(1)) as i64)
    }

    /// How far this instance goes beyond a threshold, in hundredths: drawn anew each time.
    pub(crate) fn excess(&self) -> i64 {
        let (from, to) = self.with(|state| state.brief.intensity.hundredths());
        self.between(from, to)
    }

    /// A measure that exceeds a threshold as the intensity says, rounded up.
    pub(crate) fn over(&self, threshold: i64) -> i64 {
        (threshold * self.excess() + 99) / 100
    }

    /// A measure that is below a threshold as the intensity says.
    pub(crate) fn under(&self, threshold: i64) -> i64 {
        threshold * 100 / self.excess()
    }

    /// Waits until something holds, at most so many nanoseconds, and looks at least every so many.
    /// Says whether it holds.
    pub(crate) async fn till(
        &self,
        within: i64,
        every: i64,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> bool {
        let ends = after(self.now(), within);
        poll_fn(|_| {
            if holds(self) {
                return Poll::Ready(true);
            }
            let now = self.now();
            if now >= ends {
                return Poll::Ready(false);
            }
            let look = after(now, every.max(1)).min(ends);
            self.with(|state| state.wish = Some(look));
            Poll::Pending
        })
        .await
    }

    /// Waits.
    pub(crate) async fn wait(&self, nanos: i64) {
        self.till(nanos, nanos, |_| false).await;
    }

    /// Waits until a time.
    pub(crate) async fn until(&self, time: Time) {
        self.wait(-self.since(time)).await;
    }

    /// Waits until one of these orders has traded, at most so many nanoseconds.
    pub(crate) async fn fill(&self, orders: &[OrderKey], within: i64) -> bool {
        let before = self.filled(orders);
        self.till(within, within, |desk| desk.filled(orders) > before)
            .await
    }

    /// Waits until none of these orders can trade any more, at most so many nanoseconds.
    pub(crate) async fn settled(&self, orders: &[OrderKey], within: i64) -> bool {
        self.till(within, within, |desk| {
            !orders.iter().any(|order| desk.open(*order))
        })
        .await
    }

    /// Sends an order and says its name.
    pub(crate) fn send(&self, ticket: Ticket) -> OrderKey {
        self.with(|state| {
            let account = state.account(ticket.who);
            let order = state.name(account, ticket.place);
            let (price, time_in_force) = (state.price(ticket.ticks.unwrap_or(0)), ticket.day);
            let new = NewOrder {
                order_type: match ticket.ticks {
                    Some(_) => OrderType::Limit(price),
                    None => OrderType::Market,
                },
                time_in_force: if time_in_force {
                    TimeInForce::Day
                } else {
                    TimeInForce::ImmediateOrCancel
                },
                display: ticket.display.map(|lots| state.quantity(lots)),
                self_match: SelfMatch::Allow,
                ..NewOrder::limit(
                    order,
                    account,
                    ticket.side,
                    state.quantity(ticket.lots),
                    price,
                )
            };
            let instrument = state.instrument(ticket.place);
            state.out.push((instrument, Command::New(new)));
            order
        })
    }

    /// Takes back orders that may still trade.
    pub(crate) fn cancel(&self, orders: &[OrderKey]) {
        self.with(|state| {
            for order in orders {
                if let Some(sent) = state.sent.get(order).filter(|sent| sent.open) {
                    let instrument = state.instrument(sent.place);
                    state.out.push((instrument, Command::Cancel(*order)));
                }
            }
        });
    }

    /// Changes what an order asks for: quantity with what has traded, and price.
    pub(crate) fn amend(&self, order: OrderKey, lots: i64, ticks: i64) {
        self.with(|state| {
            let amend = Amend {
                order,
                quantity: state.quantity(lots),
                price: Some(state.price(ticks)),
            };
            let instrument = state.instrument(0);
            state.out.push((instrument, Command::Amend(amend)));
        });
    }

    /// Declares a cross between two of its accounts and says the names of the two orders.
    pub(crate) fn cross(
        &self,
        buyer: usize,
        seller: usize,
        lots: i64,
        ticks: i64,
    ) -> [OrderKey; 2] {
        self.with(|state| {
            let [buyer, seller] = [buyer, seller].map(|who| state.account(who));
            let [buy, sell] = [buyer, seller].map(|account| state.name(account, 0));
            let (price, quantity) = (state.price(ticks), state.quantity(lots));
            let cross = Cross {
                buy,
                buyer,
                sell,
                seller,
                price,
                quantity,
            };
            let instrument = state.instrument(0);
            state.out.push((instrument, Command::Cross(cross)));
            [buy, sell]
        })
    }

    /// Has the venue halt trading for so many nanoseconds.
    pub(crate) fn halt(&self, nanos: i64) {
        self.with(|state| state.halt = Some(nanos));
    }

    fn sum(&self, orders: &[OrderKey], of: impl Fn(&Sent) -> i64) -> i64 {
        self.with(|state| {
            orders
                .iter()
                .filter_map(|order| state.sent.get(order))
                .map(of)
                .sum()
        })
    }

    /// Lots of these orders that have traded.
    pub(crate) fn filled(&self, orders: &[OrderKey]) -> i64 {
        self.sum(orders, |sent| sent.filled)
    }

    /// Lots of these orders that have traded with other orders of this desk.
    pub(crate) fn inside(&self, orders: &[OrderKey]) -> i64 {
        self.sum(orders, |sent| sent.inside)
    }

    /// Prices in ticks times lots that these orders have traded.
    pub(crate) fn paid(&self, orders: &[OrderKey]) -> i64 {
        self.sum(orders, |sent| sent.paid)
    }

    /// How many of these orders have traded.
    pub(crate) fn traded(&self, orders: &[OrderKey]) -> i64 {
        self.sum(orders, |sent| i64::from(sent.filled > 0))
    }

    /// Whether an order may still trade.
    pub(crate) fn open(&self, order: OrderKey) -> bool {
        self.sum(&[order], |sent| i64::from(sent.open)) > 0
    }

    /// Tells the truth: the pattern was carried out, or was tried and came to nothing that it should
    /// be found by, from a time until now with these orders. Orders that the venue did not take are
    /// left out.
    pub(crate) fn label(&self, carried_out: bool, from: Time, orders: &[OrderKey], how: &str) {
        self.with(|state| {
            let sent: Vec<(OrderKey, u32)> = orders
                .iter()
                .filter_map(|order| Some((*order, state.sent.get(order)?)))
                .filter(|(_, sent)| sent.accepted)
                .map(|(order, sent)| (order, sent.account))
                .take(LABEL_ORDERS_MAX)
                .collect();
            if sent.is_empty() {
                return;
            }
            let mut accounts: Vec<u32> = Vec::new();
            for (_, account) in &sent {
                if !accounts.contains(account) {
                    accounts.push(*account);
                }
            }
            let label = Label {
                pattern: state.brief.pattern,
                instrument: state.instrument(0),
                accounts,
                from,
                to: state.now,
                orders: sent.into_iter().map(|(order, _)| order).collect(),
                variation: match state.brief.pattern {
                    Pattern::Abuse(_) => {
                        format!("intensity={} {how}", state.brief.intensity.name())
                    }
                    Pattern::NearMiss(_) => how.to_owned(),
                },
            };
            let told = if carried_out {
                &mut state.labels
            } else {
                &mut state.attempts
            };
            told.push(label);
        });
    }
}

impl State {
    fn account(&self, who: usize) -> u32 {
        let accounts = &self.brief.accounts;
        accounts
            .get(who)
            .or(accounts.first())
            .copied()
            .unwrap_or_default()
    }

    fn instrument(&self, place: usize) -> Instrument {
        let instruments = &self.brief.instruments;
        instruments
            .get(place)
            .or(instruments.first())
            .copied()
            .unwrap_or(Instrument(0))
    }

    const fn price(&self, ticks: i64) -> Price {
        let ticks = if ticks < 1 { 1 } else { ticks };
        Price::from_units(ticks.saturating_mul(self.brief.tick))
    }

    fn quantity(&self, lots: i64) -> Quantity {
        Quantity::from_units(lots.max(1).saturating_mul(self.brief.lot)).unwrap_or_default()
    }
}
