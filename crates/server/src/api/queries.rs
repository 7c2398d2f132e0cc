//! The queries that wait and run: who looks at them, and who ends one.
//!
//! Invariant: a query is shown until its work has ended, however it came in.

use axum::extract::State;
use serde::Serialize;
use tapewatch_store::QueryStatus;
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Json, Path};
use crate::shared::Shared;

/// A query.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueryRow {
    /// Its id, as the header `x-tapewatch-query` of its answer tells it.
    id: String,
    /// `waiting`, `running`, `done`, `failed` or `cancelled`.
    state: &'static str,
    /// How it came in: `http`, `flight`, `kdb`, `postgres` or `own`.
    door: &'static str,
    /// The statement, at most 4 KiB of it.
    query: String,
    /// When it came.
    since: String,
    /// For how long it has been, or was, there.
    seconds: f64,
    /// Rows given so far.
    rows: u64,
    /// Memory that it holds for sorts, joins and aggregates.
    memory_bytes: usize,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The same for programs: `limit`, `cancelled`, `busy`, `bad_request` or `internal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl From<QueryStatus> for QueryRow {
    fn from(status: QueryStatus) -> Self {
        Self {
            id: status.id,
            state: status.state.name(),
            door: status.door,
            query: status.text,
            since: status.since.to_string(),
            seconds: status.seconds,
            rows: status.rows,
            memory_bytes: status.memory_bytes,
            error: status.error,
            code: status.code,
        }
    }
}

/// Queries, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queries {
    queries: Vec<QueryRow>,
}

/// The queries that wait and run.
#[utoipa::path(get, path = "/api/v1/queries", tag = "read", responses((status = 200, body = Queries)))]
pub(crate) async fn queries(State(shared): State<Shared>) -> Json<Queries> {
    let queries = shared.store.queries().into_iter();
    Json(Queries {
        queries: queries.map(QueryRow::from).collect(),
    })
}

/// A query that waits or runs, or is among the last 256 that have ended: then why.
#[utoipa::path(get, path = "/api/v1/queries/{id}", tag = "read", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = QueryRow), (status = 404, body = ErrorBody)))]
pub(crate) async fn query(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<QueryRow>, ApiError> {
    let found = shared.store.query_status(&id);
    let missing = || ApiError::not_found(format!("there is no query {id}"));
    found.map(|status| Json(status.into())).ok_or_else(missing)
}

/// Ends a query. Who reads its answer hears it at once; its work ends at its next pause.
#[utoipa::path(delete, path = "/api/v1/queries/{id}", tag = "read", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, body = QueryRow), (status = 404, body = ErrorBody)))]
pub(crate) async fn cancel(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<QueryRow>, ApiError> {
    match shared.store.cancel_query(&id) {
        true => query(State(shared), Path(id)).await,
        false => Err(ApiError::not_found(format!(
            "no query {id} waits or runs: it has ended, or there was none"
        ))),
    }
}
