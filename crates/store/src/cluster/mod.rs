//! Queries that several processes run: a scheduler and executors of Apache DataFusion Ballista.
//!
//! ```text
//! this process ── plan, carved ──► scheduler ── steps ──► executors ── files of the history
//!      ▲                                                      │
//!      ├───── rows that only this process has ◄── ticket ─────┤
//!      └───── rows of the result ◄────────────────────────────┘
//! ```
//!
//! Invariant: a query gives the same rows wherever it runs, or an error; limits on time and rows hold
//! for it, and a query that nobody waits for any more is cancelled.

mod carve;
mod codec;
mod dial;
mod executor;
mod job;
mod lent;
mod scheduler;
mod told;
mod whole;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::SessionConfig;
use datafusion_proto::bytes::physical_plan_to_bytes_with_extension_codec;

pub use ballista_executor::health::ExecutorHealth;
pub use dial::{Dialer, Pipe};
pub use executor::{ExecutorOptions, execute};
pub use scheduler::{SchedulerOptions, Scheduling, schedule};

pub(crate) use carve::{Carved, Here, carve};
pub(crate) use lent::{Lender, PREFIX};

use crate::sql::SqlError;
use ballista_core::serde::protobuf::PartitionLocation;
use codec::Codec;
use dial::whole;
use job::{Job, JobError, Scheduler};

/// How often a job begins whose rows are lost with an executor before any was read.
const ATTEMPTS_MAX: u32 = 3;

/// Where queries are run by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The scheduler, `host:port`.
    pub scheduler: String,
    /// Where executors find this process, `host:port`, for rows that only it has.
    pub at: String,
    /// In how many parts rows are divided between steps.
    pub parts: usize,
}

/// Why a process of the cluster cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A place cannot be used.
    #[error("{0}")]
    Place(String),
    /// Its directory cannot be used.
    #[error("{}: {source}; check the path and its owner", dir.display())]
    Directory {
        /// Directory.
        dir: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The engine cannot start or ended.
    #[error("{0}")]
    Engine(String),
}

/// The processes that run queries for this one.
pub(crate) struct Cluster {
    pub(crate) options: ClusterOptions,
    pub(crate) lender: Arc<Lender>,
    /// Names this process's sessions with the scheduler.
    session: String,
}

impl Cluster {
    pub(crate) fn new(options: ClusterOptions) -> Self {
        Self {
            session: format!("tapewatch {} {}", options.at, std::process::id()),
            lender: Arc::default(),
            options,
        }
    }

    /// Has a plan run.
    pub(crate) async fn run(
        self: &Arc<Self>,
        carved: Carved,
        config: SessionConfig,
    ) -> Result<Rows, SqlError> {
        let schema = carved.plan.schema();
        let written = physical_plan_to_bytes_with_extension_codec(carved.plan, &Codec::default());
        let plan = written.map_err(|error| SqlError::of(error, ""))?.to_vec();
        if plan.len() > job::MESSAGE_BYTES_MAX {
            return Err(SqlError::Cluster {
                message: format!("the plan has {} bytes", plan.len()),
            });
        }
        tracing::debug!(
            bytes = plan.len(),
            lent = carved.loans.count(),
            "sent to the scheduler"
        );
        let mut rows = Rows {
            cluster: Arc::clone(self),
            schema,
            plan,
            config,
            loans: carved.loans,
            attempts: 0,
            given: false,
            part: None,
            parts: VecDeque::new(),
            job: None,
        };
        rows.begin_until_done().await?;
        Ok(rows)
    }
}

/// The rows of a query that others run, as they are read.
pub(crate) struct Rows {
    cluster: Arc<Cluster>,
    schema: SchemaRef,
    plan: Vec<u8>,
    config: SessionConfig,
    loans: lent::Loans,
    attempts: u32,
    /// Whether rows were read, so that none may be made again.
    given: bool,
    part: Option<SendableRecordBatchStream>,
    parts: VecDeque<PartitionLocation>,
    /// Behind the rows: they are cleared with it.
    job: Option<Job>,
}

impl Rows {
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Runs the job to its end.
    async fn begin(&mut self) -> Result<(), JobError> {
        (self.part, self.job) = (None, None);
        self.attempts += 1;
        let scheduler = Scheduler::connect(&self.cluster.options.scheduler).await?;
        scheduler.wait_for_executors().await?;
        let session = &self.cluster.session;
        let job = scheduler.begin(self.plan.clone(), &self.config, session);
        let job = self.job.insert(job.await?);
        self.parts = job.finished().await?.into();
        Ok(())
    }

    /// The same, and again when an executor is lost on the way.
    async fn begin_until_done(&mut self) -> Result<(), SqlError> {
        loop {
            let why = match self.begin().await {
                Ok(()) => return Ok(()),
                Err(JobError::Final(why) | JobError::Lost(why))
                    if self.attempts >= ATTEMPTS_MAX =>
                {
                    why
                }
                Err(JobError::Lost(why)) => {
                    // What failed here, executors know by hearsay alone.
                    if let Some(why) = self.loans.why() {
                        return Err(why);
                    }
                    tracing::warn!(%why, "a query runs again");
                    continue;
                }
                Err(JobError::Final(why)) => why,
            };
            return Err(self.loans.why().unwrap_or(why));
        }
    }

    /// The next rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        loop {
            let batch = match self.next_of_parts().await {
                Ok(batch) => batch,
                Err(JobError::Lost(why)) if !self.given && self.attempts < ATTEMPTS_MAX => {
                    tracing::warn!(%why, "rows of a query are lost; it runs again");
                    self.begin_until_done().await?;
                    continue;
                }
                Err(JobError::Lost(why) | JobError::Final(why)) => return Err(why),
            };
            let Some(batch) = batch else { return Ok(None) };
            if batch.num_rows() > 0 {
                self.given = true;
                let batch = lent::with_schema(&batch, &self.schema);
                return batch.map(Some).map_err(|error| SqlError::of(error, ""));
            }
        }
    }

    async fn next_of_parts(&mut self) -> Result<Option<RecordBatch>, JobError> {
        loop {
            if let Some(part) = &mut self.part {
                if let Some(batch) = job::next(part).await {
                    return batch.map(Some);
                }
                self.part = None;
            }
            match self.parts.pop_front() {
                Some(part) => self.part = Some(job::fetch(part).await?),
                None => return Ok(None),
            }
        }
    }
}
