#!/usr/bin/env python3
"""kdb+ clients of Tapewatch as users write them, for tests/kdb.rs. Needs numpy, qPython and aiokdb.

  publish   PORT CSV       qPython: the file in twos, each update answered
  queries   PORT CSV       qPython: queries, and what they must give for the file
  refusals  PORT           qPython: what must be refused, and that nothing of it is left
  login     PORT USER PASSWORD   qPython: says whether it is let in
  subscribe PORT TABLE SYMS ROWS ALERTS   qPython: prints what comes until so many rows
  aiokdb    PORT CSV       aiokdb: subscribes to everything, publishes the file, sees it and its alert
  many      PORT ROWS SIZE qPython: asynchronous updates, and a question at the end
"""
import asyncio, csv, json, sys
import numpy as np
from qpython import qconnection
from qpython.qcollection import qlist, qtable
from qpython.qconnection import MessageType
from qpython.qtype import QException, QSYMBOL, QSYMBOL_LIST, QTIMESTAMP_LIST, QDOUBLE_LIST, QGENERAL_LIST, QSTRING_LIST

NAMES = ["time", "sym", "eventType", "trader", "side", "orderID", "price", "quantity"]


def read(path):
    return list(csv.DictReader(open(path)))


def time_of(row):
    return np.datetime64(row["time"].replace("D", "T"), "ns")


def columns(rows):
    """A list of columns, as feed handlers send them: symbols, texts, timestamps, floats."""
    symbols = lambda name: qlist(np.array([r[name].encode() for r in rows]), qtype=QSYMBOL_LIST)
    floats = lambda name: qlist(np.array([float(r[name]) for r in rows]), qtype=QDOUBLE_LIST)
    return [
        qlist(np.array([time_of(r) for r in rows]), qtype=QTIMESTAMP_LIST),
        symbols("sym"), symbols("eventType"), [r["trader"].encode() for r in rows], symbols("side"),
        [r["orderID"].encode() for r in rows], floats("price"), floats("quantity"),
    ]


def connect(port, user=None, password=None):
    q = qconnection.QConnection("127.0.0.1", int(port), username=user, password=password, timeout=30)
    q.open()
    return q


def publish(port, path):
    q, rows = connect(port), read(path)
    for at in range(0, len(rows), 2):
        assert q.sendSync(".u.upd", np.bytes_("order"), columns(rows[at:at + 2])) is None
    q.close()


def texts(values):
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def queries(port, path):
    q, rows = connect(port), read(path)
    ask = lambda text: q.sendSync(text, numpy_temporals=True)
    total = lambda of: sum(float(r["quantity"]) for r in rows if of(r))
    assert ask("2+2") == 4
    assert texts(ask("tables[]")) == ["order", "orderAlerts"]
    assert texts(ask("cols order")) == NAMES
    assert ask("count order") == len(rows) and ask("count orderAlerts") == 1
    assert len(ask("meta orderAlerts").keys) == 14
    assert ask("exec sum quantity from order where eventType=`cancelled") == total(lambda r: r["eventType"] == "cancelled")
    assert ask("exec count i from order where side=`S,price<1.25") == 2
    got = ask("select from order")
    assert list(texts(got.dtype.names)) == NAMES
    assert [float(p) for p in got["price"]] == [float(r["price"]) for r in rows]
    assert texts(got["orderID"]) == [r["orderID"] for r in rows]
    assert list(got["time"]) == [time_of(r) for r in rows]
    first = ask("select[3;>quantity] orderID,quantity from order where time within 2015.04.17D12:00:00 2015.04.17D12:00:09")
    assert list(first["quantity"]) == [2000.0, 1300.0, 1200.0], first
    last = ask("-2#order")
    assert texts(last["orderID"]) == ["SPG-Oid14", "SPG-Oid13"]
    by = ask("select n:count i,q:sum quantity,vwap:quantity wavg price by side,eventType from order where date=2015.04.17")
    keys = list(zip(texts(by.keys["side"]), texts(by.keys["eventType"])))
    assert keys == sorted({(r["side"], r["eventType"]) for r in rows}), keys
    for (side, event), n, q_sum in zip(keys, by.values["n"], by.values["q"]):
        those = [r for r in rows if (r["side"], r["eventType"]) == (side, event)]
        assert n == len(those) and q_sum == sum(float(r["quantity"]) for r in those)
    bars = ask("select last price by 0D00:00:10 xbar time from order")
    assert list(bars.values["price"]) == [1.25, 1.25, 1.23]
    assert ask("exec distinct sym from order")[0] == b"SNDL"
    alerts = ask("update alertID:1+til count i from orderAlerts")
    [alert] = alerts
    assert alert["alertID"] == 1 and alert["totalCancelQty"] == 4600.0 and alert["totalCancelCount"] == 4
    assert alert["orderID"] == b"SPG-Oid13" and alert["alertName"] == b"spoofing"
    assert alert["lookbackInterval"] == np.timedelta64(25, "s")
    both = ask("select a:sum totalCancelCount,b:totalCancelCount wavg price,c:totalCancelCount wsum price from orderAlerts")
    assert (both["a"][0], both["b"][0], round(both["c"][0], 9)) == (4, 1.23, 4.92), both
    floats = ask("select a:sum quantity*price,b:quantity wsum price,c:avg quantity,d:dev price,e:var price,f:max time,g:min sym from order")
    value = sum(float(r["quantity"]) * float(r["price"]) for r in rows)
    assert abs(floats["a"][0] - value) < 1e-9 and floats["a"][0] == floats["b"][0]
    assert floats["c"][0] == np.mean([float(r["quantity"]) for r in rows])
    assert abs(floats["d"][0] - np.std([float(r["price"]) for r in rows])) < 1e-12
    assert floats["f"][0] == time_of(rows[-1]) and floats["g"][0] == b"SNDL"
    assert ask("exec count distinct orderID from order") == len({r["orderID"] for r in rows})
    assert texts(ask("exec orderID from order where orderID like \"*Oid1?\", i<2")) == ["SPG-Oid10", "SPG-Oid11"]
    nothing = ask("select sum quantity, max price from order where sym=`NONE")
    assert nothing["quantity"][0] == 0 and len(ask("select from order where sym=`NONE")) == 0
    log = q.sendSync("(.u.sub[`;`];.u `i`L)")
    assert len(log) == 2 and [texts(t[:1])[0] for t in log[0]] == ["order", "orderAlerts"]
    print("ok")


def refusals(port):
    q = connect(port)

    def refused(words, *request):
        try:
            q.sendSync(*request)
        except QException as error:
            said = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
            assert words in said, f"{words}: {said}"
            return
        raise AssertionError(f"{request} was not refused")

    row = dict(zip(NAMES, ["2015-04-17D12:00:00", "A", "new", "T", "B", "1", "1.5", "10"]))
    good = columns([row, row])
    refused("nyi", "system \"ls\"")
    refused("nyi", "{x+1}", 1)
    refused("nyi", "select from order lj t")
    refused("trade", "count trade")
    refused("trade", ".u.sub[`trade;`]")
    refused("trade", ".u.upd", np.bytes_("trade"), good)
    refused("orderAlerts", ".u.upd", np.bytes_("orderAlerts"), good)
    refused("length", ".u.upd", np.bytes_("order"), good[:7])
    refused("length", ".u.upd", np.bytes_("order"), good[:7] + [qlist(np.array([1.0]), qtype=QDOUBLE_LIST)])
    refused("type", ".u.upd", np.bytes_("order"), good[:6] + [good[1], good[7]])
    refused("type", ".u.end", 1)
    assert q.sendSync("count order") == 0, "nothing of what was refused is left"
    # A row that cannot be used is a dead letter alone.
    bad = dict(row, eventType="born")
    assert q.sendSync("upd", np.bytes_("order"), columns([row, bad, row])) is None
    assert q.sendSync("count order") == 2
    # Nobody waits for these; they are counted.
    q.sendAsync(".u.upd", np.bytes_("trade"), good)
    q.sendAsync("delete from `order")
    assert q.sendSync("2+2") == 4
    print("ok")


def login(port, user, password):
    try:
        connect(port, user, password).close()
        print("in")
    except qconnection.QAuthenticationException:
        print("refused")


def subscribe(port, table, syms, rows, alerts):
    q = connect(port, "sub", "")
    answer = q.sendSync(f".u.sub[`{table};`{syms}]")
    pairs = answer if not table else [answer]
    print(json.dumps([[texts(pair[:1])[0], len(pair[1])] for pair in pairs]), flush=True)
    rows, alerts, end = int(rows), int(alerts), False
    while rows > 0 or alerts > 0 or not end:
        if rows <= 0 and alerts <= 0:
            print("all", flush=True)
        message = q.receive()
        if texts(message[:1]) == [".u.end"]:
            end = True
            print(f"end {message[1]}", flush=True)
            continue
        name, data = texts(message[1:2])[0], message[2]
        assert texts(message[:1]) == ["upd"] and len(data) > 0
        for line in data:
            print(name, line["sym"].decode(), line["orderID"].decode(), line["price"], flush=True)
        rows, alerts = (rows - len(data), alerts) if name == "order" else (rows, alerts - len(data))


def many(port, total, size):
    q = connect(port, "many", "")
    total, size = int(total), int(size)
    for at in range(0, total, size):
        rows = [dict(zip(NAMES, ["2015-04-17D12:00:00", f"S{n % 3}", "new", "T", "B", str(n), "1.5", "10"])) for n in range(at, at + size)]
        q.sendAsync(".u.upd", np.bytes_("order"), columns(rows))
    assert q.sendSync("2+2") == 4
    q.close()


async def with_aiokdb(port, path):
    from aiokdb import TypeEnum, KException, MessageType as Mt, cv, kk, ks, ktn, xd, xt
    from aiokdb.client import open_qipc_connection
    from aiokdb.extras import ktns

    rows = read(path)
    reader, writer = await open_qipc_connection(port=int(port), user="aio", password="x")
    # As q's own subscribers ask, and as code does.
    answer = await writer.sync_req(cv("(.u.sub[`;`];.u `i`L)"))
    pairs, log = answer.kK()
    assert [pair.kK()[0].aS() for pair in pairs.kK()] == ["order", "orderAlerts"]
    answer = await writer.sync_req(kk(cv(".u.sub"), ks("order"), ktns("SNDL", "OTHER")))
    assert answer.kK()[0].aS() == "order" and len(answer.kK()[1]) == 0

    def column(kind, values):
        made = ktn(kind)
        (made.kF() if kind == TypeEnum.KF else made.kJ()).extend(values)
        return made

    strings = lambda name: kk(*[cv(r[name]) for r in rows])
    symbols = lambda name: ktns(*[r[name] for r in rows])
    nanos = [int((time_of(r) - np.datetime64("2000-01-01", "ns")).astype(int)) for r in rows]
    table = xt(xd(ktns(*NAMES), kk(
        column(TypeEnum.KP, nanos), symbols("sym"), symbols("eventType"), strings("trader"), symbols("side"),
        strings("orderID"), column(TypeEnum.KF, [float(r["price"]) for r in rows]),
        column(TypeEnum.KJ, [int(r["quantity"]) for r in rows]))))
    await writer.async_msg(kk(ks("upd"), ks("order"), table))
    seen = {"order": 0, "orderAlerts": 0}
    while seen != {"order": len(rows), "orderAlerts": 1}:
        kind, message = await asyncio.wait_for(reader.read(), 30)
        name, data = message.kK()[1].aS(), message.kK()[2]
        assert kind == Mt.ASYNC and message.kK()[0].aS() == "upd"
        seen[name] += len(data)
    try:
        await writer.sync_req(cv("value \"2+2\""))
        raise AssertionError("it was run")
    except KException as error:
        assert "nyi" in str(error), error
    writer.close()
    print("ok")


def main():
    command, *rest = sys.argv[1:]
    if command == "aiokdb":
        return asyncio.run(with_aiokdb(*rest))
    commands = {"publish": publish, "queries": queries, "refusals": refusals, "login": login, "subscribe": subscribe, "many": many}
    commands[command](*rest)


main()
