//! The messages of a kdb+ client, cut out of what it sends.
//!
//! Invariant: memory grows with the bytes that came, never with what a header says; a message that
//! was begun comes to its end in time or the connection does.

use std::sync::Arc;
use std::time::Duration;

use tapewatch_connect::kdb::wire::{HEADER_BYTES, Header, Limits};
use tokio::io::{AsyncReadExt as _, ReadHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::bytes::{Bytes, BytesMut};

use crate::port::Duplex;

/// From here on a message is one of few at a time, and so is a packed one while it is unpacked.
pub(super) const LARGE_BYTES: usize = 1 << 20;
/// Time for the whole of a message from its first byte on.
const MESSAGE: Duration = Duration::from_secs(60);
/// Room that is made at once.
const STEP_BYTES: usize = 64 << 10;

/// Reads messages.
pub(super) struct Reader {
    read: ReadHalf<Box<dyn Duplex>>,
    buffer: BytesMut,
    limits: Limits,
    begun: Option<Instant>,
    large: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

/// A message as it came.
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) bytes: Bytes,
    /// Held while it is worked on.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl Reader {
    /// Reads on behind what is in `buffer`.
    pub(super) fn new(
        read: ReadHalf<Box<dyn Duplex>>,
        buffer: BytesMut,
        large: Arc<Semaphore>,
    ) -> Self {
        Self {
            read,
            buffer,
            limits: Limits::default(),
            begun: None,
            large,
            permit: None,
        }
    }

    /// The next message; `None` when the client is gone. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            let header = match self.buffer.first_chunk::<HEADER_BYTES>() {
                Some(head) => {
                    let header = Header::parse(*head, &self.limits);
                    Some(header.map_err(|error| error.to_string())?)
                }
                None => None,
            };
            let wanted = header.map_or(HEADER_BYTES, |header| header.length);
            let whole = header.filter(|_| self.buffer.len() >= wanted);
            // A packed one may become large.
            let large = wanted > LARGE_BYTES || whole.is_some_and(|header| header.compressed);
            if large && self.permit.is_none() {
                let permit = Arc::clone(&self.large).acquire_owned().await;
                self.permit = Some(permit.map_err(|error| error.to_string())?);
                self.begun = None; // waiting for others is not its fault
            }
            if let Some(header) = whole {
                let bytes = self.buffer.split_to(wanted).freeze();
                self.begun = None;
                if self.buffer.is_empty() {
                    self.buffer = BytesMut::new(); // an idle client holds nothing
                }
                return Ok(Some(Frame {
                    header,
                    bytes,
                    _permit: self.permit.take(),
                }));
            }
            if !self.read_some(wanted).await? {
                return Ok(None);
            }
        }
    }

    /// Reads some bytes; `false` at the end.
    async fn read_some(&mut self, wanted: usize) -> Result<bool, String> {
        let missing = wanted.saturating_sub(self.buffer.len());
        self.buffer
            .reserve(missing.min(self.buffer.len().max(STEP_BYTES)));
        let read = self.read.read_buf(&mut self.buffer);
        let read = match self.begun {
            None => read.await,
            Some(begun) => match tokio::time::timeout_at(begun + MESSAGE, read).await {
                Ok(read) => read,
                Err(_) => return Err(format!("a message took more than {} s", MESSAGE.as_secs())),
            },
        };
        let read = read.map_err(|error| error.to_string())?;
        self.begun.get_or_insert_with(Instant::now);
        match (read, self.buffer.is_empty()) {
            (0, true) => Ok(false),
            (0, false) => Err("the connection ended within a message".to_owned()),
            _ => Ok(true),
        }
    }
}
