//! The session of one kdb+ client: requests in, answers out, in order.
//!
//! Invariant: each synchronous message is answered once, before the next is looked at; each update
//! is published in the order in which it came. Nothing that a client sends is ever run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tapewatch_connect::kdb::qsql;
use tapewatch_connect::kdb::tick::{self, ORDER, ORDER_ALERTS, Request, Subscription};
use tapewatch_connect::kdb::value::{Atom, Value};
use tapewatch_connect::kdb::wire::{Limits, MessageKind, decode_message};
use tapewatch_model::Bucket;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::out::Out;
use super::reader::{Frame, Reader};
use super::subscriber::{Ready, Running};
use super::{answer, publish};
use crate::jobs::start_demo;
use crate::pipeline::{Command, PublishError, Published};
use crate::shared::{DayEnd, Shared};

/// Updates of a client that are being made durable.
const UNDER_WAY_MAX: usize = 64;
/// From here on bytes are decoded beside the runtime's workers.
const DECODE_BESIDE: usize = 128 << 10;
/// How long the end of the day waits for a subscriber that lags.
const LAG_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of a client's name in metrics, logs and dead letters.
const NAME_BYTES_MAX: usize = 64;

type Answer = oneshot::Receiver<Result<Published, PublishError>>;

/// A session.
pub(super) struct Session {
    shared: Shared,
    reader: Reader,
    out: Arc<Out>,
    peer: SocketAddr,
    /// `kdb` or `kdb-user`.
    name: String,
    orders: Option<Running>,
    alerts: Option<Running>,
    under_way: FuturesOrdered<Answer>,
    days: watch::Receiver<Option<DayEnd>>,
    endings: JoinSet<()>,
    /// Asynchronous messages that were refused.
    refused: u64,
}

impl Session {
    pub(super) fn new(
        shared: Shared,
        reader: Reader,
        out: Arc<Out>,
        peer: SocketAddr,
        user: String,
    ) -> Self {
        let plain = |letter: &char| letter.is_ascii_alphanumeric() || "._-@".contains(*letter);
        let user: String = user.chars().filter(plain).take(NAME_BYTES_MAX).collect();
        let name = match user.as_str() {
            "" => "kdb".to_owned(),
            user => format!("kdb-{user}"),
        };
        let mut days = shared.days.subscribe();
        days.mark_unchanged(); // days that ended before
        Self {
            shared,
            reader,
            out,
            peer,
            name,
            orders: None,
            alerts: None,
            under_way: FuturesOrdered::new(),
            days,
            endings: JoinSet::new(),
            refused: 0,
        }
    }

    /// Serves the client to its end.
    pub(super) async fn run(mut self) {
        let ended = self.serve().await;
        // What it published is told of also when it did not wait.
        while let Some(answer) = self.under_way.next().await {
            self.published(answer);
        }
        if let Err(why) = ended {
            tracing::warn!(peer = %self.peer, client = self.name, why, "kdb+ client let go");
        }
    }

    async fn serve(&mut self) -> Result<(), String> {
        loop {
            let waits = self.under_way.len() < UNDER_WAY_MAX;
            tokio::select! {
                biased;
                () = self.shared.stopped() => return Ok(()),
                why = self.out.broken() => return Err(why),
                Some(answer) = self.under_way.next() => self.published(answer),
                Ok(()) = self.days.changed() => self.end_of_day(),
                Some(_) = self.endings.join_next() => {}
                frame = self.reader.next(), if waits => match frame? {
                    Some(frame) => self.take(frame).await,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Takes a message and answers it when that is wanted.
    async fn take(&mut self, frame: Frame) {
        let (kind, order) = (frame.header.kind, frame.header.order);
        self.out.speak(order);
        if kind == MessageKind::Response {
            return self.refuse("an answer to nothing");
        }
        let asked = match frame.bytes.len() > DECODE_BESIDE {
            true => tokio::task::block_in_place(|| asked(&frame, &self.name)),
            false => asked(&frame, &self.name),
        };
        let waits = kind == MessageKind::Sync;
        let answer = match asked {
            Ok(Asked::Publish(bucket)) => self.publish(*bucket, waits).await,
            Ok(Asked::Else(request)) => {
                // As in q, whoever asks sees what he sent before.
                while let Some(answer) = self.under_way.next().await {
                    self.published(answer);
                }
                self.ask(request, waits).await
            }
            Err(why) => Err(why),
        };
        match (waits, answer) {
            (true, Ok(Some(value))) => drop(self.out.send(MessageKind::Response, &value).await),
            (true, Err(why)) => {
                self.count("sync");
                let error = Value::error(&why);
                self.out.send(MessageKind::Response, &error).await;
            }
            (false, Err(why)) => self.refuse(&why),
            (_, Ok(_)) => {}
        }
    }

    fn count(&self, kind: &str) {
        let refused = &self.shared.metrics.kdb_refused;
        refused.with_label_values(&[kind]).inc();
    }

    /// Counts an asynchronous message, and tells the operator now and then.
    fn refuse(&mut self, why: &str) {
        self.count("async");
        self.refused += 1;
        if self.refused.is_power_of_two() {
            let (peer, refused) = (self.peer, self.refused);
            tracing::warn!(%peer, client = self.name, why, refused, "kdb+ message refused");
        }
    }

    async fn publish(&mut self, bucket: Bucket, waits: bool) -> Result<Option<Value>, String> {
        if bucket.is_empty() {
            return Ok(Some(Value::NOTHING));
        }
        if waits {
            let published = self.shared.pipeline.publish(bucket).await;
            return published
                .map(|_| Some(Value::NOTHING))
                .map_err(|error| error.to_string());
        }
        let answer = self
            .shared
            .pipeline
            .submit(|reply| Command::Publish(bucket.into(), reply))
            .await;
        self.under_way.push_back(answer.ok_or("the process stops")?);
        Ok(None)
    }

    /// What became of an update that nobody waits for.
    fn published(
        &mut self,
        answer: Result<Result<Published, PublishError>, oneshot::error::RecvError>,
    ) {
        match answer {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let refused = &self.shared.metrics.refused_buckets;
                refused.with_label_values(&[error.reason()]).inc();
                self.refuse(&error.to_string());
            }
            Err(_) => self.refuse("the process stops"),
        }
    }

    /// Everything but updates with rows. `None` when the answer is sent already.
    async fn ask(&mut self, request: Request, waits: bool) -> Result<Option<Value>, String> {
        Ok(Some(match request {
            Request::Subscribe(subscription) => {
                return self.subscribe(subscription, waits, |answer| answer).await;
            }
            Request::SubscribeFrom(subscription) => {
                let both = |answer| Value::mixed(vec![answer, tick::no_log()]);
                return self.subscribe(subscription, waits, both).await;
            }
            Request::Position => tick::no_log(),
            Request::Health => Value::Atom(Atom::Long(4)),
            Request::Tables => tick::tables(),
            Request::Columns(table) => tick::cols(&table).ok_or(table)?,
            Request::Meta(table) => tick::meta(&table).ok_or(table)?,
            Request::PushSample => {
                let (rows, second) = (
                    std::num::NonZeroUsize::MIN.saturating_add(1),
                    Duration::from_secs(1),
                );
                start_demo(&self.shared, rows, second, true)
                    .map(|_| Value::NOTHING)
                    .ok_or("too many feeds run already")?
            }
            Request::EndOfDay(_) => {
                let why = "nyi: the day ends at session.rolls_at, or with `tapewatch eod`";
                return Err(why.to_owned());
            }
            Request::Count(table) => {
                let select = qsql::parse(&format!("count {table}")).map_err(|_| table)?;
                answer::query(&self.shared, select).await?
            }
            // An answer that nobody waits for is not made.
            Request::Query(_) if !waits => Value::NOTHING,
            Request::Query(select) => answer::query(&self.shared, select).await?,
            Request::Update(_) => Value::NOTHING, // told apart before
        }))
    }

    /// What can be subscribed to in this process.
    fn tables(&self) -> Vec<String> {
        let shared = &self.shared;
        let of_journal = shared.readers.is_some().then_some(ORDER);
        let of_tables = shared.roles.tables().then_some(ORDER_ALERTS);
        let here = of_journal.into_iter().chain(of_tables);
        here.map(str::to_owned).collect()
    }

    /// Subscribes, answers, and begins to send only then.
    async fn subscribe(
        &mut self,
        subscription: Subscription,
        waits: bool,
        answer: impl FnOnce(Value) -> Value,
    ) -> Result<Option<Value>, String> {
        let here = self.tables();
        let tables = subscription.tables.as_ref().unwrap_or(&here);
        if tables.is_empty() {
            return Err("no tables here: subscribe at the role journal or recent".to_owned());
        }
        let open =
            |table: &String| Ready::open(&self.shared, table, &subscription.syms, &self.name);
        let ready = tables.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        for subscription in &ready {
            let before = match subscription {
                Ready::Orders(_) => self.orders.take(),
                Ready::Alerts(_) => self.alerts.take(),
            };
            if let Some(before) = before {
                before.end().await;
            }
        }
        if waits {
            let answer = answer(tick::subscribed(tables, subscription.tables.is_none()));
            self.out.send(MessageKind::Response, &answer).await;
        }
        for subscription in ready {
            let place = match subscription {
                Ready::Orders(_) => &mut self.orders,
                Ready::Alerts(_) => &mut self.alerts,
            };
            // There is one when a table was named twice.
            if let Some(before) = place.replace(subscription.start(&self.out)) {
                before.end().await;
            }
        }
        Ok(None)
    }

    /// Tells a subscriber that a day has ended, after the rows of that day.
    fn end_of_day(&mut self) {
        let Some(end) = *self.days.borrow_and_update() else {
            return;
        };
        let running = self.orders.iter().chain(&self.alerts);
        let positions: Vec<_> = running
            .map(|running| Arc::clone(&running.position))
            .collect();
        if positions.is_empty() {
            return;
        }
        let out = Arc::clone(&self.out);
        self.endings.spawn(async move {
            let latest = Instant::now() + LAG_MAX;
            let lags = || {
                positions
                    .iter()
                    .any(|at| at.load(Ordering::Relaxed) <= end.seq)
            };
            while lags() && Instant::now() < latest {
                tokio::time::sleep(LOOK).await;
            }
            out.send(MessageKind::Async, &tick::end_of_day(end.day))
                .await;
        });
    }
}

/// What a message asks.
enum Asked {
    Publish(Box<Bucket>),
    Else(Request),
}

fn asked(frame: &Frame, name: &str) -> Result<Asked, String> {
    let message = decode_message(&frame.bytes, &Limits::default());
    let message = message.map_err(|error| format!("badmsg: {error}"))?;
    match Request::parse(message.value).map_err(|refused| refused.to_string())? {
        Request::Update(update) => {
            publish::bucket(update, name).map(|bucket| Asked::Publish(Box::new(bucket)))
        }
        request => Ok(Asked::Else(request)),
    }
}
