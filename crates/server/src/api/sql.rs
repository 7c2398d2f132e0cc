//! SQL over today and the history.

use std::io::{Error, ErrorKind, Result as IoResult, Write};
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use tapewatch_store::{Format, SqlError};
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorBody};
use crate::shared::Shared;

/// Largest answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlRequest {
    /// One SQL query; it can only read.
    query: String,
    /// `json` (default), `jsonl`, `csv`, `table` or `parquet`.
    format: Option<String>,
}

/// Answers a query. JSON is an array of objects; decimals and times are text, exact.
#[utoipa::path(post, path = "/api/v1/sql", tag = "read", request_body = SqlRequest,
    responses((status = 200, description = "The rows, in the form asked for.", content_type = "application/json"),
        (status = 400, body = ErrorBody)))]
pub(crate) async fn sql(
    State(shared): State<Shared>,
    Json(request): Json<SqlRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let format: Format = request
        .format
        .as_deref()
        .unwrap_or("json")
        .parse()
        .map_err(ApiError::bad_request)?;
    let started = Instant::now();
    let (store, query) = (shared.store.clone(), request.query);
    let ran = shared.sql.run(async move {
        let mut answer = Bounded(Vec::new());
        let result = store.sql(&query).await?;
        result.write(format, &mut answer).await?;
        Ok::<_, SqlError>(answer.0)
    });
    let result = ran.await;
    shared
        .metrics
        .query_seconds
        .observe(started.elapsed().as_secs_f64());
    let label = if matches!(result, Ok(Ok(_))) {
        "done"
    } else {
        "failed"
    };
    shared.metrics.queries.with_label_values(&[label]).inc();
    let answer = result
        .map_err(ApiError::internal)?
        .map_err(ApiError::bad_request)?;
    let kind = match format {
        Format::Json => "application/json",
        Format::JsonLines => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8",
        Format::Table => "text/plain; charset=utf-8",
        Format::Parquet => "application/vnd.apache.parquet",
    };
    Ok(([(header::CONTENT_TYPE, kind)], answer))
}

/// A buffer that refuses to grow without end.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        if self.0.len().saturating_add(bytes.len()) > ANSWER_BYTES_MAX {
            let message = format!(
                "the answer has more than {ANSWER_BYTES_MAX} bytes: add a LIMIT, or write a file with `tapewatch sql --data DIR --output FILE`"
            );
            return Err(Error::new(ErrorKind::FileTooLarge, message));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}
