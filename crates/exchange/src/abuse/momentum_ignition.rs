//! Momentum ignition: a burst that moves the price, others who follow it, and a way out through them.
//!
//! Invariant: what is labelled was followed, and reversed at a better price on average.

use tapewatch_model::Side;

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away, gain};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(45 * MINUTE);

/// What the detector's defaults ask for: share of the burst's volume in hundredths, and a move of so many
/// standard deviations over it.
const SHARE: i64 = 30;
const SIGMAS: i64 = 4;
const BURST: i64 = 5 * SECOND;
/// How many times the own volume the followers' is.
const FOLLOWED: i64 = 2;
const TRIES: usize = 9;

pub(crate) async fn play(desk: Desk) {
    for _ in 0..TRIES {
        if attempt(&desk).await {
            return;
        }
        desk.wait(desk.between(2 * MINUTE, 4 * MINUTE)).await;
    }
}

async fn attempt(desk: &Desk) -> bool {
    // A little further where the price is going anyway; a thin book is the easiest to move.
    let mut before = [desk.view().middle2(); 16];
    let mut side = Side::Buy;
    let ripe = |desk: &Desk| {
        let view = desk.view();
        before.rotate_right(1);
        let [first, .., oldest] = &mut before;
        let moved = view.middle2() - *oldest;
        *first = view.middle2();
        side = if moved > 0 { Side::Buy } else { Side::Sell };
        let thin = view.depth_of(side.opposite()) < 900 && view.best_of(side.opposite()) < 150;
        view.continuous && thin && moved.abs() >= 3
    };
    if !desk.till(4 * MINUTE, SECOND, ripe).await || desk.left() < 3 * MINUTE {
        return false;
    }
    let (from, start) = (desk.now(), desk.view());
    let needed = start.sigmas(SIGMAS, 5);
    let aim = desk.over(needed).min(2 * needed);
    let lasts = desk.between(BURST / 4, BURST * 8 / 10);
    let mut burst = Vec::new();
    while desk.since(from) < lasts {
        let view = desk.view();
        if gain(side, start.middle2(), view.middle2()) >= 2 * aim {
            break;
        }
        let lots = view.best_of(side.opposite()).min(120) * 2;
        let price = away(side, view.price(side.opposite()), -1);
        burst.push(desk.send(Ticket::take(side, lots, price)));
        desk.wait(desk.between(lasts / 20, lasts / 6)).await;
    }
    desk.settled(&burst, SECOND / 2).await;
    let (own, top) = (desk.filled(&burst), desk.view());
    if own == 0 {
        return false;
    }
    // The others' turn.
    let follow = |desk: &Desk| desk.view().taken_by(side) - top.taken_by(side);
    let patience = desk.between(20 * SECOND, 29 * SECOND);
    desk.till(patience, SECOND, |desk| {
        follow(desk) >= 3 * own * FOLLOWED / 2
    })
    .await;
    let left = 55 * SECOND - desk.since(from);
    let followed = follow(desk);
    let out = desk
        .trade(
            0,
            side.opposite(),
            own * desk.between(85, 100) / 100,
            left.max(SECOND),
        )
        .await;
    let sold = desk.filled(&out);
    let (paid, got) = (desk.paid(&burst) * sold, desk.paid(&out) * own);
    let moved = gain(side, start.middle2(), top.middle2()) / 2;
    let better = gain(side, paid, got) > 0;
    let reversed = sold * 10 >= own * 8 && better;
    let share = own * 100 / (top.volume - start.volume).max(1);
    let burst_made_it = share >= SHARE && moved >= needed.min(aim);
    let carried_out = burst_made_it && reversed && followed >= own * FOLLOWED;
    let orders = [burst, out].concat();
    let how = format!("side={side} moved={moved} own={own} followed={followed} reversed={sold}");
    desk.label(carried_out, from, &orders, &how);
    carried_out
}
