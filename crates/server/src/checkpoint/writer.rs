//! The thread that writes checkpoints while the pipeline goes on.
//!
//! Invariant: at most one waits to be written; the newest [`KEPT`] states stay, with the hits that
//! they name. A failure costs the checkpoint, not the process.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use tapewatch_detect::EngineState;
use tapewatch_store::Store;

use super::{Checkpoint, HitsFile, list, named, state_name};
use crate::failure::Failure;
use crate::fold::{FrameMark, Placed, Totals};
use crate::metrics::Metrics;
use crate::pipeline::gauge;

/// States that are kept: the newest, and one before it in case that is bad.
const KEPT: usize = 2;
/// Files of hits beyond which they become one.
const HITS_FILES_MAX: usize = 32;

/// What the pipeline hands over.
pub(crate) struct Pending {
    pub(crate) frame: FrameMark,
    pub(crate) shards: Vec<EngineState>,
    pub(crate) producers: Vec<(String, Vec<Placed>)>,
    pub(crate) config: Option<String>,
    pub(crate) totals: Totals,
    pub(crate) arrivals: Vec<(i64, u64)>,
}

/// The thread.
pub(crate) struct Writer {
    queue: Option<SyncSender<Pending>>,
    /// Something is here while the thread waits for work.
    idle: Receiver<()>,
    /// Last sequence number that a checkpoint on the disk covers.
    written: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// The thread's side.
struct Worker {
    dir: PathBuf,
    /// `None` when hits need not be saved: they are in the log of hits.
    store: Option<Store>,
    metrics: Metrics,
    written: Arc<AtomicU64>,
    hits: Vec<HitsFile>,
    /// Sequence number up to which `hits` and the history have all hits.
    covered: u64,
}

impl Writer {
    /// Starts it; `hits` are the files that the checkpoint of this start named, complete up to
    /// `covered`.
    pub(crate) fn start(
        dir: PathBuf,
        store: Option<Store>,
        metrics: Metrics,
        hits: Vec<HitsFile>,
        covered: u64,
    ) -> Result<Self, Failure> {
        fs::create_dir_all(&dir)
            .map_err(|error| Failure::run(format!("cannot create {}: {error}", dir.display())))?;
        let (queue, todo) = sync_channel(1);
        let (waits, idle) = sync_channel(1);
        let written = Arc::new(AtomicU64::new(covered));
        let worker = Worker {
            dir,
            store,
            metrics,
            written: Arc::clone(&written),
            hits,
            covered,
        };
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || worker.run(&todo, &waits))
            .map_err(|error| {
                Failure::run(format!("cannot start the checkpoint thread: {error}"))
            })?;
        Ok(Self {
            queue: Some(queue),
            idle,
            written,
            thread: Some(thread),
        })
    }

    /// Last sequence number that a checkpoint on the disk covers.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Hands one over, unless one is being written; whether it was taken.
    pub(crate) fn offer(&self, make: impl FnOnce() -> Pending) -> bool {
        let idle = self.idle.try_recv().is_ok();
        idle && self
            .queue
            .as_ref()
            .is_some_and(|queue| queue.send(make()).is_ok())
    }

    /// Writes a last one and ends the thread.
    pub(crate) fn finish(mut self, last: Option<Pending>) {
        if let (Some(queue), Some(last)) = (&self.queue, last) {
            let _ = queue.send(last); // the thread is there until the queue is dropped
        }
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it said what went wrong
        }
    }
}

impl Worker {
    fn run(mut self, todo: &Receiver<Pending>, waits: &SyncSender<()>) {
        loop {
            let _ = waits.try_send(()); // one is enough
            let Ok(pending) = todo.recv() else {
                return;
            };
            let (started, seq) = (Instant::now(), pending.frame.last_seq());
            match self.write(pending) {
                Ok(()) => {
                    self.written.store(seq, Ordering::Release);
                    self.metrics.checkpoint_seq.set(gauge(seq));
                    let seconds = started.elapsed().as_secs_f64();
                    self.metrics.checkpoint_seconds.observe(seconds);
                    tracing::debug!(seq, seconds, "checkpoint written");
                }
                Err(message) => {
                    // What is half-written may be what fills the disk.
                    for part in ["state.part", "hits.part"] {
                        remove(&self.dir.join(part));
                    }
                    tracing::warn!(
                        seq,
                        %message,
                        "a checkpoint was not written; a start takes longer until the next is"
                    );
                }
            }
        }
    }

    fn write(&mut self, pending: Pending) -> Result<(), String> {
        let seq = pending.frame.last_seq();
        let history_hits = self.write_hits(seq)?;
        let checkpoint = Checkpoint {
            frame: pending.frame,
            shards: pending.shards.iter().map(EngineState::to_bytes).collect(),
            producers: pending.producers,
            config: pending.config,
            totals: pending.totals,
            arrivals: pending.arrivals,
            hits: self.hits.clone(),
            history_hits,
        };
        checkpoint
            .write(&self.dir)
            .map_err(|error| format!("{}: {error}", self.dir.display()))?;
        self.delete_old(seq);
        Ok(())
    }

    /// Writes the hits since the last checkpoint; up to where the history has them.
    fn write_hits(&mut self, through: u64) -> Result<u64, String> {
        let Some(store) = &self.store else {
            return Ok(0);
        };
        let past = store.high_water().hits;
        self.hits.retain(|file| file.through > past);
        if self.hits.len() >= HITS_FILES_MAX {
            self.hits.clear();
            self.covered = past;
        }
        if through <= self.covered {
            return Ok(past);
        }
        let mut file = HitsFile {
            after: self.covered,
            through,
            rows: 0,
        };
        let part = self.dir.join("hits.part");
        file.rows = store
            .save_hits(&part, file.after, through)
            .map_err(|error| error.to_string())?;
        if file.rows > 0 {
            fs::rename(&part, file.path(&self.dir)).map_err(|error| error.to_string())?;
            self.hits.push(file);
        } else {
            remove(&part);
        }
        self.covered = through;
        Ok(past)
    }

    /// Deletes what no kept state needs.
    fn delete_old(&self, newest: u64) {
        let mut needed: BTreeSet<String> = self.hits.iter().map(HitsFile::name).collect();
        // A state from beyond the newest is of another journal, or of a part that was lost.
        let newest = self.dir.join(state_name(newest));
        let (beyond, states): (Vec<_>, Vec<_>) =
            list(&self.dir).into_iter().partition(|path| *path > newest);
        beyond.iter().for_each(|path| remove(path));
        for (index, path) in states.into_iter().enumerate() {
            match Checkpoint::read(&path) {
                Ok(checkpoint) if index < KEPT => {
                    needed.extend(checkpoint.hits.iter().map(HitsFile::name));
                }
                _ => remove(&path),
            }
        }
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().and_then(|name| name.to_str());
            let is_needed = name.is_some_and(|name| needed.contains(name));
            if named(&path, "hits-", ".parquet") && !is_needed {
                remove(&path);
            }
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "an old checkpoint file was not deleted");
    }
}
