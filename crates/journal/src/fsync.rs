//! The background thread of the policy `interval`.
//! Invariant: what a commit handed over is being synced at most one interval later, and a sync that
//! failed is never forgotten: from then on `failure` gives it and `stable` stands still.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::storage::StoredFile;

/// Owns the thread; dropping it syncs what is left and ends the thread.
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Every sequence number below it is on stable storage.
    stable: AtomicU64,
    failed: AtomicBool,
}

#[derive(Default)]
struct State {
    dirty: Option<Dirty>,
    syncing: bool,
    stop: bool,
    failure: Option<String>,
}

/// A file with committed bytes that are not yet synced.
struct Dirty {
    file: Arc<dyn StoredFile>,
    path: PathBuf,
    next_seq: u64,
    since: Instant,
}

impl Flusher {
    pub(crate) fn spawn(interval: Duration, stable: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            stable: AtomicU64::new(stable),
            failed: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread = (thread::Builder::new().name("journal-fsync".to_owned()))
            .spawn(move || theirs.run(interval))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Hands over what was just written: everything below `next_seq`, the end of it in `file`.
    pub(crate) fn written(&self, file: &Arc<dyn StoredFile>, path: &Path, next_seq: u64) {
        let mut state = self.shared.lock();
        match &mut state.dirty {
            Some(dirty) => dirty.next_seq = next_seq,
            none => {
                let (file, path) = (Arc::clone(file), path.to_owned());
                *none = Some(Dirty {
                    file,
                    path,
                    next_seq,
                    since: Instant::now(),
                });
                self.shared.changed.notify_all();
            }
        }
    }

    /// Waits until no sync is under way and takes the work back: the caller syncs by itself and then
    /// says so with `synced`.
    pub(crate) fn quiesce(&self) {
        let mut state = self.shared.lock();
        while state.syncing {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.dirty = None;
    }

    pub(crate) fn synced(&self, next_seq: u64) {
        self.shared.stable.fetch_max(next_seq, Ordering::AcqRel);
    }

    pub(crate) fn stable(&self) -> u64 {
        self.shared.stable.load(Ordering::Acquire)
    }

    /// Why a background sync failed, if one did. Costs one load while none did.
    pub(crate) fn failure(&self) -> Option<String> {
        if !self.shared.failed.load(Ordering::Acquire) {
            return None;
        }
        self.shared.lock().failure.clone()
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the fsync thread of the journal panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, interval: Duration) {
        let mut state = self.lock();
        loop {
            let Some(dirty) = &state.dirty else {
                if state.stop {
                    return;
                }
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = interval.saturating_sub(dirty.since.elapsed());
            if !state.stop && !left.is_zero() {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let Some(dirty) = state.dirty.take() else {
                continue;
            };
            state.syncing = true;
            drop(state);
            let result = dirty.file.sync();
            state = self.lock();
            state.syncing = false;
            match result {
                Ok(()) => {
                    self.stable.fetch_max(dirty.next_seq, Ordering::AcqRel);
                }
                Err(error) => self.fail(&mut state, &dirty, &error),
            }
            self.changed.notify_all();
            if state.failure.is_some() {
                return;
            }
        }
    }

    fn fail(&self, state: &mut State, dirty: &Dirty, error: &io::Error) {
        let Dirty { path, next_seq, .. } = dirty;
        let stable = self.stable.load(Ordering::Acquire);
        let reason = format!(
            "the fsync of {} failed: {error}; seq {stable} to {} were acknowledged and may not survive a power loss",
            path.display(),
            next_seq.saturating_sub(1)
        );
        tracing::error!("{reason}");
        state.failure = Some(reason);
        state.dirty = None;
        self.failed.store(true, Ordering::Release);
    }
}
