//! What a request says, taken as axum does, with refusals in the API's one form.
//!
//! Invariant: a body, a query string or a path of another form than the document says is refused with
//! the place and the reason, as every other error.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::error::ApiError;

/// JSON, in and out.
#[derive(Debug, Default)]
pub(crate) struct Json<T>(pub(crate) T);

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

/// What stands in the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let taken = <axum::Json<T> as FromRequest<S>>::from_request(request, state).await;
        let taken: Result<_, JsonRejection> = taken;
        taken
            .map(|axum::Json(value)| Self(value))
            .map_err(|error| ApiError::refused(error.status(), error.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, ApiError> {
        let taken = <axum::Json<T> as OptionalFromRequest<S>>::from_request(request, state).await;
        let taken: Result<_, JsonRejection> = taken;
        let taken = taken.map_err(|error| ApiError::refused(error.status(), error.body_text()))?;
        Ok(taken.map(|axum::Json(value)| Self(value)))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let taken = axum::extract::Query::from_request_parts(parts, state).await;
        let taken: Result<_, QueryRejection> = taken;
        taken
            .map(|query| Self(query.0))
            .map_err(|error| ApiError::refused(error.status(), error.body_text()))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let taken = axum::extract::Path::from_request_parts(parts, state).await;
        let taken: Result<_, PathRejection> = taken;
        taken
            .map(|path| Self(path.0))
            .map_err(|error| ApiError::refused(error.status(), error.body_text()))
    }
}
