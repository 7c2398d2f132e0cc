//! A large order worked in slices over the better part of an hour, none of them cancelled.
//!
//! Invariant: each slice is a small part of what trades meanwhile.

use crate::script::{Cast, Desk, MINUTE, SECOND, Ticket, When};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(45 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let (from, side, start) = (desk.now(), desk.side(), desk.view());
    let lasts = desk.between(20 * MINUTE, 40 * MINUTE);
    let lots = desk.between(1_500, 4_000);
    let mut orders = Vec::new();
    while desk.since(from) < lasts && desk.filled(&orders) < lots && orders.len() < 300 {
        let view = desk.view();
        let traded = (view.volume - start.volume).max(1);
        // At most a tenth or so of what trades.
        if desk.filled(&orders) * 100 / traded < 12 {
            let clip = desk.between(15, 60);
            let waits = desk.chance(50);
            let price = if waits {
                view.price(side)
            } else {
                view.price(side.opposite())
            };
            orders.push(desk.send(Ticket {
                day: waits,
                ..Ticket::take(side, clip, price)
            }));
        }
        desk.wait(desk.between(5 * SECOND, 25 * SECOND)).await;
    }
    let filled = desk.filled(&orders);
    let how = format!("side={side} slices={} filled={filled}", orders.len());
    desk.label(filled * 4 >= lots, from, &orders, &how);
}
