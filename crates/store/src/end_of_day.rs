//! End of day: rows move from recent to history.
//!
//! Invariant: each table moves by one atomic commit that names the last sequence number in it, and
//! queries see all tables move at once. A crash or an error between the steps loses and doubles
//! nothing: what is committed is recognised by its mark, what is not is still in recent (after a
//! restart: in the journal), and the next run finishes it.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use deltalake::kernel::Add;
use tapewatch_model::Date;

use crate::disk_rows;
use crate::history::{self, History, HistoryError};
use crate::recent::last_seq;
use crate::recent_orders::Chunk;
use crate::schema::Table;
use crate::sorted_orders;
use crate::spill::Spilled;
use crate::store::{Snapshot, Store};

/// What an end of day moved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndOfDayReport {
    /// Orders.
    pub orders: TableReport,
    /// Hits.
    pub hits: TableReport,
    /// Dead letters.
    pub dead_letters: TableReport,
}

/// What an end of day moved in one table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableReport {
    /// Rows.
    pub rows: u64,
    /// The days they belong to, ascending.
    pub dates: Vec<Date>,
    /// Files written.
    pub files: usize,
    /// Last sequence number in history now (0: none).
    pub through: u64,
}

/// Why an end of day did not finish. Nothing is lost: the rows stay in memory and in the journal.
#[derive(Debug, thiserror::Error)]
pub enum EndOfDayError {
    /// The store is open for reading only.
    #[error("the store is open for reading only: run the end of day in the process that writes it")]
    ReadOnly,
    /// A table cannot be written.
    #[error(
        "end of day: table {table} in {dir}: {message}; its rows stay in memory, the next end of day moves them"
    )]
    Table {
        /// Table.
        table: &'static str,
        /// Where it lives.
        dir: String,
        /// What is wrong.
        message: String,
    },
}

/// Where a test stops an end of day, as a crash would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Never,
    #[cfg(test)]
    AfterFiles(Table),
    #[cfg(test)]
    AfterCommit(Table),
}

impl Store {
    /// Moves the rows in memory with a sequence number of at most `through_seq` to history. Only
    /// one runs at a time; running it again when there is nothing new writes nothing.
    ///
    /// # Errors
    /// [`EndOfDayError`] names the table; the next run goes on where this one stopped.
    pub async fn end_of_day(&self, through_seq: u64) -> Result<EndOfDayReport, EndOfDayError> {
        self.end_of_day_until(through_seq, Stop::Never).await
    }

    async fn end_of_day_until(
        &self,
        through_seq: u64,
        stop: Stop,
    ) -> Result<EndOfDayReport, EndOfDayError> {
        if self.inner.read_only {
            return Err(EndOfDayError::ReadOnly);
        }
        let _running = self.inner.end_of_day.lock().await;
        self.unspill(through_seq, self.high_water().orders)
            .await
            .map_err(|error| self.failed(Table::Orders, &error.to_string()))?;
        let snapshot = self.snapshot();
        let mut histories = snapshot.history.clone();
        let mut report = EndOfDayReport::default();
        for table in Table::ALL {
            let (history, moved) = self
                .move_table(&snapshot, table, through_seq, stop)
                .await
                .map_err(|error| self.failed(table, &error.to_string()))?;
            *histories.get_mut(table) = history;
            match table {
                Table::Orders => report.orders = moved,
                Table::Hits => report.hits = moved,
                Table::DeadLetters => report.dead_letters = moved,
            }
        }
        self.swap(histories);
        // The rows are where they belong: what fails here is tried again at the next end of day.
        if let Err(error) = self.upkeep().await {
            tracing::warn!(%error, "the history could not be kept");
        }
        Ok(report)
    }

    fn failed(&self, table: Table, message: &str) -> EndOfDayError {
        EndOfDayError::Table {
            table: table.name(),
            dir: self.inner.home.of(table),
            message: message.to_owned(),
        }
    }

    /// Commits one table's rows. Its new state is not visible to queries yet. Another process may do
    /// the same at the same time: one of the two commits, the other reads anew what is left to move.
    async fn move_table(
        &self,
        snapshot: &Snapshot,
        table: Table,
        through_seq: u64,
        stop: Stop,
    ) -> Result<(Option<Arc<History>>, TableReport), MoveError> {
        let mut before = snapshot.history.get(table).clone();
        loop {
            // What a run that failed half-way committed, or what another program rewrote.
            let history = match &before {
                Some(history) => Some(history::refresh(history, table).await?),
                None => {
                    let found = history::open(&self.inner.home, table).await?;
                    found.map(|history| History::clone(&history))
                }
            };
            let mark = history.as_ref().map_or(0, |history| history.through);
            let rows = Moving::of(snapshot, table, mark, through_seq);
            let Some(report) = rows.report() else {
                let report = TableReport {
                    through: mark,
                    ..TableReport::default()
                };
                return Ok((history.map(Arc::new), report));
            };
            let known = history.clone();
            let error = match self.write_table(history, table, rows, report, stop).await {
                Ok((history, report)) => return Ok((Some(Arc::new(history)), report)),
                Err(error) => error,
            };
            let Some(now) = history::open(&self.inner.home, table).await? else {
                return Err(error);
            };
            let is_news = known.is_none_or(|known| known.through < now.through);
            if !is_news || !error.is_of_history() {
                return Err(error);
            }
            tracing::info!(table = table.name(), %error, through = now.through, "another process was first");
            before = Some(now);
        }
    }

    /// Writes the rows and commits them.
    async fn write_table(
        &self,
        history: Option<History>,
        table: Table,
        rows: Moving,
        mut report: TableReport,
        stop: Stop,
    ) -> Result<(History, TableReport), MoveError> {
        let history = match history {
            Some(history) => history.with_all_columns(table).await?,
            None => {
                let versions_for = self.inner.options.versions_for;
                history::create(&self.inner.home, table, versions_for).await?
            }
        };
        let begun = Instant::now();
        let files = rows.write(table, &history).await?;
        let written = begun.elapsed();
        crash(stop, table, false)?;
        report.files = files.len();
        let history = history.commit(table, files, report.through).await?;
        crash(stop, table, true)?;
        tracing::info!(
            table = table.name(),
            rows = report.rows,
            files = report.files,
            through = report.through,
            write_ms = written.as_millis(),
            commit_ms = begun.elapsed().saturating_sub(written).as_millis(),
            "moved to history"
        );
        Ok((history, report))
    }
}

/// The rows of one table that move.
enum Moving {
    /// What is on disk already moves as it is: its files are those of a history.
    Orders(Option<Arc<Spilled>>, Vec<Chunk>),
    Others(Vec<RecordBatch>),
}

impl Moving {
    fn of(snapshot: &Snapshot, table: Table, after: u64, through: u64) -> Self {
        match table {
            Table::Orders => {
                let moves =
                    |spilled: &Arc<Spilled>| after < spilled.first && spilled.through() <= through;
                Self::Orders(
                    snapshot.spilled.clone().filter(moves),
                    snapshot.orders.between(after, through),
                )
            }
            Table::Hits => Self::Others(snapshot.hits.between(after, through)),
            Table::DeadLetters => Self::Others(snapshot.dead_letters.between(after, through)),
        }
    }

    /// The report, but for the files; `None` when there are no rows.
    fn report(&self) -> Option<TableReport> {
        let (rows, dates, through) = match self {
            Self::Orders(spilled, chunks) => {
                let rows: usize = chunks.iter().map(Chunk::len).sum();
                let mut dates = sorted_orders::dates(chunks);
                dates.extend(spilled.iter().flat_map(|spilled| spilled.dates()));
                let last = chunks.last().map(|chunk| chunk.seqs().1);
                let on_disk = spilled.as_ref().map_or(0, |spilled| spilled.rows());
                (
                    on_disk + rows as u64,
                    dates.into_iter().collect(),
                    last.or_else(|| Some(spilled.as_ref()?.through()))?,
                )
            }
            Self::Others(batches) => (
                batches.iter().map(|batch| batch.num_rows() as u64).sum(),
                disk_rows::dates(batches)
                    .into_iter()
                    .map(Date::from_days)
                    .collect(),
                last_seq(batches)?,
            ),
        };
        Some(TableReport {
            rows,
            dates,
            files: 0,
            through,
        })
    }

    async fn write(self, table: Table, history: &History) -> Result<Vec<Add>, HistoryError> {
        match self {
            Self::Orders(spilled, chunks) => {
                let mut files = match spilled {
                    Some(spilled) => history.adopt(&spilled).await?,
                    None => Vec::new(),
                };
                let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
                files.extend(history.write_orders(chunks, cores).await?);
                Ok(files)
            }
            Self::Others(batches) => history.write_files(table, batches).await,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error(transparent)]
    History(#[from] HistoryError),
    #[cfg(test)]
    #[error("stopped by a test")]
    Stopped,
}

impl MoveError {
    fn is_of_history(&self) -> bool {
        matches!(self, Self::History(_))
    }
}

#[cfg(not(test))]
fn crash(stop: Stop, _table: Table, _committed: bool) -> Result<(), MoveError> {
    match stop {
        Stop::Never => Ok(()),
    }
}

#[cfg(test)]
fn crash(stop: Stop, table: Table, committed: bool) -> Result<(), MoveError> {
    let here = if committed {
        Stop::AfterCommit(table)
    } else {
        Stop::AfterFiles(table)
    };
    if stop == here {
        Err(MoveError::Stopped)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
