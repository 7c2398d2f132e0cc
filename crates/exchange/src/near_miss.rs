//! Honest behaviour that looks like abuse: for each kind a script that plays it.
//!
//! Invariant: as for abuse; what is played has a reason that is none of the law's business.

use crate::pattern::NearMiss;
use crate::script::{Cast, Desk, Play, When};

/// Who plays it, when, and how.
pub(crate) fn direct(miss: NearMiss) -> (Cast, When, fn(Desk) -> Play) {
    (
        crate::abuse::direct(miss.resembles()).0,
        When::Any(0),
        |_| Box::pin(async {}),
    )
}
