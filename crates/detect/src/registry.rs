//! The list of all detectors: a module and an entry each.
//!
//! Invariant: the order here is the order of hits at the same event; new detectors go to the end.

use crate::detector::{DetectorInfo, Registration};

#[path = "detectors/spoofing.rs"]
mod spoofing;
// <new detector: module>

pub(crate) const REGISTRY: &[Registration] = &[
    spoofing::REGISTRATION,
    // <new detector: entry>
];

/// What there is to know about each detector, in registry order.
pub fn detectors() -> impl Iterator<Item = &'static DetectorInfo> {
    REGISTRY.iter().map(|registration| registration.info)
}
