//! A broker hedges: when a client's large order has traded, he trades the same way for himself.
//!
//! Invariant: his own trade comes after the client's.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When, away};

pub(crate) const CAST: Cast = Cast::Broker;
pub(crate) const WHEN: When = When::Any(5 * MINUTE);

/// The broker's own account and the client's, by their places.
const HOUSE: usize = 0;
const CLIENT: usize = 1;

pub(crate) async fn play(desk: Desk) {
    let (from, side, view) = (desk.now(), desk.side(), desk.view());
    let lots = desk.between(200, 500);
    let price = away(side, view.price(side.opposite()), -desk.between(3, 6));
    let client = desk.send(Ticket::take(side, lots, price).of(CLIENT));
    desk.settled(&[client], SECOND).await;
    let filled = desk.filled(&[client]);
    desk.wait(desk.between(20 * MILLI, 3 * SECOND)).await;
    let own = (filled * desk.between(10, 40) / 100).max(1);
    let hedges = desk.trade(HOUSE, side, own, MINUTE).await;
    let hedged = desk.filled(&hedges);
    let orders = [vec![client], hedges].concat();
    let how = format!("side={side} client={filled} hedged={hedged}");
    desk.label(filled > 0 && hedged > 0, from, &orders, &how);
}
