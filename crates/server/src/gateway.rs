//! The role `gateway` without tables of its own: the page, and every request handed to the role that
//! can answer it.
//!
//! Invariant: nothing is kept here. A request goes to the first peer of its kind that takes the
//! connection; when none does, the answer says who is away.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::api::{self, error::ApiError};
use crate::config::PeersConfig;
use crate::metrics::Metrics;
use crate::peers::Peers;

/// How long a peer may take to take a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// What the gateway knows.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) config: PeersConfig,
    pub(crate) peers: Peers,
    pub(crate) metrics: Metrics,
}

/// Everything that it serves.
pub(crate) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(pass)
        .with_state(gateway)
}

async fn metrics(State(gateway): State<Gateway>) -> Result<impl IntoResponse, ApiError> {
    gateway.metrics.text().map_err(ApiError::internal)
}

/// Ready when rows are taken and questions answered.
async fn readyz(State(gateway): State<Gateway>) -> Response {
    let journal = [gateway.config.journal.clone()];
    let mut able = true;
    for (role, addresses) in [
        ("journal", &journal[..]),
        ("recent", &gateway.config.recent),
    ] {
        able &= connect(&gateway, role, addresses).await.is_ok();
    }
    for address in gateway
        .config
        .engine
        .iter()
        .chain([&gateway.config.history])
    {
        // They are told; the gateway works without them.
        let role = if *address == gateway.config.history {
            "history"
        } else {
            "engine"
        };
        let _ = connect(&gateway, role, std::slice::from_ref(address)).await;
    }
    let away = gateway.peers.text();
    match able {
        true => format!("ready\n{away}").into_response(),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready\n{away}"),
        )
            .into_response(),
    }
}

async fn pass(State(gateway): State<Gateway>, request: Request) -> Response {
    let path = request.uri().path();
    if !path.starts_with("/api/") {
        return api::asset(request.uri());
    }
    let publishes = request.method() == axum::http::Method::POST && path == "/api/v1/orders";
    let config = &gateway.config;
    let (role, addresses) = match path {
        "/api/v1/clear" => ("journal", vec![config.journal.clone()]),
        _ if publishes => ("journal", vec![config.journal.clone()]),
        "/api/v1/eod" => ("history", vec![config.history.clone()]),
        _ => ("recent", config.recent.clone()),
    };
    match connect(&gateway, role, &addresses).await {
        Ok((address, stream)) => forward(request, &address, stream)
            .await
            .unwrap_or_else(|why| {
                ApiError::unavailable(format!(
                    "{role} at {address} broke off: {why}; send it again"
                ))
                .into_response()
            }),
        Err(why) => ApiError::unavailable(why).into_response(),
    }
}

/// The first of the addresses that takes a connection.
async fn connect(
    gateway: &Gateway,
    role: &str,
    addresses: &[String],
) -> Result<(String, TcpStream), String> {
    for address in addresses {
        let peer = format!("{role} at {address}");
        let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
        match connected {
            Ok(Ok(stream)) => {
                gateway.peers.back(&peer);
                return Ok((address.clone(), stream));
            }
            Ok(Err(error)) => drop(gateway.peers.away(&peer, &error.to_string())),
            Err(_) => drop(gateway.peers.away(&peer, "it does not take the connection")),
        }
    }
    Err(format!("no {role} answers at {}", addresses.join(", ")))
}

/// Sends the request on and gives the answer as it comes; a WebSocket stays open through both.
async fn forward(
    mut request: Request,
    address: &str,
    stream: TcpStream,
) -> Result<Response, String> {
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // Who uses it is told by what it reads.
        let _ = connection.with_upgrades().await;
    });
    let ours = hyper::upgrade::on(&mut request);
    let headers = request.headers_mut();
    // The door was passed here; there the request comes from this process.
    headers.remove(header::ORIGIN);
    if let Ok(host) = HeaderValue::from_str(address) {
        headers.insert(header::HOST, host);
    }
    let uri = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = uri
        .parse()
        .map_err(|_| "a path that cannot be".to_owned())?;
    *request.version_mut() = axum::http::Version::HTTP_11;
    let mut response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) {
                let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
                // Either side may leave at any time.
                let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
            }
        });
    }
    Ok(response.map(Body::new))
}
