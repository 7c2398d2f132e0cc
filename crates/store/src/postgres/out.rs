//! What goes out on a connection.
//!
//! Invariant: little is held back, and who takes nothing for a while is let go.

use std::time::Duration;

use bytes::BytesMut;
use pgwire::messages::Message;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// From here on what was gathered is sent.
const GATHERED: usize = 32 << 10;
/// A client that takes nothing for so long is gone.
const TAKES: Duration = Duration::from_secs(30);

/// The client cannot be told anything more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

pub(super) struct Out<W> {
    stream: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> Out<W> {
    pub(super) fn new(stream: W) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Gathers a message.
    pub(super) fn message(&mut self, message: &impl Message) -> Result<(), Lost> {
        message.encode(&mut self.buffer).map_err(|error| {
            tracing::warn!(%error, "a message for a Postgres client could not be made");
            Lost
        })
    }

    /// Gathers whole messages, or one byte that is an answer by itself.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        if self.buffer.len() + bytes.len() > GATHERED {
            self.flush().await?;
        }
        if bytes.len() > GATHERED {
            return self.write(bytes).await;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what was gathered.
    pub(super) async fn flush(&mut self) -> Result<(), Lost> {
        let gathered = self.buffer.split();
        self.write(&gathered).await?;
        let flushed = tokio::time::timeout(TAKES, self.stream.flush()).await;
        flushed.map_err(|_| Lost)?.map_err(|_| Lost)
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Lost> {
        while !bytes.is_empty() {
            let written = tokio::time::timeout(TAKES, self.stream.write(bytes)).await;
            match written.map_err(|_| Lost)?.map_err(|_| Lost)? {
                0 => return Err(Lost),
                written => bytes = bytes.get(written..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// Sends what was gathered and says that there is no more.
    pub(super) async fn close(&mut self) {
        if self.flush().await.is_ok() {
            // Who has gone already needs no goodbye.
            let _ = tokio::time::timeout(TAKES, self.stream.shutdown()).await;
        }
    }
}
