//! A market maker takes all his quotes away when the price jumps.
//!
//! Invariant: he quotes both sides alike, and less than the detectors' defaults ask for.

use tapewatch_model::Side;

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, When};

pub(crate) const CAST: Cast = Cast::Maker;
pub(crate) const WHEN: When = When::Any(16 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let begun = desk.now();
    let (levels, lots) = (desk.between(3, 6), desk.between(60, 200));
    while desk.since(begun) < 15 * MINUTE {
        let from = desk.now();
        let mut orders = desk.ladder(Side::Buy, levels, lots, 1);
        orders.extend(desk.ladder(Side::Sell, levels, lots, 1));
        let jumped = desk.jump(2, desk.between(20 * SECOND, 45 * SECOND)).await;
        desk.wait(desk.between(MILLI, 20 * MILLI)).await;
        desk.cancel(&orders);
        desk.settled(&orders, SECOND).await;
        if jumped {
            let filled = desk.filled(&orders);
            let how = format!("levels={levels} lots={lots} filled={filled}");
            desk.label(true, from, &orders, &how);
            return;
        }
    }
}
