//! A flow of commands over a book of a thousand prices, for the bench and the test of allocations.
//!
//! Invariant: the same seed gives the same commands, and each finds the market as it was when the
//! command was made: what is cancelled or amended rests.
#![allow(dead_code)] // the bench and the test look at different parts of it

use tapewatch_exchange::{
    Amend, Command, Event, EventKind, Exchange, Instrument, NewOrder, OrderType, Phase, Rules,
    SelfMatch, TimeInForce,
};
use tapewatch_model::{OrderKey, Price, Quantity, Side};

/// Prices on either side.
const DEPTH: u64 = 500;
const FAIR: i64 = 10_000;
const TICK: i64 = 10_000_000;
const OWNERS: u64 = 200;

/// A venue with one market, full of orders, and what happens next.
pub(crate) struct Flow {
    pub(crate) exchange: Exchange,
    pub(crate) instrument: Instrument,
    /// The orders that rest at the start, as they came.
    pub(crate) opening: Vec<Command>,
    pub(crate) commands: Vec<Command>,
    /// How many commands are new orders that rest, cancels, amends and orders that take.
    pub(crate) mix: [usize; 4],
    /// Executions.
    pub(crate) executions: usize,
}

/// Makes commands and keeps in mind which orders live.
struct Maker {
    random: u64,
    keys: u64,
    live: Vec<(OrderKey, NewOrder)>,
}

impl Flow {
    /// So many orders that rest, then so many commands.
    pub(crate) fn generated(resting: usize, commands: usize) -> Self {
        let rules = Rules::new(
            Price::from_units(TICK),
            Quantity::from_whole(1).unwrap(),
            None,
            1 << 20,
        );
        let mut exchange = Exchange::default();
        let instrument = exchange.list(rules.unwrap()).unwrap();
        let mut events = Vec::new();
        exchange.begin_all(Phase::Continuous, &mut events);
        let mut maker = Maker {
            random: 20_240_105,
            keys: 0,
            live: Vec::new(),
        };
        let mut opening = Vec::new();
        while maker.live.len() < resting {
            let new = maker.resting();
            opening.push(Command::New(new));
            exchange.submit(instrument, Command::New(new), &mut events);
        }
        let start = exchange.clone();
        let mut flow = Self {
            exchange: start,
            instrument,
            opening,
            commands: Vec::with_capacity(commands),
            mix: [0; 4],
            executions: 0,
        };
        while flow.commands.len() < commands {
            let (kind, command) = maker.next(&exchange, instrument, resting);
            events.clear();
            exchange.submit(instrument, command, &mut events);
            let executed = |event: &&Event| matches!(event.kind, EventKind::Executed { .. });
            flow.executions += events.iter().filter(executed).count();
            flow.mix[kind] += 1;
            flow.commands.push(command);
        }
        flow
    }
}

impl Maker {
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) % bound
    }

    /// Two thirds of the orders come near the best price, the others anywhere.
    fn price(&mut self, side: Side) -> Price {
        let mut away = self.below(DEPTH);
        if self.below(3) > 0 {
            away = away * self.below(DEPTH) / DEPTH * self.below(DEPTH) / DEPTH;
        }
        let away = away as i64 + 1;
        Price::from_units(match side {
            Side::Buy => (FAIR - away) * TICK,
            Side::Sell => (FAIR + away) * TICK,
        })
    }

    fn resting(&mut self) -> NewOrder {
        self.keys += 1;
        let side = [Side::Buy, Side::Sell][self.below(2) as usize];
        let quantity = Quantity::from_whole(100 + self.below(9) as i64 * 50).unwrap();
        let order = NewOrder {
            order: OrderKey(self.keys),
            owner: self.below(OWNERS) as u32,
            side,
            quantity,
            order_type: OrderType::Limit(self.price(side)),
            time_in_force: TimeInForce::Day,
            post_only: self.below(10) == 0,
            display: (self.below(20) == 0).then(|| Quantity::from_whole(50).unwrap()),
            self_match: SelfMatch::CancelResting,
        };
        self.live.push((order.order, order));
        order
    }

    /// An order that takes, of the size of a few that rest.
    fn taking(&mut self) -> NewOrder {
        let resting = self.resting();
        self.live.pop();
        let quantity = Quantity::from_whole(100 + self.below(20) as i64 * 50).unwrap();
        let away = self.below(4) as i64;
        let price = match resting.side {
            Side::Buy => FAIR + away,
            Side::Sell => FAIR - away,
        };
        let (order_type, time_in_force) = match self.below(10) {
            0..4 => (OrderType::Market, TimeInForce::Day),
            4 => (OrderType::Market, TimeInForce::FillOrKill),
            _ => (
                OrderType::Limit(Price::from_units(price * TICK)),
                TimeInForce::ImmediateOrCancel,
            ),
        };
        NewOrder {
            quantity,
            order_type,
            time_in_force,
            post_only: false,
            display: None,
            ..resting
        }
    }

    /// An order that still rests, out of those that live.
    fn pick(&mut self, exchange: &Exchange, instrument: Instrument) -> (usize, NewOrder) {
        loop {
            let at = self.below(self.live.len() as u64) as usize;
            let (key, order) = self.live[at];
            if exchange.market(instrument).unwrap().resting(key).is_some() {
                return (at, order);
            }
            self.live.swap_remove(at);
        }
    }

    /// 40 in a hundred come to rest, as many are cancelled less those that trade, 12 are amended,
    /// 8 take.
    fn next(
        &mut self,
        exchange: &Exchange,
        instrument: Instrument,
        resting: usize,
    ) -> (usize, Command) {
        let book = exchange.market(instrument).unwrap().book();
        match self.below(100) {
            0..8 => (3, Command::New(self.taking())),
            8..20 => {
                let (at, order) = self.pick(exchange, instrument);
                let (quantity, price) = if self.below(3) > 0 {
                    (order.quantity.units() - 5_000_000_000, None)
                } else {
                    (order.quantity.units(), Some(self.price(order.side)))
                };
                let quantity = Quantity::from_units(quantity.max(100_000_000)).unwrap();
                self.live[at].1.quantity = quantity;
                let order = order.order;
                let amend = Amend {
                    order,
                    quantity,
                    price,
                };
                (2, Command::Amend(amend))
            }
            _ if book.len() > resting => {
                let (at, order) = self.pick(exchange, instrument);
                self.live.swap_remove(at);
                (1, Command::Cancel(order.order))
            }
            _ => (0, Command::New(self.resting())),
        }
    }
}
