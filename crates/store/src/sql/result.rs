//! The result of a query: its rows as they come, and as bytes in one of the formats.
//!
//! Invariant: the rows come as they are read, a few batches ahead; dropping a result ends its query.

use std::fmt;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};

use super::Engine;
use super::encode::{Encoder, Format};
use super::error::SqlError;
use crate::cluster::{self, Cluster, Here, carve};
use crate::query::{Running, Stop, with_pauses};
use crate::store::{Histories, Store};

/// A plan that runs.
pub(crate) struct Execution {
    rows: Made,
    query: String,
    /// What the query may have read.
    histories: Histories,
    /// What an `EXPLAIN` says at its end.
    note: Option<String>,
}

/// A query for the executors, begun.
pub(crate) enum Begun {
    Elsewhere(Execution),
    /// It is this process's. Of an `EXPLAIN`, what executors would do.
    Here(Option<String>),
}

/// Who makes the rows.
enum Made {
    /// This process, where they are read.
    Here(SendableRecordBatchStream),
    Elsewhere(Box<cluster::Rows>),
}

impl Execution {
    /// Has other processes run a plan.
    pub(crate) async fn elsewhere(
        cluster: &Arc<Cluster>,
        engine: &Engine,
        (session, plan): (SessionState, LogicalPlan),
        query: &str,
        histories: Histories,
        (stop, rows_max): (&Stop, u64),
    ) -> Result<Begun, SqlError> {
        let explained = match &plan {
            LogicalPlan::Explain(explain) => Some(LogicalPlan::clone(&explain.plan)),
            LogicalPlan::Analyze(_) => return Ok(Begun::Here(None)),
            _ => None,
        };
        let here = Here {
            lender: &cluster.lender,
            at: &cluster.options.at,
            task: Arc::new(engine.task(&session)),
            stop,
        };
        let carved = async {
            let plan = explained.as_ref().unwrap_or(&plan);
            let plan = session.create_physical_plan(plan).await?;
            carve(plan, &here, rows_max)
        };
        let carved = match carved.await {
            Ok(carved) => carved,
            Err(error) => return Err(SqlError::of(error, query).named(&histories).await),
        };
        let carved = match (carved, explained) {
            (Ok(carved), None) => carved,
            (Ok(carved), Some(_)) => return Ok(Begun::Here(Some(carved.to_string()))),
            (Err(why), explained) => {
                tracing::debug!(%why, "a query runs in this process alone");
                let why = format!("none: {why}");
                return Ok(Begun::Here(explained.map(|_| why)));
            }
        };
        let config = session.config().clone();
        match cluster.run(carved, config).await {
            Ok(rows) => Ok(Begun::Elsewhere(Self {
                rows: Made::Elsewhere(Box::new(rows)),
                query: query.to_owned(),
                histories,
                note: None,
            })),
            Err(error) => Err(error.named(&histories).await),
        }
    }

    /// The same with a last row: what an `EXPLAIN` says of the executors.
    pub(crate) fn with_note(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }

    /// The last row of an `EXPLAIN`, once.
    fn note(&mut self) -> Option<RecordBatch> {
        let note = self.note.take()?;
        let column = |text: String| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        let columns = vec![column("executors".to_owned()), column(note)];
        RecordBatch::try_new(self.schema(), columns).ok()
    }

    pub(crate) async fn start(
        engine: &Engine,
        (session, plan): (SessionState, LogicalPlan),
        query: &str,
        histories: Histories,
        stop: &Stop,
    ) -> Result<Self, SqlError> {
        let started = async {
            let plan = engine.physical(&session, &plan).await?;
            execute_stream(with_pauses(plan, stop)?, Arc::new(engine.task(&session)))
        };
        match started.await {
            Ok(rows) => Ok(Self {
                rows: Made::Here(rows),
                query: query.to_owned(),
                histories,
                note: None,
            }),
            Err(error) => Err(SqlError::of(error, query).named(&histories).await),
        }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        match &self.rows {
            Made::Here(rows) => rows.schema(),
            Made::Elsewhere(rows) => rows.schema(),
        }
    }

    /// The next rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let next = match &mut self.rows {
            Made::Elsewhere(rows) => rows.next().await,
            Made::Here(rows) => {
                let next = rows.next().await.transpose();
                next.map_err(|error| SqlError::of(error, &self.query))
            }
        };
        match next {
            Ok(Some(batch)) => Ok(Some(batch)),
            Ok(None) => Ok(self.note()),
            Err(error) => Err(error.named(&self.histories).await),
        }
    }
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type, for people.
    pub kind: String,
}

/// The rows of a query, as they come.
pub struct QueryResult {
    schema: SchemaRef,
    rows: Rows,
    /// Whose threads make an answer of it.
    store: Store,
}

enum Rows {
    /// Of the process itself, made where they are read.
    Here(Execution),
    Running(Running),
}

impl fmt::Debug for QueryResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryResult")
            .field("columns", &self.columns())
            .finish_non_exhaustive()
    }
}

impl QueryResult {
    pub(super) fn here(store: Store, execution: Execution) -> Self {
        Self {
            schema: execution.schema(),
            rows: Rows::Here(execution),
            store,
        }
    }

    pub(crate) fn running(schema: SchemaRef, store: Store, running: Running) -> Self {
        Self {
            schema,
            rows: Rows::Running(running),
            store,
        }
    }

    /// The id of its query; empty when the process itself asks.
    #[must_use]
    pub fn id(&self) -> &str {
        match &self.rows {
            Rows::Here(_) => "",
            Rows::Running(running) => running.id(),
        }
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        let fields = self.schema.fields().iter();
        fields
            .map(|field| Column {
                name: field.name().clone(),
                kind: field.data_type().to_string(),
            })
            .collect()
    }

    /// The columns, as Arrow has them.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Reads the result to its end and counts its rows.
    ///
    /// # Errors
    /// [`SqlError`] when the query fails on the way.
    pub async fn count(mut self) -> Result<u64, SqlError> {
        let mut rows = 0;
        while let Some(batch) = self.next().await? {
            rows += batch.num_rows() as u64;
        }
        Ok(rows)
    }

    /// The next rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        match &mut self.rows {
            Rows::Here(execution) => execution.next().await,
            Rows::Running(running) => running.next().await,
        }
    }

    /// All rows as bytes, made on the threads of queries as they are taken. An error is the last that
    /// comes; what came before it is not a whole result.
    #[must_use]
    pub fn chunks(self, format: Format) -> Chunks {
        let store = self.store.clone();
        let chunks = stream::once(async move { Ok((Encoder::new(format, &self.schema)?, self)) });
        let chunks = chunks.flat_map(|begun: Result<_, SqlError>| match begun {
            Err(error) => stream::once(async move { Err(error) }).boxed(),
            Ok((encoder, result)) => {
                let begun = Some((encoder, result));
                stream::try_unfold(begun, |state| async move {
                    let Some((mut encoder, mut result)) = state else {
                        return Ok(None);
                    };
                    let next = next_chunk(&mut encoder, &mut result).await?;
                    Ok(Some(match next {
                        (chunk, true) => (chunk, Some((encoder, result))),
                        (chunk, false) => (chunk, None),
                    }))
                })
                .boxed()
            }
        });
        Chunks(store.pump(chunks).boxed())
    }

    /// Writes all rows and says how many there were.
    ///
    /// # Errors
    /// [`SqlError`] when the query fails or hits a limit, or `out` cannot be written; what was
    /// written until then is not a whole result.
    pub async fn write(
        mut self,
        format: Format,
        out: &mut (dyn Write + Send),
    ) -> Result<u64, SqlError> {
        let mut encoder = Encoder::new(format, &self.schema)?;
        loop {
            let (chunk, more) = next_chunk(&mut encoder, &mut self).await?;
            out.write_all(&chunk).map_err(SqlError::Write)?;
            if !more {
                break;
            }
        }
        out.flush().map_err(SqlError::Write)?;
        Ok(encoder.rows())
    }

    pub(super) fn failed(&self, error: &dyn fmt::Display) -> SqlError {
        SqlError::Execution {
            message: error.to_string(),
        }
    }
}

/// The next bytes, and whether there are more; never empty before the end.
async fn next_chunk(
    encoder: &mut Encoder,
    result: &mut QueryResult,
) -> Result<(Bytes, bool), SqlError> {
    loop {
        let batch = result.next().await?;
        let more = batch.is_some();
        match batch {
            Some(batch) => encoder.batch(&batch)?,
            None => encoder.finish()?,
        }
        let chunk = encoder.take();
        if !chunk.is_empty() || !more {
            return Ok((chunk.into(), more));
        }
    }
}

/// The bytes of a result, as they come.
pub struct Chunks(BoxStream<'static, Result<Bytes, SqlError>>);

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chunks")
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, SqlError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}
