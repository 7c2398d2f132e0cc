//! The session of one client: messages in, answers out, in order.
//!
//! Invariant: after an error in a message of the extended protocol, all is left out up to the next Sync;
//! each Query and each Sync is answered by one ReadyForQuery.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

use super::cancels::Cancellable;
use super::errors::Failure;
use super::frame::{MESSAGE_BYTES_MAX, Message, Reader};
use super::out::{Lost, Out};
use super::rows::Formats;
use super::settings::Settings;
use super::statement::{Portal, Statement};
use crate::store::Store;

/// A session in which nothing happens for so long is ended.
const IDLE: Duration = Duration::from_secs(3_600);

/// Why a message is not worked on any further.
pub(super) enum Halt {
    /// The client is told.
    Failed(Failure),
    /// It is gone, or leaves.
    Gone,
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Lost> for Halt {
    fn from(_: Lost) -> Self {
        Self::Gone
    }
}

/// A client that was let in.
pub struct Session<S> {
    pub(super) store: Store,
    pub(super) reader: Reader<ReadHalf<S>>,
    pub(super) out: Out<WriteHalf<S>>,
    pub(super) settings: Settings,
    pub(super) cancellable: Cancellable,
    pub(super) statements: HashMap<String, Arc<Statement>>,
    pub(super) portals: HashMap<String, Portal>,
    pub(super) status: TransactionStatus,
    /// Something failed: all is left out up to the next Sync.
    skips: bool,
}

impl<S> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl<S: AsyncRead + AsyncWrite + Send> Session<S> {
    pub(super) fn new(
        store: Store,
        reader: Reader<ReadHalf<S>>,
        out: Out<WriteHalf<S>>,
        settings: Settings,
        cancellable: Cancellable,
    ) -> Self {
        Self {
            store,
            reader,
            out,
            settings,
            cancellable,
            statements: HashMap::new(),
            portals: HashMap::new(),
            status: TransactionStatus::Idle,
            skips: false,
        }
    }

    /// Serves the client to its end, or until `stopping` between two messages.
    pub async fn run(mut self, stopping: impl Future<Output = ()> + Send) {
        tokio::pin!(stopping);
        loop {
            let next = tokio::time::timeout(IDLE, self.reader.message(MESSAGE_BYTES_MAX));
            let next = tokio::select! {
                biased;
                () = &mut stopping => {
                    let text = "the process stops";
                    return self.part(Failure::fatal("57P01", text)).await;
                }
                next = next => next,
            };
            let done = match next {
                Err(_) => {
                    let text = format!("nothing came for {} s", IDLE.as_secs());
                    return self.part(Failure::fatal("57P05", text)).await;
                }
                Ok(Ok(None)) => return,
                Ok(Ok(Some(message))) => self.take(message).await,
                Ok(Err(broken)) => match Failure::of_bytes(&broken) {
                    Some(failure) => self.fail(failure, !self.skips).await,
                    None => return,
                },
            };
            self.cancellable.runs(None);
            if done.is_err() {
                return;
            }
        }
    }

    /// The last word.
    async fn part(&mut self, failure: Failure) {
        if self.out.message(&failure.response()).is_ok() {
            self.out.close().await;
        }
    }

    /// Takes a message; an error ends the session.
    async fn take(&mut self, message: Message) -> Result<(), Lost> {
        let (simple, taken) = match message {
            Message::Terminate => return Err(Lost),
            Message::Sync => return self.sync().await,
            Message::Query(text) => {
                self.skips = false;
                let taken = self.query(&text).await;
                if taken.is_ok() {
                    return self.ready().await;
                }
                (true, taken)
            }
            _ if self.skips => return Ok(()),
            Message::FunctionCall => {
                let text = "calls of functions by their number are not supported";
                (true, Err(Failure::new("0A000", text).into()))
            }
            message => (false, self.extended(message).await),
        };
        match taken {
            Ok(()) => Ok(()),
            Err(Halt::Gone) => Err(Lost),
            Err(Halt::Failed(failure)) => self.fail(failure, simple).await,
        }
    }

    /// Tells of an error. Of a simple query that is the end; else all is left out up to the next Sync.
    async fn fail(&mut self, failure: Failure, simple: bool) -> Result<(), Lost> {
        self.out.message(&failure.response())?;
        if failure.fatal {
            self.out.close().await;
            return Err(Lost);
        }
        if self.status == TransactionStatus::Transaction {
            self.status = TransactionStatus::Error;
        }
        match simple {
            true => self.ready().await,
            false => {
                self.skips = true;
                // Who waits with its Sync for the answer has it now.
                self.out.flush().await
            }
        }
    }

    async fn ready(&mut self) -> Result<(), Lost> {
        if self.status == TransactionStatus::Idle {
            self.portals.retain(|_, portal| portal.kept);
        }
        self.out.message(&ReadyForQuery::new(self.status))?;
        self.out.flush().await
    }

    async fn sync(&mut self) -> Result<(), Lost> {
        self.skips = false;
        self.ready().await
    }

    /// The statements of a simple query, one after the other.
    async fn query(&mut self, text: &str) -> Result<(), Halt> {
        self.statements.remove("");
        self.portals.remove("");
        let statements = Statement::all(text);
        if statements.is_empty() {
            self.out.message(&EmptyQueryResponse::new())?;
        }
        for statement in statements {
            let mut portal = Portal {
                statement: Arc::new(statement?),
                values: Vec::new(),
                formats: Formats::default(),
                progress: super::statement::Progress::Before,
                kept: false,
            };
            self.describe_portal(&mut portal, false).await?;
            self.perform(&mut portal, 0).await?;
            self.cancellable.runs(None);
        }
        Ok(())
    }

    /// Says how a statement ended.
    pub(super) fn complete(&mut self, tag: impl Into<String>) -> Result<(), Lost> {
        self.out.message(&CommandComplete::new(tag.into()))
    }

    /// Waits for something as long as the client is there.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            done = work => Ok(done),
            () = self.reader.gone() => Err(Halt::Gone),
        }
    }
}
