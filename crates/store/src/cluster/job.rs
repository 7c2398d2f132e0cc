//! A plan that executors run: given to the scheduler, waited for, and its rows fetched.
//!
//! Invariant: a job whose rows nobody wants any more is cancelled; what it leaves with the executors is
//! cleared when its rows are read. Each wait has an end, with an error that names who is away.

use std::time::Duration;

use arrow::record_batch::RecordBatch;
use ballista_core::client::BallistaClient;
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::execute_query_result::Result as Answer;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, CleanJobDataParams, ExecuteQueryParams, GetJobStatusParams, KeyValuePair,
    PartitionLocation,
};
use ballista_core::version::insert_version_header;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::SessionConfig;
use futures::StreamExt as _;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tonic::codegen::{Service as _, http};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use super::told;
use crate::sql::SqlError;

/// How long the scheduler may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a query waits for the first executor, before it begins and while it runs.
const EXECUTOR_WITHIN: Duration = Duration::from_secs(15);
/// How often it is looked at whether executors are there.
const LOOK: Duration = Duration::from_secs(1);
/// How soon it is looked again whether a job is done: first, and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(100));
/// Bytes of a message between processes.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How often a fetch of rows is tried again, and after how long.
const FETCHES: (u8, u64) = (2, 250);

/// The scheduler.
#[derive(Clone)]
pub(super) struct Scheduler {
    /// `host:port`.
    place: String,
    channel: Channel,
}

/// A job that runs or whose rows are read. Dropping it ends it.
pub(super) struct Job {
    scheduler: Scheduler,
    id: String,
    /// Whether it came to its end, so that there is nothing to cancel.
    done: bool,
}

/// Why a job has no rows.
pub(super) enum JobError {
    /// It would have none if it ran again.
    Final(SqlError),
    /// Rows that were there are gone with an executor.
    Lost(SqlError),
}

impl From<SqlError> for JobError {
    fn from(error: SqlError) -> Self {
        Self::Final(error)
    }
}

fn cluster(message: String) -> SqlError {
    SqlError::Cluster { message }
}

impl Scheduler {
    pub(super) async fn connect(place: &str) -> Result<Self, SqlError> {
        let away = |why: String| {
            cluster(format!(
                "the scheduler at {place} does not take the query ({why}): start one there with --role scheduler, \
                 or correct peers.scheduler, or set sql.distributed = false"
            ))
        };
        let endpoint = Endpoint::from_shared(format!("http://{place}"));
        let endpoint = endpoint.map_err(|error| away(error.to_string()))?;
        let endpoint = endpoint
            .connect_timeout(ANSWER_WITHIN)
            .http2_keep_alive_interval(ANSWER_WITHIN)
            .keep_alive_timeout(ANSWER_WITHIN);
        let channel = match timeout(ANSWER_WITHIN, endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(away(super::whole(&error))),
            Err(_) => return Err(away("it does not answer".to_owned())),
        };
        Ok(Self {
            place: place.to_owned(),
            channel,
        })
    }

    fn client(&self) -> SchedulerGrpcClient<Channel> {
        SchedulerGrpcClient::new(self.channel.clone())
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn broke_off(&self, why: &tonic::Status) -> SqlError {
        let place = &self.place;
        match why.code() {
            Code::FailedPrecondition => cluster(format!("scheduler {place}: {}", why.message())),
            _ => cluster(format!(
                "the scheduler at {place} broke off while the query ran ({}): try again",
                why.message()
            )),
        }
    }

    /// What it answers in time.
    async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, SqlError> {
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.broke_off(&status)),
            Err(_) => Err(self.broke_off(&tonic::Status::unavailable("it does not answer"))),
        }
    }

    /// Whether it has an executor.
    async fn has_executors(&self) -> Result<bool, SqlError> {
        let request = http::Request::get(format!("http://{}/readyz", self.place));
        let request = request.body(tonic::body::Body::empty());
        let request = request.map_err(|error| cluster(error.to_string()))?;
        let mut channel = self.channel.clone();
        let asked = async {
            std::future::poll_fn(|context| channel.poll_ready(context)).await?;
            channel.call(request).await
        };
        match timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(answer)) => Ok(answer.status().is_success()),
            Ok(Err(error)) => {
                let why = tonic::Status::unavailable(super::whole(&error));
                Err(self.broke_off(&why))
            }
            Err(_) => Err(self.broke_off(&tonic::Status::unavailable("it does not answer"))),
        }
    }

    fn no_executors(&self) -> SqlError {
        cluster(format!(
            "no executor has joined the scheduler at {} for {} s: start one with --role executor",
            self.place,
            EXECUTOR_WITHIN.as_secs()
        ))
    }

    /// Waits until there is an executor.
    pub(super) async fn wait_for_executors(&self) -> Result<(), SqlError> {
        let begun = Instant::now();
        while !self.has_executors().await? {
            if begun.elapsed() >= EXECUTOR_WITHIN {
                return Err(self.no_executors());
            }
            sleep(LOOK / 4).await;
        }
        Ok(())
    }

    /// Begins a plan, as bytes.
    pub(super) async fn begin(
        &self,
        plan: Vec<u8>,
        config: &SessionConfig,
        session: &str,
    ) -> Result<Job, SqlError> {
        let entries = config.options().entries().into_iter();
        let settings = entries.map(|entry| KeyValuePair {
            key: entry.key,
            value: entry.value,
        });
        let mut request = Request::new(ExecuteQueryParams {
            query: Some(Query::PhysicalPlan(plan)),
            settings: settings.collect(),
            session_id: session.to_owned(),
            operation_id: String::new(),
        });
        insert_version_header(request.metadata_mut());
        let mut client = self.client();
        let answer = self.answer(client.execute_query(request)).await?;
        match answer.result {
            Some(Answer::Success(begun)) => Ok(Job {
                scheduler: self.clone(),
                id: begun.job_id,
                done: false,
            }),
            Some(Answer::Failure(failed)) => Err(cluster(format!(
                "the scheduler at {} cannot read the plan ({failed:?}); are all processes of one version?",
                self.place
            ))),
            None => Err(cluster(format!(
                "the scheduler at {} says nothing",
                self.place
            ))),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let (done, job_id) = (self.done, std::mem::take(&mut self.id));
        let mut client = self.scheduler.client();
        let end = async move {
            // Who is away has nothing to end; the scheduler clears it by itself after a while.
            let _ = match done {
                true => client
                    .clean_job_data(CleanJobDataParams {
                        job_id,
                        remove_stage_ids: Vec::new(),
                    })
                    .await
                    .map(drop),
                false => client
                    .cancel_job(CancelJobParams { job_id })
                    .await
                    .map(drop),
            };
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(ANSWER_WITHIN, end));
        }
    }
}

impl Job {
    /// Waits until all rows are made, and says where they are.
    pub(super) async fn finished(&mut self) -> Result<Vec<PartitionLocation>, JobError> {
        let scheduler = self.scheduler.clone();
        let mut client = scheduler.client();
        let (mut wait, mut looked, mut seen) = (POLL.0, Instant::now(), Instant::now());
        loop {
            let job_id = self.id.clone();
            let asked = client.get_job_status(GetJobStatusParams { job_id });
            let status = scheduler.answer(asked).await?.status;
            match status.map(|status| status.status) {
                Some(Some(Status::Successful(job))) => {
                    self.done = true;
                    return Ok(job.partition_location);
                }
                Some(Some(Status::Failed(job))) => {
                    self.done = true;
                    return Err(match told::of(&job.error) {
                        SqlError::Cluster { message } => JobError::Lost(cluster(format!(
                            "an executor was lost while the query ran ({message}): try again"
                        ))),
                        told => JobError::Final(told),
                    });
                }
                Some(_) => {}
                None => {
                    self.done = true;
                    return Err(JobError::Final(cluster(format!(
                        "the scheduler at {} was started anew while the query ran: try again",
                        scheduler.place
                    ))));
                }
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if scheduler.has_executors().await? {
                    seen = looked;
                } else if seen.elapsed() >= EXECUTOR_WITHIN {
                    return Err(scheduler.no_executors().into());
                }
            }
            sleep(wait).await;
            wait = (wait * 2).min(POLL.1);
        }
    }
}

/// Rows of a part of the result, from the executor that has them.
pub(super) async fn fetch(part: PartitionLocation) -> Result<SendableRecordBatchStream, JobError> {
    let layout = part.layout();
    let (Some(executor), Some(id)) = (part.executor_meta, part.partition_id) else {
        return Err(cluster("the scheduler does not say where the rows are".to_owned()).into());
    };
    let (host, port) = (executor.host.as_str(), executor.port as u16);
    let lost = |why: String| {
        JobError::Lost(cluster(format!(
            "the executor at {host}:{port} is gone, and with it rows of the result ({why}): try again"
        )))
    };
    let (times, wait) = FETCHES;
    let client = BallistaClient::try_new(
        host,
        port,
        MESSAGE_BYTES_MAX,
        false,
        None,
        times,
        wait,
        0,
        0,
    );
    let mut client = client.await.map_err(|error| lost(error.to_string()))?;
    let rows = client
        .fetch_partition(&executor.id, &id.into(), part.file_id, layout, true)
        .await;
    rows.map_err(|error| lost(error.to_string()))
}

/// The rows of a part, one batch after another.
pub(super) async fn next(
    rows: &mut SendableRecordBatchStream,
) -> Option<Result<RecordBatch, JobError>> {
    let batch = rows.next().await?;
    Some(batch.map_err(|error| {
        JobError::Lost(cluster(format!(
            "an executor broke off while its rows were read ({}): try again",
            error.strip_backtrace()
        )))
    }))
}
