//! Orders taken away just before the session ends, rather than left to expire.
//!
//! Invariant: they have waited for minutes.

use crate::script::{Cast, Desk, MINUTE, SECOND, When};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::BeforeClose(6 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let (from, side) = (desk.now(), desk.side());
    let (levels, lots) = (desk.between(3, 7), desk.between(150, 500));
    let orders = desk.ladder(side, levels, lots, 2);
    let left = desk.between(SECOND, 8 * SECOND);
    desk.wait(desk.left() - left).await;
    desk.cancel(&orders);
    desk.settled(&orders, SECOND / 2).await;
    let (all, filled) = (levels * lots, desk.filled(&orders));
    let how = format!("side={side} levels={levels} lots={all} filled={filled}");
    desk.label(filled < all, from, &orders, &how);
}
