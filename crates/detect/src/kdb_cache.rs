//! The order cache of the kdb+ reference, whose rows are dropped by the time of each bucket.
//!
//! Invariant: seen from any probe, an entity holds exactly the rows that deleting, at every bucket,
//! all rows before that bucket's floor would have left. Rows are dropped only when their entity is
//! looked at: for that the cache remembers the floors, as suffix maxima.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::window::Kept;

/// The floors of the buckets so far. Floors that a later, higher one covers are forgotten, so that a
/// stream in time order keeps one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Floors {
    bucket: u64,
    /// (bucket, floor), buckets ascending, floors descending.
    highest: VecDeque<(u64, i64)>,
}

impl Floors {
    /// Begins the next bucket, with its floor (nanoseconds).
    pub(crate) fn next_bucket(&mut self, floor: i64) {
        self.bucket += 1;
        while self
            .highest
            .back()
            .is_some_and(|&(_, lower)| lower <= floor)
        {
            self.highest.pop_back();
        }
        self.highest.push_back((self.bucket, floor));
    }

    /// The highest floor of the buckets after `bucket`.
    fn highest_after(&self, bucket: u64) -> Option<i64> {
        let at = self.highest.partition_point(|&(of, _)| of <= bucket);
        self.highest.get(at).map(|&(_, floor)| floor)
    }
}

/// What a window join sees: rows `first..last`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Sum of quantities, in units.
    pub(crate) quantity: i128,
    first: usize,
    last: usize,
}

impl Span {
    /// Number of rows.
    pub(crate) fn count(self) -> u64 {
        (self.last - self.first) as u64
    }
}

/// The cached events of one entity.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct EntityCache {
    /// Sorted by time, equal times in order of arrival.
    rows: VecDeque<Kept>,
    /// Bucket at which it was last looked at.
    seen: u64,
}

impl EntityCache {
    /// Drops what the floors since the last look have passed.
    pub(crate) fn catch_up(&mut self, floors: &Floors) {
        if let Some(floor) = floors.highest_after(self.seen) {
            while self.rows.front().is_some_and(|oldest| oldest.time < floor) {
                self.rows.pop_front();
            }
        }
        self.seen = floors.bucket;
    }

    /// Adds an event of the current bucket.
    pub(crate) fn push(&mut self, row: Kept, floors: &Floors) {
        self.catch_up(floors);
        let at = self.rows.partition_point(|kept| kept.time <= row.time);
        self.rows.insert(at, row);
    }

    /// q's `wj1`: all events from `from` to `to`, both included.
    pub(crate) fn wj1(&self, from: i64, to: i64) -> Span {
        let first = self.rows.partition_point(|kept| kept.time < from);
        self.span(first, to)
    }

    /// q's `wj`: from the last event at or before `from` (the prevailing one; the first event when
    /// there is none) to the last at or before `to`.
    pub(crate) fn wj(&self, from: i64, to: i64) -> Span {
        let first = self
            .rows
            .partition_point(|kept| kept.time <= from)
            .saturating_sub(1);
        self.span(first, to)
    }

    fn span(&self, first: usize, to: i64) -> Span {
        let last = self.rows.partition_point(|kept| kept.time <= to).max(first);
        let quantity = self
            .rows
            .range(first..last)
            .map(|kept| i128::from(kept.quantity))
            .sum();
        Span {
            quantity,
            first,
            last,
        }
    }

    /// Lets go of the oldest event.
    pub(crate) fn drop_oldest(&mut self) {
        self.rows.pop_front();
    }

    /// Number of cached events.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The sequence numbers of a span's rows, ascending; the latest `max`.
    pub(crate) fn evidence(&self, span: Span, max: usize) -> Vec<u64> {
        let rows = self.rows.range(span.first..span.last);
        crate::window::evidence(rows.map(|kept| kept.seq), max)
    }
}
