#!/usr/bin/env python3
"""Postgres clients of Tapewatch as users write them, for tests/postgres.rs.

  psycopg DSN            parameters of each type, prepared statements, cursors, transactions, COPY, errors
  grafana DSN            what Grafana's data source asks: at its start, in its query builder, for a panel
  big     DSN ROWS       a long result, by a client that reads it as it comes; its sum
  cancel  DSN            a query that does not end, cancelled, and ended by its time limit
  refused DSN SQLSTATE   a connection that is refused
  version DSN            the first questions that a client asks, and whether TLS is spoken
"""
import datetime, decimal, os, socket, sys, threading, time
import psycopg
from psycopg import errors

UTC = datetime.timezone.utc
NOON = datetime.datetime(2015, 4, 17, 12, tzinfo=UTC)


def refuses(connection, state, text, *values, words=()):
    try:
        connection.execute(text, values or None)
    except psycopg.Error as error:
        connection.rollback()
        assert error.sqlstate == state, f"{text}: {error.sqlstate} {error}"
        assert all(word in str(error) for word in words), f"{text}: {error}"
        return error
    raise AssertionError(f"{text}: it was not refused")


def parameters(connection):
    one = lambda text, *values: connection.execute(text, values).fetchone()
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        ask = lambda text, *values: cursor.execute(text, values, binary=binary).fetchone()
        for value in [
            0, -7, 40_000, 3_000_000_000, -(2**62), 1.5, -1e300, "it's \u00e9 \\ \" text", "", True, False,
            decimal.Decimal("72.25"), decimal.Decimal("-0.000000001"), decimal.Decimal("1234567890123456789.5"),
            NOON, NOON.replace(microsecond=123456), datetime.date(2015, 4, 17), b"\x00\xff",
            [1, 2, None], ["a", 'b,"c"', None], [],
        ]:
            for place in ("%s", "%b", "%t"):
                (back,) = ask(f"select {place} as it", value)
                if isinstance(value, list) and isinstance(back, str):
                    # A list whose type is not said is a text where nothing wants a list.
                    assert back.startswith("{"), back
                    continue
                assert back == value and type(back) is type(value), (place, binary, value, back)
        assert ask("select %s::bigint", None) == (None,)
        assert ask("select count(*) from orders where sym = %s and price >= %s", "SNDL", decimal.Decimal("1.25"))[0] > 0
        assert ask("select count(*) from orders where time >= %s", NOON) == (10,)
        assert ask("select count(*) from orders where time between %s and %s", NOON, NOON) == (1,)
        # A text is read as the type of its place.
        assert ask("select count(*) from orders where time = '2015-04-17 12:00:00+00'") == (1,)
        assert ask("select count(*) from orders where date = %s", datetime.date(2015, 4, 17)) == (10,)
        for place in ("%s", "%b", "%t", "%s::text[]"):
            assert ask(f"select count(*) from orders where sym = any({place})", ["SNDL", "X"]) == (10,), place
        assert ask("select count(*) from orders where seq = any(%s)", [2, 3, None]) == (2,)
        assert len(cursor.execute("select seq from orders limit %s", (3,), binary=binary).fetchall()) == 3
        row = ask("select seq, time, date, price, quantity, sym, account from orders order by seq limit 1")
        assert row == (2, NOON, NOON.date(), decimal.Decimal("1.25"), decimal.Decimal(1000), "SNDL", None), row
        assert ask("select now() - now()") == (datetime.timedelta(0),)
        assert ask("select arrow_cast(time, 'Timestamp(Nanosecond, None)') from orders order by seq limit 1") == (NOON.replace(tzinfo=None),)
    hit = one("select evidence, measures from hits order by seq limit 1")
    if hit:
        assert isinstance(hit[0], list) and isinstance(hit[1][0]["name"], str), hit
    assert one("select 1 as a, 2 as b") == (1, 2)


def statements(connection):
    for _ in range(10):
        row = connection.execute("select count(*) from orders where quantity > %s", (1_000,), prepare=True).fetchone()
    assert row[0] > 0
    with connection.pipeline():
        cursors = [connection.execute("select %s::bigint", (number,)) for number in range(50)]
    assert [cursor.fetchone()[0] for cursor in cursors] == list(range(50))
    cursor = connection.cursor()
    cursor.executemany("select %s::bigint", [(1,), (2,)], returning=True)
    rows = [cursor.fetchone()]
    while cursor.nextset():
        rows.append(cursor.fetchone())
    assert rows == [(1,), (2,)], rows
    cursor = connection.execute("select 1; select 2, 3; set application_name = 'x; y'")
    assert cursor.fetchall() == [(1,)] and cursor.nextset() and cursor.fetchall() == [(2, 3)] and cursor.nextset()
    assert connection.execute("show application_name").fetchone() == ("x; y",)
    assert connection.info.parameter_status("application_name") == "x; y"
    names = [column.name for column in connection.execute("select * from orders limit 0").description]
    assert names[:3] == ["seq", "time", "date"], names
    assert connection.execute("-- nothing").description is None


def cursors(connection):
    connection.rollback()
    with connection.cursor(name="c") as cursor:
        cursor.itersize = 3
        cursor.execute("select seq from orders where seq > %s order by seq", (0,))
        assert [column.name for column in cursor.description] == ["seq"]
        assert cursor.fetchone() == (2,) and cursor.fetchmany(2) == [(3,), (4,)]
        assert [row[0] for row in cursor] == list(range(5, 12))
    with connection.cursor(name="b", binary=True) as cursor:
        cursor.execute("select price from orders order by seq")
        assert cursor.fetchone() == (decimal.Decimal("1.25"),)
    refuses(connection, "34000", "fetch 1 from nothing")
    refuses(connection, "0A000", "declare s scroll cursor for select 1", words=["NO SCROLL"])
    connection.autocommit = True
    refuses(connection, "25P01", "declare c cursor for select 1")
    connection.execute("declare kept cursor with hold for select seq from orders order by seq")
    assert connection.execute("fetch 2 from kept").fetchall() == [(2,), (3,)]
    assert connection.execute("fetch all from kept").rowcount == 8
    connection.execute("close kept")
    connection.autocommit = False


def transactions(connection):
    with connection.transaction():
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        try:
            with connection.transaction():
                connection.execute("select colour from orders")
        except errors.UndefinedColumn:
            pass
        assert connection.execute("select 1").fetchone() == (1,)
    connection.execute("select 1")
    try:
        connection.execute("select 1/0")
    except errors.DivisionByZero:
        pass
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
    try:
        connection.execute("select 1")
        raise AssertionError("a failed transaction goes on")
    except errors.InFailedSqlTransaction:
        connection.rollback()
    connection.execute("set local statement_timeout = '1min'")
    connection.execute("select 1")
    connection.commit()


def copies(connection):
    with connection.cursor().copy("copy (select seq, sym, account from orders order by seq limit 2) to stdout") as copy:
        assert b"".join(copy) == b"2\tSNDL\t\\N\n3\tSNDL\t\\N\n"
    with connection.cursor().copy("copy (select seq, text from hits) to stdout (format csv, header)") as copy:
        assert b"".join(copy).startswith(b"seq,text\n")
    with connection.cursor().copy("copy orders (seq) to stdout") as copy:
        copy.set_types(["int8"])
        assert [row for row in copy.rows()] == [(number,) for number in range(2, 12)]
    refuses(connection, "0A000", "copy orders from stdin", words=["tapewatch feed"])
    refuses(connection, "0A000", "copy orders to '/tmp/orders'")


def mistakes(connection):
    error = refuses(connection, "42P01", "select * from ordrs", words=["orders"])
    assert error.diag.statement_position == "15", error.diag.statement_position
    error = refuses(connection, "42703", "select\n  colour from orders")
    assert error.diag.statement_position == "10", error.diag.statement_position
    error = refuses(connection, "42601", "select 1; selec 2")
    assert error.diag.statement_position == "11", error.diag.statement_position
    refuses(connection, "22012", "select quantity / (seq - seq) from orders")
    refuses(connection, "42883", "select nothing(1)")
    error = refuses(connection, "25006", "delete from orders")
    assert "tapewatch feed" in error.diag.message_hint
    for text in ["create table x (a int)", "insert into orders select * from orders", "drop table orders"]:
        refuses(connection, "25006", text)
    refuses(connection, "22023", "select * from orders where seq = %s", "x", words=["parameter $1"])
    refuses(connection, "55P02", "set client_encoding = 'LATIN1'")
    refuses(connection, "42704", "show colour")
    refuses(connection, "0A000", "listen orders")
    refuses(connection, "42601", "select '" + "x" * 5_000_000 + "'", words=["4194304"])
    assert connection.execute("select 1").fetchone() == (1,)
    try:
        connection.execute("select '" + "x" * 20_000_000 + "'")
        raise AssertionError("a message of 20 MB was taken")
    except psycopg.OperationalError as error:
        assert connection.closed, error


def run_psycopg(dsn):
    connection = psycopg.connect(dsn)
    for part in (parameters, statements, cursors, transactions, copies, mistakes):
        part(connection)
        if not connection.closed:
            connection.rollback()
    connection.close()


META = """SELECT quote_ident(column_name) AS "column", data_type AS "type"
    FROM information_schema.columns
    WHERE
      CASE WHEN array_length(parse_ident('{table}'),1) = 2
        THEN quote_ident(table_schema) = (parse_ident('{table}'))[1]
          AND quote_ident(table_name) = (parse_ident('{table}'))[2]
        ELSE quote_ident(table_name) = '{table}'
          AND {searched}
      END"""
SEARCHED = """
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )"""
TABLES = f"""SELECT
    CASE WHEN {SEARCHED}
      THEN quote_ident(table_name)
      ELSE quote_ident(table_schema) || '.' || quote_ident(table_name)
    END AS "table"
    FROM information_schema.tables
    WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache',
                             '_timescaledb_catalog', '_timescaledb_internal', '_timescaledb_config',
                             'timescaledb_information', 'timescaledb_experimental')
    ORDER BY CASE WHEN {SEARCHED} THEN 0 ELSE 1 END, 1"""


def run_grafana(dsn):
    connection = psycopg.connect(dsn, autocommit=True)
    # Its driver pings with a comment, and runs what a panel asks as a simple query.
    ask = lambda text: connection.execute(text).fetchall()
    connection.execute("-- ping")
    assert ask("SELECT current_setting('server_version_num')::int/100 as version") == [(1600,)]
    assert ask("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'") == []
    schemas = ask("SELECT schema_name AS \"name\" FROM information_schema.schemata WHERE schema_name NOT IN ('information_schema', 'pg_catalog') ORDER BY schema_name")
    assert schemas == [("public",)], schemas
    tables = [name for (name,) in ask(TABLES)]
    assert "orders" in tables and "hits" in tables and '"order"' in tables, tables
    columns = dict(ask(META.format(table="orders", searched=SEARCHED)))
    assert columns["time"] == "timestamp with time zone" and columns["price"] == "numeric", columns
    assert dict(ask(META.format(table="public.orders", searched=SEARCHED))) == columns
    within = "time BETWEEN '2015-04-17T00:00:00Z' AND '2015-04-18T00:00:00Z'"
    rows = ask(f"SELECT time AS \"time\", price FROM orders WHERE {within} ORDER BY 1")
    assert len(rows) == 10 and rows[0][0] == NOON, rows
    rows = ask(
        f"SELECT floor(extract(epoch from time)/300)*300 AS \"time\", sym AS metric, avg(price) AS price "
        f"FROM orders WHERE {within} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert rows[0][0] == NOON.timestamp(), rows
    rows = ask("SELECT count(*) FROM orders WHERE extract(epoch from time) >= 1429228800 AND extract(epoch from time) <= 1429315200")
    assert rows == [(10,)], rows
    connection.close()


def run_big(dsn, rows):
    rows = int(rows)
    with psycopg.connect(dsn) as connection:
        cursor = connection.cursor()
        total, count = 0, 0
        for value, _ in cursor.stream(f"select value, 'row ' || value from generate_series(1, {rows})"):
            total += value
            count += 1
        assert (count, total) == (rows, rows * (rows + 1) // 2), (count, total)
        with connection.cursor(name="big", binary=True) as cursor:
            cursor.itersize = 10_000
            cursor.execute(f"select value from generate_series(1, {rows})")
            assert sum(value for (value,) in cursor) == total
        # Left in the middle.
        cursor = connection.cursor()
        for value in cursor.stream(f"select value from generate_series(1, {rows * 1000})"):
            break
        connection.rollback()
        assert connection.execute("select 1").fetchone() == (1,)


ENDLESS = "select count(*) from generate_series(1, 100000000) a, generate_series(1, 100000000) b"


def run_cancel(dsn):
    connection = psycopg.connect(dsn, autocommit=True)
    timer = threading.Timer(1, connection.cancel)
    began = time.monotonic()
    timer.start()
    refuses(connection, "57014", ENDLESS, words=["cancelled"])
    assert time.monotonic() - began < 20
    connection.execute("set statement_timeout = 500")
    refuses(connection, "57014", ENDLESS, words=["too long"])
    connection.execute("reset all")
    assert connection.execute("select 1").fetchone() == (1,)
    # One that goes away in the middle leaves nothing behind.
    other = psycopg.connect(dsn, autocommit=True)
    thread = threading.Thread(target=lambda: swallow(lambda: other.execute(ENDLESS)))
    thread.start()
    time.sleep(0.5)
    socket.socket(fileno=os.dup(other.pgconn.socket)).shutdown(socket.SHUT_RDWR)
    thread.join()
    connection.close()


def swallow(what):
    try:
        what()
    except psycopg.Error:
        pass


def run_refused(dsn, state):
    try:
        psycopg.connect(dsn, connect_timeout=10)
    except psycopg.OperationalError as error:
        # The message is all that is told of a connection that did not come about.
        assert state in str(error), error
        return
    raise AssertionError("the connection was let in")


def run_version(dsn):
    with psycopg.connect(dsn) as connection:
        assert connection.info.server_version == 160006, connection.info.server_version
        (version,) = connection.execute("select version()").fetchone()
        assert version.startswith("PostgreSQL 16.6 (Tapewatch"), version
        assert connection.execute("select current_database(), current_schema()").fetchone() == ("tapewatch", "public")
        assert connection.info.encoding == "utf-8" and str(connection.info.timezone) == "UTC"
        if "sslmode=require" in dsn or "verify" in dsn:
            assert connection.pgconn.ssl_in_use


if __name__ == "__main__":
    globals()[f"run_{sys.argv[1]}"](*sys.argv[2:])
    print("ok")
