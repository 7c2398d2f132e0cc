//! The reader's side of a subscription: everything from a sequence number on, from disk and then
//! live, through any number of broken connections.
//!
//! Invariant: what comes out has no gap and no repeat. What does not follow on what came before ends
//! it with the reason.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tapewatch_journal::{FrameRef, decode_frame};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{HELLO_WITHIN, Hello, Message, PATH, PROTOCOL, Stream, framing};
use crate::failure::Failure;
use crate::peers::Peers;
use crate::recovery::Frames;

/// Longest answer to the upgrade.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// A connection on which nothing comes for so long is given up: the server says something every
/// second.
const SILENCE_MAX: Duration = Duration::from_secs(15);

pub(super) type Connection = Framed<BufReader<TcpStream>, LengthDelimitedCodec>;

/// What a subscription brings.
#[derive(Debug)]
pub(crate) enum Chunk {
    /// Whole frames of the journal.
    Frames(Bytes),
    /// Whole frames of the log of hits, and up to which order all hits are there.
    Hits(u64, Bytes),
    /// It cannot go on.
    Failed(String),
}

/// Where to subscribe, and as whom.
#[derive(Clone)]
pub(crate) struct Follow {
    /// `host:port` of the role `journal`.
    pub(crate) address: String,
    /// Shown there, with how far it lags.
    pub(crate) name: String,
    pub(crate) peers: Peers,
}

impl Follow {
    /// What the journal holds; waits until it answers.
    pub(crate) async fn hello(&self) -> Hello {
        loop {
            match dial(&self.address).await {
                Ok((hello, _)) => {
                    self.peers.back(&self.peer());
                    return hello;
                }
                Err(why) => self.pause(&why).await,
            }
        }
    }

    /// Subscribes from `from` on; ends when `inbox` does.
    pub(crate) fn start(&self, stream: Stream, from: u64, inbox: mpsc::Sender<Chunk>) {
        let follow = self.clone();
        tokio::spawn(async move {
            let mut next = from;
            while !inbox.is_closed() {
                match follow.once(stream, &mut next, &inbox).await {
                    Ok(()) => return,
                    Err(Broken::Connection(why)) => follow.pause(&why).await,
                    Err(Broken::ForGood(why)) => {
                        // Nobody is there to be told when the other end is gone.
                        let _ = inbox.send(Chunk::Failed(why)).await;
                        return;
                    }
                }
            }
        });
    }

    fn peer(&self) -> String {
        format!("journal at {}", self.address)
    }

    async fn pause(&self, why: &str) {
        tokio::time::sleep(self.peers.away(&self.peer(), why)).await;
    }

    /// One connection; `next` is the number that is wanted next.
    async fn once(
        &self,
        stream: Stream,
        next: &mut u64,
        inbox: &mpsc::Sender<Chunk>,
    ) -> Result<(), Broken> {
        let (hello, mut connection) = dial(&self.address).await.map_err(Broken::Connection)?;
        if stream == Stream::Journal && *next > hello.next_seq {
            return Err(Broken::ForGood(format!(
                "{} goes only to sequence number {}, and this process has come to {}: it is another journal, or has \
                 lost rows; start this process again",
                self.peer(),
                hello.next_seq.saturating_sub(1),
                *next - 1
            )));
        }
        let subscribe = Message::Subscribe(stream, *next, self.name.clone());
        send(&mut connection, subscribe).await?;
        self.peers.back(&self.peer());
        loop {
            let message = tokio::select! {
                message = receive(&mut connection) => message?,
                () = inbox.closed() => return Ok(()),
                () = tokio::time::sleep(SILENCE_MAX) => {
                    return Err(format!("nothing came for {} s", SILENCE_MAX.as_secs()).into());
                }
            };
            let chunk = match message {
                Message::Frames(frames) => {
                    count(&frames, next)?;
                    Chunk::Frames(frames)
                }
                Message::Hits(through, frames) => {
                    count(&frames, next)?;
                    Chunk::Hits(through, frames)
                }
                Message::Answer(Err(error)) => return Err(Broken::ForGood(error.to_string())),
                _ => return Err(Broken::Connection("an unexpected message".to_owned())),
            };
            if inbox.send(chunk).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Why a connection does not go on.
enum Broken {
    /// Another may.
    Connection(String),
    ForGood(String),
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self::Connection(why)
    }
}

/// Checks that frames follow on each other, and on what came before.
fn count(frames: &[u8], next: &mut u64) -> Result<(), Broken> {
    let mut rest = frames;
    while !rest.is_empty() {
        let frame = decode_frame(rest).map_err(str::to_owned)?;
        let frame = frame.ok_or_else(|| "a frame that is cut".to_owned())?;
        let after = frame.seq + u64::from(frame.count);
        // The first one holds the number that was asked for; 0 asks for whatever is there.
        if (*next != 0 && frame.seq > *next) || after <= *next {
            return Err(Broken::Connection(format!(
                "sequence number {} came where {next} was due",
                frame.seq
            )));
        }
        *next = after;
        rest = rest.get(frame.bytes.len()..).unwrap_or_default();
    }
    Ok(())
}

pub(super) async fn send(connection: &mut Connection, message: Message) -> Result<(), String> {
    let sent = connection.send(message.encode()).await;
    sent.map_err(|error| error.to_string())
}

pub(super) async fn receive(connection: &mut Connection) -> Result<Message, String> {
    let bytes = connection
        .next()
        .await
        .ok_or_else(|| "the connection was closed".to_owned())?;
    let bytes = bytes.map_err(|error| error.to_string())?;
    Message::decode(bytes.freeze()).map_err(str::to_owned)
}

/// Opens a connection and hears what the journal holds.
pub(super) async fn dial(address: &str) -> Result<(Hello, Connection), String> {
    let dialled = tokio::time::timeout(HELLO_WITHIN, async {
        let stream = TcpStream::connect(address).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let mut stream = BufReader::with_capacity(256 << 10, stream);
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(text)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = stream.read_until(b'\n', &mut head).await.map_err(text)?;
            if read == 0 || head.len() > HEAD_BYTES_MAX {
                return Err("it does not speak HTTP".to_owned());
            }
        }
        let status = String::from_utf8_lossy(&head);
        let status = status.lines().next().unwrap_or_default();
        if !status.contains(" 101 ") {
            return Err(format!("it answers {status:?}"));
        }
        let mut connection = Framed::new(stream, framing());
        match receive(&mut connection).await? {
            Message::Hello(hello) => Ok((hello, connection)),
            _ => Err("it does not say hello".to_owned()),
        }
    });
    match dialled.await {
        Ok(dialled) => dialled,
        Err(_) => Err(format!("no answer within {} s", HELLO_WITHIN.as_secs())),
    }
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

/// Frames of a subscription, up to a sequence number.
pub(crate) struct Followed {
    inbox: mpsc::Receiver<Chunk>,
    until: u64,
    next: u64,
    chunk: Bytes,
    at: usize,
}

impl Followed {
    /// The frames from `from` until before `until`.
    pub(crate) fn start(follow: &Follow, from: u64, until: u64) -> Self {
        let (sender, inbox) = mpsc::channel(4);
        follow.start(Stream::Journal, from, sender);
        Self {
            inbox,
            until,
            next: from,
            chunk: Bytes::new(),
            at: 0,
        }
    }
}

impl Frames for Followed {
    fn next_frame(&mut self) -> Result<Option<FrameRef<'_>>, Failure> {
        if self.next >= self.until {
            return Ok(None);
        }
        if self.at >= self.chunk.len() {
            self.chunk = match self.inbox.blocking_recv() {
                Some(Chunk::Frames(frames)) => frames,
                Some(Chunk::Failed(why)) => return Err(Failure::run(why)),
                _ => return Err(Failure::run("the subscription ended")),
            };
            self.at = 0;
        }
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        // They were checked when they came in.
        let frame = decode_frame(rest).ok().flatten();
        let frame = frame.ok_or_else(|| Failure::run("a frame changed in memory"))?;
        self.at += frame.bytes.len();
        self.next = frame.seq + u64::from(frame.count);
        Ok(Some(frame))
    }
}
