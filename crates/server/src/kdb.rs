//! kdb+ IPC on a port of this process: who may speak it, and from the greeting on a session each; and
//! the commands that read and write files of kdb+.
//!
//! Invariant: nobody is told anything before the greeting was accepted; a password is in no log, and
//! a greeting that is wrong, slow or too early costs a closed connection and a count.

mod answer;
pub(crate) mod export;
pub(crate) mod import;
mod out;
mod publish;
mod reader;
mod session;
mod subscriber;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tapewatch_connect::kdb::value::Value;
use tapewatch_connect::kdb::wire::{Credentials, MessageKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio_util::bytes::{Buf as _, BytesMut};

use crate::clock;
use crate::config::{Config, PeersConfig};
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::port::{Duplex, StreamHandler};
use crate::shared::Shared;
use crate::users::{Login, Users};
use out::Out;
use reader::Reader;
use session::Session;

/// Time for a greeting.
const GREETING: Duration = Duration::from_secs(10);
/// Sessions at a time.
const SESSIONS_MAX: usize = 4_096;
/// Messages of more than [`reader::LARGE_BYTES`], or packed, that are worked on at a time.
const LARGE_MAX: usize = 8;

/// Clients that may not come in are told of at most this often; the metric counts all.
const TELL_NANOS: i64 = 1_000_000_000;

/// The way in for kdb+ clients, closed until recovery is done; clones are the same.
#[derive(Clone)]
pub(crate) struct Door {
    inside: Arc<RwLock<Option<Inside>>>,
    users: Arc<Users>,
    metrics: Metrics,
    /// When a refusal was last told.
    told: Arc<AtomicI64>,
    seats: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// What is behind the door.
#[derive(Clone)]
enum Inside {
    Tables(Box<Shared>),
    /// Nothing: where it is, and when the process stops.
    Elsewhere(String, watch::Receiver<bool>),
}

impl Door {
    /// A closed one.
    ///
    /// # Errors
    /// What is wrong with the file of users.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Result<Self, Failure> {
        Ok(Self {
            inside: Arc::default(),
            users: Arc::new(Users::load("kdb.users", &config.kdb.users)?),
            metrics,
            told: Arc::default(),
            seats: Arc::new(Semaphore::new(SESSIONS_MAX)),
            large: Arc::new(Semaphore::new(LARGE_MAX)),
        })
    }

    /// Lets clients in.
    pub(crate) fn open(&self, shared: Shared) {
        self.set(Some(Inside::Tables(Box::new(shared))));
    }

    /// Tells clients until `stopping` that they are served at these places.
    pub(crate) fn send_away(&self, places: &PeersConfig, stopping: watch::Receiver<bool>) {
        let (journal, recent) = (&places.journal, places.recent.join(" or "));
        let text = format!(
            "elsewhere: a gateway speaks no kdb+: publish and subscribe to order at the role journal ({journal}), \
             subscribe to orderAlerts and query at recent ({recent})"
        );
        self.set(Some(Inside::Elsewhere(text, stopping)));
    }

    /// Lets nobody else in.
    pub(crate) fn close(&self) {
        self.set(None);
    }

    fn set(&self, inside: Option<Inside>) {
        *self.inside.write().unwrap_or_else(PoisonError::into_inner) = inside;
    }

    fn current(&self) -> Option<Inside> {
        let inside = self.inside.read();
        inside.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a port does with a connection; `loopback` when it is only open to this machine.
    pub(crate) fn handler(&self, loopback: bool) -> StreamHandler {
        let door = self.clone();
        Arc::new(move |stream, peer| {
            let door = door.clone();
            Box::pin(async move {
                if let Err(reason) = door.serve(stream, peer, loopback).await {
                    tracing::debug!(reason, %peer, "kdb+ client not let in");
                    let closed = &door.metrics.connections_closed;
                    closed.with_label_values(&[reason]).inc();
                }
            })
        })
    }

    /// Tells of a client that may not come in.
    fn tell(&self, peer: SocketAddr, why: &str) {
        let now = clock::now().nanos();
        let last = self.told.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= TELL_NANOS {
            self.told.store(now, Ordering::Relaxed);
            tracing::warn!(%peer, why, "kdb+ client refused");
        }
    }

    /// Serves a connection to its end; why it did not come to a session.
    async fn serve(
        &self,
        mut stream: Box<dyn Duplex>,
        peer: SocketAddr,
        loopback: bool,
    ) -> Result<(), &'static str> {
        let Ok(_seat) = self.seats.try_acquire() else {
            return Err("limit");
        };
        let mut buffer = BytesMut::new();
        let greeting = tokio::time::timeout(GREETING, greeting(&mut stream, &mut buffer));
        let credentials = greeting.await.map_err(|_| "silent")??;
        let inside = self.current().ok_or("starting")?;
        match self.users.login(&credentials, loopback).await {
            Login::Accepted => {}
            Login::Refused(why) => {
                self.tell(peer, why);
                return Err("access");
            }
        }
        let accepted = [credentials.accept()];
        let written = tokio::time::timeout(GREETING, stream.write_all(&accepted)).await;
        written.map_err(|_| "silent")?.map_err(|_| "silent")?;
        self.metrics.kdb_sessions.inc();
        let packs = !peer.ip().is_loopback() && credentials.capability.is_some_and(|what| what > 0);
        let (read, write) = tokio::io::split(stream);
        let reader = Reader::new(read, buffer, Arc::clone(&self.large));
        let out = Arc::new(Out::new(write, packs));
        match inside {
            Inside::Tables(shared) => {
                let session = Session::new(*shared, reader, out, peer, credentials.user);
                session.run().await;
            }
            Inside::Elsewhere(why, mut stopping) => tokio::select! {
                () = self.refuse_all(reader, &out, (peer, &why)) => {}
                // An error means that everything is gone already.
                _ = stopping.wait_for(|stopping| *stopping) => {}
            },
        }
        self.metrics.kdb_sessions.dec();
        Ok(())
    }
}

impl Door {
    /// Answers every question with an error. Who does not wait for an answer is let go: what he sends
    /// must not seem to be taken.
    async fn refuse_all(&self, mut reader: Reader, out: &Out, (peer, why): (SocketAddr, &str)) {
        while let Ok(Some(frame)) = reader.next().await {
            let waits = frame.header.kind == MessageKind::Sync;
            let kind = if waits { "sync" } else { "async" };
            self.metrics.kdb_refused.with_label_values(&[kind]).inc();
            self.tell(peer, why);
            out.speak(frame.header.order);
            if !waits || !out.send(MessageKind::Response, &Value::error(why)).await {
                return;
            }
        }
    }
}

/// Reads the greeting; what follows it stays in the buffer.
async fn greeting(
    stream: &mut Box<dyn Duplex>,
    buffer: &mut BytesMut,
) -> Result<Credentials, &'static str> {
    loop {
        if stream.read_buf(buffer).await.map_err(|_| "silent")? == 0 {
            return Err("silent");
        }
        match Credentials::parse(buffer) {
            Ok(Some(credentials)) => {
                buffer.advance(credentials.bytes);
                return Ok(credentials);
            }
            // What no more bytes can make a name is not waited for.
            Ok(None) => match std::str::from_utf8(buffer) {
                Err(error) if error.error_len().is_some() => return Err("unknown"),
                _ => {}
            },
            Err(_) => return Err("unknown"),
        }
    }
}
