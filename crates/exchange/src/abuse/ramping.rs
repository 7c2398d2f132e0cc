//! Ramping: again and again one trader takes what is there at the next price, and holds what he has
//! reached with the rest of his order.
//!
//! Invariant: what is labelled moved the price nearly as far as it was to, with most of what was taken
//! at prices as far as any before or further.

use tapewatch_model::{OrderKey, Side, Time};

use crate::script::{Cast, Desk, MINUTE, SECOND, Ticket, When, away, gain};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(40 * MINUTE);

/// What the detector's defaults ask for in ten minutes: trades, share of the volume in hundredths, and a
/// move in basis points.
const TRADES: i64 = 8;
const SHARE: i64 = 25;
const BASIS_POINTS: i64 = 30;
const WITHIN: i64 = 9 * MINUTE;
/// The least time that it takes: faster it would be a sweep.
const LEAST: i64 = 33 * SECOND;
const TRIES: usize = 4;

pub(crate) async fn play(desk: Desk) {
    for _ in 0..TRIES {
        if desk.left() < MINUTE + WITHIN || attempt(&desk).await {
            return;
        }
        desk.wait(desk.between(3 * MINUTE, 6 * MINUTE)).await;
    }
}

/// A ramp on its way.
struct Ramp {
    side: Side,
    /// The furthest price so far.
    extreme: i64,
    orders: Vec<OrderKey>,
    /// When it last took.
    took: Time,
    /// Orders that took, their lots, and those of them at prices beyond.
    done: i64,
    taken: i64,
    beyond: i64,
}

async fn attempt(desk: &Desk) -> bool {
    let (side, from, start) = (desk.side(), desk.now(), desk.view());
    let needed = start.last * BASIS_POINTS / 10_000 + 1;
    let trades = desk.over(TRADES).min(2 * TRADES) + 1;
    let aim = desk.over(needed).min(2 * needed);
    let mut ramp = Ramp {
        side,
        extreme: start.last,
        orders: Vec::new(),
        took: from,
        done: 0,
        taken: 0,
        beyond: 0,
    };
    let lasts = desk.between(WITHIN / 5, WITHIN / 2);
    let least = desk.between(LEAST, 2 * LEAST);
    let pace = lasts / (2 * (trades + aim));
    while desk.since(from) < lasts && ramp.orders.len() < 400 {
        ramp.step(desk, pace).await;
        let far = gain(side, start.last, ramp.extreme) >= aim
            && ramp.done >= trades
            && desk.since(from) >= least;
        // Or too much was needed to hold the price.
        let vain = ramp.done >= TRADES && ramp.beyond * 10 < ramp.taken * 6;
        if vain || far && ramp.beyond * 10 >= ramp.taken * 8 {
            break;
        }
    }
    desk.cancel(&ramp.orders);
    desk.settled(&ramp.orders, SECOND).await;
    let Ramp {
        extreme,
        orders,
        done,
        taken,
        beyond,
        ..
    } = ramp;
    let moved = gain(side, start.last, extreme);
    let share = taken * 100 / (desk.view().volume - start.volume).max(1);
    let far = moved * 10 >= aim * 9 || moved * 10 >= needed * 11;
    let carried_out =
        far && done >= trades.min(TRADES) && share >= SHARE && beyond * 10 >= taken * 8;
    let how = format!(
        "side={side} trades={done} lots={taken} beyond={beyond} moved={moved} needed={needed} share={share}"
    );
    desk.label(carried_out, from, &orders, &how);
    carried_out
}

impl Ramp {
    /// Waits for its turn, then takes, or holds the price.
    async fn step(&mut self, desk: &Desk, pace: i64) {
        let (side, begun, extreme) = (self.side, desk.now(), self.extreme);
        let reached = |desk: &Desk| gain(side, extreme, desk.view().price(side.opposite())) > 0;
        while desk.since(begun) < pace || (desk.since(begun) < 2 * pace && !reached(desk)) {
            desk.wait(pace / 4).await;
            self.note(desk);
        }
        let view = desk.view();
        let price = view.price(side.opposite());
        let behind = gain(side, price, self.extreme).max(0);
        let holds = behind > 0 && desk.since(self.took) < 8 * pace;
        let ticket = if holds {
            // It fell back: a bid just below what is asked brings it up again, or an offer down.
            Ticket::rest(side, desk.between(100, 300), away(side, price, 1))
        } else {
            // All that is there at the next prices; what is left of it waits there, and holds the price.
            let lots = view.best_of(side.opposite()) * (behind + 2).min(6);
            let reach = if behind == 0 { desk.between(0, 2) } else { 1 };
            let limit = away(side, if behind == 0 { price } else { self.extreme }, -reach);
            Ticket::rest(side, lots.min(1_500) + desk.between(60, 160), limit)
        };
        let order = desk.send(ticket);
        desk.cancel(self.orders.last().map_or(&[], std::slice::from_ref));
        self.orders.push(order);
        self.took = if holds { self.took } else { desk.now() };
        desk.wait(pace / 4).await;
        if !holds {
            let filled = desk.filled(&[order]);
            self.taken += filled;
            self.done += i64::from(filled > 0);
            self.beyond += if behind == 0 { filled } else { 0 };
        }
        self.note(desk);
    }

    /// Others' trades count as extremes too.
    fn note(&mut self, desk: &Desk) {
        let further = gain(self.side, self.extreme, desk.view().last).max(0);
        self.extreme = away(self.side, self.extreme, -further);
    }
}
