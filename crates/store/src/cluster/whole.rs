//! Jobs are done whole or not at all: when an executor is lost, the jobs that run are ended, and who
//! wants their rows begins them again.
//!
//! Invariant: a job is ended before the scheduler hears of a lost executor. What it would do of its own
//! accord can give rows twice: it begins a step anew and keeps, for the next one, what parts of it that
//! other executors had done before.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::ExecutorHeartbeat;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_scheduler::cluster::{
    BallistaCluster, BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot, JobState,
};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::scheduler_server::SchedulerServer;
use ballista_scheduler::state::task_manager::JobInfoCache;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};

/// What ends jobs.
type Scheduler = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// The executors as the scheduler knows them, and whom it ends when one goes.
pub(super) struct Whole {
    executors: Arc<dyn ClusterState>,
    jobs: Arc<dyn JobState>,
    scheduler: OnceLock<Scheduler>,
}

impl Whole {
    /// The same cluster in which jobs are done whole; [`Self::ends`] says who ends them.
    pub(super) fn of(cluster: &BallistaCluster) -> (Arc<Self>, BallistaCluster) {
        let whole = Arc::new(Self {
            executors: cluster.cluster_state(),
            jobs: cluster.job_state(),
            scheduler: OnceLock::new(),
        });
        let executors: Arc<dyn ClusterState> = Arc::clone(&whole) as _;
        (whole, BallistaCluster::new(executors, cluster.job_state()))
    }

    pub(super) fn ends(&self, scheduler: Scheduler) {
        // It is said once.
        let _ = self.scheduler.set(scheduler);
    }

    async fn end_jobs(&self) -> Result<()> {
        let Some(scheduler) = self.scheduler.get() else {
            return Ok(());
        };
        for job in self.jobs.get_all_jobs().await? {
            // One that is done keeps its rows, one that waits has none.
            let status = self.jobs.get_job_status(&job).await?;
            let status = status.and_then(|status| status.status);
            if !matches!(status, Some(Status::Running(_))) {
                continue;
            }
            tracing::warn!(%job, "ended, since an executor is lost; who wants its rows begins it again");
            scheduler.cancel_job(job).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ClusterState for Whole {
    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        let ended = self.end_jobs().await;
        self.executors.remove_executor(executor_id).await?;
        ended
    }

    async fn init(&self) -> Result<()> {
        self.executors.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        let all = &self.executors;
        all.bind_schedulable_tasks(distribution, active_jobs, executors)
            .await
    }

    async fn unbind_tasks(&self, executor_slots: Vec<ExecutorSlot>) -> Result<()> {
        self.executors.unbind_tasks(executor_slots).await
    }

    async fn register_executor(
        &self,
        metadata: ExecutorMetadata,
        spec: ExecutorData,
    ) -> Result<()> {
        self.executors.register_executor(metadata, spec).await
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.executors.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.executors.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.executors.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.executors.save_executor_heartbeat(heartbeat).await
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.executors.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.executors.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.executors.cluster_state_events().await
    }
}
