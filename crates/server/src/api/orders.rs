//! Today's orders, a page at a time.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use tapewatch_model::Order;
use utoipa::{IntoParams, ToSchema};

use crate::api::error::ApiError;
use crate::api::extract::{Json, Query};
use crate::shared::Shared;

/// Most rows in one answer.
pub(crate) const ROWS_MAX: usize = 50_000;

/// Which of today's orders.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrdersQuery {
    /// Only rows after this sequence number, oldest first; without it the newest rows.
    after_seq: Option<u64>,
    /// Most rows: 1000 unless said, at most 50000.
    limit: Option<usize>,
}

/// Today's orders, ascending by sequence number.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Orders {
    #[schema(value_type = Vec<OrderRow>)]
    rows: Vec<Order>,
}

/// An order event; exact decimals and times as text. What the source does not tell is left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderRow {
    seq: u64,
    time: String,
    sym: String,
    event_type: String,
    trader: String,
    side: String,
    order_id: String,
    price: String,
    quantity: String,
    #[schema(nullable = false)]
    account: Option<String>,
    #[schema(nullable = false)]
    exec_id: Option<String>,
    #[schema(nullable = false)]
    display_quantity: Option<String>,
    /// Words parted by spaces.
    #[schema(nullable = false)]
    flags: Option<String>,
}

/// Today's orders. What is in the history is found with SQL.
#[utoipa::path(get, path = "/api/v1/orders", tag = "read", params(OrdersQuery),
    responses((status = 200, body = Orders), (status = 400, body = crate::api::error::ErrorBody)))]
pub(crate) async fn orders(
    State(shared): State<Shared>,
    Query(query): Query<OrdersQuery>,
) -> Result<Json<Orders>, ApiError> {
    let limit = query.limit.unwrap_or(1_000);
    if limit > ROWS_MAX {
        return Err(ApiError::bad_request(format!(
            "limit is {limit}: at most {ROWS_MAX}"
        )));
    }
    let rows = match query.after_seq {
        Some(seq) => shared.store.recent_orders(seq, limit),
        None => shared.store.recent_orders_last(limit),
    };
    Ok(Json(Orders { rows }))
}
