//! Deleting old segments. Invariant: only whole segments, oldest first, never the active one and
//! never one that holds a sequence number the caller still needs; so what is left has no gap, even
//! if the machine stops in the middle.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::RetainError;
use crate::options::FsyncPolicy;
use crate::writer::Journal;

/// A segment file, its sound part.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) first_seq: u64,
    /// The sequence number after its last frame.
    pub(crate) next_seq: u64,
    pub(crate) bytes: u64,
    /// The largest frame time in it; `None` if it holds no frame.
    pub(crate) newest_time: Option<i64>,
}

/// What to keep. The oldest segment goes if it breaks any limit that is set; the default sets none
/// and protects everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Keep at most this many bytes of segment files.
    pub bytes_max: Option<u64>,
    /// Keep segments whose newest frame time is at most this long before now.
    pub age_max: Option<Duration>,
    /// Never delete a segment that holds this or any later sequence number: the least that a
    /// consumer of the journal still needs after a restart.
    pub keep_from_seq: u64,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionReport {
    /// Segment files deleted.
    pub segments_deleted: u64,
    /// Their bytes.
    pub bytes_deleted: u64,
    /// The first sequence number that can still be read.
    pub first_seq: u64,
}

impl Journal {
    /// Deletes the oldest segments that break `retention`, as of `now_ns` (on the clock of the frame
    /// times, nanoseconds UTC). Frames that are appended but not committed are not touched.
    ///
    /// # Errors
    /// [`RetainError`] if a file cannot be deleted; what was deleted before stays deleted.
    pub fn retain(
        &mut self,
        retention: &Retention,
        now_ns: i64,
    ) -> Result<RetentionReport, RetainError> {
        self.check_running()?;
        let mut report = RetentionReport {
            segments_deleted: 0,
            bytes_deleted: 0,
            first_seq: self.first_seq(),
        };
        while let Some(segment) = self.oldest_to_delete(retention, now_ns) {
            // Oldest first: on a file system that keeps the order of its changes, a crash in
            // between leaves a journal that begins later, never one with a gap.
            (self.options.storage.remove(&segment.path)).map_err(|source| RetainError::Delete {
                segment: segment.path.clone(),
                source,
            })?;
            self.segments.pop_front();
            report.segments_deleted = report.segments_deleted.saturating_add(1);
            report.bytes_deleted = report.bytes_deleted.saturating_add(segment.bytes);
            report.first_seq = self.first_seq();
        }
        if report.segments_deleted > 0 && self.options.fsync != FsyncPolicy::Os {
            let dir = &self.dir;
            (self.options.storage.sync_dir(dir)).map_err(|source| RetainError::SyncDir {
                dir: dir.clone(),
                source,
            })?;
        }
        Ok(report)
    }

    fn oldest_to_delete(&self, retention: &Retention, now_ns: i64) -> Option<Segment> {
        let oldest = self.segments.front().filter(|_| self.segments.len() > 1)?;
        let needed = oldest.next_seq > retention.keep_from_seq;
        let too_many_bytes = retention.bytes_max.is_some_and(|max| self.bytes() > max);
        let too_old = retention.age_max.is_some_and(|age| {
            let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
            oldest
                .newest_time
                .is_some_and(|newest| newest < now_ns.saturating_sub(age))
        });
        (!needed && (too_many_bytes || too_old)).then(|| oldest.clone())
    }
}
