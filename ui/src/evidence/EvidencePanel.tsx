// Owns the evidence panel: what an alert says, measures beside thresholds, where it comes from and
// the orders it rests on. A side panel on a desk, a full-screen sheet on a phone.
import { Fragment, useEffect, useRef, useState } from "react";
import { detailsTold, EVIDENCE_CAP, ordersBySeq } from "../api/client";
import type { Alert, Measure, Order } from "../api/types";
import { formatDuration, timeParts } from "../exact/time";
import { Time } from "../grid/Time";
import { EventType, words } from "../live/columns";
import { Severity } from "../severity/Severity";
import { Timeline } from "./Timeline";

interface EvidenceProps {
  readonly alert: Alert;
  readonly onClose: () => void;
}

type Loaded =
  | { readonly state: "loading" }
  | { readonly state: "failed"; readonly message: string }
  | { readonly state: "done"; readonly orders: readonly Order[] };

/** The evidence orders of an alert; fetched again when the alert grows. */
function useEvidence(alert: Alert, attempt: number): Loaded {
  const [loaded, setLoaded] = useState<Loaded>({ state: "loading" });
  const wanted = alert.evidence.join(",");
  useEffect(() => {
    const abort = new AbortController();
    const seqs = wanted === "" ? [] : wanted.split(",").map(Number);
    ordersBySeq(seqs, abort.signal).then(
      (orders) => setLoaded({ state: "done", orders }),
      (error: unknown) => {
        if (abort.signal.aborted) return;
        setLoaded({ state: "failed", message: error instanceof Error ? error.message : String(error) });
      },
    );
    return () => abort.abort();
  }, [wanted, attempt]);
  return loaded;
}

export function EvidencePanel({ alert, onClose }: EvidenceProps) {
  const [attempt, setAttempt] = useState(0);
  const loaded = useEvidence(alert, attempt);
  const panel = useRef<HTMLElement>(null);
  useEffect(() => panel.current?.focus({ preventScroll: true }), []);
  const shown = Math.min(alert.evidence.length, EVIDENCE_CAP);
  return (
    <aside
      ref={panel}
      className="evidence"
      role="dialog"
      aria-label="Evidence of the alert"
      tabIndex={-1}
      data-testid="evidence-panel"
    >
      <header>
        <div>
          <h2>
            Evidence <Severity score={alert.severity} suppressed={alert.suppressed} />
          </h2>
          <p className="who">
            {alert.detector} · {alert.sym} · {alert.trader}
            {alert.side === "" ? "" : ` · ${alert.side}`}
          </p>
        </div>
        <button type="button" className="icon" aria-label="Close the evidence" title="Close (Esc)" onClick={onClose}>
          ✕
        </button>
      </header>
      <div className="evidence-body">
        <p className="sentence">{alert.text}</p>
        {alert.suppressed !== undefined && (
          <p className="quiet reason">Suppressed as expected: {alert.suppressed}</p>
        )}
        <h3>Measures</h3>
        <div className="measures">
          {alert.measures.map((measure) => (
            <MeasureBar key={measure.name} measure={measure} />
          ))}
        </div>
        <h3>Last {formatDuration(alert.lookback_ns)}</h3>
        {loaded.state === "done" && <Timeline alert={alert} orders={loaded.orders} />}
        <h3>
          Evidence orders{" "}
          <span className="count">
            {shown < alert.evidence_total
              ? `the first ${shown} of ${alert.evidence_total}`
              : alert.evidence_total}
          </span>
        </h3>
        {loaded.state === "loading" && <p className="quiet">Fetching the orders…</p>}
        {loaded.state === "failed" && (
          <p className="quiet" role="alert">
            The orders could not be fetched: {loaded.message}{" "}
            <button type="button" onClick={() => setAttempt(attempt + 1)}>
              Try again
            </button>
          </p>
        )}
        {loaded.state === "done" && <EvidenceOrders orders={loaded.orders} />}
        <h3>Where it comes from</h3>
        <Facts alert={alert} />
      </div>
    </aside>
  );
}

function MeasureBar({ measure }: { readonly measure: Measure }) {
  // Only the picture goes through floats; the numbers are shown as they came.
  const value = Number(measure.value);
  const threshold = Number(measure.threshold);
  // A little room at the end, so that the bar shows where the value stops.
  const top = Math.max(value, threshold, 1e-9) * 1.15;
  const percent = (part: number) => `${Math.max(0, Math.min(100, (part / top) * 100))}%`;
  return (
    <div className="measure" data-testid="measure">
      <span className="name">{words(measure.name)}</span>
      <span className="numbers">
        <b>{measure.value}</b>{" "}
        {threshold !== 0 && <span className="quiet">threshold {measure.threshold}</span>}
      </span>
      {/* A measure without a threshold is only told. */}
      {threshold !== 0 && (
        <div className="bar" aria-hidden="true">
          <div className={value > threshold ? "fill over" : "fill"} style={{ width: percent(value) }} />
          <div className="mark" style={{ left: percent(threshold) }} />
        </div>
      )}
    </div>
  );
}

function EvidenceOrders({ orders }: { readonly orders: readonly Order[] }) {
  // Orders of one day, as nearly always: the day goes into the header and the table fits.
  const days = new Set(orders.map((order) => timeParts(order.time)?.date));
  const [day] = days.size === 1 ? days : [];
  const told = detailsTold(orders);
  return (
    <div className="scroll evidence-orders" tabIndex={0} role="region" aria-label="Evidence orders">
      <table>
        <thead>
          <tr>
            <th scope="col" className="num">seq</th>
            <th scope="col">{day === undefined ? "time (UTC)" : `${day} (UTC)`}</th>
            <th scope="col">event type</th>
            <th scope="col">side</th>
            <th scope="col">order id</th>
            <th scope="col" className="num">price</th>
            <th scope="col" className="num">quantity</th>
            {told.map((name) => (
              <th key={name} scope="col">{words(name)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {orders.map((order) => (
            <tr key={order.seq} data-testid="evidence-row">
              <td className="num">{order.seq}</td>
              <td><Time value={order.time} short={day !== undefined} /></td>
              <td><EventType value={order.event_type} /></td>
              <td>{order.side}</td>
              <td>{order.order_id}</td>
              <td className="num">{order.price}</td>
              <td className="num">{order.quantity}</td>
              {told.map((name) => (
                <td key={name}>{order[name]}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Facts({ alert }: { readonly alert: Alert }) {
  return (
    <dl className="facts">
      <dt>Detector</dt>
      <dd>
        {alert.detector}, version {alert.detector_version}
      </dd>
      <dt>Lookback</dt>
      <dd>{formatDuration(alert.lookback_ns)}</dd>
      <dt>Hits</dt>
      <dd>{alert.hits}</dd>
      <dt>First hit</dt>
      <dd><Time value={alert.first_time} /></dd>
      <dt>Last hit</dt>
      <dd><Time value={alert.time} /></dd>
      <dt>Last order</dt>
      <dd>
        {alert.order_id} {alert.event_type}, {alert.quantity} at {alert.price}, seq {alert.seq}
      </dd>
      {detailsTold([alert]).map((name) => (
        <Fragment key={name}>
          <dt>{words(name)}</dt>
          <dd>{alert[name]}</dd>
        </Fragment>
      ))}
      <dt>Configuration</dt>
      <dd className="mono">{alert.config_version}</dd>
      <dt>Alert id</dt>
      <dd className="mono">{alert.alert_id}</dd>
    </dl>
  );
}
