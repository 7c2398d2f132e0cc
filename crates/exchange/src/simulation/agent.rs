//! One who trades in one instrument: what he has, what he sees, what he sends.
//!
//! Invariant: an agent knows the public book and his own orders, never others'. He holds at most so
//! many orders, and each has a name that no other has. He looks only when nothing of his is on its
//! way.

use tapewatch_model::{OrderKey, Price, Quantity, Side, Time};

use super::draws::Draws;
use super::institution::Institution;
use super::line::Line;
use super::maker::Maker;
use super::noise::Noise;
use super::pulse::PARTS;
use super::trend::Trend;
use crate::command::{Amend, Command, NewOrder, SelfMatch, TimeInForce};
use crate::exchange::Instrument;
use crate::market::{Market, Phase};

/// The most orders of an agent that he remembers.
pub(super) const ORDERS_MAX: usize = 8;

/// How often one who does nothing looks whether that is over.
const IDLES_FOR: i64 = 30_000_000_000;

/// How an agent trades.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Maker(Maker),
    Noise(Noise),
    Trend(Trend),
    Institution(Institution),
}

/// An agent.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) instrument: Instrument,
    pub(super) draws: Draws,
    pub(super) hand: Hand,
    pub(super) kind: Kind,
    pub(super) line: Line,
    /// Whether he does nothing for now.
    pub(super) away: bool,
    /// When he looks next; wakes at other times are stale.
    pub(super) looks: Time,
}

/// What an agent has.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    number: u32,
    pub(super) account: u32,
    keys: u32,
    /// Bought less sold, in lots.
    pub(super) position: i64,
    /// Orders that may still rest, oldest first.
    pub(super) orders: Vec<OrderKey>,
}

/// What an agent sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) market: &'a Market,
    /// What it is worth, in parts of a tick: known to those who make prices.
    pub(super) fair: i64,
    /// The standard deviation of the price over a second, in parts of a tick.
    pub(super) sigma: i64,
}

impl Scene<'_> {
    pub(super) fn continuous(&self) -> bool {
        self.market.phase() == Phase::Continuous
    }

    /// What it is worth in ticks.
    pub(super) const fn worth(&self) -> i64 {
        self.fair / PARTS
    }

    /// A price in ticks.
    pub(super) fn ticks(&self, price: Price) -> i64 {
        price.units() / self.market.rules().tick().units()
    }

    /// The best price of a side in ticks, or what it is worth where there is none.
    pub(super) fn best(&self, side: Side) -> i64 {
        let best = self.market.book().best_price(side);
        best.map_or(self.worth(), |price| self.ticks(price))
    }

    /// The last price in ticks.
    pub(super) fn last(&self) -> i64 {
        let last = self.market.reference();
        last.map_or(self.worth(), |price| self.ticks(price))
    }

    /// How much more is bid than asked at the best three prices, in thousandths of both.
    pub(super) fn tilt(&self) -> i64 {
        let [bid, ask] = [Side::Buy, Side::Sell].map(|side| {
            let levels = self.market.book().levels(side).take(3);
            levels.map(|level| level.quantity.units()).sum::<i128>()
        });
        let both = (bid + ask).max(1);
        ((bid - ask) * 1_000 / both) as i64
    }

    pub(super) fn price(&self, ticks: i64) -> Price {
        let tick = self.market.rules().tick().units();
        Price::from_units(ticks.max(1).saturating_mul(tick))
    }

    pub(super) fn quantity(&self, lots: u64) -> Quantity {
        let lot = self.market.rules().lot().units();
        let lots = i64::try_from(lots.max(1)).unwrap_or(i64::MAX);
        Quantity::from_units(lot.saturating_mul(lots)).unwrap_or(Quantity::ZERO)
    }
}

impl Hand {
    pub(super) fn new(number: u32, account: u32) -> Self {
        Self {
            number,
            account,
            keys: 0,
            position: 0,
            orders: Vec::with_capacity(ORDERS_MAX),
        }
    }

    /// Whether his number is odd.
    pub(super) const fn is_odd(&self) -> bool {
        self.number % 2 == 1
    }

    /// An order of his at a limit; his own orders give way to it.
    pub(super) fn limit(&mut self, scene: &Scene, side: Side, lots: u64, ticks: i64) -> NewOrder {
        self.keys = self.keys.wrapping_add(1);
        let order = OrderKey(u64::from(self.number) << 32 | u64::from(self.keys));
        let (quantity, price) = (scene.quantity(lots), scene.price(ticks));
        NewOrder {
            self_match: SelfMatch::CancelResting,
            ..NewOrder::limit(order, self.account, side, quantity, price)
        }
    }

    /// The same, which rests and is remembered; the oldest goes when there are too many.
    pub(super) fn rest(&mut self, new: NewOrder, commands: &mut Vec<Command>) {
        if self.orders.len() >= ORDERS_MAX {
            commands.push(Command::Cancel(self.orders.remove(0)));
        }
        self.orders.push(new.order);
        commands.push(Command::New(new));
    }

    /// An order that takes what is there up to a limit.
    pub(super) fn take(&mut self, scene: &Scene, side: Side, lots: u64, ticks: i64) -> Command {
        Command::New(NewOrder {
            time_in_force: TimeInForce::ImmediateOrCancel,
            ..self.limit(scene, side, lots, ticks)
        })
    }

    /// Forgets orders that rest no more.
    pub(super) fn forget(&mut self, market: &Market) {
        self.orders.retain(|order| market.book().contains(*order));
    }
}

/// A move of an order to another price.
pub(super) fn moved(order: OrderKey, quantity: Quantity, price: Price) -> Command {
    let price = Some(price);
    Command::Amend(Amend {
        order,
        quantity,
        price,
    })
}

impl Agent {
    /// Looks, sends, and says after which time on average he looks again.
    pub(super) fn act(&mut self, scene: &Scene, commands: &mut Vec<Command>) -> i64 {
        self.hand.forget(scene.market);
        let (hand, draws) = (&mut self.hand, &mut self.draws);
        if self.away {
            commands.extend(hand.orders.drain(..).map(Command::Cancel));
            return IDLES_FOR;
        }
        match &mut self.kind {
            Kind::Maker(maker) => maker.act(scene, hand, draws, commands),
            Kind::Noise(noise) => noise.act(scene, hand, draws, commands),
            Kind::Trend(trend) => trend.act(scene, hand, draws, commands),
            Kind::Institution(institution) => institution.act(scene, hand, draws, commands),
        }
    }
}
