//! Older orders of the day on the local disk, where recent has outgrown its memory.
//!
//! Invariant: what is spilled is a table as the history has them, in a directory of its own that goes
//! with the last snapshot that knows it. Its rows lie behind all of history and before all in memory,
//! or one of these is moved first. It is derived: a start deletes what it finds, and the journal's rows
//! make it anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deltalake::kernel::Add;
use tapewatch_model::{Date, OrderBatch};

use crate::check::first_damaged;
use crate::history::{self, History};
use crate::place::{HistoryOptions, Home};
use crate::recent_orders::Chunk;
use crate::schema::{PARTITION, PerTable, Table};
use crate::store::{Histories, Inner, State, Store};
use crate::upkeep::{KeepError, read_orders};

/// In the store's directory.
const DIR: &str = "recent";
/// Rows of a batch that comes back to memory.
const BATCH_ROWS: usize = 65_536;
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Why rows stay in memory, or cannot come back.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// They cannot be written.
    #[error("today's older orders cannot be written to {}: {message}; they stay in memory", dir.display())]
    Write {
        /// Directory.
        dir: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// They cannot be read.
    #[error(
        "today's older orders cannot be read: {message}; a restart makes them again from the journal"
    )]
    Read {
        /// Which file, and what is wrong with it.
        message: String,
    },
}

/// Orders on the local disk, at one version.
pub(crate) struct Spilled {
    /// The table.
    pub(crate) history: Arc<History>,
    /// Its files.
    pub(crate) files: Vec<Add>,
    /// First sequence number.
    pub(crate) first: u64,
    dir: Arc<Directory>,
}

/// A directory that is deleted when nobody needs it any more.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "spilled orders could not be deleted");
        }
    }
}

impl Spilled {
    /// A new, empty table.
    async fn create(parent: &Path) -> Result<(History, Arc<Directory>), history::HistoryError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
        let dir = Arc::new(Directory(parent.join(name)));
        let home = Home::open(&dir.0, &HistoryOptions::default())?;
        let history = history::create(&home, Table::Orders, Duration::ZERO).await?;
        Ok((history, dir))
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.history.rows
    }

    /// Last sequence number.
    pub(crate) fn through(&self) -> u64 {
        self.history.through
    }

    /// Whether some of its rows are at or below `seq`, and some above.
    fn is_cut_by(&self, seq: u64) -> bool {
        self.first <= seq && seq < self.through()
    }

    /// The dates of its rows.
    pub(crate) fn dates(&self) -> impl Iterator<Item = Date> {
        self.files.iter().filter_map(|file| {
            let date = file.partition_values.get(PARTITION)?.as_deref()?;
            Date::parse(date.as_bytes()).ok()
        })
    }

    /// The damaged file, for people, if one is.
    pub(crate) async fn damage(&self) -> Option<String> {
        let histories: Histories = PerTable {
            orders: Some(Arc::clone(&self.history)),
            ..PerTable::default()
        };
        let found = first_damaged(&histories, "").await?;
        Some(format!("{} of today's orders {}", found.path, found.damage))
    }

    /// All rows, ascending by sequence number.
    async fn read(&self) -> Result<Vec<Chunk>, SpillError> {
        let paths = self.files.iter().map(|file| file.path.clone()).collect();
        let read = read_orders(History::clone(&self.history), paths, self.rows()).await;
        let read = read.and_then(|chunks| {
            ascending(&chunks).ok_or_else(|| KeepError::Rows("a row is no order".to_owned()))
        });
        match read {
            Ok(chunks) => Ok(chunks),
            Err(error) => Err(SpillError::Read {
                message: match self.damage().await {
                    Some(damage) => format!("{damage} ({error})"),
                    None => error.to_string(),
                },
            }),
        }
    }
}

/// The same rows in the order of their sequence numbers.
fn ascending(chunks: &[Chunk]) -> Option<Vec<Chunk>> {
    let places = chunks.iter().enumerate();
    let places = places.flat_map(|(index, chunk)| {
        chunk
            .rows()
            .map(move |row| (chunk.orders().seq(row), index, row))
    });
    let mut places: Vec<_> = places.collect();
    places.sort_unstable();
    let mut sorted = Vec::new();
    let mut before = OrderBatch::default();
    for part in places.chunks(BATCH_ROWS) {
        let mut batch = OrderBatch::following(&before, part.len());
        for (_, index, row) in part {
            let row = chunks.get(*index)?.orders().row(*row)?;
            batch.push(&row.as_bytes()).ok()?;
        }
        batch
            .number_with(part.iter().map(|(seq, ..)| *seq).collect())
            .then_some(())?;
        before = OrderBatch::following(&batch, 0);
        let rows = 0..batch.len();
        sorted.extend(Chunk::of(Arc::new(batch), rows));
    }
    Some(sorted)
}

/// Deletes what an earlier process spilled there; the journal has it.
pub(crate) fn clear(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a store in `dir` spills.
pub(crate) fn directory(dir: &Path) -> PathBuf {
    dir.join(DIR)
}

/// Spills beside all else whenever the memory is full, as long as the store lives.
pub(crate) fn watch(inner: &Arc<Inner>) {
    let wanted = Arc::clone(&inner.spill_wanted);
    let inner = Arc::downgrade(inner);
    tokio::spawn(async move {
        loop {
            // A store that is gone wants nothing more, and says so.
            wanted.notified().await;
            let Some(inner) = inner.upgrade() else { return };
            let store = Store { inner };
            if let Err(error) = store.spill().await {
                tracing::error!(%error, "the memory of today's orders is full");
                drop(store);
                tokio::time::sleep(AGAIN).await;
            }
        }
    });
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.spill_wanted.notify_one();
    }
}

impl Store {
    /// Moves the oldest orders in memory to the local disk while they take more than they may, until
    /// they take half of it; how many. Queries see them all the time, and each once.
    ///
    /// # Errors
    /// [`SpillError::Write`]; the rows stay in memory.
    pub async fn spill(&self) -> Result<u64, SpillError> {
        let Some(parent) = &self.inner.spill_dir else {
            return Ok(0);
        };
        let _running = self.inner.end_of_day.lock().await;
        let mut moved = 0;
        // One is enough, unless rows come faster than they go.
        while let Some((chunks, before)) = self.to_spill() {
            let rows: usize = chunks.iter().map(Chunk::len).sum();
            let spilled = write(parent, chunks, before.as_deref()).await;
            let spilled = spilled.map_err(|error| SpillError::Write {
                dir: parent.clone(),
                message: error.to_string(),
            })?;
            tracing::info!(
                rows,
                through = spilled.through(),
                "today's older orders are on disk"
            );
            self.spilled(spilled);
            moved += rows as u64;
        }
        Ok(moved)
    }

    /// Whether today's orders take more memory than they may.
    pub(crate) fn is_full(&self, state: &State) -> bool {
        let most = self.inner.memory_max;
        most > 0 && state.orders.bytes() as u64 > most
    }

    /// The oldest orders in memory, when these take more than they may, and what is on disk already.
    fn to_spill(&self) -> Option<(Vec<Chunk>, Option<Arc<Spilled>>)> {
        let state = self.state();
        let kept = usize::try_from(self.inner.memory_max / 2).unwrap_or(usize::MAX);
        let oldest = self.is_full(&state).then(|| state.orders.oldest(kept))?;
        (!oldest.is_empty()).then(|| (oldest, state.spilled.clone()))
    }

    /// Takes the orders that are on disk now from memory.
    fn spilled(&self, spilled: Spilled) {
        let mut state = self.state();
        let gone = state.orders.drop_through(spilled.through());
        let before = state.spilled.replace(Arc::new(spilled));
        drop(state);
        // Giving memory back takes its time, which the appender does not wait for.
        drop((gone, before));
    }

    /// Puts what was on disk before the orders in memory.
    fn back_in_memory(&self, chunks: Vec<Chunk>) {
        let mut state = self.state();
        state.orders.prepend(chunks);
        let before = state.spilled.take();
        drop(state);
        drop(before);
    }

    /// Brings spilled orders back to memory that an end of day up to `through_seq` would cut, or rows
    /// up to `mark` that the history has already; its lock is held.
    pub(crate) async fn unspill(&self, through_seq: u64, mark: u64) -> Result<(), SpillError> {
        let Some(spilled) = self.snapshot().spilled else {
            return Ok(());
        };
        if spilled.is_cut_by(through_seq) || spilled.is_cut_by(mark) {
            self.back_in_memory(spilled.read().await?);
        }
        Ok(())
    }
}

async fn write(
    parent: &Path,
    chunks: Vec<Chunk>,
    before: Option<&Spilled>,
) -> Result<Spilled, history::HistoryError> {
    let range = (
        chunks.first().map(Chunk::seqs),
        chunks.last().map(Chunk::seqs),
    );
    let (first, through) = match range {
        (Some((first, _)), Some((_, last))) => (first, last),
        _ => (0, 0),
    };
    let (history, dir) = match before {
        Some(before) => (History::clone(&before.history), Arc::clone(&before.dir)),
        None => Spilled::create(parent).await?,
    };
    let new = history.write_orders(chunks, 1).await?;
    let mut files = before.map_or_else(Vec::new, |before| before.files.clone());
    files.extend(new.iter().cloned());
    let history = history.commit(Table::Orders, new, through).await?;
    Ok(Spilled {
        history: Arc::new(history),
        files,
        first: before.map_or(first, |before| before.first),
        dir,
    })
}
