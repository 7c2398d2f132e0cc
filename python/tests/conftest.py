"""A running `tapewatch up` for the tests, and rows to publish. `TAPEWATCH_BINARY` names the binary."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import tapewatch

ROOT = Path(__file__).resolve().parents[2]
START = 1_704_441_600_000_000_000


def binary() -> str:
    path = os.environ.get("TAPEWATCH_BINARY")
    assert path, "TAPEWATCH_BINARY is not set: it names the binary tapewatch"
    return str(Path(path).resolve())


def clean(**more: str) -> dict[str, str]:
    """The environment without settings of Tapewatch but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
    return {**kept, **more}


class Server:
    """A process with a data directory of its own; it keeps its port over restarts."""

    def __init__(self, directory: Path, *arguments: str, **environment: str) -> None:
        self._directory = directory
        self._arguments = arguments
        self._environment = environment
        self.scheme = "https" if "TAPEWATCH_TLS__CERT" in environment else "http"
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [binary(), "up", "--listen", f"127.0.0.1:{self.port}", "--data", str(self._directory / "data")]
        with open(self._directory / "log", "a") as log:
            self.process = subprocess.Popen(
                [*command, *self._arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean(**self._environment),
                cwd=self._directory,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on"), (line, (self._directory / "log").read_text())
        self.port = int(line.strip().rsplit(":", 1)[1])

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [binary(), *arguments, "--url", self.url], env=clean(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def feed_reference(self) -> None:
        """The reference's ten orders, of which the last raises an alert."""
        self.command("feed", "csv", str(ROOT / "tests" / "data" / "spoofingData.csv"))


def started(directory: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    server = Server(directory, *arguments, **environment)
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An empty process."""
    yield from started(tmp_path)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process with the reference's orders, for tests that only read."""
    for server in started(tmp_path_factory.mktemp("reference")):
        server.feed_reference()
        yield server


@pytest.fixture
def tape(server: Server) -> Iterator[tapewatch.Connection]:
    with tapewatch.connect(server.url) as connection:
        yield connection


@pytest.fixture
def asked(reference: Server) -> Iterator[tapewatch.Connection]:
    with tapewatch.connect(reference.url) as connection:
        yield connection


def orders(first: int, count: int) -> pa.Table:
    """Rows `first` to `first + count - 1` of an endless tape: the order id is the row's number."""
    numbers = range(first, first + count)
    return pa.table(
        {
            "time": pa.array([START + n * 1_000_000 + 7 for n in numbers], pa.timestamp("ns", "UTC")),
            "sym": [f"SYM{n % 7}" for n in numbers],
            "event_type": ["filled" if n % 5 else "new" for n in numbers],
            "trader": [f"T{n % 11}" for n in numbers],
            "side": ["B" if n % 2 else "S" for n in numbers],
            "order_id": [str(n) for n in numbers],
            "price": pa.array([10_000 + n % 100 for n in numbers], pa.decimal128(12, 2)),
            "quantity": pa.array([100 + n % 9 for n in numbers], pa.int64()),
        }
    )


def spoofing(at: int, sym: str = "SNDL") -> list[dict[str, object]]:
    """Four large cancels within a second, at that second: one hit, at the last."""
    return [
        {
            "time": f"2024-01-05T{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}.{part}Z",
            "sym": sym,
            "event_type": "cancelled",
            "trader": "Spoofer",
            "side": "S",
            "order_id": f"{at}-{part}",
            "price": "2.11",
            "quantity": 2_000,
        }
        for part in range(4)
    ]


def until(what: object, seconds: float = 30) -> None:
    """Waits until it is true."""
    assert callable(what)
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
