//! How the process stands, and the end of the day by hand.

use std::sync::atomic::Ordering;

use axum::extract::State;
use serde::Serialize;
use tapewatch_detect::Shard;
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::Json;
use crate::clock;
use crate::fold::lock;
use crate::in_force::InForce;
use crate::jobs::Job;
use crate::peers::PeerStatus;
use crate::roles::Role;
use crate::shared::Shared;
use crate::subscription::SubscriberStatus;

/// How the process stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    version: &'static str,
    /// What this process does: `journal`, `engine`, `recent`, `history`, `gateway`.
    roles: Vec<&'static str>,
    /// Rows are taken.
    ready: bool,
    /// Order events, today's and past.
    orders: u64,
    hits: u64,
    alerts: u64,
    dead_letters: u64,
    /// Order events that came after a newer one since the start of the journal.
    late_rows: u64,
    /// Order events in memory.
    recent_orders: u64,
    /// The sequence number that the next row gets.
    next_seq: u64,
    /// Sequence numbers that the journal is known to have and this process has not applied.
    lag: u64,
    /// Last sequence number of which all hits are known: in the journal's process those of all shares.
    hits_seq: u64,
    /// The processes that this one needs. A gateway names all, and asks each how far it is.
    peers: Vec<PeerStatus>,
    /// Who is subscribed here, the other roles among them.
    subscribers: Vec<SubscriberStatus>,
    /// The shares of the engines, as far as they have told the journal's process; there, or at a gateway.
    shares: Vec<ShareStatus>,
    /// Detectors and rules in force.
    detectors: Vec<InForce>,
    /// Detectors brought by users that failed and are disabled: which, since when, why, what to do. Each
    /// engine has its own: a gateway says which.
    disabled: Vec<String>,
    /// Feeds that run inside the process, newest first.
    feeds: Vec<Job>,
}

/// How far a share of the engines is.
#[derive(Debug, Serialize, ToSchema)]
struct ShareStatus {
    /// As in `engine.share`: the second of three is `1/3`.
    share: String,
    /// Last sequence number up to which it has told all hits; not there before it has since the
    /// journal's process began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_seq: Option<u64>,
    /// Sequence numbers by which it is behind the journal.
    lag: u64,
}

fn shares(shared: &Shared, published: u64) -> Vec<ShareStatus> {
    let one = |(share, last_seq): (Shard, Option<u64>)| ShareStatus {
        share: format!("{}/{}", share.index, share.count),
        last_seq,
        lag: published.saturating_sub(last_seq.unwrap_or(0)),
    };
    shared.shares().into_iter().map(one).collect()
}

/// How the process stands.
#[utoipa::path(get, path = "/api/v1/status", tag = "operate", responses((status = 200, body = Status)))]
pub(crate) async fn status(State(shared): State<Shared>) -> Json<Status> {
    let (counts, published) = (shared.store.counts(), *shared.published.borrow());
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        roles: shared.roles.names(),
        ready: shared.is_ready(),
        orders: counts.orders,
        hits: counts.hits,
        alerts: lock(&shared.book).total(),
        dead_letters: counts.dead_letters,
        late_rows: shared.live.late_rows.load(Ordering::Relaxed),
        recent_orders: counts.recent_orders,
        next_seq: published.saturating_add(1),
        lag: shared.lag(),
        hits_seq: shared.hits_log_seq(),
        peers: shared.peers.status(None),
        subscribers: shared.subscribers.status(published),
        shares: shares(&shared, published),
        detectors: shared.live.in_force().1.clone(),
        disabled: shared.live.disabled(),
        feeds: shared.jobs.list(),
    })
}

/// What an end of day moved to the history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndOfDayAnswer {
    /// Last sequence number that is in the history.
    through_seq: u64,
    orders: u64,
    hits: u64,
    dead_letters: u64,
    /// Dates (UTC) of the partitions that got rows.
    dates: Vec<String>,
}

/// Moves today's rows to the history now. Doing it again with nothing new changes nothing.
#[utoipa::path(post, path = "/api/v1/eod", tag = "operate",
    responses((status = 200, body = EndOfDayAnswer), (status = 500, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn end_of_day(
    State(shared): State<Shared>,
) -> Result<Json<EndOfDayAnswer>, ApiError> {
    if !shared.is_ready() {
        return Err(ApiError::not_ready());
    }
    if !shared.roles.has(Role::History) {
        let text = "this process does not write the history: ask the role history, or the gateway";
        return Err(ApiError::misdirected(text));
    }
    let report = shared.end_of_day(None).await.map_err(ApiError::internal)?;
    shared.day_ended(clock::now().date());
    Ok(Json(EndOfDayAnswer {
        through_seq: report.orders.through,
        orders: report.orders.rows,
        hits: report.hits.rows,
        dead_letters: report.dead_letters.rows,
        dates: report
            .orders
            .dates
            .iter()
            .map(ToString::to_string)
            .collect(),
    }))
}
