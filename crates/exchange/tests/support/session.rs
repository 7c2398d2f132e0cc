//! A whole simulated session, and plain readings of what one account did in it.
//!
//! Invariant: nothing here looks at how a pattern was made: only at the events and the accounts.
#![allow(dead_code)] // each test looks at a part of it

use std::collections::{BTreeMap, BTreeSet};

use tapewatch_exchange::{
    Accounts, CancelReason, Event, EventKind, Instrument, Label, News, Scenario, Simulation,
};
use tapewatch_model::{OrderKey, Price, Quantity, Side, Time};

pub(crate) const MILLI: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1_000 * MILLI;
pub(crate) const MINUTE: i64 = 60 * SECOND;

pub(crate) fn lots(quantity: Quantity) -> i64 {
    quantity.units() / 100_000_000
}

pub(crate) fn ticks(price: Price) -> i64 {
    price.units() / 10_000_000
}

/// What one account did, or what was done to its orders.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    /// Lots and price in ticks, 0 for any.
    New {
        lots: i64,
        ticks: i64,
    },
    Amended,
    /// Without its owner's doing.
    Ended,
    /// Lots that were left, of an order that its owner took back, and how long it lived.
    Cancelled {
        lots: i64,
        lived: i64,
    },
    Filled {
        lots: i64,
        ticks: i64,
        aggressive: bool,
        other: u32,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) time: i64,
    pub(crate) account: u32,
    pub(crate) order: OrderKey,
    pub(crate) side: Side,
    pub(crate) act: Act,
    /// The middle just before, in half ticks, and the depth of the first five prices of bids and asks.
    pub(crate) middle2: i64,
    pub(crate) depth: [i64; 2],
    pub(crate) best: [i64; 2],
}

impl Row {
    pub(crate) fn is_message(&self) -> bool {
        !matches!(self.act, Act::Filled { .. } | Act::Ended)
    }

    /// Lots that it traded.
    pub(crate) fn traded(&self) -> i64 {
        match self.act {
            Act::Filled { lots, .. } => lots,
            _ => 0,
        }
    }

    pub(crate) fn taken(&self) -> i64 {
        match self.act {
            Act::Filled {
                lots,
                aggressive: true,
                ..
            } => lots,
            _ => 0,
        }
    }
}

pub(crate) struct Session {
    pub(crate) scenario: Scenario,
    pub(crate) tape: Vec<(Time, Event)>,
    /// Of the first instrument.
    pub(crate) rows: Vec<Row>,
    /// The same by account.
    by_account: Vec<Vec<Row>>,
    pub(crate) labels: Vec<Label>,
    pub(crate) attempts: Vec<Label>,
    pub(crate) accounts: Accounts,
    pub(crate) news: Vec<News>,
}

#[derive(Default)]
struct Book {
    orders: BTreeMap<OrderKey, (Side, i64, i64)>,
    levels: [BTreeMap<i64, i64>; 2],
    born: BTreeMap<OrderKey, (i64, Side)>,
}

impl Book {
    fn change(&mut self, order: OrderKey, lots: i64) {
        if let Some((side, ticks, left)) = self.orders.get_mut(&order) {
            let level = self.levels[*side as usize - 1].get_mut(ticks).unwrap();
            *level -= lots;
            *left -= lots;
            if *level == 0 {
                self.levels[*side as usize - 1].remove(ticks);
            }
            if *left == 0 {
                self.orders.remove(&order);
            }
        }
    }

    fn remove(&mut self, order: OrderKey) {
        let left = self.orders.get(&order).map_or(0, |(_, _, left)| *left);
        self.change(order, left);
    }

    fn add(&mut self, order: OrderKey, side: Side, ticks: i64, lots: i64) {
        self.orders.insert(order, (side, ticks, lots));
        *self.levels[side as usize - 1].entry(ticks).or_default() += lots;
    }

    fn look(&self) -> (i64, [i64; 2], [i64; 2]) {
        let bids: Vec<(&i64, &i64)> = self.levels[0].iter().rev().take(5).collect();
        let asks: Vec<(&i64, &i64)> = self.levels[1].iter().take(5).collect();
        let sum = |levels: &[(&i64, &i64)]| levels.iter().map(|(_, lots)| **lots).sum();
        let best = |levels: &[(&i64, &i64)]| levels.first().map_or(0, |(_, lots)| **lots);
        let price = |levels: &[(&i64, &i64)]| levels.first().map_or(0, |(ticks, _)| **ticks);
        (
            price(&bids) + price(&asks),
            [sum(&bids), sum(&asks)],
            [best(&bids), best(&asks)],
        )
    }
}

impl Session {
    pub(crate) fn run(scenario: Scenario) -> Self {
        let mut simulation = Simulation::new(scenario).unwrap();
        let (mut tape, mut events) = (Vec::new(), Vec::new());
        while let Some(time) = simulation.next(&mut events) {
            tape.extend(events.drain(..).map(|event| (time, event)));
        }
        let rows = rows(&tape);
        let mut by_account = vec![Vec::new(); simulation.accounts().len()];
        for row in &rows {
            by_account[row.account as usize].push(*row);
        }
        Self {
            scenario,
            rows,
            by_account,
            tape,
            labels: simulation.labels(),
            attempts: simulation.attempts(),
            accounts: simulation.accounts().clone(),
            news: simulation.news().to_vec(),
        }
    }

    pub(crate) fn within(&self, from: i64, to: i64) -> &[Row] {
        let first = self.rows.partition_point(|row| row.time < from);
        let end = self.rows.partition_point(|row| row.time <= to);
        &self.rows[first..end.max(first)]
    }

    /// The rows of some accounts.
    pub(crate) fn of(&self, accounts: &[u32], from: i64, to: i64) -> Vec<Row> {
        let mut all = Vec::new();
        for account in accounts {
            let rows = &self.by_account[*account as usize];
            let first = rows.partition_point(|row| row.time < from);
            let end = rows.partition_point(|row| row.time <= to);
            all.extend_from_slice(&rows[first..end.max(first)]);
        }
        all.sort_by_key(|row| row.time);
        all
    }

    pub(crate) fn owner(&self, account: u32) -> u32 {
        self.accounts.get(account).unwrap().owner
    }

    /// The names of all orders that the venue took.
    pub(crate) fn orders(&self) -> BTreeSet<OrderKey> {
        let orders = self.tape.iter().flat_map(|(_, event)| match event.kind {
            EventKind::Accepted(new) => vec![new.order],
            EventKind::Crossed(cross) => vec![cross.buy, cross.sell],
            _ => Vec::new(),
        });
        orders.collect()
    }
}

fn rows(tape: &[(Time, Event)]) -> Vec<Row> {
    let mut book = Book::default();
    let mut rows = Vec::new();
    for (time, event) in tape
        .iter()
        .filter(|(_, event)| event.instrument == Instrument(0))
    {
        let time = time.nanos();
        let (middle2, depth, best) = book.look();
        let mut tell = |account, order, side, act| {
            rows.push(Row {
                time,
                account,
                order,
                side,
                act,
                middle2,
                depth,
                best,
            });
        };
        match event.kind {
            EventKind::Accepted(new) => {
                book.born.insert(new.order, (time, new.side));
                let act = Act::New {
                    lots: lots(new.quantity),
                    ticks: new.price().map_or(0, ticks),
                };
                tell(new.owner, new.order, new.side, act);
            }
            EventKind::Rested {
                order,
                side,
                price: Some(price),
                quantity,
            } => {
                book.remove(order);
                book.add(order, side, ticks(price), lots(quantity));
            }
            EventKind::Amended {
                order, owner, side, ..
            } => {
                book.remove(order);
                tell(owner, order, side, Act::Amended);
                if let EventKind::Amended {
                    price: Some(price),
                    displayed,
                    priority,
                    ..
                } = event.kind
                    && priority == tapewatch_model::Priority::Kept
                {
                    book.add(order, side, ticks(price), lots(displayed));
                }
            }
            EventKind::Cancelled {
                order,
                owner,
                side,
                leaves,
                reason,
                ..
            } => {
                book.remove(order);
                if reason != CancelReason::Requested {
                    tell(owner, order, side, Act::Ended);
                } else {
                    let lived = time - book.born[&order].0;
                    tell(
                        owner,
                        order,
                        side,
                        Act::Cancelled {
                            lots: lots(leaves),
                            lived,
                        },
                    );
                }
            }
            EventKind::Executed {
                buy,
                sell,
                aggressor,
                price,
                quantity,
            } => {
                let (lots, ticks) = (lots(quantity), ticks(price));
                let both = [(Side::Buy, buy, sell), (Side::Sell, sell, buy)];
                for (side, own, other) in both {
                    let aggressive = aggressor == Some(side);
                    let act = Act::Filled {
                        lots,
                        ticks,
                        aggressive,
                        other: other.owner,
                    };
                    tell(own.owner, own.order, side, act);
                }
                for (side, own, _) in both {
                    if aggressor != Some(side) {
                        book.change(
                            own.order,
                            lots.min(book.orders.get(&own.order).map_or(0, |order| order.2)),
                        );
                    }
                }
            }
            _ => {}
        }
    }
    rows
}
