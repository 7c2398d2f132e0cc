//! Partial matches of a sequence rule, and how an event carries them on.
//!
//! Invariant: a key's partial matches are in order of their first events, which differ; an event is
//! in at most one complete match of its key. At most [`KEY_MAX`] of a key and [`INSTRUMENT_MAX`] of an
//! instrument are kept, of [`EVENTS_MAX`] events each; beyond, the oldest go (an event: is passed
//! over), and are counted. Time never goes back within an instrument.

use serde::{Deserialize, Serialize};
use tapewatch_model::EVIDENCE_MAX;

use super::expr::{Scene, StepOrder, View};
use super::groups::{Group, Groups, Instrument};
use super::rule::Found;
use super::sequence::{SequenceRule, Step};

/// Most partial matches of one key.
pub(super) const KEY_MAX: usize = 32;
/// Most partial matches of one instrument.
pub(super) const INSTRUMENT_MAX: usize = 100_000;
/// Most events of one match.
pub(super) const EVENTS_MAX: usize = 256;

/// A match that is not complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Partial {
    /// The step that was begun last, of those that must happen.
    at: usize,
    /// Whether that step has enough.
    enough: bool,
    /// Complete, but for the `not` at its end.
    waits: bool,
    /// Steps that have an event, by place.
    begun: u32,
    /// When its first event was, the first of the step before this one, and the first of this one.
    start: i64,
    since: i64,
    entered: i64,
    slots: Vec<Option<i128>>,
    orders: Vec<StepOrder>,
    /// Sequence numbers, ascending.
    seqs: Vec<u64>,
}

/// What an event did to a partial match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Unmoved,
    Taken,
    Ended,
    Complete,
}

/// The partial matches of one key.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Chain(Vec<Partial>);

impl Group for Chain {
    fn lost(&self) -> u64 {
        self.0.iter().filter(|partial| partial.waits).count() as u64
    }
}

/// What a sequence rule keeps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Matches {
    groups: Groups<Chain>,
    /// Partial matches by instrument.
    counts: Vec<usize>,
    overflows: u64,
}

impl Matches {
    /// Takes an event of the rule's types in; tells of the matches that are complete at it.
    #[inline]
    pub(super) fn take(
        &mut self,
        rule: &SequenceRule,
        (view, sym): (&View<'_>, u32),
        found: &mut dyn FnMut(Found<'_>),
    ) {
        let Some(key) = rule.key.key(view) else {
            return;
        };
        let Some(instrument) = self.groups.instrument(sym, view.rows.by_instrument) else {
            return;
        };
        if self.counts.len() <= sym as usize {
            self.counts.resize(sym as usize + 1, 0);
        }
        let Some(count) = self.counts.get_mut(sym as usize) else {
            return;
        };
        instrument.now = instrument.now.max(view.time());
        let now = instrument.now;
        let mut event = Event {
            rule,
            view,
            now,
            entity: rule.key.entity(sym, key),
            overflows: 0,
        };
        let mut taken = false;
        if let Some(chain) = instrument.find(key) {
            let before = chain.0.len();
            taken = event.carry_on(&mut chain.0, found);
            *count = (*count + chain.0.len()).saturating_sub(before);
        }
        if !taken && let Some(partial) = event.begin() {
            if *count >= INSTRUMENT_MAX {
                event.overflows += thin_out(instrument, rule, count);
            }
            match instrument.group(key, rule.kept()) {
                Some(Chain(chain)) => event.put(chain, partial, count),
                None => event.overflows += 1,
            }
        }
        self.overflows += event.overflows;
    }

    /// Whether what was loaded is of this rule; its counts are made anew.
    pub(super) fn restore(&mut self, rule: &SequenceRule) -> bool {
        let mut groups = self.groups.all_mut();
        groups.all(|chain| {
            chain.0.iter().all(|partial| {
                partial.slots.len() == rule.slots
                    && partial.at < rule.steps.len()
                    && !partial.seqs.is_empty()
            })
        })
    }

    pub(super) fn overflows(&self) -> u64 {
        self.overflows + self.groups.lost()
    }

    pub(super) fn entities(&self) -> u64 {
        self.groups.len()
    }
}

/// Lets go of partial matches whose time is over, and of the oldest sixteenth when that is not enough;
/// how many went before their time.
#[cold]
fn thin_out(instrument: &mut Instrument<Chain>, rule: &SequenceRule, count: &mut usize) -> u64 {
    let now = instrument.now;
    let mut starts = Vec::new();
    for Chain(chain) in instrument.groups_mut() {
        chain.retain(|partial| partial.waits || partial.deadline(rule) >= now);
        starts.extend(
            chain
                .iter()
                .filter_map(|partial| partial.seqs.first().copied()),
        );
    }
    *count = starts.len();
    if *count < INSTRUMENT_MAX {
        return 0;
    }
    let cut = starts.len() / 16;
    let (_, oldest, _) = starts.select_nth_unstable(cut);
    let oldest = *oldest;
    let mut gone = 0;
    for Chain(chain) in instrument.groups_mut() {
        let before = chain.len();
        chain.retain(|partial| partial.seqs.first().is_some_and(|&first| first >= oldest));
        gone += before - chain.len();
    }
    *count -= gone;
    gone as u64
}

/// An event on its way through the partial matches of its key.
struct Event<'a> {
    rule: &'a SequenceRule,
    view: &'a View<'a>,
    now: i64,
    entity: u64,
    overflows: u64,
}

impl Event<'_> {
    /// Offers the event to all partial matches, oldest first; whether it completed one.
    fn carry_on(&mut self, chain: &mut Vec<Partial>, found: &mut dyn FnMut(Found<'_>)) -> bool {
        let mut place = 0;
        while let Some(partial) = chain.get_mut(place) {
            let over = partial.deadline(self.rule) < self.now;
            let waits = partial.waits;
            let outcome = match (over, waits) {
                (true, true) => Outcome::Complete,
                (true, false) => Outcome::Ended,
                (false, _) => self.offer(partial),
            };
            if matches!(outcome, Outcome::Unmoved | Outcome::Taken) {
                place += 1;
                continue;
            }
            let partial = chain.remove(place);
            if outcome == Outcome::Complete {
                self.tell(&partial, found);
                // Those behind it that have an event of it.
                let shares = |other: &Partial| {
                    let mut seqs = other.seqs.iter();
                    seqs.any(|seq| partial.seqs.binary_search(seq).is_ok())
                };
                let older = chain.iter().take(place);
                place = older.filter(|other| !shares(other)).count();
                chain.retain(|other| !shares(other));
                if !over {
                    return true;
                }
            }
        }
        false
    }

    fn offer(&mut self, partial: &mut Partial) -> Outcome {
        let rule = self.rule;
        let next = rule.next(partial.at);
        if partial.enough {
            // A match that must not go on does not, even when the event would carry it on.
            for place in partial.at + 1..next.unwrap_or(rule.steps.len()) {
                if let Some(step) = rule.steps.get(place)
                    && self.try_step(partial, place, step)
                    && self.has_enough(partial, step)
                {
                    return Outcome::Ended;
                }
            }
        }
        if partial.waits {
            return Outcome::Unmoved;
        }
        if let (true, Some(place)) = (partial.enough, next)
            && let Some(step) = rule.steps.get(place)
            && step
                .within
                .is_none_or(|within| partial.entered.saturating_add(within) >= self.now)
            && self.try_step(partial, place, step)
        {
            partial.at = place;
            partial.since = partial.entered;
            partial.entered = self.now;
            return self.after(partial, step);
        }
        let Some(step) = rule.steps.get(partial.at).filter(|step| step.many) else {
            return Outcome::Unmoved;
        };
        let until = |within: i64| partial.since.saturating_add(within);
        if step.within.is_some_and(|within| until(within) < self.now)
            || !self.try_step(partial, partial.at, step)
        {
            return Outcome::Unmoved;
        }
        self.after(partial, step)
    }

    /// What it means that the step at hand took the event.
    fn after(&self, partial: &mut Partial, step: &Step) -> Outcome {
        partial.enough = self.has_enough(partial, step);
        let last = self.rule.next(partial.at).is_none();
        if !(partial.enough && last) {
            return Outcome::Taken;
        }
        if !self.is_wanted(partial) {
            // Of a step of one event this was looked at before it was taken.
            partial.enough = false;
            return Outcome::Taken;
        }
        if partial.at + 1 < self.rule.steps.len() {
            partial.waits = true;
            return Outcome::Taken;
        }
        Outcome::Complete
    }

    /// Takes the event into a step if it belongs there.
    fn try_step(&mut self, partial: &mut Partial, place: usize, step: &Step) -> bool {
        let kind = self.view.rows.orders.event_types().get(self.view.row);
        if !kind.is_some_and(|kind| step.events.contains(*kind)) {
            return false;
        }
        let first = partial.begun & 1 << place == 0;
        if first {
            for (slot, column) in &step.keeps {
                partial.set(*slot, self.view.column(*column));
            }
        }
        let filter = step.filter.as_ref();
        let mut fits = filter.is_none_or(|filter| filter.holds(&self.scene(partial)));
        if fits && first && !step.not && !step.many && self.rule.next(place).is_none() {
            fits = self.is_wanted(partial);
        }
        if fits && partial.seqs.len() >= EVENTS_MAX && !step.not {
            self.overflows += 1;
            fits = false;
        }
        if !fits {
            if first {
                step.keeps
                    .iter()
                    .for_each(|(slot, _)| partial.set(*slot, None));
            }
            return false;
        }
        for (slot, total) in &step.totals {
            let before = if first {
                total.nothing()
            } else {
                partial.get(*slot)
            };
            let value = total.value(&self.scene(partial));
            let after = value.map(|value| total.with(before, value)).or(before);
            partial.set(*slot, after);
        }
        partial.begun |= 1 << place;
        if let Some(key) = self.view.order_key().filter(|_| step.keeps_orders) {
            partial.orders.push(StepOrder { step: place, key });
        }
        if !step.not {
            partial.seqs.push(self.view.rows.orders.seq(self.view.row));
        }
        true
    }

    fn scene<'a>(&'a self, partial: &'a Partial) -> Scene<'a> {
        Scene {
            view: self.view,
            slots: &partial.slots,
            orders: &partial.orders,
        }
    }

    fn has_enough(&self, partial: &Partial, step: &Step) -> bool {
        let enough = step.enough.as_ref();
        enough.is_none_or(|enough| enough.holds(&self.scene(partial)))
    }

    /// Whether the condition holds of the match so far.
    fn is_wanted(&self, partial: &mut Partial) -> bool {
        for (slot, measure) in self.rule.measures.iter().enumerate() {
            let value = measure.expr.value(&self.scene(partial));
            partial.set(slot, value);
        }
        let condition = self.rule.condition.as_ref();
        condition.is_none_or(|condition| condition.holds(&self.scene(partial)))
    }

    /// A partial match that begins with the event.
    fn begin(&mut self) -> Option<Partial> {
        let rule = self.rule;
        let step = rule.steps.first()?;
        let kind = *self.view.rows.orders.event_types().get(self.view.row)?;
        if !step.events.contains(kind) {
            return None;
        }
        let mut partial = Partial {
            at: 0,
            enough: false,
            waits: false,
            begun: 0,
            start: self.now,
            since: self.now,
            entered: self.now,
            slots: vec![None; rule.slots],
            orders: Vec::new(),
            seqs: Vec::new(),
        };
        self.try_step(&mut partial, 0, step).then_some(partial)
    }

    /// Keeps what began; a sequence of one step may be complete at once.
    fn put(&mut self, chain: &mut Vec<Partial>, mut partial: Partial, count: &mut usize) {
        if let Some(step) = self.rule.steps.first() {
            self.after(&mut partial, step);
        }
        if chain.len() >= KEY_MAX {
            let before = chain.len();
            let (rule, now) = (self.rule, self.now);
            chain.retain(|other| other.waits || other.deadline(rule) >= now);
            if chain.len() >= KEY_MAX {
                chain.remove(0);
                self.overflows += 1;
            }
            *count = count.saturating_sub(before - chain.len());
        }
        chain.push(partial);
        *count += 1;
    }

    fn tell(&self, partial: &Partial, found: &mut dyn FnMut(Found<'_>)) {
        let mut seqs = partial.seqs.clone();
        let own = self.view.rows.orders.seq(self.view.row);
        if seqs.last() != Some(&own) {
            seqs.push(own);
        }
        let total = seqs.len();
        let seqs = seqs.split_off(total.saturating_sub(EVIDENCE_MAX));
        found(Found {
            entity: self.entity,
            lookback: self.rule.within,
            values: &partial.slots,
            evidence: &|| seqs.clone(),
            evidence_total: total as u64,
        });
    }
}

impl Partial {
    fn get(&self, slot: usize) -> Option<i128> {
        self.slots.get(slot).copied().flatten()
    }

    fn set(&mut self, slot: usize, value: Option<i128>) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = value;
        }
    }

    /// The latest time at which an event can carry it on; of one that waits, at which one can end it.
    fn deadline(&self, rule: &SequenceRule) -> i64 {
        let within = |place: usize| rule.steps.get(place).and_then(|step| step.within);
        if self.waits {
            return self
                .entered
                .saturating_add(within(self.at + 1).unwrap_or_default());
        }
        let mut deadline = self.start.saturating_add(rule.within.nanos());
        let next = rule.next(self.at).filter(|_| self.enough);
        let bound = match next {
            Some(next) => within(next).map(|within| self.entered.saturating_add(within)),
            None => within(self.at).map(|within| self.since.saturating_add(within)),
        };
        if let Some(bound) = bound {
            deadline = deadline.min(bound);
        }
        deadline
    }
}
