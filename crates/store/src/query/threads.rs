//! Threads of their own for queries, so that a heavy one never delays publishing, health or the page.
//!
//! Invariant: what runs here ends with who waits for it: dropping the waiting side stops the work at
//! its next pause.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, stream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinHandle};

use crate::sql::SqlError;

/// Parts of an answer that are made ahead of who takes them.
const AHEAD: usize = 2;
/// What planning takes of a statement as deep as may be, many times over.
const STACK_BYTES: usize = 16 << 20;

/// The threads, one a core, started with the first query.
#[derive(Default)]
pub(crate) struct Threads {
    work: OnceLock<Runtime>,
    /// A thread of its own for time limits: a query that never pauses may hold all the others.
    watch: OnceLock<Runtime>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Not waited for: a query that computes may take long to notice.
        for runtime in [self.work.take(), self.watch.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}

/// Stops a task when it is dropped.
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn start<'a>(
    runtime: &'a OnceLock<Runtime>,
    builder: &mut Builder,
) -> Result<&'a Runtime, SqlError> {
    if let Some(runtime) = runtime.get() {
        return Ok(runtime);
    }
    let broken = |message: String| SqlError::Broken { message };
    let builder = builder.thread_name("sql").thread_stack_size(STACK_BYTES);
    let started = builder.enable_all().build();
    let started = started.map_err(|error| broken(format!("no threads can be started: {error}")))?;
    // Of two that start at the same moment one is let go again.
    if let Err(second) = runtime.set(started) {
        second.shutdown_background();
    }
    runtime
        .get()
        .ok_or_else(|| broken("the threads have ended".to_owned()))
}

impl Threads {
    /// Begins something there.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>, SqlError> {
        Ok(start(&self.work, &mut Builder::new_multi_thread())?.spawn(work))
    }

    /// Does something after a while, whatever the queries do.
    pub(super) fn after(
        &self,
        time: Duration,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<AbortOnDrop, SqlError> {
        let runtime = start(&self.watch, Builder::new_multi_thread().worker_threads(1))?;
        let task = runtime.spawn(async move {
            tokio::time::sleep(time).await;
            then();
        });
        Ok(AbortOnDrop(task.abort_handle()))
    }

    /// Does something there; [`SqlError::Execution`] when it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, SqlError> {
        let task = self.spawn(work)?;
        let _stop = AbortOnDrop(task.abort_handle());
        task.await.map_err(|error| broken(&error))
    }

    /// The same parts, made there, a few ahead of who takes them.
    pub(crate) fn pump<T: Send + 'static>(
        &self,
        parts: impl Stream<Item = Result<T, SqlError>> + Send + 'static,
    ) -> BoxStream<'static, Result<T, SqlError>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let task = self.spawn(async move {
            let mut parts = std::pin::pin!(parts);
            while let Some(part) = parts.next().await {
                if sender.send(part).await.is_err() {
                    return;
                }
            }
        });
        let pumped = task.map(|task| {
            let stop = AbortOnDrop(task.abort_handle());
            (receiver, Some(task), stop)
        });
        stream::once(async move { pumped })
            .flat_map(|pumped| match pumped {
                Err(error) => stream::once(async move { Err(error) }).left_stream(),
                Ok(pumped) => stream::unfold(pumped, |(mut receiver, mut task, stop)| async move {
                    if let Some(part) = receiver.recv().await {
                        return Some((part, (receiver, task, stop)));
                    }
                    // An end without a word is one only when nothing broke.
                    let ended = task.take()?.await;
                    let error = broken(&ended.err()?);
                    Some((Err(error), (receiver, None, stop)))
                })
                .right_stream(),
            })
            .boxed()
    }
}

/// Why a task has no answer.
pub(crate) fn broken(error: &JoinError) -> SqlError {
    match error.is_cancelled() {
        true => SqlError::Cancelled {
            why: "it was stopped",
        },
        false => SqlError::Broken {
            message: error.to_string(),
        },
    }
}
