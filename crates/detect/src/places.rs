//! Where the entity with a key is: an open hash table of places, whose keys are kept elsewhere.
//!
//! Invariant: at most half of the slots are taken, so that a search ends. It is our own because a look
//! at it must be one load that waits for nothing ([`Places::touch`]), which no library's table offers.

/// No place.
const FREE: u64 = u64::MAX;
const SLOTS_MIN: usize = 1_024;

/// The table. A slot is the place in its low half and a part of the key's hash in its high half, so
/// that others' slots are passed without a look at their keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// A power of two of them, or none.
    slots: Vec<u64>,
    taken: usize,
}

impl Places {
    /// Forgets all places; keeps the memory, unless it is much more than was needed.
    pub(crate) fn clear(&mut self) {
        if self.taken.saturating_mul(16) < self.slots.len() && self.slots.len() > SLOTS_MIN {
            self.slots = Vec::new();
        }
        self.slots.fill(FREE);
        self.taken = 0;
    }

    /// Reads the slot where the key belongs.
    #[inline]
    pub(crate) fn touch(&self, key: u64) -> u64 {
        let (_, at) = self.split(key);
        self.slots.get(at).copied().unwrap_or_default()
    }

    /// The place of the first slot that looks like the key's; [`u32::MAX`] when there is none.
    #[inline]
    pub(crate) fn guess(&self, key: u64) -> u32 {
        let (tag, mut at) = self.split(key);
        while let Some(&slot) = self.slots.get(at) {
            if slot & TAG == tag || slot == FREE {
                return slot as u32;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        u32::MAX
    }

    /// The place of `key`; `key_of` tells the key of a place.
    pub(crate) fn find(&self, key: u64, key_of: impl Fn(u32) -> Option<u64>) -> Option<u32> {
        let (tag, mut at) = self.split(key);
        loop {
            let slot = *self.slots.get(at)?;
            if slot == FREE {
                return None;
            }
            if slot & TAG == tag && key_of(slot as u32) == Some(key) {
                return Some(slot as u32);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds a key that is not there yet.
    pub(crate) fn insert(&mut self, key: u64, place: u32, key_of: impl Fn(u32) -> u64) {
        if (self.taken + 1) * 2 > self.slots.len() {
            let slots = (self.slots.len() * 2).max(SLOTS_MIN);
            let before = std::mem::replace(&mut self.slots, vec![FREE; slots]);
            for slot in before.into_iter().filter(|&slot| slot != FREE) {
                self.put(key_of(slot as u32), slot as u32);
            }
        }
        self.put(key, place);
        self.taken += 1;
    }

    fn put(&mut self, key: u64, place: u32) {
        let (tag, mut at) = self.split(key);
        while let Some(slot) = self.slots.get_mut(at) {
            if *slot == FREE {
                *slot = tag | u64::from(place);
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The key's tag, and the slot where it belongs.
    #[inline]
    fn split(&self, key: u64) -> (u64, usize) {
        let hash = hash(key);
        (hash & TAG, hash as usize & self.slots.len().wrapping_sub(1))
    }
}

/// The half of a slot that is the tag.
const TAG: u64 = 0xffff_ffff_0000_0000;

#[inline]
fn hash(key: u64) -> u64 {
    let wide = u128::from(key ^ 0x9e37_79b9_7f4a_7c15) * 0xd1b5_4a32_d192_ed03;
    (wide >> 64) as u64 ^ wide as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_where_it_was_put() {
        let key = |place: u32| (u64::from(place) * 7) << 20 | u64::from(place % 3);
        let mut places = Places::default();
        for place in 0..5_000 {
            assert_eq!(places.find(key(place), |other| Some(key(other))), None);
            places.insert(key(place), place, key);
        }
        for place in 0..5_000 {
            let found = places.find(key(place), |other| Some(key(other)));
            assert_eq!(found, Some(place));
        }
        let guessed = (0..5_000).filter(|&place| places.guess(key(place)) == place);
        assert!(guessed.count() > 4_990, "a tag is hardly ever another's");
    }
}
