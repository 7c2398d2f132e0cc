//! How long a single event takes from its publisher, through the roles `journal` and `engine`, to a
//! subscriber of hits, beside a message of the same size through a bare pipe.
//!
//! Invariant: publisher, roles and subscriber are processes of their own over loopback TCP; an event
//! carries the time at which it was due to be sent, and the subscriber's clock is the same.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use tapewatch_journal::checked_frame;
use tapewatch_model::{BucketHead, check_bucket, encode_bucket};
use tokio::sync::{mpsc, watch};
use tokio_util::bytes::Bytes;

use super::wire::{bare_pipe, connect, first_line, one_thread, part, read_message, role};
use super::{directory, event};
use crate::cli::{WireArgs, WirePartArgs};
use crate::clock;
use crate::failure::Failure;
use crate::hits_log;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::pipeline::Rows;
use crate::wire::{self, Chunk, Follow, JournalAt, Place, Stream};

/// Not counted: connections are made, files are created, windows fill.
const SETTLE: Duration = Duration::from_secs(2);
/// Different events that are sent in turn: as many as there are of each trader's.
const MESSAGES: u64 = 20_000;
/// A publisher that is ahead looks again after this.
const TICK: Duration = Duration::from_micros(100);

/// Measures the pipe, then the roles: each with one thread that receives.
pub(super) fn run(args: &WireArgs, rate: u64) -> Result<serde_json::Value, Failure> {
    let bare = bare(args)?;
    let hits = one_thread()?.block_on(hits(args))?;
    Ok(json!({
        "rate": rate,
        "fsync": args.common.fsync.as_deref().unwrap_or("interval"),
        "engine_apart": args.engine_apart,
        "bare": bare.show(),
        "hits": hits.show(),
        "p50_of_bare": hits.at(0.5) / bare.at(0.5),
    }))
}

/// Waits in nanoseconds, ascending.
struct Waits(Vec<i64>);

impl Waits {
    fn new(mut waits: Vec<i64>) -> Self {
        waits.sort_unstable();
        Self(waits)
    }

    /// Microseconds that a part of the waits is below.
    fn at(&self, part: f64) -> f64 {
        let index = (self.0.len() as f64 * part) as usize;
        let wait = self.0.get(index.min(self.0.len().saturating_sub(1)));
        wait.map_or(0.0, |&wait| wait as f64 / 1e3)
    }

    fn show(&self) -> serde_json::Value {
        json!({
            "events": self.0.len(), "p50_us": self.at(0.5), "p99_us": self.at(0.99),
            "p999_us": self.at(0.999), "max_us": self.at(1.0),
        })
    }
}

/// Collects waits between the settling and the end.
struct Collected {
    begun: Instant,
    seconds: u64,
    waits: Vec<i64>,
}

impl Collected {
    fn new(seconds: u64) -> Self {
        Self {
            begun: Instant::now(),
            seconds,
            waits: Vec::new(),
        }
    }

    fn goes_on(&self) -> bool {
        self.begun.elapsed() < SETTLE + Duration::from_secs(self.seconds)
    }

    fn note(&mut self, sent: i64) {
        if self.begun.elapsed() >= SETTLE {
            self.waits.push(clock::now().nanos() - sent);
        }
    }
}

fn bare(args: &WireArgs) -> Result<Waits, Failure> {
    let (mut stream, _parts) = bare_pipe(args)?;
    let mut message = Vec::new();
    let mut collected = Collected::new(args.common.seconds);
    while collected.goes_on() {
        read_message(&mut stream, &mut message)?;
        let sent = message.get(4..).and_then(|body| body.first_chunk());
        let sent = sent.ok_or_else(|| Failure::run("a message without a time"))?;
        collected.note(i64::from_le_bytes(*sent));
    }
    Ok(Waits::new(collected.waits))
}

async fn hits(args: &WireArgs) -> Result<Waits, Failure> {
    let data = directory(&args.common);
    let roles = match args.engine_apart {
        true => "journal",
        false => "journal,engine",
    };
    let mut journal = role(roles, &data.join("journal"), args, None)?;
    let address = first_line(&mut journal, "listening on http://")?;
    let _engine = match args.engine_apart {
        true => Some(role("engine", &data.join("engine"), args, Some(&address))?),
        false => None,
    };
    let (sender, mut inbox) = mpsc::channel(4);
    let follow = Follow {
        journal: JournalAt::plain(&address),
        name: "measure".to_owned(),
        peers: Peers::default(),
    };
    follow.start(Stream::Hits, Place::at(1), sender);
    let _publisher = part("publisher", &address, args)?;
    let mut collected = None;
    while collected.as_ref().is_none_or(Collected::goes_on) {
        match inbox.recv().await {
            Some(Chunk::Hits(_, frames)) => note_hits(&frames, &mut collected, args)?,
            Some(Chunk::Failed(why)) => return Err(Failure::run(why)),
            _ => return Err(Failure::run("the subscription ended")),
        }
    }
    Ok(Waits::new(
        collected.map_or_else(Vec::new, |collected| collected.waits),
    ))
}

fn note_hits(
    frames: &[u8],
    collected: &mut Option<Collected>,
    args: &WireArgs,
) -> Result<(), Failure> {
    let mut rest = frames;
    while let Some(frame) = checked_frame(rest).map_err(Failure::run)? {
        rest = rest.get(frame.bytes.len()..).unwrap_or_default();
        let found = hits_log::decode(&frame).map_err(Failure::run)?;
        for hit in found.hits {
            collected
                .get_or_insert_with(|| Collected::new(args.common.seconds))
                .note(hit.order.time.nanos());
        }
    }
    Ok(())
}

/// Says when each event is due.
struct Paced {
    begun: Instant,
    rate: u64,
    sent: u64,
}

impl Paced {
    fn new(rate: u64) -> Self {
        Self {
            begun: Instant::now(),
            rate,
            sent: 0,
        }
    }

    fn is_due(&self) -> bool {
        let due = Duration::from_nanos(self.sent.saturating_mul(1_000_000_000) / self.rate.max(1));
        self.begun.elapsed() >= due
    }

    /// The number of the next.
    fn next(&mut self) -> u64 {
        self.sent += 1;
        self.sent - 1
    }
}

/// Sends messages that begin with the time.
pub(super) fn bare_publisher(args: &WirePartArgs) -> Result<(), Failure> {
    let mut body = Vec::new();
    encode_bucket(&event(0)?, &mut body);
    let mut message = (body.len() as u32).to_le_bytes().to_vec();
    message.extend_from_slice(&body);
    let mut stream = connect(&args.to)?;
    let mut paced = Paced::new(args.rate);
    loop {
        while !paced.is_due() {
            std::thread::sleep(TICK);
        }
        paced.next();
        if let Some(field) = message.get_mut(4..12) {
            field.copy_from_slice(&clock::now().nanos().to_le_bytes());
        }
        stream.write_all(&message).map_err(Failure::run)?;
    }
}

/// An event that was encoded beforehand, so that what is measured is the way and not the making.
struct Prepared {
    head: BucketHead,
    payload: Vec<u8>,
    /// Where its time stands.
    time_at: usize,
}

impl Prepared {
    fn new(number: u64) -> Result<Self, Failure> {
        let mut payload = Vec::new();
        let bucket = event(number)?;
        encode_bucket(&bucket, &mut payload);
        let time = bucket.orders.times().first().map(|time| time.nanos());
        let time = time.unwrap_or_default().to_le_bytes();
        let time_at = payload.windows(time.len()).position(|bytes| bytes == time);
        Ok(Self {
            head: check_bucket(&payload).map_err(Failure::run)?,
            time_at: time_at.ok_or_else(|| Failure::run("an event without its time"))?,
            payload,
        })
    }

    /// The event as of now.
    fn now(&self) -> (BucketHead, Bytes) {
        let mut payload = self.payload.clone();
        let time = clock::now().nanos().to_le_bytes();
        if let Some(field) = payload.get_mut(self.time_at..self.time_at + time.len()) {
            field.copy_from_slice(&time);
        }
        (self.head.clone(), payload.into())
    }
}

/// Publishes single events.
pub(super) async fn publisher(args: &WirePartArgs) -> Result<(), Failure> {
    let metrics = Metrics::new().map_err(Failure::run)?;
    let journal = JournalAt::plain(&args.to);
    let pipeline = wire::connect_pipeline(&journal, "measure", &Peers::default(), metrics);
    // The runtime's own clock knows milliseconds alone.
    let (ticks, mut tick) = watch::channel(());
    std::thread::spawn(move || {
        while ticks.send(()).is_ok() {
            std::thread::sleep(TICK);
        }
    });
    let mut paced = Paced::new(args.rate);
    let messages: Vec<Prepared> = (0..MESSAGES).map(Prepared::new).collect::<Result<_, _>>()?;
    let mut messages = messages.iter().cycle();
    let mut waiting = None;
    while tick.changed().await.is_ok() {
        while waiting.is_some() || paced.is_due() {
            let one: Option<(BucketHead, Bytes)> = waiting.take().or_else(|| {
                paced.next();
                messages.next().map(Prepared::now)
            });
            let Some((head, payload)) = one else { break };
            // A full queue makes the event late, and that counts.
            let rows = Rows::Encoded(head.clone(), payload.clone());
            if pipeline.try_publish(rows).is_none() {
                waiting = Some((head, payload));
                break;
            }
        }
    }
    Ok(())
}
