//! What a detector keeps for each of its entities, for as long as it matters.
//!
//! Invariant: an entity is let go only when its instrument's time is past all that it could still
//! say, so that letting go changes no answer, whatever the other instruments do. A key is the
//! instrument in its high half and who it is in its low half.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::step::Step;

/// Entities looked at for letting go, each time that one is asked for.
const SWEPT: usize = 2;

/// The states, by entity.
#[derive(Debug, Clone)]
pub(crate) struct Entities<S> {
    places: HashMap<u64, u32, FixedState>,
    slots: Vec<Slot<S>>,
    hand: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Slot<S> {
    key: u64,
    /// When it was last asked for.
    last: i64,
    state: S,
}

impl<S> Default for Entities<S> {
    fn default() -> Self {
        Self {
            places: HashMap::default(),
            slots: Vec::new(),
            hand: 0,
        }
    }
}

/// The key of someone in the step's instrument.
#[inline]
pub(crate) fn key(sym: u32, who: u32) -> u64 {
    u64::from(sym) << 32 | u64::from(who)
}

impl<S: Default> Entities<S> {
    /// The state of someone in the step's instrument, empty when there is none. States that were
    /// not asked for within `kept` nanoseconds may be let go.
    #[inline]
    pub(crate) fn get(&mut self, step: &Step<'_>, who: u32, kept: i64) -> &mut S {
        self.sweep(step, kept);
        let key = key(step.sym, who);
        let next = self.slots.len() as u32;
        let place = *self.places.entry(key).or_insert(next) as usize;
        if place == next as usize {
            self.slots.push(Slot {
                key,
                last: step.time,
                state: S::default(),
            });
        }
        match self.slots.get_mut(place) {
            Some(slot) => {
                slot.last = step.time;
                &mut slot.state
            }
            None => unreachable!("a place is that of a slot"),
        }
    }

    /// The state of someone in the step's instrument, if there is one.
    #[inline]
    pub(crate) fn find(&mut self, step: &Step<'_>, who: u32, kept: i64) -> Option<&mut S> {
        if self.slots.is_empty() {
            return None;
        }
        self.sweep(step, kept);
        let place = *self.places.get(&key(step.sym, who))?;
        let slot = self.slots.get_mut(place as usize)?;
        slot.last = step.time;
        Some(&mut slot.state)
    }

    fn sweep(&mut self, step: &Step<'_>, kept: i64) {
        for _ in 0..SWEPT {
            let Some(slot) = self.slots.get(self.hand) else {
                self.hand = 0;
                return;
            };
            let now = step.markets.now((slot.key >> 32) as u32);
            if now.is_some_and(|now| now.saturating_sub(slot.last) <= kept) {
                self.hand += 1;
                continue;
            }
            self.places.remove(&slot.key);
            self.slots.swap_remove(self.hand);
            if let Some(moved) = self.slots.get(self.hand) {
                self.places.insert(moved.key, self.hand as u32);
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.slots.len() as u64
    }
}

impl<S: Serialize> Serialize for Entities<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.slots.serialize(serializer)
    }
}

impl<'de, S: Deserialize<'de>> Deserialize<'de> for Entities<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slots = Vec::<Slot<S>>::deserialize(deserializer)?;
        let places: HashMap<u64, u32, FixedState> =
            slots.iter().map(|slot| slot.key).zip(0..).collect();
        if places.len() != slots.len() {
            return Err(serde::de::Error::custom("an entity is there twice"));
        }
        Ok(Self {
            places,
            slots,
            hand: 0,
        })
    }
}
