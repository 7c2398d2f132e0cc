//! Shards: which instruments an engine serves, and how the hits of several become those of one.
//!
//! Invariant: an instrument belongs to exactly one shard, by its text alone.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use tapewatch_model::Hit;

use crate::registry::rank;

/// Which instruments an engine serves: those whose digest, modulo `count`, is `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// Number of shards, at least 1.
    pub count: u32,
}

impl Shard {
    /// All instruments.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Whether the instrument belongs to it.
    #[must_use]
    pub fn holds(self, sym: &str) -> bool {
        self.count <= 1
            || FixedState::default().hash_one(sym) % u64::from(self.count) == u64::from(self.index)
    }
}

/// The hits of all shards for the same batches, in the order of one engine.
#[must_use]
pub fn merge_shards(shards: Vec<Vec<Hit>>) -> Vec<Hit> {
    let mut hits: Vec<Hit> = shards.into_iter().flatten().collect();
    hits.sort_by_key(|hit| (hit.order.seq, rank(hit.detector)));
    hits
}
