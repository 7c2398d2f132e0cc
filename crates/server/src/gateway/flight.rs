//! Arrow Flight through a gateway: each call is handed on to the role that has what it is about, over
//! HTTP/2, as it comes.
//!
//! Invariant: of a call no more is read than the first message, and that only where it says who has
//! what it is about; rows pass through without being held. A refusal is said in the protocol's words.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tapewatch_store::flight::{Refusal, broken_off, is_for_tables, looks_inside, refused};
use tokio_util::bytes::{Bytes, BytesMut};

use super::{Gateway, text};
use crate::port::Duplex;

/// What stands before each message: whether it is packed, and its length.
const PREFIX_BYTES: usize = 5;
/// Longest first message that is looked into; a longer one is left to the journal to refuse.
const FIRST_BYTES_MAX: usize = 1 << 20;

/// Hands a call on.
pub(super) async fn pass(
    State(gateway): State<Gateway>,
    Path(call): Path<String>,
    request: Request,
) -> Response {
    let (tables, request) = match looks_inside(&call) {
        true => look(&call, request).await,
        false => (false, request),
    };
    let config = &gateway.config;
    let (role, addresses) = match tables {
        true => ("recent", config.recent.clone()),
        false => ("journal", vec![config.journal.clone()]),
    };
    let passed = match gateway.connect(role, &addresses).await {
        Ok((address, stream)) => forward(&gateway, request, &address, stream)
            .await
            .map_err(|why| format!("{role} at {address} broke off: {why}")),
        Err(why) => Err(why),
    };
    passed.unwrap_or_else(|why| refused(Refusal::Unavailable(why)))
}

/// Whether the call is for who has the tables, and the request as it was.
async fn look(call: &str, request: Request) -> (bool, Request) {
    let (head, body) = request.into_parts();
    let mut rest = body.into_data_stream();
    let mut first = BytesMut::new();
    let mut broken = None;
    while !is_whole(&first) && broken.is_none() {
        match rest.next().await {
            Some(Ok(bytes)) => first.extend_from_slice(&bytes),
            Some(Err(error)) => broken = Some(Err(error)),
            None => break,
        }
    }
    let tables = first
        .split_at_checked(PREFIX_BYTES)
        .is_some_and(|(prefix, rest)| {
            is_for_tables(call, rest.get(..length(prefix)).unwrap_or_default())
        });
    let before = stream::once(async move { Ok(first.freeze()) });
    let body = before.chain(stream::iter(broken)).chain(rest);
    (tables, Request::from_parts(head, Body::from_stream(body)))
}

fn length(prefix: &[u8]) -> usize {
    let length = prefix.last_chunk::<4>().copied().unwrap_or_default();
    usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)
}

/// Whether the first message is there, or more than is looked into.
fn is_whole(bytes: &[u8]) -> bool {
    let prefix = bytes.get(..PREFIX_BYTES);
    prefix.is_some_and(|prefix| {
        let wanted = length(prefix).saturating_add(PREFIX_BYTES);
        bytes.len() >= wanted.min(FIRST_BYTES_MAX)
    })
}

/// Sends the call on, and gives the answer as it comes.
async fn forward(
    gateway: &Gateway,
    mut request: Request,
    address: &str,
    stream: Box<dyn Duplex>,
) -> Result<Response, String> {
    let scheme = match gateway.tls.ca.as_os_str().is_empty() {
        true => "http",
        false => "https",
    };
    let uri = format!("{scheme}://{address}{}", request.uri().path());
    *request.uri_mut() = uri.parse::<Uri>().map_err(text)?;
    // The door was passed here; there the call comes from this process.
    for name in [header::HOST, header::ORIGIN] {
        request.headers_mut().remove(name);
    }
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(text)?;
    tokio::spawn(async move {
        // Who uses it is told by what it reads.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(text)?;
    let mut stopping = gateway.stopping.clone();
    let stopped = Box::pin(async move {
        // An error means that everything is gone already.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    });
    Ok(response.map(|rows| Body::new(UntilStop { rows, stopped })))
}

/// An answer that ends when the process stops: who follows a table would hold it for ever.
struct UntilStop {
    rows: Incoming,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for UntilStop {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(next) = Pin::new(&mut self.rows).poll_frame(context) {
            return Poll::Ready(next);
        }
        self.stopped.as_mut().poll(context).map(|()| {
            let why = "the gateway stops: subscribe again from the last position".to_owned();
            let trailers: HeaderMap = broken_off(Refusal::Unavailable(why));
            Some(Ok(Frame::trailers(trailers)))
        })
    }

    fn is_end_stream(&self) -> bool {
        // A refusal has no body, and clients want it said with the head.
        self.rows.is_end_stream()
    }
}
