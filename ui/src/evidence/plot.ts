// Owns the arithmetic of the evidence plot: where the cancels stand in the window and what their
// rolling sum is. Sums and times are exact; only the final places on the screen are floats.
import type { Alert, Order } from "../api/types";
import { addDecimal, formatDecimal, parseDecimal, type Decimal } from "../exact/decimal";
import { timeToNanos } from "../exact/time";

/** One cancel: its place from 0 (start of the window) to 1 (the alert's time). */
export interface Stem {
  readonly order: Order;
  readonly at: number;
  readonly quantity: number;
  /** The exact sum over the lookback that ends with this order. */
  readonly sum: string;
}

export interface Plot {
  readonly stems: readonly Stem[];
  /** The rolling sum as steps: from `at` on it is `sum`. */
  readonly steps: ReadonlyArray<{ readonly at: number; readonly sum: number }>;
  readonly threshold: number | null;
  readonly top: number;
  /** The length of the window in nanoseconds. */
  readonly span: number;
}

const ZERO: Decimal = { units: 0n, scale: 0 };

/** The measure that is a sum of quantities, if the detector has one. */
function quantityThreshold(alert: Alert): string | null {
  return alert.measures.find((measure) => measure.name === "cancel_quantity")?.threshold ?? null;
}

/**
 * The plot of an alert's evidence. The window starts one lookback before the first hit; a quantity
 * counts for one lookback, both ends included, as the detector counts it.
 */
export function plotEvidence(alert: Alert, orders: readonly Order[]): Plot | null {
  const first = timeToNanos(alert.first_time);
  const last = timeToNanos(alert.time);
  if (first === null || last === null) return null;
  const lookback = BigInt(Math.max(1, Math.round(alert.lookback_ns)));
  const start = first - lookback;
  const span = Number(last - start);

  const events = orders.flatMap((order) => {
    const time = timeToNanos(order.time);
    const quantity = parseDecimal(order.quantity);
    return time === null || quantity === null ? [] : [{ order, time, quantity }];
  });
  if (events.length === 0) return null;
  events.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : a.order.seq - b.order.seq));

  const place = (time: bigint) => Math.min(1, Math.max(0, Number(time - start) / span));
  const stems: Stem[] = [];
  const steps: { at: number; sum: number }[] = [];
  let sum = ZERO;
  let oldest = 0;
  /** Lets the quantities go whose lookback is over before `time`. */
  const expire = (time: bigint) => {
    for (; oldest < events.length; oldest += 1) {
      const event = events[oldest];
      if (event === undefined || event.time + lookback >= time) return;
      sum = addDecimal(sum, { units: -event.quantity.units, scale: event.quantity.scale });
      steps.push({ at: place(event.time + lookback), sum: Number(formatDecimal(sum)) });
    }
  };
  for (const event of events) {
    expire(event.time);
    sum = addDecimal(sum, event.quantity);
    const text = formatDecimal(sum);
    const at = place(event.time);
    steps.push({ at, sum: Number(text) });
    stems.push({ order: event.order, at, quantity: Number(event.order.quantity), sum: text });
  }
  const limit = quantityThreshold(alert);
  const threshold = limit === null ? null : Number(limit);
  const top = Math.max(threshold ?? 0, ...steps.map((step) => step.sum), 1e-9) * 1.12;
  return { stems, steps, threshold, top, span };
}

/** Round tick values from 0 to at most `top`, about `count` of them. */
export function ticks(top: number, count: number): number[] {
  const raw = top / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10) * power;
  const out: number[] = [];
  for (let value = 0; value <= top; value += step) out.push(Number(value.toPrecision(12)));
  return out;
}
