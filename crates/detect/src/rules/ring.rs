//! The events of one group that its window rule still needs, and what they add up to.
//!
//! Invariant: events are in order of time, equal times in order of arrival; a total is that of the
//! events from `before` on, the window of the newest. A late event is measured over its own window, of
//! the events that came before it, as the spoofing detector does. Days are in order, one entry each.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::expr::{DAY, Expr, ONE, Scene};
use super::rows::Rows;

/// Most events kept for one group; beyond, the oldest goes and is counted. So a distinct count is
/// exact up to this many.
pub(super) const ROWS_MAX: usize = 100_000;

/// How events are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    Count,
    Sum,
    Min,
    Max,
    Distinct,
}

/// What is added up, of which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aggregate {
    pub(super) fold: Fold,
    /// Of the event; none of a count.
    pub(super) value: Option<Expr>,
    pub(super) filter: Option<Expr>,
}

impl Aggregate {
    /// The value that the event adds; `None` when it adds none. A count adds one.
    #[inline]
    pub(super) fn value(&self, scene: &Scene<'_>) -> Option<i128> {
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.holds(scene))
        {
            return None;
        }
        match &self.value {
            None => Some(ONE),
            Some(value) => value.bounded(scene),
        }
    }

    /// `total` and one value more.
    pub(super) fn with(&self, total: Option<i128>, value: i128) -> i128 {
        match (self.fold, total) {
            (Fold::Min, Some(total)) => total.min(value),
            (Fold::Max, Some(total)) => total.max(value),
            (Fold::Min | Fold::Max, None) => value,
            (Fold::Count | Fold::Sum | Fold::Distinct, total) => {
                total.unwrap_or_default().saturating_add(value)
            }
        }
    }

    /// The total of no events.
    pub(super) const fn nothing(&self) -> Option<i128> {
        match self.fold {
            Fold::Count | Fold::Sum | Fold::Distinct => Some(0),
            Fold::Min | Fold::Max => None,
        }
    }
}

/// What one number of a measure is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// An aggregate over the window.
    Window(usize),
    /// A daily aggregate: of the day so far; mean and median of the last days, and how many of them
    /// there were.
    Day(usize),
    Mean(usize, i64),
    Median(usize, i64),
    Days(usize, i64),
}

/// What a window rule measures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shape {
    /// Nanoseconds.
    pub(super) lookback: i64,
    pub(super) lateness: i64,
    /// Over the window; at most 32.
    pub(super) aggregates: Vec<Aggregate>,
    /// By the day.
    pub(super) daily: Vec<Aggregate>,
    /// Days back that a baseline reaches.
    pub(super) days: i64,
    pub(super) sources: Vec<Source>,
}

impl Shape {
    /// Values that a row keeps.
    pub(super) fn values(&self) -> usize {
        let aggregates = self.aggregates.iter();
        aggregates.filter(|one| one.value.is_some()).count()
    }

    /// For how long a group matters after its last event.
    pub(super) fn kept(&self) -> i64 {
        let days = if self.daily.is_empty() {
            0
        } else {
            self.days + 1
        };
        let reach = self.lookback.saturating_add(self.lateness);
        reach.max(days.saturating_mul(DAY).saturating_add(self.lateness))
    }
}

/// What the window's events add up to, for one aggregate.
#[derive(Debug, Clone)]
enum Total {
    Sum(i128),
    /// How often each value is there.
    Values(BTreeMap<i128, u32>),
}

/// What the events of a day add up to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Day {
    day: i64,
    totals: Vec<Option<i128>>,
}

/// An event that comes in: when, and its values for the aggregates of window and day.
pub(super) struct Arrival<'a> {
    pub(super) time: i64,
    pub(super) seq: u64,
    pub(super) values: &'a [Option<i128>],
    pub(super) daily: &'a [Option<i128>],
}

/// The window of the event that came in: its first event and their number, and whether an older one
/// had to go before its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    first: usize,
    pub(super) count: usize,
    pub(super) overflow: bool,
}

/// The events of one group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ring {
    rows: Rows,
    /// Rows before the newest's window.
    before: usize,
    newest: i64,
    /// Times of the first row and of the window's first, so that most events read no row; the end of
    /// time when there is none.
    #[serde(skip)]
    oldest: i64,
    #[serde(skip)]
    first_time: i64,
    #[serde(skip)]
    totals: Vec<Total>,
    days: VecDeque<Day>,
    /// Whether the condition held at the group's last event.
    pub(super) held: bool,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            rows: Rows::default(),
            before: 0,
            newest: i64::MIN,
            oldest: i64::MAX,
            first_time: i64::MAX,
            totals: Vec::new(),
            days: VecDeque::new(),
            held: false,
        }
    }
}

impl super::groups::Group for Ring {}

impl Ring {
    /// Takes an event in and measures its window into `out`, a number for each source.
    pub(super) fn take(
        &mut self,
        shape: &Shape,
        arrival: &Arrival<'_>,
        out: &mut [Option<i128>],
    ) -> Measured {
        self.prepare(shape);
        let overflow = self.rows.len() > ROWS_MAX;
        if overflow {
            self.drop_first(shape);
        }
        let from = arrival.time.saturating_sub(shape.lookback);
        let reach = shape.lookback.saturating_add(shape.lateness);
        let late = arrival.time < self.newest;
        let mut measured = if late {
            self.let_go(shape, arrival.time.saturating_sub(reach));
            self.insert(shape, arrival, from)
        } else {
            self.slide(shape, from);
            if arrival.time > self.newest {
                self.let_go(shape, arrival.time.saturating_sub(reach));
                self.newest = arrival.time;
            }
            self.append(shape, arrival);
            Measured {
                first: self.before,
                count: self.rows.len() - self.before,
                overflow: false,
            }
        };
        measured.overflow = overflow;
        if !shape.daily.is_empty() {
            self.take_day(shape, arrival);
        }
        let day = arrival.time.div_euclid(DAY);
        for (source, out) in shape.sources.iter().zip(out) {
            *out = match *source {
                Source::Window(at) if late => self.scan(shape, at, &measured),
                Source::Window(at) => self.total(shape, at),
                Source::Day(at) => self.day(day, at),
                Source::Mean(at, days) => self.mean(day, days, at),
                Source::Median(at, days) => self.median(day, days, at),
                Source::Days(at, days) => Some(self.past(day, days, at).count() as i128 * ONE),
            };
        }
        measured
    }

    /// The sequence numbers of a window's events, right after [`Self::take`].
    pub(super) fn seqs(&self, measured: &Measured) -> impl Iterator<Item = u64> {
        let rows = measured.first..measured.first + measured.count;
        rows.map(|row| self.rows.seq(row))
    }

    /// Totals of what was loaded; whether it is of this shape.
    pub(super) fn restore(&mut self, shape: &Shape) -> bool {
        let fits = self.before <= self.rows.len()
            && self.rows.fits(shape.values())
            && self
                .days
                .iter()
                .all(|day| day.totals.len() == shape.daily.len())
            && self.days.iter().is_sorted_by(|a, b| a.day < b.day);
        if fits {
            self.totals.clear();
            self.prepare(shape);
            for row in self.before..self.rows.len() {
                self.count(shape, row, true);
            }
            self.note_times();
        }
        fits
    }

    #[inline]
    fn prepare(&mut self, shape: &Shape) {
        if self.totals.len() != shape.aggregates.len() {
            let total = |aggregate: &Aggregate| match aggregate.fold {
                Fold::Count | Fold::Sum => Total::Sum(0),
                Fold::Min | Fold::Max | Fold::Distinct => Total::Values(BTreeMap::new()),
            };
            self.totals = shape.aggregates.iter().map(total).collect();
        }
    }

    /// Adds a row to the totals, or takes it out of them.
    #[inline]
    fn count(&mut self, shape: &Shape, row: usize, into: bool) {
        let mask = self.rows.mask(row);
        let mut number = 0;
        for (at, (total, aggregate)) in self.totals.iter_mut().zip(&shape.aggregates).enumerate() {
            let own = number;
            number += usize::from(aggregate.value.is_some());
            if mask & 1 << at == 0 {
                continue;
            }
            let value = match aggregate.value {
                Some(_) => self.rows.value(row, own),
                None => ONE,
            };
            match total {
                Total::Sum(sum) if into => *sum = sum.saturating_add(value),
                Total::Sum(sum) => *sum = sum.saturating_sub(value),
                Total::Values(values) if into => *values.entry(value).or_default() += 1,
                Total::Values(values) => {
                    if let Some(times) = values.get_mut(&value) {
                        *times = times.saturating_sub(1);
                        if *times == 0 {
                            values.remove(&value);
                        }
                    }
                }
            }
        }
    }

    /// Moves the window's start to the first row at or after `from`.
    #[inline]
    fn slide(&mut self, shape: &Shape, from: i64) {
        while self.first_time < from {
            self.count(shape, self.before, false);
            self.before += 1;
            self.first_time = self.rows.time(self.before);
        }
    }

    /// Lets go of rows before `floor` that are in no window.
    #[inline]
    fn let_go(&mut self, shape: &Shape, floor: i64) {
        while self.before > 0 && self.oldest < floor {
            self.drop_first(shape);
        }
    }

    fn drop_first(&mut self, shape: &Shape) {
        match self.before.checked_sub(1) {
            Some(before) => self.before = before,
            None => self.count(shape, 0, false),
        }
        self.rows.pop_front();
        self.note_times();
    }

    fn note_times(&mut self) {
        self.oldest = self.rows.time(0);
        self.first_time = self.rows.time(self.before);
    }

    #[inline]
    fn append(&mut self, shape: &Shape, arrival: &Arrival<'_>) {
        self.push(shape, arrival);
        self.oldest = self.oldest.min(arrival.time);
        self.first_time = self.first_time.min(arrival.time);
        self.count(shape, self.rows.len() - 1, true);
    }

    #[inline]
    fn push(&mut self, shape: &Shape, arrival: &Arrival<'_>) {
        let counted = arrival.values.iter().enumerate();
        let mask = counted.fold(0, |mask, (at, value)| {
            mask | u64::from(value.is_some()) << at
        });
        let values = shape.aggregates.iter().zip(arrival.values);
        let values = values.filter(|(aggregate, _)| aggregate.value.is_some());
        let values = values.map(|(_, value)| value.unwrap_or_default());
        self.rows.push((arrival.time, arrival.seq, mask), values);
    }

    /// Puts a late event behind all of its time or before.
    #[cold]
    fn insert(&mut self, shape: &Shape, arrival: &Arrival<'_>, from: i64) -> Measured {
        let upto = self.rows.partition(|time| time <= arrival.time);
        let first = self.rows.partition(|time| time < from);
        self.push(shape, arrival);
        self.rows.move_last(upto);
        if arrival.time < self.newest.saturating_sub(shape.lookback) {
            self.before += 1;
        } else {
            self.count(shape, upto, true);
        }
        self.note_times();
        Measured {
            first,
            count: upto + 1 - first,
            overflow: false,
        }
    }

    /// An aggregate over the newest's window.
    #[inline]
    fn total(&self, shape: &Shape, at: usize) -> Option<i128> {
        let number = |value: i128| Some(value);
        match (self.totals.get(at)?, shape.aggregates.get(at)?.fold) {
            (Total::Sum(sum), _) => number(*sum),
            (Total::Values(values), Fold::Min) => values.first_key_value().map(|(value, _)| *value),
            (Total::Values(values), Fold::Max) => values.last_key_value().map(|(value, _)| *value),
            (Total::Values(values), _) => number(values.len() as i128 * ONE),
        }
    }

    /// An aggregate over the window of a late event.
    #[cold]
    fn scan(&self, shape: &Shape, at: usize, measured: &Measured) -> Option<i128> {
        let aggregate = shape.aggregates.get(at)?;
        let number = shape.aggregates.iter().take(at);
        let number = number.filter(|other| other.value.is_some()).count();
        let rows = measured.first..measured.first + measured.count;
        let counted = rows.filter(|row| self.rows.mask(*row) & 1 << at != 0);
        let counted = counted.map(|row| match aggregate.value {
            Some(_) => self.rows.value(row, number),
            None => ONE,
        });
        if aggregate.fold == Fold::Distinct {
            let values: std::collections::BTreeSet<_> = counted.collect();
            return Some(values.len() as i128 * ONE);
        }
        counted.fold(aggregate.nothing(), |total, value| {
            Some(aggregate.with(total, value))
        })
    }

    /// Adds the event to its day; days that no baseline reaches are let go.
    fn take_day(&mut self, shape: &Shape, arrival: &Arrival<'_>) {
        let day = arrival.time.div_euclid(DAY);
        let place = self.days.partition_point(|known| known.day < day);
        if self.days.get(place).is_none_or(|known| known.day != day) {
            let totals = shape.daily.iter().map(Aggregate::nothing).collect();
            self.days.insert(place, Day { day, totals });
        }
        if let Some(known) = self.days.get_mut(place) {
            let each = shape.daily.iter().zip(arrival.daily);
            for (total, (aggregate, value)) in known.totals.iter_mut().zip(each) {
                if let Some(value) = value {
                    *total = Some(aggregate.with(*total, *value));
                }
            }
        }
        let oldest = self.newest.div_euclid(DAY) - shape.days - shape.lateness / DAY - 1;
        if self.days.front().is_some_and(|known| known.day < oldest) {
            // A late day that no baseline reaches is measured by itself.
            self.days
                .retain(|known| known.day >= oldest || known.day == day);
        }
    }

    fn day(&self, day: i64, at: usize) -> Option<i128> {
        let place = self.days.partition_point(|known| known.day < day);
        let known = self.days.get(place).filter(|known| known.day == day)?;
        known.totals.get(at).copied().flatten()
    }

    /// The totals of the days before `day`, those that had events.
    fn past(&self, day: i64, days: i64, at: usize) -> impl Iterator<Item = i128> {
        let reached = move |known: &&Day| (day - days..day).contains(&known.day);
        let past = self.days.iter().filter(reached);
        past.filter_map(move |known| known.totals.get(at).copied().flatten())
    }

    fn mean(&self, day: i64, days: i64, at: usize) -> Option<i128> {
        let sum = self.past(day, days, at).fold(0_i128, i128::saturating_add);
        sum.checked_div(self.past(day, days, at).count() as i128)
    }

    fn median(&self, day: i64, days: i64, at: usize) -> Option<i128> {
        let mut totals: Vec<_> = self.past(day, days, at).collect();
        totals.sort_unstable();
        let upper = *totals.get(totals.len() / 2)?;
        if totals.len() % 2 == 1 {
            return Some(upper);
        }
        let lower = *totals.get(totals.len() / 2 - 1)?;
        Some(lower.saturating_add(upper) / 2)
    }
}
