// Owns the Traders tab: one row a trader over all detectors, the gravest first; a click shows the
// trader's alerts.
import { useMemo } from "react";
import { Grid } from "../grid/Grid";
import type { GridColumn } from "../grid/types";
import { ROW_LIMIT } from "../live/buffers";
import { useLive } from "../live/LiveData";
import type { Alert } from "../api/types";
import { Severity } from "../severity/Severity";
import { byTrader, type TraderRow } from "./summary";

const columns: readonly GridColumn<TraderRow>[] = [
  {
    id: "severity",
    label: "severity",
    kind: "number",
    example: ">=60",
    value: (row) => (row.alerts === 0 ? undefined : String(row.severity)),
    render: (_, row) => <Severity score={row.severity} />,
  },
  { id: "trader", label: "trader", kind: "text", value: (row) => row.trader },
  { id: "alerts", label: "alerts", kind: "number", value: (row) => String(row.alerts), sum: true },
  {
    id: "detectors",
    label: "alerts by detector",
    kind: "text",
    value: (row) => row.detectors.map(([name, count]) => `${name} ${count}`).join(", "),
    render: (_, row) => (
      <span className="tallies">
        {row.detectors.map(([name, count]) => (
          <span key={name} className="tally">
            {name} <b>{count}</b>
          </span>
        ))}
      </span>
    ),
  },
  { id: "time", label: "last time (UTC)", kind: "time", value: (row) => row.time },
  { id: "syms", label: "sym", kind: "text", value: (row) => row.syms.join(" ") },
  { id: "suppressed", label: "suppressed", kind: "number", value: (row) => String(row.suppressed), sum: true },
  { id: "hits", label: "hits", kind: "number", value: (row) => String(row.hits), sum: true },
  { id: "first_time", label: "first time (UTC)", kind: "time", value: (row) => row.first_time },
];
const gravest = [
  { id: "severity", desc: true },
  { id: "alerts", desc: true },
  { id: "trader", desc: false },
];
const none: readonly Alert[] = [];

interface TradersProps {
  readonly active: boolean;
  readonly onTrader: (trader: string) => void;
}

export function TradersTab({ active, onTrader }: TradersProps) {
  // Not summed up while nobody looks: it would be, ten times a second.
  const alerts = useLive((state) => (active ? state.alerts : none));
  const rows = useMemo(() => byTrader(alerts), [alerts]);
  return (
    <div className="single">
      <Grid
        id="traders"
        title="Traders"
        columns={columns}
        rows={rows}
        rowKey={(row) => row.trader}
        sort={gravest}
        rowTestId="trader-row"
        onOpen={(row) => onTrader(row.trader)}
        note={
          alerts.length < ROW_LIMIT
            ? undefined
            : `of the latest ${ROW_LIMIT.toLocaleString("en")} alerts; the SQL view traders has all`
        }
        empty={
          <>
            <strong>No alerts yet.</strong> Every trader with an alert has a row here, the gravest
            first; click one to see the alerts.
          </>
        }
      />
    </div>
  );
}
