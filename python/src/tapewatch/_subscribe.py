"""Subscriptions: batches of a table in the order of `seq`, each row once, over as many connections as it takes.

Invariant: what was handed on to the reader's queue is remembered, and a new connection begins right behind
it; a reader that is slow holds at most `QUEUE_BATCHES` batches, and the server waits for nobody.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.flight as flight

from . import _convert, _errors
from ._convert import Decimals
from ._errors import Error
from ._retry import Patience

if TYPE_CHECKING:
    import pandas
    import polars

#: Batches that wait for the reader, of all tables together.
QUEUE_BATCHES = 16
#: Codes of failures that no other try would change.
_FOR_GOOD = frozenset({"bad_request", "not_found", "forbidden"})
#: What names a row among those of one sequence number; orders have none of the same.
_IDS = {"hits": "hit_id", "alerts": "alert_id"}


@dataclass(frozen=True)
class Batch:
    """Rows of one table, in the order of `seq`."""

    #: Of which table.
    table: str
    #: The rows, with the columns of SQL.
    data: pa.RecordBatch
    #: A later subscription goes on with `from_seq=next_seq`, without a gap and without a repeat; `None`
    #: while more rows of the last number may come.
    next_seq: int | None

    @property
    def num_rows(self) -> int:
        return self.data.num_rows

    def arrow(self) -> pa.Table:
        """The rows as a table of Arrow."""
        return pa.Table.from_batches([self.data])

    def pandas(self, *, decimals: Decimals = "exact") -> pandas.DataFrame:
        """The rows as a frame of pandas, as `Result.pandas` gives it."""
        return _convert.to_pandas(self.arrow(), decimals)

    def polars(self, *, decimals: Decimals = "exact") -> polars.DataFrame:
        """The rows as a frame of Polars."""
        return _convert.to_polars(self.arrow(), decimals)


@dataclass
class Wanted:
    """What a subscription asks for."""

    table: str
    syms: Sequence[str] | None
    from_seq: int | None
    follow: bool
    name: str
    #: The start was not said by the caller: a server that is not there yet will be.
    lenient: bool
    #: Which rows of a batch the caller wants.
    keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None


@dataclass
class _Place:
    """Where a table is: what was handed on."""

    next: int | None
    #: The last number that was handed on, while rows of it may still come, and which of it were.
    last: int = 0
    ids: set[str] = field(default_factory=set)


class _Shared:
    """What the reader and its threads have in common; it does not keep the subscription alive."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.queue: queue.Queue[Batch | Error | None] = queue.Queue(QUEUE_BATCHES)
        self.readers: dict[str, flight.FlightStreamReader] = {}
        self.connections = 0
        self.lock = threading.Lock()

    def put(self, item: Batch | Error | None) -> None:
        while not self.stop.is_set():
            try:
                return self.queue.put(item, timeout=0.2)
            except queue.Full:
                continue

    def opened(self, table: str, reader: flight.FlightStreamReader) -> None:
        with self.lock:
            self.readers[table] = reader
            self.connections += 1
        if self.stop.is_set():
            reader.cancel()

    def end(self) -> None:
        self.stop.set()
        with self.lock:
            readers = list(self.readers.values())
            self.readers.clear()
        for reader in readers:
            reader.cancel()
        # Who waits in another thread hears of it; where the queue is full nobody waits.
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(None)


class Subscription(Iterator[Batch]):
    """Batches as they come; it ends only when it is closed, unless `follow` was `False`.

    A connection that breaks is opened again, for `retry_for` seconds after the last sign of life; then
    the iterator raises `Unavailable`. Leave it by `break`, `close()` or the end of its `with`.
    """

    def __init__(self, client: flight.FlightClient, wanted: Sequence[Wanted], retry_for: float) -> None:
        self._shared = _Shared()
        self._open = len(wanted)
        self._ended: Error | None = None
        self._finalizer = weakref.finalize(self, self._shared.end)
        self._threads = []
        for one in wanted:
            follower = _Follower(client, one, self._shared, retry_for)
            thread = threading.Thread(target=follower.run, name=f"tapewatch {one.table}", daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def connections(self) -> int:
        """How many connections it has taken so far, of all tables."""
        return self._shared.connections

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Batch:
        batch = self.next()
        if batch is None:
            raise StopIteration
        return batch

    def next(self, timeout: float | None = None) -> Batch | None:
        """The next batch; `None` at the end, or when nothing came within `timeout` seconds."""
        while self._open and not self._shared.stop.is_set():
            try:
                item = self._shared.queue.get(timeout=timeout)
            except queue.Empty:
                return None
            if isinstance(item, Batch):
                return item
            self._open -= 1
            if isinstance(item, Error):
                self._ended = item
                self.close()
        if self._ended is not None:
            raise self._ended
        return None

    def close(self) -> None:
        """Ends it; the server is told."""
        self._shared.end()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Follower:
    """Follows one table in a thread of its own."""

    def __init__(self, client: flight.FlightClient, wanted: Wanted, shared: _Shared, retry_for: float) -> None:
        self._client = client
        self._wanted = wanted
        self._shared = shared
        self._place = _Place(wanted.from_seq)
        self._patience = Patience(retry_for, shared.stop)
        self._fresh = not wanted.lenient

    def run(self) -> None:
        try:
            while not self._shared.stop.is_set():
                try:
                    self._stream()
                    break
                except (pa.ArrowException, OSError) as error:
                    self._failed(error)
            self._shared.put(None)
        except Error as error:
            self._shared.put(error)
        except BaseException as error:
            # The reader must hear of it, or it waits for ever.
            self._shared.put(Error(f"the subscription to {self._wanted.table} failed: {error!r}"))

    def _failed(self, error: BaseException) -> None:
        """Waits for the next try, or says why there is none."""
        code, words = _errors.flight_code(error), _errors.flight_message(error)
        if self._shared.stop.is_set():
            return
        for_good = code in _FOR_GOOD or (self._fresh and code in ("out_of_range", "exhausted"))
        if for_good:
            raise _errors.of(words, code)
        if not self._patience.waits() and not self._shared.stop.is_set():
            text = f"{self._wanted.table}: no connection for {self._patience.seconds:g} s: {words}"
            raise _errors.of(text, "unavailable" if code in ("internal", "cancelled") else code)

    def _stream(self) -> None:
        """One connection, to its end."""
        wanted, place = self._wanted, self._place
        ticket: dict[str, Any] = {"table": wanted.table, "follow": wanted.follow, "name": wanted.name}
        if place.next is not None:
            ticket["from_seq"] = place.next
        if wanted.syms is not None:
            ticket["syms"] = list(wanted.syms)
        reader = self._client.do_get(flight.Ticket(json.dumps(ticket).encode()))
        self._shared.opened(wanted.table, reader)
        # The schema comes at once: the server has taken the subscription.
        _ = reader.schema
        self._fresh = False
        self._patience.begin()
        while True:
            try:
                chunk = reader.read_chunk()
            except StopIteration:
                break
            self._patience.begin()
            self._take(chunk)
        if wanted.follow and not self._shared.stop.is_set():
            raise flight.FlightUnavailableError("the server ended the stream")

    def _take(self, chunk: flight.FlightStreamChunk) -> None:
        """Hands a batch on, without the rows that were handed on before."""
        place, data = self._place, chunk.data
        next_seq = None
        if chunk.app_metadata is not None:
            next_seq = int(json.loads(chunk.app_metadata.to_pybytes())["next_seq"])
        if data is not None and data.num_rows:
            data = self._fresh_rows(data)
        if data is not None and data.num_rows:
            kept = data if self._wanted.keep is None else self._wanted.keep(data)
            if kept.num_rows:
                self._shared.put(Batch(self._wanted.table, kept, next_seq))
            self._remember(data)
        if next_seq is not None:
            place.next, place.last, place.ids = next_seq, 0, set()

    def _fresh_rows(self, data: pa.RecordBatch) -> pa.RecordBatch:
        place = self._place
        if not place.ids:
            return data
        names = data.column(_IDS[self._wanted.table]).to_pylist()
        numbers: list[Any] = data.column("seq").to_pylist()
        fresh = [
            number > place.last or (number == place.last and name not in place.ids)
            for number, name in zip(numbers, names, strict=True)
        ]
        return data if all(fresh) else data.filter(pa.array(fresh, pa.bool_()))

    def _remember(self, data: pa.RecordBatch) -> None:
        place, last = self._place, data.column("seq")[-1].as_py()
        id_column = _IDS.get(self._wanted.table)
        if id_column is None:
            place.next = last + 1
            return
        if last != place.last:
            place.last, place.ids = last, set()
        numbers = data.column("seq").to_pylist()
        names: list[Any] = data.column(id_column).to_pylist()
        for at in range(len(numbers) - 1, -1, -1):
            if numbers[at] != last:
                break
            place.ids.add(names[at])
        place.next = last
