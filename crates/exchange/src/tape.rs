//! Events of the market as rows of order events, the form in which sources send them.
//!
//! Invariant: rows say what a surveillance feed would: orders with their whole quantity, by trader and
//! account; both sides of an execution under one name, with who was aggressive; kinds of orders,
//! phases, and why an order ended. What was refused has no rows. An order at any price has the
//! price 0.

use std::fmt::Write;

use tapewatch_model::{
    Details, EventType, Flags, OrderBatch, OrderKey, Price, Quantity, RowError, RowRef, Side, Time,
};

use crate::accounts::{Accounts, Capacity};
use crate::command::{NewOrder, OrderType, TimeInForce};
use crate::event::{CancelReason, Event, EventKind};
use crate::exchange::Instrument;
use crate::market::Phase;

/// Rows that are being collected; instruments are called `SIM0`, traders `T0`, accounts `A0`,
/// executions `E1`, orders by their key.
#[derive(Debug, Default)]
pub struct Tape {
    rows: OrderBatch,
    accounts: Accounts,
    /// By instrument.
    phases: Vec<Phase>,
    executions: u64,
    sym: String,
    trader: String,
    account: String,
    order_id: String,
    exec_id: String,
}

/// What a row says of an order.
struct Row {
    event_type: EventType,
    order: OrderKey,
    owner: u32,
    side: Side,
    price: Option<Price>,
    quantity: Quantity,
    display: Option<Quantity>,
    flags: Flags,
    /// Whether it is of the latest execution.
    executed: bool,
}

/// The number under which an order stands on the tape and in the labels: nobody can see from it who
/// sent the order, or that a pattern was played. Every order has another (the finalizer of SplitMix64,
/// a bijection; Steele, Lea, Flood 2014).
#[must_use]
pub fn order_number(order: OrderKey) -> u64 {
    let mut number = order.0;
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        number = (number ^ number >> shift).wrapping_mul(factor);
    }
    number ^ number >> 31
}

impl Tape {
    /// An empty one that knows who trades for which account, and for whom; without that the trader of
    /// an account has its number.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        Self {
            accounts,
            ..Self::default()
        }
    }

    /// The rows so far.
    #[must_use]
    pub const fn rows(&self) -> &OrderBatch {
        &self.rows
    }

    /// Takes the rows out and begins anew, with the same dictionaries.
    pub fn take(&mut self) -> OrderBatch {
        let next = OrderBatch::following(&self.rows, self.rows.len());
        std::mem::replace(&mut self.rows, next)
    }

    /// Adds the rows of an event: two of an execution, first the buyer's, four of a declared cross,
    /// one of what else happens to an order, none of others.
    ///
    /// # Errors
    /// None can happen: the names are short.
    pub fn push(&mut self, time: Time, event: &Event) -> Result<(), RowError> {
        if let EventKind::PhaseBegan(phase) = event.kind {
            let at = event.instrument.0 as usize;
            if self.phases.len() <= at {
                self.phases.resize(at + 1, Phase::Closed);
            }
            if let Some(place) = self.phases.get_mut(at) {
                *place = phase;
            }
            return Ok(());
        }
        let rows = match event.kind {
            EventKind::Executed { .. } => executed(&event.kind),
            EventKind::Crossed(_) => crossed(&event.kind),
            _ => [row(&event.kind), None, None, None],
        };
        if rows.iter().flatten().any(|row| row.executed) {
            self.executions += 1;
            name(&mut self.exec_id, "E", self.executions);
        }
        for row in rows.iter().flatten() {
            self.add(time, event.instrument, row)?;
        }
        Ok(())
    }

    fn add(&mut self, time: Time, instrument: Instrument, row: &Row) -> Result<(), RowError> {
        name(&mut self.sym, "SIM", u64::from(instrument.0));
        let trader = self.accounts.trader(row.owner);
        name(&mut self.trader, "T", u64::from(trader));
        name(&mut self.account, "A", u64::from(row.owner));
        name(&mut self.order_id, "", order_number(row.order));
        let capacity = self.accounts.get(row.owner).map(|account| account.capacity);
        let phase = self.phases.get(instrument.0 as usize);
        let flags = row
            .flags
            .with(Flags::PRINCIPAL.when(capacity == Some(Capacity::Principal)))
            .with(Flags::AGENCY.when(capacity == Some(Capacity::Agency)))
            .with(Flags::AUCTION.when(phase.is_some_and(|phase| phase.is_call())))
            .with(Flags::HALT.when(phase == Some(&Phase::Halted)));
        let exec_id = if row.executed {
            self.exec_id.as_bytes()
        } else {
            b""
        };
        self.rows.push(&RowRef {
            time,
            sym: self.sym.as_bytes(),
            event_type: row.event_type,
            trader: self.trader.as_bytes(),
            side: row.side,
            order_id: self.order_id.as_bytes(),
            price: row.price.unwrap_or_default(),
            quantity: row.quantity,
            details: Details {
                account: self.account.as_bytes(),
                exec_id,
                display: row.display,
                flags,
            },
        })
    }
}

/// The rows of both sides of an execution.
fn executed(event: &EventKind) -> [Option<Row>; 4] {
    let EventKind::Executed {
        buy,
        sell,
        aggressor,
        price,
        quantity,
    } = *event
    else {
        return [const { None }; 4];
    };
    let [bought, sold] = [(Side::Buy, buy), (Side::Sell, sell)].map(|(side, party)| {
        let flags = match aggressor {
            Some(came) if came == side => Flags::AGGRESSOR,
            Some(_) => Flags::PASSIVE,
            None => Flags::AUCTION,
        };
        Some(Row {
            event_type: EventType::Filled,
            order: party.order,
            owner: party.owner,
            side,
            price: Some(price),
            quantity,
            display: None,
            flags,
            executed: true,
        })
    });
    [bought, sold, None, None]
}

/// The rows of a declared cross: both orders, then both sides of their execution.
fn crossed(event: &EventKind) -> [Option<Row>; 4] {
    let EventKind::Crossed(cross) = *event else {
        return [const { None }; 4];
    };
    let row = |event_type, side| {
        let (order, owner) = match side {
            Side::Buy => (cross.buy, cross.buyer),
            Side::Sell => (cross.sell, cross.seller),
        };
        Some(Row {
            event_type,
            order,
            owner,
            side,
            price: Some(cross.price),
            quantity: cross.quantity,
            display: None,
            flags: Flags::CROSS,
            executed: event_type == EventType::Filled,
        })
    };
    [
        row(EventType::New, Side::Buy),
        row(EventType::New, Side::Sell),
        row(EventType::Filled, Side::Buy),
        row(EventType::Filled, Side::Sell),
    ]
}

fn marks(new: &NewOrder) -> Flags {
    let wait = new.time_in_force;
    Flags::MARKET
        .when(new.order_type == OrderType::Market)
        .with(Flags::IOC.when(wait == TimeInForce::ImmediateOrCancel))
        .with(Flags::FOK.when(wait == TimeInForce::FillOrKill))
        .with(Flags::POST_ONLY.when(new.post_only))
}

const fn ended(reason: CancelReason) -> Flags {
    match reason {
        CancelReason::Requested => Flags::NONE,
        CancelReason::Unfilled | CancelReason::FillOrKill | CancelReason::AuctionOver => {
            Flags::UNFILLED
        }
        CancelReason::SelfMatch => Flags::SELF_MATCH,
        CancelReason::Expired => Flags::EXPIRED,
    }
}

/// The row of what happens to one order.
fn row(event: &EventKind) -> Option<Row> {
    let row = |event_type, order, owner, side, price, quantity| Row {
        event_type,
        order,
        owner,
        side,
        price,
        quantity,
        display: None,
        flags: Flags::NONE,
        executed: false,
    };
    match *event {
        EventKind::Accepted(new) => Some(Row {
            display: new.display,
            flags: marks(&new),
            ..row(
                EventType::New,
                new.order,
                new.owner,
                new.side,
                new.price(),
                new.quantity,
            )
        }),
        EventKind::Amended {
            order,
            owner,
            side,
            price,
            leaves,
            displayed,
            ..
        } => Some(Row {
            display: (displayed < leaves).then_some(displayed),
            ..row(EventType::Amended, order, owner, side, price, leaves)
        }),
        EventKind::Cancelled {
            order,
            owner,
            side,
            price,
            leaves,
            reason,
        } => Some(Row {
            flags: ended(reason),
            ..row(EventType::Cancelled, order, owner, side, price, leaves)
        }),
        EventKind::Executed { .. }
        | EventKind::Crossed(_)
        | EventKind::Refused { .. }
        | EventKind::Rested { .. }
        | EventKind::Uncrossed { .. }
        | EventKind::PhaseBegan(_) => None,
    }
}

fn name(text: &mut String, prefix: &str, number: u64) {
    text.clear();
    // A string takes all that is written to it.
    let _ = write!(text, "{prefix}{number}");
}
