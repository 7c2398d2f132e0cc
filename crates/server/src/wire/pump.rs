//! The journal's side of a subscription: everything from a sequence number on, from the disk and then,
//! for who keeps up, from memory.
//!
//! Invariant: a subscriber is served at its own pace and holds nobody up; it is never shown a frame
//! that is not committed, and each once. Those that fall behind what memory holds, and those who are one
//! too many, share a thread that serves them when others leave it time.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{FutureExt as _, StreamExt as _};
use tapewatch_journal::{ReadError, Reader, Readers};
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::serve::{Connection, ServeState, in_time, refuse, text};
use super::{BEAT, Stream, frames_head};
use crate::pipeline::PublishError;
use crate::subscription::Seat;

/// Bytes of frames that go into one message, unless one group has more.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes from memory after which it lets go of the file that it read before: about a segment, so that
/// looking from the beginning of another one costs no more than going on there.
const REST_BYTES: usize = 256 << 20;
/// Of 100; 50 is everybody's. On Linux a nice value of 10.
const LANE_PRIORITY: u8 = 25;

/// Sends a stream until the peer is gone.
pub(super) async fn subscription(
    state: &ServeState,
    mut connection: Connection,
    stream: Stream,
    from: u64,
    name: String,
) -> Result<(), String> {
    let seat = match seat(state, stream, from, &name) {
        Ok(seat) => seat,
        Err(refused) => return refuse(&mut connection, refused).await,
    };
    let opened = state.clone();
    let pump = tokio::task::spawn_blocking(move || Pump::open(&opened, stream, from)).await;
    let mut served = match pump.map_err(text)? {
        Ok(pump) => Served {
            pump,
            connection,
            seat,
        },
        Err(error) => return refuse(&mut connection, cannot(&error)).await,
    };
    loop {
        let why;
        let place = state.lane.place(stream);
        if place.is_some() {
            why = served.live(None).await?;
        } else {
            let places = state.lane.places.clone();
            let yielding = async move {
                let why = served.live(Some(&places)).await;
                (served, why)
            };
            let (back, said) = state.lane.run(yielding).await?;
            (served, why) = (back, said?);
        }
        drop(place);
        match why {
            Live::Behind => {}
            Live::Place => continue,
            Live::Gone => return Ok(()),
        }
        match state.lane.run(served.catch_up()).await?? {
            Some(caught_up) => served = caught_up,
            None => return Ok(()),
        }
    }
}

fn seat(state: &ServeState, stream: Stream, from: u64, name: &str) -> Result<Seat, PublishError> {
    let seat = match (stream, &state.hits) {
        (Stream::Journal, _) => state.subscribers.join(&label(name), from),
        (Stream::Hits, Some(hits)) => {
            let (name, log) = (label(&format!("{name}/hits")), hits.readers.clone());
            state.subscribers.join_log(&name, from, Some(log))
        }
        (Stream::Hits, None) => {
            let why =
                "the journal's process keeps no log of hits: name its roles, with --role journal";
            return Err(PublishError::Invalid(why.to_owned()));
        }
    };
    seat.map_err(|full| PublishError::Refused(full.to_string()))
}

/// A name as it may stand among the metrics.
fn label(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_./:".contains(*c))
        .take(64)
        .collect()
}

fn cannot(error: &ReadError) -> PublishError {
    PublishError::Invalid(error.to_string())
}

/// Where those are served that are behind, and those for whom there is no place beside the commands: one
/// thread for all, which yields to everything else, so that they do not hold up who publishes.
#[derive(Clone)]
pub(crate) struct Lane {
    thread: Arc<Mutex<Option<Handle>>>,
    /// Places beside the commands, for subscribers of the journal that keep up.
    places: Arc<Semaphore>,
}

impl Default for Lane {
    /// A place for every other core: the first who come are engines and tables, mostly.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            thread: Arc::default(),
            places: Arc::new(Semaphore::new((cores / 2).max(1))),
        }
    }
}

impl Lane {
    /// A place beside the commands, if there is one: always for hits, which are few.
    fn place(&self, stream: Stream) -> Option<Option<OwnedSemaphorePermit>> {
        match stream {
            Stream::Hits => Some(None),
            Stream::Journal => self.places.clone().try_acquire_owned().ok().map(Some),
        }
    }

    /// Does something there; whoever stops waiting for it ends it.
    async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let mut only = JoinSet::new();
        only.spawn_on(task, &self.handle().map_err(text)?);
        match only.join_next().await {
            Some(done) => done.map_err(text),
            None => Err("the thread of subscribers is gone".to_owned()),
        }
    }

    fn handle(&self) -> io::Result<Handle> {
        let mut lane = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        match &*lane {
            Some(lane) => Ok(lane.clone()),
            None => Ok(lane.insert(start_lane()?).clone()),
        }
    }
}

/// Starts the thread, for as long as the process runs.
fn start_lane() -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("subscribers".to_owned())
        .spawn(move || {
            let low = ThreadPriorityValue::try_from(LANE_PRIORITY);
            let set = low.and_then(|low| {
                let set = set_current_thread_priority(ThreadPriority::Crossplatform(low));
                set.map_err(|error| format!("{error:?}"))
            });
            if let Err(error) = set {
                tracing::warn!(%error, "subscribers that are behind are served as all others");
            }
            runtime.block_on(std::future::pending::<()>());
        })?;
    Ok(handle)
}

/// Why a subscriber is not served from memory any more.
enum Live {
    /// The disk has what comes next.
    Behind,
    /// There may be a place beside the commands.
    Place,
    /// The peer or the process goes.
    Gone,
}

/// A subscriber that is served.
struct Served {
    pump: Pump,
    connection: Connection,
    seat: Seat,
}

impl Served {
    /// Sends what memory holds and what comes, until that is not enough, or there is one of the places
    /// that it waits for.
    async fn live(&mut self, waits_for: Option<&Semaphore>) -> Result<Live, String> {
        let mut beat = true;
        loop {
            let (sending, behind) = self.pump.live(CHUNK_BYTES);
            if let Some(sending) = &sending {
                self.send(sending).await?;
            }
            if sending.is_none() && behind {
                return Ok(Live::Behind);
            }
            if waits_for.is_some_and(|places| places.available_permits() > 0) {
                return Ok(Live::Place);
            }
            if sending.is_some() {
                continue;
            }
            if beat {
                let nothing = self.pump.nothing();
                self.send(&nothing).await?;
            }
            let changed = tokio::select! {
                changed = tokio::time::timeout(BEAT, self.pump.grown.changed()) => changed,
                said = self.connection.next() => {
                    has_nothing_to_say(said.is_none())?;
                    return Ok(Live::Gone);
                }
            };
            match changed {
                Ok(Ok(())) => beat = self.pump.stream == Stream::Hits,
                Ok(Err(_)) => return Ok(Live::Gone),
                Err(_) => beat = true,
            }
        }
    }

    /// Sends from the disk until memory holds what comes next; `None` when the peer goes. Whoever is
    /// behind waits for the disk together with others who are.
    async fn catch_up(mut self) -> Result<Option<Self>, String> {
        loop {
            let sending = match self.pump.stored(CHUNK_BYTES) {
                Ok(sending) => sending,
                Err(error) => {
                    refuse(&mut self.connection, cannot(&error)).await?;
                    return Ok(None);
                }
            };
            if sending.is_empty() {
                return Ok(Some(self));
            }
            self.send(&sending).await?;
            if self.pump.is_near() {
                return Ok(Some(self));
            }
            if let Some(said) = self.connection.next().now_or_never() {
                has_nothing_to_say(said.is_none())?;
                return Ok(None);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn send(&mut self, sending: &Sending) -> Result<(), String> {
        let length = sending.head.len() + sending.frames.len();
        let mut head = BytesMut::with_capacity(4 + sending.head.len());
        head.put_u32_le(u32::try_from(length).map_err(text)?);
        head.put_slice(&sending.head);
        let mut message = head.freeze().chain(sending.frames.clone());
        // Past the framing, whose buffer is empty: frames go out from where they stand.
        let stream = self.connection.get_mut();
        in_time(async {
            stream.write_all_buf(&mut message).await?;
            stream.flush().await
        })
        .await?;
        self.seat.at(sending.next);
        Ok(())
    }
}

fn has_nothing_to_say(gone: bool) -> Result<(), String> {
    match gone {
        true => Ok(()),
        false => Err("a subscriber has nothing to say".to_owned()),
    }
}

/// A message for a subscriber, and the sequence number behind it.
pub(crate) struct Sending {
    head: Bytes,
    frames: Bytes,
    next: u64,
}

impl Sending {
    /// The whole message.
    #[cfg(test)]
    pub(crate) fn message(&self) -> Bytes {
        [self.head.as_ref(), &self.frames].concat().into()
    }

    /// Whether there are no frames in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// Where a subscriber stands in a stream.
pub(crate) struct Pump {
    stream: Stream,
    readers: Readers,
    /// On the disk, wherever it was left.
    reader: Reader,
    /// Bytes that came from memory since.
    from_memory: usize,
    next_seq: u64,
    /// Up to where there is something, and where that was before it last looked for frames.
    grown: watch::Receiver<u64>,
    through: u64,
}

impl Pump {
    /// At a sequence number; 0 is the first that there is.
    pub(crate) fn open(state: &ServeState, stream: Stream, from: u64) -> Result<Self, ReadError> {
        let (readers, grown) = match (stream, &state.hits) {
            (Stream::Hits, Some(hits)) => (&hits.readers, &hits.grown),
            _ => (&state.readers, &state.published),
        };
        let from = match from {
            0 => readers.first_seq()?,
            from => from,
        };
        Ok(Self {
            stream,
            reader: readers.reader(from)?,
            readers: readers.clone(),
            from_memory: 0,
            next_seq: from,
            grown: grown.clone(),
            through: 0,
        })
    }

    /// What has come, about so many bytes of it at most.
    #[cfg(test)]
    pub(crate) fn next(&mut self, bytes_max: usize) -> Result<Sending, ReadError> {
        match self.live(bytes_max) {
            (Some(sending), _) => Ok(sending),
            (None, _) => self.stored(bytes_max),
        }
    }

    /// Whether something is committed that it was not given.
    fn is_behind(&self) -> bool {
        self.next_seq <= self.readers.durable_seq()
    }

    /// What memory holds, `None` where that is nothing; whether it was behind before it looked.
    fn live(&mut self, bytes_max: usize) -> (Option<Sending>, bool) {
        // In this order: all that the news speaks of is in memory, or makes it behind, or was sent.
        self.through = *self.grown.borrow_and_update();
        let behind = self.is_behind();
        let run = self.readers.live(self.next_seq, bytes_max);
        let sending = run.map(|run| {
            self.next_seq = run.next_seq;
            self.from_memory = self.from_memory.saturating_add(run.frames.len());
            if self.from_memory > REST_BYTES {
                self.reader.rest();
            }
            self.sending(run.frames, run.last)
        });
        (sending, behind)
    }

    /// What the disk holds.
    fn stored(&mut self, bytes_max: usize) -> Result<Sending, ReadError> {
        self.through = *self.grown.borrow_and_update();
        if self.reader.next_seq() != self.next_seq {
            self.reader.seek(self.next_seq);
        }
        self.from_memory = 0;
        let mut frames = BytesMut::new();
        while frames.len() < bytes_max
            && let Some(frame) = self.reader.next_frame()?
        {
            frames.extend_from_slice(frame.bytes);
        }
        self.next_seq = self.reader.next_seq();
        let whole = frames.len() < bytes_max;
        Ok(self.sending(frames.freeze(), whole))
    }

    /// A message that only says how far things are, when it found no more.
    fn nothing(&self) -> Sending {
        self.sending(Bytes::new(), true)
    }

    fn sending(&self, frames: Bytes, whole: bool) -> Sending {
        let through = if whole { self.through } else { 0 };
        Sending {
            head: frames_head(self.stream, through).freeze(),
            frames,
            next: self.next_seq,
        }
    }

    /// Whether memory holds what comes next, and will for a while.
    fn is_near(&self) -> bool {
        self.readers.is_near(self.next_seq)
    }
}
