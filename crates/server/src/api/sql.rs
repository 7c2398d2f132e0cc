//! SQL over today and the history.
//!
//! Invariant: an answer streams, a few batches in memory; a status of 200 is said when its first bytes
//! are there. An error behind them breaks the answer off, so that nobody takes a part for the whole.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;
use tapewatch_model::TimeSpan;
use tapewatch_store::{AskedLimits, Door, Format, Parameter, Request, SqlError};
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::Json;
use crate::shared::Shared;

/// The header that tells a query's id.
pub(crate) const QUERY_ID: HeaderName = HeaderName::from_static("x-tapewatch-query");

/// How long what was said has to go out before a connection is broken off.
const BEFORE_BREAK: Duration = Duration::from_millis(100);

/// Formats by their media types.
const MEDIA_TYPES: [(Format, &str); 6] = [
    (Format::Json, "application/json"),
    (Format::JsonLines, "application/x-ndjson"),
    (Format::Csv, "text/csv"),
    (Format::Table, "text/plain"),
    (Format::Arrow, "application/vnd.apache.arrow.stream"),
    (Format::Parquet, "application/vnd.apache.parquet"),
];

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlRequest {
    /// One SQL query; it can only read.
    query: String,
    /// `json`, `jsonl`, `csv`, `table`, `arrow` or `parquet`; not said: what `Accept` says, else `json`.
    format: Option<String>,
    /// Values of `$1`, `$2`, …: each null, a truth value, a number or a text, read as the type of its
    /// place, or `{"type": "TIMESTAMP", "value": "2015-04-17T12:00:00Z"}`.
    #[serde(default)]
    parameters: Vec<Value>,
    /// Limits below the configured ones.
    #[serde(default)]
    limits: SqlLimits,
}

/// Limits that a query sets itself.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SqlLimits {
    /// Memory, at most `sql.query_memory_bytes_max`, at least 16 MiB.
    memory_bytes_max: Option<usize>,
    /// Time, at most `sql.timeout`, as `10s`.
    #[schema(value_type = Option<String>)]
    timeout: Option<TimeSpan>,
    /// Rows of the answer, at most `sql.rows_max`.
    rows_max: Option<u64>,
}

impl SqlRequest {
    fn request(&self) -> Result<Request, SqlError> {
        let parameters = self.parameters.iter().map(Parameter::from_json);
        let limits = &self.limits;
        let time = limits
            .timeout
            .map(|time| Duration::from_nanos(time.nanos().unsigned_abs()));
        Ok(Request {
            parameters: parameters.collect::<Result<_, _>>()?,
            limits: AskedLimits {
                memory_bytes: limits.memory_bytes_max,
                time,
                rows: limits.rows_max,
            },
            ..Request::new(Door::Http, &*self.query)
        })
    }
}

/// Answers a query. JSON is an array of objects; decimals and times are text, exact. The header
/// `x-tapewatch-query` tells its id. An answer that breaks off is not whole: ask for its query by the id.
#[utoipa::path(post, path = "/api/v1/sql", tag = "read", request_body = SqlRequest,
    responses((status = 200, description = "The rows, in the form asked for.", content_type = "application/json"),
        (status = 400, body = ErrorBody), (status = 406, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(crate) async fn sql(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Json(request): Json<SqlRequest>,
) -> Result<Response, ApiError> {
    let format = match &request.format {
        Some(format) => format.parse().map_err(ApiError::bad_request)?,
        None => accepted(&headers)?,
    };
    let result = shared.store.query(request.request()?).await?;
    let id = result.id().to_owned();
    let mut chunks = result.chunks(format);
    let first = match chunks.next().await {
        Some(first) => first?,
        None => Default::default(),
    };
    let rest = chunks.then({
        let id = id.clone();
        move |chunk| {
            let id = id.clone();
            async move {
                if let Err(error) = &chunk {
                    tracing::info!(id, %error, "the answer to a query broke off");
                    // The head, which names the query, and the rows so far go out before.
                    tokio::time::sleep(BEFORE_BREAK).await;
                }
                chunk
            }
        }
    });
    let body = Body::from_stream(stream::once(async move { Ok(first) }).chain(rest));
    let id = HeaderValue::from_str(&id).map_err(ApiError::internal)?;
    let kind = HeaderValue::from_static(content_type(format));
    Ok(([(header::CONTENT_TYPE, kind), (QUERY_ID, id)], body).into_response())
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/json",
        Format::JsonLines => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8",
        Format::Table => "text/plain; charset=utf-8",
        Format::Arrow => "application/vnd.apache.arrow.stream",
        Format::Parquet => "application/vnd.apache.parquet",
    }
}

/// The format that the client likes best; the first of several.
fn accepted(headers: &HeaderMap) -> Result<Format, ApiError> {
    let accepts = headers.get_all(header::ACCEPT).iter();
    let accepts: Vec<&str> = accepts.filter_map(|value| value.to_str().ok()).collect();
    if accepts.is_empty() {
        return Ok(Format::Json);
    }
    let mut best: Option<(f32, Format)> = None;
    for range in accepts.iter().flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight: f32 = weight.map_or(Ok(1.0), str::parse).unwrap_or(0.0);
        let (family, any) = match name.strip_suffix('*') {
            Some("*/") => ("", true),
            Some(family) => (family, true),
            None => (name, false),
        };
        let mut known = MEDIA_TYPES.iter();
        let format = known.find(|(_, kind)| match any {
            true => kind.starts_with(family),
            false => kind.eq_ignore_ascii_case(family),
        });
        if let Some((format, _)) = format
            && weight > best.map_or(0.0, |(weight, _)| weight)
        {
            best = Some((weight, *format));
        }
    }
    best.map(|(_, format)| format).ok_or_else(|| {
        let known = MEDIA_TYPES.map(|(_, kind)| kind).join(", ");
        ApiError::not_acceptable(format!("Accept: {}: there are {known}", accepts.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_client_likes_best() {
        for (accept, expected) in [
            ("*/*", Some(Format::Json)),
            ("text/*", Some(Format::Csv)),
            ("text/html, application/json;q=0.5", Some(Format::Json)),
            (
                "text/csv;q=0.4, application/vnd.apache.parquet;q=0.9",
                Some(Format::Parquet),
            ),
            ("application/vnd.apache.arrow.stream", Some(Format::Arrow)),
            ("image/png", None),
            ("text/csv;q=0", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(accepted(&headers).ok(), expected, "{accept}");
        }
        assert_eq!(accepted(&HeaderMap::new()).ok(), Some(Format::Json));
    }
}
