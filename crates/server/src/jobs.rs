//! The feeds that run inside the process: the demo's ten orders, two a second.
//!
//! Invariant: at most [`JOBS_MAX`] are remembered and at most [`RUNNING_MAX`] run; a job that ends
//! says how.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tapewatch_connect::{Bucketer, CsvOrders, Pace};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::shared::Shared;

/// The reference system's test file: the demo's data.
pub(crate) const DEMO_CSV: &[u8] = include_bytes!("../../../tests/data/spoofingData.csv");
const DEMO_NAME: &str = "spoofingData.csv";
const JOBS_MAX: usize = 16;
const RUNNING_MAX: usize = 4;

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobState {
    Running,
    Done,
    Failed,
}

/// A feed inside the process.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Job {
    /// Number of the job, as text.
    pub(crate) id: String,
    /// What it reads.
    pub(crate) source: String,
    pub(crate) rows_total: u64,
    pub(crate) rows_sent: u64,
    pub(crate) state: JobState,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// All jobs, newest last.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<(u64, VecDeque<Job>)>);

impl Jobs {
    /// The jobs, newest first.
    pub(crate) fn list(&self) -> Vec<Job> {
        self.lock().1.iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, (u64, VecDeque<Job>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, source: &str, rows_total: u64) -> Option<String> {
        let (last, jobs) = &mut *self.lock();
        let running = jobs
            .iter()
            .filter(|job| job.state == JobState::Running)
            .count();
        if running >= RUNNING_MAX {
            return None;
        }
        *last += 1;
        let id = last.to_string();
        jobs.push_back(Job {
            id: id.clone(),
            source: source.to_owned(),
            rows_total,
            rows_sent: 0,
            state: JobState::Running,
            error: None,
        });
        if jobs.len() > JOBS_MAX
            && let Some(ended) = jobs.iter().position(|job| job.state != JobState::Running)
        {
            jobs.remove(ended);
        }
        Some(id)
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.lock().1.iter_mut().find(|job| job.id == id) {
            change(job);
        }
    }
}

/// Starts the demo feed; `None` when too many feeds run.
pub(crate) fn start_demo(
    shared: &Shared,
    rows_per_bucket: NonZeroUsize,
    interval: Duration,
    clear: bool,
) -> Option<String> {
    let rows = DEMO_CSV
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .count();
    let id = shared
        .jobs
        .start(DEMO_NAME, rows.saturating_sub(1) as u64)?;
    let (shared, job) = (shared.clone(), id.clone());
    tokio::spawn(async move {
        let result = run_demo(&shared, &job, rows_per_bucket, interval, clear).await;
        shared.jobs.change(&job, |entry| match result {
            Ok(()) => entry.state = JobState::Done,
            Err(message) => {
                tracing::warn!(job, %message, "the demo feed failed");
                entry.state = JobState::Failed;
                entry.error = Some(message);
            }
        });
    });
    Some(id)
}

async fn run_demo(
    shared: &Shared,
    job: &str,
    rows_per_bucket: NonZeroUsize,
    interval: Duration,
    clear: bool,
) -> Result<(), String> {
    let source = CsvOrders::new(DEMO_CSV, DEMO_NAME, DEMO_CSV.len() as u64);
    let source = source.map_err(|error| error.to_string())?;
    let mut buckets = Bucketer::new(
        source,
        Pace::Interval {
            rows_per_bucket,
            interval,
        },
    );
    if clear {
        shared
            .pipeline
            .clear()
            .await
            .map_err(|error| error.to_string())?;
    }
    let started = Instant::now();
    while let Some(due) = buckets.next_bucket().map_err(|error| error.to_string())? {
        tokio::select! {
            () = tokio::time::sleep_until(started + due.after) => {}
            () = shared.stopped() => return Err("the process stops".to_owned()),
        }
        let rows = due.bucket.count();
        shared
            .pipeline
            .publish(due.bucket)
            .await
            .map_err(|error| error.to_string())?;
        shared.jobs.change(job, |entry| entry.rows_sent += rows);
    }
    Ok(())
}
