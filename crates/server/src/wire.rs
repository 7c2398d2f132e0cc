//! What roles in different processes say to each other: messages over one connection to the role
//! `journal`, opened by an HTTP upgrade at [`PATH`] on its port.
//!
//! Invariant: a message is taken whole or the connection ends; both sides speak [`VERSION`]. Frames
//! of the journal travel as the bytes that stand in its files, checksums included.
//!
//! A message is a `u32` length (little endian, of what follows), a `u8` kind and a body. The server
//! begins with `Hello`. A client that then says `Subscribe` is sent `Frames` (or `Hits`) for ever; of
//! any other each message is answered by one `Answer`, in order.

mod commands;
mod follow;
mod link;
mod outbox;
mod pump;
mod serve;
mod sharers;

use std::io;
use std::time::Duration;

use futures::SinkExt;
use tapewatch_detect::Shard;
use tapewatch_journal::Retention;
use tapewatch_model::{Bucket, encode_bucket};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::fold::{FrameMark, Placed};
use crate::pipeline::{PublishError, Published};
use crate::roles::SHARES_MAX;

pub(crate) use follow::{Chunk, Follow, Followed, JournalAt, Place};
pub(crate) use link::connect_pipeline;
pub(crate) use pump::Lane;
pub(crate) use serve::{ServeState, upgrade};
pub(crate) use sharers::Sharers;
#[cfg(test)]
pub(crate) use {
    commands::{AllDue, Commands},
    follow::Broken,
    outbox::Outbox,
    pump::Pump,
    serve::hello,
};

/// Where the upgrade is asked for.
pub(crate) const PATH: &str = "/wire";
/// Name of the protocol in the upgrade.
pub(crate) const PROTOCOL: &str = "tapewatch-wire";
/// Version of the messages.
const VERSION: u16 = 3;
/// Bytes of commands that one connection has on the way; the one that goes beyond is still taken.
const UNDER_WAY_BYTES_MAX: usize = 64 << 20;
/// Largest message: the largest frame that the journal takes, behind frames that go with it.
const MESSAGE_BYTES_MAX: usize = 66 << 20;
/// How long a peer may take to say hello, and another to answer it.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How often a connection says something that has nothing to say.
const BEAT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The journal's frames.
    Journal,
    /// The hits that engines in other processes found.
    Hits,
}

/// What the journal's process says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    /// First sequence number that can be read.
    pub(crate) first_seq: u64,
    /// The next that will be given.
    pub(crate) next_seq: u64,
    /// The next of the log of hits.
    pub(crate) next_hit: u64,
}

/// Who tells what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Teller {
    pub(crate) share: Shard,
    /// Another at each start of a process; never 0.
    pub(crate) run: u64,
}

/// A message.
#[derive(Debug)]
pub(crate) enum Message {
    Hello(Hello),
    /// Stream, first sequence number (of the stream) that is wanted, who asks.
    Subscribe(Stream, u64, String),
    /// An encoded bucket.
    Publish(Bytes),
    Clear,
    /// The detectors' configuration, canonical.
    Configure(String),
    Sync,
    /// As `Sync`, of what engines found alone.
    SyncFound,
    Retain(Retention),
    /// A run of a process with a share of the engines, which has applied the journal up to this frame,
    /// has found all hits up to a sequence number: those since it said so last.
    Found(Teller, u64, FrameMark, Bytes),
    /// What became of a `Publish`, or the sequence number that another command gives.
    Answer(Result<Published, PublishError>),
    /// Whole frames, one after another.
    Frames(Bytes),
    /// Whole frames of the log of hits; every hit up to this sequence number (of orders) is in it, or
    /// was sent before.
    Hits(u64, Bytes),
    /// A peer that has nothing to say is there.
    Beat,
}

/// A message on its way out, in two parts, so that rows are not copied to stand behind what says that
/// they are rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    head: Bytes,
    body: Bytes,
}

impl Packet {
    /// Of an encoded bucket.
    fn publish(bucket: Bytes) -> Self {
        Self {
            head: Bytes::from_static(&[Message::PUBLISH]),
            body: bucket,
        }
    }

    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The whole message.
    #[cfg(test)]
    pub(crate) fn whole(&self) -> Bytes {
        [self.head.as_ref(), &self.body].concat().into()
    }
}

impl From<Bytes> for Packet {
    fn from(message: Bytes) -> Self {
        Self {
            head: message,
            body: Bytes::new(),
        }
    }
}

/// The bytes between the messages.
pub(crate) fn framing() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .max_frame_length(MESSAGE_BYTES_MAX)
        .new_codec()
}

/// Bytes that are read at once, and that gather before they must go out.
const READ_BYTES: usize = 64 << 10;
const WRITE_BYTES: usize = 256 << 10;

/// A message of so many bytes goes out from where it stands.
const DIRECT_BYTES: usize = 32 << 10;

/// Puts a message behind those that wait to go out; they go when they are many.
async fn feed<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Framed<S, LengthDelimitedCodec>,
    packet: Packet,
) -> io::Result<()> {
    let length = u32::try_from(packet.len()).map_err(io::Error::other)?;
    if packet.len() < DIRECT_BYTES {
        let waiting = connection.write_buffer_mut();
        waiting.reserve(4 + packet.len());
        waiting.put_u32_le(length);
        waiting.put_slice(&packet.head);
        waiting.put_slice(&packet.body);
        return match waiting.len() < WRITE_BYTES {
            true => Ok(()),
            false => SinkExt::<Bytes>::flush(connection).await,
        };
    }
    SinkExt::<Bytes>::flush(connection).await?;
    let length = length.to_le_bytes();
    let mut message = length.as_slice().chain(packet.head).chain(packet.body);
    connection.get_mut().write_all_buf(&mut message).await
}

/// Messages over a stream.
fn framed<S: AsyncRead + AsyncWrite>(stream: S) -> Framed<S, LengthDelimitedCodec> {
    let mut framed = Framed::with_capacity(stream, framing(), READ_BYTES);
    framed.set_backpressure_boundary(WRITE_BYTES);
    framed
}

impl Message {
    const HELLO: u8 = 1;
    const SUBSCRIBE: u8 = 2;
    const PUBLISH: u8 = 3;
    const CLEAR: u8 = 4;
    const CONFIGURE: u8 = 5;
    const SYNC: u8 = 6;
    const RETAIN: u8 = 7;
    const FOUND: u8 = 8;
    const ANSWER: u8 = 9;
    const FRAMES: u8 = 10;
    const HITS: u8 = 11;
    const BEAT: u8 = 12;
    const SYNC_FOUND: u8 = 13;

    /// The bytes of a [`Message::Publish`], put together where they stand.
    fn publish(bucket: &Bucket) -> Bytes {
        // As much as a row takes mostly, so that it need not grow.
        let mut out = Vec::with_capacity(256 + 80 * bucket.orders.len());
        out.push(Self::PUBLISH);
        encode_bucket(bucket, &mut out);
        out.into()
    }

    /// Its bytes, without the length.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Hello(hello) => {
                out.put_u8(Self::HELLO);
                out.put_u16_le(VERSION);
                out.put_u64_le(hello.first_seq);
                out.put_u64_le(hello.next_seq);
                out.put_u64_le(hello.next_hit);
            }
            Self::Subscribe(stream, from, name) => {
                out.put_u8(Self::SUBSCRIBE);
                out.put_u8(u8::from(*stream == Stream::Hits));
                out.put_u64_le(*from);
                out.put_slice(name.as_bytes());
            }
            Self::Publish(bucket) => {
                out.reserve(1 + bucket.len());
                out.put_u8(Self::PUBLISH);
                out.put_slice(bucket);
            }
            Self::Clear => out.put_u8(Self::CLEAR),
            Self::Beat => out.put_u8(Self::BEAT),
            Self::Configure(json) => {
                out.put_u8(Self::CONFIGURE);
                out.put_slice(json.as_bytes());
            }
            Self::Sync => out.put_u8(Self::SYNC),
            Self::SyncFound => out.put_u8(Self::SYNC_FOUND),
            Self::Retain(retention) => {
                out.put_u8(Self::RETAIN);
                out.put_u64_le(retention.keep_from_seq);
                out.put_u64_le(retention.bytes_max.unwrap_or(0));
                let age = retention.age_max.map_or(0, |age| age.as_nanos());
                out.put_u64_le(u64::try_from(age).unwrap_or(u64::MAX));
            }
            Self::Found(teller, through, frame, hits) => {
                out.put_u8(Self::FOUND);
                out.put_u32_le(teller.share.index);
                out.put_u32_le(teller.share.count);
                out.put_u64_le(teller.run);
                out.put_u64_le(*through);
                out.put_u64_le(frame.seq);
                out.put_u32_le(frame.count);
                out.put_i64_le(frame.time);
                out.put_slice(hits);
            }
            Self::Answer(answer) => put_answer(&mut out, answer),
            Self::Frames(frames) => {
                out.reserve(1 + frames.len());
                out.put_u8(Self::FRAMES);
                out.put_slice(frames);
            }
            Self::Hits(through, frames) => {
                out.put_u8(Self::HITS);
                out.put_u64_le(*through);
                out.put_slice(frames);
            }
        }
        out.freeze()
    }

    /// Reads one; the reason says why it is none.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, &'static str> {
        let mut input = Input(bytes);
        let short = "a message ends early";
        match input.u8().ok_or("an empty message")? {
            Self::HELLO => {
                if input.u16().ok_or(short)? != VERSION {
                    return Err("it speaks another version; run the same version everywhere");
                }
                Ok(Self::Hello(Hello {
                    first_seq: input.u64().ok_or(short)?,
                    next_seq: input.u64().ok_or(short)?,
                    next_hit: input.u64().ok_or(short)?,
                }))
            }
            Self::SUBSCRIBE => {
                let stream = match input.u8().ok_or(short)? {
                    0 => Stream::Journal,
                    1 => Stream::Hits,
                    _ => return Err("an unknown stream"),
                };
                let from = input.u64().ok_or(short)?;
                Ok(Self::Subscribe(stream, from, input.text()?))
            }
            Self::PUBLISH => Ok(Self::Publish(input.0)),
            Self::CLEAR => Ok(Self::Clear),
            Self::BEAT => Ok(Self::Beat),
            Self::CONFIGURE => Ok(Self::Configure(input.text()?)),
            Self::SYNC => Ok(Self::Sync),
            Self::SYNC_FOUND => Ok(Self::SyncFound),
            Self::RETAIN => Ok(Self::Retain(Retention {
                keep_from_seq: input.u64().ok_or(short)?,
                bytes_max: Some(input.u64().ok_or(short)?).filter(|&bytes| bytes > 0),
                age_max: Some(input.u64().ok_or(short)?)
                    .filter(|&age| age > 0)
                    .map(Duration::from_nanos),
            })),
            Self::FOUND => {
                let (index, count) = (input.u32().ok_or(short)?, input.u32().ok_or(short)?);
                if index >= count || count > SHARES_MAX {
                    return Err("a share that cannot be");
                }
                let teller = Teller {
                    share: Shard { index, count },
                    run: input.u64().ok_or(short)?,
                };
                let through = input.u64().ok_or(short)?;
                let frame = FrameMark {
                    seq: input.u64().ok_or(short)?,
                    count: input.u32().ok_or(short)?,
                    time: input.u64().ok_or(short)?.cast_signed(),
                };
                Ok(Self::Found(teller, through, frame, input.0))
            }
            Self::ANSWER => Ok(Self::Answer(input.answer()?)),
            Self::FRAMES => Ok(Self::Frames(input.0)),
            Self::HITS => Ok(Self::Hits(input.u64().ok_or(short)?, input.0)),
            _ => Err("an unknown kind of message"),
        }
    }
}

/// What stands before the frames in [`Message::Frames`] or [`Message::Hits`]; `through` is what the latter
/// says, the journal's frames say nothing of it.
fn frames_head(stream: Stream, through: u64) -> BytesMut {
    let mut head = BytesMut::new();
    match stream {
        Stream::Journal => head.put_u8(Message::FRAMES),
        Stream::Hits => {
            head.put_u8(Message::HITS);
            head.put_u64_le(through);
        }
    }
    head
}

fn put_answer(out: &mut BytesMut, answer: &Result<Published, PublishError>) {
    out.put_u8(Message::ANSWER);
    match answer {
        Ok(published) => {
            out.put_u8(0);
            let placed = &published.placed;
            out.put_u64_le(placed.batch);
            out.put_u64_le(placed.first_seq);
            out.put_u64_le(placed.orders);
            out.put_u64_le(placed.dead_letters);
            out.put_u8(u8::from(published.duplicate));
        }
        Err(error) => {
            let (kind, text) = match error {
                PublishError::DiskFull(text) => (1, text.clone()),
                PublishError::Refused(text) => (2, text.clone()),
                PublishError::Invalid(text) => (3, text.clone()),
                PublishError::Stopped(text) => (4, text.clone()),
                PublishError::RecentFull(rows) => (5, rows.to_string()),
                PublishError::Unknown(text) => (6, text.clone()),
            };
            out.put_u8(kind);
            out.put_slice(text.as_bytes());
        }
    }
}

/// What is left of a message.
struct Input(Bytes);

impl Input {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let field = *self.0.first_chunk::<N>()?;
        let _ = self.0.split_to(N);
        Some(field)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, &'static str> {
        String::from_utf8(self.0.to_vec()).map_err(|_| "a text that is not UTF-8")
    }

    fn answer(&mut self) -> Result<Result<Published, PublishError>, &'static str> {
        let short = "an answer ends early";
        let kind = self.u8().ok_or(short)?;
        if kind == 0 {
            let placed = Placed {
                batch: self.u64().ok_or(short)?,
                first_seq: self.u64().ok_or(short)?,
                orders: self.u64().ok_or(short)?,
                dead_letters: self.u64().ok_or(short)?,
            };
            let duplicate = self.u8().ok_or(short)? != 0;
            return Ok(Ok(Published { placed, duplicate }));
        }
        let text = self.text()?;
        Ok(Err(match kind {
            1 => PublishError::DiskFull(text),
            2 => PublishError::Refused(text),
            3 => PublishError::Invalid(text),
            4 => PublishError::Stopped(text),
            5 => PublishError::RecentFull(text.parse().unwrap_or(0)),
            6 => PublishError::Unknown(text),
            _ => return Err("an unknown kind of answer"),
        }))
    }
}
