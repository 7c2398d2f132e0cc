//! Subscriptions: frames of the journal from a sequence number on, from the disk and then live.
//!
//! Invariant: frames come in order, each once, without a gap at the hand-over: both sides of it are
//! the journal's file, and the live side is only the news that it has grown. A subscriber pulls at its
//! own pace; nothing waits for it and nothing is queued for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGaugeVec;
use serde::Serialize;
use tapewatch_journal::{FrameRef, ReadError, Reader, Readers};
use tapewatch_model::{BucketDecoder, CodecError, OrderBatch, frame_kind};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::pipeline::gauge;

/// Subscriptions at a time, of all kinds: each has a label in the metrics.
const SUBSCRIBERS_MAX: usize = 256;
/// Rows that are given at once, unless one bucket has more.
const GATHER_ROWS: usize = 8_192;
/// Bytes of frames that are read at once, whether their rows are wanted or not.
const GATHER_BYTES: usize = 4 << 20;

/// Why a subscription does not begin or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubscriptionError {
    #[error(
        "sequence number {asked} is no longer in the journal: the first that can be read is {first}; older rows are in the history, ask SQL"
    )]
    Gone { asked: u64, first: u64 },
    #[error("sequence number {asked} is not there yet: the last is {last}; take {next} to begin with the next row", next = last + 1)]
    Ahead { asked: u64, last: u64 },
    #[error("{SUBSCRIBERS_MAX} subscriptions are open already: close one")]
    Full,
    #[error("the process stops: subscribe again from {0}")]
    Stopping(u64),
    #[error("the journal cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("journal frame at sequence number {seq}: {error}")]
    Codec { seq: u64, error: CodecError },
    #[error("reading the journal failed")]
    Panicked,
}

/// How far a subscriber is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubscriberStatus {
    /// The name that it gave, with a number behind it where there are several; a role's tells its host
    /// and process.
    name: String,
    /// Last sequence number that it was given.
    last_seq: u64,
    /// Sequence numbers that it was not given yet.
    lag: u64,
}

/// Who is subscribed, and how far each is.
#[derive(Clone, Default)]
pub(crate) struct Subscribers {
    open: Arc<Mutex<BTreeMap<String, Position>>>,
    numbers: Arc<AtomicU64>,
}

/// How far one has come, and in which log, unless it is the journal.
struct Position {
    next_seq: Arc<AtomicU64>,
    of: Option<Readers>,
}

/// A place among the subscribers, kept until it is dropped.
pub(crate) struct Seat {
    subscribers: Subscribers,
    label: String,
    next_seq: Arc<AtomicU64>,
}

impl Subscribers {
    /// Takes a place. The label in the metrics is `name`, or with a number behind it when there is
    /// one of that name.
    ///
    /// # Errors
    /// [`SubscriptionError::Full`].
    pub(crate) fn join(&self, name: &str, next_seq: u64) -> Result<Seat, SubscriptionError> {
        self.join_log(name, next_seq, None)
    }

    /// As [`Self::join`], for a subscriber of another log than the journal.
    pub(crate) fn join_log(
        &self,
        name: &str,
        next_seq: u64,
        of: Option<Readers>,
    ) -> Result<Seat, SubscriptionError> {
        let mut open = self.lock();
        if open.len() >= SUBSCRIBERS_MAX {
            return Err(SubscriptionError::Full);
        }
        let mut label = name.to_owned();
        while open.contains_key(&label) {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
            label = format!("{name}-{number}");
        }
        let next_seq = Arc::new(AtomicU64::new(next_seq));
        let position = Position {
            next_seq: Arc::clone(&next_seq),
            of,
        };
        open.insert(label.clone(), position);
        drop(open);
        Ok(Seat {
            subscribers: self.clone(),
            label,
            next_seq,
        })
    }

    /// Shows how far behind `published` each is; those that are gone show no more.
    pub(crate) fn show(&self, published: u64, lag: &IntGaugeVec) {
        lag.reset();
        for one in self.status(published) {
            lag.with_label_values(&[&one.name]).set(gauge(one.lag));
        }
    }

    /// Each, and how far behind `published`.
    pub(crate) fn status(&self, published: u64) -> Vec<SubscriberStatus> {
        let one = |(name, position): (&String, &Position)| {
            let next_seq = position.next_seq.load(Ordering::Relaxed);
            let end = position.of.as_ref().map_or(published, Readers::durable_seq);
            SubscriberStatus {
                name: name.clone(),
                last_seq: next_seq.saturating_sub(1),
                lag: end.saturating_add(1).saturating_sub(next_seq),
            }
        };
        self.lock().iter().map(one).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Position>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// What [`Self::at`] sets.
    pub(crate) fn position(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.next_seq)
    }

    /// Everything before this number was given.
    pub(crate) fn at(&self, next_seq: u64) {
        self.next_seq.store(next_seq, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.subscribers.lock().remove(&self.label);
    }
}

/// What subscriptions are made from; cheap to clone.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) readers: Readers,
    /// Last published sequence number.
    pub(crate) published: watch::Receiver<u64>,
    /// Set once, when the process begins to stop.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Where a subscription begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first sequence number that is wanted; `None`: the first that there is.
    pub(crate) from: Option<u64>,
    /// Whether it goes on with what comes, or ends with what is published now.
    pub(crate) follow: bool,
}

/// Follows the frames of the journal.
pub(crate) struct Frames {
    source: Source,
    /// Away while it reads.
    reader: Option<Reader>,
    next_seq: u64,
    /// The last number that is wanted; `None`: it goes on.
    last: Option<u64>,
}

impl Frames {
    /// Begins at `span.from`; the first frame is the one that holds it.
    ///
    /// # Errors
    /// [`SubscriptionError::Gone`], or [`SubscriptionError::Ahead`] when it is more than one behind
    /// the last.
    pub(crate) fn open(source: Source, span: Span) -> Result<Self, SubscriptionError> {
        let published = *source.published.borrow();
        let first = source.readers.first_seq()?;
        let from = span.from.unwrap_or(first).max(1);
        if from > published.max(source.readers.durable_seq()) + 1 {
            return Err(SubscriptionError::Ahead {
                asked: from,
                last: published,
            });
        }
        let reader = source.readers.reader(from).map_err(gone)?;
        Ok(Self {
            reader: Some(reader),
            next_seq: from,
            last: (!span.follow).then_some(published),
            source,
        })
    }

    /// The number from which on nothing was given yet.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Gives `take` the next frames in order, until it breaks or there are no more for now, and
    /// returns what it made of them; waits while there is none. `None` at the end.
    ///
    /// # Errors
    /// [`SubscriptionError::Stopping`] when the process stops, [`SubscriptionError::Gone`] when
    /// retention overtook it, or that the journal cannot be read.
    pub(crate) async fn next<T: Send + 'static>(
        &mut self,
        mut state: T,
        take: fn(&mut T, &FrameRef<'_>) -> ControlFlow<()>,
    ) -> Result<Option<T>, SubscriptionError> {
        loop {
            if self.last.is_some_and(|last| self.next_seq > last) {
                return Ok(None);
            }
            self.wait().await?;
            let mut reader = self.reader.take().ok_or(SubscriptionError::Panicked)?;
            let (before, limit) = (self.next_seq, self.last.unwrap_or(u64::MAX));
            // The disk may make it wait: beside the runtime's workers.
            let read = tokio::task::spawn_blocking(move || {
                let mut read = Ok(());
                while reader.next_seq() <= limit {
                    match reader.next_frame() {
                        Ok(Some(frame)) => {
                            if take(&mut state, &frame).is_break() {
                                break;
                            }
                        }
                        Ok(None) => break,
                        Err(error) => {
                            read = Err(gone(error));
                            break;
                        }
                    }
                }
                (reader, state, read)
            });
            let (reader, read_state, read) = read.await.map_err(|_| SubscriptionError::Panicked)?;
            (self.next_seq, state) = (reader.next_seq(), read_state);
            self.reader = Some(reader);
            if self.next_seq > before {
                return Ok(Some(state)); // an error comes again with the next call
            }
            read?;
        }
    }

    /// Waits until there is something that was not read.
    async fn wait(&mut self) -> Result<(), SubscriptionError> {
        let Source {
            published,
            stopping,
            ..
        } = &mut self.source;
        let next_seq = self.next_seq;
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => Err(SubscriptionError::Stopping(next_seq)),
            there = published.wait_for(|last| *last >= next_seq) => {
                there.map(drop).map_err(|_| SubscriptionError::Stopping(next_seq))
            }
        }
    }
}

fn gone(error: ReadError) -> SubscriptionError {
    match error {
        ReadError::Gone {
            asked, first_seq, ..
        } => SubscriptionError::Gone {
            asked,
            first: first_seq,
        },
        other => SubscriptionError::Read(other),
    }
}

/// Follows the orders in the journal.
pub(crate) struct Orders {
    frames: Frames,
    gathering: Option<Gathering>,
    seat: Seat,
}

/// Rows that are being collected.
struct Gathering {
    decoder: BucketDecoder,
    /// The instruments that are wanted; `None` for all.
    syms: Option<Arc<BTreeSet<String>>>,
    from_seq: u64,
    orders: OrderBatch,
    bytes: usize,
    failed: Option<SubscriptionError>,
}

impl Orders {
    /// Begins at `span.from`.
    ///
    /// # Errors
    /// As [`Frames::open`], and [`SubscriptionError::Full`].
    pub(crate) fn open(
        source: Source,
        span: Span,
        syms: Option<BTreeSet<String>>,
        (subscribers, name): (&Subscribers, &str),
    ) -> Result<Self, SubscriptionError> {
        let frames = Frames::open(source, span)?;
        let seat = subscribers.join(name, frames.next_seq())?;
        Ok(Self {
            gathering: Some(Gathering {
                decoder: BucketDecoder::default(),
                syms: syms.map(Arc::new),
                from_seq: frames.next_seq(),
                orders: OrderBatch::default(),
                bytes: 0,
                failed: None,
            }),
            frames,
            seat,
        })
    }

    /// The number before which everything was given, as it moves on.
    pub(crate) fn position(&self) -> Arc<AtomicU64> {
        self.seat.position()
    }

    /// The next orders, numbered, and the number from which on nothing was given yet; waits while
    /// there are none. `None` at the end.
    ///
    /// # Errors
    /// As [`Frames::next`].
    pub(crate) async fn next(&mut self) -> Result<Option<(OrderBatch, u64)>, SubscriptionError> {
        loop {
            // Asked for again: what was given before is on its way.
            self.seat.at(self.frames.next_seq());
            let gathering = self.gathering.take().ok_or(SubscriptionError::Panicked)?;
            let Some(mut gathered) = self.frames.next(gathering, Gathering::take).await? else {
                return Ok(None);
            };
            if let Some(failed) = gathered.failed.take() {
                return Err(failed);
            }
            let orders = std::mem::take(&mut gathered.orders);
            gathered.bytes = 0;
            self.gathering = Some(gathered);
            if !orders.is_empty() {
                return Ok(Some((orders, self.frames.next_seq())));
            }
        }
    }
}

impl Gathering {
    fn take(&mut self, frame: &FrameRef<'_>) -> ControlFlow<()> {
        self.bytes += frame.bytes.len();
        if frame.kind == frame_kind::BUCKET {
            match self.decoder.decode(frame.payload) {
                Ok(mut bucket) => {
                    bucket.orders.number_from(frame.seq);
                    self.add(bucket.orders);
                }
                Err(error) => {
                    let seq = frame.seq;
                    self.failed = Some(SubscriptionError::Codec { seq, error });
                }
            }
        }
        let enough = self.orders.len() >= GATHER_ROWS || self.bytes >= GATHER_BYTES;
        match enough || self.failed.is_some() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn add(&mut self, orders: OrderBatch) {
        let orders = match (&self.syms, orders.seq(0) < self.from_seq) {
            (None, false) => orders,
            _ => self.wanted(&orders),
        };
        if self.orders.is_empty() {
            self.orders = orders;
        } else if self.orders.append(&orders).is_err() {
            debug_assert!(false, "the rows are checked already");
        }
    }

    /// Those of the rows that are wanted.
    fn wanted(&self, orders: &OrderBatch) -> OrderBatch {
        let mut some = OrderBatch::following(orders, 0);
        let mut seqs = Vec::new();
        for (seq, row) in orders.rows().filter(|(seq, _)| *seq >= self.from_seq) {
            let wanted = self.syms.as_ref().is_none_or(|syms| syms.contains(row.sym));
            if wanted && some.push(&row.as_bytes()).is_ok() {
                seqs.push(seq);
            }
        }
        let fits = some.number_with(seqs);
        debug_assert!(fits, "a number for each row");
        some
    }
}

#[cfg(test)]
mod tests;
