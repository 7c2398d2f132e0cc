//! Arrow Flight: any Arrow client publishes orders and subscribes to tables.
//!
//! ```text
//! DoPut ──► decode ──► Desk::publish ──► answer        Desk::subscribe ──► encode ──► DoGet, DoExchange
//! ```
//!
//! Invariant: a batch that is refused leaves nothing behind, and the refusal says which batch, row and
//! column; a stream holds at most one part of its rows, and makes the next when the reader takes it.

mod decode;
mod encode;
mod handing_on;
mod lent;
mod put;
mod service;
mod sql;
mod topic;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::stream::BoxStream;
use tapewatch_model::{Bucket, OrderBatch};
use tonic::{Code, Status};

pub use handing_on::{broken_off, is_for_tables, looks_inside, refused};
pub use service::{FLIGHT_PATH, service};
pub use topic::{Start, Ticket, Topic};

use crate::schema::Table;
use crate::sql::{QueryResult, SqlError};
use crate::store::Store;

/// What the service needs of the process.
pub trait Desk: Clone + Send + Sync + 'static {
    /// Publishes a bucket; returns when it is durable by the policy in force.
    ///
    /// # Errors
    /// Why nothing of it was taken.
    fn publish(&self, bucket: Bucket) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// The tables that statements ask.
    ///
    /// # Errors
    /// Who has them, when this process has none.
    fn tables(&self) -> Result<Store, Refusal>;

    /// Waits until the process begins to stop.
    fn stopped(&self) -> impl Future<Output = ()> + Send;

    /// The rows that a ticket asks for, in order, made as they are taken.
    ///
    /// # Errors
    /// Why there are none.
    fn subscribe(
        &self,
        ticket: Ticket,
    ) -> Result<BoxStream<'static, Result<Part, Refusal>>, Refusal>;
}

/// What became of a bucket; of one that had been taken before, what became of it then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Orders in it.
    pub orders: u64,
    /// First sequence number.
    pub first_seq: u64,
    /// Last sequence number.
    pub last_seq: u64,
    /// It had been taken before, under the same number of the same producer.
    pub duplicate: bool,
}

/// Rows of a subscription.
#[derive(Debug)]
pub struct Part {
    /// The rows.
    pub rows: Rows,
    /// The sequence number from which on nothing was given yet.
    pub next_seq: u64,
}

/// Rows of one of the tables.
#[derive(Debug)]
pub enum Rows {
    /// Orders, numbered.
    Orders(OrderBatch),
    /// Rows that the store gave.
    Stored(StoredRows),
}

/// Rows that the store gave, to be read once.
#[derive(Debug)]
pub struct StoredRows(Stored);

#[derive(Debug)]
enum Stored {
    Query(QueryResult),
    /// Of today, in memory.
    Recent(std::vec::IntoIter<RecordBatch>),
}

impl StoredRows {
    async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        match &mut self.0 {
            Stored::Query(result) => result.next().await,
            Stored::Recent(batches) => Ok(batches.next()),
        }
    }
}

/// Why something is not done. The sentence is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It can never be done as it is.
    #[error("{0}")]
    Invalid(String),
    /// There is no such table.
    #[error("{0}")]
    Unknown(String),
    /// It begins before the first or behind the last that there is.
    #[error("{0}")]
    OutOfRange(String),
    /// Too much at once, or no room.
    #[error("{0}")]
    Exhausted(String),
    /// Not now: try again.
    #[error("{0}")]
    Unavailable(String),
    /// Our fault.
    #[error("{0}")]
    Internal(String),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Invalid(_) => Code::InvalidArgument,
            Refusal::Unknown(_) => Code::NotFound,
            Refusal::OutOfRange(_) => Code::OutOfRange,
            Refusal::Exhausted(_) => Code::ResourceExhausted,
            Refusal::Unavailable(_) => Code::Unavailable,
            Refusal::Internal(_) => Code::Internal,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// The columns of a table as subscribers get it.
fn schema_of(topic: Topic) -> SchemaRef {
    match topic {
        Topic::Orders => Table::Orders.schema(),
        Topic::Hits => Table::Hits.schema(),
        Topic::Alerts => crate::sql::alerts_schema(),
    }
}

impl Store {
    /// The rows of a table with these sequence numbers, in order, of some instruments or of all.
    ///
    /// # Errors
    /// [`SqlError`] when the history cannot be read.
    pub async fn rows_between(
        &self,
        topic: Topic,
        seqs: RangeInclusive<u64>,
        syms: Option<&[String]>,
    ) -> Result<StoredRows, SqlError> {
        if topic == Topic::Hits
            && let Some(batches) = self.recent_hits(&seqs, syms)
        {
            return Ok(StoredRows(Stored::Recent(batches.into_iter())));
        }
        let (name, first, last) = (topic.name(), seqs.start(), seqs.end());
        let mut query = format!("SELECT * FROM {name} WHERE seq BETWEEN {first} AND {last}");
        if let Some(syms) = syms {
            let quoted = syms
                .iter()
                .map(|sym| format!("'{}'", sym.replace('\'', "''")));
            let list: Vec<String> = quoted.collect();
            query.push_str(&match list.is_empty() {
                true => " AND false".to_owned(),
                false => format!(" AND sym IN ({})", list.join(", ")),
            });
        }
        query.push_str(match topic {
            Topic::Orders => " ORDER BY seq",
            Topic::Hits => " ORDER BY seq, hit_id",
            Topic::Alerts => " ORDER BY seq, alert_id",
        });
        let result = self.own_sql(&query).await?;
        Ok(StoredRows(Stored::Query(result)))
    }

    /// The same without SQL for hits that are all in memory: what a live subscriber waits for. `None`
    /// when some may be in the history.
    fn recent_hits(
        &self,
        seqs: &RangeInclusive<u64>,
        syms: Option<&[String]>,
    ) -> Option<Vec<RecordBatch>> {
        let snapshot = self.snapshot();
        let past = snapshot
            .history
            .hits
            .as_ref()
            .map_or(0, |hits| hits.through);
        let after = seqs.start().checked_sub(1).filter(|after| *after >= past)?;
        let batches = snapshot.hits.between(after, *seqs.end());
        let Some(syms) = syms else {
            return Some(batches);
        };
        let wanted = |batch: &RecordBatch| {
            let column = batch.column_by_name("sym")?.as_string_opt::<i32>()?;
            let wanted = |sym: Option<&str>| Some(syms.iter().any(|one| Some(one.as_str()) == sym));
            let wanted: BooleanArray = column.iter().map(wanted).collect();
            filter_record_batch(batch, &wanted).ok()
        };
        batches.iter().map(wanted).collect()
    }
}

/// A batch with the columns of its topic, whatever the plan made of them.
fn as_topic(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}
