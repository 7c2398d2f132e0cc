"""The answer to a query.

Invariant: rows are read from the server once, in order; an answer that does not come to its end is an
error, never a shorter answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

from . import _convert
from ._convert import Decimals
from ._errors import Error, of
from ._http import Answer, Http

if TYPE_CHECKING:
    import pandas
    import polars


class Result:
    """The answer to a query: whole as a table of Arrow, pandas or Polars, or batch by batch.

        >>> tape = connect()
        >>> result = tape.sql("select seq, price from orders order by seq limit 2")
        >>> result.schema.names
        ['seq', 'price']
        >>> result.arrow().column("price").to_pylist()
        [Decimal('1.250000000'), Decimal('1.250000000')]

    A large answer streams: the server makes rows as they are read.

        >>> sum(batch.num_rows for batch in tape.sql("select * from orders"))
        10
    """

    def __init__(self, http: Http, answer: Answer) -> None:
        self._http = http
        self._answer: Answer | None = answer
        self._table: pa.Table | None = None
        self._begun = False
        #: The id of the query at the server.
        self.id = answer.header("x-tapewatch-query")
        try:
            self._reader = pa.ipc.open_stream(answer.response)
        except (OSError, HTTPException, pa.ArrowException) as error:
            answer.close()
            raise self._why(error) from error
        #: Names and types of the columns.
        self.schema: pa.Schema = self._reader.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The rows as they come, in batches, once."""
        if self._table is not None:
            yield from self._table.to_batches()
            return
        if self._begun:
            raise Error("the rows of this answer were read already: ask again, or keep what .arrow() gives")
        self._begun = True
        try:
            while (batch := self._next()) is not None:
                if batch.num_rows:
                    yield batch
        finally:
            self.close()

    def _next(self) -> pa.RecordBatch | None:
        if self._answer is None:
            raise Error("this answer was closed before its end")
        try:
            return self._reader.read_next_batch()
        except StopIteration:
            # The end of Arrow's stream is not yet that of the answer: an error may stand behind it.
            try:
                self._answer.response.read()
            except (OSError, HTTPException) as error:
                raise self._why(error) from error
            return None
        except (OSError, HTTPException, pa.ArrowException) as error:
            raise self._why(error) from error

    def _why(self, error: BaseException) -> Error:
        """Why an answer broke off: the server knows."""
        try:
            status = self._http.json("GET", f"/api/v1/queries/{self.id}") if self.id else {}
        except Error:
            status = {}
        if "error" in status:
            return of(str(status["error"]), str(status.get("code", "broken_off")))
        return Error(f"the answer broke off before its end: {error or type(error).__name__}", "broken_off")

    def arrow(self) -> pa.Table:
        """All rows as a table of Arrow. Prices and quantities are decimals, times have nanoseconds."""
        if self._table is None:
            self._table = pa.Table.from_batches(list(self), self.schema)
        return self._table

    def pandas(self, *, decimals: Decimals = "exact") -> pandas.DataFrame:
        """All rows as a frame of pandas.

        Prices and quantities are `decimal.Decimal`, which is exact and slow; with `decimals="float"` they
        are floats, for plots and statistics. Times are `datetime64[ns, UTC]`.
        """
        return _convert.to_pandas(self.arrow(), decimals)

    def polars(self, *, decimals: Decimals = "exact") -> polars.DataFrame:
        """All rows as a frame of Polars, whose decimals are exact and quick."""
        return _convert.to_polars(self.arrow(), decimals)

    def cancel(self) -> None:
        """Ends the query at the server; who reads its rows gets an error."""
        try:
            self._http.json("DELETE", f"/api/v1/queries/{self.id}")
        except Error as error:
            if error.code != "not_found":
                raise

    def close(self) -> None:
        """Lets go of what was not read; the query ends."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def __enter__(self) -> Result:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        columns = ", ".join(f"{field.name}: {field.type}" for field in self.schema)
        return f"<tapewatch.Result {self.id} ({columns})>"
