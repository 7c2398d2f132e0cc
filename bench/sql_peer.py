#!/usr/bin/env python3
"""Queries in DuckDB, as standard input asks for them: what `cargo xtask bench sql` runs beside Tapewatch.
usage: sql_peer.py FILE.parquet THREADS SCRATCH_DIR
A line in, a line of JSON out: `query TIMES SQL` times a query from its text to its last row, in Arrow's columns;
`answer SQL` prints its rows; `eod` sorts the table into a Parquet file, forced to the disk, and asks that from then on.
The table has the file's own types: a DOUBLE and a BIGINT where Tapewatch has exact decimals."""
import json
import os
import sys
import time

import duckdb

file, threads, scratch = sys.argv[1], int(sys.argv[2]), sys.argv[3]
con = duckdb.connect()
con.execute(f"SET threads={threads}")
con.execute("SET preserve_insertion_order=false")
con.execute("SET TimeZone='UTC'")
con.execute(f"""CREATE TABLE orders AS SELECT row_number() OVER () AS seq, time, sym, eventType AS event_type, trader, side,
    orderID AS order_id, price, quantity FROM read_parquet('{file}')""")


def say(answer):
    print(json.dumps(answer), flush=True)


say({"rows": con.execute("SELECT count(*) FROM orders").fetchall()[0][0], "version": duckdb.__version__})
for line in sys.stdin:
    command, _, rest = line.strip().partition(" ")
    if command == "query":
        times, _, sql = rest.partition(" ")
        seconds = []
        for _ in range(int(times)):
            begun = time.perf_counter()
            rows = con.sql(sql).to_arrow_table().num_rows
            seconds.append(time.perf_counter() - begun)
        say({"seconds": seconds, "rows": rows})
    elif command == "answer":
        say({"rows": [[str(v) for v in row] for row in con.execute(rest).fetchall()]})
    elif command == "eod":
        path = os.path.join(scratch, "duckdb.parquet")
        begun = time.perf_counter()
        con.execute(f"COPY (SELECT * FROM orders ORDER BY event_type, sym, seq) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        with open(path, "rb") as written:
            os.fsync(written.fileno())
        say({"seconds": [time.perf_counter() - begun], "rows": con.execute(f"SELECT count(*) FROM '{path}'").fetchall()[0][0]})
        con.execute("DROP TABLE orders")
        con.execute(f"CREATE VIEW orders AS SELECT * FROM read_parquet('{path}')")
    else:
        sys.exit(f"no command {command!r}")
