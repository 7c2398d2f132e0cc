//! The start of a connection: what it wants, who it is, and what it is told before its first question.
//!
//! Invariant: nobody is told anything of the tables before it has shown who it is; all of it takes a
//! bounded time and little memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::errors::Failure;
use super::frame::{Broken, Message, Reader, Start};
use super::out::{Lost, Out};
use super::scram::{Exchange, MECHANISM, Refused};
use super::session::Session;
use super::settings::{SERVER_VERSION, Settings};
use super::{Closed, Login, Secret, Wire};
use crate::store::Store;

/// Time for all of it.
const START_TIME: Duration = Duration::from_secs(10);
/// Longest message before a client is let in.
const MESSAGE_BYTES_MAX: usize = 8 << 10;
/// Packets that may come before a session: TLS and another encryption are asked for once each.
const PACKETS_MAX: usize = 4;
/// The one version that is spoken.
const MAJOR: u16 = 3;

/// Why a connection did not come to a session.
enum Ended {
    /// It was told of it; the reason for who counts.
    Told(Failure, &'static str),
    Quietly(&'static str),
    /// It was there to cancel something.
    Cancelled,
}

impl From<Lost> for Ended {
    fn from(_: Lost) -> Self {
        Self::Quietly("silent")
    }
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        match Failure::of_bytes(&broken) {
            Some(failure) => Self::Told(failure, "unknown"),
            None => Self::Quietly("silent"),
        }
    }
}

impl Wire {
    /// Lets a client in: its session; `None` when it was there to cancel a query.
    ///
    /// # Errors
    /// Why not, in a word for metrics.
    pub async fn admit<S>(
        &self,
        stream: S,
        inside: Result<Store, Closed>,
        login: impl FnOnce(&str) -> Login + Send,
    ) -> Result<Option<Session<S>>, &'static str>
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (read, write) = tokio::io::split(stream);
        let mut reader = Reader::new(read, Arc::clone(&self.large));
        let mut out = Out::new(write);
        let admitted = self.admitted(&mut reader, &mut out, (&inside, login));
        let admitted = tokio::time::timeout(START_TIME, admitted).await;
        match admitted.unwrap_or(Err(Ended::Quietly("silent"))) {
            Ok((store, settings, cancellable)) => Ok(Some(Session::new(
                store,
                reader,
                out,
                settings,
                cancellable,
            ))),
            Err(Ended::Cancelled) => {
                out.close().await;
                Ok(None)
            }
            Err(Ended::Quietly(why)) => Err(why),
            Err(Ended::Told(failure, why)) => {
                let failure = Failure {
                    fatal: true,
                    ..failure
                };
                if out.message(&failure.response()).is_ok() {
                    out.close().await;
                }
                Err(why)
            }
        }
    }

    async fn admitted<R, W>(
        &self,
        reader: &mut Reader<R>,
        out: &mut Out<W>,
        (inside, login): (&Result<Store, Closed>, impl FnOnce(&str) -> Login + Send),
    ) -> Result<(Store, Settings, super::cancels::Cancellable), Ended>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let parameters = self.wanted(reader, out, inside).await?;
        let user = parameters.iter().find(|(name, _)| name == "user");
        let Some((_, user)) = user.filter(|(_, user)| !user.is_empty()) else {
            let failure = Failure::fatal("28000", "the name of a user is missing");
            return Err(Ended::Told(failure, "unknown"));
        };
        match login(user) {
            Login::Trusted => {}
            Login::Password(secret) => show_password(reader, out, secret, user).await?,
            Login::Refused(why) => {
                return Err(Ended::Told(Failure::fatal("28000", why), "access"));
            }
        }
        let store = inside.clone().map_err(|closed| match closed {
            Closed::Starting => {
                let text = "the process is starting: it reads its journal; try again in a moment";
                Ended::Told(Failure::fatal("57P03", text), "starting")
            }
            Closed::Full => Ended::Told(
                Failure::fatal("53300", "there are too many sessions"),
                "limit",
            ),
            Closed::Elsewhere(text) => Ended::Told(Failure::fatal("0A000", text), "elsewhere"),
            Closed::Away(text) => Ended::Told(Failure::fatal("57P03", text), "elsewhere"),
        })?;
        let settings = Settings::of_start(user, &parameters);
        let settings = settings.map_err(|failure| Ended::Told(failure, "unknown"))?;
        let cancellable = self.cancels.enter();
        let cancellable = cancellable.ok_or(Ended::Quietly("limit"))?;
        out.message(&Authentication::Ok)?;
        out.message(&ParameterStatus::new(
            "server_version".to_owned(),
            shown_version(),
        ))?;
        for (name, value) in settings.told() {
            out.message(&ParameterStatus::new(name.to_owned(), value.to_owned()))?;
        }
        let mut secret = cancellable.secret.clone();
        let secret = SecretKey::I32(secret.try_get_i32().unwrap_or_default());
        out.message(&BackendKeyData::new(cancellable.process, secret))?;
        out.message(&ReadyForQuery::new(TransactionStatus::Idle))?;
        out.flush().await?;
        Ok((store, settings, cancellable))
    }

    /// The parameters of the session that is wanted; what is asked before it is answered.
    async fn wanted<R, W>(
        &self,
        reader: &mut Reader<R>,
        out: &mut Out<W>,
        inside: &Result<Store, Closed>,
    ) -> Result<Vec<(String, String)>, Ended>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..PACKETS_MAX {
            match reader.start().await? {
                None => return Err(Ended::Quietly("silent")),
                // Where TLS is set, it was shaken hands on before this.
                Some(Start::Ssl | Start::Gss) => {
                    out.bytes(b"N").await?;
                    out.flush().await?;
                }
                Some(Start::Cancel { process, secret }) => {
                    let query = self.cancels.query(process, &secret);
                    if let (Some(query), Ok(store)) = (query, inside) {
                        // It may have ended in the meantime.
                        let _ = store.cancel_query(&query);
                    }
                    return Err(Ended::Cancelled);
                }
                Some(Start::Session {
                    major,
                    minor,
                    parameters,
                }) => {
                    if major != MAJOR {
                        let text = format!("protocol {major}.{minor} is not spoken, but {MAJOR}.0");
                        return Err(Ended::Told(Failure::fatal("0A000", text), "unknown"));
                    }
                    negotiate(out, minor, &parameters)?;
                    return Ok(parameters);
                }
            }
        }
        let failure = Failure::fatal("08P01", "a session was not begun");
        Err(Ended::Told(failure, "unknown"))
    }
}

/// Tells a client that wants more than there is what there is.
fn negotiate<W: AsyncWrite + Unpin>(
    out: &mut Out<W>,
    minor: u16,
    parameters: &[(String, String)],
) -> Result<(), Lost> {
    let names = parameters.iter().map(|(name, _)| name);
    let unknown: Vec<_> = names
        .filter(|name| name.starts_with("_pq_."))
        .cloned()
        .collect();
    if minor == 0 && unknown.is_empty() {
        return Ok(());
    }
    let spoken = i32::from(MAJOR) << 16;
    out.message(&NegotiateProtocolVersion::new(spoken, unknown))
}

fn shown_version() -> String {
    format!("{SERVER_VERSION} (Tapewatch {})", env!("CARGO_PKG_VERSION"))
}

/// Has the client show that it knows the password.
async fn show_password<R, W>(
    reader: &mut Reader<R>,
    out: &mut Out<W>,
    secret: Secret,
    user: &str,
) -> Result<(), Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let told = |refused| {
        let failure = match refused {
            Refused::Wrong => Failure::fatal(
                "28P01",
                format!("password authentication failed for user {user:?}"),
            ),
            Refused::Malformed(what) => Failure::fatal("08P01", format!("{MECHANISM}: {what}")),
            Refused::Broken => Failure::fatal("XX000", "the system gives no random numbers"),
        };
        Ended::Told(failure, "access")
    };
    out.message(&Authentication::SASL(vec![MECHANISM.to_owned()]))?;
    out.flush().await?;
    let answer = password(reader).await?;
    let first = initial(&answer).ok_or_else(|| told(Refused::Malformed("it is not chosen")))?;
    let exchange = Exchange::begin(secret, &first).map_err(told)?;
    let challenge = Bytes::copy_from_slice(exchange.challenge().as_bytes());
    out.message(&Authentication::SASLContinue(challenge))?;
    out.flush().await?;
    let last = password(reader).await?;
    let signature = exchange.finish(&last).map_err(told)?;
    out.message(&Authentication::SASLFinal(signature.into()))?;
    Ok(())
}

async fn password<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Bytes, Ended> {
    match reader.message(MESSAGE_BYTES_MAX).await? {
        Some(Message::Password(body)) => Ok(body),
        Some(Message::Terminate) | None => Err(Ended::Quietly("silent")),
        Some(_) => {
            let failure = Failure::fatal("08P01", "an answer about the password is wanted");
            Err(Ended::Told(failure, "access"))
        }
    }
}

/// The first message of the mechanism that the client chose.
fn initial(body: &Bytes) -> Option<Bytes> {
    let rest = body
        .strip_prefix(MECHANISM.as_bytes())?
        .strip_prefix(b"\0")?;
    let mut rest = Bytes::copy_from_slice(rest);
    let length = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    (length == rest.len()).then_some(rest)
}
