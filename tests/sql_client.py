#!/usr/bin/env python3
"""SQL clients of Tapewatch as users write them, for tests/flight_sql.rs and tests/files.rs.

  adbc   GRPC_URL           Flight SQL by ADBC: queries, parameters, catalogue, errors
  big    GRPC_URL HTTP_URL  a million rows by ADBC and by HTTP in every format, the same sums
  cancel adbc|flight GRPC_URL HTTP_URL
                            a query that does not end, cancelled by the driver; by CancelFlightInfo and a kill
  endless GRPC_URL          a query that does not end
  files  DIRECTORY          sums of the history's files by DuckDB, Polars and deltalake, as JSON
"""
import decimal, glob, io, json, os, subprocess, sys, threading, time, urllib.request
import pyarrow as pa


def connect(url):
    from adbc_driver_flightsql import DatabaseOptions, dbapi

    options = {}
    if directory := os.environ.get("FLIGHT_TLS"):
        read = lambda name: open(os.path.join(directory, name)).read()
        options = {
            DatabaseOptions.TLS_ROOT_CERTS.value: read("ours.pem"),
            DatabaseOptions.MTLS_CERT_CHAIN.value: read("client.crt"),
            DatabaseOptions.MTLS_PRIVATE_KEY.value: read("client.key"),
        }
        url = url.replace("grpc://", "grpc+tls://")
    return dbapi.connect(url, db_kwargs=options, autocommit=True)


def one(cursor, query, parameters=None):
    cursor.execute(query, parameters)
    return cursor.fetchall()


def refused(what, *words):
    try:
        what()
    except Exception as error:
        assert all(word in str(error) for word in words), f"{words}: {error}"
        return
    raise AssertionError(f"{words} was not refused")


def adbc(url):
    """With the reference's orders inside."""
    with connect(url) as connection, connection.cursor() as cursor:
        events = one(cursor, "select count(*) from orders")[0][0]
        cursor.execute("select * from orders order by seq")
        table = cursor.fetch_arrow_table()
        assert table.num_rows == events and table.column("price").type == pa.decimal128(19, 9), table.schema
        # Parameters, bound once and again.
        syms = one(cursor, "select sym, count(*) as n from orders group by sym order by sym")
        for sym, count in syms:
            assert one(cursor, "select count(*) from orders where sym = $1", (sym,)) == [(count,)], sym
        above = "select count(*) from orders where price >= $1 and seq > $2 and time < $3"
        plain = "select count(*) from orders where price >= 1.25 and seq > 3 and time < '2030-01-01T00:00:00Z'"
        for price in [decimal.Decimal("1.25"), "1.25"]:
            got = one(cursor, above, (price, 3, "2030-01-01T00:00:00Z"))
            assert got == one(cursor, plain), (price, got)
        assert one(cursor, "select $1 is null, $2 + 1", (None, 4)) == [(True, 5)]
        schema = cursor.adbc_prepare("select seq from orders where price > $1")
        assert [field.type for field in schema] == [pa.decimal128(19, 9)], schema
        # What there is.
        assert connection.adbc_get_table_types() == ["TABLE", "VIEW"]
        objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        assert [catalog["catalog_name"] for catalog in objects] == ["tapewatch"]
        (schema,) = objects[0]["catalog_db_schemas"]
        tables = {t["table_name"]: t for t in schema["db_schema_tables"]}
        assert schema["db_schema_name"] == "public" and tables["orders"]["table_type"] == "TABLE"
        assert tables["orderAlerts"]["table_type"] == "VIEW"
        columns = [column["column_name"] for column in tables["orders"]["table_columns"]]
        assert columns == table.column_names, columns
        some = connection.adbc_get_objects(depth="tables", table_name_filter="order%").read_all().to_pylist()
        names = {t["table_name"] for s in some[0]["catalog_db_schemas"] for t in s["db_schema_tables"]}
        assert names == {"orders", "order", "orderAlerts"}, names
        assert connection.adbc_get_table_schema("orders").names == columns
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "Tapewatch", info
        # What is wrong.
        refused(lambda: one(cursor, "select ordr_id from orders"), "no column ordr_id", "order_id")
        refused(lambda: one(cursor, "selec 1"), "syntax error")
        refused(lambda: one(cursor, "delete from orders"), "only queries are allowed")
        refused(lambda: one(cursor, "select count(*) from orders where seq = $1"), "1 parameters, 0 values")
        refused(lambda: one(cursor, "select count(*) from orders where price > $1", ("much",)), "parameter $1", "much")
        refused(lambda: one(cursor, "select 7 / (value - 500) from generate_series(1, 1000)"), "zero")
        refused(lambda: connection.adbc_get_table_schema("trades"), "No table found")
        two = pa.record_batch({"1": [1, 2]})
        refused(lambda: one(cursor, "select $1", two), "one row of parameters")
        refused(lambda: cursor.executemany("select $1", [(1,), (2,)]), "only queries are allowed")
        assert one(cursor, "select count(*) from orders") == [(events,)], "the connection goes on"
        xdbc(url)
    print("ok")


def xdbc(url):
    """What ADBC does not ask, by hand: type information."""
    import pyarrow.flight as flight

    name = b"type.googleapis.com/arrow.flight.protocol.sql.CommandGetXdbcTypeInfo"
    command = b"\x0a" + varint(len(name)) + name
    client = raw(url)
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    types = client.do_get(info.endpoints[0].ticket).read_all()
    assert types.schema == info.schema and "DECIMAL" in types.column("type_name").to_pylist(), types
    actions = {action.type for action in client.list_actions()}
    assert {"CreatePreparedStatement", "CancelFlightInfo"} <= actions, actions


def raw(url):
    import pyarrow.flight as flight

    options = {}
    if directory := os.environ.get("FLIGHT_TLS"):
        read = lambda name: open(os.path.join(directory, name), "rb").read()
        options = {"tls_root_certs": read("ours.pem"), "cert_chain": read("client.crt"), "private_key": read("client.key")}
        url = url.replace("grpc://", "grpc+tls://")
    return flight.connect(url, **options)


MILLION = (
    "select value, value % 977 as k, 'text ' || (value % 13) as t, "
    "arrow_cast(value, 'Decimal128(19, 9)') / 8 as d from generate_series(1, 1000000)"
)


def sums(table):
    import pyarrow.compute as pc

    texts = pc.sum(pc.utf8_length(table.column("t").cast(pa.string())))
    numbers = [pc.sum(table.column(name)) for name in ["value", "k"]]
    decimals = pc.sum(table.column("d").cast(pa.decimal128(38, 9)))
    return [table.num_rows, *(n.as_py() for n in numbers), texts.as_py(), str(decimals.as_py().normalize())]


def big(url, http):
    import pyarrow.csv, pyarrow.ipc, pyarrow.json, pyarrow.parquet

    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(MILLION)
        reader = cursor.fetch_record_batch()
        expected = sums(reader.read_all())
        rows = one(cursor, f"select count(*), sum(value), sum(k), sum(length(t)) from ({MILLION})")
        assert list(rows[0]) == expected[:4], (rows, expected)
    kinds = {"d": pa.decimal128(38, 9), "t": pa.string(), "value": pa.int64(), "k": pa.int64()}
    csv = pyarrow.csv.ConvertOptions(column_types=kinds)
    # In JSON decimals are text.
    def lines(data):
        options = pyarrow.json.ParseOptions(explicit_schema=pa.schema({**kinds, "d": pa.string()}))
        table = pyarrow.json.read_json(io.BytesIO(data), parse_options=options)
        return table.set_column(table.schema.get_field_index("d"), "d", table.column("d").cast(pa.decimal128(38, 9)))
    def array(data):
        rows = json.loads(data)
        columns = {name: [row[name] for row in rows] for name in kinds}
        columns["d"] = [decimal.Decimal(d) for d in columns["d"]]
        return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})

    for format, media, read in [
        ("arrow", "application/vnd.apache.arrow.stream", lambda data: pyarrow.ipc.open_stream(data).read_all()),
        ("parquet", "application/vnd.apache.parquet", lambda data: pyarrow.parquet.read_table(io.BytesIO(data))),
        ("csv", "text/csv", lambda data: pyarrow.csv.read_csv(io.BytesIO(data), convert_options=csv)),
        ("jsonl", "application/x-ndjson", lines),
        ("json", "application/json", array),
    ]:
        # By the field, and a short one by Accept.
        for query, body, headers in [(MILLION, {"format": format}, {}), ("select 1 as x", {}, {"accept": media})]:
            request = urllib.request.Request(
                f"{http}/api/v1/sql", json.dumps({"query": query, **body}).encode(),
                {"content-type": "application/json", **headers})
            with urllib.request.urlopen(request) as answer:
                assert answer.headers["content-type"].startswith(media), (format, answer.headers)
                data = answer.read()
            if body:
                found = sums(read(data))
                assert found == expected, (format, found, expected)
    print("ok")


ENDLESS = "select count(*) from generate_series(1, 100000000) a, generate_series(1, 100000000) b"


def varint(number):
    """As protobuf writes it."""
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def cancel(way, url, http):
    def queries():
        with urllib.request.urlopen(f"{http}/api/v1/queries") as answer:
            return json.load(answer)["queries"]

    def until(what):
        deadline = time.monotonic() + 20
        while not what():
            assert time.monotonic() < deadline, queries()
            time.sleep(0.02)

    def runs():
        return any(one["state"] == "running" and one["door"] == "flight" for one in queries())

    def outcome(run):
        # Both clients turn a cancelled call into an interrupt of Python's own; then the reason is its context.
        try:
            return f"came to an end: {run()}"
        except (Exception, KeyboardInterrupt) as error:
            return f"{error!r} after {error.__context__!r}"

    def stopped(run, stop):
        at = []

        def other():
            until(runs)
            at.append(time.monotonic())
            stop()

        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        ended = outcome(run)
        assert "ancel" in ended, ended
        thread.join()
        until(lambda: not queries())
        assert time.monotonic() - at[0] < 3, time.monotonic() - at[0]

    if way == "adbc":
        with connect(url) as connection, connection.cursor() as cursor:
            stopped(lambda: one(cursor, ENDLESS), cursor.adbc_cancel)
        print("ok")
        return
    import pyarrow.flight as flight

    name = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    text = ENDLESS.encode()
    inner = b"\x0a" + varint(len(text)) + text
    command = b"\x0a" + varint(len(name)) + name + b"\x12" + varint(len(inner)) + inner
    client = raw(url)
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    bytes_of = info.serialize()
    body = b"\x0a" + varint(len(bytes_of)) + bytes_of
    end = lambda: list(raw(url).do_action(flight.Action("CancelFlightInfo", body)))
    stopped(lambda: client.do_get(info.endpoints[0].ticket).read_all(), end)
    refused(end, "no query")
    # A client that goes takes its query with it.
    lost = subprocess.Popen([sys.executable, __file__, "endless", url])
    until(runs)
    lost.kill()
    until(lambda: not queries())
    lost.wait()
    print("ok")


def endless(url):
    with connect(url) as connection, connection.cursor() as cursor:
        one(cursor, ENDLESS)


def files(directory):
    import deltalake, duckdb, polars

    columns = {
        "orders": ["count(*)", "sum(seq)", "sum(price)", "sum(quantity)", "count(distinct sym)"],
        "hits": ["count(*)", "sum(seq)", "sum(quantity)", "count(distinct alert_id)"],
        "dead_letters": ["count(*)", "sum(line)"],
    }
    found = {}
    for table, sums in columns.items():
        path = os.path.join(directory, table)
        delta = deltalake.DeltaTable(path)
        active = delta.file_uris()
        assert set(active) <= set(glob.glob(f"{path}/**/*.parquet", recursive=True))
        query = f"select {', '.join(sums)} from t"
        answers = {}
        parquet = f"read_parquet({active!r}, hive_partitioning = true)"
        answers["duckdb"] = duckdb.connect().execute(query.replace("from t", f"from {parquet}")).fetchone()
        database = duckdb.connect()
        database.register("t", delta.to_pyarrow_table())
        answers["deltalake"] = database.execute(query).fetchone()
        context = polars.SQLContext(t=polars.scan_delta(path))
        answers["polars scan"] = context.execute(query).collect().row(0)
        context = polars.SQLContext(t=polars.read_delta(path).lazy())
        answers["polars read"] = context.execute(query).collect().row(0)
        found[table] = {name: [str(decimal.Decimal(str(v)).normalize()) for v in row] for name, row in answers.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    {"adbc": adbc, "big": big, "cancel": cancel, "endless": endless, "files": files}[command](*rest)
