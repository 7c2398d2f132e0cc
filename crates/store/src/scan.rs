//! Orders of a span of time as the engine wants them: some event types, instrument by instrument.
//!
//! Invariant: the units of a scan have no instrument in common and together have all of them; in a
//! unit each instrument's rows come ascending by sequence number, each exactly once, those of the
//! history before those of recent. A unit checks that order and fails rather than break it.

mod full;
mod identity;
mod parts;
mod read;
mod unit;

use std::collections::HashSet;
use std::sync::Arc;

use tapewatch_model::{EventTypes, Time};

use crate::history::History;
use crate::recent_orders::Chunk;
use crate::store::Store;
pub(crate) use full::some_rows;
use parts::Range;
pub(crate) use parts::{Part, Unopened, files, open};
pub use read::Place;
pub use unit::ScanUnit;

/// What a scan is to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRequest {
    /// First time.
    pub from: Time,
    /// The time behind the last.
    pub to: Time,
    /// Events of these types.
    pub events: EventTypes,
    /// Orders of these instruments; empty: of all.
    pub syms: Vec<String>,
    /// Whether batches have all that the rows say: order ids, prices, and what not every source
    /// tells. Without it these are empty and zero, and not read.
    pub details: bool,
}

impl ScanRequest {
    fn wants_sym(&self, sym: &str) -> bool {
        self.syms.is_empty() || self.syms.iter().any(|wanted| wanted == sym)
    }

    fn wants_time(&self, time: Time) -> bool {
        self.from <= time && time < self.to
    }
}

/// Why orders cannot be scanned.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The table's list of files cannot be read.
    #[error("table orders: {message}; restore the history from a copy")]
    Table {
        /// What is wrong.
        message: String,
    },
    /// A file of the history cannot be read, or holds what is not an order.
    #[error(
        "{path}: {message}; `tapewatch history check --repair` restores what the journal still has, a copy the rest"
    )]
    File {
        /// File: its path or its URL.
        path: String,
        /// What is wrong, where.
        message: String,
    },
}

/// The orders of history and recent that a request is about, not read yet.
pub struct OrderScan {
    request: Arc<ScanRequest>,
    /// The id of the history's table.
    table: Option<String>,
    parts: Vec<Part>,
    recent: Arc<Vec<Chunk>>,
}

impl std::fmt::Debug for OrderScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderScan")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The orders that a request is about, as they are now. Reads the list of files and what the
    /// files say about themselves; leaves out what cannot hold a wanted row.
    ///
    /// # Errors
    /// [`ScanError`] names the file and what is wrong with it.
    pub fn order_scan(&self, request: &ScanRequest) -> Result<OrderScan, ScanError> {
        let snapshot = self.snapshot();
        let (table, mut parts) = match &snapshot.history.orders {
            Some(history) => {
                let (id, parts) = parts::find(history, request, None)?;
                (Some(id), parts)
            }
            None => (None, Vec::new()),
        };
        if let Some(spilled) = &snapshot.spilled {
            parts.extend(parts::find(&spilled.history, request, None)?.1);
        }
        Ok(OrderScan {
            request: Arc::new(request.clone()),
            table,
            parts,
            recent: Arc::new(snapshot.orders.chunks().cloned().collect()),
        })
    }
}

impl OrderScan {
    /// The orders of some files of the history.
    pub(crate) fn of_files(
        history: &History,
        request: &ScanRequest,
        files: &HashSet<String>,
    ) -> Result<Self, ScanError> {
        let (id, parts) = parts::find(history, request, Some(files))?;
        Ok(Self {
            request: Arc::new(request.clone()),
            table: Some(id),
            parts,
            recent: Arc::default(),
        })
    }

    /// Rows that have to be looked at: at least those that are wanted.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let recent: usize = self.recent.iter().map(Chunk::len).sum();
        self.parts.iter().map(|part| part.rows).sum::<u64>() + recent as u64
    }

    /// Which files and rows it is about: two scans of the same request that say the same give the
    /// same. Looks at every row of recent.
    #[must_use]
    pub fn identity(&self) -> String {
        identity::of(self.table.as_deref(), &self.parts, &self.recent)
    }

    /// The orders by ranges of instruments, about equal in rows: at most `count` of them, fewer
    /// where the files do not say enough of their instruments.
    #[must_use]
    pub fn units(self, count: usize) -> Vec<ScanUnit> {
        let cuts = self.cuts(count.max(1));
        let starts = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
        let ends = cuts.iter().cloned().map(Some).chain(std::iter::once(None));
        let unit = |(from, to)| {
            let range = Range { from, to };
            ScanUnit::new(
                Arc::clone(&self.request),
                range,
                &self.parts,
                Arc::clone(&self.recent),
            )
        };
        starts.zip(ends).map(unit).collect()
    }

    /// Where the instruments are cut, ascending.
    fn cuts(&self, count: usize) -> Vec<String> {
        let mut weights: Vec<(&str, u64)> = Vec::new();
        for part in &self.parts {
            weights.push((&part.sym_first, part.rows));
        }
        for chunk in self.recent.iter() {
            let batch = chunk.orders();
            let mut rows = vec![0; batch.syms().len()];
            for &code in batch.sym_codes().get(chunk.rows()).unwrap_or_default() {
                if let Some(rows) = rows.get_mut(code as usize) {
                    *rows += 1;
                }
            }
            weights.extend(batch.syms().texts().iter().zip(rows));
        }
        weights.sort_unstable();
        let total: u64 = weights.iter().map(|(_, rows)| rows).sum();
        // Below the first instrument there is nothing to cut off.
        let first = weights.iter().find(|(_, rows)| *rows > 0);
        let first = first.map_or("", |(sym, _)| sym);
        let (mut before, mut cuts) = (0, Vec::<String>::new());
        for (sym, rows) in weights {
            let due = total * (cuts.len() as u64 + 1) / count as u64;
            let new = cuts.last().map_or(first, String::as_str) < sym;
            if before > 0 && before >= due && new && cuts.len() + 1 < count {
                cuts.push(sym.to_owned());
            }
            before += rows;
        }
        cuts
    }
}
