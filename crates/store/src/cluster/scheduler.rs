//! The scheduler: takes plans, divides them in steps, gives these to executors, and ends the jobs of an
//! executor that is lost.
//!
//! Invariant: it keeps nothing on a disk; when it ends, queries that it ran end with an error, and
//! executors join the next one at its place by themselves.

use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::SessionConfigExt as _;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpListener;

use super::ClusterError;
use super::codec::Codec;
use super::job::MESSAGE_BYTES_MAX;
use super::whole::Whole;
use crate::sql::Engine;
use crate::store::StoreOptions;

/// An executor that says nothing for so long is lost. Executors speak up each second.
const EXECUTOR_LOST_AFTER: Duration = Duration::from_secs(6);
/// How often it is looked at who is lost.
const LOOK: Duration = Duration::from_secs(1);
/// How long jobs are remembered that ended.
const KEEP_JOBS: Duration = Duration::from_secs(600);

/// A scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// The host by which executors find it.
    pub host: String,
    /// How long rows of a result stay with the executors that nobody has read.
    pub keep_rows: Duration,
}

/// A scheduler that runs.
#[derive(Clone)]
pub struct Scheduling(SchedulerServer<LogicalPlanNode, PhysicalPlanNode>);

impl std::fmt::Debug for Scheduling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scheduling")
    }
}

impl Scheduling {
    /// Whether an executor has joined.
    #[must_use]
    pub fn has_executors(&self) -> bool {
        self.0.is_ready()
    }

    /// Queries that run.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.0.running_job_number()
    }

    /// Serves executors and who has queries, until it is dropped.
    ///
    /// # Errors
    /// [`ClusterError::Engine`] when the network fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), ClusterError> {
        let served = start_grpc_service_with_listener(listener, self.0).await;
        served.map_err(|error| ClusterError::Engine(error.to_string()))
    }
}

/// Makes a scheduler that is to listen at this port.
///
/// # Errors
/// [`ClusterError::Engine`] when the query engine cannot start.
pub async fn schedule(port: u16, options: SchedulerOptions) -> Result<Scheduling, ClusterError> {
    let broken = |error: String| ClusterError::Engine(error);
    let engine =
        Engine::new(&StoreOptions::default()).map_err(|error| broken(error.to_string()))?;
    let known = engine.state();
    let sessions = move |config: SessionConfig| {
        let state = SessionStateBuilder::new_from_existing(known.clone());
        Ok(state.with_config(config).build())
    };
    let config = SchedulerConfig {
        external_host: options.host,
        bind_port: port,
        // Steps that read different files go to different executors.
        task_distribution: TaskDistributionPolicy::RoundRobin,
        finished_job_data_clean_up_interval_seconds: options.keep_rows.as_secs(),
        finished_job_state_clean_up_interval_seconds: KEEP_JOBS.as_secs(),
        grpc_server_max_decoding_message_size: MESSAGE_BYTES_MAX as u32,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES_MAX as u32,
        grpc_client_max_message_size: MESSAGE_BYTES_MAX as u32,
        executor_timeout_seconds: EXECUTOR_LOST_AFTER.as_secs(),
        expire_dead_executor_interval_seconds: LOOK.as_secs(),
        // A step whose input is gone ends its job too: see [`Whole`].
        stage_max_failures: 1,
        no_executors_grace_period_seconds: 2 * EXECUTOR_LOST_AFTER.as_secs(),
        override_session_builder: Some(Arc::new(sessions)),
        override_config_producer: Some(Arc::new(SessionConfig::new_with_ballista)),
        override_physical_codec: Some(Arc::new(Codec::default())),
        ..SchedulerConfig::default()
    };
    let failed = |error: ballista_core::error::BallistaError| broken(error.to_string());
    config.validate().map_err(failed)?;
    let cluster = BallistaCluster::new_from_config(&config)
        .await
        .map_err(failed)?;
    let (whole, cluster) = Whole::of(&cluster);
    let scheduler = create_scheduler(cluster, Arc::new(config))
        .await
        .map_err(failed)?;
    whole.ends(SchedulerServer::clone(&scheduler));
    Ok(Scheduling(scheduler))
}
