//! The log of a kdb+ tickerplant: a head, then values one after another.
//!
//! Invariant: a message comes out only when all its bytes are there; where the log breaks is the
//! offset of the first byte that belongs to no whole message, so that everything before it can be
//! kept. The reader holds at most one message and what was read ahead of it.

use std::io::{self, Read, Write};

use super::value::Value;
use super::wire::{ByteOrder, Limits, WireError, decode_value, encode_value};

/// What a log begins with: the image of an empty list in a file, whose count is never changed.
pub const HEAD: [u8; 8] = [0xff, 0x01, 0, 0, 0, 0, 0, 0];

/// Bytes read at a time, until a message needs more.
const READ_BYTES: usize = 256 << 10;

/// One message of a log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogMessage {
    /// Its first byte in the log.
    pub offset: u64,
    /// Its number, from 1.
    pub number: u64,
    /// What it says, in q's own logs ``(`upd;`table;columns)``.
    pub value: Value,
}

/// Why a log cannot be read on. What came before is good.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is nothing in it.
    #[error("is empty: a tickerplant log begins with ff01000000000000")]
    Empty,
    /// It does not begin as a log does.
    #[error("is no tickerplant log: it begins with {0}, wanted ff01000000000000")]
    Head(String),
    /// It ends within a message, as after a crash.
    #[error(
        "ends within message {}: {messages} messages are whole and take {bytes} bytes",
        messages + 1
    )]
    Torn {
        /// Whole messages.
        messages: u64,
        /// Length of the head and of the whole messages: cut it there to mend it.
        bytes: u64,
    },
    /// Bytes that are no message.
    #[error(
        "is damaged {what} of message {}: {messages} messages are whole and take {bytes} bytes",
        messages + 1
    )]
    Damaged {
        /// Whole messages.
        messages: u64,
        /// Length of the head and of the whole messages.
        bytes: u64,
        /// What is wrong, with its place in the message.
        what: WireError,
    },
    /// The reader failed.
    #[error("cannot be read at byte {at}: {error}")]
    Read {
        /// Where.
        at: u64,
        /// Why.
        error: io::Error,
    },
}

/// Reads a log.
#[derive(Debug)]
pub struct LogReader<R> {
    reader: R,
    limits: Limits,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are consumed.
    used: usize,
    /// Place in the log of the first byte that is not consumed.
    offset: u64,
    messages: u64,
    ended: bool,
}

impl<R: Read> LogReader<R> {
    /// Reads the head. `limits` are those of one message.
    ///
    /// # Errors
    /// [`LogError`] when the reader fails or it is no log.
    pub fn new(reader: R, limits: Limits) -> Result<Self, LogError> {
        let mut log = Self {
            reader,
            limits,
            buffer: Vec::new(),
            used: 0,
            offset: 0,
            messages: 0,
            ended: false,
        };
        log.fill(HEAD.len())?;
        let head = log.buffer.get(..HEAD.len()).unwrap_or(&log.buffer);
        if head.is_empty() {
            return Err(LogError::Empty);
        }
        if head != HEAD {
            let head = head.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(LogError::Head(head));
        }
        log.consume(HEAD.len());
        Ok(log)
    }

    /// Bytes consumed: the head and the messages that came out.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    fn consume(&mut self, bytes: usize) {
        self.used += bytes;
        self.offset += bytes as u64;
    }

    /// What was read ahead.
    fn pending(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    /// Reads on until so many bytes are ahead, or the end.
    fn fill(&mut self, wanted: usize) -> Result<(), LogError> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let missing = wanted.saturating_sub(self.buffer.len());
        let at = self.offset + self.buffer.len() as u64;
        let mut some = self.reader.by_ref().take(missing as u64);
        let read = some
            .read_to_end(&mut self.buffer)
            .map_err(|error| LogError::Read { at, error })?;
        self.ended = read < missing;
        Ok(())
    }

    /// The next message; `None` at the end of a log that is whole.
    ///
    /// # Errors
    /// [`LogError`] says how much of the log is good; so does every later call.
    pub fn next_message(&mut self) -> Result<Option<LogMessage>, LogError> {
        loop {
            let ahead = self.pending();
            if ahead.is_empty() && self.ended {
                return Ok(None);
            }
            let (messages, bytes) = (self.messages, self.offset);
            let what = match decode_value(ahead, 0, ByteOrder::Little, &self.limits) {
                Ok(decoded) => {
                    self.consume(decoded.end);
                    self.messages += 1;
                    return Ok(Some(LogMessage {
                        offset: bytes,
                        number: self.messages,
                        value: decoded.value,
                    }));
                }
                Err(what) => what,
            };
            if !what.is_short() {
                return Err(LogError::Damaged {
                    messages,
                    bytes,
                    what,
                });
            }
            if self.ended {
                return Err(LogError::Torn { messages, bytes });
            }
            let max = self.limits.message_bytes;
            if ahead.len() >= max {
                let what = super::wire::too_long(ahead.len(), max);
                return Err(LogError::Damaged {
                    messages,
                    bytes,
                    what,
                });
            }
            // Twice as much each time: a long message is tried a few times, not once a read.
            let wanted = (ahead.len() * 2).max(READ_BYTES).min(max);
            self.fill(wanted)?;
        }
    }
}

/// Writes a log that q replays.
#[derive(Debug)]
pub struct LogWriter<W> {
    writer: W,
    scratch: Vec<u8>,
    messages: u64,
    bytes: u64,
}

impl<W: Write> LogWriter<W> {
    /// Writes the head.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(mut writer: W) -> io::Result<Self> {
        writer.write_all(&HEAD)?;
        Ok(Self {
            writer,
            scratch: Vec::new(),
            messages: 0,
            bytes: HEAD.len() as u64,
        })
    }

    /// Appends a message, for example [`super::tick::update`] of [`super::tick::columns_of`] a table.
    ///
    /// # Errors
    /// What the writer says; [`io::ErrorKind::InvalidInput`] for a list of more than 2^31 items.
    pub fn message(&mut self, value: &Value) -> io::Result<()> {
        self.scratch.clear();
        encode_value(value, ByteOrder::Little, &mut self.scratch)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.writer.write_all(&self.scratch)?;
        self.messages += 1;
        self.bytes += self.scratch.len() as u64;
        Ok(())
    }

    /// Messages written.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes written, the head included.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands the writer back, with everything written to it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }
}
