//! The fold over the journal that makes everything else: windows, hits, tables, alerts, producers.
//!
//! Invariant: the state is a function of the frames alone. Live publishing and recovery call the
//! same functions, so that a restart stands where the process stood.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tapewatch_detect::{ConfigError, DetectConfig, Engine, Shard};
use tapewatch_journal::FrameRef;
use tapewatch_model::{
    Bucket, CodecError, Hit, Origin, Time, decode_bucket, decode_config, frame_kind,
};
use tapewatch_store::{Format, Store};

use crate::alert_book::{ALERTS_MAX, AlertBook};
use crate::failure::Failure;

/// Producers whose last bucket is remembered; the one that was silent longest goes first.
const PRODUCERS_MAX: usize = 1_024;

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

/// What a producer's last bucket got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Number of the bucket at the producer.
    pub(crate) batch: u64,
    /// First sequence number.
    pub(crate) first_seq: u64,
    /// Orders in it.
    pub(crate) orders: u64,
    /// Dead letters in it.
    pub(crate) dead_letters: u64,
}

/// Everything that is derived from the journal.
pub(crate) struct Fold {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    book: Arc<Mutex<AlertBook>>,
    producers: HashMap<String, Placed>,
    /// The configuration in force, once a frame has told it.
    config_seen: Option<DetectConfig>,
    hits: Vec<Hit>,
    pub(crate) totals: Totals,
    /// Alerts with a hit up to here are in the history and come from there: the journal no longer
    /// begins early enough to find all of them again.
    book_from: u64,
}

/// What was applied so far, recovery included.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) orders: u64,
    pub(crate) dead_letters: u64,
    pub(crate) hits: u64,
}

impl Fold {
    /// An empty state, before the first frame.
    pub(crate) fn new(config: &DetectConfig, store: Store) -> Result<Self, ConfigError> {
        Ok(Self {
            engine: Engine::new(config, Shard::WHOLE)?,
            store,
            book: Arc::default(),
            producers: HashMap::new(),
            config_seen: None,
            hits: Vec::new(),
            totals: Totals::default(),
            book_from: 0,
        })
    }

    /// Takes the alerts up to sequence number `through` from the history: for a journal that does
    /// not begin at its beginning any more.
    pub(crate) async fn load_alerts(&mut self, through: u64) -> Result<(), Failure> {
        self.book_from = through;
        let query = format!(
            "SELECT * FROM alerts WHERE seq <= {through} ORDER BY seq DESC LIMIT {ALERTS_MAX}"
        );
        let mut json = Vec::new();
        let result = self.store.sql(&query).await.map_err(Failure::run)?;
        result
            .write(Format::JsonLines, &mut json)
            .await
            .map_err(Failure::run)?;
        let mut book = lock(&self.book);
        for line in json
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            book.put(serde_json::from_slice(line).map_err(|error| {
                Failure::run(format!("an alert in the history cannot be read: {error}"))
            })?);
        }
        Ok(())
    }

    /// The alerts, shared with whoever shows them.
    pub(crate) fn book(&self) -> Arc<Mutex<AlertBook>> {
        Arc::clone(&self.book)
    }

    /// The configuration that the journal says is in force; `None` before any.
    pub(crate) fn config_seen(&self) -> Option<&DetectConfig> {
        self.config_seen.as_ref()
    }

    /// Applies one frame as it stands in the journal.
    pub(crate) fn frame(&mut self, frame: &FrameRef<'_>) -> Result<(), ApplyError> {
        let seq = frame.seq;
        match frame.kind {
            frame_kind::BUCKET => {
                let bucket = decode_bucket(frame.payload);
                let bucket = bucket.map_err(|error| ApplyError::Codec { seq, error })?;
                self.bucket(seq, Time::from_nanos(frame.time), bucket);
            }
            frame_kind::DETECTOR_CONFIG => {
                let config = decode_config(frame.payload);
                let config = config.map_err(|error| ApplyError::Codec { seq, error })?;
                let config = DetectConfig::from_canonical(&config.json);
                let config = config.map_err(|error| ApplyError::Config { seq, error })?;
                self.config(seq, &config)?;
            }
            frame_kind::CLEAR => self.engine.clear(),
            kind => return Err(ApplyError::Kind { seq, kind }),
        }
        Ok(())
    }

    /// Applies a bucket whose first sequence number is `first_seq` and that came at `received`.
    pub(crate) fn bucket(&mut self, first_seq: u64, received: Time, mut bucket: Bucket) {
        bucket.orders.number_from(first_seq);
        let orders = bucket.orders.len() as u64;
        self.engine.apply(&bucket.orders, &mut self.hits);
        self.store.append_orders(bucket.orders);
        let letters = bucket.dead_letters.as_slice();
        self.store
            .append_dead_letters(first_seq.saturating_add(orders), received, letters);
        self.store.append_hits(&self.hits);
        self.totals.orders += orders;
        self.totals.dead_letters += letters.len() as u64;
        self.totals.hits += self.hits.len() as u64;
        if !self.hits.is_empty() {
            let mut book = lock(&self.book);
            let new = self
                .hits
                .drain(..)
                .filter(|hit| hit.order.seq > self.book_from);
            new.for_each(|hit| book.put(hit.into()));
        }
        let Origin { producer, batch } = bucket.origin;
        if !producer.is_empty() {
            let dead_letters = letters.len() as u64;
            self.remember(
                producer,
                Placed {
                    batch,
                    first_seq,
                    orders,
                    dead_letters,
                },
            );
        }
    }

    /// Applies a configuration from sequence number `seq` on.
    pub(crate) fn config(&mut self, seq: u64, config: &DetectConfig) -> Result<(), ApplyError> {
        self.engine
            .reconfigure(config)
            .map_err(|error| ApplyError::Config { seq, error })?;
        self.config_seen = Some(config.clone());
        Ok(())
    }

    /// What the producer's last bucket got.
    pub(crate) fn placed(&self, producer: &str) -> Option<Placed> {
        self.producers.get(producer).copied()
    }

    fn remember(&mut self, producer: String, placed: Placed) {
        self.producers.insert(producer, placed);
        if self.producers.len() > PRODUCERS_MAX {
            let silent = self
                .producers
                .iter()
                .min_by_key(|(_, placed)| placed.first_seq);
            if let Some(name) = silent.map(|(name, _)| name.clone()) {
                self.producers.remove(&name);
            }
        }
    }
}

/// Locks the alerts; a thread that died while holding them ended the process already.
pub(crate) fn lock(book: &Mutex<AlertBook>) -> MutexGuard<'_, AlertBook> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
