//! Reading frames in order, from the disk, beside a writer or after it.
//! Invariant: frames come whole, checked, in sequence and each once; a reader of this process never
//! shows a frame that is not committed, whatever its buffer had seen of the file before. Frames before
//! the first one that is wanted are passed over by their headers: damage in them is reported where it
//! keeps a wanted frame from being found.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dir::{self, Named};
use crate::error::{ReadError, ScanError};
use crate::format::{FRAME_HEADER, FrameHeader};
use crate::judge::{self, Verdict};
use crate::scan::{self, Start, Step, Window};
use crate::storage::{Disk, Storage};
use crate::tail::{Run, Tail};

/// How often a segment that retention deletes while it is being opened is looked for again.
const OPEN_ATTEMPTS: u32 = 16;

/// One frame, lent until the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRef<'a> {
    /// Its first sequence number.
    pub seq: u64,
    /// How many sequence numbers it takes.
    pub count: u32,
    /// The writer's own.
    pub kind: u16,
    /// The writer's own, nanoseconds UTC.
    pub time: i64,
    /// The bytes as they were appended.
    pub payload: &'a [u8],
    /// The whole frame as it stands in the file, checksum and header first: what [`decode_frame`]
    /// reads.
    pub bytes: &'a [u8],
}

/// Reads the frame at the front of `bytes`, as a [`FrameRef`] carries it: for who got frames from
/// elsewhere than a file. `None` while it is not whole. Its length is `frame.bytes.len()`.
///
/// # Errors
/// Why no frame begins there, or that its checksum does not match.
pub fn decode_frame(bytes: &[u8]) -> Result<Option<FrameRef<'_>>, &'static str> {
    match whole_frame(bytes)? {
        Some((header, frame)) if !header.crc_matches(frame) => {
            Err("the checksum of the frame does not match")
        }
        found => Ok(found.map(|(header, frame)| FrameRef::of(&header, frame))),
    }
}

/// The same of bytes whose checksum was looked at since they came: it is not looked at again.
///
/// # Errors
/// Why no frame begins there.
pub fn checked_frame(bytes: &[u8]) -> Result<Option<FrameRef<'_>>, &'static str> {
    let found = whole_frame(bytes)?;
    Ok(found.map(|(header, frame)| FrameRef::of(&header, frame)))
}

fn whole_frame(bytes: &[u8]) -> Result<Option<(FrameHeader, &[u8])>, &'static str> {
    if bytes.len() < FRAME_HEADER {
        return Ok(None);
    }
    let header = FrameHeader::decode(bytes)?;
    let frame = bytes.get(..header.frame_bytes());
    Ok(frame.map(|frame| (header, frame)))
}

impl<'a> FrameRef<'a> {
    fn of(header: &FrameHeader, bytes: &'a [u8]) -> Self {
        let &FrameHeader {
            seq,
            count,
            kind,
            time,
            ..
        } = header;
        let payload = bytes.get(FRAME_HEADER..).unwrap_or_default();
        Self {
            seq,
            count,
            kind,
            time,
            payload,
            bytes,
        }
    }
}

/// Makes readers while the [`Journal`](crate::Journal) is at work elsewhere.
#[derive(Debug, Clone)]
pub struct Readers {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) durable: Arc<AtomicU64>,
    pub(crate) tail: Tail,
}

impl Readers {
    /// As [`Journal::reader`](crate::Journal::reader).
    ///
    /// # Errors
    /// [`ReadError::Gone`] if retention has deleted `from_seq`.
    pub fn reader(&self, from_seq: u64) -> Result<Reader, ReadError> {
        let durable = Some(Arc::clone(&self.durable));
        Reader::new(Arc::clone(&self.storage), &self.dir, from_seq, durable)
    }

    /// Committed frames from memory: from the one that holds `from_seq` on, until there are about
    /// `bytes_max` bytes. `None` when they are not there (any more): then a [`Reader`] has them.
    #[must_use]
    pub fn live(&self, from_seq: u64, bytes_max: usize) -> Option<Run> {
        self.tail.from(from_seq, bytes_max)
    }

    /// Whether [`live`](Self::live) gives frames from here on to a reader that keeps up.
    #[must_use]
    pub fn is_near(&self, seq: u64) -> bool {
        self.tail.is_near(seq)
    }

    /// The last sequence number that is committed; one less than the first if there is none.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.durable.load(Ordering::Acquire).saturating_sub(1)
    }

    /// The first sequence number that can be read; one more than the last if there is none.
    ///
    /// # Errors
    /// [`ReadError::Io`] if the directory cannot be read.
    pub fn first_seq(&self) -> Result<u64, ReadError> {
        let segments = dir::list(self.storage.as_ref(), &self.dir)?;
        let first = segments.first().map(|first| first.first_seq);
        Ok(first.unwrap_or(self.durable_seq() + 1))
    }
}

/// Reads a journal in order.
#[derive(Debug)]
pub struct Reader {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    /// The next sequence number that is wanted.
    from_seq: u64,
    /// Set in the writer's process: the sequence number that must not be reached.
    durable: Option<Arc<AtomicU64>>,
    cursor: Option<Cursor>,
}

/// A place in a segment.
#[derive(Debug)]
struct Cursor {
    segment: Named,
    window: Window,
    /// The sequence number of the frame at the front of the window.
    next_seq: u64,
    /// The frame that was passed over last: its length is believed until something is wrong behind it.
    passed: Option<Passed>,
    /// Whether frames may be passed over unread.
    passing: bool,
    /// `durable` when the bytes in the window were read: what is beyond may have been rewritten since.
    trusted_to: u64,
}

/// A frame that was passed over.
#[derive(Debug, Clone, Copy)]
struct Passed {
    position: u64,
    seq: u64,
}

impl Reader {
    /// A reader for another process than the writer's, or for a journal without a writer; it takes
    /// no lock and changes nothing. The first frame returned is the one that holds `from_seq` (0
    /// counts as 1).
    ///
    /// Beside a writer it may show frames a moment before their commit returns, even such that the
    /// writer then takes back because the disk is full; in the writer's process use
    /// [`Journal::reader`](crate::Journal::reader), which does not.
    ///
    /// # Errors
    /// [`ReadError::Gone`] if the journal begins after `from_seq`, [`ReadError::Io`] if there is no
    /// such directory.
    pub fn open(dir: &Path, from_seq: u64) -> Result<Self, ReadError> {
        Self::new(Arc::new(Disk), dir, from_seq, None)
    }

    fn new(
        storage: Arc<dyn Storage>,
        dir: &Path,
        from_seq: u64,
        durable: Option<Arc<AtomicU64>>,
    ) -> Result<Self, ReadError> {
        let segments = dir::list(storage.as_ref(), dir)?;
        let reader = Self {
            storage,
            dir: dir.to_owned(),
            from_seq: from_seq.max(1),
            durable,
            cursor: None,
        };
        reader.check_not_gone(&segments)?;
        Ok(reader)
    }

    /// The next frame, or `None` at the end of what is durable: ask again later.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] with the place; [`ReadError::Gone`] if retention overtook this reader.
    /// The reader stays where it was.
    pub fn next_frame(&mut self) -> Result<Option<FrameRef<'_>>, ReadError> {
        let Some(header) = self.advance()? else {
            return Ok(None);
        };
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        cursor.next_seq = header.next_seq();
        self.from_seq = header.next_seq();
        let bytes = cursor.window.take(header.frame_bytes());
        Ok(Some(FrameRef::of(&header, bytes)))
    }

    /// The sequence number that is wanted next: where a new reader would go on.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.from_seq
    }

    /// Goes on at another sequence number. Forward, what lies between is passed over from where it
    /// stands, by headers; backward, it looks from the segment's beginning.
    pub fn seek(&mut self, seq: u64) {
        if seq < self.from_seq {
            self.cursor = None;
        }
        self.from_seq = seq.max(1);
    }

    /// Lets go of its file until the next frame is asked for, so that one that rests keeps no deleted
    /// segment on the disk.
    pub fn rest(&mut self) {
        self.cursor = None;
    }

    /// Brings the frame that holds `from_seq` to the front of the window.
    fn advance(&mut self) -> Result<Option<FrameHeader>, ReadError> {
        loop {
            // Loaded before anything is read, so it holds for what is read.
            let limit = self
                .durable
                .as_ref()
                .map_or(u64::MAX, |durable| durable.load(Ordering::Acquire));
            if self.from_seq >= limit {
                return Ok(None);
            }
            let cursor = match &mut self.cursor {
                Some(cursor) => cursor,
                none => {
                    match open_cursor(self.storage.as_ref(), &self.dir, self.from_seq, limit)? {
                        Some(cursor) => none.insert(cursor),
                        None => return Ok(None),
                    }
                }
            };
            if cursor.next_seq >= cursor.trusted_to {
                cursor.window.forget();
                cursor.trusted_to = limit;
            }
            if cursor.pass_over(self.from_seq)? {
                continue;
            }
            match cursor.step()? {
                Step::Frame(header) if header.next_seq() <= self.from_seq => cursor.skip(&header),
                Step::Frame(header) => {
                    cursor.passed = None; // a sound frame where the one before it said
                    return Ok(Some(header));
                }
                _ if cursor.doubt_passed() => {}
                Step::End | Step::Incomplete | Step::Bad(_) if !self.look_again()? => {
                    return Ok(None);
                }
                Step::End | Step::Incomplete | Step::Bad(_) => {}
            }
        }
    }

    /// No frame was found: decides between the next segment or a frame that came meanwhile (`true`),
    /// nothing there yet (`false`), and damage.
    fn look_again(&mut self) -> Result<bool, ReadError> {
        // The list comes before the second look: if it shows a later segment, this one is complete.
        let segments = dir::list(self.storage.as_ref(), &self.dir)?;
        let Some(cursor) = &mut self.cursor else {
            return Ok(true);
        };
        cursor.window.forget();
        let last = segments
            .last()
            .is_none_or(|last| last.first_seq <= cursor.segment.first_seq);
        let beside_writer = self.durable.is_some();
        match cursor.step()? {
            Step::Frame(_) => Ok(true),
            Step::End if !last => self.next_segment(&segments),
            Step::End if beside_writer => Err(cursor
                .damaged("the file ends before what was committed")
                .into()),
            Step::End => {
                // The writer may remove a segment that it only began: look for it by name again.
                if cursor.next_seq == cursor.segment.first_seq {
                    self.cursor = None;
                }
                Ok(false)
            }
            trouble => {
                let reason = match trouble {
                    Step::Bad(reason) => reason,
                    _ => "the frame reaches past the end of the file",
                };
                if last && !beside_writer {
                    return cursor.torn_or_damaged(reason).map(|()| false);
                }
                Err(cursor.damaged(reason).into())
            }
        }
    }

    /// The segment at the cursor is complete: goes to the one that follows it.
    fn next_segment(&mut self, segments: &[Named]) -> Result<bool, ReadError> {
        self.check_not_gone(segments)?;
        let Some(cursor) = &mut self.cursor else {
            return Ok(true);
        };
        let (here, after) = (cursor.segment.first_seq, cursor.next_seq);
        let follows = |segment: &Named| {
            // While the beginning is still being looked for, segments may be skipped unread.
            let skipped = after < self.from_seq && segment.first_seq > after;
            segment.first_seq > here
                && segment.first_seq <= self.from_seq
                && (segment.first_seq == after || skipped)
        };
        if segments.iter().any(follows) {
            self.cursor = None;
            return Ok(true);
        }
        let reason = format!("the segment that begins with seq {after} is missing behind it");
        Err(cursor.damaged(&reason).into())
    }

    fn check_not_gone(&self, segments: &[Named]) -> Result<(), ReadError> {
        match segments.first() {
            Some(first) if first.first_seq > self.from_seq => {
                let (dir, asked) = (self.dir.clone(), self.from_seq);
                Err(ReadError::Gone {
                    dir,
                    asked,
                    first_seq: first.first_seq,
                })
            }
            _ => Ok(()),
        }
    }
}

/// Opens the segment that holds `from_seq`, or the last one. `None` if there is none yet.
fn open_cursor(
    storage: &dyn Storage,
    dir: &Path,
    from_seq: u64,
    limit: u64,
) -> Result<Option<Cursor>, ReadError> {
    for attempt in 1..=OPEN_ATTEMPTS {
        let segments = dir::list(storage, dir)?;
        let Some(first) = segments.first() else {
            return Ok(None);
        };
        let first_seq = first.first_seq;
        let at = segments.partition_point(|segment| segment.first_seq <= from_seq);
        let last = at == segments.len();
        let Some(segment) = at
            .checked_sub(1)
            .and_then(|at| segments.into_iter().nth(at))
        else {
            return Err(ReadError::Gone {
                dir: dir.to_owned(),
                asked: from_seq,
                first_seq,
            });
        };
        let file = match storage.read(&segment.path) {
            Ok(file) => file,
            // Deleted between the list and here: the new list tells what to do.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < OPEN_ATTEMPTS => {
                continue;
            }
            Err(error) => return Err(ScanError::io("open", &segment.path)(error).into()),
        };
        let mut window = Window::new(file);
        if scan::start(&mut window, &segment.path, segment.first_seq)? == Start::Unfinished {
            if last {
                return Ok(None);
            }
            let reason = "the segment header is missing, though later segments exist".to_owned();
            let seq = segment.first_seq;
            return Err(ReadError::Damaged {
                segment: segment.path,
                offset: 0,
                seq,
                reason,
            });
        }
        let next_seq = segment.first_seq;
        return Ok(Some(Cursor {
            segment,
            window,
            next_seq,
            passed: None,
            passing: true,
            trusted_to: limit,
        }));
    }
    Ok(None)
}

impl Cursor {
    fn step(&mut self) -> Result<Step, ScanError> {
        scan::step(&mut self.window, self.next_seq)
            .map_err(ScanError::io("read", &self.segment.path))
    }

    fn skip(&mut self, header: &FrameHeader) {
        self.next_seq = header.next_seq();
        self.window.take(header.frame_bytes());
    }

    /// Goes back to the frame that was passed over last, so that its checksum is looked at; whether
    /// there is one. A frame that begins where another said that it ends vouches for that one's
    /// length; behind the last one nothing does.
    fn doubt_passed(&mut self) -> bool {
        let Some(passed) = self.passed.take() else {
            return false;
        };
        self.passing = false;
        self.next_seq = passed.seq;
        self.window.jump(passed.position);
        true
    }

    /// Moves over the next frame if all of it lies before `from_seq`; whether it did.
    fn pass_over(&mut self, from_seq: u64) -> Result<bool, ScanError> {
        if !self.passing {
            return Ok(false);
        }
        let here = Passed {
            position: self.window.position(),
            seq: self.next_seq,
        };
        let passed = scan::pass_over(&mut self.window, self.next_seq, from_seq)
            .map_err(ScanError::io("read", &self.segment.path))?;
        if let Some(header) = passed {
            self.next_seq = header.next_seq();
            self.passed = Some(here);
        }
        Ok(passed.is_some())
    }

    fn damaged(&self, reason: &str) -> ScanError {
        ScanError::Damaged {
            segment: self.segment.path.clone(),
            offset: self.window.position(),
            seq: self.next_seq,
            reason: reason.to_owned(),
        }
    }

    /// A torn tail is what a writer that is at work, or was killed, leaves: its next start cuts it.
    fn torn_or_damaged(&self, reason: &str) -> Result<(), ReadError> {
        let path = &self.segment.path;
        let (file, offset) = (self.window.file(), self.window.position());
        match judge::judge(file, offset, self.next_seq).map_err(ScanError::io("read", path))? {
            Verdict::Torn => Ok(()),
            Verdict::Damaged(behind) => Err(self.damaged(&format!("{reason}, {behind}")).into()),
        }
    }
}
