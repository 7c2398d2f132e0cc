// Owns the columns of the orders grid and the alerts grid.
import { Severity } from "../severity/Severity";
import type { Alert, Details, Order } from "../api/types";
import type { GridColumn } from "../grid/types";

/** A measure's or column's machine name in words: `cancel_quantity` as `cancel quantity`. */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

/** An event type with a mark in its colour. */
export function EventType({ value }: { readonly value: string }) {
  return <span className={`event event-${value}`}>{value}</span>;
}

const eventType = (value: string) => <EventType value={value} />;

const alwaysTold: readonly GridColumn<Order>[] = [
  { id: "seq", label: "seq", kind: "number", value: (row) => String(row.seq) },
  { id: "time", label: "time (UTC)", kind: "time", value: (row) => row.time },
  { id: "sym", label: "sym", kind: "text", value: (row) => row.sym },
  { id: "event_type", label: "event type", kind: "text", value: (row) => row.event_type, render: eventType },
  { id: "trader", label: "trader", kind: "text", value: (row) => row.trader },
  { id: "side", label: "side", kind: "text", value: (row) => row.side },
  { id: "order_id", label: "order id", kind: "text", value: (row) => row.order_id },
  { id: "price", label: "price", kind: "number", value: (row) => row.price },
  { id: "quantity", label: "quantity", kind: "number", value: (row) => row.quantity, sum: true },
];

/** The columns of the orders grid with those that not every source fills. */
export function orderColumns(told: readonly (keyof Details)[]): readonly GridColumn<Order>[] {
  const columns = told.map((name): GridColumn<Order> => ({
    id: name,
    label: words(name),
    kind: name === "display_quantity" ? "number" : "text",
    value: (row) => row[name],
  }));
  return [...alwaysTold, ...columns];
}

const beforeMeasures: readonly GridColumn<Alert>[] = [
  {
    id: "severity",
    label: "severity",
    kind: "number",
    example: ">=60",
    value: (row) => String(row.severity),
    render: (_, row) => <Severity score={row.severity} suppressed={row.suppressed} />,
  },
  { id: "detector", label: "detector", kind: "text", value: (row) => row.detector },
  { id: "sym", label: "sym", kind: "text", value: (row) => row.sym },
  { id: "trader", label: "trader", kind: "text", value: (row) => row.trader },
  { id: "side", label: "side", kind: "text", value: (row) => row.side },
  { id: "time", label: "time (UTC)", kind: "time", value: (row) => row.time },
  { id: "hits", label: "hits", kind: "number", value: (row) => String(row.hits), sum: true },
];

const afterMeasures: readonly GridColumn<Alert>[] = [
  { id: "order_id", label: "order id", kind: "text", value: (row) => row.order_id },
  { id: "price", label: "price", kind: "number", value: (row) => row.price },
  { id: "quantity", label: "quantity", kind: "number", value: (row) => row.quantity, sum: true },
  { id: "first_time", label: "first time (UTC)", kind: "time", value: (row) => row.first_time },
  { id: "seq", label: "seq", kind: "number", value: (row) => String(row.seq) },
  { id: "alert_id", label: "alert id", kind: "text", value: (row) => row.alert_id },
  { id: "suppressed", label: "suppressed because", kind: "text", value: (row) => row.suppressed },
];

/** What happened, where the alerts have no measures in common. */
const sentence: GridColumn<Alert> = {
  id: "text",
  label: "what happened",
  kind: "text",
  value: (row) => row.text,
  render: (value) => (
    <span className="clipped" title={value}>
      {value}
    </span>
  ),
};

const fixedIds = new Set([...beforeMeasures, ...afterMeasures].map((column) => column.id));

/** The measures of these alerts, in the order they first come up; null when detectors differ. */
export function measureNames(alerts: readonly Alert[]): string[] | null {
  const names = new Set<string>();
  for (const alert of alerts) {
    if (alert.detector !== alerts[0]?.detector) return null;
    for (const measure of alert.measures) names.add(measure.name);
  }
  return [...names];
}

/** The columns of the alerts grid: one per measure of the one detector, else what happened. */
export function alertColumns(measures: readonly string[] | null): readonly GridColumn<Alert>[] {
  if (measures === null) return [...beforeMeasures, sentence, ...afterMeasures];
  const columns = measures.map((name): GridColumn<Alert> => ({
    id: fixedIds.has(name) ? `measure_${name}` : name,
    label: words(name),
    kind: "number",
    value: (row) => row.measures.find((measure) => measure.name === name)?.value,
    sum: true,
  }));
  return [...beforeMeasures, ...columns, ...afterMeasures];
}
