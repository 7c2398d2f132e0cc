"""Following: every row once and in order, whatever becomes of the connection."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time

import pytest

import tapewatch
from conftest import Server, clean, orders, spoofing, until


def ids(batch: tapewatch.Batch) -> list[int]:
    return [int(name) for name in batch.data.column("order_id").to_pylist()]


def subscribers(tape: tapewatch.Connection) -> int:
    return len(tape._http.json("GET", "/api/v1/status")["subscribers"])


def test_a_million_rows_come_as_they_were_published(tape: tapewatch.Connection) -> None:
    rows, size = 1_000_000, 100_000
    with tape.subscribe("orders", from_seq="now", name="million") as batches:
        publisher = threading.Thread(
            target=lambda: [tape.publish("orders", orders(first, size)) for first in range(0, rows, size)]
        )
        publisher.start()
        seen, last_seq = 0, 0
        for batch in batches:
            found = ids(batch)
            assert found == list(range(seen, seen + len(found)))
            seqs = batch.data.column("seq").to_pylist()
            assert seqs[0] > last_seq and batch.next_seq is not None and batch.next_seq > seqs[-1]
            seen, last_seq = seen + len(found), seqs[-1]
            if seen == rows:
                break
        publisher.join()
    assert batches.connections == 1
    until(lambda: subscribers(tape) == 0)


def test_a_subscription_goes_on_when_the_server_was_killed(server: Server) -> None:
    rows, size = 300_000, 3_000
    tape = tapewatch.connect(server.url)
    batches = tape.subscribe("orders", from_seq="now")
    # It breaks before its first row, too.
    server.kill()
    server.start()

    def publish() -> None:
        with tapewatch.connect(server.url) as other:
            for first in range(0, rows, size):
                other.publish("orders", orders(first, size))

    publisher = threading.Thread(target=publish)
    publisher.start()
    seen = kills = 0
    for batch in batches:
        found = ids(batch)
        assert found == list(range(seen, seen + len(found)))
        seen += len(found)
        if seen // 60_000 > kills and kills < 4:
            server.kill()
            server.start()
            kills += 1
        if seen == rows:
            break
    publisher.join()
    assert kills >= 3 and batches.connections > kills
    tape.close()


def test_hits_and_alerts_come_once_over_kills(server: Server) -> None:
    tape = tapewatch.connect(server.url)
    with tape.subscribe(["hits", "alerts", "orders"]) as batches:
        rounds, hits, alerts, count = 12, [], [], 0
        for number in range(rounds):
            tape.publish("orders", [*spoofing(60 * number, "ONE"), *spoofing(60 * number, "TWO")])
            while len(hits) < 2 * (number + 1) or len(alerts) < 2 * (number + 1) or count < 8 * (number + 1):
                batch = batches.next(timeout=30)
                assert batch is not None, (number, hits, alerts, count)
                if batch.table == "orders":
                    count += batch.num_rows
                else:
                    into, name = (hits, "hit_id") if batch.table == "hits" else (alerts, "alert_id")
                    into += batch.data.column(name).to_pylist()
            if number % 3 == 2:
                server.kill()
                server.start()
        assert batches.next(timeout=0.5) is None, "nothing comes again"
    for found, name in [(hits, "hit_id"), (alerts, "alert_id")]:
        table = f"{name.split('_')[0]}s"
        known = tape.sql(f"select {name} as id from {table}").arrow().column("id").to_pylist()
        assert sorted(found) == sorted(known) and len(found) == 2 * rounds
    tape.close()


def test_rows_of_one_number_are_not_repeated_when_it_breaks_between_them() -> None:
    """What the server cannot be made to do at will: a break between batches of one number."""
    import pyarrow as pa

    from tapewatch._subscribe import Wanted, _Follower, _Shared

    class Chunk:
        def __init__(self, rows: list[tuple[int, str]], next_seq: int | None) -> None:
            seqs, names = zip(*rows, strict=True)
            self.data = pa.record_batch({"seq": pa.array(seqs, pa.int64()), "hit_id": list(names)})
            self.app_metadata = None if next_seq is None else pa.py_buffer(b'{"next_seq": %d}' % next_seq)

    shared = _Shared()
    follower = _Follower(None, Wanted("hits", None, 1, True, "t", False, None), shared, 1)  # type: ignore[arg-type]

    def take(rows: list[tuple[int, str]], next_seq: int | None) -> list[str]:
        follower._take(Chunk(rows, next_seq))  # type: ignore[arg-type]
        return [] if shared.queue.empty() else shared.queue.get().data.column("hit_id").to_pylist()  # type: ignore[union-attr]

    assert take([(1, "a"), (2, "b"), (2, "c")], None) == ["a", "b", "c"]
    assert take([(2, "d")], None) == ["d"]
    # It breaks here, and begins again with number 2, in another order.
    assert follower._place.next == 2
    assert take([(2, "d"), (2, "b"), (2, "e"), (2, "c"), (3, "f")], None) == ["e", "f"]
    assert follower._place.next == 3
    assert take([(3, "f"), (4, "g")], 9) == ["g"]
    assert follower._place.next == 9
    assert take([(9, "a")], None) == ["a"]


def test_what_there_is_of_some_instruments(reference: Server, asked: tapewatch.Connection) -> None:
    def rows(*arguments: object, **more: object) -> int:
        with asked.subscribe(*arguments, follow=False, **more) as batches:  # type: ignore[arg-type]
            return sum(batch.num_rows for batch in batches)

    assert rows() == 10 and rows("orders", ["SNDL"]) == 10 and rows("orders", ["it's", "X"]) == 0
    assert rows("hits") == rows("alerts") == 1 and rows(["orders", "hits", "alerts"]) == 12
    assert rows("orders", from_seq=11) == 1 and rows("orders", from_seq="now") == 0
    with asked.subscribe("alerts", follow=False) as batches:
        (batch,) = list(batches)
    assert batch.table == "alerts" and batch.pandas(decimals="float")["price"][0] == 1.23
    for table in ["orders", "hits", "alerts"]:
        with asked.subscribe(table, follow=False) as batches:
            (batch,) = list(batches)
        asked_for = asked.sql(f"select * from {table} limit 0").schema
        assert batch.data.schema.names == asked_for.names and batch.data.schema.types == asked_for.types, table


def test_what_is_wrong_is_said(asked: tapewatch.Connection) -> None:
    for arguments, code, words in [
        ({"tables": "trades"}, "not_found", "no table .*orders, alerts, hits"),
        ({"from_seq": 99}, "out_of_range", "99 is not there yet"),
        ({"tables": []}, "client", "name one or several"),
        ({"tables": ["hits", "hits"]}, "client", "each once"),
        ({"syms": "SNDL"}, "client", "a list of instruments"),
        ({"from_seq": -1}, "client", "a sequence number"),
        ({"from_seq": "then"}, "client", "a sequence number"),
        ({"name": "a b"}, "client", "letters, digits"),
    ]:
        with pytest.raises(tapewatch.Error, match=words) as raised:
            list(asked.subscribe(**arguments))  # type: ignore[arg-type]
        assert raised.value.code == code, arguments


def test_live_alerts_are_those_that_are_wanted(tape: tapewatch.Connection) -> None:
    with tape.alerts(live=True, trader="Spoofer", sym="TWO", severity_min=1, suppressed=False) as live:
        with tape.alerts(live=True, trader="Somebody") as others:
            tape.publish("orders", [*spoofing(0, "ONE"), *spoofing(0, "TWO")])
            batch = live.next(timeout=30)
            assert batch is not None and batch.data.column("sym").to_pylist() == ["TWO"]
            # The same alert again, with another hit.
            tape.publish("orders", spoofing(1, "TWO"))
            again = live.next(timeout=30)
            assert again is not None
            assert again.data.column("alert_id").to_pylist() == batch.data.column("alert_id").to_pylist()
            assert again.data.column("hits").to_pylist()[-1] > 1
            assert others.next(timeout=0.3) is None


def test_a_slow_reader_holds_little_and_leaves_nothing_behind(tape: tapewatch.Connection) -> None:
    tape.publish("orders", orders(0, 400_000))
    batches = tape.subscribe("orders")
    first = next(batches)
    time.sleep(0.5)
    assert batches._shared.queue.qsize() <= 16 and ids(first)[0] == 0
    batches.close()
    batches.close()
    assert batches.next() is None and not any(thread.is_alive() for thread in batches._threads)
    # One that nobody holds any more ends by itself.
    assert next(iter(tape.subscribe("orders"))).num_rows
    gc.collect()
    until(lambda: subscribers(tape) == 0)
    assert list(tape.subscribe("orders", follow=False))[-1].next_seq is not None


def test_closing_wakes_who_waits_in_another_thread(server: Server) -> None:
    tape = tapewatch.connect(server.url)
    ended: list[int] = []
    waiting = [tape.subscribe("orders"), tape.subscribe(["hits", "alerts"], from_seq="now")]
    threads = [threading.Thread(target=lambda one=one: ended.append(len(list(one)))) for one in waiting]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    waiting[0].close()
    tape.close()
    for thread in threads:
        thread.join(10)
    assert ended == [0, 0]


def test_it_gives_up_after_a_while_without_a_server(server: Server) -> None:
    tape = tapewatch.connect(server.url, retry_for=0.5)
    tape.publish("orders", orders(0, 10))
    batches = tape.subscribe("orders")
    assert next(batches).num_rows == 10
    server.kill()
    begun = time.monotonic()
    with pytest.raises(tapewatch.Unavailable, match="orders: no connection for 0.5 s"):
        next(batches)
    assert time.monotonic() - begun < 10
    with pytest.raises(tapewatch.Unavailable):
        next(batches)
    tape.close()


def test_an_interrupt_ends_it_at_once(server: Server) -> None:
    program = """
import os, signal, sys, threading, time, tapewatch
tape = tapewatch.connect(sys.argv[1])
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
begun = time.monotonic()
try:
    next(tape.subscribe("orders", from_seq="now"))
except KeyboardInterrupt:
    tape.close()
    print("ok" if time.monotonic() - begun < 5 else "late")
"""
    out = subprocess.run(
        [sys.executable, "-c", program, server.url], env=clean(), capture_output=True, text=True, timeout=60
    )
    assert (out.returncode, out.stdout) == (0, "ok\n"), out.stderr
