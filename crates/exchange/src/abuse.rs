//! Labelled abuse: for each detector a script that plays what it is to find.
//!
//! Invariant: one file a pattern, with who plays it, when, and how; a script labels only what the market
//! let it carry out.

mod spoofing;

use crate::pattern::Abuse;
use crate::script::{Cast, Desk, Play, When};

/// Who plays it, when, and how.
pub(crate) fn direct(abuse: Abuse) -> (Cast, When, fn(Desk) -> Play) {
    match abuse {
        _ => (spoofing::CAST, spoofing::WHEN, |desk| {
            Box::pin(spoofing::play(desk))
        }),
    }
}
