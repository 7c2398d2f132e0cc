//! Thousands of seeded schedules of journal, engines, recent and publishers over a disk and a network
//! that fail in every way they can: whatever happens ends in the tables of one undisturbed process.
//!
//! The journal's pipeline, both logs, the fold, the messages and what is sent again are the real ones;
//! threads, sockets, files and the clock are not. What happens: kills of each role, also in the middle of
//! an operation of the disk; losses of power, which tear the last write; a full disk, errors of writes,
//! an fsync that fails; connections that delay, and cut in the middle of a message; answers that are lost;
//! buckets that are said twice; a clock that jumps by hours.
//!
//! It can fail: an acknowledgement before the fsync, hits that are not recognised, a subscriber that goes
//! on two too far, and an fsync tried again after it failed were each put in by hand, and each was found
//! by the second schedule.
//!
//! Invariant: a schedule is a function of its seed alone; a failure names the seed. Nothing here
//! waits, and nothing is random but the seed. `TAPEWATCH_SCHEDULES` says how many (default 500),
//! `TAPEWATCH_SEED` which one alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod disk;
mod net;
mod publisher;
mod roles;

use std::collections::BTreeMap;

use tapewatch_detect::{DetectConfig, Shard};
use tapewatch_journal::FsyncPolicy;
use tapewatch_model::{BucketDecoder, Time, frame_kind};

use crate::clock;
use crate::fold::{Fold, Parts, lock};
use disk::Fault;
use net::Line;
use publisher::{Known, Publisher};
use roles::{Common, EngineRole, JournalRole, Link, RecentRole, store};

/// Buckets of all publishers together.
const BUCKETS: usize = 30;
/// Steps with faults, and without until all is quiet.
const STEPS: u64 = 600;
const QUIET_STEPS: u64 = 20_000;
const HOUR: i64 = 3_600_000_000_000;

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

/// How often what happened: a simulation in which nothing happens proves nothing.
type Events = BTreeMap<&'static str, u64>;

struct World {
    dice: Dice,
    journal: JournalRole,
    engines: Vec<EngineRole>,
    recent: RecentRole,
    publishers: Vec<Publisher>,
    /// Up to where the journal said that it is on its disk.
    synced: u64,
    jump: i64,
    events: Events,
    /// Whether it says what happens.
    tells: bool,
}

impl World {
    fn new(seed: u64, common: &Common) -> Self {
        let mut dice = Dice(seed);
        let policy = [FsyncPolicy::Always, FsyncPolicy::Os][dice.below(2) as usize];
        let count = 1 + dice.below(2) as u32;
        let engines = (0..count).map(|index| EngineRole::new(Shard { index, count }, common));
        let named = 1 + dice.below(2) as usize;
        let each = BUCKETS / (named + 1);
        let publishers = (0..=named)
            .map(|number| Publisher::new(number, number < named, each, &mut dice))
            .collect();
        Self {
            journal: JournalRole::new(common, policy),
            engines: engines.collect(),
            recent: RecentRole::start(),
            publishers,
            synced: 0,
            jump: 0,
            events: Events::new(),
            tells: std::env::var_os("TAPEWATCH_SEED").is_some(),
            dice,
        }
    }

    fn happened(&mut self, what: &'static str) {
        *self.events.entry(what).or_default() += 1;
        if self.tells {
            let (last, hits) = (self.journal.durable_seq(), self.recent.fold.totals.hits);
            println!("{what}; the journal was at {last}, recent had {hits} hits");
        }
    }

    /// One step of somebody.
    fn step(&mut self, number: u64) {
        let now = Time::from_nanos(1_000 * HOUR + self.jump * HOUR + number as i64 * 1_000);
        clock::SAYS.set(Some(now));
        let Self { dice, journal, .. } = self;
        match dice.below(20) {
            0..=5 => {
                let publisher = dice.below(self.publishers.len() as u64) as usize;
                self.publishers[publisher].step(journal, dice);
            }
            6..=10 => {
                let at = dice.below(self.engines.len() as u64) as usize;
                let engine = &mut self.engines[at];
                if engine.running.is_none() && journal.running.is_some() {
                    engine.start(journal, &format!("engine {at}-{number}"));
                }
                let synced = engine.step(journal, dice);
                self.synced = self.synced.max(synced.unwrap_or(0));
            }
            11..=14 => self.recent.step(journal, dice),
            15 => journal.step_orphans(dice),
            _ if journal.running.is_none() => {
                if dice.below(3) == 0 {
                    self.start_journal();
                }
            }
            _ => {
                let ended = journal.turn();
                self.look_at(ended.is_err());
            }
        }
    }

    /// The journal's process after something that its disk took part in.
    fn look_at(&mut self, ended: bool) {
        if self.journal.disk.is_killed() {
            self.happened("killed in the middle of an operation");
        } else if ended {
            self.happened("stopped by itself");
            // What it has to say may still go out.
            let Self { dice, journal, .. } = self;
            for publisher in &mut self.publishers {
                publisher.step(journal, dice);
            }
        } else {
            return;
        }
        self.kill_journal();
    }

    fn kill_journal(&mut self) {
        self.journal.kill();
        self.journal.disk.restart();
    }

    fn start_journal(&mut self) {
        if let Err(why) = self.journal.start() {
            self.happened("a start that failed");
            if self.tells {
                println!("{why}");
            }
            return self.kill_journal();
        }
        let last = self.journal.durable_seq();
        assert!(last >= self.synced, "{last}: synced to {}", self.synced);
        if self.journal.policy == FsyncPolicy::Os {
            self.publishers.iter_mut().for_each(|it| it.lost(last));
        }
    }

    /// Something goes wrong.
    fn fault(&mut self) {
        let way = self.dice.below(2) as usize;
        match self.dice.below(16) {
            0 => {
                self.happened("journal killed");
                self.kill_journal();
            }
            1 | 2 => {
                self.happened("power lost");
                self.journal.kill();
                if self.journal.disk.lose_power(&mut self.dice) > 0 {
                    self.happened("power lost with something not on the disk");
                }
                self.journal.disk.restart();
                // Else an answer from before might tell of what is lost.
                let ways = self.publishers.iter_mut().flat_map(|it| &mut it.ways);
                ways.for_each(Link::lose);
            }
            3 => {
                self.happened("engine lost");
                let at = self.dice.below(self.engines.len() as u64) as usize;
                self.engines[at].lose_power(&mut self.dice);
            }
            4 => {
                self.happened("recent killed");
                self.recent = RecentRole::start();
            }
            5 => {
                self.happened("publisher killed");
                let at = self.dice.below(self.publishers.len() as u64) as usize;
                self.publishers[at].restart(way);
            }
            6 | 7 => {
                let operations = self.dice.below(12);
                let fault = [Fault::Error, Fault::Fsync, Fault::Kill][self.dice.below(3) as usize];
                self.journal.disk.fail_in(operations, fault);
            }
            8 => {
                let full = self.dice.below(2) == 0;
                self.journal.disk.set_full(full);
                self.happened(if full { "disk full" } else { "room again" });
            }
            9 => {
                self.jump += self.dice.below(21) as i64 - 10;
                self.happened("clock jumped");
            }
            _ => self.cut(way),
        }
    }

    /// Cuts some connection.
    fn cut(&mut self, way: usize) {
        let Self { dice, engines, .. } = self;
        let engine = engines.iter_mut().find_map(|it| it.running.as_mut());
        let publisher = dice.below(self.publishers.len() as u64) as usize;
        let line: Option<&mut Line> = match dice.below(5) {
            0 => engine.and_then(|it| it.sub.line.as_mut()),
            1 => engine.and_then(|it| it.link.line.as_mut()),
            2 => self.recent.journal.line.as_mut(),
            3 => self.recent.hits.line.as_mut(),
            _ => self.publishers[publisher].ways[way].line.as_mut(),
        };
        if let Some(line) = line {
            let middle = line.cut(dice);
            self.happened(match middle {
                true => "connection cut in the middle of a message",
                false => "connection cut",
            });
        }
    }

    fn is_quiet(&self) -> bool {
        let last = self.journal.durable_seq();
        let at_end = |fold: &Fold| fold.last().last_seq() == last;
        self.publishers.iter().all(Publisher::is_done)
            && self.engines.iter().all(|engine| {
                let running = engine.running.as_ref();
                running.is_some_and(|it| it.is_quiet() && at_end(&it.fold))
            })
            && at_end(&self.recent.fold)
            && self.recent.fold.hits_through() == last
    }

    fn who_is_not_quiet(&self) -> String {
        let publishers = self.publishers.iter().map(Publisher::is_done);
        let engines = self.engines.iter().map(|engine| {
            let running = engine.running.as_ref();
            running.map(|it| (it.is_quiet(), it.fold.last()))
        });
        format!(
            "journal {} ({}), publishers {:?}, engines {:?}, recent {:?} with hits through {}",
            self.journal.durable_seq(),
            self.journal.policy,
            publishers.collect::<Vec<_>>(),
            engines.collect::<Vec<_>>(),
            self.recent.fold.last(),
            self.recent.fold.hits_through()
        )
    }

    /// Compares with one process that is fed with the journal.
    fn check(&self) -> u64 {
        let readers = &self.journal.running.as_ref().unwrap().state.readers;
        let mut whole = Fold::new(&detect(), Parts::whole(1), store()).unwrap();
        let mut seen = BTreeMap::<String, (u64, usize)>::new();
        let (mut reader, mut decoder) = (readers.reader(1).unwrap(), BucketDecoder::default());
        while let Some(frame) = reader.next_frame().unwrap() {
            whole.frame(&frame).unwrap();
            if frame.kind == frame_kind::BUCKET {
                let bucket = decoder.decode(frame.payload).unwrap();
                let id = bucket.orders.row(0).unwrap().order_id.to_owned();
                let (times, rows) = seen.entry(id).or_default();
                (*times, *rows) = (*times + 1, bucket.orders.len());
            }
        }
        for publisher in &self.publishers {
            for (number, (bucket, known)) in
                (publisher.buckets.iter().zip(&publisher.known)).enumerate()
            {
                let id = format!("O{}-{number}-0", publisher.number);
                let (times, rows) = seen.get(&id).copied().unwrap_or_default();
                let most = matches!(known, Known::Lost | Known::Unknown);
                assert!(
                    times == 1 || (most && times == 0),
                    "{id}: {times} times, {known:?}"
                );
                assert!(
                    times == 0 || rows == bucket.orders.len(),
                    "{id}: {rows} rows"
                );
            }
        }
        let recent = &self.recent.fold;
        assert_eq!(recent.totals, whole.totals);
        assert_eq!(alerts(recent), alerts(&whole));
        let orders = |fold: &Fold| fold.store.recent_orders(0, usize::MAX);
        assert_eq!(orders(recent), orders(&whole));
        whole.totals.hits
    }
}

fn alerts(fold: &Fold) -> Vec<String> {
    let book = fold.book();
    let book = lock(&book);
    let text = |row| serde_json::to_string(row).unwrap();
    let mut rows: Vec<_> = book.newest().map(text).collect();
    rows.sort_unstable();
    rows
}

/// Runs a schedule; what happened in it.
fn schedule(seed: u64, common: &Common) -> Events {
    let mut world = World::new(seed, common);
    // How bad it is: nothing, and very, are worth a look too.
    let one_in = [10, 25, 60, u64::MAX][world.dice.below(4) as usize];
    for number in 0..STEPS {
        if world.dice.below(one_in) == 0 {
            world.fault();
        }
        world.step(number);
    }
    world.journal.disk.set_full(false);
    world.journal.disk.heal();
    let mut number = STEPS;
    while !world.is_quiet() {
        assert!(
            number < STEPS + QUIET_STEPS,
            "it does not come to an end: {}",
            world.who_is_not_quiet()
        );
        world.step(number);
        number += 1;
    }
    let hits = world.check();
    world.events.insert("hits", hits);
    let duplicates = world.publishers.iter().map(|it| it.duplicates).sum();
    world.events.insert("duplicates known", duplicates);
    let failed = world.journal.disk.failed_syncs();
    world.events.insert("failed syncs", failed);
    clock::SAYS.set(None);
    world.events
}

/// Says which schedule fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("TAPEWATCH_SEED={} shows it again", self.0);
        }
    }
}

#[test]
fn any_schedule_ends_in_the_tables_of_one_process() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let common = Common::new();
    let mut events = Events::new();
    let one = number("TAPEWATCH_SEED");
    let count = number("TAPEWATCH_SCHEDULES").unwrap_or(500);
    for seed in one.map_or(0..count, |seed: u64| seed..seed + 1) {
        let says = Seed(seed);
        for (what, times) in schedule(seed, &common) {
            *events.entry(what).or_default() += times;
        }
        drop(says);
    }
    println!("{events:#?}");
    if one.is_none() && count >= 100 {
        assert_eq!(events.len(), 17, "something never happens");
        assert!(events.values().all(|times| *times > 0), "{events:?}");
    }
}
