//! A process without the journal: it applies what it is sent, and tells what it finds.
//!
//! Invariant: frames are applied once, in order, by one task. It shares the runtime's threads with the
//! connections, so that an event that comes in and the hit on it that goes out need no other thread to
//! wake up. What an engine found is told before
//! it counts as come so far, and a checkpoint is written only when all of it is in the log of hits.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tapewatch_journal::{FrameRef, checked_frame};
use tapewatch_model::{Time, frame_kind};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::block_in_place;

use crate::arrivals::Arrivals;
use crate::checkpoint::Writer;
use crate::failure::Failure;
use crate::fold::{Fold, FrameMark, Totals};
use crate::hits_log;
use crate::metrics::Metrics;
use crate::pipeline::{Live, Pipeline, gauge, show};
use crate::wire::{Chunk, Follow, Place, Stream};

/// Chunks that wait to be applied.
const AHEAD: usize = 8;
/// How long it waits for a chunk before it looks whether it is to stop.
const PATIENCE: Duration = Duration::from_millis(100);
/// A chunk of more bytes takes so long that the runtime's other tasks are given another thread.
const LONG_BYTES: usize = 32 << 10;

/// What is applied, and how far.
pub(crate) struct Follower {
    pub(crate) fold: Fold,
    pub(crate) pipeline: Pipeline,
    pub(crate) metrics: Metrics,
    pub(crate) live: Arc<Live>,
    pub(crate) arrivals: Arrivals,
    pub(crate) recent_rows_max: u64,
    pub(crate) checkpoints: Option<(Writer, Duration)>,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// How far a follower has come.
pub(crate) struct Following {
    /// Last sequence number applied.
    pub(crate) published: watch::Receiver<u64>,
    /// Last sequence number of which all hits show.
    pub(crate) hits: watch::Receiver<u64>,
    pub(crate) thread: JoinHandle<Result<(), Failure>>,
}

/// The thread's side.
struct Worker {
    it: Follower,
    inbox: mpsc::Receiver<Chunk>,
    /// What others find.
    found: Option<mpsc::Receiver<Chunk>>,
    published: watch::Sender<u64>,
    hits: watch::Sender<u64>,
    shown: Totals,
    saved: Instant,
}

impl Follower {
    /// Subscribes to what comes after what the fold has, and applies it.
    pub(crate) fn start(self, follow: &Follow) -> Result<Following, Failure> {
        let (sender, inbox) = mpsc::channel(AHEAD);
        let last = self.fold.last().last_seq();
        let place = Place::behind(self.fold.last());
        follow.start(Stream::Journal, place, sender);
        let (sender, found) = mpsc::channel(AHEAD);
        let found = self.fold.wants_hits().then(|| {
            // What the history has is passed over; there is no other place to begin.
            follow.start(Stream::Hits, Place::at(0), sender);
            found
        });
        let (published, seen) = watch::channel(last);
        let (hits, hits_seen) = watch::channel(self.fold.hits_through());
        let mut worker = Worker {
            it: self,
            inbox,
            found,
            published,
            hits,
            shown: Totals::default(),
            saved: Instant::now(),
        };
        let runtime = Handle::current();
        let following = runtime.spawn(async move { worker.run().await });
        let thread = std::thread::Builder::new()
            .name("follower".to_owned())
            .spawn(move || runtime.block_on(following).map_err(Failure::run)?)
            .map_err(|error| Failure::run(format!("cannot start the follower: {error}")))?;
        Ok(Following {
            published: seen,
            hits: hits_seen,
            thread,
        })
    }
}

/// The next of an inbox; none ever comes where there is no inbox.
async fn recv(inbox: &mut Option<mpsc::Receiver<Chunk>>) -> Option<Chunk> {
    match inbox {
        Some(inbox) => inbox.recv().await,
        None => std::future::pending().await,
    }
}

/// Applies frames of the journal that the fold does not have, and hands each to `each`. They were
/// checked when they came in, as those of the log of hits were.
pub(crate) fn apply_frames(
    fold: &mut Fold,
    bytes: &[u8],
    mut each: impl FnMut(&FrameRef<'_>),
) -> Result<(), Failure> {
    let mut rest = bytes;
    while let Some(frame) = checked_frame(rest).map_err(Failure::run)? {
        rest = rest.get(frame.bytes.len()..).unwrap_or_default();
        if FrameMark::of(&frame).last_seq() > fold.last().last_seq() {
            fold.frame(&frame).map_err(Failure::run)?;
            each(&frame);
        }
    }
    Ok(())
}

/// Takes in frames of the log of hits; all hits up to order `through` are there then.
pub(crate) fn apply_hits(fold: &mut Fold, through: u64, bytes: &[u8]) -> Result<(), Failure> {
    let mut rest = bytes;
    while let Some(frame) = checked_frame(rest).map_err(Failure::run)? {
        rest = rest.get(frame.bytes.len()..).unwrap_or_default();
        fold.found_elsewhere(hits_log::decode(&frame)?);
    }
    fold.hits_elsewhere(through, Vec::new());
    Ok(())
}

/// Waits for something, but not when the process is to stop.
async fn unless_stopping<T>(
    stopping: &watch::Receiver<bool>,
    wanted: impl Future<Output = T>,
) -> Option<T> {
    let mut stopping = stopping.clone();
    tokio::select! {
        // An error means that everything is gone already.
        _ = stopping.wait_for(|stopping| *stopping) => None,
        came = wanted => Some(came),
    }
}

impl Worker {
    async fn run(&mut self) -> Result<(), Failure> {
        self.show_config();
        self.tell().await;
        while !*self.it.stopping.borrow() {
            self.checkpoint().await;
            // The journal keeps what the tables cannot take yet. They need the hits on what they have:
            // without them nothing moves to the history.
            let (full, wants) = (self.is_full(), self.it.fold.wants_more_hits());
            let next = tokio::select! {
                chunk = self.inbox.recv(), if !full => Some(chunk),
                chunk = recv(&mut self.found), if wants => Some(chunk),
                () = tokio::time::sleep(PATIENCE) => None,
            };
            match next {
                None => {}
                Some(Some(chunk)) => {
                    match chunk.len() > LONG_BYTES {
                        true => block_in_place(|| self.take(chunk))?,
                        false => self.take(chunk)?,
                    }
                    self.tell().await;
                }
                Some(None) => return Err(Failure::run("the subscription ended by itself")),
            }
        }
        self.finish().await;
        Ok(())
    }

    fn take(&mut self, chunk: Chunk) -> Result<(), Failure> {
        match chunk {
            Chunk::Frames(frames) => self.frames(&frames),
            Chunk::Hits(through, frames) => apply_hits(&mut self.it.fold, through, &frames),
            Chunk::Failed(why) => Err(Failure::run(why)),
        }
    }

    fn frames(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Follower { fold, arrivals, .. } = &mut self.it;
        let mut configured = false;
        apply_frames(fold, bytes, |frame| {
            configured |= frame.kind == frame_kind::DETECTOR_CONFIG;
            arrivals.note(Time::from_nanos(frame.time), frame.seq);
        })?;
        if configured {
            self.show_config();
        }
        Ok(())
    }

    fn show_config(&self) {
        if let Some(config) = self.it.fold.config_seen() {
            self.it.live.show_config(config);
        }
    }

    /// Tells what was found, then how far it has come.
    async fn tell(&mut self) {
        let last = self.it.fold.last().last_seq();
        if let Some(found) = self.it.fold.take_found() {
            let (share, frame) = (self.it.fold.share(), self.it.fold.last());
            for (through, hits) in hits_log::parts(found, last) {
                // Nobody is there to be told when the process is stopping: a restart finds them again.
                let told = self.it.pipeline.found(share, through, frame, hits);
                unless_stopping(&self.it.stopping, told).await;
            }
        }
        let it = &mut self.it;
        self.published.send_replace(last);
        self.hits.send_replace(it.fold.hits_through());
        it.metrics.journal_seq.set(gauge(last));
        show(&it.fold, &it.live, &it.metrics, &mut self.shown);
    }

    fn is_full(&self) -> bool {
        let most = self.it.recent_rows_max;
        self.it.fold.store.counts().recent_orders > most.saturating_add(most / 4)
    }

    /// Saves the windows every so often, once the journal's process has what was found.
    async fn checkpoint(&mut self) {
        let Some((writer, every)) = &self.it.checkpoints else {
            return;
        };
        if every.is_zero() || self.saved.elapsed() < *every {
            return;
        }
        self.saved = Instant::now();
        if writer.written() == self.it.fold.last().last_seq() {
            return;
        }
        let synced = unless_stopping(&self.it.stopping, self.it.pipeline.sync()).await;
        let it = &self.it;
        if let (Some((writer, _)), Some(Ok(_))) = (&it.checkpoints, synced) {
            block_in_place(|| writer.offer(|| it.fold.pending(it.arrivals.to_marks())));
        }
    }

    async fn finish(&mut self) {
        let Some((writer, _)) = self.it.checkpoints.take() else {
            return;
        };
        let synced = tokio::time::timeout(Duration::from_secs(5), self.it.pipeline.sync()).await;
        let it = &self.it;
        let news = writer.written() != it.fold.last().last_seq();
        let safe = news && matches!(synced, Ok(Ok(_)));
        block_in_place(|| writer.finish(safe.then(|| it.fold.pending(it.arrivals.to_marks()))));
    }
}
