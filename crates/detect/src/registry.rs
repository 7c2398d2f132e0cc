//! The list of all detectors: a module and an entry each.
//!
//! Invariant: the order here is the order of hits at the same event; new detectors go to the end.

use crate::detector::{DetectorInfo, Registration};

#[path = "detectors/bait_and_switch.rs"]
mod bait_and_switch;
#[path = "detectors/layering.rs"]
mod layering;
#[path = "detectors/spoofing.rs"]
mod spoofing;
// <new detector: module>

pub(crate) const REGISTRY: &[Registration] = &[
    spoofing::REGISTRATION,
    bait_and_switch::REGISTRATION,
    layering::REGISTRATION,
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
