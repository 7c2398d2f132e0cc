//! A session that agents trade, event by event in time.
//!
//! Invariant: what happens is a function of the scenario. Things happen in order of time; at the same
//! time, phases before news before prices before those who trade, each in order of their numbers.
//! Nothing waits in memory but one look and one line for each of them.

mod agent;
mod crowd;
mod draws;
mod institution;
mod line;
mod maker;
mod news;
mod noise;
mod pulse;
mod scenario;
mod stage;
mod tables;
mod trend;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tapewatch_model::{Price, Quantity, Side, Time};

use crate::accounts::Accounts;
use crate::command::Command;
use crate::event::{Event, EventKind};
use crate::exchange::{Exchange, Instrument};
use crate::label::Label;
use crate::market::{Market, Phase};
use crate::rules::Rules;
use crate::script::Script;
use agent::{Agent, Hand, Kind, Scene};
pub(crate) use crowd::Crowd;
pub(crate) use draws::Draws;
pub(crate) use line::{Line, after};
pub use news::News;
pub(crate) use pulse::{PARTS, Pulse};
pub use scenario::{Agents, Scenario, ScenarioError};

const TICK: Price = Price::from_units(10_000_000);
/// The highest price that trading begins at, in ticks.
const TICKS_MAX: i64 = 1_000_000;
/// Orders that wait in one market.
const ORDERS_MAX: u32 = 1 << 16;
const WORTH_MOVES_EVERY: i64 = 1_000_000_000;
/// How long after a fill a maker looks, on average.
const REACTS_AFTER: i64 = 2_000_000;

/// Streams of random numbers: an agent's has its number; these have the instrument's, and these bits.
const PULSE_STREAM: u64 = 1 << 32;
const NEWS_STREAM: u64 = 2 << 32;
const SCRIPT_STREAM: u64 = 1 << 62;

/// Who is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Phase(u8),
    Resume(u32),
    News(u32),
    Worth(u32),
    Arrival(u32),
    Agent(u32),
    Script(u32),
}

/// A session on its way.
#[derive(Debug)]
pub struct Simulation {
    scenario: Scenario,
    exchange: Exchange,
    lot: Quantity,
    accounts: Accounts,
    /// One an instrument.
    pulses: Vec<Pulse>,
    news: Vec<News>,
    /// By number; the numbers of scripts follow those of agents.
    agents: Vec<Agent>,
    scripts: Vec<Script>,
    labels: Vec<Label>,
    attempts: Vec<Label>,
    wakes: BinaryHeap<Reverse<(Time, Who)>>,
    commands: Vec<Command>,
}

impl Simulation {
    /// A session that has not begun.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn new(scenario: Scenario) -> Result<Self, ScenarioError> {
        Self::after(scenario, &[])
    }

    /// The same of instruments that have traded before: `last` are their last prices in the order of
    /// their numbers, as [`Simulation::prices`] gives them. The seed says those of the others.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn after(scenario: Scenario, last: &[Price]) -> Result<Self, ScenarioError> {
        scenario.check()?;
        let lot = Quantity::from_whole(1).unwrap_or_default();
        let mut simulation = Self {
            scenario,
            exchange: Exchange::default(),
            lot,
            accounts: Accounts::default(),
            pulses: Vec::new(),
            news: Vec::new(),
            agents: Vec::new(),
            scripts: Vec::new(),
            labels: Vec::new(),
            attempts: Vec::new(),
            wakes: BinaryHeap::new(),
            commands: Vec::new(),
        };
        let mut crowds = Vec::new();
        for number in 0..scenario.instruments {
            let instrument = simulation.list(number, last.get(number as usize));
            simulation.announce(instrument);
            crowds.push(simulation.populate(instrument));
        }
        simulation
            .news
            .sort_by_key(|news| (news.time, news.instrument));
        for (number, news) in (0..).zip(&simulation.news) {
            simulation
                .wakes
                .push(Reverse((news.time, Who::News(number))));
        }
        for (number, crowd) in (0..).zip(&crowds) {
            simulation.cast(Instrument(number), crowd);
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

    /// The last prices of the instruments, in the order of their numbers.
    #[must_use]
    pub fn prices(&self) -> Vec<Price> {
        self.exchange
            .markets()
            .filter_map(Market::reference)
            .collect()
    }

    /// Who stands behind the codes in the events.
    #[must_use]
    pub const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The news of the session, in order of time: known from its start to whoever asks here, and to no
    /// honest trader.
    #[must_use]
    pub fn news(&self) -> &[News] {
        &self.news
    }

    /// What was carried out of the plan so far, in order of its beginning.
    #[must_use]
    pub fn labels(&self) -> Vec<Label> {
        sorted(&self.labels)
    }

    /// What of the plan was tried so far and came to nothing that a detector should find it by, in order
    /// of its beginning: to find it is neither right nor wrong.
    #[must_use]
    pub fn attempts(&self) -> Vec<Label> {
        sorted(&self.attempts)
    }

    /// Does what happens next, adds its events to `events` and says when it happened; `None` when the
    /// session is over. Many steps pass without an event.
    pub fn next(&mut self, events: &mut Vec<Event>) -> Option<Time> {
        let Reverse((now, who)) = self.wakes.pop()?;
        match who {
            Who::Phase(phase) => self.begin(now, phase, events),
            Who::Resume(number) => self.resume(now, Instrument(number), events),
            Who::News(number) => self.break_news(number),
            Who::Worth(number) => self.move_worth(now, number),
            Who::Arrival(number) => self.arrive(now, number, events),
            Who::Agent(number) => self.look(now, number),
            Who::Script(number) => self.play(now, number, events),
        }
        Some(now)
    }

    fn begin(&mut self, now: Time, phase: u8, events: &mut Vec<Event>) {
        let first = events.len();
        let phase = match phase {
            0 => Phase::OpeningCall,
            1 => Phase::Continuous,
            2 => Phase::ClosingCall,
            _ => Phase::Closed,
        };
        self.exchange.begin_all(phase, events);
        self.note(now, events.get(first..).unwrap_or_default());
        if phase == Phase::Closed {
            self.wakes.clear();
        }
    }

    fn move_worth(&mut self, now: Time, number: u32) {
        let Some(pulse) = self.pulses.get_mut(number as usize) else {
            return;
        };
        let market = self.exchange.market(Instrument(number));
        let middle = market.and_then(|market| {
            let best = |side| market.book().best_price(side);
            let (bid, ask) = (best(Side::Buy)?, best(Side::Sell)?);
            let continuous = market.phase() == Phase::Continuous;
            continuous.then(|| (bid.units() + ask.units()) * (PARTS / 2) / TICK.units())
        });
        pulse.step(middle);
        let wait = pulse.draws.wait(WORTH_MOVES_EVERY);
        self.wake(now, wait, Who::Worth(number));
    }

    fn break_news(&mut self, number: u32) {
        if let Some(news) = self.news.get(number as usize)
            && let Some(pulse) = self.pulses.get_mut(news.instrument.0 as usize)
        {
            pulse.jump(news.parts);
        }
    }

    /// An agent looks, and sends.
    fn look(&mut self, now: Time, number: u32) {
        let Some(agent) = self.agents.get_mut(number as usize) else {
            return;
        };
        let instrument = agent.instrument;
        let (Some(market), Some(pulse)) = (
            self.exchange.market(instrument),
            self.pulses.get(instrument.0 as usize),
        ) else {
            return;
        };
        if agent.looks != now {
            return;
        }
        let scene = Scene {
            market,
            fair: pulse.fair(),
            sigma: pulse.sigma(),
        };
        self.commands.clear();
        let mean = i128::from(agent.act(&scene, &mut self.commands));
        let busy = i128::from(self.scenario.busy(now)) * i128::from(pulse.heat());
        let busy = (busy * i128::from(self.scenario.pace)).max(1);
        let wait = agent.draws.wait((mean * 100_000_000 / busy) as i64);
        let mut arrives = None;
        for command in &self.commands {
            let first = agent.line.send(now, &mut agent.draws, instrument, *command);
            arrives = arrives.or(first);
        }
        let free = agent.line.busy_until().unwrap_or(now);
        agent.looks = after(now, wait.max(1)).max(after(free, 1));
        let looks = agent.looks;
        if let Some(arrives) = arrives {
            self.wakes.push(Reverse((arrives, Who::Arrival(number))));
        }
        self.wakes.push(Reverse((looks, Who::Agent(number))));
    }

    /// A command of an agent or a script reaches the venue.
    fn arrive(&mut self, now: Time, number: u32, events: &mut Vec<Event>) {
        let of_script = (number as usize).wrapping_sub(self.agents.len());
        let line = match self.agents.get_mut(number as usize) {
            Some(agent) => &mut agent.line,
            None => match self.scripts.get_mut(of_script) {
                Some(script) => &mut script.line,
                None => return,
            },
        };
        let (command, next) = line.arrive();
        if let Some(next) = next {
            self.wakes.push(Reverse((next, Who::Arrival(number))));
        }
        if let Some((instrument, command)) = command {
            let first = events.len();
            self.exchange.submit(instrument, command, events);
            self.note(now, events.get(first..).unwrap_or_default());
        }
    }

    fn wake(&mut self, now: Time, wait: i64, who: Who) {
        // Nobody does two things at once.
        self.wakes.push(Reverse((after(now, wait.max(1)), who)));
    }

    /// Tells those whom it concerns what happened.
    fn note(&mut self, now: Time, events: &[Event]) {
        for event in events {
            match event.kind {
                EventKind::Executed {
                    buy,
                    sell,
                    aggressor,
                    quantity,
                    ..
                } => {
                    let lots = quantity.units() / self.lot.units().max(1);
                    let taker = match aggressor {
                        Some(Side::Buy) => buy.order,
                        _ => sell.order,
                    };
                    let taker = self.agents.get((taker.0 >> 32) as usize);
                    let maker = taker.is_some_and(|agent| matches!(agent.kind, Kind::Maker(_)));
                    if let Some(pulse) = self.pulses.get_mut(event.instrument.0 as usize) {
                        pulse.traded(aggressor, lots, !maker);
                    }
                    self.note_fill(now, buy.order, lots);
                    self.note_fill(now, sell.order, -lots);
                    self.note_scripts(now, [buy.order, sell.order], event);
                }
                EventKind::Crossed(cross) => self.note_scripts(now, [cross.buy; 2], event),
                EventKind::Accepted(new) => self.note_scripts(now, [new.order; 2], event),
                EventKind::Refused { order, .. } | EventKind::Cancelled { order, .. } => {
                    self.note_scripts(now, [order; 2], event);
                }
                EventKind::Rested { .. }
                | EventKind::Amended { .. }
                | EventKind::Uncrossed { .. }
                | EventKind::PhaseBegan(_) => {}
            }
        }
    }

    /// An agent has bought or sold; makers look soon after.
    fn note_fill(&mut self, now: Time, order: tapewatch_model::OrderKey, lots: i64) {
        let number = (order.0 >> 32) as u32;
        let Some(agent) = self.agents.get_mut(number as usize) else {
            return;
        };
        agent.hand.position = agent.hand.position.saturating_add(lots);
        if !matches!(agent.kind, Kind::Maker(_)) {
            return;
        }
        let free = agent.line.busy_until().unwrap_or(now);
        let soon = after(now, agent.draws.wait(REACTS_AFTER).max(1)).max(after(free, 1));
        if soon < agent.looks {
            agent.looks = soon;
            self.wakes.push(Reverse((soon, Who::Agent(number))));
        }
    }

    /// Lists one instrument, at the price that it last had.
    fn list(&mut self, number: u32, last: Option<&Price>) -> Instrument {
        let mut draws = Draws::new(self.scenario.seed, PULSE_STREAM | u64::from(number));
        let drawn = draws.between(8_000, 20_000);
        let ticks = last
            .map_or(drawn, |last| last.units() / TICK.units())
            .clamp(100, TICKS_MAX);
        let reference = Price::from_units(ticks * TICK.units());
        let rules = Rules::new(TICK, self.lot, Some(reference), ORDERS_MAX);
        let listed = rules.ok().map(|rules| self.exchange.list(rules));
        let Some(Ok(instrument)) = listed else {
            unreachable!(
                "a reference price of whole ticks, and as many instruments as were checked"
            );
        };
        self.pulses.push(Pulse::new(draws, ticks));
        self.wake(self.scenario.start, 1, Who::Worth(number));
        instrument
    }

    /// Lets one agent in and says his account.
    fn enlist(
        &mut self,
        instrument: Instrument,
        latency: i64,
        kind: impl FnOnce(&mut Draws) -> Kind,
    ) -> u32 {
        let number = self.agents.len() as u32;
        let account = self.accounts.open();
        let mut draws = Draws::new(self.scenario.seed, u64::from(number));
        let kind = kind(&mut draws);
        let first = draws.below(self.scenario.call.nanos().unsigned_abs());
        let line = Line::new(draws.between(latency / 2, latency * 2));
        let looks = after(self.scenario.start, first.max(1) as i64);
        self.agents.push(Agent {
            instrument,
            draws,
            hand: Hand::new(number, account),
            kind,
            line,
            away: false,
            looks,
        });
        self.wakes.push(Reverse((looks, Who::Agent(number))));
        account
    }
}

fn sorted(labels: &[Label]) -> Vec<Label> {
    let mut labels = labels.to_vec();
    labels.sort_by_key(|label| (label.from, label.instrument, label.pattern, label.to));
    labels
}
