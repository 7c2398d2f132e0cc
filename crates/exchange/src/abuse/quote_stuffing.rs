//! Quote stuffing: orders and cancels so fast that others are slowed down.
//!
//! Invariant: nothing is meant to trade: the orders are far from the best price.

use crate::script::{Cast, Desk, MINUTE, SECOND, Ticket, When, away};
use crate::simulation::after;

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(MINUTE);

/// Messages a second that the detector's defaults ask for.
const MESSAGES: i64 = 250;

pub(crate) async fn play(desk: Desk) {
    let (from, rate) = (desk.now(), desk.over(MESSAGES));
    let lasts = desk.between(SECOND * 11 / 10, 3 * SECOND);
    // Two messages an order, three when it is amended.
    let amends = desk.chance(30);
    let messages = if amends { 3 } else { 2 };
    let gap = SECOND / rate;
    let mut orders = Vec::new();
    let mut next = from;
    while desk.since(from) < lasts && orders.len() < 8_000 {
        let side = desk.side();
        let (lots, price) = (desk.between(1, 5), desk.view().price(side));
        let price = away(side, price, desk.between(6, 20));
        let order = desk.send(Ticket::rest(side, lots, price));
        orders.push(order);
        if amends {
            desk.amend(order, lots, away(side, price, 1));
        }
        next = after(next, gap * (messages - 1));
        desk.until(next).await;
        desk.cancel(&[order]);
        next = after(next, gap);
        desk.until(next).await;
    }
    desk.settled(&orders, SECOND).await;
    let count = orders.len();
    let how = format!("rate={rate} orders={count} amends={amends}");
    desk.label(true, from, &orders, &how);
}
