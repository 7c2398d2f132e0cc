//! The HTTP API under `/api/v1`, the health endpoints, the metrics and the web page.
//!
//! Invariant: every endpoint is in the generated OpenAPI document; every error has the one form
//! `{"error": {"code", "message"}}`; every body and answer has a limit.

mod alerts;
pub(crate) mod error;
mod extract;
mod gate;
mod health;
mod ingest;
mod orders;
mod page;
mod queries;
mod replay;
pub(crate) mod sql;
mod status;
mod stream;

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{connect, get};
use tapewatch_store::flight::FLIGHT_PATH;
use tower_http::classify::ServerErrorsFailureClass;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use gate::Gate;
pub(crate) use health::ROLES;
pub(crate) use ingest::BUCKET_TYPE;
pub(crate) use page::asset;

use crate::flight::FlightDesk;
use crate::shared::Shared;
use crate::wire;

/// Largest body that is held in memory.
const BODY_BYTES_MAX: usize = 64 << 20;

#[derive(OpenApi)]
#[openapi(info(
    title = "Tapewatch",
    description = "Order surveillance: publish orders, read alerts, ask SQL. Times are ISO 8601 UTC with nanoseconds; \
        prices, quantities and measures are exact decimals as text."
))]
struct Document;

fn api() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(status::status))
        .routes(routes!(ingest::push))
        .routes(routes!(ingest::publish))
        .routes(routes!(ingest::clear))
        .routes(routes!(orders::orders))
        .routes(routes!(alerts::alerts))
        .routes(routes!(alerts::alert))
        .routes(routes!(stream::stream))
        .routes(routes!(sql::sql))
        .routes(routes!(queries::queries))
        .routes(routes!(queries::query, queries::cancel))
        .routes(routes!(replay::replay))
        .routes(routes!(status::end_of_day))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

/// The OpenAPI document, as JSON text.
pub(crate) fn openapi() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&api().into_openapi())
}

/// Everything the process serves.
pub(crate) fn router(shared: Shared) -> Router {
    let (router, document) = api().split_for_parts();
    // In HTTP/2 a WebSocket is asked for with another method.
    let mut router = router.route("/api/v1/stream", connect(stream::stream));
    if let Some(wire) = shared.wire.clone() {
        router = router.route(wire::PATH, get(wire::upgrade).with_state(wire));
    }
    if !shared.roles.tables() {
        router = router.layer(axum::middleware::from_fn(without_tables));
    }
    let flight = tapewatch_store::flight::service(FlightDesk(shared.clone()));
    router
        .route_service(&format!("{FLIGHT_PATH}/{{*call}}"), flight)
        .route("/api/v1/openapi.json", get(async move || axum::Json(document)))
        .fallback(async |uri: axum::http::Uri| {
            if uri.path().starts_with("/api/") {
                error::ApiError::not_found(format!("there is no {}", uri.path())).into_response()
            } else {
                page::asset(&uri)
            }
        })
        .method_not_allowed_fallback(async |method: Method, uri: axum::http::Uri| {
            let refused = axum::http::StatusCode::METHOD_NOT_ALLOWED;
            error::ApiError::refused(refused, format!("{} takes no {method}", uri.path()))
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(always(header::X_FRAME_OPTIONS, "DENY"))
        .layer(always(header::REFERRER_POLICY, "no-referrer"))
        .layer(always(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
             connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ))
        .layer(TraceLayer::new_for_http().on_failure(failed))
        .with_state(shared)
}

/// Refuses what only a role with tables can answer.
async fn without_tables(request: Request, next: Next) -> Response {
    let asks = match request.uri().path() {
        "/api/v1/orders" => request.method() == Method::GET,
        "/api/v1/clear" | "/api/v1/status" | "/api/v1/openapi.json" => false,
        path => path.starts_with("/api/"),
    };
    if asks {
        let text = "this process holds no tables: ask the role recent, or the gateway";
        return error::ApiError::misdirected(text).into_response();
    }
    next.run(request).await
}

/// Tells the operator of requests that failed here. 503 says that this is not the time, as probes are
/// told over and over: who causes it says so once, where it begins.
fn failed(failure: ServerErrorsFailureClass, took: Duration, _: &tracing::Span) {
    match failure {
        ServerErrorsFailureClass::StatusCode(StatusCode::SERVICE_UNAVAILABLE) => {}
        failure => tracing::error!(%failure, seconds = took.as_secs_f64(), "a request failed"),
    }
}

fn always(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}
