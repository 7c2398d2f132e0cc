//! Labelled abuse: for each detector a script that plays what it is to find.
//!
//! Invariant: one file a pattern, with who plays it, when, and how; a script labels only what the market
//! let it carry out.

mod bait_and_switch;
mod before_news;
mod fleeting_orders;
mod front_running;
mod layering;
mod marking_the_close;
mod matched_orders;
mod momentum_ignition;
mod off_market;
mod order_to_trade;
mod pinging;
mod quote_stuffing;
mod ramping;
mod round_trip;
mod spoofing;
mod wash_trade;

use crate::pattern::Abuse;
use crate::script::{Direction, direction};

/// Who plays it, when, and how.
pub(crate) fn direct(abuse: Abuse) -> Direction {
    match abuse {
        Abuse::Spoofing => direction!(spoofing),
        Abuse::BaitAndSwitch => direction!(bait_and_switch),
        Abuse::Layering => direction!(layering),
        Abuse::QuoteStuffing => direction!(quote_stuffing),
        Abuse::OrderToTrade => direction!(order_to_trade),
        Abuse::FleetingOrders => direction!(fleeting_orders),
        Abuse::Pinging => direction!(pinging),
        Abuse::WashTrade => direction!(wash_trade),
        Abuse::RoundTrip => direction!(round_trip),
        Abuse::MatchedOrders => direction!(matched_orders),
        Abuse::MarkingTheClose => direction!(marking_the_close),
        Abuse::MomentumIgnition => direction!(momentum_ignition),
        Abuse::Ramping => direction!(ramping),
        Abuse::FrontRunning => direction!(front_running),
        Abuse::OffMarket => direction!(off_market),
        Abuse::BeforeNews => direction!(before_news),
    }
}
