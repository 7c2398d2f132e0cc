//! What a detector keeps for each of its entities, for as long as it matters.
//!
//! Invariant: an entity is let go only when its instrument's time is past all that it could still
//! say, so that letting go changes no answer, whatever the other instruments do. A key is the
//! instrument in its high half and who it is in its low half.

use std::hash::Hash;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::step::Step;

/// Entities looked at for letting go, each time that a new one comes: so those that could be let go
/// are never many, and asking for one that is there costs nothing more.
const SWEPT: usize = 4;

/// Who an entity is within an instrument: by the engine's number, or a [`Pair`].
pub(crate) trait Who: Copy {
    /// Names it among those of all instruments.
    type Key: Copy + Eq + Hash + Serialize + DeserializeOwned + 'static;

    /// Its name in the instrument with this number.
    fn key(self, sym: u32) -> Self::Key;

    /// The number of a name's instrument.
    fn sym(key: Self::Key) -> u32;
}

impl Who for u32 {
    type Key = u64;

    #[inline]
    fn key(self, sym: u32) -> u64 {
        key(sym, self)
    }

    #[inline]
    fn sym(key: u64) -> u32 {
        (key >> 32) as u32
    }
}

/// Two of them, whichever is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    less: u32,
    more: u32,
}

impl Pair {
    pub(crate) fn of(one: u32, other: u32) -> Self {
        Self {
            less: one.min(other),
            more: one.max(other),
        }
    }
}

impl Who for Pair {
    type Key = u128;

    #[inline]
    fn key(self, sym: u32) -> u128 {
        u128::from(sym) << 64 | u128::from(key(self.less, self.more))
    }

    #[inline]
    fn sym(key: u128) -> u32 {
        (key >> 64) as u32
    }
}

/// The states, by entity.
#[derive(Clone)]
pub(crate) struct Entities<S, W: Who = u32> {
    places: HashMap<W::Key, u32, FixedState>,
    slots: Vec<Slot<S, W::Key>>,
    hand: usize,
}

#[derive(Clone, Serialize, Deserialize)]
struct Slot<S, K> {
    key: K,
    /// When it was last asked for, and for how long it matters from then on.
    last: i64,
    kept: i64,
    state: S,
}

impl<S, W: Who> Default for Entities<S, W> {
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

impl<S: Default, W: Who> Entities<S, W> {
    /// The state of someone in the step's instrument, empty when there is none. It may be let go
    /// when it is not asked for within `kept` nanoseconds.
    #[inline]
    pub(crate) fn get(&mut self, step: &Step<'_>, who: W, kept: i64) -> &mut S {
        let key = who.key(step.sym);
        let place = match self.places.get(&key) {
            Some(&place) => place,
            None => self.add(step, key),
        };
        match self.slots.get_mut(place as usize) {
            Some(slot) => {
                slot.last = step.time;
                slot.kept = kept;
                &mut slot.state
            }
            None => unreachable!("a place is that of a slot"),
        }
    }

    /// The state of someone in the step's instrument, if there is one; kept as [`Self::get`] does.
    #[inline]
    pub(crate) fn find(&mut self, step: &Step<'_>, who: W, kept: i64) -> Option<&mut S> {
        if self.slots.is_empty() {
            return None;
        }
        let place = *self.places.get(&who.key(step.sym))?;
        let slot = self.slots.get_mut(place as usize)?;
        slot.last = step.time;
        slot.kept = kept;
        Some(&mut slot.state)
    }

    /// The place of a new one.
    #[cold]
    fn add(&mut self, step: &Step<'_>, key: W::Key) -> u32 {
        self.sweep(step);
        let place = self.slots.len() as u32;
        self.places.insert(key, place);
        self.slots.push(Slot {
            key,
            last: step.time,
            kept: 0,
            state: S::default(),
        });
        place
    }

    fn sweep(&mut self, step: &Step<'_>) {
        for _ in 0..SWEPT {
            let Some(slot) = self.slots.get(self.hand) else {
                self.hand = 0;
                return;
            };
            let now = step.markets.now(W::sym(slot.key));
            if now.is_some_and(|now| now.saturating_sub(slot.last) <= slot.kept) {
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

    /// All states.
    pub(crate) fn states(&self) -> impl Iterator<Item = &S> {
        self.slots.iter().map(|slot| &slot.state)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.slots.len() as u64
    }
}

impl<S: Serialize, W: Who> Serialize for Entities<S, W> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.slots.serialize(serializer)
    }
}

impl<'de, S: Deserialize<'de>, W: Who> Deserialize<'de> for Entities<S, W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slots = Vec::<Slot<S, W::Key>>::deserialize(deserializer)?;
        let places: HashMap<W::Key, u32, FixedState> =
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
