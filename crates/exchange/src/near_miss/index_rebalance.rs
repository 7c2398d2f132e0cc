//! An index changes, and many traders buy, or sell, at the close.
//!
//! Invariant: none of them is a large part of it.

use crate::script::{Cast, Desk, MINUTE, SECOND, Ticket, When};

pub(crate) const CAST: Cast = Cast::Strangers(14);
pub(crate) const WHEN: When = When::BeforeClose(5 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let (from, side) = (desk.now(), desk.side());
    let traders = desk.accounts() as i64;
    let mut orders = Vec::new();
    while desk.left() > 5 * SECOND {
        let who = desk.between(0, traders - 1) as usize;
        let price = desk.view().price(side.opposite());
        orders.push(desk.send(Ticket::take(side, desk.between(10, 50), price).of(who)));
        desk.wait(desk.between(SECOND, 6 * SECOND)).await;
    }
    desk.wait(desk.left() + 5 * SECOND).await;
    // The rest goes into the closing auction.
    for who in 0..traders {
        let lots = desk.between(40, 200);
        orders.push(desk.send(Ticket::market(side, lots).of(who as usize)));
        desk.wait(desk.between(SECOND / 2, 8 * SECOND)).await;
    }
    desk.wait(SECOND).await;
    let how = format!("side={side} traders={traders}");
    desk.label(true, from, &orders, &how);
}
