//! The role `gateway` without tables of its own: the page, and every request handed to the role that
//! can answer it.
//!
//! Invariant: nothing is kept here. A request goes to the first peer of its kind that is ready, or at
//! least takes the connection; when none does, the answer says who is away.

mod flight;
mod status;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::response::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing;
use hyper::client::conn::http1;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tapewatch_store::flight::FLIGHT_PATH;
use tokio::sync::watch;
use tokio_util::bytes::Bytes;

use crate::api::{self, ROLES, error::ApiError};
use crate::config::PeersConfig;
use crate::dial::dial;
use crate::metrics::Metrics;
use crate::peers::{PeerName, Peers};
use crate::pipeline::PublishError;
use crate::port::{CERTIFICATE, Duplex};
use crate::tls::TlsConfig;

/// How long a peer may take to say whether it is ready.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// How often each is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The answer of a peer that was not ready for so long is not waited for any more.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// Of what a peer says that is not ready, so much is shown.
const SAID_BYTES_MAX: usize = 1 << 10;
/// A WebSocket over HTTP/1 needs a key; here it guards nothing: both ends are ours.
const KEY: HeaderValue = HeaderValue::from_static("dGFwZXdhdGNoIGdhdGV3YQ==");

/// What the gateway knows.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) config: PeersConfig,
    pub(crate) tls: TlsConfig,
    pub(crate) peers: Peers,
    pub(crate) metrics: Metrics,
    /// Set once, when the process begins to stop.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Everything that it serves.
pub(crate) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/healthz", routing::get(async || "ok\n"))
        .route("/readyz", routing::get(readyz))
        .route("/metrics", routing::get(metrics))
        .route("/api/v1/status", routing::get(status::status))
        .route(
            &format!("{FLIGHT_PATH}/{{call}}"),
            routing::any(flight::pass),
        )
        .fallback(pass)
        .with_state(gateway)
}

async fn metrics(State(gateway): State<Gateway>) -> Result<impl IntoResponse, ApiError> {
    gateway.metrics.show_peers(&gateway.peers);
    gateway.metrics.text().map_err(ApiError::internal)
}

/// Ready when rows are taken and questions answered, and no peer stands in the place of another.
async fn readyz(State(gateway): State<Gateway>) -> Response {
    let all = gateway.all();
    let asked = all.iter().map(|(role, address)| gateway.ask(role, address));
    let ready = futures::future::join_all(asked).await;
    // The gateway works without the others; they are told all the same.
    let one = |wanted: &str| {
        let of_role = all
            .iter()
            .zip(&ready)
            .filter(|((role, _), _)| *role == wanted);
        of_role.into_iter().any(|(_, ready)| *ready)
    };
    let away = gateway.peers.text();
    let role = [(ROLES, HeaderValue::from_static("gateway"))];
    // A peer in the place of another is a mistake, whether it is needed or not.
    if one("journal") && one("recent") && !gateway.peers.any_misplaced() {
        return (role, format!("ready\n{away}")).into_response();
    }
    let text = format!("not ready\n{away}");
    (StatusCode::SERVICE_UNAVAILABLE, role, text).into_response()
}

impl Gateway {
    /// Every peer: its role and where it is.
    fn all(&self) -> Vec<(&'static str, String)> {
        let PeersConfig {
            journal,
            recent,
            engine,
            history,
            // Recent asks it.
            scheduler: _,
        } = &self.config;
        let mut all = vec![("journal", journal.clone()), ("history", history.clone())];
        all.extend(recent.iter().map(|address| ("recent", address.clone())));
        all.extend(engine.iter().map(|address| ("engine", address.clone())));
        all
    }

    /// Asks all peers over and over whether they are ready, until the process stops: a request must
    /// not go to one that is not while there is one that is.
    pub(crate) fn watch(&self) {
        for (role, address) in self.all() {
            let (gateway, mut stopping) = (self.clone(), self.stopping.clone());
            tokio::spawn(async move {
                loop {
                    gateway.ask(role, &address).await;
                    tokio::select! {
                        // An error means that everything is gone already.
                        _ = stopping.wait_for(|stopping| *stopping) => return,
                        () = tokio::time::sleep(ASK_EVERY) => {}
                    }
                }
            });
        }
    }

    /// Whether a peer says that it is ready.
    async fn ask(&self, role: &'static str, address: &str) -> bool {
        let peer = peer(role, address);
        let asked = tokio::time::timeout(ASK_WITHIN, stands(role, address, &self.tls)).await;
        match asked {
            Ok(Ok(Standing::Ready)) => self.peers.back(&peer),
            Ok(Ok(Standing::Other(is))) => {
                let why = format!("its role is {is}, not {role}: correct peers.{role}");
                self.peers.misplaced(&peer, &why);
            }
            Ok(Err(why)) => drop(self.peers.away(&peer, &why)),
            Err(_) => drop(self.peers.away(&peer, "it does not answer")),
        }
        !self.peers.is_away(&peer)
    }

    /// Returns once a peer has not been ready for so long that its answer is not waited for any more.
    async fn gone(&self, role: &'static str, address: &str) {
        let (peer, mut since) = (peer(role, address), Instant::now());
        while since.elapsed() < GONE_AFTER {
            tokio::time::sleep(ASK_EVERY).await;
            if !self.peers.is_away(&peer) {
                since = Instant::now();
            }
        }
    }

    /// A connection to who has the tables.
    pub(crate) async fn tables(&self) -> Result<Box<dyn Duplex>, String> {
        let connected = self.connect("recent", &self.config.recent).await;
        connected.map(|(_, stream)| stream)
    }

    /// A connection to the first of the addresses that is ready, or else takes it; never to one of
    /// another role.
    async fn connect(
        &self,
        role: &'static str,
        addresses: &[String],
    ) -> Result<(String, Box<dyn Duplex>), String> {
        for address in addresses {
            if !self.peers.knows(&peer(role, address)) {
                self.ask(role, address).await;
            }
        }
        let (away, ready): (Vec<_>, Vec<_>) = addresses
            .iter()
            .partition(|address| self.peers.is_away(&peer(role, address)));
        let mut whys = Vec::new();
        for address in ready.into_iter().chain(away) {
            if let Some(why) = self.peers.why_misplaced(&peer(role, address)) {
                whys.push(format!("{address} ({why})"));
                continue;
            }
            let connected = tokio::time::timeout(ASK_WITHIN, dial(address, &self.tls)).await;
            let why = match connected {
                Ok(Ok(stream)) => return Ok((address.clone(), stream)),
                Ok(Err(why)) => why,
                Err(_) => "it does not take the connection".to_owned(),
            };
            self.peers.away(&peer(role, address), &why);
            whys.push(format!("{address} ({why})"));
        }
        Err(format!("no {role} answers at {}", whys.join(", ")))
    }
}

fn peer(role: &'static str, address: &str) -> PeerName {
    PeerName {
        role,
        address: address.to_owned(),
    }
}

/// How a peer that answers stands.
enum Standing {
    Ready,
    /// It has these roles, and not the one that it is configured as.
    Other(String),
}

/// How a peer stands that is configured as `role`; an error says why it is not ready.
async fn stands(role: &str, address: &str, tls: &TlsConfig) -> Result<Standing, String> {
    let (head, said) = get(address, tls, "/readyz", SAID_BYTES_MAX).await?;
    let roles = head.headers.get(ROLES).map(|roles| roles.to_str());
    match roles.and_then(Result::ok) {
        Some(roles) if roles.split(", ").all(|is| is != role) => {
            return Ok(Standing::Other(roles.to_owned()));
        }
        None if head.status.is_success() => {
            return Ok(Standing::Other("none of this version".to_owned()));
        }
        _ if head.status.is_success() => return Ok(Standing::Ready),
        _ => {}
    }
    let (status, said) = (head.status, String::from_utf8_lossy(&said));
    let said = said.trim().replace('\n', "; ");
    Err(format!("it answers {status}: {said}"))
}

/// Asks a peer for something short: the answer's head and what it says, nothing of what is longer.
async fn get(
    address: &str,
    tls: &TlsConfig,
    path: &str,
    bytes_max: usize,
) -> Result<(Parts, Bytes), String> {
    let stream = dial(address, tls).await?;
    let request = Request::get(path).header(header::HOST, address);
    let request = request.body(Body::empty()).map_err(text)?;
    let response = send(request, stream).await?;
    if response.headers().contains_key(CERTIFICATE) {
        return Err("it needs a client certificate: set tls.cert and tls.key".to_owned());
    }
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, bytes_max).await;
    Ok((head, body.unwrap_or_default()))
}

async fn pass(State(gateway): State<Gateway>, request: Request) -> Response {
    let path = request.uri().path();
    if !path.starts_with("/api/") {
        return api::asset(request.uri());
    }
    let publishes = request.method() == Method::POST && path == "/api/v1/orders";
    let config = &gateway.config;
    let (role, addresses) = match path {
        "/api/v1/clear" => ("journal", vec![config.journal.clone()]),
        _ if publishes => ("journal", vec![config.journal.clone()]),
        "/api/v1/eod" => ("history", vec![config.history.clone()]),
        _ => ("recent", config.recent.clone()),
    };
    // Asked for again it would be done twice.
    let once = role == "journal" || path == "/api/v1/push";
    match gateway.connect(role, &addresses).await {
        Ok((address, stream)) => {
            let answer = tokio::select! {
                answer = forward(request, &address, stream) => answer,
                () = gateway.gone(role, &address) => Err("it does not answer".to_owned()),
            };
            answer.unwrap_or_else(|why| {
                let broke = format!("{role} at {address} broke off: {why}");
                match once {
                    true => ApiError::from(PublishError::Unknown(broke)),
                    false => ApiError::unavailable(format!("{broke}; send it again")),
                }
                .into_response()
            })
        }
        Err(why) => ApiError::unavailable(why).into_response(),
    }
}

/// Sends the request on and gives the answer as it comes; a WebSocket stays open through both.
async fn forward(
    mut request: Request,
    address: &str,
    stream: Box<dyn Duplex>,
) -> Result<Response, String> {
    let ours = hyper::upgrade::on(&mut request);
    // HTTP/2 has another way to ask for a WebSocket, and to say yes.
    let over_http2 = request.extensions_mut().remove::<Protocol>().is_some();
    let headers = request.headers_mut();
    // The door was passed here; there the request comes from this process.
    headers.remove(header::ORIGIN);
    headers.insert(header::HOST, HeaderValue::from_str(address).map_err(text)?);
    if over_http2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_KEY, KEY);
        *request.method_mut() = Method::GET;
    }
    let path = request.uri().path_and_query();
    let path = path.map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(text)?;
    *request.version_mut() = Version::HTTP_11;
    let mut response = send(request, stream).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) {
                let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
                // Either side may leave at any time.
                let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
            }
        });
        if over_http2 {
            *response.status_mut() = StatusCode::OK;
            for name in [
                header::CONNECTION,
                header::UPGRADE,
                header::SEC_WEBSOCKET_ACCEPT,
            ] {
                response.headers_mut().remove(name);
            }
        }
    }
    *response.version_mut() = Version::default();
    Ok(response)
}

/// Sends a request on a connection of its own.
async fn send(request: Request, stream: Box<dyn Duplex>) -> Result<Response, String> {
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(text)?;
    tokio::spawn(async move {
        // Who uses it is told by what it reads.
        let _ = connection.with_upgrades().await;
    });
    let response = sender.send_request(request).await.map_err(text)?;
    Ok(response.map(Body::new))
}

/// An error and what it comes from: that alone says what is wrong.
fn text(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
