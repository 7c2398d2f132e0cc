//! How a Postgres client comes to TLS: it asks for it in plain text, is told yes, and shakes hands on the
//! same connection.
//!
//! Invariant: nothing that came before the handshake is taken for what came in it; nothing but a request
//! to cancel is worked on in plain text.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Duplex;
use super::first_bytes::Prefixed;

/// A request: its length and its number.
const REQUEST_BYTES: usize = 8;
const TLS: [u8; REQUEST_BYTES] = *b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSS: [u8; REQUEST_BYTES] = *b"\0\0\0\x08\x04\xd2\x16\x30";
const CANCEL: &[u8] = b"\x04\xd2\x16\x2e";
/// A client asks for one encryption, then for the other.
const REQUESTS_MAX: usize = 2;
/// `FATAL 28000`, as the protocol writes it.
const REFUSAL: &[u8] = b"E\0\0\0\x72SFATAL\0VFATAL\0C28000\0\
    Mthis port speaks TLS: connect with sslmode=require, or one that checks the certificate\0\0";

type Stream = Prefixed<Box<dyn Duplex>>;

/// What a client asks for.
pub(super) enum Asks {
    /// It was told yes; the handshake is next.
    Tls(Stream),
    Cancel(Stream),
}

/// Answers what is asked before the handshake; why there is none.
pub(super) async fn ask(stream: Stream) -> Result<Asks, &'static str> {
    let silent = |_: std::io::Error| "silent";
    let mut stream = stream;
    for _ in 0..REQUESTS_MAX {
        let mut request = [0; REQUEST_BYTES];
        stream.read_exact(&mut request).await.map_err(silent)?;
        let (more, inner) = stream.into_parts();
        let mut inner = inner;
        match request {
            TLS | GSS if !more.is_empty() => return Err("unknown"),
            TLS => {
                inner.write_all(b"S").await.map_err(silent)?;
                inner.flush().await.map_err(silent)?;
                return Ok(Asks::Tls(Prefixed::again(Vec::new(), inner)));
            }
            GSS => {
                inner.write_all(b"N").await.map_err(silent)?;
                inner.flush().await.map_err(silent)?;
                stream = Prefixed::again(Vec::new(), inner);
            }
            request if request.ends_with(CANCEL) => {
                let bytes = [&request[..], &more].concat();
                return Ok(Asks::Cancel(Prefixed::again(bytes, inner)));
            }
            _ => {
                inner.write_all(REFUSAL).await.map_err(silent)?;
                // Who has gone already needs no goodbye.
                let _ = inner.shutdown().await;
                return Err("plain");
            }
        }
    }
    Err("unknown")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn asked(sent: &[u8]) -> (Result<Asks, &'static str>, Vec<u8>) {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let asks = ask(Prefixed::again(Vec::new(), Box::new(server))).await;
        // What a stream that goes on was told is read too.
        let mut told = vec![0; 256];
        let reading = client.read(&mut told);
        let read = tokio::time::timeout(std::time::Duration::from_millis(100), reading).await;
        told.truncate(read.map_or(0, Result::unwrap));
        (asks, told)
    }

    #[tokio::test]
    async fn tls_or_nothing() {
        let (asks, told) = asked(&TLS).await;
        assert!(matches!(asks, Ok(Asks::Tls(_))));
        assert_eq!(told, b"S");
        let (asks, told) = asked(&[&GSS[..], &TLS].concat()).await;
        assert_eq!(told.len(), 1 + usize::from(asks.is_ok()));
        let (asks, told) = asked(b"\0\0\0\x11\0\x03\0\0user\0me\0\0").await;
        assert_eq!(asks.err(), Some("plain"));
        assert_eq!(told, REFUSAL);
        assert_eq!(told.get(4).copied(), u8::try_from(told.len() - 1).ok());
        let (asks, _) = asked(b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02").await;
        let Ok(Asks::Cancel(mut stream)) = asks else {
            panic!("it cancels");
        };
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes.len(), 16);
    }

    #[tokio::test]
    async fn what_was_sent_ahead_of_the_handshake_is_not_taken_for_it() {
        let (client, server) = tokio::io::duplex(1024);
        let before = [&TLS[..], b"\0\0\0\x11\0\x03\0\0"].concat();
        let asks = ask(Prefixed::again(before, Box::new(server))).await;
        assert_eq!(asks.err(), Some("unknown"));
        drop(client);
    }
}
