//! Honest behaviour that looks like abuse: for each kind a script that plays it.
//!
//! Invariant: as for abuse; what is played has an honest reason, and stays below what the detectors'
//! defaults ask for or is what they are to leave alone.

mod arbitrage;
mod bad_news_cancel;
mod close_cancel;
mod declared_cross;
mod halt_cancel;
mod hedger;
mod iceberg_refill;
mod index_rebalance;
mod quote_pull;
mod sliced_parent;
mod stop_cascade;

use crate::pattern::NearMiss;
use crate::script::{Direction, direction};

/// Who plays it, when, and how.
pub(crate) fn direct(miss: NearMiss) -> Direction {
    match miss {
        NearMiss::QuotePull => direction!(quote_pull),
        NearMiss::IcebergRefill => direction!(iceberg_refill),
        NearMiss::HaltCancel => direction!(halt_cancel),
        NearMiss::CloseCancel => direction!(close_cancel),
        NearMiss::IndexRebalance => direction!(index_rebalance),
        NearMiss::SlicedParent => direction!(sliced_parent),
        NearMiss::DeclaredCross => direction!(declared_cross),
        NearMiss::StopCascade => direction!(stop_cascade),
        NearMiss::Arbitrage => direction!(arbitrage),
        NearMiss::Hedger => direction!(hedger),
        NearMiss::BadNewsCancel => direction!(bad_news_cancel),
    }
}
