//! Fleeting orders: near the best price, gone in milliseconds, for a minute.
//!
//! Invariant: as good as none trades.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away};

pub(crate) const CAST: Cast = Cast::Alone;
pub(crate) const WHEN: When = When::Any(2 * MINUTE);

/// What the detector's defaults ask for: orders in a minute, and how long they live.
const ORDERS: i64 = 50;
const LIFE: i64 = 10 * MILLI;
const WITHIN: i64 = 50 * SECOND;

pub(crate) async fn play(desk: Desk) {
    desk.wait(2 * SECOND).await;
    let (from, count) = (desk.now(), desk.over(ORDERS) + 4);
    let (longest, gap) = (desk.under(LIFE) - MILLI / 2, WITHIN / count);
    let one_sided = desk.chance(50).then(|| desk.side());
    let mut orders = Vec::new();
    for _ in 0..count {
        let side = one_sided.unwrap_or_else(|| desk.side());
        let price = away(side, desk.view().price(side), desk.between(1, 3));
        let order = desk.send(Ticket::rest(side, desk.size(4), price));
        orders.push(order);
        desk.wait(desk.between(longest / 6, longest)).await;
        desk.cancel(&[order]);
        desk.wait(desk.between(gap / 4, gap * 7 / 4)).await;
    }
    desk.settled(&orders, SECOND).await;
    let (count, traded) = (orders.len(), desk.traded(&orders));
    let how = format!("orders={count} longest_us={}", longest / 1_000);
    desk.label(traded * 50 <= count as i64, from, &orders, &how);
}
