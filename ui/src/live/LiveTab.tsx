// Owns the Live tab: alerts above orders, and the evidence of the alert that is open beside them.
import { useEffect, useMemo, useRef, useState } from "react";
import { detailsTold } from "../api/client";
import type { Details } from "../api/types";
import { EvidencePanel } from "../evidence/EvidencePanel";
import { Grid } from "../grid/Grid";
import { ROW_LIMIT } from "./buffers";
import { alertColumns, measureNames, orderColumns } from "./columns";
import { useLive } from "./LiveData";

const newestOrders = [{ id: "seq", desc: true }];
const newestAlerts = [
  { id: "time", desc: true },
  { id: "seq", desc: true },
];

/** The footer's words when the server has more rows than the page keeps. */
function limitNote(held: number, total: number | undefined): string | undefined {
  if (held < ROW_LIMIT) return undefined;
  const of = total === undefined || total < held ? "" : ` of ${total.toLocaleString("en")}`;
  return `latest ${held.toLocaleString("en")}${of}; use SQL for the rest`;
}

interface LiveProps {
  /** Whose alerts alone are shown; all when null. */
  readonly trader: string | null;
  readonly onTrader: (trader: string | null) => void;
}

export function LiveTab({ trader, onTrader }: LiveProps) {
  const orders = useLive((state) => state.orders);
  const allAlerts = useLive((state) => state.alerts);
  const newAlerts = useLive((state) => state.newAlerts);
  const orderTotal = useLive((state) => state.status?.orders);
  const alertTotal = useLive((state) => state.status?.alerts);
  const [withSuppressed, setWithSuppressed] = useState(false);
  const [openId, setOpenId] = useState<string | null>(null);
  const opener = useRef<Element | null>(null);

  const ofTrader = useMemo(
    () => (trader === null ? allAlerts : allAlerts.filter((alert) => alert.trader === trader)),
    [allAlerts, trader],
  );
  const unexpected = useMemo(
    () => ofTrader.filter((alert) => alert.suppressed === undefined),
    [ofTrader],
  );
  const suppressed = ofTrader.length - unexpected.length;
  const alerts = withSuppressed ? ofTrader : unexpected;
  const names = measureNames(alerts)?.join("\n") ?? null;
  const columns = useMemo(
    () => alertColumns(names === null ? null : names.split("\n").filter((name) => name !== "")),
    [names],
  );
  const told = detailsTold(orders).join("\n");
  const ofOrders = useMemo(
    () => orderColumns(told === "" ? [] : (told.split("\n") as (keyof Details)[])),
    [told],
  );
  const open = openId === null ? undefined : allAlerts.find((alert) => alert.alert_id === openId);

  const close = () => {
    setOpenId(null);
    if (opener.current instanceof HTMLElement) opener.current.focus();
  };

  useEffect(() => {
    if (open === undefined) return;
    const escape = (event: KeyboardEvent) => {
      if (event.key === "Escape") close();
    };
    document.addEventListener("keydown", escape);
    return () => document.removeEventListener("keydown", escape);
  });

  return (
    <div className={`live-view${open === undefined ? "" : " with-evidence"}`}>
      <div className="grids">
        <Grid
          id="alerts"
          title="Alerts"
          columns={columns}
          rows={alerts}
          rowKey={(row) => row.alert_id}
          sort={newestAlerts}
          rowTestId="alert-row"
          rowClass={(row) =>
            `${newAlerts.has(row.alert_id) ? "fresh" : ""} ${row.suppressed === undefined ? "" : "expected"}`
          }
          selected={openId ?? ""}
          onOpen={(row) => {
            opener.current = document.activeElement;
            setOpenId(row.alert_id);
          }}
          note={limitNote(allAlerts.length, alertTotal)}
          tools={
            <>
              {suppressed > 0 && (
                <button
                  type="button"
                  aria-pressed={withSuppressed}
                  data-testid="suppressed"
                  title="Alerts that a suppression in force says are expected"
                  onClick={() => setWithSuppressed(!withSuppressed)}
                >
                  {withSuppressed ? "Hide" : "Show"} {suppressed.toLocaleString("en")} suppressed
                </button>
              )}
              {trader !== null && (
                <span className="chip only" data-testid="only-trader">
                  {trader === "" ? "(no trader)" : trader} only
                  <button type="button" aria-label="Alerts of all traders" onClick={() => onTrader(null)}>
                    ×
                  </button>
                </span>
              )}
            </>
          }
          empty={
            suppressed > 0 || trader !== null ? (
              <>
                <strong>No alerts to show.</strong>
                {suppressed > 0 && ` ${suppressed} suppressed: the button above shows them.`}
              </>
            ) : (
              <>
                <strong>No alerts.</strong> An alert appears here the moment a detector’s condition
                holds. Press <b>Push data</b> to feed ten demo orders that raise one.
              </>
            )
          }
        />
        <Grid
          id="orders"
          title="Orders"
          columns={ofOrders}
          rows={orders}
          rowKey={(row) => String(row.seq)}
          sort={newestOrders}
          rowTestId="order-row"
          note={limitNote(orders.length, orderTotal)}
          empty={
            <>
              <strong>No orders yet.</strong> Press <b>Push data</b> to feed ten demo orders, or
              feed a file with <code>tapewatch feed csv FILE</code>.
            </>
          }
        />
      </div>
      {open !== undefined && <EvidencePanel key={open.alert_id} alert={open} onClose={close} />}
    </div>
  );
}
