"""Ask, publish to and follow a running Tapewatch.

    >>> import tapewatch
    >>> tape = tapewatch.connect()
    >>> tape.sql("select sym, count(*) as events from orders group by sym").arrow().to_pylist()
    [{'sym': 'SNDL', 'events': 10}]
    >>> tape.alerts(trader="SpoofingTrader").arrow().column("sym").to_pylist()
    ['SNDL']
    >>> tape.close()

Everything starts at `connect`. Errors are `Error` or one of its kinds, with the server's own words.
"""

from ._address import connect
from ._connection import Connection, Table
from ._convert import Decimals
from ._errors import Error, LimitReached, PublishError, Unavailable
from ._publish import Published
from ._result import Result
from ._subscribe import Batch, Subscription

__all__ = [
    "Batch",
    "Connection",
    "Decimals",
    "Error",
    "LimitReached",
    "PublishError",
    "Published",
    "Result",
    "Subscription",
    "Table",
    "Unavailable",
    "connect",
]

__version__ = "0.1.0"

# What people see in a traceback is the name under which they know it.
for _kind in (Error, LimitReached, PublishError, Unavailable):
    _kind.__module__ = "tapewatch"
