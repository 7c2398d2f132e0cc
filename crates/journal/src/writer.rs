//! The one writer of a journal: opening, appending, and what it says about itself.
//! Invariant: a frame is encoded once, with the next sequence number, or nothing changes; once the
//! journal is stopped it stays so.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::commit::create_segment;
use crate::dir;
use crate::error::{AppendError, OpenError, ReadError, ScanError, Stopped};
use crate::format::{self, FRAME_HEADER, FrameHeader};
use crate::fsync::Flusher;
use crate::options::{FsyncPolicy, GROUP_BYTES_MAX, Options};
use crate::reader::{Reader, Readers};
use crate::recovery::{self, Found, Recovery};
use crate::retention::Segment;
use crate::storage::{Storage, StoredFile};
use crate::tail::Tail;

/// The writer of a journal directory; there is one at a time, kept so by a lock.
///
/// Dropping it ends the background thread after a last sync (policy `interval`) and forgets frames
/// that were appended but not committed.
pub struct Journal {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    /// Oldest first; the last one is active. Never empty.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) active: Arc<dyn StoredFile>,
    /// The segment before it, if this process wrote it: the system still has it in memory.
    pub(crate) before: Option<Arc<dyn StoredFile>>,
    /// Encoded frames that wait for a commit.
    pub(crate) group: Vec<u8>,
    pub(crate) group_newest: Option<i64>,
    pub(crate) next_seq: u64,
    /// The sequence number after the last acknowledged frame; readers stop before it.
    pub(crate) durable: Arc<AtomicU64>,
    pub(crate) tail: Tail,
    /// Synced below this by the writer itself; the flusher, if there is one, knows more.
    pub(crate) synced: u64,
    pub(crate) flusher: Option<Flusher>,
    /// Segments before the active one that were closed without a sync, which is the policy `os`.
    pub(crate) unsynced: Vec<PathBuf>,
    stopped: Option<Stopped>,
    _lock: Box<dyn Send + Sync>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            dir,
            options,
            next_seq,
            stopped,
            ..
        } = self;
        let mut out = f.debug_struct("Journal");
        out.field("dir", dir)
            .field("options", options)
            .field("next_seq", next_seq);
        out.field("stopped", stopped).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in `dir` for writing, creating it if it is not there. Every frame is read
    /// and checked; a torn tail is cut and reported.
    ///
    /// # Errors
    /// [`OpenError`]: another writer, damage, or a file that cannot be used.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Recovery), OpenError> {
        options.check()?;
        let storage = options.storage.as_ref();
        dir::create(storage, dir)?;
        let lock = dir::lock(storage, dir)?;
        let mut found = recovery::recover(storage, dir)?;
        let next_seq = found.next_seq;
        let active = open_active(storage, dir, &mut found)?;
        // Whatever the policy: a killed process may have left frames that were never synced, and
        // from here on they count as acknowledged.
        active.sync().map_err(ScanError::io("sync", dir))?;
        storage.sync_dir(dir).map_err(ScanError::io("sync", dir))?;
        let flusher = match options.fsync {
            FsyncPolicy::Interval(every) => Some(
                Flusher::spawn(every, next_seq)
                    .map_err(ScanError::io("start the fsync thread for", dir))?,
            ),
            FsyncPolicy::Always | FsyncPolicy::Os => None,
        };
        let recovery = Recovery {
            first_seq: found
                .segments
                .front()
                .map_or(next_seq, |segment| segment.first_seq),
            next_seq,
            frames: found.frames,
            segments: found.segments.len() as u64,
            torn: found.torn,
        };
        let journal = Self {
            dir: dir.to_owned(),
            tail: Tail::new(options.tail_bytes_max),
            options,
            segments: found.segments,
            active,
            before: None,
            group: Vec::new(),
            group_newest: None,
            next_seq,
            durable: Arc::new(AtomicU64::new(next_seq)),
            synced: next_seq,
            flusher,
            unsynced: Vec::new(),
            stopped: None,
            _lock: lock,
        };
        Ok((journal, recovery))
    }

    /// Adds a frame to the group that the next [`commit`](Self::commit) writes, and gives its first
    /// sequence number; it takes `count` of them. `kind`, `time` (nanoseconds UTC, used by retention)
    /// and `payload` are the caller's. Until the commit nobody sees the frame, and if the commit
    /// fails its sequence numbers are given again.
    ///
    /// # Errors
    /// [`AppendError`]; the journal is then as it was before.
    pub fn append(
        &mut self,
        kind: u16,
        count: u32,
        time: i64,
        payload: &[u8],
    ) -> Result<u64, AppendError> {
        self.check_running()?;
        if count == 0 {
            return Err(AppendError::NoCount);
        }
        let max = self.options.frame_bytes_max;
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|length| *length <= max);
        let length = length.ok_or(AppendError::FrameTooLarge {
            bytes: payload.len() as u64,
            max,
        })?;
        let seq = self.next_seq;
        let after = seq
            .checked_add(u64::from(count))
            .ok_or(AppendError::SeqOverflow { seq, count })?;
        let (bytes, more) = (self.group.len(), FRAME_HEADER.saturating_add(payload.len()));
        if bytes > 0 && bytes.saturating_add(more) > GROUP_BYTES_MAX {
            return Err(AppendError::GroupFull {
                bytes,
                more,
                max: GROUP_BYTES_MAX,
            });
        }
        let stable = self.flusher.as_ref().map_or(self.synced, Flusher::stable);
        let header = FrameHeader {
            crc: 0,
            length,
            count,
            kind,
            seq,
            stable,
            time,
        };
        format::encode_frame(&mut self.group, &header, payload);
        self.group_newest = self.group_newest.max(Some(time));
        self.next_seq = after;
        Ok(seq)
    }

    /// A reader inside this process: it never sees more than what is committed. It returns first the
    /// frame that holds `from_seq`, and may be moved to another thread.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if retention has deleted `from_seq`.
    pub fn reader(&self, from_seq: u64) -> Result<Reader, ReadError> {
        self.readers().reader(from_seq)
    }

    /// Makes readers in other threads, as [`Self::reader`] does here.
    #[must_use]
    pub fn readers(&self) -> Readers {
        Readers {
            storage: Arc::clone(&self.options.storage),
            dir: self.dir.clone(),
            durable: Arc::clone(&self.durable),
            tail: self.tail.clone(),
        }
    }

    /// The sequence number that the next append gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The last sequence number that is committed; one less than the first if there is none.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.durable.load(Ordering::Acquire).saturating_sub(1)
    }

    /// The first sequence number that can be read; equals `durable_seq() + 1` if there is none.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.segments
            .front()
            .map_or(self.next_seq, |segment| segment.first_seq)
    }

    /// The sequence number that the last segment begins with.
    #[must_use]
    pub fn last_segment_seq(&self) -> u64 {
        self.segments
            .back()
            .map_or(self.next_seq, |segment| segment.first_seq)
    }

    /// Bytes of all segment files, committed ones only.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments
            .iter()
            .fold(0, |sum, segment| sum.saturating_add(segment.bytes))
    }

    /// How many segment files there are, the active one included.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.segments.len() as u64
    }

    /// Whether it takes work: not after a failure whose outcome cannot be known, also one of the
    /// background thread.
    ///
    /// # Errors
    /// [`Stopped`], with the reason: open it again.
    pub fn check_running(&mut self) -> Result<(), Stopped> {
        if self.stopped.is_none()
            && let Some(reason) = self.flusher.as_ref().and_then(Flusher::failure)
        {
            return Err(self.stop(reason));
        }
        self.stopped.clone().map_or(Ok(()), Err)
    }

    /// From here on every call is refused.
    pub(crate) fn stop(&mut self, reason: String) -> Stopped {
        let stopped = Stopped {
            seq: self.durable.load(Ordering::Acquire),
            reason,
        };
        tracing::error!("{stopped}");
        self.stopped = Some(stopped.clone());
        stopped
    }
}

/// The last segment, ready for writing; a journal that has none gets its first one.
fn open_active(
    storage: &dyn Storage,
    dir: &Path,
    found: &mut Found,
) -> Result<Arc<dyn StoredFile>, ScanError> {
    if let Some(segment) = found.segments.back() {
        let path = &segment.path;
        let file = storage.open(path).map_err(ScanError::io("open", path))?;
        recovery::write_again(storage, found, segment, file.as_ref())?;
        return Ok(file);
    }
    let path = dir::segment_path(dir, found.next_seq);
    let file = create_segment(storage, &path, found.next_seq)
        .map_err(|failure| ScanError::io(failure.action, &path)(failure.source))?;
    found
        .segments
        .push_back(Segment::fresh(path, found.next_seq));
    Ok(file)
}
