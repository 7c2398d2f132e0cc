//! Ramping: for minutes each trade of one trader lifts the price a little, or lowers it.
//!
//! Invariant: what is labelled moved the price nearly as far as it was to, most of the trades at a price
//! beyond all before.

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
    let (trades, share) = (desk.over(TRADES) + 2, desk.over(SHARE).min(70));
    let aim = desk.over(start.last * BASIS_POINTS / 10_000) + 1;
    let mut extreme = start.last;
    let (mut orders, mut beyond) = (Vec::new(), 0);
    let lasts = desk.between(WITHIN * 7 / 10, WITHIN);
    let pace = lasts / (trades + aim / 2);
    while desk.since(from) < lasts && orders.len() < 400 {
        let begun = desk.now();
        // What others traded beyond counts as well.
        let seen = |desk: &Desk, extreme: i64| gain(side, extreme, desk.view().last).max(0);
        while desk.since(begun) < pace {
            desk.wait(pace / 6).await;
            extreme = away(side, extreme, -seen(&desk, extreme));
        }
        let (view, before) = (desk.view(), extreme);
        let due = aim * desk.since(from) / lasts;
        let own = desk.filled(&orders) * 100 / (view.volume - start.volume).max(1);
        let reach = away(side, before, -desk.between(1, 2));
        let behind = gain(side, start.last, before) < due;
        if !behind && own >= share {
            continue;
        }
        // Just what is there up to one price beyond all before.
        let gap = gain(side, view.price(side.opposite()), reach).max(0) + 1;
        let lots = view.best_of(side.opposite()) * gap.min(6) + desk.size(8);
        let order = desk.send(Ticket::take(side, lots.min(1_500), reach));
        orders.push(order);
        desk.settled(&[order], SECOND).await;
        let last = desk.view().last;
        if desk.filled(&[order]) > 0 && gain(side, before, last) >= 0 {
            beyond += 1;
        }
        extreme = away(side, extreme, -seen(&desk, extreme));
    }
    let view = desk.view();
    let (moved, done) = (gain(side, start.last, extreme), desk.traded(&orders));
    let own = desk.filled(&orders) * 100 / (view.volume - start.volume).max(1);
    if moved * 10 >= aim * 9 && done >= trades * 9 / 10 && own * 10 >= share * 9 {
        desk.label(
            from,
            &orders,
            format!("side={side} trades={done} beyond={beyond} moved={moved} share={own}"),
        );
    }
}
