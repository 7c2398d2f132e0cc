//! The queries of a store: who waits, who runs, who has ended, and with how much memory.
//!
//! Invariant: a query runs only with its whole memory set aside, so none fails because of another;
//! who waits is counted and limited. A query is in the list until its work has ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use datafusion::execution::memory_pool::MemoryPool;
use tapewatch_model::Time;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;

use super::threads::{AbortOnDrop, Threads};
use super::{AskedLimits, Door, Limit, QueryEnd, QueryState, QueryStatus, Stop};
use crate::sql::SqlError;
use crate::store::StoreOptions;

/// What memory is counted in.
const UNIT_BYTES: usize = 64 << 10;
/// Least memory that a query may ask for.
const ASK_BYTES_MIN: usize = 16 << 20;
/// Ended queries that can still be asked about.
const ENDED_MAX: usize = 256;
/// Of a text so much is shown.
const SHOWN_BYTES_MAX: usize = 4 << 10;

/// Told of each query that has ended.
pub(crate) type Observer = Box<dyn Fn(&QueryEnd) + Send + Sync>;

/// All queries of a store.
pub(crate) struct Desk {
    pub(super) threads: Threads,
    pub(crate) observer: OnceLock<Observer>,
    limits: Limits,
    memory: Arc<Semaphore>,
    waiting_max: usize,
    /// Makes ids differ from those of the process before this one.
    epoch: u64,
    last: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: BTreeMap<u64, Arc<Entry>>,
    waiting: usize,
    ended: VecDeque<QueryStatus>,
}

/// The limits of one query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) memory: Limit<usize>,
    pub(crate) time: Limit<Duration>,
    pub(crate) rows: Limit<u64>,
}

/// Why a query was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Cancelled,
    Timeout,
}

/// A query that waits or runs.
pub(super) struct Entry {
    pub(super) limits: Limits,
    pub(super) stop: Stop,
    number: u64,
    id: String,
    door: Door,
    text: String,
    since: Time,
    begun: Instant,
    rows: AtomicU64,
    pool: OnceLock<Arc<dyn MemoryPool>>,
    ended: watch::Sender<Option<Ended>>,
    task: OnceLock<AbortHandle>,
    error: OnceLock<(&'static str, String)>,
    done: OnceLock<()>,
}

impl Desk {
    pub(crate) fn new(options: &StoreOptions) -> Self {
        let all = options.sql_memory_bytes_max;
        let memory = match options.sql_query_memory_bytes_max {
            each if each <= all => Limit::of(each, "sql.query_memory_bytes_max"),
            _ => Limit::of(all, "sql.memory_bytes_max"),
        };
        let seconds = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            threads: Threads::default(),
            observer: OnceLock::new(),
            limits: Limits {
                memory,
                time: Limit::of(options.sql_timeout, "sql.timeout"),
                rows: Limit::of(options.sql_rows_max, "sql.rows_max"),
            },
            memory: Arc::new(Semaphore::new(units(all) as usize)),
            waiting_max: options.sql_waiting_max,
            epoch: seconds.as_secs(),
            last: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id that no other query has.
    pub(crate) fn new_id(&self) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{:x}-{number}", self.epoch)
    }

    /// The limits of a query that asks for less.
    pub(super) fn limits(&self, asked: &AskedLimits) -> Result<Limits, SqlError> {
        let least = ASK_BYTES_MIN.min(self.limits.memory.value);
        if let Some(bytes) = asked.memory_bytes.filter(|bytes| *bytes < least) {
            return Err(SqlError::Request {
                message: format!("memory_bytes_max is {bytes}: a query needs at least {least}"),
            });
        }
        let Limits { memory, time, rows } = self.limits;
        let asked_rows = asked.rows.filter(|rows| *rows > 0);
        Ok(Limits {
            memory: memory.lowered(asked.memory_bytes, "memory_bytes_max")?,
            time: time.lowered(asked.time, "timeout")?,
            // No limit is above every limit.
            rows: match rows.value {
                0 => asked_rows.map_or(rows, |asked| Limit::asked(asked, "rows_max")),
                _ => rows.lowered(asked_rows, "rows_max")?,
            },
        })
    }

    /// Puts a query into the list.
    pub(super) fn enter(
        self: &Arc<Self>,
        (id, door, text): (Option<&str>, Door, &str),
        asked: &AskedLimits,
    ) -> Result<Seat, SqlError> {
        let limits = self.limits(asked)?;
        let id = id.map_or_else(|| self.new_id(), str::to_owned);
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Arc::new(Entry {
            limits,
            stop: Stop::default(),
            number,
            id,
            door,
            text: shown(text),
            since: now(),
            begun: Instant::now(),
            rows: AtomicU64::new(0),
            pool: OnceLock::new(),
            ended: watch::Sender::new(None),
            task: OnceLock::new(),
            error: OnceLock::new(),
            done: OnceLock::new(),
        });
        let mut state = self.state();
        if state.open.values().any(|open| open.id == entry.id) {
            let message = format!("the query {} runs already", entry.id);
            return Err(SqlError::Request { message });
        }
        state.open.insert(number, Arc::clone(&entry));
        drop(state);
        Ok(Seat {
            desk: Arc::clone(self),
            entry,
            memory: None,
            watchdog: None,
        })
    }

    /// The queries that wait and run, in the order in which they came.
    pub(crate) fn list(&self) -> Vec<QueryStatus> {
        let state = self.state();
        state.open.values().map(|entry| entry.status()).collect()
    }

    /// A query that waits, runs or has ended lately.
    pub(crate) fn find(&self, id: &str) -> Option<QueryStatus> {
        let state = self.state();
        let open = state.open.values().find(|entry| entry.id == id);
        let open = open.map(|entry| entry.status());
        open.or_else(|| state.ended.iter().find(|ended| ended.id == id).cloned())
    }

    /// Ends a query; whether there was one.
    pub(crate) fn cancel(&self, id: &str) -> bool {
        let open = self
            .state()
            .open
            .values()
            .find(|entry| entry.id == id)
            .cloned();
        open.is_some_and(|entry| {
            entry.end(Ended::Cancelled);
            true
        })
    }
}

impl Entry {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Why it was ended from outside, if it was.
    pub(super) fn why_ended(&self) -> Option<SqlError> {
        let ended = *self.ended.borrow();
        ended.map(|ended| self.why(ended))
    }

    fn status(&self) -> QueryStatus {
        let ended = *self.ended.borrow();
        let error = match ended.map(|ended| self.why(ended)) {
            Some(why) => Some((why.code(), why.to_string())),
            None => self.error.get().cloned(),
        };
        let state = match (self.pool.get(), self.done.get(), &error, ended) {
            (_, _, _, Some(Ended::Cancelled)) => QueryState::Cancelled,
            (_, _, Some(_), _) | (.., Some(Ended::Timeout)) => QueryState::Failed,
            (_, Some(()), ..) => QueryState::Done,
            (None, ..) => QueryState::Waiting,
            (Some(_), ..) => QueryState::Running,
        };
        QueryStatus {
            id: self.id.clone(),
            door: self.door.name(),
            text: self.text.clone(),
            state,
            since: self.since,
            seconds: self.begun.elapsed().as_secs_f64(),
            rows: self.rows.load(Ordering::Relaxed),
            memory_bytes: self.pool.get().map_or(0, |pool| pool.reserved()),
            code: error.as_ref().map(|(code, _)| *code),
            error: error.map(|(_, message)| message),
        }
    }

    /// Stops it: who reads hears it at once, the work at its next pause.
    pub(super) fn end(&self, why: Ended) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(why);
            first
        });
        self.leave();
    }

    /// Stops the work: nobody wants the result any more.
    pub(super) fn leave(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    fn why(&self, ended: Ended) -> SqlError {
        match ended {
            Ended::Cancelled => SqlError::Cancelled {
                why: "somebody asked for it",
            },
            Ended::Timeout => SqlError::Timeout {
                limit: self.limits.time,
            },
        }
    }

    /// Returns once it is ended from outside.
    pub(super) async fn ended(&self) -> SqlError {
        let mut ended = self.ended.subscribe();
        let why = ended.wait_for(Option::is_some).await;
        // The sender lives as long as this.
        let why = why.ok().and_then(|why| *why);
        self.why(why.unwrap_or(Ended::Cancelled))
    }

    pub(super) fn runs_as(&self, task: AbortHandle) {
        // It may have been ended before it began.
        if self.ended.borrow().is_some() {
            task.abort();
        }
        let _ = self.task.set(task);
    }

    /// Counts rows of the result: how many of them may be given.
    pub(super) fn count(&self, rows: usize) -> usize {
        let before = self.rows.load(Ordering::Relaxed);
        let left = match self.limits.rows.value {
            0 => u64::MAX,
            most => most - before.min(most),
        };
        let given = rows.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.rows.store(before + given as u64, Ordering::Relaxed);
        given
    }
}

/// The place of a query in the list; dropped when its work has ended.
pub(super) struct Seat {
    desk: Arc<Desk>,
    pub(super) entry: Arc<Entry>,
    memory: Option<OwnedSemaphorePermit>,
    watchdog: Option<AbortOnDrop>,
}

impl Seat {
    /// Waits until the query may run, with its memory set aside for it.
    pub(super) async fn turn(&mut self) -> Result<(), SqlError> {
        let memory = Arc::clone(&self.desk.memory);
        let wanted = units(self.entry.limits.memory.value);
        let granted = match Arc::clone(&memory).try_acquire_many_owned(wanted) {
            Ok(granted) => granted,
            Err(_) => {
                let _waits = Waits::begin(&self.desk)?;
                tokio::select! {
                    granted = memory.acquire_many_owned(wanted) => granted.map_err(|error| {
                        SqlError::Broken { message: error.to_string() }
                    })?,
                    why = self.entry.ended() => return Err(why),
                }
            }
        };
        self.memory = Some(granted);
        Ok(())
    }

    /// From now on the query's time runs, whether anybody reads or not.
    pub(super) fn begin(&mut self, pool: Arc<dyn MemoryPool>) -> Result<(), SqlError> {
        let _ = self.entry.pool.set(pool);
        let entry = Arc::downgrade(&self.entry);
        let time = self.entry.limits.time.value;
        let end = move || {
            if let Some(entry) = entry.upgrade() {
                entry.end(Ended::Timeout);
            }
        };
        self.watchdog = Some(self.desk.threads.after(time, end)?);
        Ok(())
    }

    /// Says how the work ended.
    pub(super) fn finish(&self, error: Option<&SqlError>) {
        // The first word counts.
        let _ = match error {
            None => self.entry.done.set(()),
            Some(error) => {
                let why = (error.code(), error.to_string());
                self.entry.error.set(why).map_err(drop)
            }
        };
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let entry = &self.entry;
        if entry.done.get().is_none() && entry.ended.borrow().is_none() {
            // Nobody ended it, and it did not end: it was let go.
            let _ = entry
                .error
                .set(("cancelled", "who asked has gone".to_owned()));
        }
        let status = entry.status();
        let end = QueryEnd {
            seconds: status.seconds,
            done: status.state == QueryState::Done,
        };
        let mut state = self.desk.state();
        state.open.remove(&entry.number);
        if state.ended.len() == ENDED_MAX {
            state.ended.pop_front();
        }
        state.ended.push_back(status);
        drop(state);
        if let Some(observer) = self.desk.observer.get() {
            observer(&end);
        }
    }
}

/// One that waits.
struct Waits<'a>(&'a Desk);

impl<'a> Waits<'a> {
    fn begin(desk: &'a Desk) -> Result<Self, SqlError> {
        let mut state = desk.state();
        if state.waiting >= desk.waiting_max {
            let waiting = desk.waiting_max;
            return Err(SqlError::Busy { waiting });
        }
        state.waiting += 1;
        Ok(Self(desk))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES))
        .unwrap_or(u32::MAX)
        .max(1)
}

fn shown(text: &str) -> String {
    let upto = text.floor_char_boundary(SHOWN_BYTES_MAX);
    text.get(..upto).unwrap_or_default().to_owned()
}

fn now() -> Time {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Time::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
