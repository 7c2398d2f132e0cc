//! The commands of a process without the journal, sent to the one that has it.
//!
//! Invariant: commands arrive in order, and a bucket or what an engine found arrives once: both are
//! sent again after a broken connection, and are recognised there. What an engine found is kept until
//! it is on the journal's disk, so that a loss of power there loses none of it. Whoever waits for an
//! answer that cannot come in time is told so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::SinkExt;
use tapewatch_detect::Shard;
use tapewatch_model::{Bucket, Hit, encode_bucket, encode_hits};
use tokio::sync::{mpsc, oneshot};
use tokio_util::bytes::Bytes;

use super::follow::{Connection, JournalAt, open, receive};
use super::{BEAT, Message};
use crate::fold::{FrameMark, UNDER_WAY_MAX};
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::pipeline::{Command, Pipeline, PublishError, Published, QUEUE_MAX, Rows};

/// How long a sender waits for a journal that is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages of hits that are kept until they are on the disk, before that is asked for.
const TOLD_MAX: usize = 256;
/// A connection that owes an answer for so long is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Opens a pipeline to the journal; `name` names this process there, each run another.
pub(crate) fn connect_pipeline(
    journal: &JournalAt,
    name: &str,
    peers: &Peers,
    metrics: Metrics,
) -> Pipeline {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let link = Link {
        journal: journal.clone(),
        name: name.to_owned(),
        peers: peers.clone(),
        journal_seq: peers.last_seq(&journal.peer()),
        queue,
        under_way: VecDeque::new(),
        told: VecDeque::new(),
        buckets: AtomicU64::new(0),
        progress: None,
    };
    tokio::spawn(link.run());
    Pipeline::to(sender, metrics)
}

/// The connection, and what is under way on it.
pub(crate) struct Link {
    journal: JournalAt,
    name: String,
    peers: Peers,
    /// Last sequence number that the journal is known to have.
    journal_seq: Arc<AtomicU64>,
    queue: mpsc::Receiver<Command>,
    under_way: VecDeque<Sent>,
    /// Hits that were taken there, and may not be on the disk.
    told: VecDeque<Bytes>,
    /// Buckets without a producer that were given this process's name.
    buckets: AtomicU64,
    /// How far this process's engine said that it had come.
    progress: Option<Progress>,
}

/// A share of the engines, up to where it has found all hits, and the last frame that it has applied.
type Progress = (Shard, u64, FrameMark);

/// A message that was sent and not answered.
struct Sent {
    message: Bytes,
    at: Instant,
    /// Whether any of it may have gone out.
    tried: bool,
    reply: Reply,
}

enum Reply {
    Bucket(oneshot::Sender<Result<Published, PublishError>>),
    Seq(oneshot::Sender<Result<u64, PublishError>>),
    /// Everything before it is on the disk.
    Synced(Option<oneshot::Sender<Result<u64, PublishError>>>),
    /// What an engine found, and whether that is anything: nobody waits, and it must arrive.
    Found(bool),
    Nobody,
}

impl Reply {
    fn give(self, answer: Result<Published, PublishError>) {
        // Who asked may be gone.
        match self {
            Self::Bucket(reply) => drop(reply.send(answer)),
            Self::Seq(reply) | Self::Synced(Some(reply)) => {
                drop(reply.send(answer.map(|published| published.placed.first_seq)));
            }
            Self::Synced(None) | Self::Found(_) | Self::Nobody => {}
        }
    }

    /// Whether it may be sent again on another connection.
    fn survives(&self) -> bool {
        matches!(self, Self::Bucket(_) | Self::Found(_))
    }
}

impl Link {
    async fn run(mut self) {
        let peer = self.journal.peer();
        loop {
            let why = match open(&self.journal).await {
                Ok((_, connection)) => {
                    self.peers.back(&peer);
                    match self.serve(connection).await {
                        Ok(()) => return,
                        Err(why) => why,
                    }
                }
                Err(why) => why,
            };
            let pause = self.peers.away(&peer, &why);
            self.drop_what_cannot_wait(&format!("{peer} is away: {why}"));
            if self
                .wait(pause, &format!("{peer} is away: {why}"))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// Sends and receives until the connection breaks; `Ok` when nobody sends commands any more.
    async fn serve(&mut self, mut connection: Connection) -> Result<(), String> {
        for told in std::mem::take(&mut self.told).into_iter().rev() {
            self.under_way
                .push_front(Sent::new(told, Reply::Found(true)));
        }
        for sent in &mut self.under_way {
            sent.tried = true;
            feed(&mut connection, sent.message.clone()).await?;
        }
        if let Some(progress) = self.progress {
            // The journal forgets it when it restarts.
            let message = found(progress, &[]).encode();
            if self.under_way.back().map(|sent| &sent.message) != Some(&message) {
                feed(&mut connection, message.clone()).await?;
                let reply = Reply::Found(false);
                self.under_way.push_back(Sent::new(message, reply));
            }
        }
        flush(&mut connection).await?;
        loop {
            tokio::select! {
                message = receive(&mut connection) => {
                    self.answered(message?)?;
                    if self.told.len() >= TOLD_MAX && self.under_way.is_empty() {
                        self.ask(&mut connection, Message::Sync, Reply::Synced(None)).await?;
                    }
                }
                () = tokio::time::sleep(BEAT), if self.under_way.is_empty() => {
                    self.ask(&mut connection, Message::Beat, Reply::Nobody).await?;
                }
                () = tokio::time::sleep(ANSWER_WITHIN), if !self.under_way.is_empty() => {
                    return Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs()));
                }
                command = self.queue.recv(), if self.under_way.len() < UNDER_WAY_MAX => {
                    let Some(command) = command else {
                        return self.finish(connection).await;
                    };
                    self.begin(&mut connection, command).await?;
                    while self.under_way.len() < UNDER_WAY_MAX
                        && let Ok(command) = self.queue.try_recv()
                    {
                        self.begin(&mut connection, command).await?;
                    }
                    flush(&mut connection).await?;
                }
            }
        }
    }

    /// Waits for the answers that are still due.
    async fn finish(&mut self, mut connection: Connection) -> Result<(), String> {
        while !self.under_way.is_empty() {
            let message = receive(&mut connection).await?;
            self.answered(message)?;
        }
        Ok(())
    }

    fn answered(&mut self, message: Message) -> Result<(), String> {
        let Message::Answer(answer) = message else {
            return Err("an unexpected message".to_owned());
        };
        if let (Some(Reply::Found(_)), Err(error)) =
            (self.under_way.front().map(|sent| &sent.reply), &answer)
        {
            // They are sent again on another connection.
            return Err(error.to_string());
        }
        if let Ok(published) = &answer {
            let last = published.placed.first_seq; // of a beat's answer that of the journal
            self.journal_seq.fetch_max(last, Ordering::Relaxed);
        }
        let sent = self.under_way.pop_front();
        let sent = sent.ok_or_else(|| "an answer that nobody waits for".to_owned())?;
        match &sent.reply {
            Reply::Found(true) => self.told.push_back(sent.message),
            Reply::Synced(_) if answer.is_ok() => {
                self.told.clear();
                sent.reply.give(answer);
            }
            _ => sent.reply.give(answer),
        }
        Ok(())
    }

    /// Sends a message of this side's own.
    async fn ask(
        &mut self,
        connection: &mut Connection,
        message: Message,
        reply: Reply,
    ) -> Result<(), String> {
        let message = message.encode();
        let mut sent = Sent::new(message.clone(), reply);
        sent.tried = true;
        self.under_way.push_back(sent);
        feed(connection, message).await?;
        flush(connection).await
    }

    async fn begin(&mut self, connection: &mut Connection, command: Command) -> Result<(), String> {
        let Some(mut sent) = self.message(command) else {
            return Ok(());
        };
        sent.tried = true;
        let message = sent.message.clone();
        self.under_way.push_back(sent); // before it can fail: then it is sent again
        feed(connection, message).await
    }

    fn message(&mut self, command: Command) -> Option<Sent> {
        let (message, reply) = match command {
            Command::Publish(rows, reply) => {
                let bytes = match rows {
                    Rows::Decoded(bucket) => self.encode(*bucket),
                    Rows::Encoded(_, bytes) => bytes,
                };
                (Message::Publish(bytes), Reply::Bucket(reply))
            }
            Command::Clear(reply) => (Message::Clear, Reply::Seq(reply)),
            Command::Configure(config, reply) => {
                (Message::Configure(config.canonical()), Reply::Seq(reply))
            }
            Command::Sync(reply) => (Message::Sync, Reply::Synced(Some(reply))),
            Command::Retain(retention) => (Message::Retain(retention), Reply::Nobody),
            Command::Found(share, through, frame, hits, reply) => {
                self.progress = Some((share, through, frame));
                let any = !hits.is_empty();
                let reply = reply.map_or(Reply::Found(any), Reply::Seq);
                (found((share, through, frame), &hits), reply)
            }
            Command::Checkpoint => return None, // of this process alone
        };
        Some(Sent::new(message.encode(), reply))
    }

    /// A bucket without a producer is given one, so that it can be sent again.
    fn encode(&self, mut bucket: Bucket) -> Bytes {
        if bucket.origin.producer.is_empty() {
            bucket.origin.producer.clone_from(&self.name);
            bucket.origin.batch = self.buckets.fetch_add(1, Ordering::Relaxed) + 1;
        }
        let mut bytes = Vec::new();
        encode_bucket(&bucket, &mut bytes);
        bytes.into()
    }

    /// Pauses; meanwhile commands are refused but for those that must arrive. `None` when nobody
    /// sends any more.
    async fn wait(&mut self, pause: Duration, why: &str) -> Option<()> {
        let until = tokio::time::Instant::now() + pause;
        loop {
            let command = tokio::select! {
                () = tokio::time::sleep_until(until) => return Some(()),
                command = self.queue.recv(), if self.under_way.len() < UNDER_WAY_MAX => command?,
            };
            if let Some(sent) = self.message(command) {
                self.under_way.push_back(sent);
                self.drop_what_cannot_wait(why);
            }
        }
    }

    /// Answers what cannot be sent again, and what has waited too long.
    fn drop_what_cannot_wait(&mut self, why: &str) {
        let (keep, gone): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|sent| {
                let waits = sent.at.elapsed() < PATIENCE || matches!(sent.reply, Reply::Found(_));
                sent.reply.survives() && waits
            });
        self.under_way = keep;
        for sent in gone {
            let error = match sent.tried {
                true => PublishError::Unknown(why.to_owned()),
                false => PublishError::Refused(format!("{why}; send it again")),
            };
            sent.reply.give(Err(error));
        }
    }
}

impl Sent {
    fn new(message: Bytes, reply: Reply) -> Self {
        Self {
            message,
            at: Instant::now(),
            tried: false,
            reply,
        }
    }
}

fn found((share, through, frame): Progress, hits: &[Hit]) -> Message {
    let mut bytes = Vec::new();
    encode_hits(hits, &mut bytes);
    Message::Found(share, through, frame, bytes.into())
}

async fn feed(connection: &mut Connection, message: Bytes) -> Result<(), String> {
    let fed = connection.feed(message).await;
    fed.map_err(|error: std::io::Error| error.to_string())
}

async fn flush(connection: &mut Connection) -> Result<(), String> {
    let flushed = SinkExt::<Bytes>::flush(connection).await;
    flushed.map_err(|error| error.to_string())
}
