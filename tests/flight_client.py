#!/usr/bin/env python3
"""An Arrow client of Tapewatch as users write it, for tests/flight.rs. Needs pyarrow.

  publish  URL PRODUCER ROWS BATCH     numbered batches, each again until it is answered
  follow   URL FROM_ROW ROWS           waits for that row's number, then all rows from there to the last
  refusals URL                         what must be refused, and that nothing of it is left
  tables   URL                         hits and alerts, by DoGet and DoExchange; schemas and the list
  stuck    URL                         subscribes and does not read on
"""
import json, os, sys, time
import pyarrow as pa, pyarrow.flight as flight

ORDERS = flight.FlightDescriptor.for_path("orders")
START = 1_704_441_600_000_000_000


def connect(url):
    options = {}
    if directory := os.environ.get("FLIGHT_TLS"):
        read = lambda name: open(os.path.join(directory, name), "rb").read()
        options = {"tls_root_certs": read("ours.pem"), "cert_chain": read("client.crt"), "private_key": read("client.key")}
    return flight.connect(url, **options)


def rows(first, count, **other):
    """Rows `first` to `first + count - 1` of an endless tape: the order id is the row's number."""
    numbers = range(first, first + count)
    columns = {
        "time": pa.array([START + n * 1_000_000 for n in numbers], pa.timestamp("ns", "UTC")),
        "sym": pa.array([f"SYM{n % 7}" for n in numbers]).dictionary_encode(),
        "eventType": pa.array(["filled" if n % 5 else "new" for n in numbers]),
        "trader": pa.array([f"T{n % 11}" for n in numbers]),
        "side": pa.array(["B" if n % 2 else "S" for n in numbers]),
        "orderID": pa.array([str(n) for n in numbers]),
        "price": pa.array([10_000 + n % 100 for n in numbers], pa.decimal128(12, 2)),
        "quantity": pa.array([100 + n % 9 for n in numbers], pa.int64()),
    }
    columns.update(other)
    return pa.record_batch(columns)


def again(what, tries=600):
    """Does it until the server is there."""
    for left in reversed(range(tries)):
        try:
            return what()
        except (flight.FlightUnavailableError, flight.FlightInternalError, flight.FlightServerError, pa.ArrowException) as error:
            if not left or isinstance(error, pa.ArrowInvalid):
                raise
            time.sleep(0.1)


def publish(url, producer, total, size):
    state = {"next": 1}

    def stream():
        with connect(url) as client:
            first = rows(0, 1)
            writer, answers = client.do_put(ORDERS, first.schema)
            try:
                while (state["next"] - 1) * size < total:
                    number = state["next"]
                    at = (number - 1) * size
                    stamp = json.dumps({"producer": producer, "batch": number}).encode()
                    writer.write_with_metadata(rows(at, min(size, total - at)), stamp)
                    answer = answers.read()
                    if answer is None:
                        raise flight.FlightUnavailableError("the stream ended")
                    print(json.dumps({"batch": number, **json.loads(answer.to_pybytes())}), flush=True)
                    state["next"] = number + 1
                    state["tries"] = 600
                writer.done_writing()
            finally:
                writer.close()

    again(stream)


def follow(url, first_row, total):
    """Every row from `first_row` to the last, in order and once, over as many connections as it takes."""
    def number_of():
        with connect(url) as client:
            ticket = flight.Ticket(json.dumps({"table": "orders"}).encode())
            for chunk in client.do_get(ticket):
                ids = chunk.data.column("order_id").to_pylist()
                if str(first_row) in ids:
                    return chunk.data.column("seq")[ids.index(str(first_row))].as_py()
        raise flight.FlightUnavailableError("not there yet")

    state = {"row": first_row, "seq": 0, "connections": 0, "next": again(number_of)}

    def stream():
        state["connections"] += 1
        with connect(url) as client:
            ticket = {"table": "orders", "from_seq": state["next"], "follow": True, "name": "follower"}
            reader = client.do_get(flight.Ticket(json.dumps(ticket).encode()))
            assert reader.schema.names[0] == "seq", reader.schema
            while state["row"] < total:
                chunk = reader.read_chunk()
                seqs = chunk.data.column("seq").to_pylist()
                ids = [int(i) for i in chunk.data.column("order_id").to_pylist()]
                expected = list(range(state["row"], state["row"] + len(ids)))
                assert ids == expected, f"expected from {expected[0]}, got {ids[:3]}"
                assert seqs[0] > state["seq"] and all(a < b for a, b in zip(seqs, seqs[1:]))
                state["row"] += len(ids)
                state["seq"] = seqs[-1]
                state["next"] = json.loads(chunk.app_metadata.to_pybytes())["next_seq"]
                assert state["next"] > seqs[-1]
            reader.cancel()

    def guarded():
        try:
            stream()
        except StopIteration:
            raise flight.FlightUnavailableError("the stream ended")

    again(guarded)
    print(json.dumps({"rows": state["row"] - first_row, "connections": state["connections"]}))


def refusals(url):
    client = connect(url)

    def refused(kind, words, batches, descriptor=ORDERS, stamps=None):
        try:
            writer, answers = client.do_put(descriptor, batches[0].schema)
            for number, batch in enumerate(batches):
                if stamps:
                    writer.write_with_metadata(batch, stamps[number])
                else:
                    writer.write_batch(batch)
            writer.done_writing()
            while answers.read() is not None:
                pass
            writer.close()
        except kind as error:
            assert all(word in str(error) for word in words), f"{words}: {error}"
            return
        raise AssertionError(f"{words} was not refused")

    def replaced(name, array):
        batch = rows(0, 10)
        at = batch.schema.names.index(name)
        return pa.record_batch([*batch.columns[:at], array, *batch.columns[at + 1:]], names=batch.schema.names)

    invalid = (pa.ArrowInvalid,)
    good = rows(0, 10)
    not_utf8 = pa.StringArray.from_buffers(
        10, pa.py_buffer(b"".join(i.to_bytes(4, "little") for i in [*range(10), 11])), pa.py_buffer(b"abcde\xfffghij"))
    refused(invalid, ["has no column price", "nothing was taken"], [good.drop_columns(["price"])])
    refused(invalid, ["column price is of type Boolean"], [replaced("price", pa.array([True] * 10))])
    refused(invalid, ["batch 1: row 7: column trader: is null", "nothing was taken"],
            [replaced("trader", pa.array(["x"] * 7 + [None] * 3))])
    refused(invalid, ["row 5: column orderID: is not UTF-8"], [replaced("orderID", not_utf8)])
    refused(invalid, ["dictionary", "is not UTF-8"],
            [replaced("sym", pa.DictionaryArray.from_arrays(pa.array(range(10), pa.int32()), not_utf8))])
    refused(invalid, ["row 9: column price: has more than 9 decimals"],
            [replaced("price", pa.array(["1.5"] * 9 + ["1.0000000001"]))])
    refused(invalid, ["row 0: column quantity"], [replaced("quantity", pa.array([-1] * 10))])
    refused(invalid, ["row 3: column event_type", "born"],
            [replaced("eventType", pa.array(["new"] * 3 + ["born"] * 7))])
    refused(invalid, ["batch 1: has 65537 rows"], [rows(0, 65_537)])
    refused((pa.ArrowKeyError, flight.FlightServerError, pa.ArrowException), ["orderz", "orders"], [good],
            flight.FlightDescriptor.for_path("orderz"))
    refused(invalid, ["metadata", "producer"], [good], stamps=[b"x"])
    count = lambda: sum(c.data.num_rows for c in client.do_get(flight.Ticket(b'{"table":"orders"}')))
    assert count() == 0, "nothing of what was refused is left"
    refused(invalid, ["batch 2: row 0", "the 1 before it were"], [good, replaced("trader", pa.array([None] * 10, pa.string()))])
    assert count() == 10, "what came before is taken"

    def stamped(count):
        writer, answers = client.do_put(ORDERS, good.schema)
        writer.write_with_metadata(rows(0, count), json.dumps({"producer": "twice", "batch": 1}).encode())
        answer = json.loads(answers.read().to_pybytes())
        writer.done_writing()
        writer.close()
        return answer

    first = stamped(10)
    assert (first["orders"], first["duplicate"]) == (10, False), first
    assert stamped(4) == {**first, "duplicate": True}, "what was taken the first time"

    def no_ticket(words, ticket, *kinds):
        try:
            client.do_get(flight.Ticket(ticket)).read_all()
        except kinds as error:
            assert all(word in str(error) for word in words), f"{words}: {error}"
            return
        raise AssertionError(f"{ticket} was not refused")

    no_ticket(['there is no table "trades"', "orders, alerts, hits"], b'{"table":"trades"}', pa.ArrowKeyError)
    for words, ticket in [
        ("ticket: is no JSON object; write it as", b'{"table'),
        ("ticket: is no JSON object; write it as", b'["orders"]'),
        ("ticket: has no table; write it as", b'{"follow":true}'),
        ('ticket: has the key "tables", which is not known', b'{"table":"orders","tables":1}'),
        ("ticket: syms is 7: a list of instruments is wanted", b'{"table":"orders","syms":7}'),
        ('ticket: follow is "yes": true or false is wanted', b'{"table":"orders","follow":"yes"}'),
    ]:
        no_ticket([words], ticket, pa.ArrowInvalid)
    no_ticket(["ticket", "from_seq"], b'{"table":"orders","from_seq":"then"}', pa.ArrowInvalid)
    no_ticket(["99", "not there yet", "the last is"], b'{"table":"orders","from_seq":99}', pa.ArrowException)
    ticket = json.dumps({"table": "orders", "syms": ["SYM1", "SYM3", "it's"]}).encode()
    some = client.do_get(flight.Ticket(ticket)).read_all()
    assert some.column("sym").to_pylist() == ["SYM1", "SYM3", "SYM1"] * 2, some
    print("ok")


def tables(url):
    """With the reference's orders inside."""
    client = connect(url)
    assert [info.descriptor.path for info in client.list_flights()] == [[b"orders"], [b"alerts"], [b"hits"]]
    for name in ["orders", "alerts", "hits"]:
        descriptor = flight.FlightDescriptor.for_path(name)
        schema = client.get_schema(descriptor).schema
        info = client.get_flight_info(descriptor)
        got = client.do_get(info.endpoints[0].ticket).read_all()
        assert got.schema == schema == info.schema, name
        command = flight.FlightDescriptor.for_command(json.dumps({"table": name}).encode())
        writer, reader = client.do_exchange(command)
        assert reader.read_all() == got, name
        writer.close()
        none = client.do_get(flight.Ticket(json.dumps({"table": name, "from_seq": "now"}).encode())).read_all()
        assert none.num_rows == 0 and none.schema == schema, name
        print(name, got.num_rows)


def stuck(url):
    client = connect(url)
    ticket = flight.Ticket(b'{"table":"orders","follow":true,"name":"stuck"}')
    reader = client.do_get(ticket)
    reader.schema
    print("open", flush=True)
    time.sleep(600)


def main():
    command, url, *rest = sys.argv[1:]
    numbers = [int(word) if word.isdigit() else word for word in rest]
    {"publish": publish, "follow": follow, "refusals": refusals, "tables": tables, "stuck": stuck}[command](url, *numbers)


main()
