//! Running statements for whoever asks: the one way in for HTTP, Flight SQL, kdb+ clients, the command
//! line and every door that comes.
//!
//! ```text
//! Request ──► list ──► wait for memory ──► plan, bind, run on the threads of queries ──► QueryResult
//!               ▲                               ▲
//!         queries(), cancel(id), closed connections, time limit
//! ```
//!
//! Invariant: a query has an id, limits on memory, time and rows, and a place in the list from its
//! first moment until its work has ended; dropping its result ends it. What one does, no other feels.

mod desk;
mod limit;
mod parameters;
mod pauses;
mod threads;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool};
use futures::Stream;
use futures::stream::BoxStream;
use tapewatch_model::Time;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use limit::Limit;
pub use parameters::Parameter;

pub(crate) use desk::{Desk, Limits};
use desk::{Entry, Seat};
pub(crate) use pauses::{Stop, with_pauses};
use threads::broken;

use crate::cluster::Cluster;
use crate::sql::{Begun, Engine, Execution, QueryResult, SqlError};
use crate::store::{Snapshot, Store};

/// Batches that are made ahead of who reads them.
const AHEAD: usize = 2;

/// By which way a query came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `/api/v1/sql`.
    Http,
    /// Flight SQL.
    Flight,
    /// A kdb+ client.
    Kdb,
    /// A Postgres client.
    Postgres,
    /// This process itself, and the command line.
    Own,
}

impl Door {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Flight => "flight",
            Self::Kdb => "kdb",
            Self::Postgres => "postgres",
            Self::Own => "own",
        }
    }
}

/// Limits that a query sets itself; each at most what the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AskedLimits {
    /// Memory in bytes.
    pub memory_bytes: Option<usize>,
    /// Time from its start, without the time that it waits.
    pub time: Option<Duration>,
    /// Rows of the result.
    pub rows: Option<u64>,
}

/// A statement to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// One statement that reads.
    pub text: String,
    /// Values of `$1`, `$2`, …
    pub parameters: Vec<Parameter>,
    /// Limits below the configured ones.
    pub limits: AskedLimits,
    /// How it came in.
    pub door: Door,
    /// The id that it was promised by [`Store::new_query_id`]; else it gets one.
    pub id: Option<String>,
}

impl Request {
    /// A statement without parameters or limits of its own.
    #[must_use]
    pub fn new(door: Door, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            parameters: Vec::new(),
            limits: AskedLimits::default(),
            door,
            id: None,
        }
    }
}

/// What a query does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryState {
    /// It waits until memory is free for it.
    Waiting,
    /// It runs, or its result is being read.
    Running,
    /// All rows were made.
    Done,
    /// It failed or reached a limit.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl QueryState {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A query, for who looks at it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryStatus {
    /// Its id.
    pub id: String,
    /// How it came in.
    pub door: &'static str,
    /// The statement, at most 4 KiB of it.
    pub text: String,
    /// What it does.
    pub state: QueryState,
    /// When it came.
    pub since: Time,
    /// For how long it has been, or was, there: seconds.
    pub seconds: f64,
    /// Rows given so far.
    pub rows: u64,
    /// Bytes that it holds for sorts, joins and aggregates.
    pub memory_bytes: usize,
    /// Why it failed.
    pub error: Option<String>,
    /// The same for programs, as [`SqlError::code`] says.
    pub code: Option<&'static str>,
}

/// A query that has ended, for metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryEnd {
    /// For how long it was there, waiting included: seconds.
    pub seconds: f64,
    /// Whether all its rows were made.
    pub done: bool,
}

/// What a statement takes and gives, without running it.
pub struct Description {
    pub(crate) schema: SchemaRef,
    pub(crate) parameters: Vec<Option<DataType>>,
}

impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Description").finish_non_exhaustive()
    }
}

impl Store {
    /// Runs a query with the configured limits. The result streams.
    ///
    /// # Errors
    /// [`SqlError`] says what is wrong with the query, and where.
    pub async fn sql(&self, query: &str) -> Result<QueryResult, SqlError> {
        self.query(Request::new(Door::Own, query)).await
    }

    /// Runs a statement over recent and history as they are when its turn comes. It waits for its turn
    /// while others hold the memory. Dropping this future, or the result, ends the query.
    ///
    /// # Errors
    /// [`SqlError`]: what is wrong with the statement, which limit it reached, or that too many wait.
    pub async fn query(&self, request: Request) -> Result<QueryResult, SqlError> {
        let desk = &self.inner.desk;
        let named = (request.id.as_deref(), request.door, &*request.text);
        let mut seat = desk.enter(named, &request.limits)?;
        if let Err(error) = seat.turn().await {
            seat.finish(Some(&error));
            return Err(error);
        }
        let entry = Arc::clone(&seat.entry);
        let pool: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(entry.limits.memory.value));
        seat.begin(Arc::clone(&pool))?;
        let engine = self.inner.engine.with_pool(pool);
        // What the process asks itself it must be able to ask before anybody finds it.
        let cluster = self.inner.cluster.as_ref();
        let cluster = cluster.filter(|_| request.door != Door::Own);
        let (head, schema) = oneshot::channel();
        let (rows, batches) = mpsc::channel(AHEAD);
        let work = Work {
            engine: engine?,
            cluster: cluster.cloned(),
            snapshot: self.snapshot(),
            request,
            head,
            rows,
        };
        let task = desk.threads.spawn(work.run(seat))?;
        entry.runs_as(task.abort_handle());
        let mut running = Running {
            entry,
            batches,
            task: Some(task),
        };
        let schema = running.schema(schema).await?;
        Ok(QueryResult::running(schema, self.clone(), running))
    }

    /// What a statement takes and gives: with values for its parameters, or with none.
    ///
    /// # Errors
    /// [`SqlError`] says what is wrong with it.
    pub async fn describe(
        &self,
        door: Door,
        text: &str,
        parameters: &[Parameter],
    ) -> Result<Description, SqlError> {
        let (engine, snapshot) = (self.inner.engine.clone(), self.snapshot());
        let desk = &self.inner.desk;
        let limits = desk.limits(&AskedLimits::default())?;
        let (text, values) = (text.to_owned(), parameters.to_owned());
        let planned = desk.threads.run(async move {
            let (_, plan) = engine.plan_at(door, snapshot, &text).await?;
            let parameters = parameters::types(&plan)?;
            let plan = match values.is_empty() {
                true => plan,
                false => parameters::bind(plan, &values)?,
            };
            let schema = Arc::clone(plan.schema().inner());
            Ok(Description { schema, parameters })
        });
        match tokio::time::timeout(limits.time.value, planned).await {
            Ok(planned) => planned?,
            Err(_) => Err(SqlError::Timeout { limit: limits.time }),
        }
    }

    /// An id for a query that is to run later.
    #[must_use]
    pub fn new_query_id(&self) -> String {
        self.inner.desk.new_id()
    }

    /// The queries that wait and run, the oldest first.
    #[must_use]
    pub fn queries(&self) -> Vec<QueryStatus> {
        self.inner.desk.list()
    }

    /// A query that waits or runs, or is among the last 256 that have ended.
    #[must_use]
    pub fn query_status(&self, id: &str) -> Option<QueryStatus> {
        self.inner.desk.find(id)
    }

    /// Ends a query; whether there was one.
    #[must_use]
    pub fn cancel_query(&self, id: &str) -> bool {
        self.inner.desk.cancel(id)
    }

    /// Has `observer` called at the end of each query. Only the first observer is kept.
    pub fn observe_queries(&self, observer: impl Fn(&QueryEnd) + Send + Sync + 'static) {
        let _ = self.inner.desk.observer.set(Box::new(observer));
    }

    /// Does something on the threads of queries: what an answer costs must not delay anything else.
    /// Dropping this future ends it at its next pause.
    ///
    /// # Errors
    /// [`SqlError::Broken`] when it panicked.
    pub async fn on_query_threads<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, SqlError> {
        self.inner.desk.threads.run(work).await
    }

    /// The same parts, made on the threads of queries.
    pub(crate) fn pump<T: Send + 'static>(
        &self,
        parts: impl Stream<Item = Result<T, SqlError>> + Send + 'static,
    ) -> BoxStream<'static, Result<T, SqlError>> {
        self.inner.desk.threads.pump(parts)
    }
}

/// One statement on the threads of queries.
struct Work {
    engine: Engine,
    /// Who runs queries for this process.
    cluster: Option<Arc<Cluster>>,
    snapshot: Snapshot,
    request: Request,
    head: oneshot::Sender<SchemaRef>,
    rows: mpsc::Sender<RecordBatch>,
}

impl Work {
    async fn run(self, seat: Seat) -> Result<(), SqlError> {
        let entry = Arc::clone(&seat.entry);
        let result = self.rows(&entry).await;
        let result = result.map_err(|error| error.within(&entry.limits));
        seat.finish(result.as_ref().err());
        result
    }

    async fn begin(&self, entry: &Entry) -> Result<Execution, SqlError> {
        let Request {
            text,
            parameters,
            door,
            ..
        } = &self.request;
        let histories = self.snapshot.history.clone();
        let mut note = None;
        if let Some(cluster) = &self.cluster {
            let engine = self.engine.for_cluster(cluster.options.parts);
            let (session, plan) = engine.plan_at(*door, self.snapshot.clone(), text).await?;
            let planned = (session, parameters::bind(plan, parameters)?);
            let limits = (&entry.stop, entry.limits.rows.value);
            let histories = histories.clone();
            let begun =
                Execution::elsewhere(cluster, &engine, planned, text, histories, limits).await?;
            match begun {
                Begun::Elsewhere(execution) => return Ok(execution),
                Begun::Here(said) => note = said,
            }
        }
        let (session, plan) = self
            .engine
            .plan_at(*door, self.snapshot.clone(), text)
            .await?;
        let planned = (session, parameters::bind(plan, parameters)?);
        let begun = Execution::start(&self.engine, planned, text, histories, &entry.stop).await?;
        Ok(begun.with_note(note))
    }

    async fn rows(self, entry: &Entry) -> Result<(), SqlError> {
        let mut execution = self.begin(entry).await?;
        if self.head.send(execution.schema()).is_err() {
            return Ok(());
        }
        while let Some(batch) = execution.next().await? {
            let given = entry.count(batch.num_rows());
            let whole = given == batch.num_rows();
            if given > 0 && self.rows.send(batch.slice(0, given)).await.is_err() {
                return Ok(());
            }
            if !whole {
                let limit = entry.limits.rows;
                return Err(SqlError::Rows { limit });
            }
        }
        Ok(())
    }
}

/// A query that runs, as who reads its rows has it.
pub(crate) struct Running {
    entry: Arc<Entry>,
    batches: mpsc::Receiver<RecordBatch>,
    task: Option<JoinHandle<Result<(), SqlError>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.entry.leave();
    }
}

impl Running {
    pub(crate) fn id(&self) -> &str {
        self.entry.id()
    }

    async fn schema(&mut self, head: oneshot::Receiver<SchemaRef>) -> Result<SchemaRef, SqlError> {
        let head = tokio::select! {
            head = head => head.ok(),
            why = self.entry.ended() => return Err(why),
        };
        match head {
            Some(schema) => Ok(schema),
            None => Err(self.end().await.err().unwrap_or(SqlError::Cancelled {
                why: "it was stopped",
            })),
        }
    }

    /// The next rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let next = tokio::select! {
            biased;
            batch = self.batches.recv() => batch,
            why = self.entry.ended() => return Err(why),
        };
        match next {
            Some(batch) => Ok(Some(batch)),
            None => self.end().await.map(|()| None),
        }
    }

    /// How the work ended.
    async fn end(&mut self) -> Result<(), SqlError> {
        let Some(task) = self.task.take() else {
            return Ok(());
        };
        match task.await {
            Ok(result) => result,
            Err(error) => Err(match self.entry.why_ended() {
                Some(why) => why,
                None => broken(&error),
            }),
        }
    }
}
