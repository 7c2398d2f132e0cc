// Checks what the page keeps of the stream: upserts, order, bounds; and what it says and shows.
import { describe, expect, it } from "vitest";
import type { Alert, Feed, Order } from "../api/types";
import { feedToShow } from "../shell/PushControl";
import { AlertBuffer, OrderBuffer } from "./buffers";
import { detailsTold } from "../api/client";
import { alertColumns, measureNames, orderColumns } from "./columns";
import { announce } from "./LiveData";

const order = (seq: number, quantity = "1"): Order => ({
  seq,
  time: "2015-04-17T12:00:00.000000000Z",
  sym: "SNDL",
  event_type: "new",
  trader: "T",
  side: "S",
  order_id: `O${seq}`,
  price: "1.25",
  quantity,
});
const alert = (alert_id: string, seq: number, hits = 1): Alert => ({
  ...order(seq),
  alert_id,
  detector: "spoofing",
  detector_version: 1,
  config_version: "c",
  first_time: "2015-04-17T12:00:00.000000000Z",
  hits,
  measures: [{ name: "cancel_quantity", value: "4600", threshold: "4000" }],
  lookback_ns: 25e9,
  evidence: [],
  evidence_total: 0,
  text: `text of ${alert_id}`,
  severity: 40,
});
const seqs = (buffer: OrderBuffer) => buffer.snapshot().map((row) => row.seq);

describe("orders", () => {
  it("keeps each sequence number once, in order, the later row winning", () => {
    const buffer = new OrderBuffer();
    buffer.upsert([order(1), order(2), order(5)]);
    buffer.upsert([order(2, "9"), order(3), order(1), order(6)]);
    expect(seqs(buffer)).toEqual([1, 2, 3, 5, 6]);
    expect(buffer.snapshot()[1]?.quantity).toBe("9");
    expect(buffer.lastSeq).toBe(6);
  });

  it("shows the latest rows up to its limit and does not grow without end", () => {
    const buffer = new OrderBuffer(10);
    for (let seq = 1; seq <= 5000; seq += 1) buffer.upsert([order(seq)]);
    expect(seqs(buffer)).toEqual([4991, 4992, 4993, 4994, 4995, 4996, 4997, 4998, 4999, 5000]);
    expect(buffer.size).toBeLessThanOrEqual(111);
  });
});

it("a column that not every source fills is there when a row fills it", () => {
  const rows = [order(1), { ...order(2), flags: "ioc aggressor" }, { ...order(3), display_quantity: "5" }];
  const ids = (some: readonly Order[]) => orderColumns(detailsTold(some)).map((column) => column.id).slice(9);
  expect(ids(rows.slice(0, 1))).toEqual([]);
  expect(ids(rows)).toEqual(["display_quantity", "flags"]);
  const flags = orderColumns(detailsTold(rows)).at(-1);
  expect(rows.map((row) => flags?.value(row))).toEqual([undefined, "ioc aggressor", undefined]);
});

describe("alerts", () => {
  it("replaces an alert of the same id and names only new ones", () => {
    const buffer = new AlertBuffer();
    expect(buffer.upsert([alert("a", 10)]).map((row) => row.alert_id)).toEqual(["a"]);
    expect(buffer.upsert([alert("a", 11, 2), alert("b", 12), alert("b", 13, 2)])).toEqual([alert("b", 13, 2)]);
    expect(buffer.snapshot().map((row) => [row.alert_id, row.hits])).toEqual([["a", 2], ["b", 2]]);
    expect(buffer.lastSeq).toBe(13);
  });

  it("drops the oldest beyond its limit", () => {
    const buffer = new AlertBuffer(2);
    buffer.upsert([alert("a", 1), alert("b", 2), alert("c", 3)]);
    expect(buffer.snapshot().map((row) => row.alert_id)).toEqual(["b", "c"]);
  });

  it("are announced, many at once by their number", () => {
    expect(announce([])).toBe("");
    expect(announce([alert("a", 1)])).toBe("New alert: text of a");
    expect(announce([1, 2, 3, 4].map((seq) => alert(`${seq}`, seq)))).toBe("4 new alerts.");
  });

  it("of several detectors say what happened in one column, whatever they measure", () => {
    const rows = [alert("a", 1), { ...alert("b", 2), detector: "layering" }];
    expect(measureNames(rows)).toBeNull();
    const ids = alertColumns(null).map((column) => column.id);
    expect(ids).toContain("text");
    expect(ids).not.toContain("cancel_quantity");
  });

  it("of one detector get a column per measure", () => {
    const rows = [alert("a", 1), { ...alert("b", 2), measures: [{ name: "price", value: "7", threshold: "5" }] }];
    const columns = alertColumns(measureNames(rows));
    const find = (id: string) => columns.find((column) => column.id === id);
    expect(find("cancel_quantity")?.value(rows[0] as Alert)).toBe("4600");
    expect(find("cancel_quantity")?.value(rows[1] as Alert)).toBeUndefined();
    expect(find("measure_price")?.value(rows[1] as Alert)).toBe("7");
    expect(find("price")?.value(rows[1] as Alert)).toBe("1.25");
  });
});

it("the feed that runs is shown before the one started here", () => {
  const feed = (id: string, state: Feed["state"]): Feed => ({ id, state, source: "demo", rows_total: 10, rows_sent: 1, error: null });
  expect(feedToShow([feed("1", "done"), feed("2", "running")], "1")?.id).toBe("2");
  expect(feedToShow([feed("1", "done"), feed("2", "failed")], "1")?.id).toBe("1");
  expect(feedToShow([feed("1", "done")], null)).toBeUndefined();
});
