//! Events of the market as rows of order events, the form in which sources send them.
//!
//! Invariant: rows say what a surveillance feed would: orders with their whole quantity, shown or not,
//! by trader. What such rows have no place for is left out: who traded with whom and which side came
//! to the other, accounts, kinds of orders, phases, what a refusal was about. An order at any price
//! has the price 0.

use std::fmt::Write;

use tapewatch_model::{
    Details, EventType, OrderBatch, OrderKey, Price, Quantity, RowError, RowRef, Side, Time,
};

use crate::event::{Event, EventKind};
use crate::exchange::Instrument;

/// Rows that are being collected; instruments are called `SIM0`, traders `T0`, orders by their key.
#[derive(Debug, Default)]
pub struct Tape {
    rows: OrderBatch,
    sym: String,
    trader: String,
    order_id: String,
}

/// What a row says of an order.
struct Row {
    event_type: EventType,
    order: OrderKey,
    owner: u32,
    side: Side,
    price: Option<Price>,
    quantity: Quantity,
}

impl Tape {
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

    /// Adds the rows of an event: two of an execution, first the buyer's, one of what else happens to
    /// an order, none of others.
    ///
    /// # Errors
    /// None can happen: the names are short.
    pub fn push(&mut self, time: Time, event: &Event) -> Result<(), RowError> {
        let EventKind::Executed {
            buy,
            sell,
            price,
            quantity,
            ..
        } = event.kind
        else {
            return match row(&event.kind) {
                Some(row) => self.add(time, event.instrument, &row),
                None => Ok(()),
            };
        };
        for (side, party) in [(Side::Buy, buy), (Side::Sell, sell)] {
            let row = Row {
                event_type: EventType::Filled,
                order: party.order,
                owner: party.owner,
                side,
                price: Some(price),
                quantity,
            };
            self.add(time, event.instrument, &row)?;
        }
        Ok(())
    }

    fn add(&mut self, time: Time, instrument: Instrument, row: &Row) -> Result<(), RowError> {
        name(&mut self.sym, "SIM", u64::from(instrument.0));
        name(&mut self.trader, "T", u64::from(row.owner));
        name(&mut self.order_id, "", row.order.0);
        self.rows.push(&RowRef {
            time,
            sym: self.sym.as_bytes(),
            event_type: row.event_type,
            trader: self.trader.as_bytes(),
            side: row.side,
            order_id: self.order_id.as_bytes(),
            price: row.price.unwrap_or_default(),
            quantity: row.quantity,
            details: Details::default(),
        })
    }
}

/// The row of what happens to one order.
fn row(event: &EventKind) -> Option<Row> {
    let (event_type, order, owner, side, price, quantity) = match *event {
        EventKind::Accepted(new) => (
            EventType::New,
            new.order,
            new.owner,
            new.side,
            new.price(),
            new.quantity,
        ),
        EventKind::Amended {
            order,
            owner,
            side,
            price,
            leaves,
            ..
        } => (EventType::Amended, order, owner, side, price, leaves),
        EventKind::Cancelled {
            order,
            owner,
            side,
            price,
            leaves,
            ..
        } => (EventType::Cancelled, order, owner, side, price, leaves),
        EventKind::Executed { .. }
        | EventKind::Refused { .. }
        | EventKind::Rested { .. }
        | EventKind::Uncrossed { .. }
        | EventKind::PhaseBegan(_) => return None,
    };
    Some(Row {
        event_type,
        order,
        owner,
        side,
        price,
        quantity,
    })
}

fn name(text: &mut String, prefix: &str, number: u64) {
    text.clear();
    // A string takes all that is written to it.
    let _ = write!(text, "{prefix}{number}");
}
