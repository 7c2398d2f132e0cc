//! The one form of errors over HTTP.
//!
//! Invariant: a message says what was refused, where, and what to do; the status says whose turn it
//! is: 4xx the caller's, 5xx the operator's, 503 and 507 try again.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::pipeline::PublishError;
use tapewatch_store::SqlError;

/// An error, as JSON.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorDetail {
    /// For programs: it does not change between versions.
    code: &'static str,
    /// For people.
    message: String,
}

/// An error, as an answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl ToString) -> Self {
        Self {
            status,
            code,
            message: message.to_string(),
        }
    }

    pub(crate) fn bad_request(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// What a request says cannot be taken; the status says in which way.
    pub(crate) fn refused(status: StatusCode, message: impl ToString) -> Self {
        let code = match status {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            _ => return Self::bad_request(message),
        };
        Self::new(status, code, message)
    }

    pub(crate) fn not_acceptable(message: impl ToString) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message)
    }

    pub(crate) fn forbidden(message: impl ToString) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(crate) fn not_found(message: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn unsupported(message: impl ToString) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            message,
        )
    }

    pub(crate) fn not_ready() -> Self {
        let message = "not ready: the journal is being read, or the process stops; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message)
    }

    /// Another role must answer, and is away.
    pub(crate) fn unavailable(message: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// Another role must answer.
    pub(crate) fn misdirected(message: impl ToString) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", message)
    }

    pub(crate) fn busy(message: impl ToString) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
    }

    pub(crate) fn internal(message: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        let (status, code) = match &error {
            PublishError::DiskFull(_) => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            PublishError::Refused(_) => (StatusCode::SERVICE_UNAVAILABLE, "journal_refused"),
            // Not 503, which says that it may be sent again as it is.
            PublishError::Unknown(_) => (StatusCode::GATEWAY_TIMEOUT, "unknown"),
            PublishError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_bucket"),
            PublishError::Stopped(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
            PublishError::RecentFull(_) => (StatusCode::SERVICE_UNAVAILABLE, "recent_full"),
        };
        Self::new(status, code, error)
    }
}

impl From<SqlError> for ApiError {
    fn from(error: SqlError) -> Self {
        let status = match &error {
            SqlError::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            SqlError::Cluster { .. } => StatusCode::SERVICE_UNAVAILABLE,
            SqlError::Broken { .. } | SqlError::Write(_) => StatusCode::INTERNAL_SERVER_ERROR,
            SqlError::Memory { .. }
            | SqlError::Timeout { .. }
            | SqlError::Rows { .. }
            | SqlError::Cancelled { .. }
            | SqlError::Syntax { .. }
            | SqlError::Plan { .. }
            | SqlError::ReadOnly { .. }
            | SqlError::Request { .. }
            | SqlError::Execution { .. } => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: ErrorDetail {
                code: self.code,
                message: self.message,
            },
        };
        let mut response = (self.status, Json(body)).into_response();
        let again = matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::INSUFFICIENT_STORAGE
                | StatusCode::TOO_MANY_REQUESTS
        );
        if again {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
