//! Liveness, readiness and metrics.
//!
//! Invariant: `/readyz` is 200 exactly while the process does its work: after recovery, before the
//! stop. It names the peers that are away.

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use tapewatch_store::QueryState;

use crate::api::error::ApiError;
use crate::pipeline::gauge;
use crate::shared::Shared;

/// A header of `/readyz`: the roles of the process. A gateway looks whether it asked the right one.
pub(crate) const ROLES: HeaderName = HeaderName::from_static("tapewatch-roles");

/// The process runs.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It runs.")))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// The journal is read and rows are taken.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "Ready."), (status = 503, description = "Not ready.")))]
pub(crate) async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    let away = shared.peers.text();
    let roles = [(ROLES, shared.roles.names().join(", "))];
    // Tables can be asked while the journal is away; an engine alone can do nothing.
    if shared.is_ready() && (away.is_empty() || shared.roles.tables()) {
        (StatusCode::OK, roles, format!("ready\n{away}"))
    } else {
        let text = format!("not ready\n{away}");
        (StatusCode::SERVICE_UNAVAILABLE, roles, text)
    }
}

/// Metrics in Prometheus's text form.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "All metrics.", content_type = "text/plain")))]
pub(crate) async fn metrics(State(shared): State<Shared>) -> Result<impl IntoResponse, ApiError> {
    let (published, metrics) = (*shared.published.borrow(), &shared.metrics);
    shared.subscribers.show(published, &metrics.subscriber_lag);
    metrics.lag.set(gauge(shared.lag()));
    metrics.hits_seq.set(gauge(shared.hits_log_seq()));
    metrics.share_seq.reset();
    for (share, last_seq) in shared.shares() {
        let share = format!("{}/{}", share.index, share.count);
        let of_share = metrics.share_seq.with_label_values(&[&share]);
        of_share.set(gauge(last_seq.unwrap_or(0)));
    }
    metrics.show_peers(&shared.peers);
    let open = shared.store.queries();
    for state in [QueryState::Waiting, QueryState::Running] {
        let count = open.iter().filter(|query| query.state == state).count();
        let of_state = metrics.queries_open.with_label_values(&[state.name()]);
        of_state.set(gauge(count as u64));
    }
    let text = metrics.text().map_err(ApiError::internal)?;
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    ))
}
