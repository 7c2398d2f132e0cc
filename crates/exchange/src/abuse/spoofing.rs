//! Spoofing: large orders on one side, cancelled one after another, that make a small order on the other
//! side trade better.
//!
//! Invariant: the large orders stay away from the best price, and are replaced where they trade.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(MINUTE);

/// What the detector's defaults ask for in 25 s: lots cancelled, and cancels.
const LOTS: i64 = 4_000;
const COUNT: i64 = 4;
/// How long the script takes for it.
const WITHIN: i64 = 18 * SECOND;

pub(crate) async fn play(desk: Desk) {
    let (from, side) = (desk.now(), desk.side());
    let (total, count) = (desk.over(LOTS), desk.over(COUNT).clamp(2, 12));
    let price = desk.view().price(side.opposite());
    let genuine = desk.send(Ticket::rest(side.opposite(), desk.size(5), price));
    let (mut large, mut live, mut sent) = (Vec::new(), Vec::new(), 0);
    while sent - desk.filled(&large) < total && large.len() < 16 {
        let missing = total - (sent - desk.filled(&large));
        let last = large.len() as i64 + 1 >= count;
        let lots = (total / count) * desk.between(70, 130) / 100;
        let lots = if last { missing } else { lots.min(missing) };
        let price = away(side, desk.view().price(side), desk.between(2, 6));
        let order = desk.send(Ticket::rest(side, lots, price));
        sent += lots;
        large.push(order);
        live.push(order);
        let stays = WITHIN / (count + 1);
        desk.fill(&[order], desk.between(stays / 3, stays)).await;
        // Sometimes the next one comes before this one goes.
        if desk.chance(60) || sent - desk.filled(&large) >= total {
            desk.cancel(&live);
            live.clear();
            desk.wait(desk.between(5 * MILLI, 150 * MILLI)).await;
        }
    }
    desk.cancel(&large);
    desk.cancel(&[genuine]);
    desk.settled(&large, SECOND).await;
    let (cancelled, traded) = (sent - desk.filled(&large), desk.filled(&[genuine]));
    let orders = [large.as_slice(), &[genuine]].concat();
    let count = large.len();
    let how = format!("side={side} orders={count} cancelled={cancelled} genuine_filled={traded}");
    desk.label(cancelled * 10 >= total * 9, from, &orders, &how);
}
