"""Asking: values, errors with their places, limits, answers that stream, and frames of pandas and Polars."""

from __future__ import annotations

import datetime
import http.server
import subprocess
import sys
import threading
import time
from decimal import Decimal

import numpy
import pandas
import polars
import pyarrow as pa
import pytest

import tapewatch
from conftest import Server, clean, orders, until

UTC = datetime.timezone.utc
#: One value and one NULL of each type that a column can have.
TYPES = """
select * from (values
  (1, 9007199254740993, true, 'Grüße', 0.1, arrow_cast('1.000000001', 'Decimal128(19, 9)'),
   arrow_cast('-12345678901234567890123456789.123456789', 'Decimal128(38, 9)'),
   arrow_cast('2015-04-17T12:00:05.000000001Z', 'Timestamp(Nanosecond, Some("UTC"))'), date '2015-04-17', [3, 4]),
  (2, null, null, null, null, null, null, null, null, null))
as t(n, whole, truth, word, ratio, price, measure, time, day, evidence) order by n
"""


def test_values_of_every_kind_go_as_parameters(asked: tapewatch.Connection) -> None:
    noon = datetime.datetime(2015, 4, 17, 12, tzinfo=UTC)
    for value, type_, back in [
        (None, pa.null(), None),
        (True, pa.bool_(), True),
        (7, pa.int64(), 7),
        (2**63, None, Decimal(2**63)),
        (Decimal("-0.10"), pa.decimal128(3, 2), Decimal("-0.10")),
        (0.1, pa.float64(), 0.1),
        ("it's", pa.string(), "it's"),
        (datetime.date(2015, 4, 17), pa.date32(), datetime.date(2015, 4, 17)),
        (numpy.int64(7), pa.int64(), 7),
        (numpy.float64(0.5), pa.float64(), 0.5),
    ]:
        column = asked.sql("select $1 as x", [value]).arrow().column("x")
        assert column.to_pylist() == [back], value
        assert type_ is None or column.type == type_ or pa.types.is_string_view(column.type), (value, column.type)
    for time_ in [
        noon,
        noon.astimezone(datetime.timezone(datetime.timedelta(hours=2))),
        pandas.Timestamp("2015-04-17T12:00:00.000000000Z"),
        numpy.datetime64("2015-04-17T12:00:00.000000000", "ns"),
    ]:
        assert asked.sql("select seq from orders where time = $1", [time_]).arrow().num_rows == 1, time_
    exact = pandas.Timestamp("2015-04-17T12:00:00.000000001Z")
    assert asked.sql("select seq from orders where time < $1", [exact]).arrow().num_rows == 1
    for wrong, words in [
        (noon.replace(tzinfo=None), "has no zone"),
        (Decimal("nan"), "is no number"),
        ([1], "a list is no value of SQL"),
    ]:
        with pytest.raises(tapewatch.Error, match=words):
            asked.sql("select $1", [wrong])


def test_every_type_comes_back_whole_in_pandas_and_polars(asked: tapewatch.Connection) -> None:
    result = asked.sql(TYPES)
    price, measure = Decimal("1.000000001"), Decimal("-12345678901234567890123456789.123456789")
    nanos = pandas.Timestamp("2015-04-17T12:00:05.000000001Z")

    frame = result.pandas()
    first, second = frame.iloc[0], frame.iloc[1]
    assert frame["time"].dtype == "datetime64[ns, UTC]"
    assert (first["price"], first["measure"], first["time"]) == (price, measure, nanos)
    assert (first["word"], first["truth"], first["ratio"]) == ("Grüße", True, 0.1)
    assert first["day"] == datetime.date(2015, 4, 17) and list(first["evidence"]) == [3, 4]
    assert all(second[name] is None or pandas.isna(second[name]) for name in frame.columns if name != "n")

    floats = result.pandas(decimals="float")
    assert floats["price"].dtype == "float64" and floats["price"][0] == 1.000000001
    assert floats["measure"][0] == float(measure) and pandas.isna(floats["price"][1])

    table = result.polars()
    assert table.schema["time"] == polars.Datetime("ns", "UTC") and table.schema["price"] == polars.Decimal(19, 9)
    assert table.schema["day"] == polars.Date and table.schema["evidence"] == polars.List(polars.Int64)
    assert table["price"].to_list() == [price, None] and table["measure"].to_list() == [measure, None]
    assert table["time"].dt.timestamp("ns")[0] == nanos.value
    assert table["whole"].to_list() == [9007199254740993, None] and table["word"].to_list() == ["Grüße", None]
    assert result.polars(decimals="float")["price"].to_list() == [1.000000001, None]
    with pytest.raises(tapewatch.Error, match='"exact" or "float" is wanted'):
        result.pandas(decimals="money")  # type: ignore[arg-type]


def test_floats_are_the_nearest_of_their_decimals(asked: tapewatch.Connection) -> None:
    query = "select arrow_cast(value * 7919, 'Decimal128(19, 9)') / 1000 as d from generate_series(1, 100000)"
    result = asked.sql(query)
    exact = result.arrow().column("d").to_pylist()
    assert [float(value) for value in exact] == result.pandas(decimals="float")["d"].to_list()


def test_measures_of_an_alert_are_numbers_in_both_frames(asked: tapewatch.Connection) -> None:
    alerts = asked.alerts()
    measures = alerts.pandas()["measures"][0]
    assert {one["name"]: one["value"] for one in measures}["cancel_count"] == 4
    assert {one["name"]: one["value"] for one in alerts.polars()["measures"][0]}["cancel_quantity"] == 4600
    floats = alerts.pandas(decimals="float")["measures"][0]
    assert all(isinstance(one["threshold"], float) for one in floats)
    assert list(alerts.pandas()["evidence"][0]) == alerts.arrow().column("evidence").to_pylist()[0]


def test_an_error_shows_the_place_and_the_connection_goes_on(asked: tapewatch.Connection) -> None:
    for query, code, words in [
        ("select ordr_id from orders", "bad_request", "line 1, column 8: .*ordr_id; did you mean order_id"),
        ("selec 1", "bad_request", "syntax error"),
        ("delete from orders", "bad_request", "only queries are allowed"),
        ("select $1", "bad_request", "parameters"),
        ("select * from trades", "bad_request", "trades"),
        ("select " + "1, " * 100_000 + "1 +", "bad_request", "line 1, column"),
    ]:
        with pytest.raises(tapewatch.Error, match=words) as raised:
            asked.sql(query)
        assert raised.value.code == code and type(raised.value) is tapewatch.Error
    with pytest.raises(tapewatch.Error):
        asked.sql("select '" + "x" * (10 << 20) + "'")
    assert asked.sql("select count(*) as n from orders").arrow().to_pylist() == [{"n": 10}]


def test_limits_are_named_whenever_they_are_reached(asked: tapewatch.Connection) -> None:
    series = "select value from generate_series(1, 1000000)"
    with pytest.raises(tapewatch.LimitReached, match="rows_max of the request is 10"):
        asked.sql(series, rows_max=10).arrow()
    endless = "select count(*) from generate_series(1, 100000000) a, generate_series(1, 100000000) b"
    begun = time.monotonic()
    with pytest.raises(tapewatch.LimitReached, match="timeout of the request is 0.3 s"):
        asked.sql(endless, timeout=0.3)
    assert time.monotonic() - begun < 10
    with pytest.raises(tapewatch.Error, match="memory_bytes_max"):
        asked.sql("select 1", memory_bytes_max=1)
    with pytest.raises(tapewatch.Error, match="a request may only ask for less"):
        asked.sql("select 1", timeout=86_400)


def test_an_answer_that_breaks_off_is_an_error_with_its_reason(asked: tapewatch.Connection) -> None:
    result = asked.sql("select 7 / (value - 900000) as x from generate_series(1, 1000000)")
    with pytest.raises(tapewatch.Error, match="zero") as raised:
        result.arrow()
    assert raised.value.code == "bad_request"


def test_a_query_is_cancelled_and_let_go(reference: Server, asked: tapewatch.Connection) -> None:
    def running() -> int:
        return len(asked._http.json("GET", "/api/v1/queries")["queries"])

    long = "select value from generate_series(1, 50000000)"
    result = asked.sql(long)
    next(iter(result))
    result.cancel()
    result.cancel()
    with pytest.raises(tapewatch.Error, match="was read already|were read already"):
        result.arrow()
    result = asked.sql(long)
    rows = iter(result)
    next(rows)
    result.cancel()
    with pytest.raises(tapewatch.Error, match="cancelled") as raised:
        for _ in rows:
            pass
    assert raised.value.code == "cancelled"
    with asked.sql(long) as result:
        for batch in result:
            assert batch.num_rows
            break
    until(lambda: running() == 0)


def test_a_large_answer_streams_in_little_memory(reference: Server) -> None:
    # Not ru_maxrss, which begins with what the parent had.
    program = """
import sys, tapewatch
def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
tape = tapewatch.connect(sys.argv[1])
before, rows = peak(), 0
for batch in tape.sql("select value, 'text ' || value as t from generate_series(1, 5000000)"):
    rows += batch.num_rows
print(rows, peak() - before)
"""
    out = subprocess.run([sys.executable, "-c", program, reference.url], env=clean(), capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    rows, mebibytes = map(int, out.stdout.split())
    # The whole of it has about 150 MiB.
    assert rows == 5_000_000 and mebibytes < 64, out.stdout


def test_threads_share_a_connection(asked: tapewatch.Connection) -> None:
    found: list[int] = []

    def ask(thread: int) -> None:
        for number in range(20):
            query = f"select sum(value) + {thread} as s from generate_series(1, 2000) where value <= $1"
            table = asked.sql(query, [1000 + number]).arrow()
            assert table.column("s").to_pylist() == [(1000 + number) * (1001 + number) // 2 + thread]
        found.append(thread)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3]


def test_alerts_are_found_by_what_is_said_of_them(asked: tapewatch.Connection) -> None:
    def count(**filters: object) -> int:
        return int(asked.alerts(**filters).arrow().num_rows)  # type: ignore[call-overload]

    assert count() == 1
    assert count(detector="spoofing", sym="SNDL", trader="SpoofingTrader", severity_min=1, suppressed=False) == 1
    assert count(since="2015-04-17T12:00:20Z", until="2015-04-17T12:00:20.000000001Z") == 1
    assert count(since=datetime.datetime(2015, 4, 17, 12, 0, 21, tzinfo=UTC)) == 0
    for none in [{"until": "2015-04-17"}, {"trader": "x'--"}, {"suppressed": True}, {"severity_min": 100}]:
        assert count(**none) == 0, none
    with pytest.raises(tapewatch.Error, match="live alerts begin now"):
        asked.alerts(live=True, since="2015-04-17")  # type: ignore[call-overload]


def test_an_order_and_the_book(asked: tapewatch.Connection) -> None:
    history = asked.order_history("SPG-Oid10", datetime.date(2015, 4, 17)).arrow()
    assert history.column("state").to_pylist() == ["new", "cancelled"]
    assert asked.order_history("it's").arrow().num_rows == 0
    noon = pandas.Timestamp("2015-04-17T12:00:08Z")
    book = asked.book("SNDL", noon).arrow()
    assert book.equals(asked.sql("select * from book('SNDL', '2015-04-17T12:00:08')").arrow())
    assert asked.book("SNDL", noon, 1).arrow().num_rows == 2
    assert asked.book("SNDL", noon, since="2015-04-17T12:00:07.5Z").arrow().num_rows < book.num_rows
    orders_ = next(table for table in asked.tables() if table.name == "orders")
    assert list(orders_.columns) == asked.sql("select * from orders limit 0").schema.names


def test_an_empty_answer_has_its_columns(asked: tapewatch.Connection) -> None:
    result = asked.sql("select seq, price from orders where false")
    assert result.schema.names == ["seq", "price"] and result.pandas().shape == (0, 2)
    assert result.polars(decimals="float").schema == {"seq": polars.Int64, "price": polars.Float64}
    assert list(asked.sql("select 1 where false")) == []


def test_a_wrong_address_is_said_at_once() -> None:
    for url, words in [
        ("ftp://127.0.0.1", "write an address"),
        ("127.0.0.1:9090", "write an address"),
        ("http://127.0.0.1:9090/api", "write an address"),
        ("http://127.0.0.1:99999", "write an address"),
    ]:
        with pytest.raises(tapewatch.Error, match=words):
            tapewatch.connect(url)
    with pytest.raises(tapewatch.Error, match="no use: write https"):
        tapewatch.connect("http://127.0.0.1:9090", ca=__file__)
    with pytest.raises(tapewatch.Error, match="there is no such file"):
        tapewatch.connect("https://127.0.0.1:9090", ca="nowhere.pem")
    with pytest.raises(tapewatch.Error, match="needs its key"):
        tapewatch.connect("https://127.0.0.1:9090", certificate=__file__)

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(tapewatch.Error, match="is it a Tapewatch"):
            tapewatch.connect(f"http://127.0.0.1:{other.server_port}")
        other.shutdown()
        port = other.server_port
    with pytest.raises(tapewatch.Unavailable, match="nothing answers"):
        tapewatch.connect(f"http://127.0.0.1:{port}")


def test_a_server_that_dies_within_an_answer_is_an_error(server: Server) -> None:
    tape = tapewatch.connect(server.url)
    tape.publish("orders", orders(0, 1000))
    result = tape.sql("select value from generate_series(1, 50000000)")
    rows = iter(result)
    next(rows)
    server.kill()
    with pytest.raises(tapewatch.Error) as raised:
        for _ in rows:
            pass
    assert raised.value.code == "broken_off"
    with pytest.raises(tapewatch.Unavailable, match="nothing answers"):
        tape.sql("select 1")
    server.start()
    # The same connection object goes on.
    assert tape.sql("select count(*) as n from orders").arrow().to_pylist() == [{"n": 1000}]
    tape.close()
    with pytest.raises(tapewatch.Error, match="is closed"):
        tape.sql("select 1")
