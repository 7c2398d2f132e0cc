//! Marking the close: in the last minutes the price is pushed where it is wanted for the closing price.
//!
//! Invariant: what is labelled moved the price nearly as far as it was to, with the trader among the
//! last who traded.

use crate::script::{Cast, Desk, MINUTE, SECOND, Ticket, When, away, gain};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::BeforeClose(BEFORE);

/// What the detector's defaults ask for: share of the volume in hundredths; a move of so many standard
/// deviations over the last minutes, or so many basis points.
const SHARE: i64 = 20;
const SIGMAS: i64 = 3;
const BASIS_POINTS: i64 = 20;
const WINDOW: i64 = 5 * MINUTE;
/// The price is compared with that of the minutes before.
const BEFORE: i64 = 25 * MINUTE;

pub(crate) async fn play(desk: Desk) {
    let side = desk.side();
    let (mut sum, mut weight, mut seen) = (0, 0, desk.view().volume);
    while desk.left() > WINDOW {
        desk.wait(10 * SECOND).await;
        let view = desk.view();
        let traded = view.volume - seen;
        (sum, weight, seen) = (sum + traded * view.last, weight + traded, view.volume);
    }
    let before = if weight > 0 {
        sum / weight
    } else {
        desk.view().last
    };
    desk.wait(desk.between(5 * SECOND, 90 * SECOND)).await;
    let (from, start) = (desk.now(), desk.view());
    let needed = start
        .sigmas(SIGMAS, 300)
        .max(before * BASIS_POINTS / 10_000);
    let (aim, share) = (
        desk.over(needed).min(2 * needed) + 1,
        desk.over(SHARE).min(70),
    );
    // In 300 seconds' time trading ends; the push takes what there is of them.
    let lasts = desk.left();
    let mut orders = Vec::new();
    while desk.left() > SECOND && orders.len() < 400 {
        let view = desk.view();
        let moved = gain(side, before, view.last);
        let due = aim * (lasts - desk.left() + lasts / 5).min(lasts) / lasts;
        let volume = (view.volume - start.volume).max(1);
        let own = desk.filled(&orders) * 100 / volume;
        if moved < due || own < share || desk.left() < 5 * SECOND {
            let reach = if moved < due { desk.between(1, 3) } else { 0 };
            let lots = view.best_of(side.opposite()).min(200) * (1 + reach) + desk.size(10);
            let price = away(side, view.price(side.opposite()), -reach);
            orders.push(desk.send(Ticket::take(side, lots, price)));
        }
        let pause = if desk.left() < 20 * SECOND {
            SECOND
        } else {
            4 * SECOND
        };
        desk.wait(desk.between(pause / 4, pause)).await;
    }
    let view = desk.view();
    let moved = gain(side, before, view.last);
    let own = desk.filled(&orders) * 100 / (view.volume - start.volume).max(1);
    let enough = moved * 10 >= aim * 9 || moved * 10 >= needed * 11;
    let how = format!("side={side} moved={moved} needed={needed} share={own}");
    desk.label(enough && own >= share.min(SHARE), from, &orders, &how);
}
