"""A connection: everything that a data scientist does with a running Tapewatch.

Invariant: it holds no state of the server's; several threads may use it at once.
"""

from __future__ import annotations

import datetime
import decimal
import numbers
import re
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, overload

import pyarrow as pa
import pyarrow.compute as pc

from ._address import Address
from ._errors import Error, Unavailable
from ._http import Http
from ._publish import Published, batches_of, check_name, publish, reader_of
from ._result import Result
from ._retry import Patience
from ._subscribe import Subscription, Wanted

#: A point in time: text (`2015-04-17T12:00:05.000000001`, UTC unless it says an offset), or a `datetime`
#: with a zone, also that of pandas.
When = str | datetime.datetime

#: Where Python's whole numbers end to be BIGINT.
_BIGINT = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Table:
    """A table or a view."""

    name: str
    #: `table` or `view`.
    kind: str
    #: Names and types of its columns, in order.
    columns: Mapping[str, str]


class Connection:
    """A connection to a running Tapewatch, made by `connect`."""

    def __init__(self, address: Address, *, timeout: float, retry_for: float) -> None:
        self.address = address
        self._timeout = timeout
        self._retry_for = retry_for
        self._http = Http(address, timeout)
        status = self._http.json("GET", "/api/v1/status")
        if "version" not in status or "next_seq" not in status:
            raise Error(f"{address}: what answers there is no Tapewatch")
        #: The version of the server.
        self.version = str(status["version"])
        self._flight = address.flight()
        self._publisher = f"python-{uuid.uuid4().hex}"
        self._number = 1
        self._publishing = threading.Lock()
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._closed = False

    # Asking

    def sql(
        self,
        query: str,
        parameters: Sequence[object] = (),
        *,
        rows_max: int | None = None,
        timeout: float | None = None,
        memory_bytes_max: int | None = None,
    ) -> Result:
        """Asks today and the history, at one instant.

        Args:
            query: one statement, which only reads.
            parameters: values of `$1`, `$2`, …: `None`, a truth value, a number, a `Decimal`, a text, a
                date or a `datetime` with a zone. A text is read as the type of its place.
            rows_max: rows after which the answer ends with `LimitReached`.
            timeout: seconds after which it does.
            memory_bytes_max: memory for sorts, joins and aggregates, at least 16 MiB.

        Raises:
            Error: the statement is wrong; the message shows the place.
            LimitReached: it needs more than it may take.
            Unavailable: too many queries wait, or nobody answers.

            >>> tape = connect()
            >>> tape.sql("select order_id from orders where price > $1 and sym = $2 limit 1",
            ...          [decimal.Decimal("1.24"), "SNDL"]).arrow().to_pylist()
            [{'order_id': 'SPG-Oid10'}]
            >>> tape.sql("select ordr_id from orders")
            Traceback (most recent call last):
            tapewatch.Error: error at line 1, column 8: there is no column ordr_id; did you mean order_id?
              select ordr_id from orders
                     ^
        """
        self._check_open()
        limits: dict[str, Any] = {}
        if rows_max is not None:
            limits["rows_max"] = int(rows_max)
        if timeout is not None:
            limits["timeout"] = f"{max(1, round(timeout * 1000))}ms"
        if memory_bytes_max is not None:
            limits["memory_bytes_max"] = int(memory_bytes_max)
        body = {
            "query": query,
            "format": "arrow",
            "parameters": [_parameter(at, value) for at, value in enumerate(parameters, 1)],
            "limits": limits,
        }
        return Result(self._http, self._http.send("POST", "/api/v1/sql", body))

    def tables(self) -> list[Table]:
        """The tables and views that there are, with their columns.

        >>> tape = connect()
        >>> [table.name for table in tape.tables() if table.kind == "table"]
        ['dead_letters', 'hits', 'orders']
        """
        rows = self.sql(
            "select t.table_name, t.table_type, c.column_name, c.data_type "
            "from information_schema.tables t join information_schema.columns c "
            "on t.table_name = c.table_name and t.table_schema = c.table_schema "
            "where t.table_schema = 'public' order by t.table_name, c.ordinal_position"
        ).arrow()
        found: dict[str, Table] = {}
        for row in rows.to_pylist():
            kind = "view" if row["table_type"] == "VIEW" else "table"
            table = found.setdefault(row["table_name"], Table(row["table_name"], kind, {}))
            assert isinstance(table.columns, dict)
            table.columns[row["column_name"]] = row["data_type"]
        return list(found.values())

    def order_history(self, order_id: str, date: datetime.date | str | None = None) -> Result:
        """The events of an order in their order, with what is open, what is filled, and its state.

        With a `date` only that day is read.

            >>> tape = connect()
            >>> tape.order_history("SPG-Oid10").arrow().column("state").to_pylist()
            ['new', 'cancelled']
        """
        arguments = [_text(order_id)] + ([_text(str(date))] if date is not None else [])
        return self.sql(f"select * from order_history({', '.join(arguments)})")

    def book(self, sym: str, time: When, levels: int | None = None, since: When | None = None) -> Result:
        """The price levels of an instrument at a time, after all events of that time.

        `levels` are the best of each side; `since` says where the day begins if not at midnight UTC.

            >>> tape = connect()
            >>> book = tape.book("SNDL", "2015-04-17T12:00:08").arrow()
            >>> book.column_names
            ['side', 'level', 'price', 'quantity', 'orders']
        """
        arguments = [_text(sym), _text(_time(time))]
        if levels is not None or since is not None:
            arguments.append("NULL" if levels is None else str(int(levels)))
        if since is not None:
            arguments.append(_text(_time(since)))
        return self.sql(f"select * from book({', '.join(arguments)})")

    @overload
    def alerts(
        self,
        *,
        since: When | None = ...,
        until: When | None = ...,
        detector: str | None = ...,
        sym: str | None = ...,
        trader: str | None = ...,
        severity_min: int | None = ...,
        suppressed: bool | None = ...,
        live: Literal[False] = ...,
    ) -> Result: ...

    @overload
    def alerts(
        self,
        *,
        detector: str | None = ...,
        sym: str | None = ...,
        trader: str | None = ...,
        severity_min: int | None = ...,
        suppressed: bool | None = ...,
        live: Literal[True],
    ) -> Subscription: ...

    def alerts(
        self,
        *,
        since: When | None = None,
        until: When | None = None,
        detector: str | None = None,
        sym: str | None = None,
        trader: str | None = None,
        severity_min: int | None = None,
        suppressed: bool | None = None,
        live: bool = False,
    ) -> Result | Subscription:
        """Alerts, the one with the latest hit first; or with `live` those that come from now on.

        Args:
            since: with their last hit at or after this time.
            until: with their last hit before it.
            detector, sym, trader: only those of one.
            severity_min: from 0 to 100; 40 is medium, 60 high, 80 critical.
            suppressed: `False` leaves out what a suppression expects, `True` all else.
            live: a `Subscription`; an alert comes again whenever it has another hit, so replace it by
                its `alert_id`.

            >>> tape = connect()
            >>> tape.alerts(since="2015-04-17", severity_min=20).arrow().column("detector").to_pylist()
            ['spoofing']
        """
        named = {"detector": detector, "sym": sym, "trader": trader}
        equal = {column: value for column, value in named.items() if value is not None}
        if live:
            if since is not None or until is not None:
                raise Error("live alerts begin now: leave out since and until, or ask without live")
            keep = _alerts_of(equal, severity_min, suppressed)
            return self._subscribe(["alerts"], None if sym is None else [sym], "now", True, None, keep)
        conditions, values = [], []
        for column, operator, value in [
            *((column, "=", value) for column, value in equal.items()),
            ("time", ">=", None if since is None else _time(since)),
            ("time", "<", None if until is None else _time(until)),
            ("severity", ">=", severity_min),
        ]:
            if value is not None:
                values.append(value)
                conditions.append(f"{column} {operator} ${len(values)}")
        if suppressed is not None:
            conditions.append(f"suppressed is {'not ' if suppressed else ''}null")
        where = f"where {' and '.join(conditions)} " if conditions else ""
        return self.sql(f"select * from alerts {where}order by time desc, seq desc", values)

    # Publishing

    def publish(
        self, table: str, data: object, *, publisher: str | None = None, number: int | None = None
    ) -> Published:
        """Publishes orders; returns when they are durable by the policy in force, each once.

        Args:
            table: `orders`; nothing else can be published.
            data: a table, a batch or a reader of Arrow, a frame of pandas or Polars, or a list of dicts.
                Columns are found by name as in a file of orders: `time`, `sym`, `event_type`, `trader`,
                `side`, `order_id`, `price`, `quantity`; `account`, `exec_id`, `display_quantity` and
                `flags` may be left out. Other columns are ignored.
            publisher: a name that this run of yours alone has, up to 64 bytes. Not said: a name of this
                connection's own.
            number: number of the first batch under that name, ascending from 1; the data takes as many
                as it has batches of 65,536 rows, and `next_number` of the answer says which is next.

        After a broken connection a batch is sent again under its number, so that it is taken once. With
        a `publisher` and a `number` that your program remembers, this holds over its own crashes too:
        publish the same data again, and what was taken is recognised.

        Raises:
            PublishError: a row was refused (the message names batch, row and column), or nobody
                answered; what was taken for sure is in it.
            Error: the data is no table.

            >>> tape = connect()
            >>> tape.publish("orders", [{"time": "2015-04-16T12:00:00Z", "sym": "VOD.L", "event_type": "new",
            ...     "trader": "T1", "side": "B", "order_id": "1", "price": "72.25", "quantity": 500}]).orders
            1
        """
        self._check_open()
        if table != "orders":
            raise Error(f"{table!r} cannot be published to: orders can")
        if (publisher is None) != (number is None):
            raise Error("publisher and number belong together: give both, or none for a name of the connection's own")
        batches = batches_of(reader_of(data))
        patience = Patience(self._retry_for)
        if publisher is not None and number is not None:
            check_name(publisher, number)
            return publish(
                self._flight, batches, publisher=publisher, number=number, patience=patience, timeout=self._timeout
            )
        # Numbers of one name come one after the other.
        with self._publishing:
            numbered = _counted(self, batches)
            return publish(
                self._flight,
                numbered,
                publisher=self._publisher,
                number=self._number,
                patience=patience,
                timeout=self._timeout,
            )

    # Following

    def subscribe(
        self,
        tables: str | Sequence[str] = "orders",
        syms: Sequence[str] | None = None,
        from_seq: int | Literal["now"] | None = None,
        *,
        follow: bool = True,
        name: str | None = None,
    ) -> Subscription:
        """Follows tables: batches in the order of `seq` of each, without a gap and without a repeat.

        Args:
            tables: `orders`, `hits`, `alerts`, or several of them.
            syms: only these instruments; not said: all.
            from_seq: the first sequence number that is wanted, `"now"` for what comes from now on; not
                said: the first that there is.
            follow: `False` ends with what there is.
            name: how the subscriber is called in the server's metrics.

            >>> tape = connect()
            >>> with tape.subscribe("orders", ["SNDL"], follow=False) as batches:
            ...     sum(batch.num_rows for batch in batches)
            10
        """
        names = [tables] if isinstance(tables, str) else list(tables)
        if not names or len(set(names)) != len(names):
            raise Error(f"tables are {names}: name one or several, each once")
        if isinstance(syms, str):
            raise Error(f"syms is {syms!r}: a list of instruments is wanted")
        return self._subscribe(names, syms, from_seq, follow, name, None)

    def _subscribe(
        self,
        tables: Sequence[str],
        syms: Sequence[str] | None,
        from_seq: int | Literal["now"] | None,
        follow: bool,
        name: str | None,
        keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None,
    ) -> Subscription:
        self._check_open()
        lenient = from_seq == "now"
        if lenient:
            # A number, so that nothing is left out when the first connection breaks before its first row.
            first: int | None = self._next_seq()
        elif from_seq is None or (isinstance(from_seq, int) and from_seq >= 0):
            first = from_seq
        else:
            raise Error(f'from_seq is {from_seq!r}: a sequence number, "now" or nothing is wanted')
        if name is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
            raise Error(f"name is {name!r}: up to 64 letters, digits, dots, dashes and underscores are wanted")
        wanted = [Wanted(table, syms, first, follow, name or "python", lenient, keep) for table in tables]
        subscription = Subscription(self._flight, wanted, self._retry_for)
        self._subscriptions.add(subscription)
        return subscription

    def _next_seq(self) -> int:
        """The number of the next order, of a server that may be on its way back."""
        patience = Patience(self._retry_for)
        while True:
            try:
                return int(self._http.json("GET", "/api/v1/status")["next_seq"])
            except Unavailable:
                if not patience.waits():
                    raise

    # The end

    def close(self) -> None:
        """Ends its subscriptions and lets go of the server."""
        if self._closed:
            return
        self._closed = True
        for subscription in list(self._subscriptions):
            subscription.close()
        self._flight.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Error("this connection is closed: connect again")

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<tapewatch.Connection {self.address}>"


def _counted(connection: Connection, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """Uses up a number of the connection's own name with each batch, whatever becomes of it."""
    for batch in batches:
        connection._number += 1
        yield batch


def _parameter(place: int, value: object) -> object:
    """A value as the server reads it, exactly."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            raise Error(f"parameter ${place}: {value} is no number of SQL")
        text = format(value, "f")
        digits = text.lstrip("-").replace(".", "")
        scale = len(text.partition(".")[2])
        return {"type": f"DECIMAL({max(len(digits), 1)},{scale})", "value": text}
    if isinstance(value, datetime.datetime):
        return {"type": "TIMESTAMP", "value": _time(value)}
    if isinstance(value, datetime.date):
        return {"type": "DATE", "value": value.isoformat()}
    if isinstance(value, numbers.Integral):
        whole = int(value)
        return whole if whole in _BIGINT else _parameter(place, decimal.Decimal(whole))
    if isinstance(value, numbers.Real):
        return {"type": "DOUBLE", "value": repr(float(value))}
    # numpy's values stand for one of Python's, but for its times, which are UTC.
    if type(value).__name__ == "datetime64":
        return {"type": "TIMESTAMP", "value": str(value)}
    if hasattr(value, "item") and type(value.item()) is not type(value):
        return _parameter(place, value.item())
    raise Error(f"parameter ${place}: a {type(value).__name__} is no value of SQL")


def _time(value: When) -> str:
    """A time as the server reads it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, datetime.datetime):
        raise Error(f"{value!r} is no time: a text or a datetime is wanted")
    if value.tzinfo is None:
        raise Error(f"{value!r} has no zone, so nobody knows when it is: give it one, for example UTC")
    # That of pandas keeps its nanoseconds.
    return value.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


def _text(value: str) -> str:
    """A literal of SQL: arguments of table functions take no parameters."""
    return "'" + value.replace("'", "''") + "'"


def _alerts_of(
    equal: Mapping[str, str], severity_min: int | None, suppressed: bool | None
) -> Callable[[pa.RecordBatch], pa.RecordBatch] | None:
    """Which alerts of a batch are wanted."""
    if not equal and severity_min is None and suppressed is None:
        return None

    def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
        for column, value in equal.items():
            batch = batch.filter(pc.equal(batch.column(column), pa.scalar(value)))
        if severity_min is not None:
            batch = batch.filter(pc.greater_equal(batch.column("severity"), pa.scalar(severity_min)))
        if suppressed is not None:
            is_null = pc.is_null(batch.column("suppressed"))
            batch = batch.filter(pc.invert(is_null) if suppressed else is_null)
        return batch

    return keep
