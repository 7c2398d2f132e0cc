//! The one thread through which every row goes: queue, journal, commit, then engine and tables.
//!
//! Invariant: nothing reaches the fold before its group is committed; an answer is given only after
//! that. Buckets that wait together share one commit. The queue is bounded: who publishes waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tapewatch_detect::{DetectConfig, Disabled, Shard};
use tapewatch_journal::{Journal, Readers, Retention};
use tapewatch_model::{Bucket, BucketHead, Hit, Origin, Tells};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::bytes::Bytes;

use crate::arrivals::Arrivals;
use crate::checkpoint::Writer;
use crate::failure::Failure;
use crate::fold::{Fold, FrameMark, Placed, Totals};
use crate::hits_log::{HitsLog, HitsReaders};
use crate::in_force::{self, InForce};
use crate::metrics::Metrics;

mod staged;
mod worker;

pub(crate) use worker::Worker;

/// Commands that wait.
pub(crate) const QUEUE_MAX: usize = 256;
/// Frames that are remembered: an engine that is not far behind stands at one of them.
const MARKS_MAX: usize = 65_536;
/// Encoded bytes in one group.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// Why a bucket was not taken. Nothing of it is in the journal, but for [`PublishError::Unknown`].
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PublishError {
    /// No room: the sender may try again.
    #[error("the disk is full: {0}; make room and send it again")]
    DiskFull(String),
    /// The journal refused and goes on: the sender may try again.
    #[error("the journal did not take it: {0}")]
    Refused(String),
    /// The journal stopped, or is in another process that went away, before it could answer.
    #[error(
        "it is not known whether the journal took it: {0}; look before you send it again, or send under a producer's \
         name and number"
    )]
    Unknown(String),
    /// It can never be taken as it is.
    #[error("{0}")]
    Invalid(String),
    /// The process is stopping, or must be restarted.
    #[error("rows are not taken any more: {0}")]
    Stopped(String),
    /// Memory is full until the end of day is done.
    #[error("today's table is full ({0} rows): it is being moved to the history, send it again")]
    RecentFull(u64),
}

impl PublishError {
    /// Its label in the metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::DiskFull(_) => "disk_full",
            Self::Refused(_) => "journal",
            Self::Unknown(_) => "unknown",
            Self::Invalid(_) => "invalid",
            Self::Stopped(_) => "stopped",
            Self::RecentFull(_) => "recent_full",
        }
    }
}

/// What became of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) placed: Placed,
    /// It had been taken before, under this number of the same producer.
    pub(crate) duplicate: bool,
}

/// Where the answer to a command goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, PublishError>>;

/// What is published.
pub(crate) enum Rows {
    Decoded(Box<Bucket>),
    /// Checked, and as the journal keeps them: for a process that only passes them on. Who sent them
    /// over a connection has named a producer.
    Encoded(BucketHead, Bytes),
}

impl Rows {
    fn origin(&self) -> &Origin {
        match self {
            Self::Decoded(bucket) => &bucket.origin,
            Self::Encoded(head, _) => &head.origin,
        }
    }

    /// Orders, and rows that could not be used.
    fn counts(&self) -> (u64, u64) {
        match self {
            Self::Decoded(bucket) => (bucket.orders.len() as u64, bucket.dead_letters.len() as u64),
            Self::Encoded(head, _) => (head.orders, head.dead_letters),
        }
    }
}

impl From<Bucket> for Rows {
    fn from(bucket: Bucket) -> Self {
        Self::Decoded(Box::new(bucket))
    }
}

/// Where the answer goes to what engines in another process found, and whether something before it on
/// the same connection was refused: hits must not be taken before earlier ones, which would then seem to
/// be there.
pub(crate) struct Told {
    pub(crate) reply: Reply<u64>,
    pub(crate) refused: Arc<AtomicBool>,
}

/// What the thread, or the process that has the journal, is asked to do.
pub(crate) enum Command {
    Publish(Rows, Reply<Published>),
    Clear(Reply<u64>),
    Configure(Box<DetectConfig>, Reply<u64>),
    Sync(Reply<u64>),
    /// As `Sync`, of what engines in other processes found alone.
    SyncFound(Reply<u64>),
    Retain(Retention),
    Checkpoint,
    /// Engines in another process found these hits, and all others up to a sequence number; the last
    /// frame that they had applied.
    Found(Shard, u64, FrameMark, Vec<Hit>, Option<Told>),
}

/// Counts that others read while the thread runs.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) late_rows: AtomicU64,
    /// What there is to tell of guests that stopped.
    disabled: Mutex<Vec<String>>,
    /// The configuration in force, and its detectors.
    in_force: Mutex<Arc<(DetectConfig, Vec<InForce>)>>,
}

impl Live {
    /// What there is to tell of guests that stopped.
    pub(crate) fn disabled(&self) -> Vec<String> {
        let disabled = self.disabled.lock();
        disabled.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration in force, and its detectors.
    pub(crate) fn in_force(&self) -> Arc<(DetectConfig, Vec<InForce>)> {
        let in_force = self.in_force.lock();
        Arc::clone(&in_force.unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows a configuration that came into force; what it names that is not there, and what its
    /// detectors lack, is told to the operator.
    pub(crate) fn show_config(&self, config: &DetectConfig) {
        let unknown = config.unknown_names();
        for line in unknown.iter().chain(&in_force::missing(config, Tells::ALL)) {
            tracing::warn!("{line}");
        }
        let now = Arc::new((config.clone(), in_force::list(config)));
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Shows the guests that stopped; those that are new are told to the operator.
    pub(crate) fn show_disabled(&self, now: &[Disabled]) {
        let mut shown = self.disabled.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.len() == now.len()
            && now
                .iter()
                .zip(&*shown)
                .all(|(one, text)| one.to_string() == *text)
        {
            return;
        }
        let texts: Vec<String> = now.iter().map(ToString::to_string).collect();
        for text in texts.iter().filter(|text| !shown.contains(text)) {
            tracing::error!("{text}");
        }
        *shown = texts;
    }
}

/// The sender's side of the pipeline.
#[derive(Clone)]
pub(crate) struct Pipeline {
    queue: mpsc::Sender<Command>,
    metrics: Metrics,
}

impl Pipeline {
    /// Publishes a bucket; returns when it is durable (by the policy in force) and its hits visible.
    pub(crate) async fn publish(&self, bucket: Bucket) -> Result<Published, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Publish(bucket.into(), reply), answer)
            .await
    }

    /// Queues a command in its turn; the answer comes later. `None` when the pipeline is gone.
    pub(crate) async fn submit<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Option<oneshot::Receiver<Result<T, PublishError>>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.queue.send(command(reply)).await;
        sent.ok().map(|()| answer)
    }

    /// Tells what this process's share of the engines found up to `through`; waits while too much
    /// waits.
    pub(crate) async fn found(&self, share: Shard, through: u64, frame: FrameMark, hits: Vec<Hit>) {
        let command = Command::Found(share, through, frame, hits, None);
        // A pipeline that is gone takes nothing any more: a restart finds them again.
        let _ = self.queue.send(command).await;
    }

    /// A pipeline whose commands go to `queue`'s other end.
    pub(crate) fn to(queue: mpsc::Sender<Command>, metrics: Metrics) -> Self {
        Self { queue, metrics }
    }

    /// Queues rows without waiting; `None` when the queue is full or gone. The answer comes as that of
    /// [`Self::publish`].
    pub(crate) fn try_publish(
        &self,
        rows: impl Into<Rows>,
    ) -> Option<oneshot::Receiver<Result<Published, PublishError>>> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Publish(rows.into(), reply);
        self.queue.try_send(command).ok().map(|()| answer)
    }

    /// Empties the detectors' windows.
    pub(crate) async fn clear(&self) -> Result<u64, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Clear(reply), answer).await
    }

    /// Puts a configuration of the detectors in force from here on; its sequence number, or that of
    /// the last frame when it was in force already.
    pub(crate) async fn configure(&self, config: DetectConfig) -> Result<u64, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Configure(Box::new(config), reply), answer)
            .await
    }

    /// Forces everything published so far to stable storage, whatever the policy; its last sequence
    /// number.
    pub(crate) async fn sync(&self) -> Result<u64, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Sync(reply), answer).await
    }

    /// Lets go of old journal segments.
    pub(crate) async fn retain(&self, retention: Retention) {
        // A pipeline that is gone has nothing to let go of.
        let _ = self.queue.send(Command::Retain(retention)).await;
    }

    /// Saves the detectors' windows, beside what goes on.
    pub(crate) async fn checkpoint(&self) {
        // A pipeline that is gone saves by itself at its end.
        let _ = self.queue.send(Command::Checkpoint).await;
    }

    async fn send<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, PublishError>>,
    ) -> Result<T, PublishError> {
        let stopping = || PublishError::Stopped("the process is stopping".to_owned());
        self.metrics.queue.inc();
        let sent = self.queue.send(command).await;
        let result = match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(stopping())),
            Err(_) => Err(stopping()),
        };
        self.metrics.queue.dec();
        if let Err(error) = &result {
            self.metrics
                .refused_buckets
                .with_label_values(&[error.reason()])
                .inc();
        }
        result
    }
}

/// The last frames that this process has committed, for others to look at.
#[derive(Clone, Default)]
pub(crate) struct Marks(Arc<Mutex<VecDeque<FrameMark>>>);

impl Marks {
    /// Adds frames that were committed, in order.
    fn add(&self, committed: impl Iterator<Item = FrameMark>) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.extend(committed);
        let more = marks.len().saturating_sub(MARKS_MAX);
        marks.drain(..more);
    }

    /// Whether the journal has this very frame; `None` when it is not among what is remembered.
    pub(crate) fn has(&self, frame: FrameMark) -> Option<bool> {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One behind the last may be committed and not here yet.
        let known = marks.front().zip(marks.back());
        if known.is_none_or(|(first, last)| frame.seq < first.seq || frame.seq > last.seq) {
            return None;
        }
        let at = marks.binary_search_by_key(&frame.seq, |mark| mark.seq);
        Some(at.is_ok_and(|at| marks.get(at) == Some(&frame)))
    }
}

/// What the rest of the process has of the thread.
pub(crate) struct Spawned {
    pub(crate) pipeline: Pipeline,
    /// Last published sequence number.
    pub(crate) published: watch::Receiver<u64>,
    pub(crate) live: Arc<Live>,
    /// Readers of the journal.
    pub(crate) readers: Readers,
    pub(crate) marks: Marks,
    /// Readers of the log of hits, if there is one.
    pub(crate) hits: Option<HitsReaders>,
    /// Last sequence number of which all hits show.
    pub(crate) hits_through: watch::Receiver<u64>,
}

/// What bounds memory and journal.
pub(crate) struct Limits {
    /// Rows in memory before they become history ahead of time.
    pub(crate) recent_rows_max: u64,
    /// When the rows of the journal came.
    pub(crate) arrivals: Arrivals,
    /// Writes checkpoints.
    pub(crate) checkpoints: Option<Writer>,
    /// The log of hits, when roles in other processes may take part.
    pub(crate) hits: Option<HitsLog>,
}

/// Starts the thread; it ends when all [`Pipeline`]s are dropped, or when the journal stopped.
pub(crate) fn spawn(
    journal: Journal,
    fold: Fold,
    config: &DetectConfig,
    metrics: Metrics,
    limits: Limits,
) -> Result<(Spawned, JoinHandle<Result<(), Failure>>), Failure> {
    let (worker, spawned) = prepare(journal, fold, config, metrics, limits)?;
    let thread = std::thread::Builder::new()
        .name("pipeline".to_owned())
        .spawn(move || worker.run())
        .map_err(|error| Failure::run(format!("cannot start the pipeline thread: {error}")))?;
    Ok((spawned, thread))
}

/// What the thread works with: a recovered journal and fold. A configuration other than the journal's
/// last is written to it first.
pub(crate) fn prepare(
    journal: Journal,
    fold: Fold,
    config: &DetectConfig,
    metrics: Metrics,
    limits: Limits,
) -> Result<(Worker, Spawned), Failure> {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let (published, watcher) = watch::channel(journal.durable_seq());
    let live = Arc::new(Live::default());
    let marks = Marks::default();
    let (hits_sender, hits_through) = watch::channel(fold.hits_through());
    let (readers, hits) = (
        journal.readers(),
        limits.hits.as_ref().map(HitsLog::readers),
    );
    let mut worker = Worker {
        segments: journal.segments(),
        arrivals: limits.arrivals,
        shown: Totals::default(),
        journal,
        fold,
        queue,
        published,
        metrics: metrics.clone(),
        live: Arc::clone(&live),
        recent_rows_max: limits.recent_rows_max,
        checkpoints: limits.checkpoints,
        hits: limits.hits,
        marks: marks.clone(),
        hits_through: hits_sender,
        encoded: Vec::new(),
    };
    match worker.fold.config_seen() == Some(config) {
        true => worker.tell_last_segment(config)?,
        false => worker.write_config(config)?,
    }
    // What was found again while the state was made.
    worker.tell_hits()?;
    live.show_config(config);
    worker.show();
    let spawned = Spawned {
        pipeline: Pipeline {
            queue: sender,
            metrics,
        },
        published: watcher,
        live,
        readers,
        marks,
        hits,
        hits_through,
    };
    Ok((worker, spawned))
}

/// Brings the metrics of a fold up to date; `shown` is what the counters show already.
pub(crate) fn show(fold: &Fold, live: &Live, metrics: &Metrics, shown: &mut Totals) {
    let counters = fold.counters();
    live.late_rows.store(counters.late_rows, Ordering::Relaxed);
    let Totals {
        orders,
        dead_letters,
        hits,
    } = fold.totals;
    let before = std::mem::replace(shown, fold.totals);
    metrics.orders.inc_by(orders.saturating_sub(before.orders));
    let letters = dead_letters.saturating_sub(before.dead_letters);
    metrics.dead_letters.inc_by(letters);
    metrics.hits.inc_by(hits.saturating_sub(before.hits));
    metrics.late_rows.set(gauge(counters.late_rows));
    metrics.window_overflows.set(gauge(counters.overflows));
    metrics.entities.set(gauge(counters.entities));
    let disabled = fold.disabled();
    metrics.guest_disabled.set(gauge(disabled.len() as u64));
    live.show_disabled(disabled);
    let alerts = crate::fold::lock(&fold.book()).total();
    metrics.alerts.set(gauge(alerts));
    let counts = fold.store.counts();
    metrics.recent_rows.set(gauge(counts.recent_orders));
    metrics.recent_bytes.set(gauge(counts.recent_bytes));
}

pub(crate) fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
