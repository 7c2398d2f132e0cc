//! Orders taken away because trading halts.
//!
//! Invariant: they are taken away while trading is halted.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, Ticket, When};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(12 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let (from, side) = (desk.now(), desk.side());
    let (levels, lots) = (desk.between(3, 6), desk.between(150, 550));
    let mut orders = desk.ladder(side, levels, lots, 2);
    // Some of it was bought or sold already.
    let price = desk.view().price(side);
    orders.push(desk.send(Ticket::take(side.opposite(), desk.size(5), price)));
    desk.wait(desk.between(200 * MILLI, 3 * SECOND)).await;
    desk.halt(desk.between(2 * MINUTE, 5 * MINUTE));
    let halted = desk
        .till(SECOND, 10 * MILLI, |desk| !desk.view().continuous)
        .await;
    desk.wait(desk.between(50 * MILLI, 5 * SECOND)).await;
    desk.cancel(&orders);
    desk.settled(&orders, SECOND).await;
    let how = format!("side={side} levels={levels} lots={}", levels * lots);
    desk.label(halted, from, &orders, &how);
}
