//! Rows coming in over HTTP: the demo feed, files, rows, and the buckets of `tapewatch feed`.
//!
//! Invariant: an answer of 200 means durable, by the fsync policy in force. A bucket is taken whole
//! or not at all; a bucket that a producer sends again is recognised and not taken twice.

use std::num::NonZeroUsize;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use tapewatch_connect::pace::BUCKET_ROWS_MAX;
use tapewatch_connect::{Bucketer, CsvOrders, Pace, first_error};
use tapewatch_model::{
    Bucket, DeadLetter, Details, EventType, Flags, Price, Quantity, RowError, RowRef, Side, Time,
    decode_bucket,
};
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};
use utoipa::{IntoParams, ToSchema};

use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Json, Query};
use crate::jobs::start_demo;
use crate::shared::Shared;

/// Content type of an encoded bucket.
pub(crate) const BUCKET_TYPE: &str = "application/vnd.tapewatch.bucket";
/// Largest CSV body: it is read as it comes, not held.
const CSV_BYTES_MAX: u64 = 16 << 30;
/// Buckets that are read ahead of publishing.
const READ_AHEAD: usize = 2;

/// How the demo feed runs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PushRequest {
    /// Empty the detectors' windows first, as the reference system's button does.
    clear: bool,
    rows_per_bucket: usize,
    interval_ms: u64,
}

impl Default for PushRequest {
    fn default() -> Self {
        Self {
            clear: true,
            rows_per_bucket: 2,
            interval_ms: 1_000,
        }
    }
}

/// The feed that was started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PushAnswer {
    /// Number of the feed in the status.
    id: String,
}

/// Feeds the ten orders of the reference system's test file, in the background.
#[utoipa::path(post, path = "/api/v1/push", tag = "publish", request_body = PushRequest,
    responses((status = 202, body = PushAnswer), (status = 400, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn push(
    State(shared): State<Shared>,
    request: Option<Json<PushRequest>>,
) -> Result<(StatusCode, Json<PushAnswer>), ApiError> {
    if !shared.is_ready() {
        return Err(ApiError::not_ready());
    }
    let Json(request) = request.unwrap_or_default();
    let rows = NonZeroUsize::new(request.rows_per_bucket)
        .filter(|rows| rows.get() <= BUCKET_ROWS_MAX)
        .ok_or_else(|| ApiError::bad_request(format!("rows_per_bucket: 1 to {BUCKET_ROWS_MAX}")))?;
    if request.interval_ms > 60_000 {
        return Err(ApiError::bad_request("interval_ms: 0 to 60000"));
    }
    let interval = Duration::from_millis(request.interval_ms);
    let id = start_demo(&shared, rows, interval, request.clear)
        .ok_or_else(|| ApiError::busy("too many feeds run already; wait until one is done"))?;
    Ok((StatusCode::ACCEPTED, Json(PushAnswer { id })))
}

/// Empties the detectors' windows; open alerts end.
#[utoipa::path(post, path = "/api/v1/clear", tag = "publish",
    responses((status = 200, description = "Done."), (status = 503, body = ErrorBody)))]
pub(crate) async fn clear(State(shared): State<Shared>) -> Result<StatusCode, ApiError> {
    shared.pipeline.clear().await?;
    Ok(StatusCode::OK)
}

/// How a body of orders is taken.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishQuery {
    /// CSV: name of the source in the dead-letter table; `http` unless said.
    source: Option<String>,
    /// CSV: take nothing when a row is refused. The body is then held, so at most 64 MiB.
    #[serde(default)]
    strict: bool,
}

/// What became of the rows.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct IngestAnswer {
    /// Orders taken.
    pub(crate) orders: u64,
    /// Rows refused into the dead-letter table.
    pub(crate) dead_letters: u64,
    /// First sequence number of these rows; 0 when there were none.
    pub(crate) first_seq: u64,
    /// Last sequence number of these rows.
    pub(crate) last_seq: u64,
    /// The bucket had been taken before.
    pub(crate) duplicate: bool,
}

/// An order as JSON; prices and quantities as text or numbers. What the source does not tell is left
/// out, the trader only with the flag `anonymous` and the price only with `market`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderInput {
    #[schema(value_type = String, example = "2015-04-17T12:00:05.000000000Z")]
    time: String,
    sym: String,
    #[serde(alias = "eventType")]
    #[schema(example = "cancelled")]
    event_type: String,
    #[serde(default)]
    trader: String,
    #[schema(example = "S")]
    side: String,
    #[serde(alias = "orderID", default)]
    order_id: String,
    #[schema(value_type = Option<String>)]
    price: Option<Price>,
    #[schema(value_type = String)]
    quantity: Quantity,
    /// Whose order it is.
    #[serde(default)]
    account: String,
    /// Names the execution.
    #[serde(default)]
    exec_id: String,
    /// What of the order is shown.
    #[schema(value_type = Option<String>)]
    display_quantity: Option<Quantity>,
    /// Words parted by spaces.
    #[serde(default)]
    #[schema(example = "ioc aggressor")]
    flags: String,
}

/// Publishes orders: `text/csv` (a file, columns by name; refused rows become dead letters),
/// `application/json` (an array of orders, all or none), or an encoded bucket.
#[utoipa::path(post, path = "/api/v1/orders", tag = "publish", params(PublishQuery),
    request_body(content((String = "text/csv"), (Vec<OrderInput> = "application/json"), (Vec<u8> = "application/vnd.tapewatch.bucket"))),
    responses((status = 200, body = IngestAnswer), (status = 400, body = ErrorBody), (status = 415, body = ErrorBody),
        (status = 503, body = ErrorBody), (status = 507, body = ErrorBody)))]
pub(crate) async fn publish(
    State(shared): State<Shared>,
    Query(query): Query<PublishQuery>,
    request: Request,
) -> Result<Json<IngestAnswer>, ApiError> {
    if !shared.is_ready() {
        return Err(ApiError::not_ready());
    }
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let source = query.source.as_deref().unwrap_or("http").to_owned();
    match kind {
        BUCKET_TYPE => {
            let bucket = decode_bucket(&body(request).await?).map_err(ApiError::bad_request)?;
            publish_one(&shared, bucket).await.map(Json)
        }
        "application/json" => {
            let rows: Vec<OrderInput> =
                serde_json::from_slice(&body(request).await?).map_err(ApiError::bad_request)?;
            publish_rows(&shared, &rows).await.map(Json)
        }
        "text/csv" if query.strict => {
            let bytes = body(request).await?;
            let mut check = csv(&bytes[..], &source)?;
            if let Some(refused) = first_error(&mut check).map_err(ApiError::bad_request)? {
                let DeadLetter {
                    source,
                    line,
                    column,
                    reason,
                    ..
                } = refused;
                let message =
                    format!("{source}, line {line}, column {column}: {reason}; nothing was taken");
                return Err(ApiError::bad_request(message));
            }
            publish_csv(&shared, Body::from(bytes), source)
                .await
                .map(Json)
        }
        "text/csv" => publish_csv(&shared, request.into_body(), source)
            .await
            .map(Json),
        other => Err(ApiError::unsupported(format!(
            "content type is {other:?}: send text/csv, application/json or {BUCKET_TYPE}"
        ))),
    }
}

async fn body(request: Request) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, &())
        .await
        .map_err(|error| ApiError::bad_request(error.body_text()))
}

fn csv<R: std::io::Read>(reader: R, source: &str) -> Result<CsvOrders<R>, ApiError> {
    CsvOrders::new(reader, source, 0).map_err(ApiError::bad_request)
}

async fn publish_one(shared: &Shared, bucket: Bucket) -> Result<IngestAnswer, ApiError> {
    let published = shared.pipeline.publish(bucket).await?;
    let placed = published.placed;
    Ok(IngestAnswer {
        orders: placed.orders,
        dead_letters: placed.dead_letters,
        first_seq: placed.first_seq,
        last_seq: placed.last_seq(),
        duplicate: published.duplicate,
    })
}

async fn publish_rows(shared: &Shared, rows: &[OrderInput]) -> Result<IngestAnswer, ApiError> {
    let mut bucket = Bucket::default();
    for (index, row) in rows.iter().enumerate() {
        let taken = row.parse().and_then(|row| bucket.orders.push(&row));
        taken.map_err(|RowError { column, reason }| {
            let message = format!("row {index}: column {column}: {reason}; nothing was taken");
            ApiError::bad_request(message)
        })?;
    }
    publish_one(shared, bucket).await
}

impl OrderInput {
    fn parse(&self) -> Result<RowRef<'_, [u8]>, RowError> {
        let time = Time::parse(self.time.as_bytes());
        let event_type = EventType::parse(self.event_type.as_bytes()).ok_or_else(|| {
            RowError::new("event_type", "new, amended, cancelled or filled is wanted")
        })?;
        let flags = Flags::parse(self.flags.as_bytes())?;
        let price = match self.price {
            None if flags.need_no_price(event_type) => Price::default(),
            price => price.ok_or_else(|| RowError::new("price", "is missing"))?,
        };
        Ok(RowRef {
            time: time.map_err(|error| RowError::new("time", error))?,
            sym: self.sym.as_bytes(),
            event_type,
            trader: self.trader.as_bytes(),
            side: Side::parse(self.side.as_bytes())
                .ok_or_else(|| RowError::new("side", "B or S is wanted"))?,
            order_id: self.order_id.as_bytes(),
            price,
            quantity: self.quantity,
            details: Details {
                account: self.account.as_bytes(),
                exec_id: self.exec_id.as_bytes(),
                display: self.display_quantity,
                flags,
            },
        })
    }
}

/// Decodes on a thread of its own and publishes bucket by bucket as they come.
async fn publish_csv(
    shared: &Shared,
    body: Body,
    source: String,
) -> Result<IngestAnswer, ApiError> {
    let stream = body.into_data_stream().map_err(std::io::Error::other);
    let reader = SyncIoBridge::new(StreamReader::new(stream));
    let (sender, mut buckets) = mpsc::channel(READ_AHEAD);
    let decoder = tokio::task::spawn_blocking(move || -> Result<(), ApiError> {
        let reader = Limited {
            reader,
            left: CSV_BYTES_MAX,
        };
        let mut source = Bucketer::new(csv(reader, &source)?, Pace::default());
        while let Some(due) = source.next_bucket().map_err(ApiError::bad_request)? {
            if sender.blocking_send(due.bucket).is_err() {
                break; // publishing failed and says why
            }
        }
        Ok(())
    });
    let mut answer = IngestAnswer::default();
    while let Some(bucket) = buckets.recv().await {
        let published = publish_one(shared, bucket).await?;
        answer.orders += published.orders;
        answer.dead_letters += published.dead_letters;
        if answer.first_seq == 0 {
            answer.first_seq = published.first_seq;
        }
        answer.last_seq = published.last_seq;
    }
    decoder.await.map_err(ApiError::internal)??;
    Ok(answer)
}

/// A reader that fails, rather than end, when there is more than may be.
struct Limited<R> {
    reader: R,
    left: u64,
}

impl<R: std::io::Read> std::io::Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            std::io::Error::other(format!(
                "the body has more than {CSV_BYTES_MAX} bytes: send it in parts"
            ))
        })?;
        Ok(read)
    }
}
