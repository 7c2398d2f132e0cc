//! Threads of their own for SQL, so that a heavy query never delays publishing, health or the page.
//!
//! Invariant: at most [`QUERIES_MAX`] queries run at once, the next waits; a query whose asker is gone
//! is stopped at its next pause.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::failure::Failure;

/// Queries that run at once.
const QUERIES_MAX: usize = 4;

/// The threads; clones are the same threads.
#[derive(Clone)]
pub(crate) struct SqlRuntime {
    runtime: Arc<Threads>,
    permits: Arc<Semaphore>,
}

struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // Not waited for: a query that computes may take long to notice.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SqlRuntime {
    /// Starts a thread for each core.
    pub(crate) fn start() -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread()
            .thread_name("sql")
            .enable_all()
            .build();
        let runtime = runtime
            .map_err(|error| Failure::run(format!("cannot start the SQL threads: {error}")))?;
        let permits = Arc::new(Semaphore::new(QUERIES_MAX));
        Ok(Self {
            runtime: Arc::new(Threads(Some(runtime))),
            permits,
        })
    }

    /// Runs a query there; an error when it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        query: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        let runtime = self
            .runtime
            .0
            .as_ref()
            .ok_or("the SQL threads have ended")?;
        let task = runtime.spawn(query);
        let _guard = AbortOnDrop(task.abort_handle());
        task.await
            .map_err(|error| format!("the query failed inside the engine: {error}"))
    }
}
