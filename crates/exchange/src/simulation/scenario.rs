//! What is simulated: how long, how many instruments, who trades, what is played on purpose.
//!
//! Invariant: a scenario that is accepted has times that fit and agents within their limit.

use tapewatch_model::{Time, TimeSpan};

use crate::plan::Plan;

/// The most agents over all instruments, those who play patterns among them.
const AGENTS_MAX: u64 = 1 << 20;

/// One session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Same seed, same events.
    pub seed: u64,
    /// When the call phase before the opening auction begins.
    pub start: Time,
    /// How long the call phases before the opening and the closing auction are.
    pub call: TimeSpan,
    /// How long continuous trading is.
    pub trading: TimeSpan,
    /// How many instruments trade.
    pub instruments: u32,
    /// Who trades in each of them.
    pub agents: Agents,
    /// How active they are, in hundredths: 100 makes about 15 rows a second and instrument on average,
    /// 200 twice as many.
    pub pace: u32,
    /// News of each instrument, each of which moves its price by more than four daily standard
    /// deviations.
    pub news: u32,
    /// What is played on purpose.
    pub plan: Plan,
}

impl Default for Scenario {
    /// One instrument for 6.5 hours from 9:30 of 5 January 2024 on, with call phases of five minutes,
    /// one piece of news and nothing played.
    fn default() -> Self {
        Self {
            seed: 1,
            start: Time::from_nanos(1_704_446_700_000_000_000),
            call: TimeSpan::from_secs(300),
            trading: TimeSpan::from_secs(23_400),
            instruments: 1,
            agents: Agents::default(),
            pace: 100,
            news: 1,
            plan: Plan::default(),
        }
    }
}

/// How many agents of each kind trade in an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agents {
    /// Market makers: quote both sides around what they think it is worth, lean against their position.
    pub makers: u32,
    /// Noise traders: come without a reason, some often, most seldom. Of the last seven some are
    /// linked: two, three, and two funds of one manager.
    pub noise: u32,
    /// Momentum traders: buy what rises.
    pub momentum: u32,
    /// Mean-reversion traders: buy what has fallen.
    pub reversion: u32,
    /// Institutions: buy or sell much, in slices.
    pub institutions: u32,
    /// Brokers: trade for clients, and for themselves as noise traders do.
    pub brokers: u32,
    /// Clients of each broker: work orders as institutions do, smaller ones.
    pub clients: u32,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            makers: 12,
            noise: 60,
            momentum: 5,
            reversion: 6,
            institutions: 3,
            brokers: 2,
            clients: 3,
        }
    }
}

/// Why a scenario cannot be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// A phase without length.
    #[error("call phases and trading must each last longer than nothing")]
    Times,
    /// Nobody would do anything.
    #[error("the pace must be 1 to 10,000 hundredths")]
    Pace,
    /// Too many instruments or agents.
    #[error(
        "{instruments} instruments of {agents} agents are more than the 65,536 or {AGENTS_MAX} that can be simulated"
    )]
    TooMany {
        /// Instruments.
        instruments: u32,
        /// Agents of each.
        agents: u64,
    },
}

impl Agents {
    pub(super) fn count(&self) -> u64 {
        let own = [
            self.makers,
            self.noise,
            self.momentum,
            self.reversion,
            self.institutions,
            self.brokers,
        ];
        let clients = u64::from(self.brokers) * u64::from(self.clients);
        own.map(u64::from).iter().sum::<u64>() + clients
    }
}

impl Scenario {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        if self.call.nanos() <= 0 || self.trading.nanos() <= 0 {
            return Err(ScenarioError::Times);
        }
        if self.pace == 0 || self.pace > 10_000 {
            return Err(ScenarioError::Pace);
        }
        let agents = self.agents.count() + self.plan.total();
        let all = agents.saturating_add(u64::from(self.news));
        if u64::from(self.instruments).saturating_mul(all) > AGENTS_MAX || self.instruments > 65_536
        {
            let instruments = self.instruments;
            return Err(ScenarioError::TooMany {
                instruments,
                agents,
            });
        }
        Ok(())
    }

    pub(super) fn opens(&self) -> Time {
        self.start.saturating_add(self.call)
    }

    pub(super) fn stops(&self) -> Time {
        self.opens().saturating_add(self.trading)
    }

    pub(super) fn closes(&self) -> Time {
        self.stops().saturating_add(self.call)
    }

    /// How busy the market is, in thousandths of its mean: most at the open and the close.
    pub(super) fn busy(&self, now: Time) -> i64 {
        let gone = i128::from(now.nanos()) - i128::from(self.opens().nanos());
        let part = (gone * 1_000 / i128::from(self.trading.nanos())).clamp(0, 1_000) as i64;
        // A parabola of mean 1: a half in the middle, two at the ends.
        500 + 6 * (part - 500) * (part - 500) / 1_000
    }
}
