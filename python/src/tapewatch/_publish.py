"""Publishing orders: what is given becomes batches, and each batch is taken once.

Invariant: the same data is cut into the same batches, so that a number of a publisher always means the
same rows; a batch is sent again only under its own number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight

from . import _errors
from ._errors import Error, PublishError
from ._retry import Patience

#: Rows in one batch: the server takes no more.
BATCH_ROWS = 65_536
#: Bytes in one batch: below what the server takes in a message.
BATCH_BYTES = 32 << 20


@dataclass(frozen=True)
class Published:
    """What became of a call."""

    #: Orders taken, now or under the same numbers before.
    orders: int
    #: First sequence number of them in the journal; `None` of no orders.
    first_seq: int | None
    #: Last sequence number of them.
    last_seq: int | None
    #: Under which name they were published.
    publisher: str
    #: The number that the next batch of this publisher gets.
    next_number: int
    #: Batches that had been taken before, and were not taken twice.
    duplicates: int


def reader_of(data: object) -> pa.RecordBatchReader:
    """Whatever holds rows, as batches of Arrow."""
    try:
        if isinstance(data, pa.RecordBatchReader):
            return data
        if isinstance(data, pa.RecordBatch):
            return pa.RecordBatchReader.from_batches(data.schema, [data])
        if isinstance(data, pa.Table):
            return data.to_reader()
        if type(data).__module__.split(".")[0] == "pandas" and hasattr(data, "columns"):
            # An index is no column of an order.
            return pa.Table.from_pandas(data, preserve_index=False).to_reader()  # type: ignore[arg-type]
        if hasattr(data, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(data)
        if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
            return _of_rows(data).to_reader()
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise Error(f"the data cannot be read as a table: {error}") from error
    raise Error(
        f"{type(data).__name__} is no table: give a table, batch or reader of Arrow, a frame of pandas or "
        "Polars, or a list of dicts"
    )


def _of_rows(rows: Sequence[Any]) -> pa.Table:
    names: dict[str, None] = {}
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise Error(f"row {at} is a {type(row).__name__}: a list of dicts is wanted")
        names.update(dict.fromkeys(row))
    columns = {}
    for name in names:
        try:
            columns[name] = _column([row.get(name) for row in rows])
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise Error(f"column {name}: its values are not of one type: {error}") from error
    return pa.table(columns)


def _column(values: list[Any]) -> pa.Array[Any]:
    if any(hasattr(value, "nanosecond") for value in values):
        # Times of pandas: Arrow by itself would cut them to microseconds.
        times: pa.Array[Any] = pa.array(values, pa.timestamp("ns", "UTC"))
        return times
    column: pa.Array[Any] = pa.array(values)
    return column


def batches_of(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Batches of `BATCH_ROWS` rows but the last, whatever the pieces were in which the rows came."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for piece in reader:
        held.append(_plain(piece))
        rows += piece.num_rows
        while rows >= BATCH_ROWS:
            table = pa.Table.from_batches(held)
            yield from _small(_one(table.slice(0, BATCH_ROWS)))
            rest = table.slice(BATCH_ROWS)
            held, rows = rest.to_batches(), rest.num_rows
    if rows:
        yield from _small(_one(pa.Table.from_batches(held)))


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Without dictionaries, which would travel whole with every batch; what is null all over is text."""
    columns: list[pa.Array[Any]] = []
    for column in batch.columns:
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        columns.append(column.cast(pa.string()) if pa.types.is_null(column.type) else column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _one(table: pa.Table) -> pa.RecordBatch:
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _small(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.nbytes <= BATCH_BYTES or batch.num_rows == 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _small(batch.slice(0, half))
    yield from _small(batch.slice(half))


def publish(
    client: flight.FlightClient,
    batches: Iterable[pa.RecordBatch],
    *,
    publisher: str,
    number: int,
    patience: Patience,
    timeout: float,
) -> Published:
    """Publishes batches one after the other; each is sent again until it is answered."""
    done = Published(0, None, None, publisher, number, 0)
    for batch in batches:
        answer = _send(client, batch, done, number, patience, timeout)
        if answer["duplicate"] and answer["orders"] != batch.num_rows:
            raise PublishError(
                f"batch {done.next_number} of publisher {publisher} was taken before with {answer['orders']} orders, "
                f"this one has {batch.num_rows}: a number of a publisher always means the same rows",
                "bad_request",
                publisher,
                number,
                done.orders,
            )
        done = Published(
            orders=done.orders + int(answer["orders"]),
            first_seq=done.first_seq if done.first_seq is not None else int(answer["first_seq"]),
            last_seq=int(answer["last_seq"]),
            publisher=publisher,
            next_number=done.next_number + 1,
            duplicates=done.duplicates + bool(answer["duplicate"]),
        )
    return done


def _send(
    client: flight.FlightClient,
    batch: pa.RecordBatch,
    done: Published,
    first_number: int,
    patience: Patience,
    timeout: float,
) -> dict[str, Any]:
    """Sends one batch until it is answered, or refused, or patience ends."""
    number = done.next_number
    stamp = json.dumps({"producer": done.publisher, "batch": number}).encode()
    patience.begin()
    while True:
        try:
            return _put(client, batch, stamp, timeout)
        except (pa.ArrowException, OSError) as error:
            code, words = _errors.flight_code(error), _errors.flight_message(error)
            again = code in _errors.AGAIN or code in ("internal", "cancelled", "exhausted")
            if again and patience.waits():
                continue
            if again:
                words = (
                    f"no answer for {patience.seconds:g} s to batch {number} of publisher {done.publisher}, which "
                    f"may have been taken or not: {words}"
                )
            else:
                words = _of_the_data(words, done.orders)
            words += f"; {done.orders} orders before it were taken" if done.orders else ""
            raise PublishError(words, code, done.publisher, first_number, done.orders) from error


def _put(client: flight.FlightClient, batch: pa.RecordBatch, stamp: bytes, timeout: float) -> dict[str, Any]:
    # A stream of its own for each batch: it has a deadline of its own, and a dead one holds nothing up.
    options = flight.FlightCallOptions(timeout=timeout)
    orders = flight.FlightDescriptor.for_path("orders")
    writer, answers = client.do_put(orders, batch.schema, options=options)
    answer = None
    try:
        writer.write_with_metadata(batch, pa.py_buffer(stamp))
        # Its type is wrong in the stubs: it reads what the server says beside.
        answer = answers.read()  # type: ignore[attr-defined]
        writer.done_writing()
    finally:
        # The server's words come with the end of the stream.
        writer.close()
    if answer is None:
        raise flight.FlightUnavailableError("the stream ended without an answer")
    value: dict[str, Any] = json.loads(answer.to_pybytes())
    return value


def _of_the_data(words: str, rows: int) -> str:
    """What the server says of its only batch of a stream, as said of the data that `rows` rows came before."""
    words = words.removeprefix("batch 1: ")
    if rows:
        words = words.removesuffix("; nothing was taken")
    return re.sub(r"^row (\d+):", lambda found: f"row {rows + int(found.group(1))}:", words)


def check_name(publisher: str, number: int) -> None:
    """What the server would refuse of a name and a number."""
    if not 1 <= len(publisher.encode()) <= 64:
        raise Error(f"publisher {publisher!r}: a name of 1 to 64 bytes is wanted")
    if number < 1:
        raise Error(f"number {number}: numbers begin with 1")
