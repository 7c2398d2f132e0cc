//! A dashboard that asks while something else is measured.
//!
//! Invariant: it asks at a steady rate, on the threads and through the engine that `up` has for SQL; an
//! answer that fails ends the measurement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tapewatch_store::Store;
use tokio::task::JoinHandle;

use crate::failure::Failure;

/// What it shows, one after another.
const QUERIES: [&str; 6] = [
    "SELECT sym, sum(quantity) FROM orders GROUP BY sym",
    "SELECT event_type, count(*) FROM orders GROUP BY event_type",
    "SELECT trader, count(*) AS hits FROM hits GROUP BY trader ORDER BY hits DESC LIMIT 20",
    "SELECT time, trader, price, quantity FROM orders WHERE sym = 'S7' ORDER BY seq DESC LIMIT 100",
    "SELECT sym, event_type, count(*), sum(price * quantity) FROM orders GROUP BY sym, event_type",
    "SELECT count(*) FROM orders WHERE trader = 'T3' AND event_type = 'cancelled'",
];

/// A dashboard at work.
pub(super) struct Dashboard {
    asking: JoinHandle<Result<(), Failure>>,
    answered: Arc<AtomicU64>,
}

impl Dashboard {
    /// Asks so many queries a second until it is stopped; none for 0.
    pub(super) fn start(store: &Store, a_second: u64) -> Result<Option<Self>, Failure> {
        if a_second == 0 {
            return Ok(None);
        }
        let store = store.clone();
        let answered = Arc::new(AtomicU64::new(0));
        let asking = tokio::spawn({
            let answered = Arc::clone(&answered);
            async move {
                let gap = Duration::from_secs(1).div_f64(a_second as f64);
                let mut due = tokio::time::interval(gap);
                for sql in QUERIES.iter().cycle() {
                    due.tick().await;
                    let result = store.sql(sql).await.map_err(Failure::run)?;
                    result.count().await.map_err(Failure::run)?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        });
        Ok(Some(Self { asking, answered }))
    }

    /// Stops asking; how many answers there were.
    pub(super) async fn stop(self) -> Result<u64, Failure> {
        self.asking.abort();
        match self.asking.await {
            Ok(Err(failure)) => Err(failure),
            _ => Ok(self.answered.load(Ordering::Relaxed)),
        }
    }
}
