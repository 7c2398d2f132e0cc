//! What the API, the streams, the jobs and the end of day share in a running process.
//!
//! Invariant: everything here is cheap to clone; the pipeline thread alone changes the state.

use std::sync::{Arc, Mutex};

use tapewatch_journal::{Readers, Retention};
use tapewatch_model::TimeSpan;
use tapewatch_store::{EndOfDayReport, Store};
use tokio::sync::watch;

use crate::alert_book::AlertBook;
use crate::clock;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::pipeline::{Live, Pipeline, gauge};
use crate::sql_runtime::SqlRuntime;
use crate::subscription::{Source, Subscribers};

/// A running process, as its parts see it.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) book: Arc<Mutex<AlertBook>>,
    pub(crate) pipeline: Pipeline,
    /// Last published sequence number.
    pub(crate) published: watch::Receiver<u64>,
    /// Makes readers of the journal.
    pub(crate) readers: Readers,
    pub(crate) subscribers: Subscribers,
    pub(crate) live: Arc<Live>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) metrics: Metrics,
    pub(crate) sql: SqlRuntime,
    /// Set once, when the process begins to stop.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) retention_age: TimeSpan,
    pub(crate) retention_bytes: u64,
    pub(crate) recent_rows_max: u64,
}

impl Shared {
    /// Waits until the process begins to stop.
    pub(crate) async fn stopped(&self) {
        // An error means that everything is gone already.
        let _ = self
            .stopping
            .clone()
            .wait_for(|stopping| *stopping)
            .await
            .map(|_| ());
    }

    /// What subscriptions to the journal are made from.
    pub(crate) fn source(&self) -> Source {
        Source {
            readers: self.readers.clone(),
            published: self.published.clone(),
            stopping: self.stopping.clone(),
        }
    }

    /// Whether rows are taken.
    pub(crate) fn is_ready(&self) -> bool {
        !*self.stopping.borrow()
    }

    /// Moves today's rows, or those up to `through_seq`, to the history, then lets go of old journal
    /// segments. The journal is forced to the disk first: history must never know more than it.
    pub(crate) async fn end_of_day(
        &self,
        through_seq: Option<u64>,
    ) -> Result<EndOfDayReport, String> {
        let synced = self
            .pipeline
            .sync()
            .await
            .map_err(|error| error.to_string())?;
        let through_seq = through_seq.unwrap_or(synced).min(synced);
        let result = self.store.end_of_day(through_seq).await;
        let label = if result.is_ok() { "done" } else { "failed" };
        self.metrics.end_of_day.with_label_values(&[label]).inc();
        let report = result.map_err(|error| {
            tracing::error!(%error, "end of day failed; it is tried again at the next one");
            error.to_string()
        })?;
        tracing::info!(
            through_seq,
            orders = report.orders.rows,
            hits = report.hits.rows,
            dead_letters = report.dead_letters.rows,
            "end of day"
        );
        self.metrics
            .end_of_day_time
            .set(clock::now().nanos() / 1_000_000_000);
        // Not up to `through_seq`: a journal that begins behind the last row of the history is one
        // that has lost rows, for who reads both.
        let moved = self.store.high_water().last().min(through_seq);
        let age = self.retention_age.nanos().unsigned_abs();
        self.pipeline
            .retain(Retention {
                bytes_max: (self.retention_bytes > 0).then_some(self.retention_bytes),
                age_max: (age > 0).then(|| std::time::Duration::from_nanos(age)),
                keep_from_seq: moved.saturating_add(1),
            })
            .await;
        self.metrics
            .recent_rows
            .set(gauge(self.store.counts().recent_orders));
        Ok(report)
    }
}
