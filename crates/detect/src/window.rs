//! A window that slides over one entity's events by event time and knows its sum.
//!
//! Invariant: rows are sorted by time, equal times in order of arrival; `sum` is the sum of
//! `rows[first..]`, the window of the newest row. An event in time order costs O(1) amortised; a
//! late one costs a search and the length of its own window.

use std::collections::VecDeque;

/// One event that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Nanoseconds.
    pub(crate) time: i64,
    /// Units of quantity.
    pub(crate) quantity: i64,
    /// Sequence number.
    pub(crate) seq: u64,
}

/// What a window holds: rows `first..last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total {
    /// Sum of quantities, in units.
    pub(crate) quantity: i128,
    /// First row.
    pub(crate) first: usize,
    /// One past the last row.
    pub(crate) last: usize,
}

impl Total {
    /// Number of rows.
    pub(crate) fn count(self) -> u64 {
        (self.last - self.first) as u64
    }
}

/// The kept events of one entity.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    rows: VecDeque<Kept>,
    first: usize,
    sum: i128,
}

impl Window {
    /// Adds an event and returns the total of its window: all kept events from `lookback` before
    /// its time up to its time, both ends included. Events more than `lookback + lateness` before
    /// it are let go.
    pub(crate) fn push(&mut self, row: Kept, lookback: i64, lateness: i64) -> Total {
        let from = row.time.saturating_sub(lookback);
        self.let_go(from.saturating_sub(lateness));
        if self
            .rows
            .back()
            .is_some_and(|newest| row.time < newest.time)
        {
            return self.push_late(row, from, lookback);
        }
        self.rows.push_back(row);
        self.sum += i128::from(row.quantity);
        while let Some(oldest) = self
            .rows
            .get(self.first)
            .filter(|oldest| oldest.time < from)
        {
            self.sum -= i128::from(oldest.quantity);
            self.first += 1;
        }
        Total {
            quantity: self.sum,
            first: self.first,
            last: self.rows.len(),
        }
    }

    fn push_late(&mut self, row: Kept, from: i64, lookback: i64) -> Total {
        let at = self.rows.partition_point(|kept| kept.time <= row.time);
        self.rows.insert(at, row);
        let newest = self.rows.back().map_or(row.time, |newest| newest.time);
        if row.time < newest.saturating_sub(lookback) {
            self.first += 1;
        } else {
            self.sum += i128::from(row.quantity);
        }
        let first = self.rows.partition_point(|kept| kept.time < from);
        let quantity = self
            .rows
            .range(first..=at)
            .map(|kept| i128::from(kept.quantity))
            .sum();
        Total {
            quantity,
            first,
            last: at + 1,
        }
    }

    /// Lets go of events before `floor` (nanoseconds).
    fn let_go(&mut self, floor: i64) {
        while self.rows.front().is_some_and(|oldest| oldest.time < floor) {
            self.drop_oldest();
        }
    }

    /// Lets go of the oldest event, wherever it is.
    pub(crate) fn drop_oldest(&mut self) {
        if let Some(oldest) = self.rows.pop_front() {
            match self.first.checked_sub(1) {
                Some(first) => self.first = first,
                None => self.sum -= i128::from(oldest.quantity),
            }
        }
    }

    /// Reads what [`Self::push`] will read. Done for many windows first, their cache misses overlap
    /// instead of following each other.
    pub(crate) fn touch(&self) -> i64 {
        let time = |kept: Option<&Kept>| kept.map_or(0, |kept| kept.time);
        time(self.rows.back()) ^ time(self.rows.get(self.first)) ^ time(self.rows.front())
    }

    /// Number of kept events.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The sequence numbers of a total's rows, ascending; the latest `max`.
    pub(crate) fn evidence(&self, total: Total, max: usize) -> Vec<u64> {
        evidence(self.rows.range(total.first..total.last), max)
    }
}

/// The sequence numbers of `rows`, ascending; the latest `max`.
pub(crate) fn evidence<'a>(rows: impl Iterator<Item = &'a Kept>, max: usize) -> Vec<u64> {
    let mut seqs: Vec<_> = rows.map(|kept| kept.seq).collect();
    seqs.sort_unstable();
    seqs.split_off(seqs.len().saturating_sub(max))
}
