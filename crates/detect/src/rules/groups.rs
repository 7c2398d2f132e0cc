//! Whose events belong together, and what a rule keeps of each such group.
//!
//! Invariant: what is kept of an instrument is a function of that instrument's own events (those that
//! the rule looks at): other instruments, batches and shards change nothing of it. A group that was
//! idle for longer than it matters is let go by the instrument's time; an instrument has at most
//! [`GROUPS_MAX`] groups, and events of more are passed over and counted.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tapewatch_model::Side;

use super::document::Item;
use super::expr::{Asked, View};
use super::syntax::Wrong;
use crate::detector::NOBODY;

/// Most groups of one instrument.
pub(super) const GROUPS_MAX: usize = 100_000;
/// Idle groups of an instrument with fewer than so many are not worth letting go.
const SWEPT_FROM: usize = 1_024;
/// Groups looked at for letting go, each time that one is asked for.
const SWEPT: usize = 2;

/// By what events are grouped, within their instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Grouping {
    pub(super) trader: bool,
    pub(super) owner: bool,
    pub(super) side: bool,
}

impl Grouping {
    /// Reads a list of `sym`, `trader`, `owner` and `side`.
    pub(super) fn read(item: &Item, key: &str) -> Result<Self, Wrong> {
        let mut grouping = Self::default();
        let mut sym = false;
        for item in item.list(key)? {
            let seen = match item.text(key)? {
                "sym" => &mut sym,
                "trader" => &mut grouping.trader,
                "owner" => &mut grouping.owner,
                "side" => &mut grouping.side,
                other => {
                    let reason = format!("{key} has {other:?}: there are sym, trader, owner, side");
                    return Err(Wrong::new(item.at, reason));
                }
            };
            *seen = true;
        }
        if !sym {
            let reason = format!("{key} must name sym: instruments are judged apart");
            return Err(Wrong::new(item.at, reason));
        }
        Ok(grouping)
    }

    /// What it asks of events.
    pub(super) const fn asks(self) -> Asked {
        Asked {
            details: self.owner,
            market: false,
        }
    }

    /// The names of its columns.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("sym", true),
            ("trader", self.trader),
            ("owner", self.owner),
            ("side", self.side),
        ];
        all.into_iter().filter(|(_, by)| *by).map(|(name, _)| name)
    }

    /// The group of an event; `None` when the source does not tell.
    #[inline]
    pub(super) fn key(self, view: &View<'_>) -> Option<Key> {
        let known = |wanted: bool, number: u32| match (wanted, number) {
            (false, _) => Some(0),
            (true, NOBODY) => None,
            (true, number) => Some(number),
        };
        let trader = if self.trader { view.trader() } else { 0 };
        let owner = if self.owner {
            view.rows.owner(view.row)
        } else {
            0
        };
        Some(Key {
            trader: known(self.trader, trader)?,
            owner: known(self.owner, owner)?,
            sell: self.side && view.side()? == Side::Sell,
        })
    }

    /// The number under which the findings of a group join into alerts.
    pub(super) fn entity(self, sym: u32, key: Key) -> u64 {
        let who = match (self.trader, self.owner) {
            (_, false) => key.trader,
            (false, true) => key.owner,
            // Two numbers do not fit: that two groups of an instrument share one is as good as
            // impossible.
            (true, true) => FixedState::default().hash_one((key.trader, key.owner)) as u32,
        };
        u64::from(sym) << 32 | u64::from(who << 1) | u64::from(key.sell)
    }
}

/// Which group of its instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Key {
    trader: u32,
    owner: u32,
    sell: bool,
}

/// The groups of one instrument.
#[derive(Debug, Clone)]
pub(super) struct Instrument<G> {
    /// The latest time of its events.
    pub(super) now: i64,
    places: HashMap<Key, u32, FixedState>,
    slots: Vec<Slot<G>>,
    hand: usize,
    /// No group is idle before then.
    full_until: i64,
    /// What was lost with groups that were let go.
    pub(super) lost: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Slot<G> {
    key: Key,
    /// When it was last asked for.
    last: i64,
    group: G,
}

impl<G> Default for Instrument<G> {
    fn default() -> Self {
        Self {
            now: i64::MIN,
            places: HashMap::default(),
            slots: Vec::new(),
            hand: 0,
            full_until: i64::MIN,
            lost: 0,
        }
    }
}

/// What is kept of a group.
pub(super) trait Group: Default {
    /// What is lost when it is let go idle.
    fn lost(&self) -> u64 {
        0
    }
}

impl<G: Group> Instrument<G> {
    /// The group of this key, if there is one.
    #[inline]
    pub(super) fn find(&mut self, key: Key) -> Option<&mut G> {
        let place = *self.places.get(&key)? as usize;
        let slot = self.slots.get_mut(place)?;
        slot.last = self.now;
        Some(&mut slot.group)
    }

    /// The group of this key, an empty one when there is none; `None` when there are too many. Groups
    /// that were not asked for within `kept` nanoseconds are let go.
    #[inline]
    pub(super) fn group(&mut self, key: Key, kept: i64) -> Option<&mut G> {
        if self.slots.len() >= SWEPT_FROM {
            for _ in 0..SWEPT {
                self.sweep_one(kept);
            }
        }
        let place = match self.places.get(&key) {
            Some(place) => *place as usize,
            None => self.add(key, kept)?,
        };
        let slot = self.slots.get_mut(place)?;
        slot.last = self.now;
        Some(&mut slot.group)
    }

    fn add(&mut self, key: Key, kept: i64) -> Option<usize> {
        if self.slots.len() >= GROUPS_MAX {
            self.sweep_all(kept);
        }
        if self.slots.len() >= GROUPS_MAX {
            return None;
        }
        let place = self.slots.len();
        self.slots.push(Slot {
            key,
            last: self.now,
            group: G::default(),
        });
        self.places.insert(key, place as u32);
        Some(place)
    }

    /// Looks at the next group.
    #[inline]
    fn sweep_one(&mut self, kept: i64) {
        match self.slots.get(self.hand) {
            None => self.hand = 0,
            Some(slot) if self.now.saturating_sub(slot.last) <= kept => self.hand += 1,
            Some(slot) => {
                self.lost += slot.group.lost();
                self.places.remove(&slot.key);
                self.slots.swap_remove(self.hand);
                if let Some(moved) = self.slots.get(self.hand) {
                    self.places.insert(moved.key, self.hand as u32);
                }
            }
        }
    }

    /// Lets all idle groups go, unless none can be idle yet.
    fn sweep_all(&mut self, kept: i64) {
        if self.now < self.full_until {
            return;
        }
        self.hand = 0;
        while self.hand < self.slots.len() {
            self.sweep_one(kept);
        }
        // At the latest a sixteenth of the time later it is worth looking again.
        self.full_until = self.now.saturating_add(kept / 16);
    }

    /// All groups, in an order that does not depend on a hash.
    pub(super) fn groups_mut(&mut self) -> impl Iterator<Item = &mut G> {
        self.slots.iter_mut().map(|slot| &mut slot.group)
    }
}

/// The groups of all instruments, by the engine's number of the instrument.
#[derive(Debug, Clone)]
pub(super) struct Groups<G> {
    instruments: Vec<Option<Box<Instrument<G>>>>,
    /// Where instruments come one after another: the one at hand.
    at: Option<u32>,
}

impl<G> Default for Groups<G> {
    fn default() -> Self {
        Self {
            instruments: Vec::new(),
            at: None,
        }
    }
}

impl<G> Groups<G> {
    /// The groups of the instrument at a row.
    #[inline]
    pub(super) fn instrument(&mut self, sym: u32, alone: bool) -> Option<&mut Instrument<G>> {
        if alone && self.at != Some(sym) {
            self.instruments.clear();
            self.at = Some(sym);
        }
        let place = sym as usize;
        if self.instruments.len() <= place {
            self.instruments.resize_with(place + 1, || None);
        }
        let instrument = self.instruments.get_mut(place)?;
        Some(instrument.get_or_insert_with(Box::default))
    }

    /// What was lost with groups that were let go.
    pub(super) fn lost(&self) -> u64 {
        self.instruments.iter().flatten().map(|one| one.lost).sum()
    }

    /// Number of groups.
    pub(super) fn len(&self) -> u64 {
        let instruments = self.instruments.iter().flatten();
        instruments.map(|one| one.slots.len() as u64).sum()
    }

    /// All groups, in an order that does not depend on a hash.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut G> {
        let instruments = self.instruments.iter_mut().flatten();
        instruments.flat_map(|one| one.slots.iter_mut().map(|slot| &mut slot.group))
    }
}

impl<G: Serialize> Serialize for Groups<G> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.collect_seq(self.instruments.iter().map(saved))
    }
}

fn saved<G>(instrument: &Option<Box<Instrument<G>>>) -> Option<Saved<&Vec<Slot<G>>>> {
    let instrument = instrument.as_ref()?;
    Some(Saved {
        now: instrument.now,
        hand: instrument.hand,
        full_until: instrument.full_until,
        lost: instrument.lost,
        slots: &instrument.slots,
    })
}

/// An instrument as it is saved.
#[derive(Serialize, Deserialize)]
struct Saved<S> {
    now: i64,
    hand: usize,
    full_until: i64,
    lost: u64,
    slots: S,
}

impl<'de, G: Deserialize<'de>> Deserialize<'de> for Groups<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let saved = Vec::<Option<Saved<Vec<Slot<G>>>>>::deserialize(deserializer)?;
        let mut instruments = Vec::with_capacity(saved.len());
        for saved in saved {
            let instrument = saved.map(|saved| {
                let keys = saved.slots.iter().map(|slot| slot.key);
                Box::new(Instrument {
                    now: saved.now,
                    places: keys.zip(0..).collect(),
                    slots: saved.slots,
                    hand: saved.hand,
                    full_until: saved.full_until,
                    lost: saved.lost,
                })
            });
            if let Some(one) = &instrument
                && one.places.len() != one.slots.len()
            {
                return Err(serde::de::Error::custom("a group is there twice"));
            }
            instruments.push(instrument);
        }
        Ok(Self {
            instruments,
            at: None,
        })
    }
}
