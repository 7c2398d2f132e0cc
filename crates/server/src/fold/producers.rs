//! What the last buckets of each producer got: one that is sent again is recognised by it.
//!
//! Invariant: of a producer the newest [`UNDER_WAY_MAX`] are known, ascending by their numbers.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Producers whose last buckets are remembered; the one that was silent longest goes first.
const PRODUCERS_MAX: usize = 1_024;
/// Buckets of a producer that are remembered: what may be under way from it at once.
pub(crate) const UNDER_WAY_MAX: usize = 256;

/// What a producer's last bucket got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    /// Number of the bucket at the producer.
    pub(crate) batch: u64,
    /// First sequence number.
    pub(crate) first_seq: u64,
    /// Orders in it.
    pub(crate) orders: u64,
    /// Dead letters in it.
    pub(crate) dead_letters: u64,
}

impl Placed {
    /// Last sequence number; one before the first where nothing was taken.
    pub(crate) fn last_seq(&self) -> u64 {
        let count = self.orders.saturating_add(self.dead_letters);
        self.first_seq.saturating_add(count).saturating_sub(1)
    }
}

/// Producers, by name.
#[derive(Default)]
pub(super) struct Producers(HashMap<String, VecDeque<Placed>>);

impl Producers {
    /// As a checkpoint says.
    pub(super) fn restore(list: Vec<(String, Vec<Placed>)>) -> Self {
        let list = list.into_iter();
        Self(list.map(|(name, placed)| (name, placed.into())).collect())
    }

    /// For a checkpoint, ascending by name.
    pub(super) fn list(&self) -> Vec<(String, Vec<Placed>)> {
        let all = self.0.iter();
        let mut list: Vec<(String, Vec<Placed>)> = all
            .map(|(name, placed)| (name.clone(), placed.iter().copied().collect()))
            .collect();
        list.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        list
    }

    /// What the producer's bucket got, if it was taken; the number of its last one, when that is
    /// later and this one is not remembered.
    pub(super) fn placed(&self, producer: &str, batch: u64) -> Result<Option<Placed>, u64> {
        let placed = self.0.get(producer);
        let last = placed.and_then(VecDeque::back);
        let (Some(placed), Some(last)) = (placed, last.map(|last| last.batch)) else {
            return Ok(None);
        };
        if last < batch {
            return Ok(None);
        }
        match placed.iter().rev().find(|placed| placed.batch == batch) {
            None => Err(last),
            found => Ok(found.copied()),
        }
    }

    pub(super) fn remember(&mut self, producer: String, placed: Placed) {
        let buckets = self.0.entry(producer).or_default();
        if buckets.len() >= UNDER_WAY_MAX {
            buckets.pop_front();
        }
        buckets.push_back(placed);
        if self.0.len() > PRODUCERS_MAX {
            let last = |placed: &VecDeque<Placed>| placed.back().map(|placed| placed.first_seq);
            let silent = self.0.iter().min_by_key(|(_, placed)| last(placed));
            if let Some(name) = silent.map(|(name, _)| name.clone()) {
                self.0.remove(&name);
            }
        }
    }
}
