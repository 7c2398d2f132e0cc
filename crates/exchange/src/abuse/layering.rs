//! Layering: bait and switch with orders at several prices.
//!
//! Invariant: the layers are placed within five seconds, each at a price of its own.

use super::bait_and_switch::lure;
use crate::script::{Cast, Desk, MINUTE, SECOND, When};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::Any(4 * MINUTE);

/// What the detector's defaults ask for: prices, and the time to place them in.
const LEVELS: i64 = 3;
const WITHIN: i64 = 5 * SECOND;

pub(crate) async fn play(desk: Desk) {
    let levels = desk.over(LEVELS).min(8);
    let within = desk.under(WITHIN).min(WITHIN / 2);
    lure(desk, levels, levels, within).await;
}
