//! Ramping: for minutes each trade of one trader lifts the price a little, or lowers it.
//!
//! Invariant: what is labelled moved the price nearly as far as it was to, most of the trades at a price
//! that is as far as any before or further.

use crate::script::{Cast, Desk, MINUTE, SECOND, Ticket, When, away, gain};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(12 * MINUTE);

/// What the detector's defaults ask for in ten minutes: trades, share of the volume in hundredths, and a
/// move in basis points.
const TRADES: i64 = 8;
const SHARE: i64 = 25;
const BASIS_POINTS: i64 = 30;
const WITHIN: i64 = 9 * MINUTE;

pub(crate) async fn play(desk: Desk) {
    let (side, from, start) = (desk.side(), desk.now(), desk.view());
    let needed = start.last * BASIS_POINTS / 10_000 + 1;
    let (trades, aim) = (desk.over(TRADES) + 2, desk.over(needed).min(2 * needed));
    let mut extreme = start.last;
    let (mut orders, mut traded) = (Vec::new(), from);
    // Orders that took, their lots, and those of them at prices beyond.
    let (mut done, mut taken, mut beyond) = (0, 0, 0);
    let lasts = desk.between(WITHIN / 4, WITHIN * 3 / 4);
    let pace = lasts / (2 * trades + aim * 2);
    while desk.since(from) < lasts && orders.len() < 400 {
        let begun = desk.now();
        let reached = |desk: &Desk| gain(side, extreme, desk.view().price(side.opposite())) > 0;
        // The others' trades count as extremes too.
        let mut others = 0;
        while desk.since(begun) < pace || (desk.since(begun) < 2 * pace && !reached(&desk)) {
            desk.wait(pace / 4).await;
            others = others.max(gain(side, extreme, desk.view().last));
        }
        extreme = away(side, extreme, -others);
        let view = desk.view();
        let price = view.price(side.opposite());
        let behind = gain(side, price, extreme).max(0);
        let held = orders.last().copied();
        let order = if behind > 0 && desk.since(traded) < 8 * pace {
            // It fell back: a bid just below what is asked brings it up again, or an offer down.
            let support = Ticket::rest(side, desk.between(100, 300), away(side, price, 1));
            desk.send(support)
        } else {
            // All that is there at the next prices; what is left of it waits there, and holds the price.
            let lots = view.best_of(side.opposite()) * (behind + 2).min(6);
            let reach = if behind == 0 { desk.between(0, 2) } else { 1 };
            let limit = away(side, if behind == 0 { price } else { extreme }, -reach);
            let lots = lots.min(1_500) + desk.between(60, 160);
            traded = desk.now();
            desk.send(Ticket::rest(side, lots, limit))
        };
        desk.cancel(held.as_ref().map_or(&[], std::slice::from_ref));
        orders.push(order);
        desk.wait(pace / 4).await;
        let filled = desk.filled(&[order]);
        if traded == desk.now() || desk.since(traded) < pace / 2 {
            taken += filled;
            done += i64::from(filled > 0);
            beyond += if behind == 0 { filled } else { 0 };
        }
        let last = desk.view().last;
        extreme = away(side, extreme, -gain(side, extreme, last).max(0));
        let far = gain(side, start.last, extreme) >= aim;
        if far && done >= trades && beyond * 10 >= taken * 8 {
            break;
        }
    }
    desk.cancel(&orders);
    desk.settled(&orders, SECOND).await;
    let (view, moved) = (desk.view(), gain(side, start.last, extreme));
    let share = taken * 100 / (view.volume - start.volume).max(1);
    let far = moved * 10 >= aim * 9 || moved * 10 >= needed * 11;
    let carried_out =
        far && done >= trades.min(TRADES) && share >= SHARE && beyond * 10 >= taken * 8;
    let how = format!(
        "side={side} trades={done} lots={taken} beyond={beyond} moved={moved} share={share}"
    );
    desk.label(carried_out, from, &orders, &how);
}
