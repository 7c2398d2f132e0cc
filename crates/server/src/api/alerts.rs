//! The alerts, newest first, and one by its id.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::alert_book::AlertRow;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Json, Path, Query};
use crate::api::orders::ROWS_MAX;
use crate::fold::lock;
use crate::shared::Shared;

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertsQuery {
    /// Only alerts with a hit after this sequence number, oldest first.
    after_seq: Option<u64>,
    /// Most rows: 1000 unless said, at most 50000.
    limit: Option<usize>,
}

/// Alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alerts {
    rows: Vec<AlertRow>,
}

/// The alerts, newest first. The latest 100000 are held; SQL has all of them.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "read", params(AlertsQuery),
    responses((status = 200, body = Alerts), (status = 400, body = ErrorBody)))]
pub(crate) async fn alerts(
    State(shared): State<Shared>,
    Query(query): Query<AlertsQuery>,
) -> Result<Json<Alerts>, ApiError> {
    let limit = query.limit.unwrap_or(1_000);
    if limit > ROWS_MAX {
        return Err(ApiError::bad_request(format!(
            "limit is {limit}: at most {ROWS_MAX}"
        )));
    }
    let book = lock(&shared.book);
    let rows = match query.after_seq {
        Some(seq) => book.after(seq, limit),
        None => book.newest().take(limit).cloned().collect(),
    };
    Ok(Json(Alerts { rows }))
}

/// One alert.
#[utoipa::path(get, path = "/api/v1/alerts/{alert_id}", tag = "read",
    params(("alert_id" = String, Path, description = "32 hex digits")),
    responses((status = 200, body = AlertRow), (status = 404, body = ErrorBody)))]
pub(crate) async fn alert(
    State(shared): State<Shared>,
    Path(alert_id): Path<String>,
) -> Result<Json<AlertRow>, ApiError> {
    let found = lock(&shared.book).get(&alert_id).cloned();
    let missing =
        || ApiError::not_found(format!("there is no alert {alert_id} in memory; ask SQL"));
    found.map(Json).ok_or_else(missing)
}
