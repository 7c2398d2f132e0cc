//! The store: recent and history as one, appended to by one thread and read by many.
//!
//! Invariant: every row is in recent or in history, never in both, in any snapshot: a row is in
//! history exactly when its sequence number is at or below its table's high-water mark. A snapshot
//! takes all tables at the same instant, so no hit in it refers to an order that it lacks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use tapewatch_model::{DeadLetter, Hit, Order, OrderBatch, Time};
use tokio::sync::Notify;

use crate::cluster::{Cluster, ClusterOptions};
use crate::counts::Counts;
use crate::history::{self, History, HistoryError};
use crate::hit_file::{OutOfOrder, alerts, check_order};
use crate::place::{HistoryOptions, Home};
use crate::query::Desk;
use crate::recent::{Recent, RecentRows, after, last_seq};
use crate::recent_orders::{OrderRows, RecentOrders};
use crate::rows::{HitRows, LetterRows};
use crate::schema::{PerTable, Table};
use crate::spill::{self, Spilled};
use crate::sql::Engine;

/// Limits of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Memory that all running queries may take together; who does not fit in waits.
    pub sql_memory_bytes_max: usize,
    /// Memory that is set aside for each; beyond it a query spills to the system's temporary
    /// directory, or fails where that is not possible.
    pub sql_query_memory_bytes_max: usize,
    /// What a query may spill.
    pub sql_spill_bytes_max: u64,
    /// A query that takes longer, reading its result included, is ended.
    pub sql_timeout: Duration,
    /// A query whose result has more rows is ended. 0: no limit.
    pub sql_rows_max: u64,
    /// Queries that wait for their turn; one more is refused.
    pub sql_waiting_max: usize,
    /// Bytes of memory that today's orders may take; beyond it older ones move to the local disk, and
    /// what an earlier process left there is deleted at the start. 0: neither.
    pub recent_memory_max: u64,
    /// Where the history lives and how it is kept.
    pub history: HistoryOptions,
    /// Who runs queries; `None`: this process.
    pub cluster: Option<ClusterOptions>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            sql_memory_bytes_max: 1 << 30,
            sql_query_memory_bytes_max: 1 << 28,
            sql_spill_bytes_max: 10 << 30,
            sql_timeout: Duration::from_secs(60),
            sql_rows_max: 100_000_000,
            sql_waiting_max: 1_024,
            recent_memory_max: 0,
            history: HistoryOptions::default(),
            cluster: None,
        }
    }
}

/// Last sequence number that is in history, for each table (0: none).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HighWater {
    /// Of the orders.
    pub orders: u64,
    /// Of the hits.
    pub hits: u64,
    /// Of the dead letters.
    pub dead_letters: u64,
}

impl HighWater {
    /// Last sequence number that is in history at all.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.orders.max(self.hits).max(self.dead_letters)
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made.
    #[error("{}: cannot create the store's directory: {source}; check the path and its owner", dir.display())]
    Directory {
        /// Directory.
        dir: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The place of the history cannot be used.
    #[error("history: {message}")]
    Place {
        /// What is wrong with its URL or its options.
        message: String,
    },
    /// A table of the history cannot be read.
    #[error(
        "table {table} in {dir}: {message}; restore the directory from a copy, or move it away to rebuild it from the journal"
    )]
    Table {
        /// Table.
        table: &'static str,
        /// Where it lives.
        dir: String,
        /// What is wrong.
        message: String,
    },
    /// The query engine cannot start.
    #[error("the query engine cannot start: {message}")]
    Engine {
        /// What is wrong.
        message: String,
    },
}

/// Recent and history. A clone is another handle to the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) home: Home,
    pub(crate) options: HistoryOptions,
    pub(crate) read_only: bool,
    pub(crate) engine: Engine,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) desk: Arc<Desk>,
    state: Mutex<State>,
    /// Held by the end of day that is running, and by whatever else moves orders out of memory.
    pub(crate) end_of_day: tokio::sync::Mutex<()>,
    /// Where today's older orders go, if they may, and from how many bytes in memory on.
    pub(crate) spill_dir: Option<PathBuf>,
    pub(crate) memory_max: u64,
    pub(crate) spill_wanted: Arc<Notify>,
}

/// The history of each table; `None` when it does not exist yet.
pub(crate) type Histories = PerTable<Option<Arc<History>>>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) orders: RecentOrders,
    pub(crate) spilled: Option<Arc<Spilled>>,
    hits: Recent<HitRows>,
    dead_letters: Recent<LetterRows>,
    history: Histories,
    high_water: PerTable<u64>,
    alerts: u64,
    /// No hit has a higher sequence number.
    last_hit: u64,
}

/// All tables at one instant.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) orders: OrderRows,
    /// Orders of today that are on the local disk; those in memory come behind them.
    pub(crate) spilled: Option<Arc<Spilled>>,
    pub(crate) hits: RecentRows,
    pub(crate) dead_letters: RecentRows,
    pub(crate) history: Histories,
}

impl Store {
    /// Opens the store in `dir`, which is created when it is missing.
    ///
    /// # Errors
    /// [`OpenError`] names the directory or table and what is wrong with it.
    pub async fn open(dir: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir).map_err(|source| OpenError::Directory {
            dir: dir.to_owned(),
            source,
        })?;
        Self::open_with(dir, options, false).await
    }

    /// Opens the store in `dir` without ever writing to it; appended rows stay in memory.
    ///
    /// # Errors
    /// [`OpenError`] names the table and what is wrong with it.
    pub async fn open_read_only(dir: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        Self::open_with(dir, options, true).await
    }

    /// A store in memory alone, without a history.
    ///
    /// # Errors
    /// [`OpenError::Engine`].
    pub fn in_memory(options: StoreOptions) -> Result<Self, OpenError> {
        let state = State::default();
        Self::with_state(Home::nowhere(), options, true, None, state)
    }

    async fn open_with(
        dir: &Path,
        options: StoreOptions,
        read_only: bool,
    ) -> Result<Self, OpenError> {
        let mut state = State::default();
        let home = Home::open(dir, &options.history).map_err(|error| OpenError::Place {
            message: error.to_string(),
        })?;
        for table in Table::ALL {
            let history = history::open(&home, table)
                .await
                .map_err(|error| unreadable(&home, table, error))?;
            *state.high_water.get_mut(table) = history.as_ref().map_or(0, |h| h.through);
            *state.history.get_mut(table) = history;
        }
        state.last_hit = state.high_water.hits;
        let spills = !read_only && options.recent_memory_max > 0;
        let spill_dir = spills.then(|| spill::directory(dir));
        if let Some(dir) = &spill_dir {
            spill::clear(dir).map_err(|source| OpenError::Directory {
                dir: dir.clone(),
                source,
            })?;
        }
        let store = Self::with_state(home, options, read_only, spill_dir, state)?;
        if spills {
            spill::watch(&store.inner);
        }
        match store.count_alerts("true").await {
            Ok(alerts) => store.state().alerts = alerts,
            // What else there is can be used, and only an open store can be checked and repaired.
            Err(error) => {
                tracing::error!(%error, "alerts of the history are not counted until the next start");
            }
        }
        Ok(store)
    }

    fn with_state(
        home: Home,
        options: StoreOptions,
        read_only: bool,
        spill_dir: Option<PathBuf>,
        state: State,
    ) -> Result<Self, OpenError> {
        let desk = Arc::new(Desk::new(&options));
        let engine = Engine::new(&options).and_then(|engine| {
            engine.knows(&home)?;
            Ok(engine)
        });
        let engine = engine.map_err(|error| OpenError::Engine {
            message: error.to_string(),
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                home,
                options: options.history,
                read_only,
                engine,
                cluster: options
                    .cluster
                    .map(|cluster| Arc::new(Cluster::new(cluster))),
                desk,
                state: Mutex::new(state),
                end_of_day: tokio::sync::Mutex::new(()),
                spill_dir,
                memory_max: options.recent_memory_max,
                spill_wanted: Arc::default(),
            }),
        })
    }

    /// Alerts that began at hits of which the condition holds.
    pub(crate) async fn count_alerts(&self, condition: &str) -> Result<u64, crate::SqlError> {
        if self.state().history.hits.is_none() {
            return Ok(0);
        }
        let sql = format!("SELECT count(*) FROM hits WHERE alert_hit = 1 AND {condition}");
        let mut result = self.own_sql(&sql).await?;
        let mut alerts = 0;
        while let Some(batch) = result.next().await? {
            let counts = batch.columns().first();
            let counts = counts.and_then(|counts| counts.as_primitive_opt::<Int64Type>());
            alerts += counts.map_or(0, |counts| counts.values().iter().sum::<i64>());
        }
        Ok(alerts.cast_unsigned())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked aborts the process in release; in tests its rows are whole.
        let state = self.inner.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Last sequence number in history, for each table: the journal needs to be replayed only from
    /// the smallest of them.
    #[must_use]
    pub fn high_water(&self) -> HighWater {
        let marks = self.state().high_water;
        HighWater {
            orders: marks.orders,
            hits: marks.hits,
            dead_letters: marks.dead_letters,
        }
    }

    /// Adds orders, ascending by sequence number. What is in history already is skipped.
    pub fn append_orders(&self, orders: OrderBatch) {
        let mut state = self.state();
        let mark = state.high_water.orders;
        state.orders.append(orders, mark);
        if self.is_full(&state) {
            self.inner.spill_wanted.notify_one();
        }
    }

    /// Adds hits, ascending by their event's sequence number, after their orders; all hits of one
    /// event in one call. What is in history already is skipped.
    pub fn append_hits(&self, hits: &[Hit]) {
        let mut state = self.state();
        let mark = state.high_water.hits;
        let mut alerts = 0;
        for hit in hits.iter().filter(|hit| hit.order.seq > mark) {
            state.hits.open().push(hit);
            state.hits.added();
            state.last_hit = hit.order.seq;
            alerts += u64::from(hit.alert_hit == 1);
        }
        state.alerts += alerts;
    }

    /// Adds hits in Arrow's columns, ascending, when they come after those in memory. What is in
    /// history already is skipped. Returns how many were added.
    pub(crate) fn adopt_hits(&self, batches: &[RecordBatch]) -> Result<u64, OutOfOrder> {
        let mut state = self.state();
        let mark = state.high_water.hits;
        let new = batches.iter().filter_map(|batch| after(batch, mark));
        let new: Vec<_> = new.collect();
        check_order(&new, state.hits.last_seq())?;
        state.last_hit = state.last_hit.max(last_seq(&new).unwrap_or_default());
        let mut added = 0;
        for batch in new {
            added += batch.num_rows() as u64;
            state.alerts += alerts(&batch);
            state.hits.adopt(batch);
        }
        Ok(added)
    }

    /// Adds dead letters, numbered consecutively from `first_seq`. What is in history already is
    /// skipped.
    pub fn append_dead_letters(&self, first_seq: u64, received: Time, letters: &[DeadLetter]) {
        let mut state = self.state();
        let mark = state.high_water.dead_letters;
        for (seq, letter) in (first_seq..).zip(letters).filter(|(seq, _)| *seq > mark) {
            state.dead_letters.open().push(seq, received, letter);
            state.dead_letters.added();
        }
    }

    /// A sequence number that no hit is above; in a table that grows it is that of the last.
    #[must_use]
    pub fn last_hit(&self) -> u64 {
        self.state().last_hit
    }

    /// Counts alerts no more that are in no table now.
    pub(crate) fn forget_alerts(&self, alerts: u64) {
        let mut state = self.state();
        state.alerts = state.alerts.saturating_sub(alerts);
    }

    /// Numbers of rows.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.state();
        let past = |table| state.history.get(table).as_ref().map_or(0, |it| it.rows);
        let spilled = state.spilled.as_ref().map_or(0, |spilled| spilled.rows());
        Counts {
            orders: past(Table::Orders) + spilled + state.orders.len() as u64,
            hits: past(Table::Hits) + state.hits.len() as u64,
            alerts: state.alerts,
            dead_letters: past(Table::DeadLetters) + state.dead_letters.len() as u64,
            recent_orders: state.orders.len() as u64,
            recent_bytes: state.orders.bytes() as u64,
            spilled_orders: spilled,
        }
    }

    /// The first orders in memory after `after_seq`, at most `limit`, ascending.
    #[must_use]
    pub fn recent_orders(&self, after_seq: u64, limit: usize) -> Vec<Order> {
        let rows = self.state().orders.snapshot();
        rows.first(after_seq, limit)
    }

    /// The newest orders in memory, at most `limit`, ascending.
    #[must_use]
    pub fn recent_orders_last(&self, limit: usize) -> Vec<Order> {
        let rows = self.state().orders.snapshot();
        rows.last(limit)
    }

    /// All tables as they are now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut state = self.state();
        Snapshot {
            orders: state.orders.snapshot(),
            spilled: state.spilled.clone(),
            hits: state.hits.snapshot(),
            dead_letters: state.dead_letters.snapshot(),
            history: state.history.clone(),
        }
    }

    /// Takes in what another process changed in the history; whether there was anything. What is there
    /// now is forgotten from memory.
    ///
    /// # Errors
    /// [`OpenError::Table`] names the table and what is wrong with it; the store is as it was.
    pub async fn refresh_history(&self) -> Result<bool, OpenError> {
        let home = &self.inner.home;
        // An end of day of this process takes all of it in by itself.
        let Ok(_running) = self.inner.end_of_day.try_lock() else {
            return Ok(false);
        };
        let before = self.snapshot().history;
        let mut histories = Histories::default();
        let mut news = false;
        for table in Table::ALL {
            let found = match before.get(table) {
                Some(history) => history::refresh(history, table)
                    .await
                    .map(|found| Some(Arc::new(found))),
                None => history::open(home, table).await,
            };
            let found = found.map_err(|error| unreadable(home, table, error))?;
            // A compaction too: files of old versions do not stay for ever.
            let version = |history: &Option<Arc<History>>| {
                history.as_ref().and_then(|history| history.delta.version())
            };
            news |= version(&found) > version(before.get(table));
            *histories.get_mut(table) = found;
        }
        if news {
            let orders = &histories.orders;
            let mark = orders.as_ref().map_or(0, |history| history.through);
            self.unspill(0, mark)
                .await
                .map_err(|error| OpenError::Table {
                    table: Table::Orders.name(),
                    dir: home.of(Table::Orders),
                    message: error.to_string(),
                })?;
            self.swap(histories);
        }
        Ok(news)
    }

    /// Takes the new histories in and forgets what they hold from recent, all at one instant.
    pub(crate) fn swap(&self, histories: Histories) {
        let mut state = self.state();
        let through = |table| {
            let history: &Option<Arc<History>> = histories.get(table);
            history.as_ref().map_or(0, |history| history.through)
        };
        let marks = PerTable {
            orders: through(Table::Orders),
            hits: through(Table::Hits),
            dead_letters: through(Table::DeadLetters),
        };
        state.orders.forget(marks.orders);
        let spilled = state.spilled.take();
        state.spilled = spilled.filter(|spilled| spilled.through() > marks.orders);
        state.hits.forget(marks.hits);
        state.dead_letters.forget(marks.dead_letters);
        state.high_water = marks;
        state.history = histories;
    }
}

fn unreadable(home: &Home, table: Table, error: HistoryError) -> OpenError {
    OpenError::Table {
        table: table.name(),
        dir: home.of(table),
        message: error.to_string(),
    }
}
