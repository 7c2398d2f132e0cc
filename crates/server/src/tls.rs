//! TLS: the server's certificate, who may be a client, and whom we trust as a client.
//!
//! Invariant: what is in force was read whole and fits together; files that change are taken into force
//! within seconds, or, when something is wrong with them, what was before stays and the log says why.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::clock;
use crate::failure::Failure;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(3);
/// Files of which the last certificates that they gave are kept; a process has one.
const CONFIGS_MAX: usize = 16;
/// Refused handshakes are told at most this often; the metric counts all.
const TELL_NANOS: i64 = 1_000_000_000;

/// The files; an empty path is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsConfig {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: PathBuf,
    pub(crate) ca: PathBuf,
}

impl TlsConfig {
    /// What the environment says, for commands that read no configuration.
    pub(crate) fn of_environment() -> Self {
        let path = |key: &str| {
            let path = std::env::var_os(format!("TAPEWATCH_TLS__{key}"));
            PathBuf::from(path.unwrap_or_default())
        };
        Self {
            cert: path("CERT"),
            key: path("KEY"),
            client_ca: PathBuf::new(),
            ca: path("CA"),
        }
    }

    /// Checks that a certificate and its key are both there or both not.
    fn pair(&self) -> Result<(), String> {
        let (cert, key) = (self.cert.as_os_str(), self.key.as_os_str());
        let text = |is: &str, not: &str| {
            format!("tls.{is} is set and tls.{not} is not: a certificate and its key go together")
        };
        match (cert.is_empty(), key.is_empty()) {
            (false, true) => Err(text("cert", "key")),
            (true, false) => Err(text("key", "cert")),
            _ => Ok(()),
        }
    }

    /// What a client of our own kind trusts and shows: `tls.ca`, and the certificate if there is one.
    ///
    /// # Errors
    /// [`Failure`] names the file and what is wrong with it.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, Failure> {
        let client = Files::read(self).and_then(|files| files.client());
        client.map_err(|error| Failure::usage(format!("configuration: {error}")))
    }

    /// The same for who opens connections again and again: while something is wrong with the files, as in
    /// the midst of a renewal, what they gave last.
    ///
    /// # Errors
    /// As [`Self::client`], when they never gave anything.
    pub(crate) fn client_or_last(&self) -> Result<Arc<ClientConfig>, Failure> {
        /// With whether it was told that something is wrong.
        type Last = (TlsConfig, Arc<ClientConfig>, bool);
        static LAST: Mutex<Vec<Last>> = Mutex::new(Vec::new());
        let client = self.client();
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.iter().position(|(config, ..)| config == self);
        let before = known.map(|known| last.swap_remove(known));
        let (given, told) = match (client, before) {
            (Err(error), Some((_, before, told))) => {
                if !told {
                    tracing::warn!(%error, "connections are opened with the certificates before");
                }
                (before, true)
            }
            (client, _) => (client?, false),
        };
        if last.len() == CONFIGS_MAX {
            last.remove(0);
        }
        last.push((self.clone(), Arc::clone(&given), told));
        Ok(given)
    }
}

/// The server's side; clones are the same.
#[derive(Clone)]
pub(crate) struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    config: TlsConfig,
    current: RwLock<(Files, Arc<ServerConfig>)>,
    told: AtomicI64,
}

impl Tls {
    /// Reads the files; `None` when there is no certificate.
    ///
    /// # Errors
    /// [`Failure`] names the file and what is wrong with it.
    pub(crate) fn load(config: &TlsConfig) -> Result<Option<Self>, Failure> {
        let fail = |error: String| Failure::usage(format!("configuration: {error}"));
        let set = |path: &Path| !path.as_os_str().is_empty();
        config.pair().map_err(fail)?;
        if !set(&config.cert) {
            return match set(&config.client_ca) {
                true => Err(fail("tls.client_ca needs tls.cert".to_owned())),
                false => Ok(None),
            };
        }
        let files = Files::read(config).map_err(fail)?;
        let server = files.server().map_err(fail)?;
        Ok(Some(Self {
            inner: Arc::new(Inner {
                config: config.clone(),
                current: RwLock::new((files, server)),
                told: AtomicI64::new(0),
            }),
        }))
    }

    /// Shakes hands with what is in force now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.inner.current.read();
        let (_, server) = &*current.unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(server))
    }

    /// Whether clients must show a certificate.
    pub(crate) fn demands_certificate(&self) -> bool {
        !self.inner.config.client_ca.as_os_str().is_empty()
    }

    /// Takes the files into force if they changed; whether they did.
    ///
    /// # Errors
    /// What is wrong with them; what was before stays in force.
    fn reload(&self) -> Result<bool, String> {
        let files = Files::read(&self.inner.config)?;
        let current = &self.inner.current;
        if current.read().unwrap_or_else(PoisonError::into_inner).0 == files {
            return Ok(false);
        }
        let server = files.server()?;
        *current.write().unwrap_or_else(PoisonError::into_inner) = (files, server);
        Ok(true)
    }

    /// Looks at the files every few seconds and on SIGHUP, until the process stops.
    pub(crate) fn spawn_watch(&self, mut stopping: watch::Receiver<bool>) -> JoinHandle<()> {
        let tls = self.clone();
        tokio::spawn(async move {
            let Ok(mut hangup) = signal(SignalKind::hangup()) else {
                tracing::error!("SIGHUP cannot be caught; certificates are not watched");
                return;
            };
            let mut said = None;
            loop {
                tokio::select! {
                    // An error means that everything is gone already.
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                    _ = hangup.recv() => said = None,
                    () = tokio::time::sleep(LOOK) => {}
                }
                let looked = tls.clone();
                let result = tokio::task::spawn_blocking(move || looked.reload()).await;
                match result.unwrap_or_else(|error| Err(error.to_string())) {
                    Ok(changed) => {
                        if changed {
                            tracing::info!("new certificates are in force");
                        }
                        said = None;
                    }
                    Err(error) => {
                        if said.as_ref() != Some(&error) {
                            tracing::error!("{error}; the certificates before stay in force");
                        }
                        said = Some(error);
                    }
                }
            }
        })
    }

    /// Tells of a handshake that failed.
    pub(crate) fn refused(&self, peer: SocketAddr, error: &std::io::Error) {
        let (now, told) = (clock::now().nanos(), &self.inner.told);
        let last = told.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= TELL_NANOS {
            told.store(now, Ordering::Relaxed);
            tracing::warn!(%peer, %error, "TLS handshake refused");
        }
    }
}

/// The files as they are, unread.
#[derive(PartialEq, Eq)]
struct Files {
    config: TlsConfig,
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
    ca: Vec<u8>,
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, String> {
        config.pair()?;
        let read = |key: &str, path: &Path| match path.as_os_str().is_empty() {
            true => Ok(Vec::new()),
            false => std::fs::read(path).map_err(|error| at(key, path, error)),
        };
        Ok(Self {
            cert: read("cert", &config.cert)?,
            key: read("key", &config.key)?,
            client_ca: read("client_ca", &config.client_ca)?,
            ca: read("ca", &config.ca)?,
            config: config.clone(),
        })
    }

    fn server(&self) -> Result<Arc<ServerConfig>, String> {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = if self.client_ca.is_empty() {
            builder.with_no_client_auth()
        } else {
            let path = &self.config.client_ca;
            let roots = Arc::new(roots("client_ca", path, &self.client_ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            // Who shows none may only ask whether the process is well: see `port`.
            let verifier = verifier.allow_unauthenticated().build();
            builder
                .with_client_cert_verifier(verifier.map_err(|error| at("client_ca", path, error))?)
        };
        let (chain, key) = self.identity()?;
        let mut server = builder
            .with_single_cert(chain, key)
            .map_err(|error| self.does_not_fit(error))?;
        // Newer Postgres clients insist on the name of what they speak.
        let spoken = ["h2", "http/1.1", "postgresql"];
        server.alpn_protocols = spoken.map(|name| name.as_bytes().to_vec()).to_vec();
        Ok(Arc::new(server))
    }

    fn client(&self) -> Result<Arc<ClientConfig>, String> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        if self.config.ca.as_os_str().is_empty() {
            return Err("tls.ca is not set: it names the authorities to trust".to_owned());
        }
        let builder = builder.with_root_certificates(roots("ca", &self.config.ca, &self.ca)?);
        let client = if self.cert.is_empty() {
            builder.with_no_client_auth()
        } else {
            let (chain, key) = self.identity()?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| self.does_not_fit(error))?
        };
        Ok(Arc::new(client))
    }

    /// The certificate with those above it, and its key.
    fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let TlsConfig { cert, key, .. } = &self.config;
        let chain = certificates("cert", cert, &self.cert)?;
        let read = PrivateKeyDer::from_pem_slice(&self.key);
        let read = read.map_err(|error| match error {
            pem::Error::NoItemsFound => {
                at("key", key, "there is no private key in it: PEM is wanted")
            }
            error => at("key", key, error),
        })?;
        Ok((chain, read))
    }

    fn does_not_fit(&self, error: rustls::Error) -> String {
        let key = self.config.key.display();
        at(
            "cert",
            &self.config.cert,
            format_args!("with key {key}: {error}"),
        )
    }
}

fn certificates(
    key: &str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err(at(
            key,
            path,
            "there is no certificate in it: PEM is wanted",
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(at(key, path, error)),
    }
}

fn roots(key: &str, path: &Path, pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path, pem)? {
        roots
            .add(certificate)
            .map_err(|error| at(key, path, error))?;
    }
    Ok(roots)
}

fn at(key: &str, path: &Path, what: impl std::fmt::Display) -> String {
    format!("tls.{key}: {}: {what}", path.display())
}

/// The tree has two of them, so none is the default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
