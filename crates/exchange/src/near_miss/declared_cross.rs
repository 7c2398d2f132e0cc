//! Two funds of one manager trade with each other by a cross that is declared to the venue.
//!
//! Invariant: the price is at the best ones or between them.

use crate::script::{Cast, Desk, MINUTE, SECOND, When};

pub(crate) const CAST: Cast = Cast::Funds;
pub(crate) const WHEN: When = When::Any(12 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    desk.till(10 * MINUTE, SECOND, |desk| desk.view().continuous)
        .await;
    let (from, lots) = (desk.now(), desk.between(100, 1_500));
    for _ in 0..5 {
        let price = desk.view().middle2() / 2;
        let buyer = usize::from(desk.chance(50));
        let orders = desk.cross(buyer, 1 - buyer, lots, price);
        desk.settled(&orders, SECOND).await;
        if desk.filled(&orders) > 0 {
            desk.label(true, from, &orders, &format!("lots={lots}"));
            return;
        }
        desk.wait(5 * SECOND).await;
    }
}
