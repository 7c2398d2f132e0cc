//! A rule as a detector: events in, findings out.
//!
//! Invariant: its state is all that it remembers; saved and loaded it goes on the same.

use std::sync::Arc;

use tapewatch_model::EventTypes;

use super::expr::{Asked, View};
use super::matches::Matches;
use super::rule::{Found, Plan, Rule};
use super::sums::Sums;
use super::window::Windows;
use crate::config::ConfigError;
use crate::detector::{Detector, Findings, ParamMap, Rows, Spot};
use crate::reference::Reference;
use crate::step::Step;

/// A detector that runs this rule, under the number of a parameter set.
pub(crate) fn runner(rule: &Arc<Rule>, set: u32) -> Box<dyn Detector> {
    Box::new(Runner {
        rule: Arc::clone(rule),
        asked: rule.asks(),
        sets: vec![set],
        state: State::of(&rule.plan),
        rows: Vec::new(),
    })
}

#[derive(Clone)]
struct Runner {
    rule: Arc<Rule>,
    asked: Asked,
    sets: Vec<u32>,
    state: State,
    /// Rows of the batch, for their memory.
    rows: Vec<u32>,
}

/// What it keeps.
#[derive(Clone)]
enum State {
    Sums(Box<Sums>),
    Window(Box<Windows>),
    Sequence(Box<Matches>),
}

impl State {
    fn of(plan: &Plan) -> Self {
        match plan {
            Plan::Window(rule) => match Sums::of(rule) {
                Some(sums) => Self::Sums(Box::new(sums)),
                None => Self::Window(Box::default()),
            },
            Plan::Sequence(_) => Self::Sequence(Box::default()),
        }
    }

    /// Takes an event of the rule's types in, one by one.
    #[inline]
    fn take(&mut self, plan: &Plan, view: &View<'_>, found: &mut dyn FnMut(Found<'_>)) {
        let Some(sym) = view.sym() else {
            return; // of another shard
        };
        match (self, plan) {
            (Self::Window(state), Plan::Window(plan)) => state.take(plan, (view, sym), found),
            (Self::Sequence(state), Plan::Sequence(plan)) => state.take(plan, (view, sym), found),
            _ => {} // a state is made from its plan
        }
    }
}

/// Tells of a match, to all sets.
fn tell(
    (rule, sets): (&Rule, &[u32]),
    view: &View<'_>,
    found: &Found<'_>,
    findings: &mut dyn Findings,
) {
    for &set in sets {
        let spot = Spot {
            set,
            row: view.row,
            entity: found.entity,
            lookback: found.lookback,
        };
        if findings.at(spot)
            && let Some(finding) = rule.finding(view, found)
        {
            findings.put(spot, finding);
        }
    }
}

impl Detector for Runner {
    fn events(&self) -> EventTypes {
        if self.asked.market {
            EventTypes::ALL
        } else {
            self.rule.events()
        }
    }

    fn by_step(&self) -> Option<EventTypes> {
        self.asked.market.then_some(EventTypes::ALL)
    }

    fn wants_details(&self) -> bool {
        self.asked.details
    }

    fn apply(&mut self, rows: &Rows<'_>, findings: &mut dyn Findings) {
        let mut wanted = std::mem::take(&mut self.rows);
        rows.of_types(self.rule.events(), &mut wanted);
        let told = (&*self.rule, self.sets.as_slice());
        if let (State::Sums(state), Plan::Window(plan)) = (&mut self.state, &self.rule.plan) {
            let mut found = |view: &View<'_>, found: Found<'_>| tell(told, view, &found, findings);
            state.take(plan, (rows, &wanted), &mut found);
        } else {
            for &row in &wanted {
                let view = View {
                    rows,
                    row: row as usize,
                    step: None,
                };
                let mut found = |found: Found<'_>| tell(told, &view, &found, findings);
                self.state.take(&self.rule.plan, &view, &mut found);
            }
        }
        self.rows = wanted;
    }

    fn step(&mut self, step: &Step<'_>, findings: &mut dyn Findings) {
        if self.rule.events().contains(step.kind) {
            let view = View {
                rows: step.rows,
                row: step.row,
                step: Some(step),
            };
            let told = (&*self.rule, self.sets.as_slice());
            let mut found = |found: Found<'_>| tell(told, &view, &found, findings);
            self.state.take(&self.rule.plan, &view, &mut found);
        }
    }

    fn clear(&mut self) {
        self.state = State::of(&self.rule.plan);
    }

    /// Nothing: another text is another rule, which begins empty.
    fn reconfigure(&mut self, _: &ParamMap, _: &Arc<Reference>) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Serves a set of the same rule.
    fn share(&mut self, set: u32, _: &ParamMap) -> Result<bool, ConfigError> {
        self.sets.push(set);
        Ok(true)
    }

    fn copy(&self) -> Box<dyn Detector> {
        Box::new(self.clone())
    }

    fn save(&self) -> Vec<u8> {
        let saved = match &self.state {
            State::Sums(state) => postcard::to_stdvec(&state.save()),
            State::Window(state) => postcard::to_stdvec(state),
            State::Sequence(state) => postcard::to_stdvec(state),
        };
        saved.unwrap_or_default() // only a writer that fails can refuse: memory does not
    }

    fn load(&mut self, saved: &[u8]) -> Result<(), String> {
        self.clear();
        let text = |error: postcard::Error| error.to_string();
        let fits = match (&mut self.state, &self.rule.plan) {
            (State::Sums(state), _) => state.load(postcard::from_bytes(saved).map_err(text)?),
            (State::Window(state), Plan::Window(plan)) => {
                **state = postcard::from_bytes(saved).map_err(text)?;
                state.restore(plan)
            }
            (State::Sequence(state), Plan::Sequence(plan)) => {
                **state = postcard::from_bytes(saved).map_err(text)?;
                state.restore(plan)
            }
            _ => false,
        };
        if !fits {
            self.clear();
            return Err("it is of another rule".to_owned());
        }
        Ok(())
    }

    fn overflows(&self) -> u64 {
        match &self.state {
            State::Sums(state) => state.overflows,
            State::Window(state) => state.overflows,
            State::Sequence(state) => state.overflows(),
        }
    }

    fn entities(&self) -> u64 {
        match &self.state {
            State::Sums(state) => state.entities(),
            State::Window(state) => state.entities(),
            State::Sequence(state) => state.entities(),
        }
    }
}
