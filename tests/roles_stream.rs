//! A WebSocket through a gateway over TLS: asked for in HTTP/1.1, and in HTTP/2 as browsers do it where
//! the connection that is open anyway speaks that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use futures::StreamExt as _;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use support::authority::Authority;
use support::cluster::Cluster;
use support::data;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

const PATH: &str = "/api/v1/stream?tables=orders&from_seq=1";

/// A connection that speaks this in the end.
async fn open(port: u16, ours: &Authority, speaks: &str) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&ours.pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![speaks.as_bytes().to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.unwrap();
    let spoken = stream.get_ref().1.alpn_protocol();
    assert_eq!(spoken, Some(speaks.as_bytes()));
    stream
}

/// The sequence numbers of the first orders that come.
async fn first_orders<S>(mut socket: WebSocketStream<S>) -> Vec<u64>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut seqs = Vec::new();
    while seqs.len() < 10 {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
        let message = message.expect("rows in time").unwrap().unwrap();
        let frame: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        assert_eq!(frame["table"], "orders");
        let rows = frame["rows"].as_array().unwrap().iter();
        seqs.extend(rows.map(|row| row["seq"].as_u64().unwrap()));
    }
    seqs
}

async fn over_http1(port: u16, ours: &Authority) -> Vec<u64> {
    let stream = open(port, ours, "http/1.1").await;
    let url = format!("wss://127.0.0.1:{port}{PATH}");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    first_orders(socket).await
}

async fn over_http2(port: u16, ours: &Authority) -> Vec<u64> {
    let stream = TokioIo::new(open(port, ours, "h2").await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let origin = format!("https://127.0.0.1:{port}");
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = format!("{origin}{PATH}").parse().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-version", "13".parse().unwrap());
    headers.insert("origin", origin.parse().unwrap());
    let websocket = Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    // The first answer may come before the server has said that it understands the request.
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    first_orders(socket).await
}

#[test]
fn a_stream_comes_through_a_gateway_in_either_version_of_http() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let identity = ours.sign("role", 2999);
    let mut cluster = Cluster::new("");
    cluster.all_have("TAPEWATCH_TLS__CERT", identity.cert.display());
    cluster.all_have("TAPEWATCH_TLS__KEY", identity.key.display());
    cluster.all_have("TAPEWATCH_TLS__CA", ours.pem.display());
    let cluster = cluster.filled();
    cluster.feed(&data("spoofingData.csv"));
    let expected: Vec<u64> = (2..=11).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for port in [cluster.ports.recent, cluster.gateway().port] {
        let seqs = runtime.block_on(over_http1(port, &ours));
        assert_eq!(seqs, expected, "HTTP/1.1");
        let seqs = runtime.block_on(over_http2(port, &ours));
        assert_eq!(seqs, expected, "HTTP/2");
    }
}
