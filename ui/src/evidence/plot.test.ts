// Checks the evidence plot's arithmetic.
import { expect, it } from "vitest";
import type { Alert, Order } from "../api/types";
import { plotEvidence, ticks } from "./plot";

const at = (second: number) => `2015-04-17T12:00:${String(second).padStart(2, "0")}.000000000Z`;
const cancel = (seq: number, second: number, quantity: string): Order => ({
  seq, time: at(second), sym: "SNDL", event_type: "cancelled", trader: "T", side: "S", order_id: `O${seq}`, price: "1", quantity,
});
const alert = (first: number, last: number): Alert => ({
  ...cancel(10, last, "1300"), alert_id: "a", detector: "spoofing", detector_version: 1, config_version: "c",
  first_time: at(first), hits: 1, measures: [{ name: "cancel_quantity", value: "4600", threshold: "4000" }],
  lookback_ns: 25e9, evidence: [], evidence_total: 4, text: "", severity: 30,
});

it("places the cancels of the demo and sums them", () => {
  const orders = [cancel(4, 5, "1000"), cancel(7, 10, "1200"), cancel(8, 11, "1100"), cancel(10, 20, "1300")];
  const plot = plotEvidence(alert(20, 20), orders);
  expect(plot?.stems.map((stem) => stem.sum)).toEqual(["1000", "2200", "3300", "4600"]);
  expect(plot?.stems.map((stem) => stem.at)).toEqual([0.4, 0.6, 0.64, 1]);
  expect(plot?.threshold).toBe(4000);
  expect(plot?.top).toBeGreaterThan(4600);
});

it("lets a quantity go when its lookback is over, not before", () => {
  const orders = [cancel(1, 0, "0.1"), cancel(2, 25, "0.2"), cancel(3, 26, "0.4")];
  expect(plotEvidence(alert(25, 26), orders)?.stems.map((stem) => stem.sum)).toEqual(["0.1", "0.3", "0.6"]);
});

it("has no plot without orders", () => {
  expect(plotEvidence(alert(20, 20), [])).toBeNull();
});

it("chooses round ticks", () => {
  expect(ticks(5152, 4)).toEqual([0, 2000, 4000]);
  expect(ticks(25e9, 5)).toEqual([0, 5e9, 10e9, 15e9, 20e9, 25e9]);
});
