//! The pipeline's thread: takes commands, groups them, commits, applies, answers.
//!
//! Invariant: a bucket is answered only after its group is committed and applied; a group that is not
//! committed leaves no trace in the fold.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tapewatch_detect::{DetectConfig, Shard};
use tapewatch_journal::{AppendError, CommitError, Journal, Retention};
use tapewatch_model::{
    DetectorConfig, Hit, Origin, Time, encode_bucket, encode_config, frame_kind,
};
use tokio::sync::{mpsc, watch};

use super::staged::{self, Staged, waiting};
use super::{
    Command, GROUP_BYTES_MAX, Live, Marks, PublishError, Published, QUEUE_MAX, Reply, Rows, Told,
    gauge, show,
};
use crate::arrivals::Arrivals;
use crate::checkpoint::Writer;
use crate::clock;
use crate::failure::Failure;
use crate::fold::{Fold, FrameMark, Placed, Totals};
use crate::hits_log::HitsLog;
use crate::metrics::Metrics;

/// The thread's side.
pub(crate) struct Worker {
    pub(super) journal: Journal,
    pub(super) fold: Fold,
    pub(crate) queue: mpsc::Receiver<Command>,
    pub(super) published: watch::Sender<u64>,
    pub(super) metrics: Metrics,
    pub(super) live: Arc<Live>,
    pub(super) recent_rows_max: u64,
    pub(super) segments: u64,
    /// When rows came, for the retention.
    pub(super) arrivals: Arrivals,
    /// What the counters show already.
    pub(super) shown: Totals,
    /// Writes checkpoints; `None` once it has ended.
    pub(super) checkpoints: Option<Writer>,
    /// The log of hits, when roles in other processes may take part.
    pub(super) hits: Option<HitsLog>,
    /// Last sequence number of which all hits show.
    pub(super) hits_through: watch::Sender<u64>,
    pub(super) marks: Marks,
    /// Encoded frames, kept for its memory.
    pub(super) encoded: Vec<u8>,
}

impl Worker {
    /// Runs until all senders are gone, or the journal stopped.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        while let Some(first) = self.queue.blocking_recv() {
            self.turn(first)?;
        }
        // Whatever the policy: a clean stop leaves everything on the disk.
        self.journal.sync().map_err(Failure::run)?;
        self.hits.as_mut().map_or(Ok(()), HitsLog::sync)?;
        if let Some(writer) = self.checkpoints.take() {
            let news = self.fold.last().last_seq() != writer.written();
            writer.finish(news.then(|| self.fold.pending(self.arrivals.to_marks())));
        }
        Ok(())
    }

    /// Takes a command, and those that wait behind it into the same group.
    ///
    /// # Errors
    /// When a log stopped: what is on its disk only another start can know.
    pub(crate) fn turn(&mut self, first: Command) -> Result<(), Failure> {
        let started = Instant::now();
        let mut group = Vec::new();
        let mut bytes = self.stage(first, &mut group);
        while bytes < GROUP_BYTES_MAX && group.len() < QUEUE_MAX {
            let Ok(next) = self.queue.try_recv() else {
                break;
            };
            bytes += self.stage(next, &mut group);
        }
        if !group.is_empty() {
            self.commit(group)?;
            self.metrics
                .publish_seconds
                .observe(started.elapsed().as_secs_f64());
        }
        self.journal.check_running().map_err(Failure::run)?;
        self.hits.as_mut().map_or(Ok(()), HitsLog::check_running)
    }

    /// Hands the state over to be saved, unless nothing happened since, or one is being saved.
    fn checkpoint(&mut self) {
        // Hits before it are not found again.
        if let Some(Err(error)) = self.hits.as_mut().map(HitsLog::sync) {
            tracing::error!(%error, "no checkpoint: the log of hits cannot be forced to the disk");
            return;
        }
        let (fold, arrivals) = (&self.fold, &self.arrivals);
        if let Some(writer) = &self.checkpoints
            && writer.written() != fold.last().last_seq()
        {
            writer.offer(|| fold.pending(arrivals.to_marks()));
        }
    }

    /// Appends the command's frame; answers at once when that fails. Returns its size.
    fn stage(&mut self, command: Command, group: &mut Vec<Staged>) -> usize {
        match command {
            Command::Publish(rows, reply) => self.stage_publish(rows, reply, group),
            Command::Clear(reply) => {
                let version = [tapewatch_model::FORMAT_VERSION];
                let now = clock::now().nanos();
                match self.journal.append(frame_kind::CLEAR, 1, now, &version) {
                    Ok(seq) => {
                        let mark = FrameMark {
                            seq,
                            count: 1,
                            time: now,
                        };
                        group.push(Staged::Clear(mark, reply));
                    }
                    Err(error) => drop(reply.send(Err(append_error(error)))),
                }
                1
            }
            Command::Configure(config, reply) => self.stage_config(config, reply, group),
            Command::Sync(reply) => {
                let synced = self.journal.sync();
                let synced = synced.map_err(|error| PublishError::Stopped(error.to_string()));
                drop(reply.send(synced.and_then(|()| self.sync_found())));
                0
            }
            Command::SyncFound(reply) => {
                drop(reply.send(self.sync_found()));
                0
            }
            Command::Found(share, through, _, hits, told) => {
                self.told(share, through, hits, told);
                0
            }
            Command::Retain(retention) => {
                self.retain(retention);
                0
            }
            Command::Checkpoint => {
                self.checkpoint();
                0
            }
        }
    }

    fn stage_publish(
        &mut self,
        rows: Rows,
        reply: Reply<Published>,
        group: &mut Vec<Staged>,
    ) -> usize {
        if let Some(replies) = waiting(rows.origin(), group) {
            // It shares the other's fate: refused now, it might be sent a third time as another.
            self.metrics.duplicate_buckets.inc();
            replies.push(reply);
            return 0;
        }
        // Who asked may be gone; nobody else waits for the answer.
        match self.stage_rows(&rows, group) {
            Ok(Stage::Appended(appended, bytes)) => {
                group.push(Staged::Bucket(appended, rows, vec![reply]));
                return bytes;
            }
            Ok(Stage::Known(placed)) => {
                self.metrics.duplicate_buckets.inc();
                let duplicate = true;
                let _ = reply.send(Ok(Published { placed, duplicate }));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
        0
    }

    fn stage_config(
        &mut self,
        config: Box<DetectConfig>,
        reply: Reply<u64>,
        group: &mut Vec<Staged>,
    ) -> usize {
        // One on the way in this group may be another: then it is written again.
        let alone = !group
            .iter()
            .any(|staged| matches!(staged, Staged::Config(..)));
        if alone && self.fold.config_seen() == Some(&*config) {
            drop(reply.send(Ok(self.fold.last().last_seq())));
            return 0;
        }
        match self.append_config(&config) {
            Ok(mark) => group.push(Staged::Config(mark, config, reply)),
            Err(error) => drop(reply.send(Err(append_error(error)))),
        }
        self.encoded.len()
    }

    fn sync_found(&mut self) -> Result<u64, PublishError> {
        let synced = self.hits.as_mut().map_or(Ok(()), HitsLog::sync);
        synced.map_err(|error| PublishError::Stopped(error.to_string()))?;
        Ok(*self.published.borrow())
    }

    /// Takes hits of engines in other processes, unless some before them on the way were refused.
    fn told(&mut self, share: Shard, through: u64, hits: Vec<Hit>, told: Option<Told>) {
        let refused = told.as_ref().map(|told| &told.refused);
        let found = match refused.is_some_and(|refused| refused.load(Ordering::Relaxed)) {
            true => Err(PublishError::Refused(
                "hits before them were not".to_owned(),
            )),
            false => self.found(share, through, hits),
        };
        if let Err(error) = &found {
            tracing::error!(%error, "hits were not taken; they are sent again");
        }
        if let Some(Told { reply, refused }) = told {
            refused.fetch_or(found.is_err(), Ordering::Relaxed);
            // Who asked may be gone.
            let _ = reply.send(found.map(|()| through));
        }
    }

    /// Takes hits of engines in other processes.
    fn found(&mut self, share: Shard, through: u64, hits: Vec<Hit>) -> Result<(), PublishError> {
        let Some(log) = &mut self.hits else {
            let text = "this process takes no hits: name its roles, with --role journal,…";
            return Err(PublishError::Invalid(text.to_owned()));
        };
        let refused = |error: &dyn std::fmt::Display| PublishError::Refused(error.to_string());
        let last = self.journal.durable_seq();
        if through > last {
            return Err(refused(&format_args!(
                "share {}/{} has come to sequence number {through}, and the journal goes only to {last}: it is another \
                 journal, or has lost rows; start the engine again",
                share.index, share.count
            )));
        }
        log.check_room(hits.len())
            .map_err(|error| refused(&error))?;
        let new = log.found(share, through, hits);
        let new = new.map_err(|error| refused(&error))?;
        self.fold.hits_elsewhere(log.watermark(), new);
        self.hits_through.send_replace(self.fold.hits_through());
        Ok(())
    }

    /// What a bucket got that was taken before; an error when its turn is over.
    fn known(&self, origin: &Origin, group: &[Staged]) -> Result<Option<Placed>, PublishError> {
        if origin.producer.is_empty() {
            return Ok(None);
        }
        let waiting = group.iter().rev().find_map(|staged| match staged {
            Staged::Bucket(_, other, _) if other.origin().producer == origin.producer => {
                Some(other.origin().batch)
            }
            _ => None,
        });
        let after = |last| {
            PublishError::Invalid(format!(
                "producer {} sent bucket {} after bucket {last}",
                origin.producer, origin.batch
            ))
        };
        let placed = self.fold.placed(&origin.producer, origin.batch);
        match (placed.map_err(after)?, waiting) {
            (None, Some(last)) if last > origin.batch => Err(after(last)),
            (placed, _) => Ok(placed),
        }
    }

    fn stage_rows(&mut self, rows: &Rows, group: &[Staged]) -> Result<Stage, PublishError> {
        if let Some(placed) = self.known(rows.origin(), group)? {
            return Ok(Stage::Known(placed));
        }
        let (orders, dead_letters) = rows.counts();
        if orders + dead_letters == 0 {
            return Err(PublishError::Invalid("the bucket is empty".to_owned()));
        }
        let recent = self.fold.store.counts().recent_orders;
        if recent
            > self
                .recent_rows_max
                .saturating_add(self.recent_rows_max / 4)
        {
            return Err(PublishError::RecentFull(recent));
        }
        let count = u32::try_from(orders + dead_letters)
            .map_err(|_| PublishError::Invalid("the bucket has too many rows".to_owned()))?;
        let payload = match rows {
            Rows::Encoded(_, bytes) => bytes,
            Rows::Decoded(bucket) => {
                self.encoded.clear();
                encode_bucket(bucket, &mut self.encoded);
                self.encoded.as_slice()
            }
        };
        let time = clock::now().nanos();
        let appended = self
            .journal
            .append(frame_kind::BUCKET, count, time, payload);
        let seq = appended.map_err(append_error)?;
        Ok(Stage::Appended(
            FrameMark { seq, count, time },
            payload.len(),
        ))
    }

    /// Commits the group, applies it and answers. An error ends the thread.
    fn commit(&mut self, group: Vec<Staged>) -> Result<(), Failure> {
        self.metrics.group_buckets.observe(group.len() as f64);
        let timer = self.metrics.commit_seconds.start_timer();
        let committed = self.journal.commit();
        timer.observe_duration();
        if let Err(error) = committed {
            tracing::warn!(%error, "a group of {} frames was not committed", group.len());
            staged::refuse(group, &error);
            return match error {
                CommitError::Refused { .. } => Ok(()),
                CommitError::Stopped(stopped) => Err(Failure::run(stopped)),
            };
        }
        self.marks.add(group.iter().map(Staged::mark));
        let mut answers = Vec::with_capacity(group.len());
        for staged in group {
            match staged {
                Staged::Bucket(mark, rows, replies) => {
                    let (orders, dead_letters) = rows.counts();
                    let placed = Placed {
                        batch: rows.origin().batch,
                        first_seq: mark.seq,
                        orders,
                        dead_letters,
                    };
                    self.arrivals.note(Time::from_nanos(mark.time), mark.seq);
                    match rows {
                        Rows::Decoded(bucket) => self.fold.bucket(mark, *bucket),
                        Rows::Encoded(head, _) => {
                            self.fold.passed(mark, head.origin.producer, placed);
                        }
                    }
                    answers.push((replies, placed));
                }
                Staged::Clear(mark, reply) => {
                    self.fold.clear(mark);
                    let _ = reply.send(Ok(mark.seq));
                }
                Staged::Config(mark, config, reply) => {
                    self.fold.config(mark, &config).map_err(Failure::run)?;
                    self.live.show_config(&config);
                    let _ = reply.send(Ok(mark.seq));
                }
            }
        }
        self.tell_hits()?;
        self.published.send_replace(self.journal.durable_seq());
        self.hits_through.send_replace(self.fold.hits_through());
        for (replies, placed) in answers {
            for (number, reply) in replies.into_iter().enumerate() {
                let duplicate = number > 0;
                let _ = reply.send(Ok(Published { placed, duplicate }));
            }
        }
        self.repeat_config()?;
        self.show();
        Ok(())
    }

    /// Puts what this process's engine found into the log of hits.
    pub(super) fn tell_hits(&mut self) -> Result<(), Failure> {
        let (Some(log), Some(hits)) = (&mut self.hits, self.fold.take_found()) else {
            return Ok(());
        };
        let new = log.found(self.fold.share(), self.fold.last().last_seq(), hits)?;
        self.fold.hits_elsewhere(log.watermark(), new);
        Ok(())
    }

    /// A process may have ended after it began a segment and before it told the configuration in it: that
    /// is done now, or behind the first rows that come, as it would have been done.
    pub(super) fn tell_last_segment(&mut self, config: &DetectConfig) -> Result<(), Failure> {
        let first = self.journal.last_segment_seq();
        let mut reader = self.journal.reader(first).map_err(Failure::run)?;
        let mut is_empty = true;
        while let Some(frame) = reader.next_frame().map_err(Failure::run)? {
            if frame.kind == frame_kind::DETECTOR_CONFIG {
                return Ok(());
            }
            is_empty = false;
        }
        if is_empty {
            self.segments = self.segments.saturating_sub(1);
            return Ok(());
        }
        self.write_config(config)
    }

    /// Each segment tells the configuration in force, so that the older ones can be deleted.
    fn repeat_config(&mut self) -> Result<(), Failure> {
        if self.journal.segments() == self.segments {
            return Ok(());
        }
        self.segments = self.journal.segments();
        match self.fold.config_seen().cloned() {
            Some(config) => self.write_config(&config),
            None => Ok(()),
        }
    }

    fn append_config(&mut self, config: &DetectConfig) -> Result<FrameMark, AppendError> {
        self.encoded.clear();
        let json = config.canonical();
        encode_config(&DetectorConfig { json }, &mut self.encoded);
        let time = clock::now().nanos();
        let kind = frame_kind::DETECTOR_CONFIG;
        let seq = self.journal.append(kind, 1, time, &self.encoded)?;
        Ok(FrameMark {
            seq,
            count: 1,
            time,
        })
    }

    pub(super) fn write_config(&mut self, config: &DetectConfig) -> Result<(), Failure> {
        let mark = self.append_config(config).map_err(Failure::run)?;
        match self.journal.commit() {
            Ok(()) => {
                self.marks.add(std::iter::once(mark));
                self.fold.config(mark, config).map_err(Failure::run)?;
                self.published.send_replace(self.journal.durable_seq());
                self.hits_through.send_replace(self.fold.hits_through());
                Ok(())
            }
            // A repetition is not worth stopping for: the next segment has another.
            Err(error) if error.is_retryable() && self.fold.config_seen() == Some(config) => Ok(()),
            Err(error) => Err(Failure::run(error)),
        }
    }

    fn retain(&mut self, retention: Retention) {
        let now = clock::now();
        let keep_from_seq = retention
            .keep_from_seq
            .min(self.arrivals.first_to_keep(now));
        match self.journal.retain(
            &Retention {
                keep_from_seq,
                ..retention
            },
            now.nanos(),
        ) {
            Ok(report) if report.segments_deleted > 0 => tracing::info!(
                segments = report.segments_deleted,
                bytes = report.bytes_deleted,
                first_seq = report.first_seq,
                "old journal segments deleted"
            ),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "old journal segments were not deleted"),
        }
        let kept = Retention {
            keep_from_seq,
            ..retention
        };
        if let Some(Err(error)) = self.hits.as_mut().map(|hits| hits.retain(&kept)) {
            tracing::error!(%error, "old hits were not deleted");
        }
        self.segments = self.journal.segments();
    }

    pub(super) fn show(&mut self) {
        let metrics = &self.metrics;
        show(&self.fold, &self.live, metrics, &mut self.shown);
        metrics.journal_bytes.set(gauge(self.journal.bytes()));
        metrics.journal_segments.set(gauge(self.journal.segments()));
        metrics.journal_seq.set(gauge(self.journal.durable_seq()));
    }
}

enum Stage {
    /// Where, and how many bytes.
    Appended(FrameMark, usize),
    Known(Placed),
}

fn append_error(error: AppendError) -> PublishError {
    match error {
        AppendError::Stopped(_) => PublishError::Stopped(error.to_string()),
        AppendError::GroupFull { .. } => PublishError::Refused(error.to_string()),
        _ => PublishError::Invalid(error.to_string()),
    }
}
