//! A plausible flow of orders: traders with accounts enter, amend and cancel orders in a few
//! instruments, and what crosses executes by price and time, both sides told.
//!
//! Invariant: a function of its seed; every execution has two rows with one `exec_id`, and no order
//! trades or is cancelled beyond what is left of it.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use tapewatch_model::{EventType, Flags, Order, Price, Quantity, Side, Time};

/// How many of each there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) syms: u64,
    pub(crate) traders: u64,
    /// Usual time from one action to the next, in nanoseconds.
    pub(crate) step: u64,
    /// Whether rows come late, orders have no name, executions none, traders neither; whether there
    /// are auctions, crosses and long silences.
    pub(crate) odd: bool,
}

#[derive(Debug, Clone)]
struct Resting {
    id: u64,
    trader: u64,
    left: u64,
}

/// Orders by how good their price is, then by when they came.
type Book = BTreeMap<(i64, u64), Resting>;

struct Flow {
    state: u64,
    shape: Shape,
    time: i64,
    ids: u64,
    execs: u64,
    books: Vec<[Book; 2]>,
    orders: Vec<Order>,
}

/// At least so many rows; the same seed gives the same.
pub(crate) fn flow(seed: u64, rows: usize, shape: Shape) -> Vec<Order> {
    let mut flow = Flow {
        state: seed.wrapping_mul(2).wrapping_add(1),
        shape,
        time: 1_700_000_000_000_000_000,
        ids: 0,
        execs: 0,
        books: (0..shape.syms).map(|_| Default::default()).collect(),
        orders: Vec::with_capacity(rows + 8),
    };
    while flow.orders.len() < rows {
        flow.act();
    }
    flow.orders
}

impl Flow {
    fn next(&mut self, below: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below
    }

    fn odd(&mut self, one_in: u64) -> bool {
        self.shape.odd && self.next(one_in) == 0
    }

    fn act(&mut self) {
        if self.next(4) > 0 {
            self.time += self.next(2 * self.shape.step) as i64;
        }
        if self.odd(60) {
            self.time += self.next(4_000) as i64 * 1_000_000_000;
        }
        let sym = self.next(self.shape.syms);
        match self.next(10) {
            0..=5 => self.enter(sym),
            6 => self.amend(sym),
            _ => self.cancel(sym),
        }
    }

    fn book(&mut self, sym: u64, side: Side) -> &mut Book {
        let [buy, sell] = self.books.get_mut(sym as usize).unwrap();
        if side == Side::Buy { buy } else { sell }
    }

    fn side(&mut self) -> Side {
        if self.next(2) == 0 {
            Side::Buy
        } else {
            Side::Sell
        }
    }

    fn enter(&mut self, sym: u64) {
        let side = self.side();
        let trader = self
            .next(self.shape.traders)
            .min(self.next(self.shape.traders));
        // Some reach across, most wait near the middle.
        let far = self.next(40).min(self.next(40)).min(self.next(40)) as i64;
        let far = if self.next(4) == 0 { -far / 2 } else { 1 + far };
        let price = rank(side, rank(side, 1_000) + far);
        let quantity = [1, 5, 10, 10, 10, 200][self.next(6) as usize];
        let ioc = self.next(6) == 0;
        self.ids += 1;
        let mut coming = Resting {
            id: self.ids,
            trader,
            left: quantity,
        };
        let flags = Flags::IOC.when(ioc);
        self.row(sym, EventType::New, side, &coming, (price, quantity), flags);
        while coming.left > 0 && self.trade(sym, side, price, &mut coming) {}
        if coming.left > 0 && ioc {
            let left = (price, coming.left);
            self.row(
                sym,
                EventType::Cancelled,
                side,
                &coming,
                left,
                Flags::UNFILLED,
            );
        } else if coming.left > 0 {
            let key = (rank(side, price), coming.id);
            self.book(sym, side).insert(key, coming);
        }
    }

    /// Executes against the best order across, when it is good enough.
    fn trade(&mut self, sym: u64, side: Side, limit: i64, coming: &mut Resting) -> bool {
        let across = self.book(sym, side.opposite());
        let Some((&key, best)) = across.first_key_value() else {
            return false;
        };
        let price = rank(side.opposite(), key.0);
        if rank(side, price) < rank(side, limit) {
            return false;
        }
        let mut waiting = best.clone();
        let quantity = waiting.left.min(coming.left);
        waiting.left -= quantity;
        across.remove(&key);
        if waiting.left > 0 {
            across.insert(key, waiting.clone());
        }
        coming.left -= quantity;
        self.execs += 1;
        let both = match () {
            () if self.odd(30) => Flags::AUCTION,
            () if self.odd(30) => Flags::CROSS,
            () => Flags::NONE,
        };
        let traded = (price, quantity);
        let (came, waited) = (both.with(Flags::AGGRESSOR), both.with(Flags::PASSIVE));
        self.row(sym, EventType::Filled, side, coming, traded, came);
        self.row(
            sym,
            EventType::Filled,
            side.opposite(),
            &waiting,
            traded,
            waited,
        );
        true
    }

    /// The orders that rest on a side: one of them.
    fn any(&mut self, sym: u64, side: Side) -> Option<((i64, u64), Resting)> {
        // Of the best ones, so that it stays cheap.
        let nth = self.next(12) as usize;
        let book = self.book(sym, side);
        let nth = nth % book.len().max(1);
        let (key, resting) = book.iter().nth(nth)?;
        Some((*key, resting.clone()))
    }

    fn cancel(&mut self, sym: u64) {
        let side = self.side();
        if let Some((key, resting)) = self.any(sym, side) {
            self.book(sym, side).remove(&key);
            let left = (rank(side, key.0), resting.left);
            let flags = Flags::EXPIRED.when(self.odd(20));
            self.row(sym, EventType::Cancelled, side, &resting, left, flags);
        }
    }

    fn amend(&mut self, sym: u64) {
        let side = self.side();
        if let Some((key, mut resting)) = self.any(sym, side) {
            self.book(sym, side).remove(&key);
            resting.left = 1 + self.next(2 * resting.left);
            // Away from the market: it does not trade at once.
            let key = (key.0 + self.next(3) as i64, key.1);
            let now = (rank(side, key.0), resting.left);
            self.row(sym, EventType::Amended, side, &resting, now, Flags::NONE);
            self.book(sym, side).insert(key, resting);
        }
    }

    fn row(
        &mut self,
        sym: u64,
        event_type: EventType,
        side: Side,
        of: &Resting,
        (price, quantity): (i64, u64),
        flags: Flags,
    ) {
        let late = if self.odd(40) {
            self.next(5_000_000_000)
        } else {
            0
        };
        let fills = event_type == EventType::Filled;
        let capacity = [Flags::NONE, Flags::AGENCY, Flags::PRINCIPAL][of.id as usize % 3];
        let told = |odd: bool, text: String| if odd { String::new() } else { text };
        let names = [self.odd(50), self.odd(50), self.odd(50)];
        self.orders.push(Order {
            seq: self.orders.len() as u64 + 1,
            time: Time::from_nanos(self.time - late as i64),
            sym: format!("S{sym}"),
            event_type,
            trader: told(names[0], format!("T{}", of.trader)),
            side,
            order_id: told(names[1], format!("O{}", of.id)),
            price: Price::from_units(price * 10_000_000),
            quantity: Quantity::from_whole(quantity as i64).unwrap(),
            // Every third trader has none.
            account: told(of.trader.is_multiple_of(3), format!("A{}", of.trader)),
            exec_id: told(!fills || names[2], format!("X{}", self.execs)),
            display: None,
            flags: flags.with(capacity).with(Flags::ANONYMOUS.when(names[0])),
        });
    }
}

/// The price as the rank of an order on a side, less is better; and back.
fn rank(side: Side, price: i64) -> i64 {
    match side {
        Side::Buy => -price,
        Side::Sell => price,
    }
}
