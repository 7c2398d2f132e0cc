//! Moves that several scripts make.
//!
//! Invariant: a move ends within its time, whatever the market does.

use tapewatch_model::{OrderKey, Side, Time};

use super::{Desk, MILLI, SECOND, Ticket};

/// So many ticks from a price, to the side on which a later trade is: lower for a buyer.
pub(crate) const fn away(side: Side, price: i64, ticks: i64) -> i64 {
    match side {
        Side::Buy => price - ticks,
        Side::Sell => price + ticks,
    }
}

/// How far a price has moved in favour of a side.
pub(crate) const fn gain(side: Side, from: i64, to: i64) -> i64 {
    match side {
        Side::Buy => to - from,
        Side::Sell => from - to,
    }
}

/// Two orders of a desk's accounts that are to meet within the spread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meeting {
    /// Whose order waits, and whose comes to it.
    pub(crate) waits: usize,
    pub(crate) comes: usize,
    /// The side of the one that waits.
    pub(crate) side: Side,
    pub(crate) lots: i64,
    /// Lots of the one that comes.
    pub(crate) taken: i64,
    /// Nanoseconds between them.
    pub(crate) delay: i64,
}

impl Desk {
    /// Buys or sells so many lots by taking what is there, in clips, at most so many nanoseconds long.
    /// Gives its orders.
    pub(crate) async fn trade(
        &self,
        who: usize,
        side: Side,
        lots: i64,
        within: i64,
    ) -> Vec<OrderKey> {
        let (begun, mut orders) = (self.now(), Vec::new());
        let clips = self.between(2, 5);
        while self.filled(&orders) < lots && self.since(begun) < within && orders.len() < 200 {
            let view = self.view();
            let left = lots - self.filled(&orders);
            let clip = left.min(lots / clips + 1);
            let across = away(side, view.price(side.opposite()), -1);
            let order = self.send(Ticket::take(side, clip, across).of(who));
            orders.push(order);
            self.settled(&[order], SECOND).await;
            self.wait((within / 40).min(self.between(200 * MILLI, 2 * SECOND)))
                .await;
        }
        orders
    }

    /// Sends orders that wait at so many prices, the first so many ticks behind the best one.
    pub(crate) fn ladder(&self, side: Side, levels: i64, lots: i64, first: i64) -> Vec<OrderKey> {
        let best = self.view().price(side);
        let price = |level| away(side, best, first + level);
        (0..levels)
            .map(|level| self.send(Ticket::rest(side, lots, price(level))))
            .collect()
    }

    /// Waits until the price moves by so many ticks within a second, at most so many nanoseconds. Says
    /// whether it did.
    pub(crate) async fn jump(&self, ticks: i64, within: i64) -> bool {
        let mut before = [self.view().middle2(); 4];
        let jumped = move |desk: &Self| {
            let now = desk.view().middle2();
            let jumped = before
                .iter()
                .any(|before| (now - before).abs() >= 2 * ticks);
            before.rotate_right(1);
            if let Some(first) = before.first_mut() {
                *first = now;
            }
            jumped
        };
        self.till(within, SECOND / 4, jumped).await
    }

    /// Waits for room within the spread and lets two orders meet there. Gives them, whether they
    /// traded with each other or not, and when the first was sent; none when there was no room in time. What is left is cancelled.
    pub(crate) async fn meet(
        &self,
        meeting: Meeting,
        patience: i64,
    ) -> Option<(Time, [OrderKey; 2])> {
        let Meeting {
            waits,
            comes,
            side,
            lots,
            taken,
            delay,
        } = meeting;
        let room = |desk: &Self| desk.view().continuous && desk.view().spread() >= 2;
        if !self.till(patience, 40 * MILLI, room).await {
            return None;
        }
        let from = self.now();
        let inside = away(side, self.view().price(side), -1);
        let resting = self.send(Ticket::rest(side, lots, inside).of(waits));
        self.wait(delay).await;
        let coming = self.send(Ticket::take(side.opposite(), taken, inside).of(comes));
        self.settled(&[coming], SECOND).await;
        self.cancel(&[resting]);
        self.settled(&[resting], SECOND).await;
        Some((from, [resting, coming]))
    }
}
