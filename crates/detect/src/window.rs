//! Windows that slide over each entity's events by event time and know their sums.
//!
//! Invariant: an entity's rows are in order of time, equal times in order of arrival; `sum` is that of
//! the rows from `before` on, the window of the newest. Every result depends on the entity's own rows
//! alone. A row in time order costs O(1) amortised; a late one costs the length of its entity's ring.
//!
//! Why not one queue for all entities: a source that lags behind another, an instrument that is
//! replayed alone and a shard must give the same windows as everything together.
//!
//! What a row costs is cache misses: its entity's line, its own place, and where rows leave the
//! window, theirs. So a batch goes through in steps, each a short loop whose loads do not wait for
//! each other: [`Windows::guess`], [`Windows::place`], [`Windows::touch`], [`Windows::push`]. Rows that
//! are let go stay in the ring until it is full or a late row comes.

use serde::{Deserialize, Serialize};

use crate::places::Places;
use crate::rings::{Ring, Rings};

/// One event that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Nanoseconds.
    pub(crate) time: i64,
    /// Units of quantity.
    pub(crate) quantity: i64,
    /// Sequence number.
    pub(crate) seq: u64,
}

/// A row of a batch on its way into its entity's window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coming {
    /// Of the batch.
    pub(crate) row: usize,
    /// Key of its entity.
    pub(crate) entity: u64,
    /// Of its entity; found after all are listed.
    pub(crate) place: u32,
    pub(crate) kept: Kept,
}

/// Rows that go through the windows together.
pub(crate) const AT_ONCE: usize = 512;

/// Reads something for each of the rows: these reads do not wait for each other.
#[inline]
fn touch(rows: &[Coming], read: impl Fn(&Coming) -> u64) {
    std::hint::black_box(rows.iter().fold(0, |all, row| all ^ read(row)));
}

/// What a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total {
    /// Sum of quantities, in units.
    pub(crate) quantity: i128,
    /// Number of rows.
    pub(crate) count: u64,
    /// First row of the entity's ring that is counted.
    first: u32,
}

/// In place of a sum that once did not fit: until the window is empty it is added up when needed.
const WIDE: i64 = -1;

/// One entity's rows and the window of its newest. One cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Entity {
    key: u64,
    /// Sum of the window, or [`WIDE`].
    sum: i64,
    /// Times of the newest row and of the window's first.
    newest: i64,
    first_time: i64,
    /// Rows before this time are gone from the ring, but for late ones that came after.
    floor: i64,
    ring: Ring,
    /// Rows before the window.
    before: u32,
}

const _: () = assert!(size_of::<Entity>() == 64);

impl Entity {
    const fn new(key: u64) -> Self {
        Self {
            key,
            sum: 0,
            newest: i64::MIN,
            first_time: 0,
            floor: i64::MIN,
            ring: Ring::EMPTY,
            before: 0,
        }
    }

    /// Rows in the window.
    #[inline]
    fn counted(&self) -> u32 {
        self.ring.len() - self.before
    }

    #[inline]
    fn add_to_sum(&mut self, quantity: i64) {
        if self.sum != WIDE {
            self.sum = self.sum.checked_add(quantity).unwrap_or(WIDE);
        }
    }

    /// After the row has left the window.
    #[inline]
    fn take_from_sum(&mut self, quantity: i64) {
        if self.counted() == 0 {
            self.sum = 0;
        } else if self.sum != WIDE {
            self.sum -= quantity;
        }
    }
}

/// An entity's rows, as they are saved.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedWindow {
    key: u64,
    before: u32,
    rows: Vec<Kept>,
}

/// The windows of all entities.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    lookback: i64,
    lateness: i64,
    entities: Vec<Entity>,
    places: Places,
    rings: Rings,
}

impl Windows {
    /// Windows that reach back `lookback` and keep rows `lateness` longer (nanoseconds).
    pub(crate) fn new(lookback: i64, lateness: i64) -> Self {
        Self {
            lookback,
            lateness,
            entities: Vec::new(),
            places: Places::default(),
            rings: Rings::default(),
        }
    }

    /// Forgets all entities, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.entities.clear();
        self.places.clear();
        self.rings.clear();
    }

    /// Number of entities.
    pub(crate) fn len(&self) -> usize {
        self.entities.len()
    }

    /// Reads what [`Self::guess`] will read.
    #[inline]
    fn touch_key(&self, key: u64) -> u64 {
        self.places.touch(key)
    }

    /// The place that the entity with this key most likely has.
    #[inline]
    fn guess(&self, key: u64) -> u32 {
        self.places.guess(key)
    }

    /// The place of the entity with this key, which is made when it is new. `guess` is what
    /// [`Self::guess`] gave.
    #[inline]
    fn place(&mut self, key: u64, guess: u32) -> u32 {
        match self.entities.get(guess as usize) {
            Some(entity) if entity.key == key => guess,
            _ => self.search(key),
        }
    }

    fn search(&mut self, key: u64) -> u32 {
        let entities = &self.entities;
        let key_of = |place: u32| entities.get(place as usize).map(|entity| entity.key);
        if let Some(place) = self.places.find(key, key_of) {
            return place;
        }
        let place = self.entities.len() as u32;
        self.entities.push(Entity::new(key));
        let entities = &self.entities;
        self.places.insert(key, place, |place| {
            entities.get(place as usize).map_or(0, |entity| entity.key)
        });
        place
    }

    /// Reads what [`Self::push`] will read or write.
    #[inline]
    fn touch(&self, place: u32, time: i64) -> i64 {
        let Some(entity) = self.entities.get(place as usize) else {
            return 0;
        };
        let from = time.saturating_sub(self.lookback);
        let slides = entity.first_time < from && entity.newest >= from;
        // Behind the last row is where the new one goes; in a full ring that is the first one.
        let row = if slides {
            entity.before
        } else {
            entity.ring.len()
        };
        self.rings.time(&entity.ring, row)
    }

    /// Adds a row to the entity at `place` and returns the total of its window: all kept rows from
    /// `lookback` before its time up to its time, both ends included. Rows more than
    /// `lookback + lateness` before it are let go.
    #[inline]
    fn push(&mut self, place: u32, row: Kept) -> Total {
        let from = row.time.saturating_sub(self.lookback);
        let reach = self.lookback.saturating_add(self.lateness);
        let rings = &mut self.rings;
        let Some(entity) = self.entities.get_mut(place as usize) else {
            return Total {
                quantity: 0,
                count: 0,
                first: 0,
            }; // every place was given out by `place`
        };
        if row.time < entity.newest {
            let_go(entity, rings, entity.newest.saturating_sub(reach));
            drop_before(entity, rings, row.time.saturating_sub(reach));
            return insert(entity, rings, row, from, self.lookback);
        }
        if entity.newest < from {
            entity.before = entity.ring.len();
            entity.sum = 0;
        } else {
            slide(entity, rings, from);
        }
        if entity.ring.is_full() {
            let_go(entity, rings, row.time.saturating_sub(reach));
        }
        append(entity, rings, row);
        Total {
            quantity: sum(entity, rings),
            count: u64::from(entity.counted()),
            first: entity.before,
        }
    }

    /// Adds rows, each to its entity's window, and calls `each` with the total right after it; how many
    /// rows had to leave entities of more than `max` before their time. Best of some hundred rows:
    /// enough that their loads overlap, few enough that what was loaded is still near when it is used.
    #[inline]
    pub(crate) fn push_all(
        &mut self,
        rows: &mut [Coming],
        max: usize,
        mut each: impl FnMut(&Self, &Coming, Total),
    ) -> u64 {
        touch(rows, |row| self.touch_key(row.entity));
        for row in &mut *rows {
            row.place = self.guess(row.entity);
        }
        for row in &mut *rows {
            row.place = self.place(row.entity, row.place);
        }
        touch(rows, |row| {
            self.touch(row.place, row.kept.time).cast_unsigned()
        });
        let mut overflows = 0;
        for row in &*rows {
            let total = self.push(row.place, row.kept);
            each(self, row, total);
            overflows += u64::from(self.limit(row.place, max));
        }
        overflows
    }

    /// Keeps at most `max` rows for the entity at `place`; whether one had to go before its time.
    #[inline]
    fn limit(&mut self, place: u32, max: usize) -> bool {
        match self.entities.get_mut(place as usize) {
            Some(entity) if entity.ring.len() as usize > max => {
                let floor = entity.newest.saturating_sub(self.lookback);
                let_go(entity, &mut self.rings, floor.saturating_sub(self.lateness));
                let over = entity.ring.len() as usize > max;
                if over {
                    drop_oldest(entity, &mut self.rings);
                }
                over
            }
            _ => false,
        }
    }

    /// The sequence numbers of a total's rows, ascending; the latest `max`. Only right after the
    /// [`Self::push`] that gave the total.
    pub(crate) fn evidence(&self, place: u32, total: Total, max: usize) -> Vec<u64> {
        let Some(entity) = self.entities.get(place as usize) else {
            return Vec::new();
        };
        let count = usize::try_from(total.count).unwrap_or(usize::MAX);
        let rows = self.rings.rows(&entity.ring).skip(total.first as usize);
        evidence(rows.take(count).map(|kept| kept.seq), max)
    }

    /// All entities with their rows, in order of first sight.
    pub(crate) fn save(&self) -> Vec<SavedWindow> {
        let reach = self.lookback.saturating_add(self.lateness);
        let saved = |entity: &Entity| {
            let floor = entity.newest.saturating_sub(reach);
            let gone = |kept: &Kept| floor > entity.floor && kept.time < floor;
            let gone = self.rings.partition(&entity.ring, gone);
            SavedWindow {
                key: entity.key,
                before: entity.before.saturating_sub(gone),
                rows: self
                    .rings
                    .rows(&entity.ring)
                    .skip(gone as usize)
                    .copied()
                    .collect(),
            }
        };
        self.entities.iter().map(saved).collect()
    }

    /// Takes saved entities in, in their order, in place of what is there; `false` when they cannot
    /// be.
    #[must_use]
    pub(crate) fn load(&mut self, saved: Vec<SavedWindow>) -> bool {
        *self = Self::new(self.lookback, self.lateness);
        let reach = self.lookback.saturating_add(self.lateness);
        let entities = saved.len();
        for window in saved {
            if window.before as usize > window.rows.len() {
                return false;
            }
            let place = self.search(window.key);
            let Some(entity) = self.entities.get_mut(place as usize) else {
                return false;
            };
            for (index, &row) in window.rows.iter().enumerate() {
                if index == window.before as usize {
                    entity.before = window.before;
                    entity.sum = 0;
                }
                if row.time < entity.newest {
                    return false;
                }
                append(entity, &mut self.rings, row);
            }
            entity.floor = entity.newest.saturating_sub(reach);
        }
        self.entities.len() == entities
    }
}

/// Moves the window's start to the first row at or after `from`.
#[inline]
fn slide(entity: &mut Entity, rings: &Rings, from: i64) {
    while entity.first_time < from && entity.counted() > 0 {
        let quantity = rings.get(&entity.ring, entity.before).quantity;
        entity.before += 1;
        entity.take_from_sum(quantity);
        entity.first_time = rings.time(&entity.ring, entity.before);
    }
}

/// Lets go of rows before `floor`, unless that was done since: late rows that came after it stay. The
/// window does not reach back so far.
fn let_go(entity: &mut Entity, rings: &mut Rings, floor: i64) {
    if floor > entity.floor {
        entity.floor = floor;
        if entity.newest < floor {
            entity.ring.clear();
            entity.before = 0;
        } else {
            drop_before(entity, rings, floor);
        }
    }
}

fn drop_before(entity: &mut Entity, rings: &mut Rings, floor: i64) {
    while entity.before > 0 && rings.time(&entity.ring, 0) < floor {
        entity.ring.drop_first();
        entity.before -= 1;
    }
}

fn drop_oldest(entity: &mut Entity, rings: &mut Rings) {
    if entity.ring.len() == 0 {
        return;
    }
    let quantity = rings.get(&entity.ring, 0).quantity;
    entity.ring.drop_first();
    match entity.before.checked_sub(1) {
        Some(before) => entity.before = before,
        None => {
            entity.take_from_sum(quantity);
            entity.first_time = rings.time(&entity.ring, 0);
        }
    }
}

#[inline]
fn append(entity: &mut Entity, rings: &mut Rings, row: Kept) {
    if entity.counted() == 0 {
        entity.first_time = row.time;
    }
    rings.push(&mut entity.ring, row);
    entity.newest = row.time;
    entity.add_to_sum(row.quantity);
}

/// Puts a late row behind all rows of its time or before, and measures its own window.
#[cold]
fn insert(entity: &mut Entity, rings: &mut Rings, row: Kept, from: i64, lookback: i64) -> Total {
    let upto = rings.partition(&entity.ring, |kept| kept.time <= row.time);
    let first = rings.partition(&entity.ring, |kept| kept.time < from);
    rings.insert(&mut entity.ring, upto, row);
    if row.time < entity.newest.saturating_sub(lookback) {
        entity.before += 1;
    } else {
        entity.add_to_sum(row.quantity);
        entity.first_time = rings.time(&entity.ring, entity.before);
    }
    let rows = rings.rows(&entity.ring).skip(first as usize);
    let count = upto + 1 - first;
    Total {
        quantity: rows
            .take(count as usize)
            .map(|row| i128::from(row.quantity))
            .sum(),
        count: u64::from(count),
        first,
    }
}

/// The sum of the newest row's window.
#[inline]
fn sum(entity: &Entity, rings: &Rings) -> i128 {
    match entity.sum {
        WIDE => {
            let rows = rings.rows(&entity.ring).skip(entity.before as usize);
            rows.map(|row| i128::from(row.quantity)).sum()
        }
        sum => i128::from(sum),
    }
}

/// The sequence numbers, ascending; the latest `max`.
pub(crate) fn evidence(seqs: impl Iterator<Item = u64>, max: usize) -> Vec<u64> {
    let mut seqs: Vec<_> = seqs.collect();
    let older = seqs.len().saturating_sub(max);
    if older > 0 {
        seqs.select_nth_unstable(older);
        seqs.drain(..older);
    }
    seqs.sort_unstable();
    seqs
}
