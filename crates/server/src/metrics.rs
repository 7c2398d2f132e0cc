//! The metrics that `/metrics` shows, in Prometheus's form.
//!
//! Invariant: every metric is made here, with its help text; the reference page lists them.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::peers::Peers;

/// All metrics of the process.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) orders: IntCounter,
    pub(crate) dead_letters: IntCounter,
    pub(crate) hits: IntCounter,
    pub(crate) alerts: IntGauge,
    pub(crate) late_rows: IntGauge,
    pub(crate) window_overflows: IntGauge,
    pub(crate) entities: IntGauge,
    pub(crate) guest_disabled: IntGauge,
    pub(crate) refused_buckets: IntCounterVec,
    pub(crate) duplicate_buckets: IntCounter,
    pub(crate) queue: IntGauge,
    pub(crate) commit_seconds: Histogram,
    pub(crate) publish_seconds: Histogram,
    pub(crate) group_buckets: Histogram,
    pub(crate) journal_bytes: IntGauge,
    pub(crate) journal_segments: IntGauge,
    pub(crate) journal_seq: IntGauge,
    pub(crate) recent_rows: IntGauge,
    pub(crate) recent_bytes: IntGauge,
    pub(crate) checkpoint_seq: IntGauge,
    pub(crate) checkpoint_seconds: Histogram,
    pub(crate) end_of_day: IntCounterVec,
    pub(crate) end_of_day_time: IntGauge,
    pub(crate) streams: IntGauge,
    pub(crate) connections: IntGauge,
    pub(crate) connections_closed: IntCounterVec,
    pub(crate) queries: IntCounterVec,
    pub(crate) queries_open: IntGaugeVec,
    pub(crate) query_seconds: Histogram,
    pub(crate) kdb_sessions: IntGauge,
    pub(crate) kdb_refused: IntCounterVec,
    pub(crate) postgres_sessions: IntGauge,
    pub(crate) ready: IntGauge,
    pub(crate) subscriber_lag: IntGaugeVec,
    pub(crate) lag: IntGauge,
    pub(crate) hits_seq: IntGauge,
    pub(crate) share_seq: IntGaugeVec,
    pub(crate) peer_away: IntGaugeVec,
}

/// Makes metrics and registers them; names are unique, so that registering cannot fail.
struct Maker {
    registry: Registry,
    error: Option<prometheus::Error>,
}

impl Maker {
    fn keep<M: prometheus::core::Collector + Clone + 'static>(
        &mut self,
        made: prometheus::Result<M>,
    ) -> Option<M> {
        let registered = made.and_then(|metric| {
            self.registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        });
        registered.map_err(|error| self.error = Some(error)).ok()
    }

    fn counter(&mut self, name: &str, help: &str) -> Option<IntCounter> {
        self.keep(IntCounter::new(format!("tapewatch_{name}"), help))
    }

    fn gauge(&mut self, name: &str, help: &str) -> Option<IntGauge> {
        self.keep(IntGauge::new(format!("tapewatch_{name}"), help))
    }

    fn counters(&mut self, name: &str, help: &str, label: &str) -> Option<IntCounterVec> {
        let opts = Opts::new(format!("tapewatch_{name}"), help);
        self.keep(IntCounterVec::new(opts, &[label]))
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str) -> Option<IntGaugeVec> {
        let opts = Opts::new(format!("tapewatch_{name}"), help);
        self.keep(IntGaugeVec::new(opts, &[label]))
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Option<Histogram> {
        let opts = HistogramOpts::new(format!("tapewatch_{name}"), help);
        self.keep(Histogram::with_opts(opts.buckets(buckets.to_vec())))
    }
}

const CHECKPOINT_SEQ: &str =
    "Last sequence number that the newest checkpoint of this process covers; 0 before any.";
const GUEST_DISABLED: &str = "Detectors brought by users that failed and are disabled in this process; /api/v1/status says why.";
const LATE_ROWS: &str = "Order events that were older than one before them.";
const WINDOW_OVERFLOWS: &str = "Events that left a full detector window before their time.";
const SUBSCRIBER_LAG: &str =
    "Sequence numbers that a subscriber of orders, hits or alerts has not been given yet.";
const LAG: &str =
    "Sequence numbers that the journal is known to have and this process has not applied.";
const HITS_SEQ: &str = "Last sequence number of which all hits are known: in the journal's process those of all shares of the engines.";
const SHARE_SEQ: &str = "Last sequence number up to which a share of the engines has told all its hits; 0 before it has since the journal's process began.";
const PEER_AWAY: &str = "1 while a process that this one needs does not answer, else 0.";
const CONNECTIONS_CLOSED: &str = "Connections that were closed before they said anything useful: limit, silent, unknown, plain, tls, access, starting, elsewhere.";
const DUPLICATES: &str = "Buckets that a producer sent again and that were recognised.";
const QUERIES_OPEN: &str = "SQL queries that wait for memory, or run.";
const KDB_REFUSED: &str = "Messages of kdb+ clients that were refused: sync, which are told why, and async, which are logged.";
const CHECKPOINT_SECONDS: &str = "Time to write one checkpoint, beside the pipeline.";
const SECONDS: &[f64] = &[
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0,
];
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

impl Metrics {
    /// A fresh set, all zero.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let mut maker = Maker {
            registry: Registry::new(),
            error: None,
        };
        let made = Self::make(&mut maker);
        made.ok_or_else(|| {
            maker
                .error
                .unwrap_or(prometheus::Error::Msg("a metric was not made".to_owned()))
        })
    }

    fn make(m: &mut Maker) -> Option<Self> {
        Some(Self {
            registry: m.registry.clone(),
            orders: m.counter(
                "orders_total",
                "Order events applied by this process: those read from the journal at its start, and since.",
            )?,
            dead_letters: m.counter(
                "dead_letters_total",
                "Rows refused into the dead-letter table, counted as order events are.",
            )?,
            hits: m.counter("hits_total", "Hits found, counted as order events are.")?,
            alerts: m.gauge("alerts", "Alerts known.")?,
            late_rows: m.gauge("late_rows", LATE_ROWS)?,
            window_overflows: m.gauge("window_overflows", WINDOW_OVERFLOWS)?,
            entities: m.gauge("entities", "Entities that have a detector window.")?,
            guest_disabled: m.gauge("guest_disabled", GUEST_DISABLED)?,
            refused_buckets: m.counters(
                "refused_buckets_total",
                "Buckets that were not taken.",
                "reason",
            )?,
            duplicate_buckets: m.counter("duplicate_buckets_total", DUPLICATES)?,
            queue: m.gauge("publish_queue", "Buckets that wait to be published.")?,
            commit_seconds: m.histogram(
                "journal_commit_seconds",
                "Time of one group commit of the journal.",
                SECONDS,
            )?,
            publish_seconds: m.histogram(
                "publish_seconds",
                "Time from taking a bucket off the queue to its hits being visible.",
                SECONDS,
            )?,
            group_buckets: m.histogram(
                "journal_group_buckets",
                "Buckets in one group commit.",
                COUNTS,
            )?,
            journal_bytes: m.gauge("journal_bytes", "Bytes of all journal segments.")?,
            journal_segments: m.gauge("journal_segments", "Journal segments.")?,
            journal_seq: m.gauge("journal_seq", "Last sequence number published.")?,
            recent_rows: m.gauge("recent_rows", "Order events held in memory.")?,
            recent_bytes: m.gauge("recent_bytes", "Memory that they take.")?,
            checkpoint_seq: m.gauge("checkpoint_seq", CHECKPOINT_SEQ)?,
            checkpoint_seconds: m.histogram("checkpoint_seconds", CHECKPOINT_SECONDS, SECONDS)?,
            end_of_day: m.counters("end_of_day_total", "Ends of day.", "result")?,
            end_of_day_time: m.gauge(
                "end_of_day_timestamp_seconds",
                "When the last end of day succeeded, Unix time; 0 before the first.",
            )?,
            streams: m.gauge("streams", "Open WebSocket streams.")?,
            connections: m.gauge("connections", "Open connections on all ports.")?,
            connections_closed: m.counters("connections_closed_total", CONNECTIONS_CLOSED, "reason")?,
            queries: m.counters("sql_queries_total", "SQL queries.", "result")?,
            queries_open: m.gauges("sql_queries_open", QUERIES_OPEN, "state")?,
            query_seconds: m.histogram("sql_query_seconds", "Time of one SQL query.", SECONDS)?,
            kdb_sessions: m.gauge("kdb_sessions", "kdb+ clients that are logged in.")?,
            kdb_refused: m.counters("kdb_refused_total", KDB_REFUSED, "kind")?,
            postgres_sessions: m.gauge("postgres_sessions", "Postgres clients that are let in, or handed on.")?,
            ready: m.gauge("ready", "1 when recovery is done and rows are taken.")?,
            subscriber_lag: m.gauges("subscriber_lag", SUBSCRIBER_LAG, "subscriber")?,
            lag: m.gauge("lag", LAG)?,
            hits_seq: m.gauge("hits_seq", HITS_SEQ)?,
            share_seq: m.gauges("share_seq", SHARE_SEQ, "share")?,
            peer_away: m.gauges("peer_away", PEER_AWAY, "peer")?,
        })
    }

    /// Shows which of the peers are away.
    pub(crate) fn show_peers(&self, peers: &Peers) {
        self.peer_away.reset();
        peers.each(|name, away| {
            let of_peer = self.peer_away.with_label_values(&[&name.to_string()]);
            of_peer.set(i64::from(away));
        });
    }

    /// The text form.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// Name, kind and help of each, for the reference. Metrics with labels show once they were used.
    pub(crate) fn describe(&self) -> Vec<(String, String, String)> {
        for labelled in [
            &self.subscriber_lag,
            &self.share_seq,
            &self.peer_away,
            &self.queries_open,
        ] {
            labelled.with_label_values(&[""]);
        }
        for labelled in [
            &self.refused_buckets,
            &self.end_of_day,
            &self.queries,
            &self.connections_closed,
            &self.kdb_refused,
        ] {
            labelled.with_label_values(&[""]);
        }
        let families = self.registry.gather();
        let describe = |family: &prometheus::proto::MetricFamily| {
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            (family.name().to_owned(), kind, family.help().to_owned())
        };
        families.iter().map(describe).collect()
    }
}
