//! Bait-and-switch spoofing: large orders on one side, a fill on the other, then the large ones go.
//!
//! Invariant: what is kept, and what is a hit, is [`crate::pressure`]'s. Source: EU 2016/522, Annex II,
//! indicator of "layering and spoofing"; US CEA 4c(a)(5)(C).

use crate::detector::{DetectorInfo, Registration};
use crate::params::ParamSet as _;
use crate::pressure::{self, Kind, Pressing, Rule, pressing};
use crate::watch::registration;

pub(crate) const REGISTRATION: Registration = registration::<Pressing<Params>>();

pressing! {
    placed_within = "10s",
    cancel_within = "1500ms",
    together = "250ms",
    stood = "3s",
    multiple = "4",
    size_multiple = "28",
    levels = "1",
    level_share = "1",
}

impl Kind for Params {
    const INFO: DetectorInfo = DetectorInfo {
        id: "bait_and_switch",
        title: "Large orders on one side, a fill on the other, then the large ones cancelled",
        params: Self::PARAMS,
        ..pressure::INFO
    };
    const NAME: &'static str = "Bait and switch";

    fn rule(&self) -> Rule {
        self.terms()
    }
}
