//! Layering: orders on several price levels of one side, a fill on the other, then they go.
//!
//! Invariant: what is kept, and what is a hit, is [`crate::pressure`]'s. Honest orders seldom lie on so
//! many levels, so that the fill need not tell as much as it must of a single large order. Source: EU
//! 2016/522, Annex II, indicator of "layering and spoofing"; US CEA 4c(a)(5)(C).

use crate::detector::{DetectorInfo, Registration};
use crate::params::ParamSet as _;
use crate::pressure::{self, Kind, Pressing, Rule, pressing};
use crate::watch::registration;

pub(crate) const REGISTRATION: Registration = registration::<Pressing<Params>>();

pressing! {
    placed_within = "5s",
    cancel_within = "2s",
    together = "1s",
    stood = "1s",
    multiple = "5",
    size_multiple = "10",
    levels = "3",
    level_share = "0.6",
}

impl Kind for Params {
    const INFO: DetectorInfo = DetectorInfo {
        id: "layering",
        title: "Orders on several levels of one side, a fill on the other, then they are cancelled",
        params: Self::PARAMS,
        ..pressure::INFO
    };
    const NAME: &'static str = "Layering";

    fn rule(&self) -> Rule {
        self.terms()
    }
}
