//! One error enum per operation. Invariant: every message names the file, the place and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The journal refuses all further work: what is on disk can no longer be known without a new
/// [`open`](crate::Journal::open).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the journal stopped at seq {seq}: {reason}; restart the process, which checks what is on disk"
)]
pub struct Stopped {
    /// The first sequence number that was not acknowledged.
    pub seq: u64,
    /// What happened, with the path of the file.
    pub reason: String,
}

/// Why a journal was not opened. Nothing was changed on disk, except that a torn tail may already
/// have been copied to its side file.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another writer holds the directory.
    #[error("the journal in {} is already being written by a process: stop it, or choose another directory", dir.display())]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// An option has a value that cannot work.
    #[error("{problem}")]
    Options {
        /// Which one, and what to choose.
        problem: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried, such as "create".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A segment was written by a newer program.
    #[error("{} has journal format version {found}, this program reads version {known}: use the program that wrote it", segment.display())]
    Version {
        /// The segment file.
        segment: PathBuf,
        /// The version in its header.
        found: u16,
        /// The version that this program knows.
        known: u16,
    },
    /// A segment is damaged in a way that an interrupted write does not explain.
    #[error("{} is damaged at offset {offset} (seq {seq}): {reason}; restore it from a copy, or move it and all later segments away to go on from what is before it", segment.display())]
    Damaged {
        /// The segment file.
        segment: PathBuf,
        /// Byte offset of the first bad frame, or 0 for the segment header.
        offset: u64,
        /// The sequence number that should begin there.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Why a frame was not appended. The journal is as it was before the call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The payload is larger than `frame_bytes_max`.
    #[error(
        "a frame of {bytes} bytes was refused, the limit is {max}: send fewer rows in one frame, or raise frame_bytes_max"
    )]
    FrameTooLarge {
        /// Bytes of the payload.
        bytes: u64,
        /// The limit from the options.
        max: u32,
    },
    /// A frame must take at least one sequence number.
    #[error("a frame with count 0 was refused: a frame takes at least one sequence number")]
    NoCount,
    /// The sequence numbers are used up.
    #[error(
        "a frame of {count} sequence numbers was refused at seq {seq}: there are none left; start a new journal directory"
    )]
    SeqOverflow {
        /// The sequence number that it would have begun with.
        seq: u64,
        /// How many it asked for.
        count: u32,
    },
    /// Too much was appended without a commit.
    #[error(
        "{bytes} bytes wait for a commit and another {more} would pass the limit of {max}: commit, then append again"
    )]
    GroupFull {
        /// Bytes that wait.
        bytes: usize,
        /// Bytes of this frame.
        more: usize,
        /// [`GROUP_BYTES_MAX`](crate::GROUP_BYTES_MAX).
        max: usize,
    },
    /// An earlier failure stopped the journal.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a group was not committed. None of its frames is acknowledged, and their sequence numbers
/// will be given again.
#[derive(Debug, Error)]
pub enum CommitError {
    /// The group could not be written and was taken back: the journal is as it was after the last
    /// good commit. Append the frames again when the cause is gone.
    #[error("cannot {action} {} at offset {offset}: {source}; seq {first_seq} to {last_seq} were taken back and nothing acknowledged is lost{}, then append and commit them again", segment.display(), advice_or_repair(source))]
    Refused {
        /// What was tried, such as "write".
        action: &'static str,
        /// The segment file.
        segment: PathBuf,
        /// Where the group would have begun, in bytes.
        offset: u64,
        /// First sequence number of the group.
        first_seq: u64,
        /// Last sequence number of the group.
        last_seq: u64,
        /// What the system answered.
        source: io::Error,
    },
    /// The outcome cannot be known (an fsync failed, or a failed write could not be taken back).
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl CommitError {
    /// Whether the disk or the quota is full: the group was taken back and may be sent again when
    /// there is room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if is_full(source))
    }

    /// Whether appending and committing again can succeed without a restart.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// The segment that could not be written, if the journal goes on.
    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        match self {
            Self::Refused { segment, .. } => Some(segment),
            Self::Stopped(_) => None,
        }
    }
}

/// Why old segments were not, or not all, deleted. What was deleted before stays deleted, oldest
/// first, so the journal has no gap.
#[derive(Debug, Error)]
pub enum RetainError {
    /// A segment could not be deleted.
    #[error("cannot delete {}: {source}; it stays part of the journal, check the rights of the directory", segment.display())]
    Delete {
        /// The segment file.
        segment: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The deletions were made but could not be forced to disk.
    #[error("cannot sync {} after deleting old segments: {source}; they may come back after a power loss", dir.display())]
    SyncDir {
        /// The journal's directory.
        dir: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// An earlier failure stopped the journal.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a frame was not read. The reader stays where it was.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Retention has deleted what was asked for.
    #[error("seq {asked} is no longer in the journal {}, which begins with seq {first_seq}: read from there, and take what is before it from history", dir.display())]
    Gone {
        /// The journal's directory.
        dir: PathBuf,
        /// The sequence number that was wanted.
        asked: u64,
        /// The first one that can be read.
        first_seq: u64,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried, such as "read".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A segment was written by a newer program.
    #[error("{} has journal format version {found}, this program reads version {known}: use the program that wrote it", segment.display())]
    Version {
        /// The segment file.
        segment: PathBuf,
        /// The version in its header.
        found: u16,
        /// The version that this program knows.
        known: u16,
    },
    /// A segment is damaged.
    #[error("{} is damaged at offset {offset} (seq {seq}): {reason}; restore it from a copy, or read what is before it", segment.display())]
    Damaged {
        /// The segment file.
        segment: PathBuf,
        /// Byte offset of the first bad frame, or 0 for the segment header.
        offset: u64,
        /// The sequence number that should begin there.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
}

/// What can go wrong while segments are looked at; the public errors of opening and reading are
/// made from it.
#[derive(Debug)]
pub(crate) enum ScanError {
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    Version {
        segment: PathBuf,
        found: u16,
    },
    Damaged {
        segment: PathBuf,
        offset: u64,
        seq: u64,
        reason: String,
    },
}

impl ScanError {
    /// For `map_err`: the action and the path that an I/O error belongs to.
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

macro_rules! from_scan_error {
    ($target:ident) => {
        impl From<ScanError> for $target {
            fn from(error: ScanError) -> Self {
                match error {
                    ScanError::Io {
                        action,
                        path,
                        source,
                    } => Self::Io {
                        action,
                        path,
                        source,
                    },
                    ScanError::Version { segment, found } => Self::Version {
                        segment,
                        found,
                        known: crate::format::VERSION,
                    },
                    ScanError::Damaged {
                        segment,
                        offset,
                        seq,
                        reason,
                    } => Self::Damaged {
                        segment,
                        offset,
                        seq,
                        reason,
                    },
                }
            }
        }
    };
}
from_scan_error!(OpenError);
from_scan_error!(ReadError);

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on the disk",
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the file system is read-only: remount it for writing"
        }
        io::ErrorKind::PermissionDenied => "; give this user the right to it",
        io::ErrorKind::NotFound => "; check the path",
        _ => "",
    }
}

fn advice_or_repair(error: &io::Error) -> &'static str {
    match advice(error) {
        "" => "; repair the disk",
        advice => advice,
    }
}
