//! Making the state again: for a start, from the newest good checkpoint and the journal after it, and
//! read-only beside a running process.
//!
//! Invariant: every frame is applied once, in order; damage stops it with segment, offset and
//! sequence number. A checkpoint that does not fit is refused with its reason, and the next older one
//! or the whole journal is taken instead. Without a journal the state is empty.

use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use tapewatch_detect::DetectConfig;
use tapewatch_journal::{FrameRef, Journal, ReadError, Reader, Recovery};
use tapewatch_model::{Time, decode_config, frame_kind};
use tapewatch_store::{Store, StoreOptions};

use crate::arrivals::Arrivals;
use crate::checkpoint::{self, Checkpoint, HitsFile};
use crate::clock;
use crate::config::Config;
use crate::failure::Failure;
use crate::fold::{Fold, FrameMark, Parts};
use crate::up::last_boundary;
use crate::wire::{Follow, Followed};

/// Directory of the journal inside the data directory.
pub(crate) const JOURNAL_DIR: &str = "journal";

/// Directory of the history inside the data directory.
const HISTORY_DIR: &str = "history";

/// What recovery read.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) frames: u64,
    /// Last sequence number that came before the session's last roll.
    pub(crate) before_boundary: u64,
    /// When the rows came.
    pub(crate) arrivals: Arrivals,
    /// Where the checkpoint ended that was taken in.
    pub(crate) checkpoint: FrameMark,
    /// The hits that it named.
    pub(crate) hits: Vec<HitsFile>,
}

/// Why a start from a checkpoint does not go on.
enum NotThis {
    /// The checkpoint does not fit; there may be another way.
    Refused(String),
    Failed(Failure),
}

impl From<Failure> for NotThis {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Frames in order, whether they come from this process's files or from another process.
pub(crate) trait Frames {
    /// The next one; `None` at the end of what was there at the start.
    ///
    /// # Errors
    /// Damage, or a source that does not go on.
    fn next_frame(&mut self) -> Result<Option<FrameRef<'_>>, Failure>;
}

impl Frames for Reader {
    fn next_frame(&mut self) -> Result<Option<FrameRef<'_>>, Failure> {
        Self::next_frame(self).map_err(Failure::run)
    }
}

/// The journal that the state is made from.
pub(crate) enum Log<'a> {
    /// This process's.
    Own(&'a Journal),
    /// That of the role `journal` in another process.
    Elsewhere(&'a Follow),
}

/// A start that is being made.
pub(crate) struct Start<'a> {
    pub(crate) config: &'a Config,
    pub(crate) detect: &'a DetectConfig,
    pub(crate) parts: Parts,
    /// Whether this process writes the history.
    pub(crate) writes_history: bool,
    /// Where its checkpoints are; `None` when it keeps none.
    pub(crate) checkpoints: Option<PathBuf>,
    pub(crate) log: Log<'a>,
    /// The journal's first sequence number, and its next.
    pub(crate) first_seq: u64,
    pub(crate) next_seq: u64,
}

/// Opens this process's journal.
pub(crate) fn open_journal(config: &Config) -> Result<(Journal, Recovery), Failure> {
    let started = Instant::now();
    let dir = config.data.join(JOURNAL_DIR);
    let (journal, recovery) =
        Journal::open(&dir, config.journal_options()?).map_err(Failure::run)?;
    tracing::info!(%recovery, seconds = started.elapsed().as_secs_f64(), "journal open");
    Ok((journal, recovery))
}

impl Start<'_> {
    /// Opens the store and makes the state.
    pub(crate) async fn run(&self) -> Result<(Fold, Recovered), Failure> {
        let started = Instant::now();
        let (fold, recovered) = self.make().await?;
        let counts = fold.store.counts();
        tracing::info!(
            checkpoint = recovered.checkpoint.last_seq(),
            frames = recovered.frames,
            next_seq = self.next_seq,
            orders = counts.orders,
            hits = fold.totals.hits,
            seconds = started.elapsed().as_secs_f64(),
            "recovered"
        );
        Ok((fold, recovered))
    }

    async fn make(&self) -> Result<(Fold, Recovered), Failure> {
        let checkpoints = self.checkpoints.as_deref().map(checkpoint::list);
        for path in checkpoints.unwrap_or_default() {
            let read = Checkpoint::read(&path).map_err(NotThis::Refused);
            let tried = match read {
                Ok(checkpoint) => self.take_checkpoint(checkpoint).await,
                Err(refused) => Err(refused),
            };
            match tried {
                Ok(done) => return Ok(done),
                Err(NotThis::Failed(failure)) => return Err(failure),
                Err(NotThis::Refused(reason)) => tracing::warn!(
                    checkpoint = %path.display(),
                    %reason,
                    "refused; an older one or the journal is read instead"
                ),
            }
        }
        self.fold_journal().await
    }

    fn frames(&self, from: u64) -> Result<Box<dyn Frames + Send>, Failure> {
        Ok(match self.log {
            Log::Own(journal) => Box::new(journal.reader(from).map_err(Failure::run)?),
            Log::Elsewhere(follow) => Box::new(Followed::start(follow, from, self.next_seq)),
        })
    }

    async fn open_store(&self) -> Result<Store, Failure> {
        let (config, mut options) = (self.config, self.config.store_options());
        options.cluster = config.cluster(self.parts.apart)?;
        let store = match (self.parts.tables, self.writes_history) {
            (false, _) => Store::in_memory(options),
            (true, true) => Store::open(&config.data, options).await,
            (true, false) => Store::open_read_only(&config.data, options).await,
        };
        let store = store.map_err(Failure::run)?;
        let known = store.high_water().last();
        if known >= self.next_seq {
            let journal = match self.log {
                Log::Own(_) => config.data.join(JOURNAL_DIR).display().to_string(),
                Log::Elsewhere(follow) => format!("the {}", follow.journal.peer()),
            };
            return Err(Failure::run(format!(
                "{journal} ends before sequence number {}, but the history in {} goes up to {known}: a part of the \
                 journal is missing; restore it, or move the history away",
                self.next_seq,
                config.data.display()
            )));
        }
        Ok(store)
    }

    /// Folds the whole journal; where nothing is detected, only what the history lacks.
    async fn fold_journal(&self) -> Result<(Fold, Recovered), Failure> {
        let store = self.open_store().await?;
        let high = store.high_water();
        let detects = self.parts.detects.is_some();
        let from = match (&self.log, detects) {
            // The producers' last buckets are in all of it.
            (Log::Own(_), _) | (_, true) => self.first_seq,
            (Log::Elsewhere(_), false) => {
                let missing = high.orders.min(high.dead_letters) + 1;
                missing.max(self.first_seq)
            }
        };
        let told = match detects {
            true => {
                let mut frames = self.frames(self.first_seq)?;
                tokio::task::block_in_place(|| first_config(frames.as_mut()))?
            }
            false => None,
        };
        let config = told.as_ref().unwrap_or(self.detect);
        let mut fold = Fold::new(config, self.parts, store)?;
        fold.begin_at(from);
        // The log of hits may have let go of what the journal still has.
        if self.parts.tables && (from > 1 || fold.wants_hits()) {
            fold.load_alerts(high.hits).await;
        }
        let mut frames = self.frames(from)?;
        let recovered = self.read(frames.as_mut(), &mut fold, None)?;
        Ok((fold, recovered))
    }

    /// Takes the checkpoint in, fills the tables up to it, and folds the journal after it.
    async fn take_checkpoint(&self, checkpoint: Checkpoint) -> Result<(Fold, Recovered), NotThis> {
        let (frame, hits) = (checkpoint.frame, checkpoint.hits.clone());
        let seq = frame.last_seq();
        if seq >= self.next_seq || seq < self.first_seq {
            return Err(NotThis::Refused(format!(
                "it ends at sequence number {seq}, the journal holds {} to {}",
                self.first_seq,
                self.next_seq.saturating_sub(1)
            )));
        }
        let store = self.open_store().await?;
        let high = store.high_water();
        if high.hits < checkpoint.history_hits {
            return Err(NotThis::Refused(format!(
                "the history had hits up to sequence number {}, now it has them up to {}",
                checkpoint.history_hits, high.hits
            )));
        }
        let dir = self.checkpoints.clone().unwrap_or_default();
        for file in hits.iter().filter(|file| file.through > high.hits) {
            let path = file.path(&dir);
            let refused = |reason: String| {
                NotThis::Refused(format!("its hits in {}: {reason}", path.display()))
            };
            let rows = store
                .load_hits(&path)
                .map_err(|error| refused(error.to_string()))?;
            if rows != file.rows && file.after >= high.hits {
                return Err(refused(format!("{rows} rows, {} expected", file.rows)));
            }
        }
        let arrivals = Arrivals::from_marks(checkpoint.arrivals.clone());
        let mut fold = Fold::new(self.detect, self.parts, store)?;
        fold.restore(checkpoint).map_err(NotThis::Refused)?;
        // The frame at which it ends is read in any case: it must be the same.
        let mut from = frame.seq;
        if self.parts.tables {
            let through = if fold.wants_hits() { high.hits } else { seq };
            fold.load_alerts(through).await;
            let missing = high.orders.min(high.dead_letters).saturating_add(1);
            from = missing.min(from).max(self.first_seq);
        }
        let mut frames = self.frames(from)?;
        let mut recovered = self.read(frames.as_mut(), &mut fold, Some(frame))?;
        recovered.arrivals.before(arrivals, seq);
        recovered.hits = hits;
        Ok((fold, recovered))
    }

    /// Applies all frames of a reader: up to the checkpoint's to the tables alone.
    fn read(
        &self,
        frames: &mut dyn Frames,
        fold: &mut Fold,
        checkpoint: Option<FrameMark>,
    ) -> Result<Recovered, NotThis> {
        let rolls_at = self.config.rolls_at()?;
        let boundary = rolls_at.map(|at| last_boundary(clock::now(), at));
        let bar = ProgressBar::new(self.next_seq.saturating_sub(1)).with_style(
            ProgressStyle::with_template("recovery {bar:40} {human_pos}/{human_len} ({eta} left)")
                .map_err(Failure::run)?,
        );
        let rows_max = match self.log {
            Log::Own(_) => u64::MAX,
            // The rest comes when there is room.
            Log::Elsewhere(_) => self.config.recent.rows_max,
        };
        // The store's readers run on this runtime; folding the journal is plain computation.
        tokio::task::block_in_place(|| replay(frames, fold, checkpoint, (boundary, rows_max), &bar))
    }
}

/// Applies all frames of a reader, or those that fit into so many rows of memory; those received before
/// `boundary` are told apart.
fn replay(
    frames: &mut dyn Frames,
    fold: &mut Fold,
    checkpoint: Option<FrameMark>,
    (boundary, rows_max): (Option<Time>, u64),
    progress: &ProgressBar,
) -> Result<Recovered, NotThis> {
    let mut recovered = Recovered {
        checkpoint: checkpoint.unwrap_or_default(),
        ..Recovered::default()
    };
    let known = recovered.checkpoint.last_seq();
    let mut met = checkpoint.is_none();
    let another = || {
        NotThis::Refused(format!(
            "it is of another journal: this one has another frame at sequence number {known}"
        ))
    };
    while let Some(frame) = frames.next_frame()? {
        let mark = FrameMark::of(&frame);
        let last = mark.last_seq();
        if !met && last >= known && Some(mark) != checkpoint {
            return Err(another());
        }
        met |= Some(mark) == checkpoint;
        if last > known {
            fold.frame(&frame).map_err(Failure::run)?;
        } else {
            fold.frame_of_checkpoint(&frame).map_err(Failure::run)?;
        }
        recovered.frames += 1;
        recovered
            .arrivals
            .note(Time::from_nanos(frame.time), frame.seq);
        if boundary.is_some_and(|boundary| frame.time < boundary.nanos()) {
            recovered.before_boundary = last;
        }
        if recovered.frames.is_multiple_of(256) {
            progress.set_position(last);
        }
        if met && fold.store.counts().recent_orders > rows_max {
            break;
        }
    }
    progress.finish_and_clear();
    if !met {
        return Err(another());
    }
    Ok(recovered)
}

/// The configuration that the journal's first rows were judged by: the first one that it tells. A
/// segment tells it at its beginning, if not always before its first rows.
fn first_config(frames: &mut dyn Frames) -> Result<Option<DetectConfig>, Failure> {
    while let Some(frame) = frames.next_frame()? {
        if frame.kind == frame_kind::DETECTOR_CONFIG {
            let told = decode_config(frame.payload).map_err(Failure::run)?;
            return DetectConfig::from_canonical(&told.json)
                .map(Some)
                .map_err(Failure::run);
        }
    }
    Ok(None)
}

/// A reader over the journal in `data` from a sequence number on, or from its beginning when that
/// comes later; `None` when there is no journal. The history has all rows up to `known`.
fn journal_from(data: &Path, seq: u64, known: u64) -> Result<Option<Reader>, Failure> {
    let dir = data.join(JOURNAL_DIR);
    if !dir.is_dir() {
        return Ok(None);
    }
    match Reader::open(&dir, seq) {
        Err(ReadError::Gone { first_seq, .. }) if known > 0 && first_seq > known + 1 => {
            return Err(Failure::run(format!(
                "{} begins with sequence number {first_seq}, but the history in {} ends with {known}: the rows \
                 between are missing; restore the journal. If an end of day just ran, try again",
                dir.display(),
                data.display()
            )));
        }
        Err(ReadError::Gone { first_seq, .. }) => Reader::open(&dir, first_seq).map(Some),
        other => other.map(Some),
    }
    .map_err(Failure::run)
}

/// The state as the files in `data` tell it, without changing them; a process may be running.
pub(crate) async fn read_only(
    data: &Path,
    config: &DetectConfig,
    options: StoreOptions,
) -> Result<Fold, Failure> {
    crate::guests::look_in(data);
    let store = open_read_only(data, options).await?;
    let known = store.high_water().last();
    let mut fold = Fold::new(config, Parts::whole(1), store)?;
    if let Some(mut reader) = journal_from(data, 1, known)? {
        let all = (None, u64::MAX);
        replay(&mut reader, &mut fold, None, all, &ProgressBar::hidden())?;
    }
    Ok(fold)
}

/// All that the journal in `data` has, in memory; nothing of the history.
pub(crate) async fn journal_only(
    data: &Path,
    config: &DetectConfig,
    options: StoreOptions,
) -> Result<Store, Failure> {
    let store = Store::in_memory(options).map_err(Failure::run)?;
    let mut fold = Fold::new(config, Parts::whole(1), store)?;
    if let Some(mut reader) = journal_from(data, 1, 0)? {
        let all = (None, u64::MAX);
        replay(&mut reader, &mut fold, None, all, &ProgressBar::hidden())?;
    }
    Ok(fold.store)
}

/// Orders as the files in `data` tell them, without detecting anything.
pub(crate) async fn orders_only(data: &Path, options: StoreOptions) -> Result<Store, Failure> {
    let store = open_read_only(data, options).await?;
    let high = store.high_water();
    let mut fold = Fold::new(&DetectConfig::default(), Parts::whole(1), store)?;
    if let Some(mut reader) = journal_from(data, high.orders.saturating_add(1), high.last())? {
        while let Some(frame) = reader.next_frame().map_err(Failure::run)? {
            fold.frame_of_checkpoint(&frame).map_err(Failure::run)?;
        }
    }
    Ok(fold.store)
}

/// Refuses a directory that is not one of data.
pub(crate) fn check_dir(data: &Path, options: &StoreOptions) -> Result<(), Failure> {
    if !options.history.url.is_empty() {
        return Ok(());
    }
    if !data.is_dir() {
        return Err(Failure::usage(format!(
            "{}: there is no data directory; name one with --data",
            data.display()
        )));
    }
    if !data.join(JOURNAL_DIR).is_dir() && !data.join(HISTORY_DIR).is_dir() {
        return Err(Failure::usage(format!(
            "{}: there is neither a journal nor a history; name the data directory with --data",
            data.display()
        )));
    }
    Ok(())
}

async fn open_read_only(data: &Path, options: StoreOptions) -> Result<Store, Failure> {
    check_dir(data, &options)?;
    Store::open_read_only(data, options)
        .await
        .map_err(Failure::run)
}

/// Without a checkpoint none can be refused.
impl From<NotThis> for Failure {
    fn from(not_this: NotThis) -> Self {
        match not_this {
            NotThis::Refused(reason) => Self::run(reason),
            NotThis::Failed(failure) => failure,
        }
    }
}
