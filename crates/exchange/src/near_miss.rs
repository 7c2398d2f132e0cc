//! Honest behaviour that looks like abuse: for each kind a script that plays it.
//!
//! Invariant: as for abuse; what is played has a reason that is none of the law's business.

use crate::pattern::NearMiss;
use crate::script::{Cast, Direction, When};

/// Who plays it, when, and how.
pub(crate) fn direct(_miss: NearMiss) -> Direction {
    (Cast::Active, When::Any(0), |_| Box::pin(async {}))
}
