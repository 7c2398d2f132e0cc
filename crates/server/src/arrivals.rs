//! When rows came in, so that retention keeps what a restart needs.
//!
//! Invariant: the journal keeps at least what came within [`KEPT`], whatever its limits say: the
//! windows and open alerts of a restart are made from it. One mark a minute bounds the memory.

use std::collections::VecDeque;

use tapewatch_model::{Time, TimeSpan};

/// What is always kept. Far beyond any lookback and lateness of a live feed.
const KEPT: TimeSpan = TimeSpan::from_secs(86_400);
/// Between two marks.
const MARK_EVERY: TimeSpan = TimeSpan::from_secs(60);

/// Marks of the last day: when a sequence number came.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    marks: VecDeque<(Time, u64)>,
}

impl Arrivals {
    /// The marks, to save them.
    pub(crate) fn to_marks(&self) -> Vec<(i64, u64)> {
        self.marks
            .iter()
            .map(|&(time, seq)| (time.nanos(), seq))
            .collect()
    }

    /// As they were saved.
    pub(crate) fn from_marks(marks: Vec<(i64, u64)>) -> Self {
        let marks = marks
            .into_iter()
            .map(|(time, seq)| (Time::from_nanos(time), seq));
        Self {
            marks: marks.collect(),
        }
    }

    /// Puts the marks of `earlier` up to sequence number `through` in place of those here.
    pub(crate) fn before(&mut self, earlier: Self, through: u64) {
        let later = self.marks.drain(..).filter(|&(_, seq)| seq > through);
        let later: Vec<_> = later.collect();
        self.marks = earlier.marks;
        later
            .into_iter()
            .for_each(|(time, seq)| self.note(time, seq));
    }

    /// Rows from `seq` on came at `time`.
    pub(crate) fn note(&mut self, time: Time, seq: u64) {
        let due = |&(last, _): &(Time, u64)| last.saturating_add(MARK_EVERY) <= time;
        if self.marks.back().is_none_or(due) {
            self.marks.push_back((time, seq));
        }
        let floor = time.saturating_sub(KEPT);
        while self.marks.front().is_some_and(|&mark| is_old(mark, floor)) {
            self.marks.pop_front();
        }
    }

    /// The first sequence number that must be kept.
    pub(crate) fn first_to_keep(&self, now: Time) -> u64 {
        let floor = now.saturating_sub(KEPT);
        let first = self.marks.iter().find(|&&mark| !is_old(mark, floor));
        first.map_or(u64::MAX, |&(_, seq)| seq)
    }
}

/// Whether all that came under a mark came before `floor`: later arrivals have a mark of their own.
fn is_old((time, _): (Time, u64), floor: Time) -> bool {
    time.saturating_add(MARK_EVERY) < floor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_arrivals_is_kept() {
        let at = |minutes: i64| Time::from_nanos(minutes * 60_000_000_000);
        let mut arrivals = Arrivals::default();
        assert_eq!(
            arrivals.first_to_keep(at(0)),
            u64::MAX,
            "nothing came, nothing is needed"
        );
        for minute in 0..5_000 {
            arrivals.note(at(minute), minute as u64 * 10 + 1);
            arrivals.note(
                at(minute).saturating_add(TimeSpan::from_secs(1)),
                minute as u64 * 10 + 5,
            );
        }
        assert!(arrivals.marks.len() <= 1_443, "{}", arrivals.marks.len());
        let first = arrivals.first_to_keep(at(5_000));
        assert!(
            (35_501..=35_601).contains(&first),
            "{first}: a day is 1440 minutes of 10"
        );
        assert_eq!(
            arrivals.first_to_keep(at(100_000)),
            u64::MAX,
            "all of it is old"
        );
    }
}
