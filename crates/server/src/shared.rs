//! What the API, the streams, the jobs and the end of day share in a running process.
//!
//! Invariant: everything here is cheap to clone; the pipeline thread alone changes the state.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tapewatch_detect::Shard;
use tapewatch_journal::{Readers, Retention};
use tapewatch_model::{Date, TimeSpan};
use tapewatch_store::{EndOfDayReport, Store};
use tokio::sync::watch;

use crate::alert_book::AlertBook;
use crate::clock;
use crate::config::PeersConfig;
use crate::hits_log::HitsReaders;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::pipeline::{Live, Pipeline, gauge};
use crate::roles::Roles;
use crate::subscription::{Source, Subscribers};
use crate::wire::ServeState;

/// How long an end of day waits for what other processes do.
const COME_WITHIN: Duration = Duration::from_secs(60);
/// How often it says meanwhile who is away.
const COME_SAY: Duration = Duration::from_secs(5);
/// How long an engine may take to take a connection.
const LOOK: Duration = Duration::from_secs(1);

/// A day that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DayEnd {
    pub(crate) day: Date,
    /// Last sequence number that was published then.
    pub(crate) seq: u64,
}

/// A running process, as its parts see it.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) book: Arc<Mutex<AlertBook>>,
    pub(crate) pipeline: Pipeline,
    /// Last published sequence number.
    pub(crate) published: watch::Receiver<u64>,
    /// Makes readers of the journal, when it is this process's.
    pub(crate) readers: Option<Readers>,
    pub(crate) subscribers: Subscribers,
    pub(crate) live: Arc<Live>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) metrics: Metrics,
    /// Set once, when the process begins to stop.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) retention_age: TimeSpan,
    pub(crate) retention_bytes: u64,
    pub(crate) recent_rows_max: u64,
    pub(crate) roles: Roles,
    pub(crate) peers: Peers,
    /// Where roles in other processes are.
    pub(crate) places: Arc<PeersConfig>,
    /// Last sequence number of which all hits show.
    pub(crate) hits: watch::Receiver<u64>,
    /// The last day that ended.
    pub(crate) days: watch::Sender<Option<DayEnd>>,
    /// What other roles are served with, when this process has the journal.
    pub(crate) wire: Option<ServeState>,
}

impl Shared {
    /// Waits until the process begins to stop.
    pub(crate) async fn stopped(&self) {
        // An error means that everything is gone already.
        let _ = self
            .stopping
            .clone()
            .wait_for(|stopping| *stopping)
            .await
            .map(|_| ());
    }

    /// What subscriptions to the journal are made from; `None` where the journal is not.
    pub(crate) fn source(&self) -> Option<Source> {
        Some(Source {
            readers: self.readers.clone()?,
            published: self.published.clone(),
            stopping: self.stopping.clone(),
        })
    }

    /// Tells subscribers that a day has ended, each day once.
    pub(crate) fn day_ended(&self, day: Date) {
        let seq = *self.published.borrow();
        self.days.send_if_modified(|last| {
            let new = last.is_none_or(|last| last.day < day);
            if new {
                *last = Some(DayEnd { day, seq });
            }
            new
        });
    }

    /// Where to subscribe to what is not here, for people: `orders` or what is found in them.
    pub(crate) fn elsewhere(&self, orders: bool) -> String {
        let (role, addresses) = match orders {
            true => ("journal", self.places.journal.clone()),
            false => ("recent", self.places.recent.join(", ")),
        };
        format!("subscribe at the role {role}, which is in another process ({addresses})")
    }

    /// Sequence numbers that the journal is known to have and this process has not applied.
    pub(crate) fn lag(&self) -> u64 {
        let journal = self.peers.last_seq_of("journal");
        journal.saturating_sub(*self.published.borrow())
    }

    /// Last sequence number of which all hits are known: in the log of hits, where that is kept.
    pub(crate) fn hits_log_seq(&self) -> u64 {
        let log = self.wire.as_ref().and_then(|wire| wire.hits.as_ref());
        *log.map_or(&self.hits, |log| &log.grown).borrow()
    }

    /// How far each share of the engines has told what it finds, where that is kept.
    pub(crate) fn shares(&self) -> Vec<(Shard, Option<u64>)> {
        let log = self.wire.as_ref().and_then(|wire| wire.hits.as_ref());
        log.map_or_else(Vec::new, HitsReaders::shares)
    }

    /// Whether rows are taken.
    pub(crate) fn is_ready(&self) -> bool {
        !*self.stopping.borrow()
    }

    /// Last sequence number of which rows and hits are in the tables.
    pub(crate) fn come(&self) -> u64 {
        (*self.published.borrow()).min(*self.hits.borrow())
    }

    /// Waits until the tables have all rows and hits up to a sequence number: history must not lack
    /// what comes later.
    async fn come_to(&self, seq: u64) -> Result<(), String> {
        let began = Instant::now();
        for (what, mut come) in [
            ("rows", self.published.clone()),
            ("hits", self.hits.clone()),
        ] {
            loop {
                let came = come.wait_for(|come| *come >= seq);
                let came = tokio::select! {
                    came = tokio::time::timeout(COME_SAY, came) => matches!(came, Ok(Ok(_))),
                    () = self.stopped() => return Err("the process stops".to_owned()),
                };
                if came {
                    break;
                }
                let come = *come.borrow();
                let text = format!(
                    "{what} have come only to sequence number {come}, the end of day is at {seq}{}",
                    self.who_is_away().await
                );
                if began.elapsed() >= COME_WITHIN {
                    return Err(text);
                }
                tracing::warn!("{text}; waiting");
            }
        }
        Ok(())
    }

    /// The engines that do not take a connection, for people.
    async fn who_is_away(&self) -> String {
        let mut away = self.peers.text().trim().replace('\n', "; ");
        let engines = self.places.engine.iter();
        for address in engines.filter(|_| self.roles.apart()) {
            let connected = tokio::net::TcpStream::connect(address);
            if !matches!(tokio::time::timeout(LOOK, connected).await, Ok(Ok(_))) {
                away += &format!("; no engine answers at {address}");
            }
        }
        match away.trim_start_matches("; ") {
            "" => String::new(),
            away => format!(": {away}"),
        }
    }

    /// Moves today's rows, or those up to `through_seq`, to the history, then lets go of old journal
    /// segments. The journal is forced to the disk first: history must never know more than it.
    pub(crate) async fn end_of_day(
        &self,
        through_seq: Option<u64>,
    ) -> Result<EndOfDayReport, String> {
        let synced = self
            .pipeline
            .sync()
            .await
            .map_err(|error| error.to_string())?;
        let through_seq = through_seq.unwrap_or(synced).min(synced);
        self.come_to(through_seq).await?;
        let result = self.store.end_of_day(through_seq).await;
        let label = if result.is_ok() { "done" } else { "failed" };
        self.metrics.end_of_day.with_label_values(&[label]).inc();
        let report = result.map_err(|error| {
            tracing::error!(%error, "end of day failed; it is tried again at the next one");
            error.to_string()
        })?;
        tracing::info!(
            through_seq,
            orders = report.orders.rows,
            hits = report.hits.rows,
            dead_letters = report.dead_letters.rows,
            "end of day"
        );
        self.metrics
            .end_of_day_time
            .set(clock::now().nanos() / 1_000_000_000);
        // Not up to `through_seq`: a journal that begins behind the last row of the history is one
        // that has lost rows, for who reads both.
        let moved = self.store.high_water().last().min(through_seq);
        let age = self.retention_age.nanos().unsigned_abs();
        self.pipeline
            .retain(Retention {
                bytes_max: (self.retention_bytes > 0).then_some(self.retention_bytes),
                age_max: (age > 0).then(|| Duration::from_nanos(age)),
                keep_from_seq: moved.saturating_add(1),
            })
            .await;
        self.metrics
            .recent_rows
            .set(gauge(self.store.counts().recent_orders));
        Ok(report)
    }
}
