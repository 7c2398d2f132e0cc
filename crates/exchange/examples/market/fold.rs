//! Folds the rows of one instrument into what can be measured of a market, seen as a market-by-order
//! feed shows it: orders that wait, what becomes of them, trades.
//!
//! Invariant: rows of a source that tells of orders on their way (the simulation) and of one that
//! tells only of those that wait (a venue) count alike: an order counts as new with what of it waits
//! after all that happened at its time, and one that does not wait counts as a trade alone.

use std::collections::BTreeMap;

use tapewatch_model::{
    Book, BookLevel, BookOrder, EventType, Flags, OrderKey, Quantity, RowRef, Side, Time,
};

/// Levels of a side whose depth is measured.
pub(crate) const LEVELS: usize = 10;
/// Parts of a session whose activity is measured.
pub(crate) const PARTS: usize = 32;
const SECOND: i64 = 1_000_000_000;
const PIECE: f64 = 1e8;

/// What is measured over a span of continuous trading.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Length of the span in seconds.
    pub(crate) seconds: f64,
    /// Messages of each kind; fills are those of orders that waited.
    pub(crate) new: u64,
    pub(crate) amended: u64,
    pub(crate) cancelled: u64,
    pub(crate) fills: u64,
    pub(crate) trades: u64,
    /// Distance of best bid and ask at each second, in ticks.
    pub(crate) spreads: Vec<f64>,
    /// Mean of both at each second, in ticks; one value each second at which both sides had orders.
    pub(crate) mids: Vec<f64>,
    /// Mean quantity of each level, of both sides, best first.
    pub(crate) depth: [f64; LEVELS],
    /// Seconds from new to the end of orders that came within the span, by how they ended.
    pub(crate) lives_cancelled: Vec<f64>,
    pub(crate) lives_filled: Vec<f64>,
    /// Orders that came within the span and were open at its end.
    pub(crate) open: u64,
    /// Seconds between messages.
    pub(crate) gaps: Vec<f64>,
    /// Quantities of new orders and of trades.
    pub(crate) sizes: Vec<f64>,
    pub(crate) trade_sizes: Vec<f64>,
    /// Messages in each part of the span.
    pub(crate) activity: [f64; PARTS],
}

/// The fold.
pub(crate) struct Fold {
    from: Time,
    to: Time,
    tick: f64,
    book: Book<Option<Time>>,
    now: Time,
    next_look: i64,
    last_message: Option<Time>,
    /// Orders that came at this time.
    fresh: Vec<OrderKey>,
    /// Trades at this time: what each order that came has traded.
    traded: BTreeMap<u64, f64>,
    looks: f64,
    measured: Measured,
}

impl Fold {
    /// Measures from `from` (itself not included) to `to`; a tick is in units of prices.
    pub(crate) fn new(from: Time, to: Time, tick: i64) -> Self {
        Self {
            from,
            to,
            tick: tick as f64,
            book: Book::with_limit(1 << 22),
            now: Time::MIN,
            next_look: from.nanos() + SECOND,
            last_message: None,
            fresh: Vec::new(),
            traded: BTreeMap::new(),
            looks: 0.0,
            measured: Measured {
                seconds: (to.nanos() - from.nanos()) as f64 / 1e9,
                ..Measured::default()
            },
        }
    }

    /// Takes the next row; times rise.
    pub(crate) fn row(&mut self, row: &RowRef<'_>) {
        if row.time > self.to {
            return;
        }
        if row.time != self.now {
            self.time_ended();
            self.look_until(row.time);
            self.now = row.time;
        }
        let Ok(order) = row.order_id.parse() else {
            return;
        };
        let key = OrderKey(order);
        match row.event_type {
            EventType::New => {
                let order = BookOrder {
                    key,
                    side: row.side,
                    price: row.price,
                    quantity: row.quantity,
                    extra: None,
                };
                if self.book.add(order).is_ok() {
                    self.fresh.push(key);
                }
            }
            EventType::Amended => self.amended(key, row),
            EventType::Cancelled => {
                let before = self.book.remove(key);
                if !self.fresh.contains(&key) && self.counts() {
                    self.message();
                    self.measured.cancelled += 1;
                    let lives = &mut self.measured.lives_cancelled;
                    lives.extend(life(before, row.time));
                }
            }
            EventType::Filled => self.filled(key, row),
        }
    }

    fn amended(&mut self, key: OrderKey, row: &RowRef<'_>) {
        if self.book.modify(key, row.price, row.quantity).is_none() {
            // The next part of a hidden reserve.
            let _ = self.book.add(BookOrder {
                key,
                side: row.side,
                price: row.price,
                quantity: row.quantity,
                extra: None,
            });
        }
        if self.counts() {
            self.message();
            self.measured.amended += 1;
        }
    }

    fn filled(&mut self, key: OrderKey, row: &RowRef<'_>) {
        let before = self.book.get(key);
        if let Some(order) = self.book.get_mut(key) {
            order.reduce(row.quantity);
        }
        if !self.counts() {
            return;
        }
        if row.details.flags.has(Flags::AGGRESSOR) {
            *self.traded.entry(key.0).or_default() += pieces(row.quantity);
        } else {
            self.measured.fills += 1;
            if !self.book.contains(key) {
                let lives = &mut self.measured.lives_filled;
                lives.extend(life(before, row.time));
            }
        }
    }

    /// What waits of the orders that came is new; what they traded are trades.
    fn time_ended(&mut self) {
        let counts = self.counts();
        for key in std::mem::take(&mut self.fresh) {
            let Some(mut order) = self.book.get_mut(key) else {
                continue;
            };
            if counts {
                *order.extra_mut() = Some(self.now);
                self.measured.sizes.push(pieces(order.order().quantity));
                self.measured.new += 1;
                self.message();
            }
        }
        for size in std::mem::take(&mut self.traded).into_values() {
            self.measured.trade_sizes.push(size);
            self.measured.trades += 1;
            self.message();
        }
    }

    fn counts(&self) -> bool {
        self.from < self.now
    }

    fn message(&mut self) {
        if let Some(last) = self.last_message {
            let gap = self.now.nanos() - last.nanos();
            self.measured.gaps.push(gap as f64 / 1e9);
        }
        self.last_message = Some(self.now);
        let gone = (self.now.nanos() - self.from.nanos()) as f64 / 1e9;
        let part = (gone / self.measured.seconds * PARTS as f64) as usize;
        if let Some(count) = self.measured.activity.get_mut(part.min(PARTS - 1)) {
            *count += 1.0;
        }
    }

    /// Looks at the book at each whole second before `time`.
    fn look_until(&mut self, time: Time) {
        let end = time.nanos().min(self.to.nanos());
        while self.next_look < end {
            self.next_look += SECOND;
            let best = |side| {
                let level: Option<BookLevel> = self.book.best(side);
                level.map(|level| level.price.units() as f64 / self.tick)
            };
            let (Some(bid), Some(ask)) = (best(Side::Buy), best(Side::Sell)) else {
                continue;
            };
            self.measured.spreads.push(ask - bid);
            self.measured.mids.push(f64::midpoint(bid, ask));
            self.looks += 2.0;
            for side in [Side::Buy, Side::Sell] {
                let levels = self.book.levels(side);
                for (level, depth) in levels.zip(&mut self.measured.depth) {
                    *depth += level.quantity.units() as f64 / 1e9;
                }
            }
        }
    }

    /// What was measured, when there are no more rows.
    pub(crate) fn end(mut self) -> Measured {
        self.time_ended();
        self.look_until(self.to);
        for depth in &mut self.measured.depth {
            *depth /= self.looks.max(1.0);
        }
        let orders = [Side::Buy, Side::Sell].map(|side| {
            let born = self.book.orders(side).filter(|order| order.extra.is_some());
            born.count() as u64
        });
        self.measured.open = orders.iter().sum();
        self.measured
    }
}

/// Seconds since an order came, when that was within the span.
fn life(order: Option<BookOrder<Option<Time>>>, now: Time) -> Option<f64> {
    let born = order?.extra?;
    Some((now.nanos() - born.nanos()) as f64 / 1e9)
}

fn pieces(quantity: Quantity) -> f64 {
    quantity.units() as f64 / PIECE
}
