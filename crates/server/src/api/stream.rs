//! Alerts and orders as they come, over a WebSocket.
//!
//! Invariant: each stream pulls from what is published at its own speed, so that a slow reader holds
//! no memory. Rows of a table come in ascending order, each once; an alert comes
//! again when it has another hit.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::api::error::ApiError;
use crate::api::extract::Query;
use crate::api::orders::ROWS_MAX;
use crate::fold::lock;
use crate::shared::Shared;

/// Rows in one frame.
const FRAME_ROWS_MAX: usize = 1_000;
/// Open streams: each costs its own text of every row.
const STREAMS_MAX: i64 = 64;
/// A reader that takes nothing for this long is let go.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a reader may take to hear that the process stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// Rows that come within this time go in one frame.
const GATHER: Duration = Duration::from_millis(25);

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamQuery {
    /// `orders`, `alerts` or both, with a comma between; both unless said.
    tables: Option<String>,
    /// Begin with this many of the newest rows of each table: 0 unless said, at most 50000.
    last: Option<usize>,
    /// Begin with the row of this sequence number instead, of today's rows.
    from_seq: Option<u64>,
}

/// Streams rows over a WebSocket: text frames `{"table": "orders" or "alerts", "rows": […]}`, rows
/// as `/api/v1/orders` and `/api/v1/alerts` give them.
#[utoipa::path(get, path = "/api/v1/stream", tag = "read", params(StreamQuery),
    responses((status = 101, description = "The stream."), (status = 400, body = crate::api::error::ErrorBody),
        (status = 429, body = crate::api::error::ErrorBody)))]
pub(crate) async fn stream(
    State(shared): State<Shared>,
    Query(query): Query<StreamQuery>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let tables = query.tables.as_deref().unwrap_or("orders,alerts");
    let mut streamer = Streamer {
        orders: None,
        alerts: None,
    };
    let start = query.from_seq.map_or(u64::MAX, |seq| seq.saturating_sub(1));
    for table in tables.split(',') {
        match table {
            "orders" => streamer.orders = Some(start),
            "alerts" => streamer.alerts = Some(start),
            other => {
                let message = format!("tables is {other:?}: orders, alerts or orders,alerts");
                return Err(ApiError::bad_request(message));
            }
        }
    }
    let last = query.last.unwrap_or(0);
    if last > ROWS_MAX {
        return Err(ApiError::bad_request(format!(
            "last is {last}: at most {ROWS_MAX}"
        )));
    }
    if query.from_seq.is_none() {
        streamer.begin(&shared, last);
    }
    if shared.metrics.streams.get() >= STREAMS_MAX {
        let message = format!("{STREAMS_MAX} streams are open already; close one");
        return Err(ApiError::busy(message));
    }
    Ok(upgrade
        .max_message_size(4_096)
        .on_upgrade(async move |mut socket| {
            shared.metrics.streams.inc();
            tokio::select! {
                () = streamer.run(&shared, &mut socket) => {}
                // A reader that takes nothing must not hold a process that stops.
                () = async {
                    shared.stopped().await;
                    tokio::time::sleep(FAREWELL).await;
                } => {}
            }
            shared.metrics.streams.dec();
        }))
}

/// The sequence number after which the next row of each table is due.
struct Streamer {
    orders: Option<u64>,
    alerts: Option<u64>,
}

#[derive(Serialize)]
struct Frame<'a, T> {
    table: &'a str,
    rows: &'a [T],
}

impl Streamer {
    /// Puts the cursors before the newest `last` rows.
    fn begin(&mut self, shared: &Shared, last: usize) {
        let published = *shared.published.borrow();
        if let Some(cursor) = &mut self.orders {
            let first = match last {
                0 => None,
                last => shared
                    .store
                    .recent_orders_last(last)
                    .first()
                    .map(|order| order.seq),
            };
            *cursor = first.map_or(published, |seq| seq.saturating_sub(1));
        }
        if let Some(cursor) = &mut self.alerts {
            let first = match last {
                0 => None,
                last => lock(&shared.book)
                    .newest()
                    .take(last)
                    .last()
                    .map(|alert| alert.seq),
            };
            let published = *shared.hits.borrow();
            *cursor = first.map_or(published, |seq| seq.saturating_sub(1));
        }
    }

    async fn run(&mut self, shared: &Shared, socket: &mut WebSocket) {
        let (mut published, mut hits) = (shared.published.clone(), shared.hits.clone());
        loop {
            published.mark_unchanged();
            hits.mark_unchanged();
            if self.send_new(shared, socket).await.is_err() {
                return;
            }
            tokio::select! {
                changed = async { tokio::select! {
                    changed = published.changed() => changed,
                    // Of engines in other processes hits come after their rows.
                    changed = hits.changed() => changed,
                } } => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                }
                () = shared.stopped() => {
                    let reason = "the process stops".into();
                    let frame = CloseFrame { code: close_code::RESTART, reason };
                    let _ = socket.send(Message::Close(Some(frame))).await;
                    return;
                }
                message = socket.recv() => match message {
                    // What a reader says does not matter; pings are answered underneath.
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
            }
        }
    }

    /// Sends everything that is new; an error when the reader is gone or does not read.
    async fn send_new(&mut self, shared: &Shared, socket: &mut WebSocket) -> Result<(), ()> {
        while let Some(cursor) = self.orders {
            let rows = shared.store.recent_orders(cursor, FRAME_ROWS_MAX);
            let Some(last) = rows.last() else { break };
            self.orders = Some(last.seq);
            send(socket, "orders", &rows).await?;
        }
        while let Some(cursor) = self.alerts {
            let rows = lock(&shared.book).after(cursor, FRAME_ROWS_MAX);
            let Some(last) = rows.last() else { break };
            self.alerts = Some(last.seq);
            send(socket, "alerts", &rows).await?;
        }
        Ok(())
    }
}

async fn send<T: Serialize + Sync>(
    socket: &mut WebSocket,
    table: &str,
    rows: &[T],
) -> Result<(), ()> {
    let text = serde_json::to_string(&Frame { table, rows }).map_err(|error| {
        tracing::error!(%error, table, "rows have no JSON form");
    })?;
    match tokio::time::timeout(SEND_TIMEOUT, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
