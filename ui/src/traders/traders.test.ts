// Checks the summary by trader, and the words for a severity.
import { expect, it } from "vitest";
import type { Alert } from "../api/types";
import { gradeOf } from "../severity/Severity";
import { byTrader } from "./summary";

const alert = (trader: string, detector: string, severity: number, second: number, more: Partial<Alert> = {}): Alert => ({
  alert_id: `${trader}-${detector}-${second}`,
  detector,
  detector_version: 1,
  config_version: "c",
  sym: "ABC",
  trader,
  side: "S",
  first_time: `2024-01-05T08:00:0${second}.000000000Z`,
  time: `2024-01-05T08:00:0${second + 1}.000000000Z`,
  hits: 2,
  seq: second,
  order_id: "O",
  event_type: "cancelled",
  price: "1",
  quantity: "1",
  measures: [],
  lookback_ns: 1,
  evidence: [],
  evidence_total: 0,
  text: "",
  severity,
  ...more,
});

it("a trader's alerts are counted by detector, with the gravest and the latest", () => {
  const rows = byTrader([
    alert("T1", "layering", 40, 3),
    alert("T2", "spoofing", 90, 1),
    alert("T1", "spoofing", 75, 1, { sym: "XYZ" }),
    alert("T1", "spoofing", 30, 5),
  ]);
  expect(rows.map((row) => row.trader)).toEqual(["T1", "T2"]);
  expect(rows[0]).toEqual({
    trader: "T1",
    alerts: 3,
    severity: 75,
    detectors: [["spoofing", 2], ["layering", 1]],
    syms: ["ABC", "XYZ"],
    hits: 6,
    first_time: "2024-01-05T08:00:01.000000000Z",
    time: "2024-01-05T08:00:06.000000000Z",
    suppressed: 0,
  });
});

it("what is suppressed counts apart and does not make a trader grave", () => {
  const expected = { suppressed: "quoting obligation" };
  const [mixed] = byTrader([alert("T", "layering", 95, 7, expected), alert("T", "spoofing", 30, 2)]);
  expect(mixed).toMatchObject({ alerts: 1, severity: 30, suppressed: 1, time: "2024-01-05T08:00:03.000000000Z" });
  const [quiet] = byTrader([alert("T", "layering", 95, 7, expected)]);
  expect(quiet).toMatchObject({ alerts: 0, severity: 0, detectors: [], suppressed: 1, time: "2024-01-05T08:00:08.000000000Z" });
});

it("the grades are the server's", () => {
  expect([0, 39, 40, 59, 60, 79, 80, 100].map(gradeOf)).toEqual([
    "low", "low", "medium", "medium", "high", "high", "critical", "critical",
  ]);
});
