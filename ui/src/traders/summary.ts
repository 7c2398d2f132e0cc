// Owns the summary of alerts by trader, across detectors. Suppressed alerts are counted apart.
import type { Alert } from "../api/types";
import { compareValues } from "../grid/table";

export interface TraderRow {
  readonly trader: string;
  /** Alerts that are not suppressed; the other figures are theirs too. */
  readonly alerts: number;
  /** That of the gravest alert. */
  readonly severity: number;
  /** Alerts by detector, most first. */
  readonly detectors: readonly (readonly [name: string, alerts: number])[];
  readonly syms: readonly string[];
  readonly hits: number;
  readonly first_time: string;
  readonly time: string;
  readonly suppressed: number;
}

const earlier = (a: string, b: string): boolean => compareValues("time", a, b) < 0;

function summary(trader: string, all: readonly Alert[]): TraderRow {
  const open = all.filter((alert) => alert.suppressed === undefined);
  // Of a trader whose alerts are all suppressed, the times are theirs.
  const timed = open.length > 0 ? open : all;
  const detectors = new Map<string, number>();
  for (const { detector } of open) detectors.set(detector, (detectors.get(detector) ?? 0) + 1);
  const byCount = [...detectors].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return {
    trader,
    alerts: open.length,
    severity: open.reduce((gravest, alert) => Math.max(gravest, alert.severity), 0),
    detectors: byCount,
    syms: [...new Set(open.map((alert) => alert.sym))].sort(),
    hits: open.reduce((sum, alert) => sum + alert.hits, 0),
    first_time: timed.map((alert) => alert.first_time).reduce((a, b) => (earlier(b, a) ? b : a)),
    time: timed.map((alert) => alert.time).reduce((a, b) => (earlier(a, b) ? b : a)),
    suppressed: all.length - open.length,
  };
}

/** One row for each trader. */
export function byTrader(alerts: readonly Alert[]): TraderRow[] {
  const traders = new Map<string, Alert[]>();
  for (const alert of alerts) {
    const list = traders.get(alert.trader);
    if (list === undefined) traders.set(alert.trader, [alert]);
    else list.push(alert);
  }
  return [...traders].map(([trader, list]) => summary(trader, list));
}
