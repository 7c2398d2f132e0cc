//! The roles of the simulation: what their threads do, a step at a time.
//!
//! Invariant: nothing of a role but its disk, and of an engine its checkpoint, is there after a kill.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tapewatch_detect::{EngineState, Shard};
use tapewatch_journal::{FsyncPolicy, Journal, Options};
use tapewatch_store::{Store, StoreOptions};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

use super::disk::FakeDisk;
use super::net::Line;
use super::{Dice, detect};
use crate::arrivals::Arrivals;
use crate::checkpoint::Checkpoint;
use crate::failure::Failure;
use crate::fold::{Fold, FrameMark, Parts};
use crate::follower::{apply_frames, apply_hits};
use crate::hits_log::{self, HitsLog};
use crate::metrics::Metrics;
use crate::pipeline::{Command, Limits, PublishError, Worker, prepare};
use crate::subscription::Subscribers;
use crate::wire::{Broken, Chunk, Message, Outbox, Place, ServeState, Sharers, Stream};

/// What all schedules share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) runtime: Arc<Runtime>,
    pub(super) metrics: Metrics,
    pub(super) store: Store,
}

impl Common {
    pub(super) fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            runtime: Arc::new(runtime.build().unwrap()),
            metrics: Metrics::new().unwrap(),
            store: store(),
        }
    }
}

pub(super) fn store() -> Store {
    Store::in_memory(StoreOptions::default()).unwrap()
}

/// The role `journal`.
pub(super) struct JournalRole {
    pub(super) disk: FakeDisk,
    pub(super) policy: FsyncPolicy,
    pub(super) run: u64,
    pub(super) running: Option<RunningJournal>,
    /// Connections whose clients have given them up.
    pub(super) orphans: Vec<Line>,
    pub(super) runtime: Arc<Runtime>,
    common: Common,
}

pub(super) struct RunningJournal {
    pub(super) worker: Worker,
    pub(super) state: ServeState,
}

impl JournalRole {
    pub(super) fn new(common: &Common, policy: FsyncPolicy) -> Self {
        Self {
            disk: FakeDisk::default(),
            policy,
            run: 0,
            running: None,
            orphans: Vec::new(),
            runtime: Arc::clone(&common.runtime),
            common: common.clone(),
        }
    }

    pub(super) fn options(&self) -> Options {
        Options {
            fsync: self.policy,
            segment_bytes_max: 8_000,
            tail_bytes_max: 2_000,
            storage: Arc::new(self.disk.clone()),
            ..Options::default()
        }
    }

    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let (journal, recovery) =
            Journal::open(Path::new("/journal"), self.options()).map_err(Failure::run)?;
        let parts = Parts {
            detects: None,
            tables: false,
            apart: true,
        };
        let mut fold = Fold::new(&detect(), parts, self.common.store.clone())?;
        let mut reader = journal.reader(recovery.first_seq).map_err(Failure::run)?;
        while let Some(frame) = reader.next_frame().map_err(Failure::run)? {
            fold.frame(&frame).map_err(Failure::run)?;
        }
        let last = recovery.next_seq - 1;
        let hits = HitsLog::open(Path::new("/hits"), self.options(), last, |_| {})?;
        let limits = Limits {
            recent_rows_max: u64::MAX / 2,
            arrivals: Arrivals::default(),
            checkpoints: None,
            hits: Some(hits),
        };
        let metrics = self.common.metrics.clone();
        let (worker, spawned) = prepare(journal, fold, &detect(), metrics, limits)?;
        let state = ServeState {
            pipeline: spawned.pipeline,
            readers: spawned.readers,
            marks: spawned.marks,
            hits: spawned.hits,
            published: spawned.published,
            stopping: watch::channel(false).1,
            subscribers: Subscribers::default(),
            connections: Arc::new(AtomicU64::new(0)),
            lane: crate::wire::Lane::default(),
            sharers: Sharers::default(),
            keeps_rows: false,
        };
        self.running = Some(RunningJournal { worker, state });
        Ok(())
    }

    pub(super) fn kill(&mut self) {
        self.running = None;
        self.run += 1;
        self.orphans.clear();
    }

    pub(super) fn durable_seq(&self) -> u64 {
        let running = self.running.as_ref();
        running.map_or(0, |running| running.state.readers.durable_seq())
    }

    /// The pipeline's thread takes what waits. An error says that the process ends.
    pub(super) fn turn(&mut self) -> Result<(), Failure> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        match running.worker.queue.try_recv() {
            Ok(first) => running.worker.turn(first),
            Err(_) => Ok(()),
        }
    }

    /// Connections that nobody waits on any more.
    pub(super) fn step_orphans(&mut self, dice: &mut Dice) {
        let mut orphans = std::mem::take(&mut self.orphans);
        for line in &mut orphans {
            line.step(self, dice);
            line.may_fall_silent(dice);
        }
        orphans.retain(|line| !line.is_over());
        self.orphans = orphans;
    }

    /// Whether it has this very frame.
    fn has(&self, frame: FrameMark) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let reader = running.state.readers.reader(frame.seq);
        reader.is_ok_and(|mut reader| match reader.next_frame() {
            Ok(Some(found)) => FrameMark::of(&found) == frame,
            _ => false,
        })
    }
}

/// A subscription of a role.
pub(super) struct Sub {
    stream: Stream,
    place: Place,
    pub(super) line: Option<Line>,
}

impl Sub {
    fn new(stream: Stream, place: Place) -> Self {
        Self {
            stream,
            place,
            line: None,
        }
    }

    /// A connection, a message of it, or nothing. An error says that the process ends.
    fn step(
        &mut self,
        journal: &mut JournalRole,
        fold: &mut Fold,
        dice: &mut Dice,
    ) -> Result<(), String> {
        let Some(line) = &mut self.line else {
            self.line = Line::open(journal);
            return Ok(());
        };
        line.step(journal, dice);
        let next = match line.receive() {
            Ok(None) => return Ok(()),
            Ok(Some(Message::Hello(hello))) => self
                .place
                .subscribe(self.stream, &hello, "role")
                .map(|subscribe| line.send(subscribe.encode())),
            Ok(Some(message)) => self.place.take(message).map(|chunk| match chunk {
                Chunk::Frames(frames) => apply_frames(fold, &frames, |_| {}).unwrap(),
                Chunk::Hits(through, frames) => apply_hits(fold, through, &frames).unwrap(),
                Chunk::Failed(why) => panic!("{why}"),
            }),
            Err(why) => Err(Broken::Connection(why)),
        };
        match next {
            Ok(()) => Ok(()),
            Err(Broken::Connection(_)) => {
                journal.orphans.extend(self.line.take());
                Ok(())
            }
            Err(Broken::ForGood(why)) => Err(why),
        }
    }
}

/// The commands of a process.
pub(super) struct Link {
    outbox: Outbox,
    pub(super) line: Option<Line>,
    greeted: bool,
}

impl Link {
    pub(super) fn new(name: &str) -> Self {
        Self {
            outbox: Outbox::new(name),
            line: None,
            greeted: false,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    /// The connection is gone, with what was on its way.
    pub(super) fn lose(&mut self) {
        (self.line, self.greeted) = (None, false);
        self.outbox.drop_what_cannot_wait("the power is gone");
    }

    pub(super) fn push(&mut self, command: Command) {
        let message = self.outbox.take(command, self.greeted);
        match &mut self.line {
            Some(line) if self.greeted => message.into_iter().for_each(|m| line.send(m.whole())),
            _ => self.outbox.drop_what_cannot_wait("the journal is away"),
        }
    }

    pub(super) fn step(&mut self, journal: &mut JournalRole, dice: &mut Dice) {
        let Some(line) = &mut self.line else {
            self.line = Line::open(journal);
            self.greeted = false;
            return;
        };
        line.step(journal, dice);
        let more = match line.receive() {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(Message::Hello(_))) => {
                self.greeted = true;
                Ok(self.outbox.again())
            }
            Ok(Some(message)) => self.outbox.answered(message).map(Vec::from_iter),
            Err(why) => Err(why),
        };
        match more {
            Ok(messages) => messages.into_iter().for_each(|m| line.send(m.whole())),
            Err(why) => {
                journal.orphans.extend(self.line.take());
                self.greeted = false;
                self.outbox.drop_what_cannot_wait(&why);
            }
        }
    }
}

/// An engine.
pub(super) struct EngineRole {
    share: Shard,
    saved: Option<Checkpoint>,
    pub(super) running: Option<RunningEngine>,
    store: Store,
}

pub(super) struct RunningEngine {
    pub(super) fold: Fold,
    pub(super) sub: Sub,
    pub(super) link: Link,
    /// What the link does not take yet.
    found: VecDeque<Command>,
    saving: Option<oneshot::Receiver<Result<u64, PublishError>>>,
    /// The last frame whose hits were told.
    told: FrameMark,
}

impl RunningEngine {
    pub(super) fn is_quiet(&self) -> bool {
        self.found.is_empty() && self.link.is_empty() && self.saving.is_none()
    }
}

impl EngineRole {
    pub(super) fn new(share: Shard, common: &Common) -> Self {
        let store = common.store.clone();
        Self {
            share,
            saved: None,
            running: None,
            store,
        }
    }

    /// Starts beside a journal that is there, from a checkpoint that fits it.
    pub(super) fn start(&mut self, journal: &JournalRole, name: &str) {
        let parts = Parts {
            detects: Some((self.share, 1)),
            tables: false,
            apart: true,
        };
        let mut fold = Fold::new(&detect(), parts, self.store.clone()).unwrap();
        match self.saved.take_if(|saved| journal.has(saved.frame)) {
            Some(saved) => {
                self.saved = Some(saved.clone());
                fold.restore(saved).unwrap();
            }
            None => self.saved = None,
        }
        let place = Place::behind(fold.last());
        self.running = Some(RunningEngine {
            fold,
            sub: Sub::new(Stream::Journal, place),
            link: Link::new(name),
            found: VecDeque::new(),
            saving: None,
            told: FrameMark::default(),
        });
    }

    pub(super) fn lose_power(&mut self, dice: &mut Dice) {
        self.running = None;
        if dice.below(3) == 0 {
            self.saved = None;
        }
    }

    /// A step; the sequence number up to which the journal is on its disk, when it says so.
    pub(super) fn step(&mut self, journal: &mut JournalRole, dice: &mut Dice) -> Option<u64> {
        let running = self.running.as_mut()?;
        running.link.step(journal, dice);
        while running.link.has_room()
            && let Some(command) = running.found.pop_front()
        {
            running.link.push(command);
        }
        if let Some(answer) = &mut running.saving {
            let answer = answer.try_recv();
            if matches!(answer, Err(oneshot::error::TryRecvError::Empty)) {
                return None;
            }
            running.saving = None;
            let synced = answer.ok()?.ok()?;
            self.saved = Some(checkpoint(&running.fold));
            return Some(synced);
        }
        if !running.found.is_empty() {
            return None;
        }
        if dice.below(30) == 0 && running.fold.last() != FrameMark::default() {
            let (reply, answer) = oneshot::channel();
            running.link.push(Command::Sync(reply));
            running.saving = Some(answer);
            return None;
        }
        if running.sub.step(journal, &mut running.fold, dice).is_err() {
            self.running = None; // a supervisor starts it again
            return None;
        }
        let frame = running.fold.last();
        if running.told != frame {
            running.told = frame;
            let found = running.fold.take_found().unwrap();
            for (through, hits) in hits_log::parts(found, frame.last_seq()) {
                let command = Command::Found(self.share, through, frame, hits, None);
                running.found.push_back(command);
            }
        }
        None
    }
}

/// What an engine would read after a restart, without the file.
fn checkpoint(fold: &Fold) -> Checkpoint {
    let pending = fold.pending(Vec::new());
    Checkpoint {
        frame: pending.frame,
        shards: pending.shards.iter().map(EngineState::to_bytes).collect(),
        producers: pending.producers,
        config: pending.config,
        totals: pending.totals,
        arrivals: pending.arrivals,
        hits: Vec::new(),
        history_hits: 0,
    }
}

/// The role `recent`, which begins at the beginning after a kill.
pub(super) struct RecentRole {
    pub(super) fold: Fold,
    pub(super) journal: Sub,
    pub(super) hits: Sub,
}

impl RecentRole {
    pub(super) fn start() -> Self {
        let parts = Parts {
            detects: None,
            tables: true,
            apart: true,
        };
        Self {
            fold: Fold::new(&detect(), parts, store()).unwrap(),
            journal: Sub::new(Stream::Journal, Place::at(1)),
            hits: Sub::new(Stream::Hits, Place::at(0)),
        }
    }

    pub(super) fn step(&mut self, journal: &mut JournalRole, dice: &mut Dice) {
        let sub = match dice.below(2) {
            0 => &mut self.journal,
            _ => &mut self.hits,
        };
        if sub.step(journal, &mut self.fold, dice).is_err() {
            *self = Self::start();
        }
    }
}
