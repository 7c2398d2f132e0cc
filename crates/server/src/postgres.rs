//! The Postgres wire on a port of this process: who may speak it, and from there on a session each.
//!
//! Invariant: nobody is told anything of the tables before it was let in; who is not let in costs a
//! closed connection and a count. A gateway answers nothing by itself: it hands the bytes on to a role
//! that has the tables.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tapewatch_store::postgres::{Closed, Login, Secret, Wire};
use tokio::sync::{Semaphore, watch};

use crate::clock;
use crate::config::Config;
use crate::failure::Failure;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::port::{Duplex, StreamHandler};
use crate::shared::Shared;
use crate::users::Users;

/// Sessions at a time.
const SESSIONS_MAX: usize = 1_024;
/// Clients that may not come in are told of at most this often; the metric counts all.
const TELL_NANOS: i64 = 1_000_000_000;

/// The way in for Postgres clients, closed until recovery is done; clones are the same.
#[derive(Clone)]
pub(crate) struct Door {
    inside: Arc<RwLock<Option<Inside>>>,
    wire: Arc<Wire>,
    users: Arc<Users>,
    metrics: Metrics,
    /// When a refusal was last told.
    told: Arc<AtomicI64>,
    seats: Arc<Semaphore>,
}

/// What is behind the door.
#[derive(Clone)]
enum Inside {
    Tables(Box<Shared>),
    Gateway(Box<Gateway>),
}

impl Door {
    /// A closed one.
    ///
    /// # Errors
    /// What is wrong with the file of users.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Result<Self, Failure> {
        Ok(Self {
            inside: Arc::default(),
            wire: Arc::default(),
            users: Arc::new(Users::load("postgres.users", &config.postgres.users)?),
            metrics,
            told: Arc::default(),
            seats: Arc::new(Semaphore::new(SESSIONS_MAX)),
        })
    }

    /// Lets clients in.
    pub(crate) fn open(&self, shared: Shared) {
        self.set(Some(Inside::Tables(Box::new(shared))));
    }

    /// Hands clients on.
    pub(crate) fn hand_on(&self, gateway: Gateway) {
        self.set(Some(Inside::Gateway(Box::new(gateway))));
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
                    tracing::debug!(reason, %peer, "Postgres client not let in");
                    let closed = &door.metrics.connections_closed;
                    closed.with_label_values(&[reason]).inc();
                    if reason == "access" {
                        door.tell(peer);
                    }
                }
            })
        })
    }

    /// Tells of a client that may not come in.
    fn tell(&self, peer: SocketAddr) {
        let now = clock::now().nanos();
        let last = self.told.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= TELL_NANOS {
            self.told.store(now, Ordering::Relaxed);
            tracing::warn!(%peer, "Postgres client refused: unknown user or wrong password, or postgres.users is not set");
        }
    }

    /// Serves a connection to its end; why it did not come to a session.
    async fn serve(
        &self,
        stream: Box<dyn Duplex>,
        peer: SocketAddr,
        loopback: bool,
    ) -> Result<(), &'static str> {
        let seat = self.seats.try_acquire();
        let (store, stopping) = match self.current() {
            _ if seat.is_err() => (Err(Closed::Full), None),
            None => (Err(Closed::Starting), None),
            Some(Inside::Tables(shared)) if !shared.roles.tables() => {
                let text = "this process holds no tables: ask the role recent";
                (Err(Closed::Elsewhere(text.to_owned())), None)
            }
            Some(Inside::Tables(shared)) => (Ok(shared.store.clone()), Some(shared)),
            Some(Inside::Gateway(gateway)) => match gateway.tables().await {
                Ok(peer) => return self.hand(stream, peer, gateway.stopping.clone()).await,
                Err(why) => (Err(Closed::Away(why)), None),
            },
        };
        let login = |user: &str| self.login(user, loopback);
        let Some(session) = self.wire.admit(stream, store, login).await? else {
            return Ok(());
        };
        tracing::debug!(%peer, "Postgres client let in");
        self.metrics.postgres_sessions.inc();
        let stopped = async {
            match &stopping {
                Some(shared) => shared.stopped().await,
                None => std::future::pending().await,
            }
        };
        session.run(stopped).await;
        self.metrics.postgres_sessions.dec();
        Ok(())
    }

    fn login(&self, user: &str, loopback: bool) -> Login {
        match self.users.digest(user) {
            None if loopback => Login::Trusted,
            None => Login::Refused("this address is open to the network: set postgres.users"),
            Some((digest, known)) => Login::Password(Secret {
                rounds: digest.rounds,
                salt: digest.salt,
                digest: digest.digest,
                known,
            }),
        }
    }

    /// Hands all bytes on, both ways.
    async fn hand(
        &self,
        mut ours: Box<dyn Duplex>,
        mut theirs: Box<dyn Duplex>,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<(), &'static str> {
        self.metrics.postgres_sessions.inc();
        tokio::select! {
            // Either side may leave at any time.
            _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs) => {}
            // An error means that everything is gone already.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        self.metrics.postgres_sessions.dec();
        Ok(())
    }
}
