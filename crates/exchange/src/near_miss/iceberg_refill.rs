//! An iceberg: what is seen of it trades and comes again.
//!
//! Invariant: one order, which follows the price by amends and is hardly ever cancelled.

use crate::script::{Cast, Desk, MINUTE, SECOND, Ticket, When};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(11 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let (from, side) = (desk.now(), desk.side());
    let shown = desk.between(20, 60);
    let lots = shown * desk.between(6, 15);
    let mut price = desk.view().price(side);
    let ticket = Ticket {
        display: Some(shown),
        ..Ticket::rest(side, lots, price)
    };
    let order = desk.send(ticket);
    while desk.since(from) < 10 * MINUTE && desk.open(order) {
        desk.settled(&[order], desk.between(15 * SECOND, 40 * SECOND))
            .await;
        let best = desk.view().price(side);
        if desk.open(order) && best != price {
            price = best;
            desk.amend(order, lots, price);
        }
    }
    desk.cancel(&[order]);
    desk.settled(&[order], SECOND).await;
    let filled = desk.filled(&[order]);
    let how = format!("side={side} lots={lots} shown={shown} filled={filled}");
    desk.label(filled >= 2 * shown, from, &[order], &how);
}
