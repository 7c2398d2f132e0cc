//! What happens when a journal is opened: every segment is read and checked, and a torn tail is cut.
//! Invariant: either what is left is a sound journal that holds everything before the tear, or the
//! opening is refused with the place of the damage; nothing is cut that was not saved before.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dir::{self, Named};
use crate::error::ScanError;
use crate::judge::{self, Verdict};
use crate::retention::Segment;
use crate::scan::{self, Start, Step, Window};
use crate::storage::{Storage, StoredFile, write_all_at};

/// What opening a journal found. Its `Display` is one line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The first sequence number that can be read; equals `next_seq` if there is none.
    pub first_seq: u64,
    /// The sequence number that the next append gets; 1 for a new journal.
    pub next_seq: u64,
    /// Frames found, all of them checked.
    pub frames: u64,
    /// Segment files.
    pub segments: u64,
    /// The torn tail that was cut, if there was one.
    pub torn: Option<TornTail>,
}

/// The end of an interrupted write, cut off when the journal was opened. No frame in it was
/// acknowledged, beyond what the fsync policy in force allows to be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment that was cut.
    pub segment: PathBuf,
    /// Where it was cut, in bytes; 0 if the file held no whole header and was removed.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// The file that keeps the cut bytes. It may be deleted.
    pub saved_to: PathBuf,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first_seq,
            next_seq,
            frames,
            segments,
            torn,
        } = self;
        write!(f, "journal: {frames} frames in {segments} segments, ")?;
        match next_seq.checked_sub(1).filter(|last| last >= first_seq) {
            Some(last) => write!(f, "seq {first_seq} to {last}")?,
            None => write!(f, "empty, next is seq {next_seq}")?,
        }
        if let Some(TornTail {
            segment,
            offset,
            bytes,
            saved_to,
        }) = torn
        {
            let (segment, saved_to) = (segment.display(), saved_to.display());
            write!(
                f,
                "; cut a torn tail of {bytes} bytes off {segment} at offset {offset}, kept in {saved_to}"
            )?;
        }
        Ok(())
    }
}

/// A sound journal as it is on disk, before the writer takes it over.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) next_seq: u64,
    pub(crate) frames: u64,
    pub(crate) torn: Option<TornTail>,
    /// Everything before this sequence number was forced to the disk, by the word of the last frame.
    stable: u64,
}

/// Checks all segments of `dir` and cuts a torn tail.
pub(crate) fn recover(storage: &dyn Storage, dir: &Path) -> Result<Found, ScanError> {
    let named = dir::list(storage, dir)?;
    let next_seq = named.first().map_or(1, |segment| segment.first_seq);
    let mut found = Found {
        segments: VecDeque::new(),
        next_seq,
        frames: 0,
        torn: None,
        stable: next_seq,
    };
    let last = named.last().cloned();
    for segment in named {
        if segment.first_seq != found.next_seq {
            return Err(missing(segment, found.next_seq));
        }
        let scanned = scan_segment(storage, &segment)?;
        if let Some(trouble) = &scanned.trouble {
            if last.as_ref() != Some(&segment) {
                let reason = format!("{}, though later segments exist", trouble.reason());
                return Err(damaged(&segment, &scanned, reason));
            }
            found.torn = Some(cut(storage, dir, &segment, &scanned, *trouble)?);
        }
        found.next_seq = scanned.next_seq;
        found.stable = scanned.stable.max(found.stable);
        found.frames = found.frames.saturating_add(scanned.frames);
        if scanned.trouble != Some(Trouble::NoHeader) {
            found.segments.push_back(Segment {
                path: segment.path,
                first_seq: segment.first_seq,
                next_seq: scanned.next_seq,
                bytes: scanned.sound_bytes,
                newest_time: scanned.newest_time,
            });
        }
    }
    Ok(found)
}

fn missing(segment: Named, expected: u64) -> ScanError {
    let reason = format!(
        "the segments before it end with seq {}",
        expected.saturating_sub(1)
    );
    ScanError::Damaged {
        segment: segment.path,
        offset: 0,
        seq: segment.first_seq,
        reason,
    }
}

fn damaged(segment: &Named, scanned: &Scanned, reason: String) -> ScanError {
    let segment = segment.path.clone();
    ScanError::Damaged {
        segment,
        offset: scanned.sound_bytes,
        seq: scanned.next_seq,
        reason,
    }
}

/// What one segment holds up to its end or its first bad place.
#[derive(Debug)]
struct Scanned {
    next_seq: u64,
    frames: u64,
    sound_bytes: u64,
    newest_time: Option<i64>,
    /// The most that a frame says was forced to the disk.
    stable: u64,
    trouble: Option<Trouble>,
}

/// Why the sound part of a segment is not the whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NoHeader,
    Incomplete,
    Bad(&'static str),
}

impl Trouble {
    fn reason(self) -> &'static str {
        match self {
            Self::NoHeader => "the segment header is missing",
            Self::Incomplete => "the frame reaches past the end of the file",
            Self::Bad(reason) => reason,
        }
    }
}

fn scan_segment(storage: &dyn Storage, segment: &Named) -> Result<Scanned, ScanError> {
    let file = storage.read(&segment.path);
    let file = file.map_err(ScanError::io("open", &segment.path))?;
    let mut window = Window::new(file);
    let next_seq = segment.first_seq;
    let mut scanned = Scanned {
        next_seq,
        frames: 0,
        sound_bytes: 0,
        newest_time: None,
        stable: 0,
        trouble: None,
    };
    if scan::start(&mut window, &segment.path, segment.first_seq)? == Start::Unfinished {
        scanned.trouble = Some(Trouble::NoHeader);
        return Ok(scanned);
    }
    loop {
        scanned.sound_bytes = window.position();
        match scan::step(&mut window, scanned.next_seq)
            .map_err(ScanError::io("read", &segment.path))?
        {
            Step::Frame(header) => {
                scanned.next_seq = header.next_seq();
                scanned.frames = scanned.frames.saturating_add(1);
                scanned.newest_time = scanned.newest_time.max(Some(header.time));
                scanned.stable = scanned.stable.max(header.stable);
                window.take(header.frame_bytes());
            }
            Step::End => return Ok(scanned),
            Step::Incomplete => scanned.trouble = Some(Trouble::Incomplete),
            Step::Bad(reason) => scanned.trouble = Some(Trouble::Bad(reason)),
        }
        if scanned.trouble.is_some() {
            return Ok(scanned);
        }
    }
}

/// Writes again what the last segment holds beyond what is known to be on stable storage, as it stands
/// there. A process before this one may have ended because an fsync failed: then what that was to force
/// is in the system's memory alone, and reads as if it were on the disk, but no later fsync forces it
/// unless it is written anew.
pub(crate) fn write_again(
    storage: &dyn Storage,
    found: &Found,
    segment: &Segment,
    to: &dyn StoredFile,
) -> Result<(), ScanError> {
    let path = &segment.path;
    let mut window = Window::new(storage.read(path).map_err(ScanError::io("open", path))?);
    scan::start(&mut window, path, segment.first_seq)?;
    let mut next_seq = segment.first_seq;
    while let Some(header) =
        scan::pass_over(&mut window, next_seq, found.stable).map_err(ScanError::io("read", path))?
    {
        next_seq = header.next_seq();
    }
    if next_seq == segment.first_seq {
        window.jump(0); // nor is the header known to be there
    }
    loop {
        let offset = window.position();
        let have = window.fill(1).map_err(ScanError::io("read", path))?;
        if have == 0 {
            return Ok(());
        }
        write_all_at(to, offset, window.take(have)).map_err(ScanError::io("write", path))?;
    }
}

/// Cuts the torn tail of the last segment, or says that it is damage.
fn cut(
    storage: &dyn Storage,
    dir: &Path,
    segment: &Named,
    scanned: &Scanned,
    trouble: Trouble,
) -> Result<TornTail, ScanError> {
    let path = &segment.path;
    let offset = scanned.sound_bytes;
    let headless = trouble == Trouble::NoHeader;
    let file = storage.read(path).map_err(ScanError::io("open", path))?;
    if !headless {
        let verdict = judge::judge(file.as_ref(), offset, scanned.next_seq);
        match verdict.map_err(ScanError::io("read", path))? {
            Verdict::Torn => {}
            Verdict::Damaged(behind) => {
                let reason = format!("{}, {behind}", trouble.reason());
                return Err(damaged(segment, scanned, reason));
            }
        }
    }
    let bytes = file.bytes().map_err(ScanError::io("read", path))?;
    let bytes = bytes.saturating_sub(offset);
    let saved_to = save(storage, dir, file, offset, scanned.next_seq)?;
    if headless {
        storage
            .remove(path)
            .map_err(ScanError::io("remove", path))?;
        storage.sync_dir(dir).map_err(ScanError::io("sync", dir))?;
    } else {
        let file = storage.open(path).map_err(ScanError::io("open", path))?;
        file.truncate(offset)
            .map_err(ScanError::io("truncate", path))?;
        file.sync().map_err(ScanError::io("sync", path))?;
    }
    Ok(TornTail {
        segment: path.clone(),
        offset,
        bytes,
        saved_to,
    })
}

/// Copies the file from `offset` on into a new side file and forces that to disk.
fn save(
    storage: &dyn Storage,
    dir: &Path,
    from: Arc<dyn StoredFile>,
    offset: u64,
    seq: u64,
) -> Result<PathBuf, ScanError> {
    let mut attempt = 1_u32;
    let (path, file) = loop {
        // An earlier tear at the same place keeps its file.
        let again = if attempt == 1 {
            String::new()
        } else {
            format!("-{attempt}")
        };
        let path = dir.join(format!("torn-{seq:020}-{offset}{again}.bin"));
        match storage.create(&path) {
            Ok(file) => break (path, file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                attempt = attempt.saturating_add(1)
            }
            Err(error) => return Err(ScanError::io("save the torn tail to", &path)(error)),
        }
    };
    let copy = || -> io::Result<()> {
        let mut window = Window::new(from);
        window.jump(offset);
        let mut to = 0_u64;
        loop {
            let have = window.fill(1)?;
            if have == 0 {
                break;
            }
            write_all_at(file.as_ref(), to, window.take(have))?;
            to = to.saturating_add(have as u64);
        }
        file.sync()?;
        storage.sync_dir(dir)
    };
    match copy() {
        Ok(()) => Ok(path),
        Err(error) => {
            // A half-written copy is worth nothing and takes the room that is missing.
            let _ = storage.remove(&path);
            Err(ScanError::io("save the torn tail to", &path)(error))
        }
    }
}
