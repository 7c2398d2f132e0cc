//! A market whose events are told in short sentences, for tests that are read.

use tapewatch_exchange::{
    Amend, Command, Event, EventKind, Exchange, Instrument, Market, NewOrder, OrderType, Phase,
    TimeInForce,
};
use tapewatch_model::{OrderKey, Priority, Side};

use super::{pieces, price, rules};

/// One instrument's market: ticks of 0.01, lots of 1.
pub(crate) struct Story {
    exchange: Exchange,
    instrument: Instrument,
    events: Vec<Event>,
}

/// A day order of whoever has the order's number.
pub(crate) fn buy(order: u64, quantity: i64, ticks: i64) -> NewOrder {
    let (key, owner) = (OrderKey(order), order as u32);
    NewOrder::limit(key, owner, Side::Buy, pieces(quantity), price(ticks))
}

/// A day order of whoever has the order's number.
pub(crate) fn sell(order: u64, quantity: i64, ticks: i64) -> NewOrder {
    let side = Side::Sell;
    NewOrder {
        side,
        ..buy(order, quantity, ticks)
    }
}

/// At any price instead.
pub(crate) fn market(new: NewOrder) -> NewOrder {
    let order_type = OrderType::Market;
    NewOrder { order_type, ..new }
}

/// Immediate or cancel.
pub(crate) fn ioc(new: NewOrder) -> NewOrder {
    let time_in_force = TimeInForce::ImmediateOrCancel;
    NewOrder {
        time_in_force,
        ..new
    }
}

/// Fill or kill.
pub(crate) fn fok(new: NewOrder) -> NewOrder {
    let time_in_force = TimeInForce::FillOrKill;
    NewOrder {
        time_in_force,
        ..new
    }
}

/// An iceberg that shows so much.
pub(crate) fn iceberg(new: NewOrder, display: i64) -> NewOrder {
    let display = Some(pieces(display));
    NewOrder { display, ..new }
}

impl Story {
    /// A market in this phase with these orders.
    pub(crate) fn of(phase: Phase, reference: Option<i64>, orders: &[NewOrder]) -> Self {
        let mut exchange = Exchange::default();
        let instrument = exchange.list(rules(reference, 100)).unwrap();
        let mut story = Self {
            exchange,
            instrument,
            events: Vec::new(),
        };
        story.begin(phase);
        for order in orders {
            story.new_order(*order);
        }
        story
    }

    /// A market in continuous trading with these orders.
    pub(crate) fn trading(orders: &[NewOrder]) -> Self {
        Self::of(Phase::Continuous, None, orders)
    }

    pub(crate) fn new_order(&mut self, new: NewOrder) -> Vec<String> {
        self.submit(Command::New(new))
    }

    /// With a new price when it is above zero.
    pub(crate) fn amend(&mut self, order: u64, quantity: i64, ticks: i64) -> Vec<String> {
        self.submit(Command::Amend(Amend {
            order: OrderKey(order),
            quantity: pieces(quantity),
            price: (ticks > 0).then(|| price(ticks)),
        }))
    }

    pub(crate) fn cancel(&mut self, order: u64) -> Vec<String> {
        self.submit(Command::Cancel(OrderKey(order)))
    }

    pub(crate) fn begin(&mut self, phase: Phase) -> Vec<String> {
        self.events.clear();
        let events = &mut self.events;
        self.exchange.begin(self.instrument, phase, events).unwrap();
        self.told()
    }

    pub(crate) fn market(&self) -> &Market {
        self.exchange.market(self.instrument).unwrap()
    }

    fn submit(&mut self, command: Command) -> Vec<String> {
        self.events.clear();
        self.exchange
            .submit(self.instrument, command, &mut self.events);
        self.told()
    }

    fn told(&self) -> Vec<String> {
        self.events.iter().map(|event| tell(event.kind)).collect()
    }
}

fn tell(event: EventKind) -> String {
    match event {
        EventKind::Accepted(new) => format!("{} accepted", new.order),
        EventKind::Refused { order, reason } => format!("{order} refused: {reason:?}"),
        EventKind::Executed {
            buy,
            sell,
            aggressor,
            price,
            quantity,
        } => {
            let (buyer, seller) = (buy.order, sell.order);
            match aggressor {
                None => format!("{buyer} and {seller} trade {quantity} at {price}"),
                Some(Side::Buy) => format!("{buyer} buys {quantity} at {price} from {seller}"),
                Some(Side::Sell) => format!("{seller} sells {quantity} at {price} to {buyer}"),
            }
        }
        EventKind::Rested {
            order,
            price,
            quantity,
            ..
        } => match price {
            Some(price) => format!("{order} rests {quantity} at {price}"),
            None => format!("{order} rests {quantity}"),
        },
        EventKind::Amended {
            order,
            leaves,
            priority,
            ..
        } => match priority {
            Priority::Kept => format!("{order} amended to {leaves} in its place"),
            Priority::Lost => format!("{order} amended to {leaves}"),
        },
        EventKind::Cancelled {
            order,
            leaves,
            reason,
            ..
        } => format!("{order} cancelled with {leaves}: {reason:?}"),
        EventKind::Crossed(cross) => format!(
            "{} and {} cross {} at {}",
            cross.buy, cross.sell, cross.quantity, cross.price
        ),
        EventKind::Uncrossed { price, volume } => format!("auction of {volume} at {price}"),
        EventKind::PhaseBegan(phase) => format!("{phase:?}"),
    }
}
