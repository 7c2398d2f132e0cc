//! What a process has to say to the journal, and what of it may have to be said again.
//!
//! Invariant: commands go out in order, and a bucket or what an engine found is kept until it is
//! answered: both are sent again on another connection, and are recognised there. What an engine found
//! is kept until it is on the journal's disk, so that a loss of power there loses none of it. Whoever
//! waits for an answer that cannot come in time is told so.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tapewatch_model::{Bucket, Hit, Id, encode_hits};
use tokio::sync::oneshot;
use tokio_util::bytes::Bytes;

use super::{Message, Packet, Teller, UNDER_WAY_BYTES_MAX};
use crate::fold::{FrameMark, UNDER_WAY_MAX};
use crate::pipeline::{Command, PublishError, Published, Rows};

/// How long a sender waits for a journal that is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages of hits that are kept until they are on the disk, before that is asked for, or how long:
/// whoever publishes waits for it there.
const TOLD_MAX: usize = 16_384;
const FORCED_EVERY: Duration = Duration::from_secs(5);

/// What is under way.
pub(crate) struct Outbox {
    /// The process, each run another.
    name: String,
    run: u64,
    under_way: VecDeque<Sent>,
    /// Bytes of these.
    bytes: usize,
    /// Hits that were taken there, and may not be on the disk.
    told: VecDeque<Packet>,
    /// When that was asked for last, and whether the answer is due.
    asked: Instant,
    forcing: bool,
    /// Buckets without a producer that were given this process's name.
    buckets: u64,
    /// How far this process's engine said that it had come.
    progress: Option<Progress>,
}

/// A share of the engines, up to where it has found all hits, and the last frame that it has applied.
type Progress = (Teller, u64, FrameMark);

/// A message that was sent and not answered.
struct Sent {
    message: Packet,
    at: Instant,
    /// Connections on which some of it may have gone out.
    tries: u32,
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

impl Outbox {
    /// Nothing yet, of a process that is called so.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            run: run(name),
            under_way: VecDeque::new(),
            bytes: 0,
            told: VecDeque::new(),
            asked: Instant::now(),
            forcing: false,
            buckets: 0,
            progress: None,
        }
    }

    /// Whether every answer has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether it takes another command.
    pub(crate) fn has_room(&self) -> bool {
        self.under_way.len() < UNDER_WAY_MAX && self.bytes < UNDER_WAY_BYTES_MAX
    }

    /// What goes out first on a new connection.
    pub(crate) fn again(&mut self) -> Vec<Packet> {
        self.forcing = false;
        for told in std::mem::take(&mut self.told).into_iter().rev() {
            self.under_way
                .push_front(Sent::new(told, Reply::Found(true)));
        }
        if let Some(progress) = self.progress {
            // The journal forgets it when it restarts.
            let message = Packet::from(found(progress, &[]).encode());
            if self.under_way.back().map(|sent| &sent.message) != Some(&message) {
                let reply = Reply::Found(false);
                self.under_way.push_back(Sent::new(message, reply));
            }
        }
        self.count_bytes();
        let under_way = self.under_way.iter_mut();
        under_way
            .map(|sent| {
                sent.tries += 1;
                sent.message.clone()
            })
            .collect()
    }

    /// Takes a command that goes out now, if there is a connection; its message, if it has one.
    pub(crate) fn take(&mut self, command: Command, connected: bool) -> Option<Packet> {
        let (message, reply) = match command {
            Command::Publish(rows, reply) => {
                let message = match rows {
                    Rows::Decoded(bucket) => self.encode(*bucket).into(),
                    Rows::Encoded(_, bytes) => Packet::publish(bytes),
                };
                (message, Reply::Bucket(reply))
            }
            Command::Clear(reply) => (Message::Clear.encode().into(), Reply::Seq(reply)),
            Command::Configure(config, reply) => {
                let message = Message::Configure(config.canonical());
                (message.encode().into(), Reply::Seq(reply))
            }
            Command::Sync(reply) => (Message::Sync.encode().into(), Reply::Synced(Some(reply))),
            Command::SyncFound(reply) => (
                Message::SyncFound.encode().into(),
                Reply::Synced(Some(reply)),
            ),
            Command::Retain(retention) => {
                (Message::Retain(retention).encode().into(), Reply::Nobody)
            }
            Command::Found(share, through, frame, hits, told) => {
                let progress = (
                    Teller {
                        share,
                        run: self.run,
                    },
                    through,
                    frame,
                );
                self.progress = Some(progress);
                let any = !hits.is_empty();
                let reply = told.map_or(Reply::Found(any), |told| Reply::Seq(told.reply));
                (found(progress, &hits).encode().into(), reply)
            }
            Command::Checkpoint => return None, // of this process alone
        };
        let mut sent = Sent::new(message, reply);
        sent.tries = u32::from(connected);
        let message = sent.message.clone();
        self.bytes += message.len();
        self.under_way.push_back(sent); // before it can fail: then it is sent again
        Some(message)
    }

    /// What keeps a connection alive on which there is nothing to say.
    pub(crate) fn beat(&mut self) -> Packet {
        self.own(Message::Beat, Reply::Nobody)
    }

    /// Takes an answer; what is to be said because of it. An error ends the connection.
    pub(crate) fn answered(&mut self, message: Message) -> Result<Option<Packet>, String> {
        let Message::Answer(answer) = message else {
            return Err("an unexpected message".to_owned());
        };
        if let (Some(Reply::Found(_)), Err(error)) =
            (self.under_way.front().map(|sent| &sent.reply), &answer)
        {
            // They are sent again on another connection.
            return Err(error.to_string());
        }
        let sent = self.under_way.pop_front();
        let sent = sent.ok_or_else(|| "an answer that nobody waits for".to_owned())?;
        self.bytes -= sent.message.len();
        self.forcing &= !matches!(sent.reply, Reply::Synced(None));
        match &sent.reply {
            Reply::Found(true) => self.told.push_back(sent.message),
            Reply::Synced(_) if answer.is_ok() => {
                self.told.clear();
                sent.reply.give(answer);
            }
            _ => sent.give(answer),
        }
        let many = self.told.len() >= TOLD_MAX;
        let due = many || (!self.told.is_empty() && self.asked.elapsed() >= FORCED_EVERY);
        if !due || self.forcing {
            return Ok(None);
        }
        (self.asked, self.forcing) = (Instant::now(), true);
        Ok(Some(self.own(Message::SyncFound, Reply::Synced(None))))
    }

    /// The connection broke: answers what cannot be sent again, and what has waited too long.
    pub(crate) fn drop_what_cannot_wait(&mut self, why: &str) {
        let (keep, gone): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|sent| {
                let waits = sent.at.elapsed() < PATIENCE || matches!(sent.reply, Reply::Found(_));
                sent.reply.survives() && waits
            });
        self.under_way = keep;
        self.count_bytes();
        for sent in gone {
            let error = match sent.tries > 0 {
                true => PublishError::Unknown(why.to_owned()),
                false => PublishError::Refused(format!("{why}; send it again")),
            };
            sent.reply.give(Err(error));
        }
    }

    /// A message of this side's own.
    fn own(&mut self, message: Message, reply: Reply) -> Packet {
        let message = Packet::from(message.encode());
        let mut sent = Sent::new(message.clone(), reply);
        sent.tries = 1;
        self.bytes += message.len();
        self.under_way.push_back(sent);
        message
    }

    fn count_bytes(&mut self) {
        self.bytes = self.under_way.iter().map(|sent| sent.message.len()).sum();
    }

    /// The message of a bucket. One without a producer is given one, so that it can be sent again.
    fn encode(&mut self, mut bucket: Bucket) -> Bytes {
        if bucket.origin.producer.is_empty() {
            self.buckets += 1;
            bucket.origin.producer.clone_from(&self.name);
            bucket.origin.batch = self.buckets;
        }
        Message::publish(&bucket)
    }
}

impl Sent {
    /// Answers it. What was refused on this connection may still come in on one before it.
    fn give(self, answer: Result<Published, PublishError>) {
        self.reply.give(match answer {
            Err(error) if self.tries > 1 => Err(PublishError::Unknown(error.to_string())),
            answer => answer,
        });
    }

    fn new(message: Packet, reply: Reply) -> Self {
        Self {
            message,
            at: Instant::now(),
            tries: 0,
            reply,
        }
    }
}

/// The run of a process that is called so.
fn run(name: &str) -> u64 {
    let digest = *Id::of(name.as_bytes()).bytes();
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first).max(1)
}

fn found((teller, through, frame): Progress, hits: &[Hit]) -> Message {
    let mut bytes = Vec::new();
    encode_hits(hits, &mut bytes);
    Message::Found(teller, through, frame, bytes.into())
}
