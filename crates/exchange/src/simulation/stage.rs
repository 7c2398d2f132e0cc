//! Where scripts are cast and run.
//!
//! Invariant: what a script draws depends on the seed, its pattern, its number and its instrument, not on
//! what else is played. Scripts speak to the market by their lines alone.

use std::cmp::Reverse;

use tapewatch_model::{OrderKey, Time};

use super::{Crowd, Draws, Line, SCRIPT_STREAM, Simulation, TICK, Who, after};
use crate::event::Event;
use crate::exchange::Instrument;
use crate::market::Phase;
use crate::pattern::Pattern;
use crate::script::{Brief, Desk, Script, View};
use crate::{abuse, near_miss};

/// How long a script's commands are on their way, and news of its orders, in nanoseconds.
const LATENCY: (i64, i64) = (80_000, 900_000);
const NOTICE: (i64, i64) = (30_000, 300_000);

impl Simulation {
    /// Finds players for what the plan says of an instrument.
    pub(super) fn cast(&mut self, instrument: Instrument, crowd: &Crowd) {
        let scenario = self.scenario;
        let news = self
            .news
            .iter()
            .filter(|news| news.instrument == instrument);
        let news: Vec<(Time, _)> = news.map(|news| (news.time, news.side())).collect();
        let opens = scenario.opens();
        let since = |(time, _): &(Time, _)| time.nanos() - opens.nanos();
        let times: Vec<i64> = news.iter().map(since).collect();
        for pattern in Pattern::all() {
            let (cast, when, play) = match pattern {
                Pattern::Abuse(abuse) => abuse::direct(abuse),
                Pattern::NearMiss(miss) => near_miss::direct(miss),
            };
            let count = scenario.plan.count(pattern);
            for at in 0..count {
                let stream =
                    (pattern.number() as u64) << 48 | u64::from(at) << 32 | u64::from(instrument.0);
                let mut draws = Draws::new(scenario.seed, SCRIPT_STREAM | stream);
                let accounts = cast.choose(crowd, &mut draws);
                let trading = scenario.trading.nanos();
                let begins = when.choose((at, count), trading, &times, &mut draws);
                let (Some(begins), false) = (begins, accounts.is_empty()) else {
                    continue;
                };
                let other = Instrument((instrument.0 + 1) % scenario.instruments.max(1));
                let number = (self.agents.len() + self.scripts.len()) as u32;
                let line = Line::new(draws.between(LATENCY.0, LATENCY.1));
                let desk = Desk::new(Brief {
                    number,
                    pattern,
                    intensity: scenario.plan.intensity,
                    accounts,
                    instruments: if other == instrument {
                        vec![instrument]
                    } else {
                        vec![instrument, other]
                    },
                    stops: scenario.stops(),
                    news: news.get(usize::from(at)).copied(),
                    tick: TICK.units(),
                    lot: self.lot.units(),
                    draws,
                });
                let script = self.scripts.len() as u32;
                self.scripts
                    .push(Script::new(play(desk.clone()), desk, line, cast.is_alone()));
                let begins = after(opens, begins);
                self.wakes.push(Reverse((begins, Who::Script(script))));
            }
        }
    }

    /// A script goes on.
    pub(super) fn play(&mut self, now: Time, number: u32, events: &mut Vec<Event>) {
        let Some(script) = self.scripts.get_mut(number as usize) else {
            return;
        };
        if script.is_over() {
            return;
        }
        script.desk.with(|state| {
            state.now = now;
            for (view, instrument) in state.views.iter_mut().zip(&state.brief.instruments) {
                let pulse = self.pulses.get(instrument.0 as usize);
                if let Some((market, pulse)) = self.exchange.market(*instrument).zip(pulse) {
                    *view = View::of(market, pulse);
                }
            }
        });
        let wish = script.poll(now);
        if script.alone {
            let away = !script.is_over();
            let accounts = script.desk.with(|state| state.brief.accounts.clone());
            self.excuse(now, &accounts, away);
        }
        let Some(script) = self.scripts.get_mut(number as usize) else {
            return;
        };
        if let Some(wish) = wish {
            self.wakes.push(Reverse((wish, Who::Script(number))));
        }
        let line = &mut script.line;
        let (arrives, halt, own) = script.desk.with(|state| {
            let mut arrives = None;
            for (instrument, command) in state.out.drain(..) {
                let first = line.send(now, &mut state.brief.draws, instrument, command);
                arrives = arrives.or(first);
            }
            self.labels.append(&mut state.labels);
            self.attempts.append(&mut state.attempts);
            let own = state.brief.instruments.first().copied();
            (arrives, state.halt.take(), own)
        });
        if let Some(arrives) = arrives {
            let line = self.agents.len() as u32 + number;
            self.wakes.push(Reverse((arrives, Who::Arrival(line))));
        }
        if let Some((halt, instrument)) = halt.zip(own) {
            self.halt(now, instrument, halt, events);
        }
    }

    /// Lets the honest agents of some accounts do nothing, from now on or no more. What they have in the
    /// market goes.
    fn excuse(&mut self, now: Time, accounts: &[u32], away: bool) {
        for account in accounts {
            // An agent's account has its number.
            let Some(agent) = self.agents.get_mut(*account as usize) else {
                continue;
            };
            if away && !agent.away {
                let free = agent.line.busy_until().unwrap_or(now);
                agent.looks = after(now.max(free), 1);
                self.wakes
                    .push(Reverse((agent.looks, Who::Agent(*account))));
            }
            agent.away = away;
        }
    }

    fn halt(&mut self, now: Time, instrument: Instrument, nanos: i64, events: &mut Vec<Event>) {
        let market = self.exchange.market(instrument);
        let trades = market.is_some_and(|market| market.phase() == Phase::Continuous);
        let resumes = after(now, nanos.max(1));
        if !trades || resumes >= self.scenario.stops() {
            return;
        }
        self.begin_one(now, instrument, Phase::Halted, events);
        self.wakes
            .push(Reverse((resumes, Who::Resume(instrument.0))));
    }

    /// A halt is over.
    pub(super) fn resume(&mut self, now: Time, instrument: Instrument, events: &mut Vec<Event>) {
        let market = self.exchange.market(instrument);
        if market.is_some_and(|market| market.phase() == Phase::Halted) {
            self.begin_one(now, instrument, Phase::Continuous, events);
        }
    }

    fn begin_one(
        &mut self,
        now: Time,
        instrument: Instrument,
        phase: Phase,
        events: &mut Vec<Event>,
    ) {
        let first = events.len();
        if self.exchange.begin(instrument, phase, events).is_ok() {
            self.note(now, events.get(first..).unwrap_or_default());
        }
    }

    /// Tells scripts what happened to their orders.
    pub(super) fn note_scripts(&mut self, now: Time, orders: [OrderKey; 2], event: &Event) {
        let mut told = None;
        for order in orders {
            let number = (order.0 >> 32) as usize;
            let Some(at) = number.checked_sub(self.agents.len()) else {
                continue;
            };
            if told == Some(at) {
                continue;
            }
            told = Some(at);
            let Some(script) = self.scripts.get_mut(at) else {
                continue;
            };
            let notice = script.desk.with(|state| {
                let tell = state.note(&event.kind);
                tell.then(|| state.brief.draws.between(NOTICE.0, NOTICE.1))
            });
            if let Some(notice) = notice.filter(|_| !script.is_over()) {
                self.wakes
                    .push(Reverse((after(now, notice), Who::Script(at as u32))));
            }
        }
    }
}
