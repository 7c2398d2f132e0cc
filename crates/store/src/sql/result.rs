//! The result of a query: its rows as they come, and as bytes in one of the formats.
//!
//! Invariant: the rows come as they are read, a few batches ahead; dropping a result ends its query.

use std::fmt;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
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
use crate::query::{Running, Stop, with_pauses};
use crate::store::{Histories, Store};

/// A plan that runs, where it is read.
pub(crate) struct Execution {
    stream: SendableRecordBatchStream,
    query: String,
    /// What the query may have read.
    histories: Histories,
}

impl Execution {
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
            Ok(stream) => Ok(Self {
                stream,
                query: query.to_owned(),
                histories,
            }),
            Err(error) => Err(SqlError::of(error, query).named(&histories).await),
        }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// The next rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        match self.stream.next().await {
            None => Ok(None),
            Some(Ok(batch)) => Ok(Some(batch)),
            Some(Err(error)) => {
                let error = SqlError::of(error, &self.query);
                Err(error.named(&self.histories).await)
            }
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
