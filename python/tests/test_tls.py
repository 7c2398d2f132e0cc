"""The same over TLS, with a certificate of the client."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import tapewatch
from conftest import Server, orders, started


def openssl(directory: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority `ca.crt`, and what it signed: `server` for 127.0.0.1, and `client`."""
    at = tmp_path_factory.mktemp("keys")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for name in ["ca", "stranger"]:
        openssl(at, "req", "-x509", *new, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "2",
                "-subj", f"/CN={name}")  # fmt: skip
    (at / "extensions").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n")
    for name in ["server", "client"]:
        openssl(at, "req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(at, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.crt", "-days", "2", "-extfile", "extensions")  # fmt: skip
    return at


@pytest.fixture
def secure(tmp_path: Path, keys: Path) -> Iterator[Server]:
    yield from started(
        tmp_path,
        TAPEWATCH_TLS__CERT=str(keys / "server.crt"),
        TAPEWATCH_TLS__KEY=str(keys / "server.key"),
        TAPEWATCH_TLS__CLIENT_CA=str(keys / "ca.crt"),
    )


def test_everything_goes_over_tls(secure: Server, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"ca": keys / "ca.crt", "certificate": keys / "client.crt", "key": keys / "client.key"}
    with tapewatch.connect(secure.url, **files) as tape:
        assert tape.publish("orders", orders(0, 1_000)).orders == 1_000
        assert tape.sql("select count(*) as n from orders").arrow().to_pylist() == [{"n": 1_000}]
        with tape.subscribe("orders", follow=False) as batches:
            assert sum(batch.num_rows for batch in batches) == 1_000
    # As the product's own commands have it.
    for name, file in [("CA", "ca.crt"), ("CERT", "client.crt"), ("KEY", "client.key")]:
        monkeypatch.setenv(f"TAPEWATCH_TLS__{name}", str(keys / file))
    monkeypatch.setenv("TAPEWATCH_URL", secure.url)
    with tapewatch.connect() as tape, tape.subscribe("orders", follow=False) as batches:
        assert next(batches).num_rows > 0


def test_who_does_not_fit_is_told_why(secure: Server, keys: Path) -> None:
    mine = {"certificate": keys / "client.crt", "key": keys / "client.key"}
    with pytest.raises(tapewatch.Error, match="`ca` names the file of the authorities to trust") as raised:
        tapewatch.connect(secure.url, ca=keys / "stranger.crt", **mine)
    assert raised.value.code == "forbidden"
    with pytest.raises(tapewatch.Error, match="certificate") as raised:
        tapewatch.connect(secure.url, ca=keys / "ca.crt")
    assert raised.value.code == "forbidden"
    with pytest.raises(tapewatch.Error, match="cannot be used"):
        tapewatch.connect(secure.url, ca=keys / "ca.key", **mine)
    with pytest.raises(tapewatch.Error):
        tapewatch.connect(secure.url.replace("https", "http"))
