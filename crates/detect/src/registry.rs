//! The list of all detectors: a module and an entry each.
//!
//! Invariant: the order here is the order of hits at the same event; new detectors go to the end.

use crate::detector::{DetectorInfo, Registration};

#[path = "detectors/bait_and_switch.rs"]
mod bait_and_switch;
#[path = "detectors/before_news.rs"]
mod before_news;
#[path = "detectors/fleeting_orders.rs"]
mod fleeting_orders;
#[path = "detectors/front_running.rs"]
mod front_running;
#[path = "detectors/layering.rs"]
mod layering;
#[path = "detectors/marking_the_close.rs"]
mod marking_the_close;
#[path = "detectors/matched_orders.rs"]
mod matched_orders;
#[path = "detectors/momentum_ignition.rs"]
mod momentum_ignition;
#[path = "detectors/off_market.rs"]
mod off_market;
#[path = "detectors/order_to_trade.rs"]
mod order_to_trade;
#[path = "detectors/pinging.rs"]
mod pinging;
#[path = "detectors/quote_stuffing.rs"]
mod quote_stuffing;
#[path = "detectors/ramping.rs"]
mod ramping;
#[path = "detectors/round_trip.rs"]
mod round_trip;
#[path = "detectors/spoofing.rs"]
mod spoofing;
#[path = "detectors/wash_trade.rs"]
mod wash_trade;
// <new detector: module>

pub(crate) const REGISTRY: &[Registration] = &[
    spoofing::REGISTRATION,
    bait_and_switch::REGISTRATION,
    layering::REGISTRATION,
    quote_stuffing::REGISTRATION,
    order_to_trade::REGISTRATION,
    fleeting_orders::REGISTRATION,
    pinging::REGISTRATION,
    wash_trade::REGISTRATION,
    round_trip::REGISTRATION,
    matched_orders::REGISTRATION,
    marking_the_close::REGISTRATION,
    momentum_ignition::REGISTRATION,
    ramping::REGISTRATION,
    front_running::REGISTRATION,
    off_market::REGISTRATION,
    before_news::REGISTRATION,
    // <new detector: entry>
];

/// What there is to know about each detector, in registry order.
pub fn detectors() -> impl Iterator<Item = &'static DetectorInfo> {
    REGISTRY.iter().map(|registration| registration.info)
}

/// The place of a detector in the order of hits at the same event: the registry's first, then rules
/// by name.
pub(crate) fn rank(id: &'static str) -> (usize, &'static str) {
    let known = REGISTRY.iter().position(|entry| entry.info.id == id);
    known.map_or((REGISTRY.len(), id), |place| (place, ""))
}
