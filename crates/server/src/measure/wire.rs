//! What the role `journal` in a process of its own carries from a publisher to a subscriber, beside a
//! bare pipe of three processes that does nothing but carry the same bytes.
//!
//! Invariant: publisher, carrier and subscriber are three processes over loopback TCP; the subscriber
//! counts what it has received and checked.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{self, Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tapewatch_journal::checked_frame;
use tapewatch_model::{Bucket, check_bucket, encode_bucket};
use tokio::sync::{mpsc, oneshot};
use tokio_util::bytes::Bytes;

use super::{directory, event, wire_latency};
use crate::cli::{WireArgs, WirePart, WirePartArgs};
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::pipeline::{Command, Published, Rows};
use crate::up;
use crate::wire::{self, Chunk, Follow, JournalAt, Place, Stream};

/// Not counted: connections are made, files are created.
const WARM_UP: Duration = Duration::from_secs(1);
/// Messages on the way at once.
const IN_FLIGHT: usize = 256;
/// Different messages that are sent in turn.
const MESSAGES: u64 = 64;

/// A process that is ended with this one.
pub(super) struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures one size of message.
pub(super) fn run(args: &WireArgs) -> Result<serde_json::Value, Failure> {
    if let Some(rate) = args.rate {
        return wire_latency::run(args, rate);
    }
    let bare = bare(args)?;
    let (carried, published) = up::block_on(journal(args))?;
    Ok(json!({
        "rows_per_message": args.rows,
        "subscribers": args.subscribers,
        "bare_rows_per_second": bare as u64,
        "rows_per_second": carried as u64,
        "published_per_second": published as u64,
        "of_bare": carried / bare,
    }))
}

pub(super) fn part(part: &str, to: &str, args: &WireArgs) -> Result<Part, Failure> {
    let program = std::env::current_exe().map_err(Failure::run)?;
    let child = process::Command::new(program)
        .args(["measure", "wire-part", part, "--to", to])
        .args(["--rows", &args.rows.to_string()])
        .args(["--rate", &args.rate.unwrap_or(0).to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::run)?;
    Ok(Part(child))
}

/// The first line that a process prints, behind `before`.
pub(super) fn first_line(part: &mut Part, before: &str) -> Result<String, Failure> {
    let out = part
        .0
        .stdout
        .take()
        .ok_or_else(|| Failure::run("no output"))?;
    let mut line = String::new();
    BufReader::new(out)
        .read_line(&mut line)
        .map_err(Failure::run)?;
    let rest = line.trim().strip_prefix(before);
    rest.map(str::to_owned)
        .ok_or_else(|| Failure::run(format!("a part of the measurement says {line:?}")))
}

/// The end of a pipe: a relay that only copies messages, and who sends them.
pub(super) fn bare_pipe(args: &WireArgs) -> Result<(BufReader<TcpStream>, [Part; 2]), Failure> {
    let mut relay = part("relay", "", args)?;
    let address = first_line(&mut relay, "at ")?;
    let stream = BufReader::with_capacity(256 << 10, connect(&address)?);
    let publisher = part("bare-publisher", &address, args)?;
    Ok((stream, [relay, publisher]))
}

/// Rows a second through the pipe.
fn bare(args: &WireArgs) -> Result<f64, Failure> {
    let (mut stream, _parts) = bare_pipe(args)?;
    let (mut message, mut rows) = (Vec::new(), 0);
    let mut rate = Rate::new(args.common.seconds);
    while rate.goes_on(rows) {
        read_message(&mut stream, &mut message)?;
        rows += args.rows;
    }
    Ok(rate.result())
}

/// Starts roles, beside a journal elsewhere if there is one.
pub(super) fn role(
    roles: &str,
    data: &Path,
    args: &WireArgs,
    journal: Option<&str>,
) -> Result<Part, Failure> {
    let program = std::env::current_exe().map_err(Failure::run)?;
    let mut command = process::Command::new(program);
    command
        .args(["up", "--role", roles, "--log-level", "warn", "--data"])
        .arg(data)
        .envs(
            ["JOURNAL", "ENGINE"].map(|role| (format!("TAPEWATCH_{role}__LISTEN"), "127.0.0.1:0")),
        )
        .envs(journal.map(|at| ("TAPEWATCH_PEERS__JOURNAL", at)))
        .stdout(Stdio::piped());
    if let Some(fsync) = &args.common.fsync {
        command.args(["--fsync", fsync]);
    }
    Ok(Part(command.spawn().map_err(Failure::run)?))
}

/// Rows a second through the role `journal`: that a subscriber got, and that a publisher got in.
async fn journal(args: &WireArgs) -> Result<(f64, f64), Failure> {
    let mut carrier = role("journal", &directory(&args.common), args, None)?;
    let address = first_line(&mut carrier, "listening on http://")?;
    let mut inboxes = Vec::new();
    for number in 0..args.subscribers.max(1) {
        let (sender, inbox) = mpsc::channel(4);
        let follow = Follow {
            journal: JournalAt::plain(&address),
            name: format!("measure-{number}"),
            peers: Peers::default(),
        };
        follow.start(Stream::Journal, Place::at(1), sender);
        inboxes.push(inbox);
    }
    let at = Follow {
        journal: JournalAt::plain(&address),
        name: "measure".to_owned(),
        peers: Peers::default(),
    };
    let mut first = inboxes.remove(0);
    for mut inbox in inboxes {
        tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    }
    let _publisher = part("publisher", &address, args)?;
    let mut rows = 0;
    let mut rate = Rate::new(args.common.seconds);
    tokio::time::sleep(WARM_UP).await;
    let before = (Instant::now(), at.hello().await.next_seq);
    while rate.goes_on(rows) {
        match first.recv().await {
            Some(Chunk::Frames(frames)) => rows += count(&frames)?,
            Some(Chunk::Failed(why)) => return Err(Failure::run(why)),
            _ => return Err(Failure::run("the subscription ended")),
        }
    }
    let published = (at.hello().await.next_seq - before.1) as f64;
    let seconds = before.0.elapsed().as_secs_f64();
    Ok((rate.result(), published / seconds))
}

fn count(frames: &[u8]) -> Result<u64, Failure> {
    let (mut rest, mut rows) = (frames, 0);
    while let Some(frame) = checked_frame(rest).map_err(Failure::run)? {
        rows += u64::from(frame.count);
        rest = rest.get(frame.bytes.len()..).unwrap_or_default();
    }
    Ok(rows)
}

/// Rows a second between the warm-up and the end.
struct Rate {
    seconds: u64,
    /// Since the first row, and since the end of the warm-up with the rows until then.
    begun: Option<Instant>,
    warm: Option<(Instant, u64)>,
    last: (Instant, u64),
}

impl Rate {
    fn new(seconds: u64) -> Self {
        Self {
            seconds,
            begun: None,
            warm: None,
            last: (Instant::now(), 0),
        }
    }

    fn goes_on(&mut self, rows: u64) -> bool {
        let now = Instant::now();
        self.last = (now, rows);
        if rows == 0 {
            return true;
        }
        let begun = *self.begun.get_or_insert(now);
        if self.warm.is_none() && now.duration_since(begun) >= WARM_UP {
            self.warm = Some((now, rows));
        }
        self.warm
            .is_none_or(|(warm, _)| now.duration_since(warm).as_secs() < self.seconds)
    }

    fn result(&self) -> f64 {
        let (warm, before) = self.warm.unwrap_or(self.last);
        let (end, rows) = self.last;
        (rows - before) as f64 / end.duration_since(warm).as_secs_f64()
    }
}

/// Does a part's work until it is ended.
pub(super) fn work(args: &WirePartArgs) -> Result<(), Failure> {
    match args.part {
        WirePart::Relay => relay(),
        WirePart::BarePublisher if args.rate > 0 => wire_latency::bare_publisher(args),
        WirePart::BarePublisher => bare_publisher(args),
        WirePart::Publisher if args.rate > 0 => {
            one_thread()?.block_on(wire_latency::publisher(args))
        }
        WirePart::Publisher => one_thread()?.block_on(publisher(args)),
    }
}

/// Who has one task needs no other threads.
pub(super) fn one_thread() -> Result<tokio::runtime::Runtime, Failure> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().map_err(Failure::run)
}

pub(super) fn connect(address: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address).map_err(Failure::run)?;
    stream.set_nodelay(true).map_err(Failure::run)?;
    Ok(stream)
}

pub(super) fn read_message(
    stream: &mut impl std::io::Read,
    message: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(Failure::run)?;
    message.resize(4 + u32::from_le_bytes(length) as usize, 0);
    let (head, body) = message.split_at_mut(4);
    head.copy_from_slice(&length);
    stream.read_exact(body).map_err(Failure::run)
}

/// Copies messages from the second that connects to the first.
fn relay() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Failure::run)?;
    println!("at {}", listener.local_addr().map_err(Failure::run)?);
    let mut to = listener.accept().map_err(Failure::run)?.0;
    to.set_nodelay(true).map_err(Failure::run)?;
    let from = listener.accept().map_err(Failure::run)?.0;
    let mut from = BufReader::with_capacity(256 << 10, from);
    let mut message = Vec::new();
    loop {
        read_message(&mut from, &mut message)?;
        to.write_all(&message).map_err(Failure::run)?;
    }
}

fn buckets(rows: u64) -> Result<Vec<Bucket>, Failure> {
    let bucket = |number: u64| {
        let mut bucket = Bucket::default();
        for row in 0..rows {
            let one = event(number * rows + row)?;
            bucket.orders.append(&one.orders).map_err(Failure::run)?;
        }
        Ok(bucket)
    };
    (0..MESSAGES).map(bucket).collect()
}

/// The messages' bytes: made once, so that what is measured is the way and not the making.
fn payloads(rows: u64) -> Result<Vec<Vec<u8>>, Failure> {
    let payload = |bucket: &Bucket| {
        let mut payload = Vec::new();
        encode_bucket(bucket, &mut payload);
        payload
    };
    Ok(buckets(rows)?.iter().map(payload).collect())
}

fn bare_publisher(args: &WirePartArgs) -> Result<(), Failure> {
    let mut messages = payloads(args.rows)?;
    for message in &mut messages {
        let length = message.len() as u32;
        message.splice(..0, length.to_le_bytes());
    }
    let mut stream = connect(&args.to)?;
    loop {
        for message in &messages {
            stream.write_all(message).map_err(Failure::run)?;
        }
    }
}

async fn publisher(args: &WirePartArgs) -> Result<(), Failure> {
    let metrics = Metrics::new().map_err(Failure::run)?;
    let pipeline = wire::connect_pipeline(
        &JournalAt::plain(&args.to),
        "measure",
        &Peers::default(),
        metrics,
    );
    let rows = |payload: Vec<u8>| match check_bucket(&payload) {
        Ok(head) => Ok((head, Bytes::from(payload))),
        Err(error) => Err(Failure::run(error)),
    };
    let messages = payloads(args.rows)?.into_iter().map(rows);
    let messages: Vec<_> = messages.collect::<Result<_, _>>()?;
    let stopped = || Failure::run("the connection's task ended");
    let mut answers = VecDeque::new();
    for (head, payload) in messages.iter().cycle() {
        if answers.len() == IN_FLIGHT {
            let answer: oneshot::Receiver<_> = answers.pop_front().ok_or_else(stopped)?;
            let published: Result<Published, _> = answer.await.map_err(Failure::run)?;
            published.map_err(Failure::run)?;
        }
        let rows = Rows::Encoded(head.clone(), payload.clone());
        let answer = pipeline.submit(|reply| Command::Publish(rows, reply)).await;
        answers.push_back(answer.ok_or_else(stopped)?);
    }
    Ok(())
}
