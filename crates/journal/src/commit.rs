//! Committing: writing a group, beginning segments, and taking back what could not be written.
//! Invariant: after every call the active segment holds exactly the acknowledged frames, or the
//! journal is stopped. `durable` moves only after a group is written as the policy asks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crate::dir;
use crate::error::{CommitError, Stopped};
use crate::format::{self, SEGMENT_HEADER};
use crate::options::FsyncPolicy;
use crate::retention::Segment;
use crate::storage::{Storage, StoredFile, write_all_at};
use crate::writer::Journal;

/// The memory of a group that was larger than this is given back after its commit.
const GROUP_BYTES_KEPT: usize = 8 << 20;

impl Journal {
    /// Writes all appended frames with one write and makes them durable as the policy says. After
    /// `Ok` they may be published; readers see them. Without appended frames it does nothing.
    ///
    /// # Errors
    /// [`CommitError::Refused`]: the group was taken back, append and commit it again when the cause
    /// is gone. [`CommitError::Stopped`]: the journal must be opened again.
    pub fn commit(&mut self) -> Result<(), CommitError> {
        self.check_running()?;
        if self.group.is_empty() {
            return Ok(());
        }
        let result = self.write_group();
        if result.is_ok() {
            let first_seq = self.durable.load(Ordering::Acquire);
            self.tail
                .push(first_seq, self.next_seq, &mut self.group, &self.durable);
        }
        self.next_seq = self.durable.load(Ordering::Acquire);
        self.group.clear();
        self.group.shrink_to(GROUP_BYTES_KEPT);
        self.group_newest = None;
        result
    }

    /// Forces everything committed to stable storage now, whatever the policy: for a clean stop.
    ///
    /// # Errors
    /// [`Stopped`] if the sync fails, or an earlier one did.
    pub fn sync(&mut self) -> Result<(), Stopped> {
        self.check_running()?;
        self.sync_closed()?;
        self.sync_active()
    }

    /// Forces the segments that were closed without it, and their names.
    fn sync_closed(&mut self) -> Result<(), Stopped> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let storage = Arc::clone(&self.options.storage);
        for path in std::mem::take(&mut self.unsynced) {
            let synced = match storage.open(&path) {
                // Retention has deleted it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                opened => opened.and_then(|file| file.sync()),
            };
            synced.map_err(|error| self.stop_after_sync(&path, &error.to_string()))?;
        }
        let dir = self.dir.clone();
        storage
            .sync_dir(&dir)
            .map_err(|error| self.stop_after_sync(&dir, &error.to_string()))
    }

    /// The active segment with its file's path; the list is never empty.
    fn active_segment(&self) -> (&Path, u64) {
        self.segments
            .back()
            .map_or((&self.dir, 0), |segment| (&segment.path, segment.bytes))
    }

    fn write_group(&mut self) -> Result<(), CommitError> {
        let group_bytes = self.group.len() as u64;
        let (_, bytes) = self.active_segment();
        let room = self.options.segment_bytes_max.saturating_sub(bytes);
        if group_bytes > room && bytes > SEGMENT_HEADER as u64 {
            self.begin_segment()?;
        }
        let (path, offset) = self.active_segment();
        let path = path.to_owned();
        if let Err(source) = write_all_at(self.active.as_ref(), offset, &self.group) {
            return Err(match self.take_back(offset) {
                Ok(()) => self.refused("write", &path, offset, source),
                Err(undo) => self.stop_after_undo(&path, offset, &source, &undo).into(),
            });
        }
        if self.options.fsync == FsyncPolicy::Always
            && let Err(error) = self.active.sync()
        {
            // What reached the disk is unknown, so the journal stops. Taking the group back as well
            // as possible keeps the next start from finding frames that were never acknowledged.
            let undo = match self.take_back(offset) {
                Ok(()) => String::new(),
                Err(undo) => format!(", nor can it be taken back: {undo}"),
            };
            return Err(self
                .stop_after_sync(&path, &format!("{error}{undo}"))
                .into());
        }
        self.group_written(&path, group_bytes);
        Ok(())
    }

    /// Cuts the active segment back to what is acknowledged, for good: bytes that a failed write left
    /// must not come back after a power loss, whatever the policy: whoever was refused may have sent
    /// them again.
    fn take_back(&self, offset: u64) -> io::Result<()> {
        self.active.truncate(offset)?;
        self.active.sync()
    }

    fn group_written(&mut self, path: &Path, group_bytes: u64) {
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes = segment.bytes.saturating_add(group_bytes);
            segment.next_seq = self.next_seq;
            segment.newest_time = segment.newest_time.max(self.group_newest);
        }
        if self.options.fsync == FsyncPolicy::Always {
            self.synced = self.next_seq;
        }
        if let Some(flusher) = &self.flusher {
            flusher.written(&self.active, path, self.next_seq);
        }
    }

    /// Closes the active segment and begins the next one, which starts with the waiting group.
    fn begin_segment(&mut self) -> Result<(), CommitError> {
        if self.options.fsync != FsyncPolicy::Os {
            self.sync_active()?;
        }
        let first_seq = self.durable.load(Ordering::Acquire);
        let path = dir::segment_path(&self.dir, first_seq);
        let file = match create_segment(self.options.storage.as_ref(), &path, first_seq) {
            Ok(file) => file,
            Err(Failure {
                action,
                source,
                undo: Ok(()),
            }) => return Err(self.refused(action, &path, 0, source)),
            Err(Failure {
                source,
                undo: Err(undo),
                ..
            }) => {
                return Err(self.stop_after_undo(&path, 0, &source, &undo).into());
            }
        };
        if self.options.fsync != FsyncPolicy::Os
            && let Err(error) = file
                .sync()
                .and_then(|()| self.options.storage.sync_dir(&self.dir))
        {
            return Err(self.stop_after_sync(&path, &error.to_string()).into());
        }
        if self.options.fsync == FsyncPolicy::Os {
            let closed = self.active_segment().0.to_owned();
            self.unsynced.push(closed);
        }
        let closed = std::mem::replace(&mut self.active, file);
        if let Some(older) = self.before.replace(closed) {
            // Beside what goes on: it takes milliseconds. A thread that cannot be had costs memory.
            let forget = thread::Builder::new().name("journal-forget".to_owned());
            let _ = forget.spawn(move || older.forget());
        }
        self.segments.push_back(Segment::fresh(path, first_seq));
        Ok(())
    }

    fn sync_active(&mut self) -> Result<(), Stopped> {
        if let Some(flusher) = &self.flusher {
            flusher.quiesce();
            self.check_running()?;
        }
        if let Err(error) = self.active.sync() {
            let path = self.active_segment().0.to_owned();
            return Err(self.stop_after_sync(&path, &error.to_string()));
        }
        self.synced = self.durable.load(Ordering::Acquire);
        if let Some(flusher) = &self.flusher {
            flusher.synced(self.synced);
        }
        Ok(())
    }

    fn refused(
        &self,
        action: &'static str,
        path: &Path,
        offset: u64,
        source: io::Error,
    ) -> CommitError {
        let first_seq = self.durable.load(Ordering::Acquire);
        let last_seq = self.next_seq.saturating_sub(1);
        CommitError::Refused {
            action,
            segment: path.to_owned(),
            offset,
            first_seq,
            last_seq,
            source,
        }
    }

    fn stop_after_sync(&mut self, path: &Path, error: &str) -> Stopped {
        self.stop(format!("the fsync of {} failed: {error}", path.display()))
    }

    fn stop_after_undo(
        &mut self,
        path: &Path,
        offset: u64,
        error: &io::Error,
        undo: &io::Error,
    ) -> Stopped {
        let path = path.display();
        self.stop(format!(
            "writing {path} at offset {offset} failed: {error}, nor can it be taken back: {undo}"
        ))
    }
}

impl Segment {
    pub(crate) fn fresh(path: PathBuf, first_seq: u64) -> Self {
        Self {
            path,
            first_seq,
            next_seq: first_seq,
            bytes: SEGMENT_HEADER as u64,
            newest_time: None,
        }
    }
}

/// A segment that could not be begun, and whether the attempt left nothing behind.
pub(crate) struct Failure {
    pub(crate) action: &'static str,
    pub(crate) source: io::Error,
    undo: io::Result<()>,
}

pub(crate) fn create_segment(
    storage: &dyn Storage,
    path: &Path,
    first_seq: u64,
) -> Result<Arc<dyn StoredFile>, Failure> {
    let file = storage.create(path).map_err(|source| Failure {
        action: "create",
        source,
        undo: Ok(()),
    })?;
    match write_all_at(file.as_ref(), 0, &format::encode_segment_header(first_seq)) {
        Ok(()) => Ok(file),
        Err(source) => Err(Failure {
            action: "write",
            source,
            undo: storage.remove(path),
        }),
    }
}
