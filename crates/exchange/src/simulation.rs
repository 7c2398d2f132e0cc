//! A session that agents trade, event by event in time.
//!
//! Invariant: what happens is a function of the scenario. Things happen in order of time; at the same
//! time, phases before prices before agents, each in order of their numbers. Nothing waits in memory
//! but one wake for each agent.

mod agent;
mod draws;
mod institution;
mod maker;
mod noise;
mod scenario;
mod trend;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tapewatch_model::{Price, Quantity, Time, TimeSpan};

use crate::command::Command;
use crate::event::{Event, EventKind, Party};
use crate::exchange::{Exchange, Instrument};
use crate::market::Phase;
use crate::rules::Rules;
use agent::{Agent, Hand, Kind, Scene};
use draws::Draws;
use institution::Institution;
use maker::Maker;
use noise::Noise;
pub use scenario::{Agents, Scenario, ScenarioError};
use trend::Trend;

const TICK: Price = Price::from_units(10_000_000);
/// Orders that wait in one market.
const ORDERS_MAX: u32 = 1 << 16;
/// Parts of a tick in which worth is kept.
const PARTS: i64 = 64;
const WORTH_MOVES_EVERY: i64 = 1_000_000_000;

/// Who is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Phase(u8),
    Worth(u32),
    Agent(u32),
}

/// What an instrument is worth: a walk with news.
#[derive(Debug, Clone)]
struct Worth {
    parts: i64,
    draws: Draws,
}

/// A session on its way.
#[derive(Debug, Clone)]
pub struct Simulation {
    scenario: Scenario,
    exchange: Exchange,
    lot: Quantity,
    worths: Vec<Worth>,
    agents: Vec<Agent>,
    wakes: BinaryHeap<Reverse<(Time, Who)>>,
    commands: Vec<Command>,
}

impl Simulation {
    /// A session that has not begun.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn new(scenario: Scenario) -> Result<Self, ScenarioError> {
        scenario.check()?;
        let lot = Quantity::from_whole(1).unwrap_or_default();
        let mut simulation = Self {
            scenario,
            exchange: Exchange::default(),
            lot,
            worths: Vec::new(),
            agents: Vec::new(),
            wakes: BinaryHeap::new(),
            commands: Vec::new(),
        };
        for number in 0..scenario.instruments {
            simulation.list(number);
        }
        let starts = [
            scenario.start,
            scenario.opens(),
            scenario.stops(),
            scenario.closes(),
        ];
        for (phase, time) in (0..).zip(starts) {
            simulation.wakes.push(Reverse((time, Who::Phase(phase))));
        }
        Ok(simulation)
    }

    /// The venue as it is now.
    #[must_use]
    pub const fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Does what happens next, adds its events to `events` and says when it happened; `None` when the
    /// session is over. Many wakes pass without an event.
    pub fn next(&mut self, events: &mut Vec<Event>) -> Option<Time> {
        let Reverse((now, who)) = self.wakes.pop()?;
        match who {
            Who::Phase(phase) => self.begin(phase, events),
            Who::Worth(number) => self.move_worth(now, number),
            Who::Agent(number) => self.wake(now, number, events),
        }
        Some(now)
    }

    fn begin(&mut self, phase: u8, events: &mut Vec<Event>) {
        let first = events.len();
        let phase = match phase {
            0 => Phase::OpeningCall,
            1 => Phase::Continuous,
            2 => Phase::ClosingCall,
            _ => Phase::Closed,
        };
        self.exchange.begin_all(phase, events);
        self.note(events.get(first..).unwrap_or_default());
        if phase == Phase::Closed {
            self.wakes.clear();
        }
    }

    fn move_worth(&mut self, now: Time, number: u32) {
        let Some(worth) = self.worths.get_mut(number as usize) else {
            return;
        };
        let draws = &mut worth.draws;
        let mut step = draws.below(2 * 32 + 1) as i64 - 32;
        if draws.chance(2) {
            step = draws.below(2 * 10 + 1) as i64 * PARTS - 10 * PARTS;
        }
        worth.parts = (worth.parts + step).max(100 * PARTS);
        let wait = draws.wait(WORTH_MOVES_EVERY);
        self.sleep(now, wait, Who::Worth(number));
    }

    fn wake(&mut self, now: Time, number: u32, events: &mut Vec<Event>) {
        let Some(agent) = self.agents.get_mut(number as usize) else {
            return;
        };
        let instrument = agent.instrument;
        let (Some(market), Some(worth)) = (
            self.exchange.market(instrument),
            self.worths.get(instrument.0 as usize),
        ) else {
            return;
        };
        let scene = Scene {
            market,
            worth: worth.parts / PARTS,
        };
        self.commands.clear();
        let mean = agent.act(&scene, &mut self.commands);
        let mean = mean.saturating_mul(1_000) / self.scenario.busy(now);
        let wait = agent.draws.wait(mean);
        let first = events.len();
        for command in &self.commands {
            self.exchange.submit(instrument, *command, events);
        }
        self.note(events.get(first..).unwrap_or_default());
        self.sleep(now, wait, Who::Agent(number));
    }

    fn sleep(&mut self, now: Time, wait: i64, who: Who) {
        // Nobody does two things at once.
        let wait = TimeSpan::from_nanos(wait.max(1));
        self.wakes.push(Reverse((now.saturating_add(wait), who)));
    }

    /// Tells agents what they bought and sold.
    fn note(&mut self, events: &[Event]) {
        for event in events {
            if let EventKind::Executed {
                buy,
                sell,
                quantity,
                ..
            } = event.kind
            {
                let lots = quantity.units() / self.lot.units().max(1);
                let mut add = |party: Party, lots: i64| {
                    if let Some(agent) = self.agents.get_mut(party.owner as usize) {
                        agent.hand.position = agent.hand.position.saturating_add(lots);
                    }
                };
                add(buy, lots);
                add(sell, -lots);
            }
        }
    }

    /// Lists one instrument and lets its agents in.
    fn list(&mut self, number: u32) {
        let seed = self.scenario.seed;
        // Agents have the streams below.
        let mut draws = Draws::new(seed, 1 << 32 | u64::from(number));
        let ticks = 2_000 + draws.below(20_000) as i64;
        let reference = Price::from_units(ticks * TICK.units());
        let rules = Rules::new(TICK, self.lot, Some(reference), ORDERS_MAX);
        let listed = rules.ok().map(|rules| self.exchange.list(rules));
        let Some(Ok(instrument)) = listed else {
            unreachable!(
                "a reference price of whole ticks, and as many instruments as were checked"
            );
        };
        let parts = ticks * PARTS;
        self.worths.push(Worth { parts, draws });
        self.sleep(self.scenario.start, 1, Who::Worth(number));
        let agents = self.scenario.agents;
        let maker = |draws: &mut Draws| {
            let half_spread = 1 + draws.below(3) as i64;
            Kind::Maker(Maker { half_spread })
        };
        let trend = |follows: bool| {
            move |draws: &mut Draws| {
                Kind::Trend(Trend {
                    follows,
                    threshold: 5 + draws.below(8) as i64,
                    memory: 4 + draws.below(3) as u32,
                    mean: None,
                })
            }
        };
        self.enlist(instrument, agents.makers, maker);
        self.enlist(instrument, agents.noise, |_| Kind::Noise(Noise));
        self.enlist(instrument, agents.momentum, trend(true));
        self.enlist(instrument, agents.reversion, trend(false));
        self.enlist(instrument, agents.institutions, |_| {
            Kind::Institution(Institution::default())
        });
    }

    fn enlist(
        &mut self,
        instrument: Instrument,
        count: u32,
        mut kind: impl FnMut(&mut Draws) -> Kind,
    ) {
        for _ in 0..count {
            let owner = self.agents.len() as u32;
            let mut draws = Draws::new(self.scenario.seed, u64::from(owner));
            let kind = kind(&mut draws);
            let first = draws.below(self.scenario.call.nanos().unsigned_abs());
            self.agents.push(Agent {
                instrument,
                draws,
                hand: Hand::new(owner),
                kind,
            });
            self.sleep(self.scenario.start, first as i64, Who::Agent(owner));
        }
    }
}
