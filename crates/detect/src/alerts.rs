//! Joins hits of one entity into alerts while they keep coming within the lookback.
//!
//! Invariant: an entity has at most one open alert a parameter set; an alert's id is that of its
//! first hit.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tapewatch_model::{Hit, Id, Time, TimeSpan};

/// An alert that may still grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenAlert {
    pub(crate) id: Id,
    pub(crate) first: Time,
    pub(crate) last: Time,
    pub(crate) hits: u64,
}

impl OpenAlert {
    /// Whether a hit at `time` belongs to it; it is then counted.
    pub(crate) fn joins(&mut self, time: Time, lookback: TimeSpan) -> bool {
        let joins = within(self.last, time, lookback);
        if joins {
            self.hits += 1;
            self.last = self.last.max(time);
            self.first = self.first.min(time);
        }
        joins
    }
}

/// The open alerts of one detector, by parameter set and entity.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenAlerts(HashMap<(u32, u64), OpenAlert, FixedState>);

impl OpenAlerts {
    /// Joins a hit, whose `hit_id` is set, to the open alert of its entity, or opens one.
    pub(crate) fn join(&mut self, set: u32, entity: u64, hit: &mut Hit) {
        let new = OpenAlert {
            id: hit.hit_id,
            first: hit.order.time,
            last: hit.order.time,
            hits: 0,
        };
        let open = self.0.entry((set, entity)).or_insert(new);
        if !open.joins(hit.order.time, hit.lookback) {
            *open = OpenAlert { hits: 1, ..new };
        }
        hit.alert_id = open.id;
        hit.alert_hit = open.hits;
        hit.alert_time = open.first;
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// All of them, in an order that does not depend on the hash.
    pub(crate) fn save(&self) -> Vec<(u64, OpenAlert)> {
        let mut saved: Vec<_> = self
            .0
            .iter()
            .map(|(&(_, entity), open)| (entity, *open))
            .collect();
        saved.sort_unstable_by_key(|&(entity, _)| entity);
        saved
    }

    /// Takes the place of what is there.
    pub(crate) fn load(&mut self, saved: impl IntoIterator<Item = (u64, OpenAlert)>) {
        self.0 = saved
            .into_iter()
            .map(|(entity, open)| ((0, entity), open))
            .collect();
    }
}

fn within(a: Time, b: Time, span: TimeSpan) -> bool {
    a.max(b).saturating_sub(span) <= a.min(b)
}
