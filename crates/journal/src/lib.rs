//! The durable log: segment files of checksummed frames with sequence numbers. It knows nothing of
//! markets: a payload is opaque bytes with a `kind`, a `count` and a `time`.
//!
//! What it owns: the files of one directory (`{first_seq:020}.seg`, `LOCK`, `torn-*.bin`) and
//! nothing else. The layout of the bytes is format version 1, fixed at the head of `src/format.rs`.
//!
//! Invariants:
//! - Sequence numbers start at 1, have no gap and are never given twice to acknowledged frames.
//! - A frame is visible to a [`Journal::reader`] only after [`Journal::commit`] returned `Ok` for it.
//! - A commit that fails keeps nothing of its group; one whose outcome cannot be known stops the
//!   journal for good ([`Stopped`]) instead of guessing.
//! - A payload is returned exactly as it was appended or not at all.
//! - Recovery cuts only what an interrupted write explains, keeps the cut bytes in a side file and
//!   says so; any other damage stops the start.
//!
//! ```
//! use tapewatch_journal::{Journal, Options, Reader};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let (mut journal, recovery) = Journal::open(dir.path(), Options::default())?;
//! assert_eq!(recovery.next_seq, 1);
//! let seq = journal.append(7, 2, 1_700_000_000_000_000_000, b"two rows")?;
//! journal.commit()?; // from here on they may be published
//! let mut reader = journal.reader(seq)?;
//! let frame = reader.next_frame()?.ok_or("one frame was committed")?;
//! assert_eq!((frame.seq, frame.count, frame.payload), (1, 2, &b"two rows"[..]));
//! # Ok(())
//! # }
//! ```

mod commit;
mod dir;
mod error;
mod format;
mod fsync;
mod judge;
mod options;
mod reader;
mod recovery;
mod retention;
mod scan;
mod storage;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{AppendError, CommitError, OpenError, ReadError, RetainError, Stopped};
pub use format::FRAME_BYTES_LIMIT;
pub use options::{FsyncPolicy, FsyncPolicyError, GROUP_BYTES_MAX, Options};
pub use reader::{FrameRef, Reader, Readers, checked_frame, decode_frame};
pub use recovery::{Recovery, TornTail};
pub use retention::{Retention, RetentionReport};
pub use storage::{Disk, Storage, StoredFile};
pub use tail::Run;
pub use writer::Journal;
