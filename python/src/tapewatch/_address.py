"""Where the server is, and how it is spoken to: HTTP and Arrow Flight on one port.

Invariant: one address, one set of certificates for both; no proxy is used.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow.flight as flight

from ._errors import Error

if TYPE_CHECKING:
    from ._connection import Connection

DEFAULT_URL = "http://127.0.0.1:9090"
DEFAULT_PORT = 9090

#: Seconds until a connection must stand.
CONNECT_SECONDS = 10.0

#: Schemes, and whether they mean TLS.
_SCHEMES = {"http": False, "grpc": False, "grpc+tcp": False, "https": True, "grpc+tls": True}

#: A peer that has gone without a word is noticed within half a minute, also while nothing is said; a
#: server that comes back is found within a second or so.
_FLIGHT_OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
]


@dataclass(frozen=True)
class Address:
    """A server, and the certificates to meet it with."""

    host: str
    port: int
    tls: bool
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self._netloc()}"

    def _netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def context(self) -> ssl.SSLContext:
        """What TLS needs for HTTP."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(file) for file in (self.ca, self.certificate, self.key) if file)
            raise Error(f"the certificates in {files} cannot be used: {error}") from error
        return context

    def http(self, context: ssl.SSLContext | None, timeout: float) -> http.client.HTTPConnection:
        """An open connection for one request, on which the server may be silent for `timeout` seconds."""
        connection: http.client.HTTPConnection
        if context is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=CONNECT_SECONDS)
        else:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=CONNECT_SECONDS, context=context)
        connection.connect()
        connected: socket.socket = connection.sock
        connected.settimeout(timeout)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    def flight(self) -> flight.FlightClient:
        """A client for Arrow Flight; it connects when it is first used."""
        scheme = "grpc+tls" if self.tls else "grpc"
        options: dict[str, Any] = {}
        if self.ca is not None:
            options["tls_root_certs"] = self.ca.read_bytes()
        elif self.tls and (authorities := _system_authorities()):
            options["tls_root_certs"] = authorities
        if self.certificate is not None and self.key is not None:
            options["cert_chain"] = self.certificate.read_bytes()
            options["private_key"] = self.key.read_bytes()
        return flight.FlightClient(f"{scheme}://{self._netloc()}", generic_options=_FLIGHT_OPTIONS, **options)


def _system_authorities() -> bytes:
    """Those that Python trusts; nothing when it knows them only by directory."""
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in found).encode()


def address_of(
    url: str,
    ca: str | os.PathLike[str] | None,
    certificate: str | os.PathLike[str] | None,
    key: str | os.PathLike[str] | None,
) -> Address:
    """Reads an address; raises `Error` for one that is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        parts = urlsplit("")
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    if parts.scheme not in _SCHEMES or not host or not plain:
        raise Error(f"{url}: write an address such as {DEFAULT_URL}, or https://… for TLS")
    tls = _SCHEMES[parts.scheme]
    if (certificate is None) != (key is None):
        raise Error("a client's certificate needs its key, and a key its certificate: give both or none")
    named = [Path(file) if file is not None else None for file in (ca, certificate, key)]
    if not tls and any(named):
        raise Error(f"{url} is not encrypted, so ca, certificate and key have no use: write https://…")
    for file in named:
        if file is not None and not file.is_file():
            raise Error(f"{file}: there is no such file")
    return Address(host, port or DEFAULT_PORT, tls, *named)


def connect(
    url: str | None = None,
    *,
    ca: str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    timeout: float = 300.0,
    retry_for: float = 60.0,
) -> Connection:
    """Connects to a running Tapewatch: one process, a gateway, or the role `recent`.

    Args:
        url: its address, as the page has it; `https://…` for TLS. Not said: `TAPEWATCH_URL` of the
            environment, else `http://127.0.0.1:9090`.
        ca: file of the authorities to trust, PEM. Not said: `TAPEWATCH_TLS__CA`, else the system's.
        certificate: file of the certificate to show, PEM. Not said: `TAPEWATCH_TLS__CERT`, else none.
        key: file of its key, PEM. Not said: `TAPEWATCH_TLS__KEY`.
        timeout: seconds for which the server may be silent within a call.
        retry_for: seconds for which publishing and subscriptions try again after a connection broke.

    Raises:
        Unavailable: nobody answers there, or not yet.
        Error: what answers is no Tapewatch, or an argument is wrong.

    The connection may be used by several threads. It is a context manager:

        >>> with connect() as tape:
        ...     tape.sql("select 1 + 1 as two").arrow().to_pylist()
        [{'two': 2}]
    """
    from ._connection import Connection

    if timeout <= 0 or retry_for < 0:
        raise Error(f"timeout is {timeout} and retry_for {retry_for}: seconds above 0 are wanted")
    url = url or os.environ.get("TAPEWATCH_URL") or DEFAULT_URL
    if url.startswith(("https:", "grpc+tls:")):
        ca = ca or os.environ.get("TAPEWATCH_TLS__CA") or None
        if certificate is None and key is None:
            certificate = os.environ.get("TAPEWATCH_TLS__CERT") or None
            key = os.environ.get("TAPEWATCH_TLS__KEY") or None
    return Connection(address_of(url, ca, certificate, key), timeout=timeout, retry_for=retry_for)
