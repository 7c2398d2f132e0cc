//! Sequence rules, as they are written: steps one after another, and what must not happen between.
//!
//! Invariant: a rule that was read begins with a step that is no `not`, has at most [`STEPS_MAX`]
//! steps, and every match of it ends: its whole length is limited in time.

use tapewatch_model::{EventTypes, TimeSpan};

use super::check::{Scope, condition, number};
use super::document::{Fields, Item, inside};
use super::expr::{Asked, Column, DAY, Expr, Type};
use super::groups::Grouping;
use super::ring::{Aggregate, Fold};
use super::rule::{Measure, Params, events, free_word, measures};
use super::syntax::{Wrong, read};
use super::window::aggregate;

/// Most steps.
const STEPS_MAX: usize = 16;
/// Longest match.
const WITHIN_MAX: i64 = 31 * DAY;
/// For how long a match that only waits for its key's next event is kept.
const WAIT_MAX: i64 = DAY;

/// A sequence rule, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SequenceRule {
    pub(super) events: EventTypes,
    pub(super) key: Grouping,
    pub(super) within: TimeSpan,
    pub(super) steps: Vec<Step>,
    pub(super) measures: Vec<Measure>,
    pub(super) condition: Option<Expr>,
    /// Of the measures, and behind them what steps keep.
    pub(super) slots: usize,
    pub(super) asked: Asked,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: &'static str,
    /// Whether it must not happen.
    pub(super) not: bool,
    pub(super) events: EventTypes,
    pub(super) filter: Option<Expr>,
    /// No later than so many nanoseconds after the step before it began.
    pub(super) within: Option<i64>,
    /// Whether it takes several events.
    pub(super) many: bool,
    pub(super) enough: Option<Expr>,
    /// Columns of its first event that are asked for later, by slot.
    pub(super) keeps: Vec<(usize, Column)>,
    /// What its events add up to, by slot.
    pub(super) totals: Vec<(usize, Aggregate)>,
    /// Whether its orders are asked for later.
    pub(super) keeps_orders: bool,
}

impl SequenceRule {
    /// Reads the table `sequence` and the steps of a rule.
    pub(super) fn read(fields: &Fields<'_>, params: &Params) -> Result<Self, Wrong> {
        let item = fields.need("sequence")?;
        let sequence = Fields::of(item, "sequence", &["key", "within", "condition"])?;
        let key = Grouping::read(sequence.need("key")?, "key")?;
        let span = sequence.need("within")?;
        let within = sequence.span("within")?.unwrap_or(TimeSpan::ZERO);
        if within.nanos() > WITHIN_MAX {
            return Err(Wrong::new(span.at, "within is longer than 31 days"));
        }
        let steps = fields.need("step")?;
        let mut draft = Draft {
            params,
            steps: Vec::new(),
            slots: fields.entries("measures")?.len(),
            measures: Vec::new(),
            own: Own::Whole,
        };
        for item in steps.list("step")? {
            draft.read_step(item)?;
        }
        draft.check_order(steps)?;
        draft.own = Own::Whole;
        let mut measures = measures(fields, params, |name, item| {
            let read = number(item.text(name)?, &mut draft).map_err(inside(item))?;
            draft.measures.push(name.to_owned());
            Ok(read)
        })?;
        let condition = match sequence.get("condition") {
            None => None,
            Some(item) => {
                Some(condition(item.text("condition")?, &mut draft).map_err(inside(item))?)
            }
        };
        for (slot, measure) in measures.iter_mut().enumerate() {
            let threshold = condition.as_ref().and_then(|one| one.threshold(slot));
            measure.threshold = threshold.unwrap_or_default();
        }
        let Draft { steps, slots, .. } = draft;
        let mut steps: Vec<Step> = steps.into_iter().map(|(step, _)| step).collect();
        keep_orders(&mut steps);
        let events = steps.iter().map(|step| step.events);
        Ok(Self {
            events: events.fold(EventTypes::NONE, EventTypes::union),
            key,
            within,
            asked: steps
                .iter()
                .fold(key.asks(), |asked, step| asked.with(step.asks())),
            steps,
            measures,
            condition,
            slots,
        })
    }

    /// For how long a key matters after its last event, in nanoseconds.
    pub(super) fn kept(&self) -> i64 {
        let wait = self.steps.last().filter(|step| step.not);
        let wait = wait.and_then(|step| step.within);
        let wait = wait.map_or(0, |wait| wait.saturating_add(WAIT_MAX));
        self.within.nanos().saturating_add(wait)
    }

    /// The place of the step behind `at` that must happen; `None` when there is none.
    pub(super) fn next(&self, at: usize) -> Option<usize> {
        let mut behind = self.steps.iter().enumerate().skip(at + 1);
        behind.find(|(_, step)| !step.not).map(|(place, _)| place)
    }
}

/// Marks the steps whose orders are asked for.
fn keep_orders(steps: &mut [Step]) {
    let mut asked = Vec::new();
    for expr in steps
        .iter()
        .flat_map(|step| step.filter.iter().chain(&step.enough))
    {
        expr.visit(&mut |inner| {
            if let Expr::OrderIn(step) = inner {
                asked.push(*step);
            }
        });
    }
    for place in asked {
        if let Some(step) = steps.get_mut(place) {
            step.keeps_orders = true;
        }
    }
}

impl Step {
    fn asks(&self) -> Asked {
        let totals = self.totals.iter();
        let of_totals = totals.flat_map(|(_, one)| one.value.iter().chain(&one.filter));
        let exprs = of_totals.chain(&self.filter).chain(&self.enough);
        let asked = exprs
            .map(Expr::asks)
            .chain(self.keeps.iter().map(|(_, column)| column.asks()));
        asked.fold(Asked::default(), Asked::with)
    }

    fn names_total(&self, name: &str, names: &[(usize, String)]) -> Option<usize> {
        let mut totals = self.totals.iter().map(|(slot, _)| *slot);
        totals.find(|slot| names.iter().any(|(of, known)| of == slot && known == name))
    }
}

/// From where names are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    /// A step: itself and what must happen before it can be named, and columns of its event.
    Step(usize),
    /// The values that a step's events add up to.
    Totals,
    /// The whole match, when it is complete: all steps that must happen.
    Whole,
}

/// A rule that is being read.
struct Draft<'a> {
    params: &'a Params,
    steps: Vec<(Step, Vec<(usize, String)>)>,
    slots: usize,
    measures: Vec<String>,
    own: Own,
}

impl Draft<'_> {
    fn read_step(&mut self, item: &Item) -> Result<(), Wrong> {
        const KEYS: [&str; 7] = [
            "name", "events", "where", "within", "not", "measures", "enough",
        ];
        let fields = Fields::of(item, "a step", &KEYS)?;
        let name_item = fields.need("name")?;
        let name = free_word(name_item.text("name")?, name_item.at, "step")?;
        if self.steps.iter().any(|(step, _)| step.name == name) {
            return Err(Wrong::new(
                name_item.at,
                format!("step {name:?} is there twice"),
            ));
        }
        if self.steps.len() >= STEPS_MAX {
            return Err(Wrong::new(item.at, format!("more than {STEPS_MAX} steps")));
        }
        let own = self.steps.len();
        let (totals, names) = self.read_totals(&fields)?;
        let step = Step {
            name,
            not: fields.truth("not")?,
            events: events(&fields)?,
            filter: None,
            within: fields.span("within")?.map(TimeSpan::nanos),
            many: !totals.is_empty() || fields.get("enough").is_some(),
            enough: None,
            keeps: Vec::new(),
            totals,
            keeps_orders: false,
        };
        self.steps.push((step, names));
        self.own = Own::Step(own);
        let filter = self.read_condition(&fields, "where")?;
        let enough = self.read_condition(&fields, "enough")?;
        if let Some((step, _)) = self.steps.get_mut(own) {
            step.filter = filter;
            step.enough = enough;
        }
        Ok(())
    }

    fn read_condition(&mut self, fields: &Fields<'_>, key: &str) -> Result<Option<Expr>, Wrong> {
        let Some(item) = fields.get(key) else {
            return Ok(None);
        };
        condition(item.text(key)?, self)
            .map(Some)
            .map_err(inside(item))
    }

    #[expect(clippy::type_complexity, reason = "two lists, by slot")]
    fn read_totals(
        &mut self,
        fields: &Fields<'_>,
    ) -> Result<(Vec<(usize, Aggregate)>, Vec<(usize, String)>), Wrong> {
        self.own = Own::Totals;
        let (mut totals, mut names) = (Vec::new(), Vec::<(usize, String)>::new());
        for entry in fields.entries("measures")? {
            let name = super::rule::word(&entry.key, entry.at, "measure")?;
            if names.iter().any(|(_, known)| known == name) {
                return Err(Wrong::new(entry.at, format!("{name:?} is there twice")));
            }
            let ast = read(entry.item.text(name)?).map_err(inside(&entry.item))?;
            let total = aggregate(&ast, self).map_err(inside(&entry.item))?;
            if total.fold == Fold::Distinct {
                let reason = "a step counts no distinct values: a window rule does";
                return Err(Wrong::new(entry.item.at, reason));
            }
            names.push((self.slots, name.to_owned()));
            totals.push((self.slots, total));
            self.slots += 1;
        }
        Ok((totals, names))
    }

    fn check_order(&self, item: &Item) -> Result<(), Wrong> {
        let wrong = |reason: String| Err(Wrong::new(item.at, reason));
        match self.steps.first() {
            _ if self.steps.len() < 2 => {
                return wrong("a sequence has at least two steps".to_owned());
            }
            Some((first, _)) if first.not || first.within.is_some() => {
                return wrong("the first step cannot be a `not`, and has no within".to_owned());
            }
            _ => {}
        }
        let last = self.steps.len() - 1;
        for (place, (step, _)) in self
            .steps
            .iter()
            .enumerate()
            .filter(|(_, (step, _))| step.not)
        {
            let name = step.name;
            if place == last && step.within.is_none() {
                return wrong(format!("step {name}: a `not` at the end needs a within"));
            }
            let before = place
                .checked_sub(1)
                .and_then(|before| self.steps.get(before));
            if place == last && before.is_some_and(|(before, _)| before.not) {
                return wrong(format!("step {name}: at the end stands at most one `not`"));
            }
            if place != last && step.within.is_some() {
                return wrong(format!(
                    "step {name}: a `not` between steps lasts until the next step and has no within"
                ));
            }
        }
        Ok(())
    }

    /// Whether a step can be named from where names are asked for.
    fn can_see(&self, place: usize) -> bool {
        let not = self.steps.get(place).is_some_and(|(step, _)| step.not);
        match self.own {
            Own::Step(own) => place == own || place < own && !not,
            Own::Totals => !not,
            Own::Whole => !not,
        }
    }

    fn of_step(&mut self, place: usize, what: &str) -> Option<(Type, Expr)> {
        let next = self.slots;
        let (step, names) = self.steps.get_mut(place)?;
        if let Some(slot) = step.names_total(what, names) {
            return Some((Type::Number, Expr::Slot(slot)));
        }
        let (column, of) = Column::named(what)?;
        let known = step.keeps.iter().find(|(_, kept)| *kept == column);
        let slot = match known {
            Some((slot, _)) => *slot,
            None => {
                step.keeps.push((next, column));
                self.slots += 1;
                next
            }
        };
        Some((of, Expr::Slot(slot)))
    }
}

impl Scope for Draft<'_> {
    fn name(&mut self, name: &str) -> Option<(Type, Expr)> {
        if let Some((step, what)) = name.split_once('.') {
            let place = self
                .steps
                .iter()
                .position(|(known, _)| known.name == step)?;
            return if self.can_see(place) {
                self.of_step(place, what)
            } else {
                None
            };
        }
        let slot = self.measures.iter().position(|known| known == name);
        let measure = slot.map(|slot| (Type::Number, Expr::Slot(slot)));
        measure.or_else(|| self.params.constant(name))
    }

    fn has_event(&self) -> bool {
        self.own != Own::Whole
    }

    fn step(&self, name: &str) -> Option<usize> {
        let place = self
            .steps
            .iter()
            .position(|(known, _)| known.name == name)?;
        self.can_see(place).then_some(place)
    }

    fn known(&self) -> Vec<String> {
        let mut known = self.measures.clone();
        known.extend(self.params.names());
        for (place, (step, names)) in self.steps.iter().enumerate() {
            if self.can_see(place) {
                known.push(format!("{}.<column>", step.name));
                known.extend(
                    names
                        .iter()
                        .map(|(_, name)| format!("{}.{name}", step.name)),
                );
            }
        }
        known
    }
}
