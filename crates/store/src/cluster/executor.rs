//! An executor: runs steps of plans for a scheduler and keeps their rows until they are read.
//!
//! Invariant: it reads the history by its own configuration and writes only to its own directory, which
//! is empty when it starts. Its memory, the steps that run at once and what a step spills have limits.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::extension::{BallistaConfigGrpcEndpoint, SessionConfigExt as _};
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, WindowStateReport,
};
use ballista_core::utils::GrpcClientConfig;
use ballista_executor::execution_engine::{
    DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor,
};
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::executor_server::TERMINATING;
use ballista_executor::health::ExecutorHealth;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::prelude::SessionConfig;
use tokio::task::{AbortHandle, JoinError};

use super::codec::Codec;
use super::dial::Dialer;
use super::job::MESSAGE_BYTES_MAX;
use super::{ClusterError, told};
use crate::place::{HistoryOptions, Home};
use crate::query::{Stop, with_pauses};
use crate::sql::Engine;
use crate::store::StoreOptions;

/// How often it tells the scheduler that it lives.
const SPEAK_EVERY: Duration = Duration::from_secs(1);
/// How long rows stay that no scheduler has cleared, and how often that is looked at.
const KEEP_ROWS: Duration = Duration::from_secs(3_600);
const CLEAR_EVERY: Duration = Duration::from_secs(300);
/// Connections to another executor that are kept open while nobody uses them.
const IDLE_MAX: usize = 8;

/// An executor.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Where it is asked for rows.
    pub rows: SocketAddr,
    /// Where it is given steps; the same address, another port.
    pub steps: u16,
    /// The host by which others find it.
    pub host: String,
    /// The scheduler: its host and its port.
    pub scheduler: (String, u16),
    /// Directory of rows on their way, for it alone.
    pub dir: PathBuf,
    /// Steps at once; 0: one a core.
    pub cores: usize,
    /// Memory of all steps together for sorts, joins and aggregates.
    pub memory_bytes_max: u64,
    /// What the steps of a process may spill.
    pub spill_bytes_max: u64,
    /// Directory of the store, and the history in it or elsewhere.
    pub data: PathBuf,
    /// Where the history lives.
    pub history: HistoryOptions,
    /// How it reaches processes that lend rows.
    pub dialer: Dialer,
}

/// Runs an executor until the process is told to end, or it has lost its scheduler.
///
/// # Errors
/// [`ClusterError`]: its directory, its addresses or the scheduler cannot be used.
pub async fn execute(
    options: &ExecutorOptions,
    health: ExecutorHealth,
) -> Result<(), ClusterError> {
    let directory = |source| ClusterError::Directory {
        dir: options.dir.clone(),
        source,
    };
    // Who has these ports has the directory.
    for port in [options.rows.port(), options.steps] {
        let address = SocketAddr::new(options.rows.ip(), port);
        let free = std::net::TcpListener::bind(address);
        free.map_err(|error| ClusterError::Place(format!("cannot listen on {address}: {error}")))?;
    }
    if options.dir.exists() {
        std::fs::remove_dir_all(&options.dir).map_err(directory)?;
    }
    std::fs::create_dir_all(&options.dir).map_err(directory)?;
    let config = config(options, health)?;
    // It is set when an executor ends, and this one begins.
    TERMINATING.store(false, Ordering::Release);
    let ended = start_executor_process(Arc::new(config)).await;
    ended.map_err(|error| ClusterError::Engine(error.to_string()))
}

fn config(
    options: &ExecutorOptions,
    health: ExecutorHealth,
) -> Result<ExecutorProcessConfig, ClusterError> {
    let broken = |error: String| ClusterError::Engine(error);
    let engine =
        Engine::new(&StoreOptions::default()).map_err(|error| broken(error.to_string()))?;
    let functions = BallistaFunctionRegistry::from(&engine.state());
    let home = Home::open(&options.data, &options.history);
    let home = home.map_err(|error| ClusterError::Place(format!("history: {error}")))?;
    let (dir, spill) = (options.dir.clone(), options.spill_bytes_max);
    let runtime = move |_: &SessionConfig| {
        let disk = DiskManagerBuilder::default().with_max_temp_directory_size(spill);
        let runtime = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk)
            .with_temp_file_path(dir.clone())
            .build_arc()?;
        home.register(&runtime)?;
        Ok(runtime)
    };
    Ok(ExecutorProcessConfig {
        bind_host: match options.rows.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        },
        external_host: Some(options.host.clone()),
        port: options.rows.port(),
        grpc_port: options.steps,
        scheduler_host: options.scheduler.0.clone(),
        scheduler_port: options.scheduler.1,
        vcores: options.cores,
        work_dir: Some(options.dir.display().to_string()),
        job_data_ttl_seconds: KEEP_ROWS.as_secs(),
        job_data_clean_up_interval_seconds: CLEAR_EVERY.as_secs(),
        grpc_max_decoding_message_size: MESSAGE_BYTES_MAX as u32,
        grpc_max_encoding_message_size: MESSAGE_BYTES_MAX as u32,
        executor_heartbeat_interval_seconds: SPEAK_EVERY.as_secs(),
        memory_pool_size: Some(options.memory_bytes_max),
        override_execution_engine: Some(Arc::new(Telling(
            DefaultExecutionEngine::with_client_pool(Arc::new(Pool::default())),
        ))),
        override_function_registry: Some(Arc::new(functions)),
        override_runtime_producer: Some(Arc::new(runtime)),
        override_config_producer: Some(Arc::new(SessionConfig::new_with_ballista)),
        override_physical_codec: Some(Arc::new(Codec::of_executor(options.dialer.clone()))),
        health,
        ..ExecutorProcessConfig::default()
    })
}

/// Steps whose errors are told as the query's process would tell them.
struct Telling(DefaultExecutionEngine);

impl ExecutionEngine for Telling {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let stop = Stop::default();
        let plan = with_pauses(plan, &stop)?;
        let inner = self.0.create_query_stage_exec(
            job_id,
            stage_id,
            task_id,
            global_output_partition_ids,
            plan,
            work_dir,
            config,
        )?;
        Ok(Arc::new(Step { inner, stop }))
    }
}

#[derive(Debug)]
struct Step {
    inner: Arc<dyn QueryStageExecutor>,
    /// Set once nobody waits for it any more.
    stop: Stop,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Stops a step with who waited for it, also where it computes without a pause.
struct StopOnDrop {
    stop: Stop,
    task: AbortHandle,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

#[async_trait]
impl QueryStageExecutor for Step {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.execute_query_stage(task_id, context).await });
        let _stop = StopOnDrop {
            stop: Arc::clone(&self.stop),
            task: task.abort_handle(),
        };
        let broken = |error: JoinError| DataFusionError::Internal(error.to_string());
        let done = task.await.map_err(broken).flatten();
        done.map_err(told::mark)
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        self.inner.collect_plan_metrics()
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.inner.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.inner.collect_window_state_reports()
    }
}

/// Which connections can stand for each other.
type Peer = (String, u16, GrpcClientConfig);

/// Open connections to other executors.
#[derive(Default)]
struct Pool(Arc<Mutex<HashMap<Peer, Vec<BallistaClient>>>>);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

#[async_trait]
impl BallistaClientPool for Pool {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        config: &GrpcClientConfig,
        customize_endpoint: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> ballista_core::error::Result<PooledClient> {
        let peer = (host.to_owned(), port, config.clone());
        let idle = {
            let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            idle.get_mut(&peer).and_then(Vec::pop)
        };
        let client = match idle {
            Some(client) => client,
            None => {
                BallistaClient::try_new(
                    host,
                    port,
                    config.max_message_size,
                    config.use_tls,
                    customize_endpoint,
                    config.io_retries_times,
                    config.io_retry_wait_time_ms,
                    config.initial_connection_window_size,
                    config.initial_stream_window_size,
                )
                .await?
            }
        };
        let idle = Arc::clone(&self.0);
        let back = move |client| {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            let of_peer = idle.entry(peer).or_default();
            if of_peer.len() < IDLE_MAX {
                of_peer.push(client);
            }
        };
        Ok(PooledClient::new(client, Box::new(back)))
    }

    async fn evict_idle(&self) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.clear();
    }
}
