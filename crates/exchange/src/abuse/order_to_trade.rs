//! Too many orders for a trade: for minutes orders come and go, and hardly one trades.
//!
//! Invariant: each order lives a while, is small, and stays off the best price.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away};

pub(crate) const CAST: Cast = Cast::Alone;
pub(crate) const WHEN: When = When::Any(6 * MINUTE);

/// Orders that the detector's defaults ask for in five minutes.
const ORDERS: i64 = 200;
const WITHIN: i64 = 280 * SECOND;

pub(crate) async fn play(desk: Desk) {
    desk.wait(5 * SECOND).await;
    let (from, count) = (desk.now(), desk.over(ORDERS) + 5);
    let gap = WITHIN / count;
    let mut orders = Vec::new();
    for number in 0..count {
        let side = desk.side();
        let price = away(side, desk.view().price(side), desk.between(3, 9));
        let order = desk.send(Ticket::rest(side, desk.size(2), price));
        orders.push(order);
        let begun = desk.now();
        desk.wait(desk.between(50 * MILLI, gap * 9 / 10)).await;
        desk.cancel(&[order]);
        desk.wait(gap - desk.since(begun)).await;
        if number == count / 2 && desk.chance(60) {
            // One trade, so that there is a ratio.
            let side = desk.side();
            orders.push(desk.send(Ticket::take(side, 2, desk.view().price(side.opposite()))));
        }
    }
    desk.settled(&orders, SECOND).await;
    let trades = desk.traded(&orders);
    let how = format!("orders={count} trades={trades}");
    desk.label(count >= 105 * trades.max(1), from, &orders, &how);
}
