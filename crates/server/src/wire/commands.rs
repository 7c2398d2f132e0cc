//! Commands that come over a connection to the journal: each handed on in its turn, and what comes of it.
//!
//! Invariant: answers come in the order of the commands; what an engine found on rows that the journal
//! does not have is refused, and with it all that comes behind it on the connection; so is what a second
//! process tells of a share.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use tapewatch_detect::DetectConfig;
use tapewatch_journal::{ReadError, Reader, Readers};
use tapewatch_model::{BucketDecoder, check_bucket, decode_hits};
use tokio::sync::oneshot;

use super::serve::ServeState;
use super::sharers::Claim;
use super::{Message, Teller, UNDER_WAY_BYTES_MAX};
use crate::fold::{FrameMark, Placed, UNDER_WAY_MAX};
use crate::pipeline::{Command, PublishError, Published, Rows, Told};

type Answer<T> = oneshot::Receiver<Result<T, PublishError>>;

/// An answer that is not sent yet.
enum Due {
    Known(Result<Published, PublishError>),
    Published(Answer<Published>),
    Seq(Answer<u64>),
}

impl Due {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Published, PublishError>> {
        let gone = |_| Err(stopping());
        match self {
            Self::Known(answer) => Poll::Ready(answer.clone()),
            Self::Published(answer) => answer
                .poll_unpin(context)
                .map(|answer| answer.unwrap_or_else(gone)),
            Self::Seq(answer) => answer.poll_unpin(context).map(|answer| {
                let seq = answer.unwrap_or_else(|_| Err(stopping()));
                seq.map(at)
            }),
        }
    }
}

fn stopping() -> PublishError {
    PublishError::Stopped("the process is stopping".to_owned())
}

/// The answers that are due, in order, and how many bytes of rows or hits wait for each.
#[derive(Default)]
pub(crate) struct AllDue {
    due: VecDeque<(Due, usize)>,
    bytes: usize,
}

impl AllDue {
    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Whether another command is taken.
    pub(crate) fn has_room(&self) -> bool {
        self.due.len() <= UNDER_WAY_MAX && self.bytes < UNDER_WAY_BYTES_MAX
    }

    /// Hands a command on, in its turn.
    pub(crate) async fn take(
        &mut self,
        commands: &mut Commands,
        state: &ServeState,
        message: Message,
    ) -> Result<(), String> {
        let bytes = match &message {
            Message::Publish(bytes) | Message::Found(.., bytes) => bytes.len(),
            _ => 0,
        };
        let due = commands.take(state, message).await?;
        self.due.push_back((due, bytes));
        self.bytes += bytes;
        Ok(())
    }

    /// The next; waits for ever where none is due.
    pub(crate) async fn next(&mut self) -> Result<Published, PublishError> {
        poll_fn(|context| match self.due.front_mut() {
            None => Poll::Pending,
            Some((due, bytes)) => {
                let answer = due.poll(context);
                if answer.is_ready() {
                    self.bytes -= *bytes;
                    self.due.pop_front();
                }
                answer
            }
        })
        .await
    }
}

/// What is known of a connection that sends commands.
#[derive(Default)]
pub(crate) struct Commands {
    decoder: BucketDecoder,
    /// Whether something that an engine found was refused.
    refused: Arc<AtomicBool>,
    /// The share that it tells of.
    claim: Option<Claim>,
    seen: Seen,
}

impl Commands {
    /// Hands a command on, in its turn; what comes of it.
    async fn take(&mut self, state: &ServeState, message: Message) -> Result<Due, String> {
        let pipeline = &state.pipeline;
        let seq = |answer: Option<Answer<u64>>| {
            answer.map_or_else(|| Due::Known(Err(stopping())), Due::Seq)
        };
        Ok(match message {
            Message::Publish(bytes) => {
                let rows = match state.keeps_rows {
                    true => self.decoder.decode(&bytes).map(Rows::from),
                    false => check_bucket(&bytes).map(|head| Rows::Encoded(head, bytes)),
                };
                match rows {
                    Ok(rows) => {
                        let answer = pipeline.submit(|reply| Command::Publish(rows, reply));
                        let answer = answer.await;
                        answer.map_or_else(|| Due::Known(Err(stopping())), Due::Published)
                    }
                    Err(error) => refused(&error),
                }
            }
            Message::Clear => seq(pipeline.submit(Command::Clear).await),
            Message::Configure(json) => match DetectConfig::from_canonical(&json) {
                Ok(config) => {
                    let config = Box::new(config);
                    let answer = pipeline.submit(|reply| Command::Configure(config, reply));
                    seq(answer.await)
                }
                Err(error) => refused(&error),
            },
            Message::Beat => Due::Known(Ok(at(*state.published.borrow()))),
            Message::Sync => seq(pipeline.submit(Command::Sync).await),
            Message::SyncFound => seq(pipeline.submit(Command::SyncFound).await),
            Message::Retain(retention) => {
                pipeline.retain(retention).await;
                Due::Known(Ok(at(0)))
            }
            Message::Found(teller, through, frame, hits) => {
                let hits = decode_hits(&hits).map_err(|error| error.to_string())?;
                let before = Arc::clone(&self.refused);
                if let Err(why) = self.claim(state, teller) {
                    before.store(true, Ordering::Relaxed);
                    return Ok(refused(&why));
                }
                if !self.seen.is_there(state, frame).await {
                    before.store(true, Ordering::Relaxed);
                    return Ok(refused(
                        &"the engine has seen other rows than the journal has",
                    ));
                }
                let told = |reply| {
                    Some(Told {
                        reply,
                        refused: before,
                    })
                };
                let answer = pipeline.submit(|reply| {
                    Command::Found(teller.share, through, frame, hits, told(reply))
                });
                seq(answer.await)
            }
            _ => return Err("a message that only the journal sends".to_owned()),
        })
    }

    /// Claims the share that is told of, once for the connection.
    fn claim(&mut self, state: &ServeState, Teller { share, run }: Teller) -> Result<(), String> {
        let claimed = self.claim.as_ref();
        if claimed.is_none_or(|claim| !claim.is_of(share, run)) {
            self.claim = Some(state.sharers.claim(share, run)?);
        }
        Ok(())
    }
}

/// The last frame that a peer said it had seen, and a reader behind it.
#[derive(Default)]
struct Seen {
    frame: Option<FrameMark>,
    reader: Option<Reader>,
}

impl Seen {
    /// Whether the journal has this very frame: one that has lost rows may have others in their place.
    async fn is_there(&mut self, state: &ServeState, frame: FrameMark) -> bool {
        if frame.count == 0 || self.frame == Some(frame) {
            return true;
        }
        let is_there = match state.marks.has(frame) {
            Some(known) => known,
            None => {
                let (readers, reader) = (state.readers.clone(), self.reader.take());
                let look = move || look(&readers, reader, frame);
                let looked = tokio::task::spawn_blocking(look).await;
                let (reader, is_there) = looked.unwrap_or((None, false));
                self.reader = reader;
                is_there
            }
        };
        self.frame = is_there.then_some(frame);
        is_there
    }
}

/// Looks for a frame on the disk, with a reader that may stand before it; gives the reader behind it.
fn look(readers: &Readers, before: Option<Reader>, frame: FrameMark) -> (Option<Reader>, bool) {
    let before = before.filter(|reader| reader.next_seq() <= frame.seq);
    let mut reader = match before.map_or_else(|| readers.reader(frame.seq), Ok) {
        Ok(reader) => reader,
        // It is history, and with it what rests on it.
        Err(error) => return (None, matches!(error, ReadError::Gone { .. })),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(found)) => {
                let found = FrameMark::of(&found);
                if found.last_seq() >= frame.seq {
                    return (Some(reader), found == frame);
                }
            }
            Ok(None) => return (None, false),
            Err(error) => return (None, matches!(error, ReadError::Gone { .. })),
        }
    }
}

fn refused(error: &dyn std::fmt::Display) -> Due {
    let refused = PublishError::Invalid(error.to_string());
    Due::Known(Err(refused))
}

/// A sequence number as an answer.
fn at(seq: u64) -> Published {
    let placed = Placed {
        batch: 0,
        first_seq: seq,
        orders: 0,
        dead_letters: 0,
    };
    Published {
        placed,
        duplicate: false,
    }
}
