"""Why something is not done.

Invariant: a message is the server's own where the server said one; the code is for programs.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.flight as flight

#: Codes that say: as it is it may go well later.
AGAIN = frozenset(
    {"busy", "not_ready", "journal_refused", "stopped", "recent_full", "unavailable", "disk_full", "unknown"}
)

#: What Flight wraps around the words of the server.
_WRAPPED = re.compile(
    r"returned ([\w -]+) error, with message: (.*?)(?:\. gRPC client debug context:|\. Client context:|$)", re.DOTALL
)
#: How Flight names the statuses whose exceptions are not of a kind of their own.
_STATUSES = {
    "invalid argument": "bad_request",
    "not found": "not_found",
    "not implemented": "not_found",
    "unimplemented": "not_found",
    "out-of-range": "out_of_range",
    "resource exhausted": "exhausted",
    "permission denied": "forbidden",
    "unauthenticated": "forbidden",
    "cancelled": "cancelled",
    "unavailable": "unavailable",
    "timed out": "unavailable",
}
_KINDS: list[tuple[type[BaseException], str]] = [
    (flight.FlightUnavailableError, "unavailable"),
    (flight.FlightTimedOutError, "unavailable"),
    (flight.FlightCancelledError, "cancelled"),
    (flight.FlightUnauthenticatedError, "forbidden"),
    (flight.FlightUnauthorizedError, "forbidden"),
    (flight.FlightInternalError, "unavailable"),
    (pa.ArrowKeyError, "not_found"),
]


class Error(Exception):
    """Something was refused or went wrong.

    `code` is for programs and does not change between versions: `bad_request`, `not_found`, `limit`,
    `cancelled`, `out_of_range`, `exhausted`, `unavailable` and the others of the API; `broken_off` when an
    answer ended before its end and nobody says why; `client` when nothing was asked of the server.
    """

    def __init__(self, message: str, code: str = "client") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class LimitReached(Error):
    """A query came to a limit on memory, time or rows, which the message names."""


class Unavailable(Error):
    """Not now: nobody answers, or the server says to come again. The same may go well later."""


class PublishError(Error):
    """Not all of what was to be published was taken, for sure.

    Publishing the same data again with `publisher=error.publisher, number=error.first_number` is safe:
    what was taken is recognised and not taken twice.
    """

    def __init__(self, message: str, code: str, publisher: str, first_number: int, orders: int) -> None:
        super().__init__(message, code)
        #: Under which name it was published.
        self.publisher = publisher
        #: Number of the first batch of the call.
        self.first_number = first_number
        #: Orders of the call that were taken for sure.
        self.orders = orders


def of(message: str, code: str) -> Error:
    """The error of a code."""
    if code == "limit":
        return LimitReached(message, code)
    if code in AGAIN:
        return Unavailable(message, code)
    return Error(message, code)


def flight_code(error: BaseException) -> str:
    """The code of what a Flight call raised."""
    found = _WRAPPED.search(str(error))
    if found and (code := _STATUSES.get(found.group(1).lower())):
        return code
    return next((code for kind, code in _KINDS if isinstance(error, kind)), "internal")


def flight_message(error: BaseException) -> str:
    """The words of the server in what a Flight call raised."""
    found = _WRAPPED.search(str(error))
    return (found.group(2) if found else str(error)).strip()
