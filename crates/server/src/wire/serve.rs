//! The journal's side of the connections: [commands](super::commands) in order,
//! [subscriptions](super::pump).
//!
//! Invariant: a peer that says what it may not, or takes nothing, is let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use tapewatch_journal::Readers;
use tokio::sync::watch;
use tokio_util::bytes::Bytes;
use tokio_util::codec::Framed;

use super::commands::{AllDue, Commands};
use super::pump::{Lane, subscription};
use super::sharers::Sharers;
use super::{HELLO_WITHIN, Hello, Message, PROTOCOL, SILENCE_MAX, framed};
use crate::api::error::ApiError;
use crate::hits_log::HitsReaders;
use crate::pipeline::{Marks, Pipeline, PublishError, Published};
use crate::subscription::Subscribers;

/// Connections at once.
const CONNECTIONS_MAX: u64 = 256;
/// A peer that takes nothing for this long is let go.
const SEND_WITHIN: Duration = Duration::from_secs(30);

/// What the connections of a journal's process need.
#[derive(Clone)]
pub(crate) struct ServeState {
    pub(crate) pipeline: Pipeline,
    pub(crate) readers: Readers,
    /// The last frames that were committed.
    pub(crate) marks: Marks,
    pub(crate) hits: Option<HitsReaders>,
    pub(crate) published: watch::Receiver<u64>,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) subscribers: Subscribers,
    pub(crate) connections: Arc<AtomicU64>,
    /// Where subscribers that are behind are served.
    pub(crate) lane: Lane,
    pub(crate) sharers: Sharers,
    /// Whether this process does anything with the rows of a bucket but pass them on.
    pub(crate) keeps_rows: bool,
}

pub(super) type Connection =
    Framed<TokioIo<hyper::upgrade::Upgraded>, tokio_util::codec::LengthDelimitedCodec>;

/// Takes the upgrade.
pub(crate) async fn upgrade(State(state): State<ServeState>, mut request: Request) -> Response {
    let wanted = request.headers().get(header::UPGRADE);
    if wanted.is_none_or(|wanted| wanted.as_bytes() != PROTOCOL.as_bytes()) {
        return ApiError::bad_request(format!("upgrade to {PROTOCOL}: this is for other roles"))
            .into_response();
    }
    if state.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        state.connections.fetch_sub(1, Ordering::Relaxed);
        return ApiError::busy("too many roles are connected").into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let connection = framed(TokioIo::new(upgraded));
            let ended = tokio::select! {
                ended = serve(&state, connection) => ended,
                // Wherever it stands: a peer that does not read must not hold the process.
                () = stopped(&state.stopping) => Ok(()),
            };
            if let Err(why) = ended {
                tracing::debug!(%why, "a role's connection ended");
            }
        }
        state.connections.fetch_sub(1, Ordering::Relaxed);
    });
    let upgraded = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static(PROTOCOL)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, upgraded).into_response()
}

async fn serve(state: &ServeState, mut connection: Connection) -> Result<(), String> {
    send(&mut connection, hello(state)?.encode()).await?;
    let first = tokio::time::timeout(HELLO_WITHIN, connection.next());
    let Some(first) = first.await.map_err(|_| "it says nothing".to_owned())? else {
        return Ok(());
    };
    match Message::decode(first.map_err(text)?.freeze())? {
        Message::Subscribe(stream, from, name) => {
            subscription(state, connection, stream, from, name).await
        }
        message => commands(state, connection, message).await,
    }
}

/// What is said first.
pub(crate) fn hello(state: &ServeState) -> Result<Message, String> {
    Ok(Message::Hello(Hello {
        first_seq: state.readers.first_seq().map_err(text)?,
        next_seq: state.readers.durable_seq() + 1,
        next_hit: match &state.hits {
            Some(hits) => hits.readers.durable_seq() + 1,
            None => 0,
        },
    }))
}

/// Sends a message to a peer that takes it in time.
async fn send<S>(connection: &mut S, message: Bytes) -> Result<(), String>
where
    S: futures::Sink<Bytes, Error = std::io::Error> + Unpin,
{
    in_time(connection.send(message)).await
}

pub(super) async fn in_time(sent: impl Future<Output = std::io::Result<()>>) -> Result<(), String> {
    match tokio::time::timeout(SEND_WITHIN, sent).await {
        Ok(sent) => sent.map_err(text),
        Err(_) => Err(format!("it took nothing for {} s", SEND_WITHIN.as_secs())),
    }
}

/// Answers commands in order until the peer is gone.
async fn commands(
    state: &ServeState,
    connection: Connection,
    first: Message,
) -> Result<(), String> {
    let (mut sink, mut stream) = connection.split();
    let mut commands = Commands::default();
    let mut due = AllDue::default();
    due.take(&mut commands, state, first).await?;
    loop {
        tokio::select! {
            answer = due.next(), if !due.is_empty() => {
                answer_all(&mut sink, answer, &mut due).await?;
            }
            () = tokio::time::sleep(SILENCE_MAX), if due.is_empty() => {
                return Err("it says nothing any more".to_owned());
            }
            message = stream.next(), if due.has_room() => {
                let Some(message) = message else {
                    return Ok(());
                };
                let mut came = Some(message);
                while let Some(message) = came {
                    let message = Message::decode(message.map_err(text)?.freeze())?;
                    due.take(&mut commands, state, message).await?;
                    came = match due.has_room() {
                        true => stream.next().now_or_never().flatten(),
                        false => None,
                    };
                }
            }
        }
    }
}

/// Sends an answer, and those that are there behind it, at once.
async fn answer_all<S>(
    sink: &mut S,
    first: Result<Published, PublishError>,
    due: &mut AllDue,
) -> Result<(), String>
where
    S: futures::Sink<Bytes, Error = std::io::Error> + Unpin,
{
    let mut answer = Some(first);
    let all = async {
        while let Some(one) = answer {
            sink.feed(Message::Answer(one).encode()).await?;
            answer = due.next().now_or_never();
        }
        sink.flush().await
    };
    in_time(all).await
}

/// Says why there is nothing more to come.
pub(super) async fn refuse(connection: &mut Connection, why: PublishError) -> Result<(), String> {
    send(connection, Message::Answer(Err(why)).encode()).await
}

async fn stopped(stopping: &watch::Receiver<bool>) {
    // An error means that everything is gone already.
    let _ = stopping
        .clone()
        .wait_for(|stopping| *stopping)
        .await
        .map(|_| ());
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
