//! Thousands of seeded schedules of journal, engines and recent: what is delivered, lost, sent twice,
//! saved, killed and started again in any order ends in the tables of one process.
//!
//! Invariant: a schedule is a function of its seed alone; a failure names the seed. Nothing here
//! waits, and nothing is random but the seed. `TAPEWATCH_SCHEDULES` says how many (default 300),
//! `TAPEWATCH_SEED` which one alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::VecDeque;

use tapewatch_detect::{DetectConfig, EngineState, Shard};
use tapewatch_journal::{FsyncPolicy, Journal, Options, Readers};
use tapewatch_model::{
    Bucket, Details, EventType, Hit, Price, Quantity, RowRef, Side, Time, encode_bucket, frame_kind,
};
use tapewatch_store::{Store, StoreOptions};

use crate::checkpoint::Checkpoint;
use crate::fold::{Fold, FrameMark, Parts, lock};
use crate::hits_log::{self, HitsLog};

const BUCKETS: usize = 60;
const STEPS: usize = 400;

/// Numbers that look random and are a function of the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn options() -> Options {
    Options {
        fsync: FsyncPolicy::Os,
        segment_bytes_max: 4_096,
        ..Options::default()
    }
}

fn detect() -> DetectConfig {
    let mut config = DetectConfig::default();
    for text in [
        "spoofing.cancel_count=1",
        "spoofing.cancel_quantity=100",
        "spoofing.lookback=3s",
    ] {
        config.set(text).unwrap();
    }
    config
}

fn bucket(dice: &mut Dice, number: usize) -> Bucket {
    let mut bucket = Bucket::default();
    for row in 0..1 + dice.below(5) {
        let texts = [
            format!("SYM{}", dice.below(5)),
            format!("T{}", dice.below(2)),
            format!("O{number}-{row}"),
        ];
        let row = RowRef::<[u8]> {
            time: Time::from_nanos((number as i64 * 400 + dice.below(400) as i64) * 1_000_000),
            sym: texts[0].as_bytes(),
            event_type: [EventType::New, EventType::Cancelled][dice.below(2) as usize],
            trader: texts[1].as_bytes(),
            side: [Side::Buy, Side::Sell][dice.below(2) as usize],
            order_id: texts[2].as_bytes(),
            price: Price::from_units(1),
            quantity: Quantity::from_whole(60).unwrap(),
            details: Details::default(),
        };
        bucket.orders.push(&row).unwrap();
    }
    bucket
}

/// The role `journal`: a kill loses nothing that was committed.
struct JournalRole {
    dir: tempfile::TempDir,
    journal: Option<Journal>,
    hits: Option<HitsLog>,
}

impl JournalRole {
    fn start() -> Self {
        let mut role = Self {
            dir: tempfile::tempdir().unwrap(),
            journal: None,
            hits: None,
        };
        role.restart();
        role
    }

    fn restart(&mut self) {
        (self.journal, self.hits) = (None, None); // the locks first
        let [journal, hits] = ["journal", "hits"].map(|name| self.dir.path().join(name));
        self.journal = Some(Journal::open(&journal, options()).unwrap().0);
        let last = self.journal.as_ref().unwrap().durable_seq();
        self.hits = Some(HitsLog::open(&hits, options(), last, |_| {}).unwrap());
    }

    fn publish(&mut self, bucket: &Bucket) {
        let journal = self.journal.as_mut().unwrap();
        let mut bytes = Vec::new();
        encode_bucket(bucket, &mut bytes);
        let count = u32::try_from(bucket.count()).unwrap();
        journal
            .append(frame_kind::BUCKET, count, 0, &bytes)
            .unwrap();
        journal.commit().unwrap();
    }

    fn readers(&self) -> Readers {
        self.journal.as_ref().unwrap().readers()
    }
}

/// Applies up to `most` frames after those that the fold has.
fn follow(fold: &mut Fold, readers: &Readers, most: u64) {
    let mut reader = readers.reader(fold.last().last_seq() + 1).unwrap();
    for _ in 0..most {
        let Some(frame) = reader.next_frame().unwrap() else {
            return;
        };
        fold.frame(&frame).unwrap();
    }
}

/// An engine: what it found waits until the journal's answer has come.
struct EngineRole {
    share: Shard,
    fold: Option<Fold>,
    under_way: VecDeque<(u64, Vec<Hit>)>,
    /// How many of them the journal has taken, without the answer having come.
    taken: usize,
    saved: Option<Checkpoint>,
}

impl EngineRole {
    fn restart(&mut self, store: &Store) {
        let parts = Parts {
            detects: Some((self.share, 1)),
            tables: false,
            apart: true,
        };
        let mut fold = Fold::new(&detect(), parts, store.clone()).unwrap();
        if let Some(saved) = self.saved.clone() {
            fold.restore(saved).unwrap();
        }
        (self.fold, self.taken) = (Some(fold), 0);
        self.under_way.clear();
    }

    fn step(&mut self, dice: &mut Dice, journal: &mut JournalRole, store: &Store) {
        match dice.below(12) {
            0 => (self.fold, self.taken) = (None, 0),
            1 => self.taken = 0, // the connection broke: all of it is sent again
            2 => self.save(),
            3..=6 => self.detect(&journal.readers(), dice.below(4)),
            7..=9 => self.tell(journal),
            _ if self.taken > 0 => {
                self.taken -= 1;
                self.under_way.pop_front();
            }
            _ => {}
        }
        if self.fold.is_none() && dice.below(3) == 0 {
            self.restart(store);
        }
    }

    fn detect(&mut self, readers: &Readers, most: u64) {
        if let Some(fold) = &mut self.fold {
            follow(fold, readers, most);
            let found = fold.take_found().unwrap();
            self.under_way.push_back((fold.last().last_seq(), found));
        }
    }

    fn tell(&mut self, journal: &mut JournalRole) {
        if self.fold.is_some()
            && let Some((through, hits)) = self.under_way.get(self.taken)
        {
            let log = journal.hits.as_mut().unwrap();
            log.found(self.share, *through, hits.clone()).unwrap();
            self.taken += 1;
        }
    }

    /// A checkpoint, which waits until everything is answered.
    fn save(&mut self) {
        if let (Some(fold), true) = (&self.fold, self.under_way.is_empty())
            && fold.last() != FrameMark::default()
        {
            let pending = fold.pending(Vec::new());
            self.saved = Some(Checkpoint {
                frame: pending.frame,
                shards: pending.shards.iter().map(EngineState::to_bytes).collect(),
                producers: pending.producers,
                config: pending.config,
                totals: pending.totals,
                arrivals: pending.arrivals,
                hits: Vec::new(),
                history_hits: 0,
            });
        }
    }
}

/// The role `recent`, which begins at the beginning after a kill.
struct RecentRole {
    fold: Fold,
    /// Next sequence number of the log of hits.
    next_hit: u64,
}

impl RecentRole {
    fn start() -> Self {
        let parts = Parts {
            detects: None,
            tables: true,
            apart: true,
        };
        let store = Store::in_memory(StoreOptions::default()).unwrap();
        Self {
            fold: Fold::new(&detect(), parts, store).unwrap(),
            next_hit: 1,
        }
    }

    fn hits(&mut self, journal: &JournalRole, most: u64) {
        let log = journal.hits.as_ref().unwrap();
        let mut through = log.watermark();
        let mut reader = log.readers().readers.reader(self.next_hit).unwrap();
        for taken in 0.. {
            match reader.next_frame().unwrap() {
                Some(frame) if taken < most => {
                    self.fold.found_elsewhere(hits_log::decode(&frame).unwrap());
                }
                Some(_) => {
                    through = 0; // there is more
                    break;
                }
                None => break,
            }
            self.next_hit = reader.next_seq();
        }
        self.fold.hits_elsewhere(through, Vec::new());
    }

    /// Alerts in the order of their ids: id, hits, latest event.
    fn alerts(&self) -> Vec<String> {
        alerts(&self.fold)
    }
}

fn alerts(fold: &Fold) -> Vec<String> {
    let book = fold.book();
    let book = lock(&book);
    let mut rows: Vec<_> = book
        .newest()
        .map(|row| serde_json::to_string(row).unwrap())
        .collect();
    rows.sort_unstable();
    rows
}

fn schedule(seed: u64, store: &Store) {
    let mut dice = Dice(seed);
    let buckets: Vec<_> = (0..BUCKETS)
        .map(|number| bucket(&mut dice, number))
        .collect();
    let mut journal = JournalRole::start();
    let count = 1 + dice.below(3) as u32;
    let mut engines: Vec<_> = (0..count)
        .map(|index| EngineRole {
            share: Shard { index, count },
            fold: None,
            under_way: VecDeque::new(),
            taken: 0,
            saved: None,
        })
        .collect();
    let mut recent = RecentRole::start();
    let mut published = buckets.iter();
    for _ in 0..STEPS {
        match dice.below(16) {
            0..=3 => {
                if let Some(bucket) = published.next() {
                    journal.publish(bucket);
                }
            }
            4 => {
                journal.restart();
                engines.iter_mut().for_each(|engine| engine.taken = 0);
            }
            5 if dice.below(8) == 0 => recent = RecentRole::start(),
            6 | 7 => follow(&mut recent.fold, &journal.readers(), dice.below(6)),
            8 | 9 => recent.hits(&journal, dice.below(4)),
            _ => {
                let engine = dice.below(u64::from(count)) as usize;
                engines[engine].step(&mut dice, &mut journal, store);
            }
        }
    }
    published.for_each(|bucket| journal.publish(bucket));
    for engine in &mut engines {
        if engine.fold.is_none() {
            engine.restart(store);
        }
        engine.detect(&journal.readers(), u64::MAX);
        engine.taken = 0;
        while engine.taken < engine.under_way.len() {
            engine.tell(&mut journal);
        }
    }
    follow(&mut recent.fold, &journal.readers(), u64::MAX);
    recent.hits(&journal, u64::MAX);
    let mut whole = Fold::new(
        &detect(),
        Parts::whole(1),
        Store::in_memory(StoreOptions::default()).unwrap(),
    )
    .unwrap();
    follow(&mut whole, &journal.readers(), u64::MAX);
    assert!(whole.totals.hits > 10, "seed {seed}: hits are at stake");
    assert_eq!(recent.fold.totals, whole.totals, "seed {seed}");
    assert_eq!(recent.alerts(), alerts(&whole), "seed {seed}");
    assert_eq!(
        recent.fold.hits_through(),
        whole.last().last_seq(),
        "seed {seed}"
    );
}

#[test]
fn any_schedule_ends_in_the_tables_of_one_process() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let store = Store::in_memory(StoreOptions::default()).unwrap();
    match number("TAPEWATCH_SEED") {
        Some(seed) => schedule(seed, &store),
        None => (0..number("TAPEWATCH_SCHEDULES").unwrap_or(300))
            .for_each(|seed| schedule(seed, &store)),
    }
}
