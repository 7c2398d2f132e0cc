//! Connections to other roles: TCP, and inside of it TLS where `tls.ca` says whom to trust.
//!
//! Invariant: with `tls.ca` nothing is said in plain text. Its files are read for each connection, so
//! that certificates which change are in force with the next one; until they fit together again, those
//! before are.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::port::Duplex;
use crate::tls::TlsConfig;

/// How long a peer may take to take a connection and to shake hands.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Opens a connection to `host:port`.
///
/// # Errors
/// What went wrong, for people.
pub(crate) async fn dial(address: &str, tls: &TlsConfig) -> Result<Box<dyn Duplex>, String> {
    match tokio::time::timeout(CONNECT_WITHIN, open(address, tls)).await {
        Ok(opened) => opened,
        Err(_) => Err(format!(
            "it does not take the connection within {} s",
            CONNECT_WITHIN.as_secs()
        )),
    }
}

async fn open(address: &str, tls: &TlsConfig) -> Result<Box<dyn Duplex>, String> {
    let text = |error: std::io::Error| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    if tls.ca.as_os_str().is_empty() {
        return Ok(Box::new(stream));
    }
    let client = tls.client_or_last().map_err(|error| error.to_string())?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is no name that a certificate could have"))?;
    let shaken = TlsConnector::from(client).connect(name, stream).await;
    let stream = shaken.map_err(|error| format!("TLS: {error}"))?;
    Ok(Box::new(stream))
}
