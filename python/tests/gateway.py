"""Publishes and follows at a gateway whose roles are killed meanwhile, for tests/python.rs.

gateway.py URL BATCHES ROWS: one line for each batch that was taken, then `ok`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import tapewatch
from conftest import orders, spoofing, until


def told(answer: Callable[[], bool]) -> bool:
    """The answer; no, while a role is away."""
    try:
        return answer()
    except tapewatch.Unavailable:
        return False


def main(url: str, batches: int, size: int) -> None:
    with tapewatch.connect(url, retry_for=120) as tape:
        following = tape.subscribe("orders", from_seq="now")
        seen: list[int] = []

        def follow() -> None:
            while len(seen) < batches * size:
                batch = next(following)
                seen.extend(int(name) for name in batch.data.column("order_id").to_pylist())

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        for number in range(batches):
            tape.publish("orders", orders(number * size, size))
            print(number, flush=True)
        thread.join(120)
        assert seen == list(range(batches * size)), len(seen)
        assert following.connections > 1
        count = "select count(*) as n, count(distinct order_id) as ids from orders"
        expected = [{"n": batches * size, "ids": batches * size}]

        until(lambda: told(lambda: tape.sql(count).arrow().to_pylist() == expected), 60)
        with tape.alerts(live=True, trader="Spoofer", detector="spoofing") as live:
            tape.publish("orders", spoofing(0))
            batch = live.next(timeout=60)
            assert batch is not None and batch.data.column("sym").to_pylist() == ["SNDL"]
        until(lambda: told(lambda: tape.alerts(trader="Spoofer", detector="spoofing").arrow().num_rows == 1), 60)
    print("ok")


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
