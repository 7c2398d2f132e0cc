//! A port: one address on which a process speaks everything. The first bytes tell what: TLS (and then
//! again inside of it), HTTP/1, HTTP/2 and with it gRPC, the Postgres wire, or kdb+ IPC.
//!
//! Invariant: a connection that says nothing, stops half-way or talks nonsense costs a file handle and
//! a few KiB for a bounded time, and no other connection anything; each that is closed so is counted.

mod first_bytes;
mod postgres_tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use futures::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::api::error::ApiError;
use crate::metrics::Metrics;
use crate::tls::Tls;
use first_bytes::{Kind, Prefixed};
use postgres_tls::Asks;

/// Open connections on all addresses of a port; fewer where the process may open fewer files.
const CONNECTIONS_MAX: usize = 20_000;
/// Time until the first bytes tell what is spoken, and for a TLS handshake.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// Time between requests and for the head of one, HTTP/1: longer than clients keep a connection for.
const HEAD: Duration = Duration::from_secs(120);
/// A peer that does not answer a ping of HTTP/2 for this long, asked this often, is gone.
const PING: Duration = Duration::from_secs(30);
/// Requests at a time on one connection, HTTP/2.
const STREAMS_MAX: u32 = 256;
/// A header of answers to a client that should have shown a certificate: a gateway without one must not
/// take such an answer for leave to ask more.
pub(crate) const CERTIFICATE: HeaderName = HeaderName::from_static("tapewatch-certificate");
/// How long accepting pauses when the system has no handle left.
const NO_HANDLES: Duration = Duration::from_millis(200);

/// A connection, in plain text here.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Speaks a protocol of its own on a connection to its end, from the first byte that the client sent.
pub(crate) type StreamHandler =
    Arc<dyn Fn(Box<dyn Duplex>, SocketAddr) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a port offers.
#[derive(Clone)]
pub(crate) struct Services {
    /// HTTP/1 and HTTP/2.
    pub(crate) http: Router,
    /// kdb+ IPC.
    pub(crate) kdb: StreamHandler,
    /// The Postgres wire.
    pub(crate) postgres: StreamHandler,
    /// With it nothing is spoken in plain text.
    pub(crate) tls: Option<Tls>,
    pub(crate) metrics: Metrics,
}

/// Serves on all the listeners until `stopping`, then lets open requests come to their end.
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    services: Services,
    stopping: watch::Receiver<bool>,
) {
    let seats = Arc::new(Semaphore::new(connections_max()));
    let graceful = Arc::new(GracefulShutdown::new());
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let port = Port {
            services: services.clone(),
            seats: Arc::clone(&seats),
            stopping: stopping.clone(),
        };
        accepting.spawn(port.accept(listener, Arc::clone(&graceful)));
    }
    let mut connections = Vec::new();
    while let Some(ended) = accepting.join_next().await {
        connections.extend(ended);
    }
    if let Some(graceful) = Arc::into_inner(graceful) {
        graceful.shutdown().await;
    }
    // Those of kdb+ clients end with their last answer.
    for mut open in connections {
        while open.join_next().await.is_some() {}
    }
}

/// The limit that leaves as many file handles for the journal and the tables.
fn connections_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = files.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    CONNECTIONS_MAX.min(soft.map_or(usize::MAX, |files| files / 2))
}

/// One address of a port.
struct Port {
    services: Services,
    seats: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

impl Port {
    /// Accepts until the stop; the connections that are open then.
    async fn accept(
        mut self,
        listener: TcpListener,
        graceful: Arc<GracefulShutdown>,
    ) -> JoinSet<()> {
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                // An error means that everything is gone already.
                _ = self.stopping.wait_for(|stopping| *stopping) => return open,
                Some(_) = open.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match Arc::clone(&self.seats).try_acquire_owned() {
                    Ok(seat) => drop(open.spawn(self.open(stream, peer, seat, graceful.watcher()))),
                    Err(_) => self.services.closed("limit", peer),
                },
                Err(error) if is_of_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "connections are not accepted for a moment");
                    tokio::time::sleep(NO_HANDLES).await;
                }
            }
        }
    }

    fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        seat: OwnedSemaphorePermit,
        watcher: Watcher,
    ) -> impl Future<Output = ()> + Send + use<> {
        let connection = Connection {
            services: self.services.clone(),
            peer,
            watcher,
        };
        let mut stopping = self.stopping.clone();
        let open = Open::new(&self.services.metrics, seat);
        async move {
            // Answers are small and wanted at once; a socket that refuses is about to fail anyway.
            let _ = stream.set_nodelay(true);
            let asked = tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                asked = connection.first(stream) => asked,
            };
            match asked {
                Ok(asked) => connection.serve(asked, open).await,
                Err(reason) => connection.services.closed(reason, peer),
            }
        }
    }
}

/// A failure of one who connected, not of the listener.
fn is_of_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// A place among the open connections, kept until it is dropped.
struct Open {
    metrics: Metrics,
    _seat: OwnedSemaphorePermit,
}

impl Open {
    fn new(metrics: &Metrics, seat: OwnedSemaphorePermit) -> Self {
        metrics.connections.inc();
        Self {
            metrics: metrics.clone(),
            _seat: seat,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Services {
    fn closed(&self, reason: &'static str, peer: SocketAddr) {
        tracing::debug!(reason, %peer, "connection closed");
        self.metrics
            .connections_closed
            .with_label_values(&[reason])
            .inc();
    }
}

/// One connection.
struct Connection {
    services: Services,
    peer: SocketAddr,
    watcher: Watcher,
}

/// What is wanted on a connection, the connection from its first byte on, and whether the client
/// showed a certificate where one is demanded.
type Asked = (Kind, Prefixed<Box<dyn Duplex>>, bool);

impl Connection {
    /// Finds out what is spoken, inside TLS where that is demanded.
    async fn first(&self, stream: TcpStream) -> Result<Asked, &'static str> {
        let (kind, stream) = look(Box::new(stream) as Box<dyn Duplex>).await?;
        match (&self.services.tls, kind) {
            (None, Kind::Tls) => Err("unknown"),
            (None, kind) => Ok((kind, stream, true)),
            (Some(tls), Kind::Tls) => self.shake(tls, stream).await,
            (Some(tls), Kind::Postgres) => {
                let asked = tokio::time::timeout(FIRST_BYTES, postgres_tls::ask(stream));
                match asked.await.map_err(|_| "silent")?? {
                    Asks::Tls(stream) => self.shake(tls, stream).await,
                    // A request to cancel comes in plain text from older clients; it has a secret.
                    Asks::Cancel(stream) => Ok((Kind::Postgres, stream, true)),
                }
            }
            (Some(_), kind) => {
                refuse_plain(kind, stream).await;
                Err("plain")
            }
        }
    }

    /// Shakes hands, and finds out what is spoken inside.
    async fn shake(
        &self,
        tls: &Tls,
        stream: Prefixed<Box<dyn Duplex>>,
    ) -> Result<Asked, &'static str> {
        let shake = tls.acceptor().accept(stream);
        match tokio::time::timeout(FIRST_BYTES, shake).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().is_some();
                let known = shown || !tls.demands_certificate();
                let (kind, stream) = look(Box::new(stream) as Box<dyn Duplex>).await?;
                Ok((kind, stream, known))
            }
            Ok(Err(error)) => {
                tls.refused(self.peer, &error);
                Err("tls")
            }
            Err(_) => Err("silent"),
        }
    }

    async fn serve(self, (kind, stream, known): Asked, open: Open) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS_MAX)
            .enable_connect_protocol();
        let builder = match kind {
            Kind::Http1 => builder.http1_only(),
            Kind::Http2 => builder.http2_only(),
            Kind::Other | Kind::Postgres if !known => {
                return self.services.closed("tls", self.peer);
            }
            Kind::Postgres => return (self.services.postgres)(Box::new(stream), self.peer).await,
            Kind::Other => return (self.services.kdb)(Box::new(stream), self.peer).await,
            Kind::Tls => return self.services.closed("unknown", self.peer),
        };
        let http = match known {
            true => self.services.http,
            false => self.services.http.layer(from_fn(probes_alone)),
        };
        let service = TowerToHyperService::new(http);
        // The place goes with the bytes: a WebSocket outlives the connection as HTTP knows it.
        let io = TokioIo::new(stream.holding(open));
        let connection = builder
            .serve_connection_with_upgrades(io, service)
            .into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%error, peer = %self.peer, "connection ended");
        }
    }
}

/// Lets a client without a certificate ask whether the process is well, and nothing else: those who
/// probe it have none.
async fn probes_alone(request: Request, next: Next) -> Response {
    match request.uri().path() {
        "/healthz" | "/readyz" => {
            let mut response = next.run(request).await;
            let missing = HeaderValue::from_static("missing");
            response.headers_mut().insert(CERTIFICATE, missing);
            response
        }
        path => ApiError::forbidden(format!(
            "{path} needs a client certificate that one of the authorities in tls.client_ca signed"
        ))
        .into_response(),
    }
}

/// Reads until it is clear what is spoken.
async fn look(stream: Box<dyn Duplex>) -> Result<(Kind, Prefixed<Box<dyn Duplex>>), &'static str> {
    let asked = tokio::time::timeout(FIRST_BYTES, first_bytes::read(stream));
    match asked.await {
        Ok(Ok(asked)) => Ok(asked),
        Ok(Err(_)) | Err(_) => Err("silent"),
    }
}

/// Says in HTTP's words that TLS is wanted, to who speaks HTTP.
async fn refuse_plain(kind: Kind, mut stream: Prefixed<Box<dyn Duplex>>) {
    const ANSWER: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
        content-length: 46\r\nconnection: close\r\n\r\nthis port speaks TLS: use an https:// address\n";
    if kind == Kind::Http1 {
        let say = async {
            stream.write_all(ANSWER.as_bytes()).await?;
            stream.shutdown().await
        };
        // Who does not take it is closed all the same.
        let _ = tokio::time::timeout(FIRST_BYTES, say).await;
    }
}
