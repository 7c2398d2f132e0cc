//! The fold over the journal that makes everything else: windows, hits, tables, alerts, producers.
//!
//! Invariant: the state is a function of the frames alone. Live publishing and recovery call the
//! same functions, so that a restart stands where the process stood.

mod producers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tapewatch_detect::{ConfigError, Counters, DetectConfig, Disabled, Shard, merge_shards};
use tapewatch_journal::FrameRef;
use tapewatch_model::{
    Bucket, BucketDecoder, CodecError, Hit, Time, check_bucket, dead_letter_count, decode_config,
    frame_kind,
};
use tapewatch_store::{Format, Store};

use crate::alert_book::{ALERTS_MAX, AlertBook, AlertRow};
use crate::checkpoint::{Checkpoint, Pending};
use crate::failure::Failure;
use crate::hits_log::Found;
use crate::shards::Shards;

use producers::Producers;
pub(crate) use producers::{Placed, UNDER_WAY_MAX};

/// Hits that wait for their orders.
const ELSEWHERE_MAX: usize = 100_000;

/// A frame of the journal cannot be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("journal frame at sequence number {seq}: {error}; restore the journal from a copy")]
    Codec { seq: u64, error: CodecError },
    #[error("journal frame at sequence number {seq}: {error}; run the version that wrote it")]
    Config { seq: u64, error: ConfigError },
    #[error(
        "journal frame at sequence number {seq} has kind {kind}, which this version does not know; update it"
    )]
    Kind { seq: u64, kind: u16 },
}

/// What of it a process derives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Which instruments it detects in, and with how many threads.
    pub(crate) detects: Option<(Shard, u32)>,
    /// Whether it holds tables.
    pub(crate) tables: bool,
    /// Whether what it finds is wanted elsewhere, or its tables want what others find.
    pub(crate) apart: bool,
}

impl Parts {
    /// Everything, in one process.
    pub(crate) fn whole(shards: u32) -> Self {
        Self {
            detects: Some((Shard::WHOLE, shards)),
            tables: true,
            apart: false,
        }
    }
}

/// Everything that is derived from the journal.
pub(crate) struct Fold {
    parts: Parts,
    shards: Option<Shards>,
    pub(crate) store: Store,
    decoder: BucketDecoder,
    /// The last frame that was applied.
    last: FrameMark,
    book: Arc<Mutex<AlertBook>>,
    producers: Producers,
    /// The configuration in force, once a frame has told it.
    config_seen: Option<DetectConfig>,
    hits: Vec<Hit>,
    /// What was found here and is not told yet.
    found: Vec<Hit>,
    /// What was found elsewhere and does not show yet, and up to where all of it is there.
    elsewhere: Vec<Hit>,
    elsewhere_through: u64,
    pub(crate) totals: Totals,
    /// Alerts with a hit up to here are in the history and come from there: the journal no longer
    /// begins early enough to find all of them again.
    book_from: u64,
}

/// Which frame of the journal it is: another journal has another there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct FrameMark {
    pub(crate) seq: u64,
    pub(crate) count: u32,
    /// When it was received, nanoseconds.
    pub(crate) time: i64,
}

impl FrameMark {
    /// The mark of a frame.
    pub(crate) fn of(frame: &FrameRef<'_>) -> Self {
        let &FrameRef {
            seq, count, time, ..
        } = frame;
        Self { seq, count, time }
    }

    /// Its last sequence number; 0 before any frame.
    pub(crate) fn last_seq(&self) -> u64 {
        (self.seq + u64::from(self.count)).saturating_sub(1)
    }
}

/// What was applied so far, recovery included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) orders: u64,
    pub(crate) dead_letters: u64,
    pub(crate) hits: u64,
}

/// The latest alerts of the history up to sequence number `through`.
async fn alerts(store: &Store, through: u64) -> Result<Vec<AlertRow>, Failure> {
    let query =
        format!("SELECT * FROM alerts WHERE seq <= {through} ORDER BY seq DESC LIMIT {ALERTS_MAX}");
    let mut json = Vec::new();
    let result = store.sql(&query).await.map_err(Failure::run)?;
    let written = result.write(Format::JsonLines, &mut json).await;
    written.map_err(Failure::run)?;
    let lines = json.split(|&byte| byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice(line).map_err(|error| {
                Failure::run(format!("an alert in the history cannot be read: {error}"))
            })
        })
        .collect()
}

impl Fold {
    /// An empty state, before the first frame.
    pub(crate) fn new(config: &DetectConfig, parts: Parts, store: Store) -> Result<Self, Failure> {
        let shards = parts
            .detects
            .map(|(share, threads)| Shards::new(config, share, threads));
        Ok(Self {
            parts,
            shards: shards.transpose()?,
            store,
            decoder: BucketDecoder::default(),
            last: FrameMark::default(),
            book: Arc::default(),
            producers: Producers::default(),
            config_seen: None,
            hits: Vec::new(),
            found: Vec::new(),
            elsewhere: Vec::new(),
            elsewhere_through: 0,
            totals: Totals::default(),
            book_from: 0,
        })
    }

    /// Says that everything before sequence number `seq` is in the history, or of no concern.
    pub(crate) fn begin_at(&mut self, seq: u64) {
        self.last.seq = seq;
    }

    /// Takes the alerts up to sequence number `through` from the history: for a journal that does
    /// not begin at its beginning any more. A history that cannot be read keeps nothing else from going on.
    pub(crate) async fn load_alerts(&mut self, through: u64) {
        self.book_from = through;
        match alerts(&self.store, through).await {
            Ok(rows) => {
                let mut book = lock(&self.book);
                rows.into_iter().for_each(|row| book.put(row));
            }
            Err(error) => {
                tracing::error!(%error, "alerts of the history do not show until the next start");
            }
        }
    }

    /// The alerts, shared with whoever shows them.
    pub(crate) fn book(&self) -> Arc<Mutex<AlertBook>> {
        Arc::clone(&self.book)
    }

    /// The configuration that the journal says is in force; `None` before any.
    pub(crate) fn config_seen(&self) -> Option<&DetectConfig> {
        self.config_seen.as_ref()
    }

    /// Takes over what a checkpoint says, tables aside.
    ///
    /// # Errors
    /// Why it does not fit.
    pub(crate) fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), String> {
        let config = checkpoint
            .config
            .as_deref()
            .map(DetectConfig::from_canonical);
        self.config_seen = config.transpose().map_err(|error| error.to_string())?;
        match &mut self.shards {
            Some(shards) => shards.load(checkpoint.shards)?,
            None if checkpoint.shards.is_empty() => {}
            None => return Err("it has windows, and this process detects nothing".to_owned()),
        }
        self.producers = Producers::restore(checkpoint.producers);
        self.totals = checkpoint.totals;
        if self.wants_hits() {
            self.totals.hits = 0; // they are shown anew
        }
        self.last = checkpoint.frame;
        Ok(())
    }

    /// What a checkpoint of now says.
    pub(crate) fn pending(&self, arrivals: Vec<(i64, u64)>) -> Pending {
        Pending {
            frame: self.last,
            shards: self.shards.as_ref().map_or_else(Vec::new, Shards::states),
            producers: self.producers.list(),
            config: self.config_seen.as_ref().map(DetectConfig::canonical),
            totals: self.totals,
            arrivals,
        }
    }

    /// The last frame that was applied.
    pub(crate) fn last(&self) -> FrameMark {
        self.last
    }

    /// Applies one frame as it stands in the journal to the tables alone: the checkpoint knows the
    /// rest.
    pub(crate) fn frame_of_checkpoint(&mut self, frame: &FrameRef<'_>) -> Result<(), ApplyError> {
        if frame.kind != frame_kind::BUCKET {
            return Ok(());
        }
        let (last, high) = (FrameMark::of(frame).last_seq(), self.store.high_water());
        let letters = dead_letter_count(frame.payload);
        let letters = letters.map_err(|error| ApplyError::Codec {
            seq: frame.seq,
            error,
        })?;
        if last > high.orders || (letters > 0 && last > high.dead_letters) {
            let bucket = self.decode(frame)?;
            self.append_rows(frame.seq, Time::from_nanos(frame.time), bucket);
        }
        Ok(())
    }

    fn decode(&mut self, frame: &FrameRef<'_>) -> Result<Bucket, ApplyError> {
        let decoded = self.decoder.decode(frame.payload);
        let mut bucket = decoded.map_err(|error| ApplyError::Codec {
            seq: frame.seq,
            error,
        })?;
        bucket.orders.number_from(frame.seq);
        Ok(bucket)
    }

    /// Applies one frame as it stands in the journal.
    pub(crate) fn frame(&mut self, frame: &FrameRef<'_>) -> Result<(), ApplyError> {
        let seq = frame.seq;
        match frame.kind {
            frame_kind::BUCKET if self.keeps_rows() => {
                let bucket = self.decode(frame)?;
                self.bucket(FrameMark::of(frame), bucket);
            }
            frame_kind::BUCKET => {
                let head = check_bucket(frame.payload);
                let head = head.map_err(|error| ApplyError::Codec { seq, error })?;
                let placed = Placed {
                    batch: head.origin.batch,
                    first_seq: seq,
                    orders: head.orders,
                    dead_letters: head.dead_letters,
                };
                self.passed(FrameMark::of(frame), head.origin.producer, placed);
            }
            frame_kind::DETECTOR_CONFIG => {
                let config = decode_config(frame.payload);
                let config = config.map_err(|error| ApplyError::Codec { seq, error })?;
                let config = DetectConfig::from_canonical(&config.json);
                let config = config.map_err(|error| ApplyError::Config { seq, error })?;
                self.config(FrameMark::of(frame), &config)?;
            }
            frame_kind::CLEAR => self.clear(FrameMark::of(frame)),
            kind => return Err(ApplyError::Kind { seq, kind }),
        }
        Ok(())
    }

    /// Applies a bucket that stands in the journal under `mark`.
    pub(crate) fn bucket(&mut self, mark: FrameMark, mut bucket: Bucket) {
        bucket.orders.number_from(mark.seq);
        let orders = std::mem::take(&mut bucket.orders);
        let placed = Placed {
            batch: bucket.origin.batch,
            first_seq: mark.seq,
            orders: orders.len() as u64,
            dead_letters: bucket.dead_letters.len() as u64,
        };
        bucket.orders = match &mut self.shards {
            Some(shards) => shards.apply(orders, &mut self.hits),
            None => orders,
        };
        let producer = std::mem::take(&mut bucket.origin.producer);
        self.append_rows(mark.seq, Time::from_nanos(mark.time), bucket);
        if self.parts.apart && self.shards.is_some() {
            self.found.extend_from_slice(&self.hits);
        }
        let hits = std::mem::take(&mut self.hits);
        if !self.wants_hits() {
            self.show(&hits);
        }
        self.hits = hits;
        self.hits.clear();
        self.passed(mark, producer, placed);
    }

    /// Whether this process does anything with the rows of a bucket.
    pub(crate) fn keeps_rows(&self) -> bool {
        self.parts.tables || self.shards.is_some()
    }

    /// Notes a bucket that stands in the journal under `mark`, whose rows are applied or
    /// [of no concern](Self::keeps_rows).
    pub(crate) fn passed(&mut self, mark: FrameMark, producer: String, placed: Placed) {
        self.totals.orders += placed.orders;
        self.totals.dead_letters += placed.dead_letters;
        if !producer.is_empty() {
            self.producers.remember(producer, placed);
        }
        self.last = mark;
        self.show_elsewhere();
    }

    /// Adds hits to the tables, ascending.
    fn show(&mut self, hits: &[Hit]) {
        self.totals.hits += hits.len() as u64;
        if !self.parts.tables || hits.is_empty() {
            return;
        }
        self.store.append_hits(hits);
        let mut book = lock(&self.book);
        let new = hits.iter().filter(|hit| hit.order.seq > self.book_from);
        new.for_each(|hit| book.put(hit.clone().into()));
    }

    /// Whether the tables wait for what engines in other processes find.
    pub(crate) fn wants_hits(&self) -> bool {
        let alone = self
            .parts
            .detects
            .is_some_and(|(share, _)| share == Shard::WHOLE);
        self.parts.tables && self.parts.apart && !alone
    }

    /// Takes what engines in other processes found, each hit once, in any order: all up to order
    /// `through` are here now. They show when the orders do, in the order of one engine.
    pub(crate) fn hits_elsewhere(&mut self, through: u64, hits: Vec<Hit>) {
        if self.wants_hits() {
            self.elsewhere.extend(hits);
            self.elsewhere_through = through.max(self.elsewhere_through);
            self.show_elsewhere();
        }
    }

    /// Whether the tables need more of what engines in other processes find, or there is room for it.
    pub(crate) fn wants_more_hits(&self) -> bool {
        self.elsewhere_through < self.last.last_seq() || self.elsewhere.len() < ELSEWHERE_MAX
    }

    /// Takes a frame of the log of hits, which may make hits before it void.
    pub(crate) fn found_elsewhere(&mut self, found: Found) {
        self.elsewhere
            .retain(|hit| hit.order.seq <= found.void_above);
        self.elsewhere_through = self.elsewhere_through.min(found.void_above);
        self.hits_elsewhere(0, found.hits);
    }

    fn show_elsewhere(&mut self) {
        if !self.elsewhere.is_empty() {
            let through = self.hits_through();
            let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.elsewhere)
                .into_iter()
                .partition(|hit| hit.order.seq <= through);
            self.elsewhere = later;
            if !now.is_empty() {
                self.show(&merge_shards(vec![now]));
            }
        }
    }

    /// Up to which order all hits show.
    pub(crate) fn hits_through(&self) -> u64 {
        let last = self.last.last_seq();
        if self.wants_hits() {
            self.elsewhere_through.min(last)
        } else {
            last
        }
    }

    /// What was found here since this was asked last; `None` when nobody elsewhere wants it.
    pub(crate) fn take_found(&mut self) -> Option<Vec<Hit>> {
        let told = self.parts.apart && self.shards.is_some();
        told.then(|| std::mem::take(&mut self.found))
    }

    /// Which instruments it detects in.
    pub(crate) fn share(&self) -> Shard {
        self.parts.detects.map_or(Shard::WHOLE, |(share, _)| share)
    }

    /// What the detectors counted.
    pub(crate) fn counters(&self) -> Counters {
        self.shards
            .as_ref()
            .map_or_else(Counters::default, Shards::counters)
    }

    /// Guests that stopped.
    pub(crate) fn disabled(&self) -> &[Disabled] {
        self.shards.as_ref().map_or(&[], Shards::disabled)
    }

    /// Adds a bucket's rows, numbered from `first_seq`, to the tables.
    fn append_rows(&mut self, first_seq: u64, received: Time, bucket: Bucket) {
        let Bucket {
            orders,
            dead_letters,
            ..
        } = bucket;
        if !self.parts.tables {
            return;
        }
        let first_letter = first_seq.saturating_add(orders.len() as u64);
        self.store.append_orders(orders);
        self.store
            .append_dead_letters(first_letter, received, &dead_letters);
    }

    /// Applies a configuration from `mark` on.
    pub(crate) fn config(
        &mut self,
        mark: FrameMark,
        config: &DetectConfig,
    ) -> Result<(), ApplyError> {
        if let Some(shards) = &mut self.shards {
            let seq = mark.seq;
            let changed = shards.reconfigure(config);
            changed.map_err(|error| ApplyError::Config { seq, error })?;
        }
        self.config_seen = Some(config.clone());
        self.last = mark;
        Ok(())
    }

    /// Empties all windows.
    pub(crate) fn clear(&mut self, mark: FrameMark) {
        self.shards.iter_mut().for_each(Shards::clear);
        self.last = mark;
    }

    /// As [`Producers::placed`].
    pub(crate) fn placed(&self, producer: &str, batch: u64) -> Result<Option<Placed>, u64> {
        self.producers.placed(producer, batch)
    }
}

/// Locks the alerts; a thread that died while holding them ended the process already.
pub(crate) fn lock(book: &Mutex<AlertBook>) -> MutexGuard<'_, AlertBook> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
