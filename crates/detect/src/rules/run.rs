//! A rule as a detector: events in, findings out.
//!
//! Invariant: its state is all that it remembers; saved and loaded it goes on the same.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tapewatch_model::EventTypes;

use super::expr::{Asked, View};
use super::matches::Matches;
use super::rule::{Found, Plan, Rule};
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

#[derive(Clone, Serialize, Deserialize)]
enum State {
    Window(Windows),
    Sequence(Matches),
}

impl State {
    fn of(plan: &Plan) -> Self {
        match plan {
            Plan::Window(_) => Self::Window(Windows::default()),
            Plan::Sequence(_) => Self::Sequence(Matches::default()),
        }
    }
}

impl Runner {
    /// Takes an event of the rule's types.
    #[inline]
    fn event(&mut self, view: &View<'_>, findings: &mut dyn Findings) {
        let sym = view.rows.orders.sym_codes().get(view.row).copied();
        let sym = sym.and_then(|code| view.rows.syms.get(code as usize).copied().flatten());
        let Some(sym) = sym else {
            return; // of another shard
        };
        let (rule, sets) = (&self.rule, &self.sets);
        let mut found = |found: Found<'_>| {
            for &set in sets {
                let spot = Spot {
                    set,
                    row: view.row,
                    entity: found.entity,
                    lookback: found.lookback,
                };
                if findings.at(spot)
                    && let Some(finding) = rule.finding(view, &found)
                {
                    findings.put(spot, finding);
                }
            }
        };
        match (&mut self.state, &rule.plan) {
            (State::Window(state), Plan::Window(plan)) => {
                state.take(plan, (view, sym), &mut found);
            }
            (State::Sequence(state), Plan::Sequence(plan)) => {
                state.take(plan, (view, sym), &mut found);
            }
            _ => {} // a state is made from its plan
        }
    }
}

impl Detector for Runner {
    fn events(&self) -> EventTypes {
        if self.by_step() {
            EventTypes::ALL
        } else {
            self.rule.events()
        }
    }

    fn by_step(&self) -> bool {
        self.asked.market
    }

    fn wants_details(&self) -> bool {
        self.asked.details
    }

    fn apply(&mut self, rows: &Rows<'_>, findings: &mut dyn Findings) {
        let mut wanted = std::mem::take(&mut self.rows);
        rows.of_types(self.rule.events(), &mut wanted);
        for &row in &wanted {
            let view = View {
                rows,
                row: row as usize,
                step: None,
            };
            self.event(&view, findings);
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
            self.event(&view, findings);
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
        // Only a writer that fails can refuse: memory does not.
        postcard::to_stdvec(&self.state).unwrap_or_default()
    }

    fn load(&mut self, saved: &[u8]) -> Result<(), String> {
        self.clear();
        let mut state: State = postcard::from_bytes(saved).map_err(|error| error.to_string())?;
        let fits = match (&mut state, &self.rule.plan) {
            (State::Window(state), Plan::Window(plan)) => state.restore(plan),
            (State::Sequence(state), Plan::Sequence(plan)) => state.restore(plan),
            _ => false,
        };
        if !fits {
            return Err("it is of another rule".to_owned());
        }
        self.state = state;
        Ok(())
    }

    fn overflows(&self) -> u64 {
        match &self.state {
            State::Window(state) => state.overflows,
            State::Sequence(state) => state.overflows(),
        }
    }

    fn entities(&self) -> u64 {
        match &self.state {
            State::Window(state) => state.entities(),
            State::Sequence(state) => state.entities(),
        }
    }
}
