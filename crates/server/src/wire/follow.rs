//! The reader's side of a subscription: everything from a sequence number on, from disk and then
//! live, through any number of broken connections.
//!
//! Invariant: what comes out has no gap and no repeat. Each connection begins with the last frame that
//! came before it, which must be the same: a log that lost rows, or another, ends it with the reason.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tapewatch_journal::{FrameRef, checked_frame, decode_frame};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{HELLO_WITHIN, Hello, Message, PATH, PROTOCOL, SILENCE_MAX, Stream, framed};
use crate::dial::dial;
use crate::failure::Failure;
use crate::fold::FrameMark;
use crate::peers::{PeerName, Peers};
use crate::pipeline::PublishError;
use crate::port::Duplex;
use crate::recovery::Frames;
use crate::tls::TlsConfig;

/// Longest answer to the upgrade.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// What is read of the reason of a refusal, and how long it is waited for.
const REASON_BYTES_MAX: usize = 1 << 10;
const REASON_WITHIN: Duration = Duration::from_secs(1);

pub(super) type Connection = Framed<BufReader<Box<dyn Duplex>>, LengthDelimitedCodec>;

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

impl Chunk {
    /// Bytes of its frames.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Frames(frames) | Self::Hits(_, frames) => frames.len(),
            Self::Failed(_) => 0,
        }
    }
}

/// Where the role `journal` is.
#[derive(Clone)]
pub(crate) struct JournalAt {
    /// `host:port`.
    pub(crate) address: String,
    /// With an authority in it TLS is spoken.
    pub(crate) tls: TlsConfig,
}

impl JournalAt {
    /// At an address, in plain text.
    pub(crate) fn plain(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            tls: TlsConfig::default(),
        }
    }

    /// What to call it.
    pub(crate) fn peer(&self) -> PeerName {
        PeerName {
            role: "journal",
            address: self.address.clone(),
        }
    }
}

/// Where to subscribe, and as whom.
#[derive(Clone)]
pub(crate) struct Follow {
    pub(crate) journal: JournalAt,
    /// Shown there, with how far it lags.
    pub(crate) name: String,
    pub(crate) peers: Peers,
}

impl Follow {
    /// What the journal holds; waits until it answers.
    pub(crate) async fn hello(&self) -> Hello {
        loop {
            match open(&self.journal).await {
                Ok((hello, _)) => {
                    self.peers.back(&self.journal.peer());
                    return hello;
                }
                Err(why) => self.pause(&why).await,
            }
        }
    }

    /// Subscribes from `place` on; ends when `inbox` does.
    pub(crate) fn start(&self, stream: Stream, mut place: Place, inbox: mpsc::Sender<Chunk>) {
        let follow = self.clone();
        tokio::spawn(async move {
            while !inbox.is_closed() {
                match follow.once(stream, &mut place, &inbox).await {
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

    async fn pause(&self, why: &str) {
        tokio::time::sleep(self.peers.away(&self.journal.peer(), why)).await;
    }

    /// One connection.
    async fn once(
        &self,
        stream: Stream,
        place: &mut Place,
        inbox: &mpsc::Sender<Chunk>,
    ) -> Result<(), Broken> {
        let (hello, mut connection) = open(&self.journal).await.map_err(Broken::Connection)?;
        let subscribe = place.subscribe(stream, &hello, &self.name)?;
        send(&mut connection, subscribe).await?;
        self.peers.back(&self.journal.peer());
        // Of the journal alone: the log of hits has numbers of its own.
        let seen = match stream {
            Stream::Journal => self.peers.last_seq(&self.journal.peer()),
            Stream::Hits => Arc::default(),
        };
        seen.store(hello.next_seq.saturating_sub(1), Ordering::Relaxed);
        loop {
            let message = tokio::select! {
                message = receive(&mut connection) => message?,
                () = inbox.closed() => return Ok(()),
                () = tokio::time::sleep(SILENCE_MAX) => {
                    return Err(format!("nothing came for {} s", SILENCE_MAX.as_secs()).into());
                }
            };
            let chunk = place.take(message)?;
            seen.fetch_max(place.next.saturating_sub(1), Ordering::Relaxed);
            if inbox.send(chunk).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// How far a subscriber of a log has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The number that is wanted next; 0: whatever is there first.
    next: u64,
    /// The frame before it.
    last: Option<FrameMark>,
    /// That frame, until a connection has shown that it is still there.
    due: Option<FrameMark>,
}

impl Place {
    /// At a sequence number, whatever comes before.
    pub(crate) fn at(next: u64) -> Self {
        Self {
            next,
            last: None,
            due: None,
        }
    }

    /// Behind a frame.
    pub(crate) fn behind(frame: FrameMark) -> Self {
        Self {
            last: (frame.count > 0).then_some(frame),
            ..Self::at(frame.last_seq() + 1)
        }
    }

    /// What a connection begins with, where that is what the journal's process holds.
    pub(crate) fn subscribe(
        &mut self,
        stream: Stream,
        hello: &Hello,
        name: &str,
    ) -> Result<Message, Broken> {
        let end = match stream {
            Stream::Journal => hello.next_seq,
            Stream::Hits => hello.next_hit,
        };
        if self.next > end {
            return Err(self.lost());
        }
        self.due = self.last;
        let from = self.last.map_or(self.next, |last| last.seq);
        Ok(Message::Subscribe(stream, from, name.to_owned()))
    }

    /// What a message brings.
    pub(crate) fn take(&mut self, message: Message) -> Result<Chunk, Broken> {
        match message {
            Message::Frames(frames) => Ok(Chunk::Frames(self.check(frames)?)),
            Message::Hits(through, frames) => Ok(Chunk::Hits(through, self.check(frames)?)),
            Message::Answer(Err(PublishError::Refused(why))) => Err(Broken::Connection(why)),
            Message::Answer(Err(error)) => Err(Broken::ForGood(error.to_string())),
            _ => Err(Broken::Connection("an unexpected message".to_owned())),
        }
    }

    /// Checks that frames follow on each other, and on what came before; those that are new.
    fn check(&mut self, frames: Bytes) -> Result<Bytes, Broken> {
        let (mut at, mut begin) = (0, 0);
        while let Some(rest) = frames.get(at..).filter(|rest| !rest.is_empty()) {
            let frame = decode_frame(rest).map_err(str::to_owned)?;
            let frame = frame.ok_or_else(|| "a frame that is cut".to_owned())?;
            at += frame.bytes.len();
            let mark = FrameMark::of(&frame);
            match self.due.take() {
                Some(due) if due == mark => begin = at,
                Some(_) => return Err(self.lost()),
                // The first one holds the number that was asked for; 0 asks for whatever is there.
                None if (self.next != 0 && mark.seq > self.next) || mark.last_seq() < self.next => {
                    let (came, next) = (mark.seq, self.next);
                    let why = format!("sequence number {came} came where {next} was due");
                    return Err(Broken::Connection(why));
                }
                None => self.pass(mark),
            }
        }
        Ok(frames.slice(begin..))
    }

    fn lost(&self) -> Broken {
        Broken::ForGood(format!(
            "the journal has other rows than this process has seen, which has come to {} of its log: it is another \
             one, or has lost rows; start this process again",
            self.next.saturating_sub(1)
        ))
    }

    fn pass(&mut self, frame: FrameMark) {
        self.next = frame.last_seq() + 1;
        self.last = Some(frame);
    }
}

/// Why a connection does not go on.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Another may.
    Connection(String),
    ForGood(String),
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self::Connection(why)
    }
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
pub(super) async fn open(journal: &JournalAt) -> Result<(Hello, Connection), String> {
    let opened = tokio::time::timeout(HELLO_WITHIN, async {
        let stream = dial(&journal.address, &journal.tls).await?;
        let mut stream = BufReader::with_capacity(256 << 10, stream);
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n",
            journal.address
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
        if status.contains(" 404 ") {
            let why = "it is not the role journal: correct peers.journal, or name the roles of the process there, \
                with --role";
            return Err(why.to_owned());
        }
        if !status.contains(" 101 ") {
            return Err(format!("it answers {status:?}{}", reason(stream).await));
        }
        let mut connection = framed(stream);
        match receive(&mut connection).await? {
            Message::Hello(hello) => Ok((hello, connection)),
            _ => Err("it does not say hello".to_owned()),
        }
    });
    match opened.await {
        Ok(opened) => opened,
        Err(_) => Err(format!("no answer within {} s", HELLO_WITHIN.as_secs())),
    }
}

/// What a refusal says, as far as it came at once.
async fn reason(mut stream: BufReader<Box<dyn Duplex>>) -> String {
    let mut body = vec![0; REASON_BYTES_MAX];
    let read = tokio::time::timeout(REASON_WITHIN, stream.read(&mut body)).await;
    let Ok(Ok(read @ 1..)) = read else {
        return String::new();
    };
    body.truncate(read);
    let body = String::from_utf8_lossy(&body);
    format!(": {}", body.trim())
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
        follow.start(Stream::Journal, Place::at(from), sender);
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
        let frame = checked_frame(rest).ok().flatten();
        let frame = frame.ok_or_else(|| Failure::run("a frame changed in memory"))?;
        self.at += frame.bytes.len();
        self.next = frame.seq + u64::from(frame.count);
        Ok(Some(frame))
    }
}
