//! What clients send, from bytes: the packets of the start and the messages after it.
//!
//! Invariant: any bytes are a message or an error, whatever the lengths in them say; nothing is read
//! past the end of a message, and no text is changed: what is not UTF-8 is refused.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use std::sync::Arc;

/// Longest message: more than the longest statement, so that a statement that is too long is refused
/// by name.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Longest packet of the start.
const START_BYTES_MAX: usize = 10_000;
/// From here on a message is large: few are held at a time.
pub(super) const LARGE_BYTES: usize = 256 << 10;
/// Time for a large message to get its place and to come in whole.
const LARGE_TIME: Duration = Duration::from_secs(60);
/// What is read at a time.
const READ_BYTES: usize = 8 << 10;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// The connection failed, ended within a message, or was silent.
    Lost,
    /// It is not as the protocol says; the connection cannot go on.
    Malformed(String),
    /// A text is not UTF-8.
    NotUtf8,
    /// A message that is too long; the connection cannot go on.
    TooLong(usize),
}

fn malformed<T>(what: &str) -> Result<T, Broken> {
    Err(Broken::Malformed(what.to_owned()))
}

/// A packet before the connection is a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    Ssl,
    Gss,
    Cancel {
        process: i32,
        secret: Bytes,
    },
    /// A session: the protocol's version, and names with values.
    Session {
        major: u16,
        minor: u16,
        parameters: Vec<(String, String)>,
    },
}

/// A statement or a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Statement,
    Portal,
}

/// A message of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Query(String),
    Parse {
        name: String,
        text: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target, String),
    Execute {
        portal: String,
        /// 0: all.
        rows: u32,
    },
    Close(Target, String),
    Flush,
    Sync,
    /// An answer to a question about who it is.
    Password(Bytes),
    Terminate,
    /// Data for a COPY that is not going on: left out, as the protocol wants it.
    Copy,
    FunctionCall,
}

/// Values for a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    /// None: all are texts; one: of all; else one each.
    pub(super) formats: Vec<i16>,
    pub(super) values: Vec<Option<Bytes>>,
    /// The same, of the columns of the result.
    pub(super) results: Vec<i16>,
}

/// The body of a message.
struct Body(Bytes);

impl Body {
    fn take(&mut self, bytes: usize) -> Result<Bytes, Broken> {
        match bytes <= self.0.len() {
            true => Ok(self.0.split_to(bytes)),
            false => malformed("a message is shorter than it says"),
        }
    }

    fn u16(&mut self) -> Result<u16, Broken> {
        Ok(self.take(2)?.get_u16())
    }

    fn u32(&mut self) -> Result<u32, Broken> {
        Ok(self.take(4)?.get_u32())
    }

    fn text(&mut self) -> Result<String, Broken> {
        let Some(end) = self.0.iter().position(|byte| *byte == 0) else {
            return malformed("a text has no end");
        };
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        let text = std::str::from_utf8(&bytes).map_err(|_| Broken::NotUtf8)?;
        Ok(text.to_owned())
    }

    /// A count, and so many of something of at least `bytes` bytes.
    fn many<T>(
        &mut self,
        bytes: usize,
        one: impl Fn(&mut Self) -> Result<T, Broken>,
    ) -> Result<Vec<T>, Broken> {
        let count = usize::from(self.u16()?);
        if count * bytes > self.0.len() {
            return malformed("a message counts more than it has");
        }
        (0..count).map(|_| one(self)).collect()
    }

    fn value(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.u32()? {
            u32::MAX => Ok(None),
            bytes => Ok(Some(self.take(bytes as usize)?)),
        }
    }

    fn target(&mut self) -> Result<(Target, String), Broken> {
        let target = match self.take(1)?.first() {
            Some(b'S') => Target::Statement,
            Some(b'P') => Target::Portal,
            _ => return malformed("neither a statement nor a portal is meant"),
        };
        Ok((target, self.text()?))
    }

    fn end<T>(self, message: T) -> Result<T, Broken> {
        match self.0.is_empty() {
            true => Ok(message),
            false => malformed("a message is longer than what is in it"),
        }
    }
}

/// A message from its type and its body.
pub(super) fn message(kind: u8, body: Bytes) -> Result<Message, Broken> {
    let mut body = Body(body);
    let message = match kind {
        b'Q' => Message::Query(body.text()?),
        b'P' => Message::Parse {
            name: body.text()?,
            text: body.text()?,
            types: body.many(4, Body::u32)?,
        },
        b'B' => Message::Bind(Bind {
            portal: body.text()?,
            statement: body.text()?,
            formats: body.many(2, |body| body.u16().map(u16::cast_signed))?,
            values: body.many(4, Body::value)?,
            results: body.many(2, |body| body.u16().map(u16::cast_signed))?,
        }),
        b'D' => {
            let (target, name) = body.target()?;
            Message::Describe(target, name)
        }
        b'C' => {
            let (target, name) = body.target()?;
            Message::Close(target, name)
        }
        b'E' => Message::Execute {
            portal: body.text()?,
            // What is below none is all, as a count of 0 is.
            rows: u32::try_from(body.u32()?.cast_signed()).unwrap_or(0),
        },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'p' => return Ok(Message::Password(body.0)),
        b'd' | b'c' | b'f' => return Ok(Message::Copy),
        b'F' => return Ok(Message::FunctionCall),
        _ => return Err(Broken::Malformed(format!("no message has the type {kind}"))),
    };
    body.end(message)
}

/// A packet of the start, without its length.
pub(super) fn start(body: Bytes) -> Result<Start, Broken> {
    let mut body = Body(body);
    match body.u32()? {
        SSL_REQUEST => body.end(Start::Ssl),
        GSS_REQUEST => body.end(Start::Gss),
        CANCEL_REQUEST => Ok(Start::Cancel {
            process: body.u32()?.cast_signed(),
            secret: body.0,
        }),
        version => {
            let mut parameters = Vec::new();
            loop {
                let name = body.text()?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, body.text()?));
            }
            let (major, minor) = ((version >> 16) as u16, version as u16);
            body.end(Start::Session {
                major,
                minor,
                parameters,
            })
        }
    }
}

/// What comes in on a connection. Its functions may be left off and called again: no byte is lost.
pub(super) struct Reader<R> {
    stream: R,
    buffer: BytesMut,
    large: Arc<Semaphore>,
    /// Held while a large message is.
    place: Option<OwnedSemaphorePermit>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(stream: R, large: Arc<Semaphore>) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            large,
            place: None,
        }
    }

    /// The next packet of the start; `None` when there comes nothing more.
    pub(super) async fn start(&mut self) -> Result<Option<Start>, Broken> {
        let Some(length) = self.length(0, START_BYTES_MAX).await? else {
            return Ok(None);
        };
        self.fill(length).await?;
        let mut packet = self.buffer.split_to(length);
        packet.advance(4);
        start(packet.freeze()).map(Some)
    }

    /// The next message; `None` when there comes nothing more.
    pub(super) async fn message(&mut self, most: usize) -> Result<Option<Message>, Broken> {
        self.place = None;
        let Some(length) = self.length(1, most).await? else {
            return Ok(None);
        };
        if length > LARGE_BYTES {
            let whole = async {
                let place = Arc::clone(&self.large).acquire_owned().await;
                self.place = place.ok();
                self.fill(length + 1).await
            };
            let whole = tokio::time::timeout(LARGE_TIME, whole).await;
            whole.map_err(|_| Broken::Lost)??;
        } else {
            self.fill(length + 1).await?;
        }
        let mut frame = self.buffer.split_to(length + 1);
        let kind = frame.get_u8();
        frame.advance(4);
        message(kind, frame.freeze()).map(Some)
    }

    /// Returns when the client has gone; reads ahead a little.
    pub(super) async fn gone(&mut self) {
        while self.buffer.len() < LARGE_BYTES {
            match self.read().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        // A client that sends on without waiting is there.
        std::future::pending().await
    }

    /// The length behind so many bytes, itself included; `None` at the end.
    async fn length(&mut self, before: usize, most: usize) -> Result<Option<usize>, Broken> {
        while self.buffer.len() < before + 4 {
            if self.read().await.map_err(|_| Broken::Lost)? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(Broken::Lost),
                };
            }
        }
        let mut head = self.buffer.get(before..before + 4).unwrap_or_default();
        let length = head.get_u32() as usize;
        match length {
            0..4 => malformed("a message is shorter than its length"),
            length if length > most => Err(Broken::TooLong(length)),
            length => Ok(Some(length)),
        }
    }

    async fn fill(&mut self, bytes: usize) -> Result<(), Broken> {
        while self.buffer.len() < bytes {
            if self.read().await.map_err(|_| Broken::Lost)? == 0 {
                return Err(Broken::Lost);
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> std::io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.buffer).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(kind: u8, body: &[u8]) -> Result<Message, Broken> {
        message(kind, Bytes::copy_from_slice(body))
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        assert_eq!(
            of(b'Q', b"select 1\0"),
            Ok(Message::Query("select 1".into()))
        );
        assert_eq!(
            of(b'P', b"s\0select $1\0\0\x02\0\0\0\x14\0\0\0\0"),
            Ok(Message::Parse {
                name: "s".into(),
                text: "select $1".into(),
                types: vec![20, 0],
            })
        );
        assert_eq!(
            of(
                b'B',
                b"\0s\0\0\x01\0\x01\0\x02\xff\xff\xff\xff\0\0\0\x02ab\0\x01\0\x01"
            ),
            Ok(Message::Bind(Bind {
                portal: String::new(),
                statement: "s".into(),
                formats: vec![1],
                values: vec![None, Some(Bytes::from_static(b"ab"))],
                results: vec![1],
            }))
        );
        assert_eq!(
            of(b'E', b"c\0\xff\xff\xff\xff"),
            Ok(Message::Execute {
                portal: "c".into(),
                rows: 0
            })
        );
        assert_eq!(
            of(b'D', b"Px\0"),
            Ok(Message::Describe(Target::Portal, "x".into()))
        );
        assert_eq!(of(b'Q', b"\xff\0"), Err(Broken::NotUtf8));
        for (kind, body) in [
            (b'Q', &b"select 1"[..]),
            (b'Q', b"select 1\0\0"),
            (b'P', b"\0\0\xff\xff"),
            (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
            (b'D', b"?x\0"),
            (b'S', b"x"),
            (b'!', b""),
        ] {
            let read = of(kind, body);
            assert!(matches!(read, Err(Broken::Malformed(_))), "{read:?}");
        }
    }

    #[tokio::test]
    async fn a_message_comes_in_pieces_of_any_size() {
        let bytes = b"\0\0\0\x08\x04\xd2\x16\x2fQ\0\0\0\x06a\0X\0\0\0\x04";
        for size in 1..bytes.len() {
            let (mut ours, theirs) = tokio::io::duplex(size);
            let wrote =
                tokio::spawn(
                    async move { tokio::io::AsyncWriteExt::write_all(&mut ours, bytes).await },
                );
            let mut reader = Reader::new(theirs, Arc::new(Semaphore::new(1)));
            assert_eq!(reader.start().await, Ok(Some(Start::Ssl)));
            assert_eq!(
                reader.message(100).await,
                Ok(Some(Message::Query("a".into())))
            );
            assert_eq!(reader.message(100).await, Ok(Some(Message::Terminate)));
            assert_eq!(reader.message(100).await, Ok(None));
            wrote.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn lengths_are_looked_at_before_they_are_believed() {
        for (bytes, expected) in [
            (
                &b"Q\0\0\0\x03"[..],
                malformed("a message is shorter than its length"),
            ),
            (
                b"Q\xff\xff\xff\xff",
                Err(Broken::TooLong(u32::MAX as usize)),
            ),
            (b"Q\0\0\0\x65", Err(Broken::TooLong(101))),
            (b"Q\0\0", Err(Broken::Lost)),
            (b"Q\0\0\0\x09abc", Err(Broken::Lost)),
        ] {
            let mut reader = Reader::new(bytes, Arc::new(Semaphore::new(1)));
            assert_eq!(reader.message(100).await, expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(kind: u8, body: Vec<u8>) {
            let body = Bytes::from(body);
            let _ = message(kind, body.clone());
            for kind in *b"QPBDCEHSXpdcfF" {
                let _ = message(kind, body.clone());
            }
            let _ = start(body);
        }

        #[test]
        fn any_bytes_of_known_shape(name in "[a-z\u{e9}\0]{0,4}", counts: Vec<u16>) {
            let mut body = name.into_bytes();
            body.push(0);
            body.push(0);
            body.extend(counts.iter().flat_map(|count| (count % 5).to_be_bytes()));
            for kind in *b"PBE" {
                let _ = message(kind, Bytes::from(body.clone()));
            }
        }
    }
}
