//! What the first bytes of a connection say, and the connection with those bytes back in front.
//!
//! Invariant: no byte is lost or read twice; at most as many are read as it takes to tell.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// With what every connection of HTTP/2 begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// With what a request of HTTP/1 begins.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
];
/// The type of a TLS record that shakes hands.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tls,
    Http1,
    Http2,
    /// A packet that begins a session of Postgres, asks for TLS, or cancels.
    Postgres,
    /// Nothing of these: a name and a password, as kdb+ IPC begins, or nonsense.
    Other,
}

/// What it is; `None` while more bytes are needed to tell.
fn kind(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [] => None,
        [TLS_HANDSHAKE, ..] => Some(Kind::Tls),
        [0, rest @ ..] => postgres(rest),
        bytes if bytes.starts_with(PREFACE) => Some(Kind::Http2),
        bytes if PREFACE.starts_with(bytes) => None,
        bytes if METHODS.iter().any(|method| bytes.starts_with(method)) => Some(Kind::Http1),
        bytes if METHODS.iter().any(|method| method.starts_with(bytes)) => None,
        _ => Some(Kind::Other),
    }
}

/// What a zero begins: the length of a packet, at most 64 KiB, and a version of Postgres's protocol or
/// one of the numbers that stand for a request.
fn postgres(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [] | [0] | [0, _] | [0, _, _] => None,
        [0, _, _, 4 | 0, ..] => Some(Kind::Postgres),
        _ => Some(Kind::Other),
    }
}

/// Reads until it is clear what is spoken.
///
/// # Errors
/// When the connection fails or ends before.
pub(super) async fn read<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Kind, Prefixed<S>)> {
    let mut bytes = Vec::with_capacity(PREFACE.len());
    loop {
        let mut left = (&mut stream).take((PREFACE.len() - bytes.len()) as u64);
        if left.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(kind) = kind(&bytes) {
            let before = io::Cursor::new(bytes);
            return Ok((kind, Prefixed { before, stream }));
        }
    }
}

/// A stream with bytes in front that were read already.
pub(super) struct Prefixed<S> {
    before: io::Cursor<Vec<u8>>,
    stream: S,
}

/// A stream, and something that is dropped with it.
pub(super) struct Holding<S, T> {
    stream: S,
    _held: T,
}

impl<S> Prefixed<S> {
    /// The stream with these bytes in front of it.
    pub(super) fn again(bytes: Vec<u8>, stream: S) -> Self {
        Self {
            before: io::Cursor::new(bytes),
            stream,
        }
    }

    /// What is behind the bytes that were read already, and these.
    pub(super) fn into_parts(self) -> (Vec<u8>, S) {
        let at = usize::try_from(self.before.position()).unwrap_or(usize::MAX);
        let rest = self.before.get_ref().get(at..).unwrap_or_default();
        (rest.to_vec(), self.stream)
    }

    /// The stream with `held`, which is dropped when the stream is.
    pub(super) fn holding<T>(self, held: T) -> Holding<Self, T> {
        Holding {
            stream: self,
            _held: held,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let at = usize::try_from(this.before.position()).unwrap_or(usize::MAX);
        let rest = this.before.get_ref().get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let taken = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..taken).unwrap_or_default());
        this.before.set_position((at + taken) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S, T> AsyncRead for Holding<S, T>
where
    S: AsyncRead + Unpin,
    T: Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

/// Writes to the stream underneath.
macro_rules! write_through {
    ($type:ty, $($name:ident),+) => {
        impl<$($name),+> AsyncWrite for $type
        where
            S: AsyncWrite + Unpin,
            $($name: Unpin),+
        {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                self.stream.is_write_vectored()
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().stream).poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
            }
        }
    };
}

write_through!(Prefixed<S>, S);
write_through!(Holding<S, T>, S, T);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_is_spoken() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"\x16", Some(Kind::Tls)),
            (b"G", None),
            (b"GET", None),
            (b"GET ", Some(Kind::Http1)),
            (b"DELETE /x", Some(Kind::Http1)),
            (b"P", None),
            (b"PR", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Kind::Http2)),
            (b"PRIX", Some(Kind::Other)),
            (b"GETTY:secret\x03\0", Some(Kind::Other)),
            (b"P:secret\x03\0", Some(Kind::Other)),
            (b":\x03\0", Some(Kind::Other)),
            (b"\0", None),
            (b"\0\0\0\x08", None),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Some(Kind::Postgres)),
            (b"\0\0\0\x29\0\x03\0\0user", Some(Kind::Postgres)),
            (b"\0\x01\0\x08\x04\xd2", Some(Kind::Other)),
            (b"\0\0\0\x08!", Some(Kind::Other)),
        ] {
            assert_eq!(kind(bytes), expected, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        for chunk in 1..=30 {
            let sent = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
            let mut builder = tokio_test_stream(sent, chunk);
            let (kind, mut stream) = read(&mut builder).await.unwrap();
            assert_eq!(kind, Kind::Http1);
            let mut text = Vec::new();
            stream.read_to_end(&mut text).await.unwrap();
            assert_eq!(text, sent, "in pieces of {chunk}");
        }
    }

    /// A stream that gives at most `chunk` bytes at a time.
    fn tokio_test_stream(bytes: &'static [u8], chunk: usize) -> impl AsyncRead + Unpin {
        struct Chunked(&'static [u8], usize);
        impl AsyncRead for Chunked {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let taken = self.0.len().min(self.1).min(buffer.remaining());
                let (now, rest) = self.0.split_at(taken);
                buffer.put_slice(now);
                self.0 = rest;
                Poll::Ready(Ok(()))
            }
        }
        Chunked(bytes, chunk)
    }
}
