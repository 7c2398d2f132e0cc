//! The news of a session: when, about what, and how far it moves the price.
//!
//! Invariant: news comes between a third and nine tenths of trading, in as many parts of that as there
//! are news; each moves the worth by four to seven daily standard deviations.

use tapewatch_model::{Side, Time};

use super::draws::Draws;
use super::pulse::Pulse;
use super::{NEWS_STREAM, Simulation, after};
use crate::exchange::Instrument;

/// A piece of news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// When it is published.
    pub time: Time,
    /// What it is about.
    pub instrument: Instrument,
    /// What it says.
    pub headline: &'static str,
    /// How it moves the worth, in parts of a tick.
    pub(super) parts: i64,
}

const GOOD: [&str; 4] = [
    "profit forecast raised",
    "takeover offer received",
    "large contract won",
    "approval granted",
];
const BAD: [&str; 4] = [
    "profit warning",
    "investigation opened",
    "largest customer lost",
    "approval denied",
];

impl News {
    /// Who gains: those who have bought, or those who have sold.
    #[must_use]
    pub const fn side(&self) -> Side {
        if self.parts > 0 {
            Side::Buy
        } else {
            Side::Sell
        }
    }
}

impl Simulation {
    /// Draws the news of an instrument.
    pub(super) fn announce(&mut self, instrument: Instrument) {
        let scenario = &self.scenario;
        let mut draws = Draws::new(scenario.seed, NEWS_STREAM | u64::from(instrument.0));
        let (trading, count) = (scenario.trading.nanos(), i64::from(scenario.news));
        let daily = Pulse::usual_sigma(trading / 1_000_000_000);
        for number in 0..count {
            let room = (trading / 10 * 9 - trading / 3) / count;
            let at = trading / 3 + room * number + draws.between(0, room * 3 / 4);
            let size = daily * draws.between(420, 700) / 100;
            let side = draws.side();
            let headlines = if side == Side::Buy { GOOD } else { BAD };
            let headline = headlines.get(draws.below(4) as usize).copied();
            self.news.push(News {
                time: after(scenario.opens(), at),
                instrument,
                headline: headline.unwrap_or_default(),
                parts: if side == Side::Buy { size } else { -size },
            });
        }
    }
}
