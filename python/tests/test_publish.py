"""Publishing: whatever holds rows, each row once, and what is refused."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

import pandas
import polars
import pyarrow as pa
import pytest

import tapewatch
from conftest import START, Server, orders
from tapewatch import _publish


def count(tape: tapewatch.Connection) -> int:
    (row,) = tape.sql("select count(*) as n from orders").arrow().to_pylist()
    return int(row["n"])


def rows_of(tape: tapewatch.Connection, first: int, last: int) -> pa.Table:
    names = ", ".join(orders(0, 1).column_names)
    return tape.sql(f"select {names} from orders where seq between $1 and $2 order by seq", [first, last]).arrow()


def test_whatever_holds_rows_is_published_exactly(tape: tapewatch.Connection) -> None:
    table = orders(0, 100)
    pieces = pa.Table.from_batches([table.slice(0, 3).to_batches()[0], *table.slice(3).to_batches(max_chunksize=7)])
    named = table.rename_columns(["time", "sym", "eventType", "trader", "side", "orderID", "Price", "QUANTITY"])
    dictionary = table.set_column(1, "sym", table.column("sym").combine_chunks().dictionary_encode())
    for data in [
        table,
        pieces,
        named,
        dictionary,
        table.to_batches()[0],
        table.to_reader(max_chunksize=9),
        table.to_pandas(),
        table.to_pandas().set_index("order_id").reset_index().iloc[::1],
        polars.from_arrow(table),
        table.to_pylist(),
        [{**row, "account": None, "flags": "post_only principal"} for row in table.to_pylist()],
    ]:
        done = tape.publish("orders", data)
        assert done.orders == 100 and done.duplicates == 0, type(data)
        assert done.first_seq is not None and done.last_seq == done.first_seq + 99
        back = rows_of(tape, done.first_seq, done.last_seq)
        for name in table.column_names:
            kind = table.schema.field(name).type
            assert back.column(name).cast(kind).to_pylist() == table.column(name).to_pylist(), (type(data), name)
    for nothing in [table.slice(0, 0), []]:
        done = tape.publish("orders", nothing)
        assert (done.orders, done.first_seq, done.last_seq) == (0, None, None)


def test_python_values_stay_exact(tape: tapewatch.Connection) -> None:
    row = {"sym": "X", "event_type": "new", "trader": "T", "side": "B", "order_id": "1"}
    nanos = pandas.Timestamp("2024-01-05T08:00:00.123456789Z")
    tape.publish("orders", [{**row, "time": nanos.isoformat(), "price": Decimal("0.000000001"), "quantity": 10**9}])
    frame = pandas.DataFrame([{**row, "time": nanos, "price": Decimal("-37.63"), "quantity": 0.5, "flags": None}])
    tape.publish("orders", frame)
    back = tape.sql("select time, price, quantity, flags from orders order by seq").pandas()
    assert back["time"].to_list() == [nanos, nanos]
    assert back["price"].to_list() == [Decimal("0.000000001"), Decimal("-37.63")]
    assert back["quantity"].to_list() == [Decimal(10**9), Decimal("0.5")] and back["flags"].isna().all()


def test_what_is_refused_names_the_row_of_the_data(tape: tapewatch.Connection) -> None:
    table = orders(0, 10)

    def replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, values)

    for data, words in [
        (table.drop_columns(["price"]), "has no column price"),
        (replaced(table, "price", pa.array([True] * 10)), "column price is of type Boolean"),
        (replaced(table, "trader", pa.array(["x"] * 7 + [None] * 3)), "row 7: column trader: is null"),
        (replaced(table, "price", pa.array(["1.5"] * 9 + ["1.0000000001"])), "row 9: .*more than 9 decimals"),
        (replaced(table, "event_type", pa.array(["new"] * 3 + ["born"] * 7)), "row 3: .*born"),
        ([{"time": 1}], "has no column"),
    ]:
        with pytest.raises(tapewatch.PublishError, match=words) as raised:
            tape.publish("orders", data)
        assert raised.value.code == "bad_request" and raised.value.orders == 0
        assert "nothing was taken" in str(raised.value)
    for wrong, words in [
        (5, "int is no table"),
        ("orders.csv", "str is no table"),
        ([1], "row 0 is a int"),
        ([{"price": 1}, {"price": "x"}], "column price: its values are not of one type"),
    ]:
        with pytest.raises(tapewatch.Error, match=words):
            tape.publish("orders", wrong)
    with pytest.raises(tapewatch.Error, match="'hits' cannot be published to"):
        tape.publish("hits", table)
    for publisher, number in [("a", None), (None, 1), ("", 1), ("x" * 65, 1), ("a", 0)]:
        with pytest.raises(tapewatch.Error):
            tape.publish("orders", table, publisher=publisher, number=number)
    assert count(tape) == 0, "nothing of what was refused is left"
    # What comes before a wrong batch is taken, and said.
    rows = _publish.BATCH_ROWS + 10
    large = orders(0, rows)
    large = replaced(large, "trader", pa.array(["x"] * (rows - 1) + [None]))
    with pytest.raises(tapewatch.PublishError, match=f"row {rows - 1}: .* is null; 65536 orders before") as e:
        tape.publish("orders", large)
    assert e.value.orders == count(tape) == _publish.BATCH_ROWS
    # The connection goes on.
    assert tape.publish("orders", table).orders == 10


def test_a_number_means_the_same_rows_for_ever(server: Server, tape: tapewatch.Connection) -> None:
    table = orders(0, 100_000)
    first = tape.publish("orders", table, publisher="desk 7", number=1)
    assert (first.next_number, first.duplicates) == (3, 0)
    # In other pieces, after a crash, by another connection.
    server.kill()
    server.start()
    with tapewatch.connect(server.url) as other:
        again = other.publish("orders", table.to_reader(max_chunksize=999), publisher="desk 7", number=1)
    assert again == tapewatch.Published(100_000, first.first_seq, first.last_seq, "desk 7", 3, 2)
    with pytest.raises(tapewatch.PublishError, match="was taken before with 65536 orders, this one has 5"):
        tape.publish("orders", orders(0, 5), publisher="desk 7", number=1)
    assert count(tape) == 100_000


def test_batches_are_the_same_whatever_the_pieces() -> None:
    table = orders(0, 200_000)
    cut = [[batch.num_rows for batch in _publish.batches_of(table.to_reader(size))] for size in (7, 65_536, 10**6)]
    assert cut[0] == cut[1] == cut[2] == [65_536, 65_536, 65_536, 3_392]
    wide = pa.table({"sym": pa.array(["x" * 100_000] * 1000)})
    sizes = [batch.nbytes for batch in _publish.batches_of(wide.to_reader())]
    assert len(sizes) == 4 and max(sizes) <= _publish.BATCH_BYTES


def test_each_row_is_taken_once_over_kills(server: Server) -> None:
    rows, kills, done = 0, 0, threading.Event()
    failed: list[BaseException] = []

    def publish() -> None:
        nonlocal rows
        try:
            with tapewatch.connect(server.url) as tape:
                # However fast it is, it lives through some kills.
                while rows < 200_000 or kills < 4:
                    tape.publish("orders", orders(rows, 4_000))
                    rows += 4_000
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=publish)
    thread.start()
    while not done.wait(0.3 + 0.07 * (kills % 5)):
        server.kill()
        server.start()
        kills += 1
    thread.join()
    assert not failed, failed
    assert kills >= 4
    with tapewatch.connect(server.url) as tape:
        found = tape.sql("select count(*) as n, count(distinct order_id) as ids from orders").arrow().to_pylist()
    assert found == [{"n": rows, "ids": rows}]


def test_who_hears_nothing_is_told_how_to_go_on(server: Server) -> None:
    tape = tapewatch.connect(server.url, retry_for=0.5)
    tape.publish("orders", orders(0, 10))
    server.kill()
    begun = time.monotonic()
    with pytest.raises(tapewatch.PublishError, match="no answer for 0.5 s to batch 2") as raised:
        tape.publish("orders", orders(10, 10))
    assert raised.value.code == "unavailable" and time.monotonic() - begun < 10
    server.start()
    error = raised.value
    assert tape.publish("orders", orders(10, 10), publisher=error.publisher, number=error.first_number).orders == 10
    assert count(tape) == 20
    tape.close()
    with pytest.raises(tapewatch.Error, match="is closed"):
        tape.publish("orders", orders(0, 1))


def test_threads_publish_over_one_connection(tape: tapewatch.Connection) -> None:
    def publish(thread: int) -> None:
        for part in range(10):
            tape.publish("orders", orders(thread * 10_000 + part * 1_000, 1_000))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = tape.sql("select count(*) as n, count(distinct order_id) as ids from orders").arrow().to_pylist()
    assert found == [{"n": 40_000, "ids": 40_000}]
    assert tape.sql("select min(time) as first from orders").pandas()["first"][0].value == START + 7
