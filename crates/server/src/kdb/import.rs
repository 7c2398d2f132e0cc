//! `tapewatch import`: the orders of a tickerplant's log or a database of kdb+, into a running process.
//!
//! Invariant: orders are published as those of any file; alerts are counted and not taken, because
//! the detectors find their own.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tapewatch_connect::kdb::KdbOrders;
use tapewatch_model::{DeadLetter, OrderBatch, OrderSource, Progress, SourceError};

use crate::cli::ImportCommand;
use crate::failure::Failure;
use crate::feed;
use crate::source::AnySource;

/// What was in the file beside orders.
#[derive(Default)]
struct Tally {
    alerts: u64,
    /// Tables that are not read, and their updates or parts.
    others: Vec<(String, u64)>,
}

/// Publishes the file.
pub(crate) async fn run(command: &ImportCommand) -> Result<(), Failure> {
    type Open = fn(&Path) -> Result<KdbOrders, SourceError>;
    let (args, open): (_, Open) = match command {
        ImportCommand::KdbLog(args) => (args, KdbOrders::open_log),
        ImportCommand::KdbHdb(args) => (args, KdbOrders::open_hdb),
    };
    let tally = Arc::new(Mutex::new(Tally::default()));
    let counted = || {
        *lock(&tally) = Tally::default();
        let source = open(&args.file).map_err(Failure::run)?;
        let tally = Arc::clone(&tally);
        Ok(Box::new(Counted { source, tally }) as AnySource)
    };
    let published = feed::publish(args, counted).await;
    let Tally { alerts, others } = std::mem::take(&mut *lock(&tally));
    if alerts > 0 {
        eprintln!(
            "{}: {alerts} alerts read and not taken: the detectors find their own",
            args.file.display()
        );
    }
    for (table, count) in others {
        eprintln!(
            "{}: not read: {table}, {count} updates",
            args.file.display()
        );
    }
    published
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The orders, and a tally of the rest.
struct Counted {
    source: KdbOrders,
    tally: Arc<Mutex<Tally>>,
}

impl OrderSource for Counted {
    fn next_batch(
        &mut self,
        rows_max: usize,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, SourceError> {
        let before = dead_letters.len();
        loop {
            let more = self.source.next_batch(rows_max, orders, dead_letters);
            let mut tally = lock(&self.tally);
            tally.alerts += self.source.take_alerts().len() as u64;
            let others = self.source.passed_over().iter();
            tally.others = others.map(|(name, count)| (name.clone(), *count)).collect();
            // A batch of alerts alone is no bucket.
            if !more? {
                return Ok(false);
            }
            if !orders.is_empty() || dead_letters.len() > before {
                return Ok(true);
            }
        }
    }

    fn progress(&self) -> Progress {
        self.source.progress()
    }
}
