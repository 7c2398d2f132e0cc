// Owns the header: name, tabs, connection state, UTC clock, and the line of counts.
import { useEffect, useState } from "react";
import type { Peer } from "../api/types";
import { useLive } from "../live/LiveData";
import { awayOf } from "./away";
import { PushControl } from "./PushControl";

export const TABS = [
  { id: "live", label: "Live" },
  { id: "traders", label: "Traders" },
  { id: "sql", label: "SQL" },
  { id: "dead-letters", label: "Dead letters" },
] as const;

export type TabId = (typeof TABS)[number]["id"];

interface HeaderProps {
  readonly tab: TabId;
  readonly onTab: (tab: TabId) => void;
}

export function Header({ tab, onTab }: HeaderProps) {
  const select = (step: number) => {
    const now = TABS.findIndex((entry) => entry.id === tab);
    const next = TABS[(now + step + TABS.length) % TABS.length];
    if (next === undefined) return;
    onTab(next.id);
    document.getElementById(`tab-${next.id}`)?.focus();
  };
  return (
    <header className="top">
      <div className="line first">
        <h1>
          <Mark />
          Tapewatch
        </h1>
        <div
          className="tabs"
          role="tablist"
          aria-label="Views"
          onKeyDown={(event) => {
            if (event.key === "ArrowRight") select(1);
            else if (event.key === "ArrowLeft") select(-1);
          }}
        >
          {TABS.map(({ id, label }) => (
            <button
              key={id}
              type="button"
              role="tab"
              id={`tab-${id}`}
              aria-controls={`panel-${id}`}
              aria-selected={tab === id}
              tabIndex={tab === id ? 0 : -1}
              data-testid={`tab-${id}`}
              onClick={() => onTab(id)}
            >
              {label}
            </button>
          ))}
        </div>
        <span className="right">
          <Connection />
          <Clock />
        </span>
      </div>
      <div className="line second">
        <Counts />
        <PushControl />
      </div>
    </header>
  );
}

function Mark() {
  return (
    <svg className="mark" viewBox="0 0 24 24" aria-hidden="true">
      <rect width="24" height="24" rx="5" />
      <path d="M4 15.5h3.2l2-3.5 2.6 5 3-10.5 2 9h3.2" />
    </svg>
  );
}

function Connection() {
  const stream = useLive((state) => state.stream);
  const error = useLive((state) => state.statusError);
  const version = useLive((state) => state.status?.version);
  // A silent socket is not a live one: the server has to answer as well.
  const state = stream === "live" && error !== null ? "reconnecting" : stream;
  return (
    <span
      className={`connection ${state}`}
      role="status"
      title={error ?? (version === undefined ? "" : `Server version ${version}`)}
      data-testid="connection"
    >
      <span className="dot" aria-hidden="true" />
      {state === "live" ? "live" : state === "connecting" ? "connecting…" : "reconnecting…"}
    </span>
  );
}

function Clock() {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const text = new Date(now).toISOString();
  return (
    <time className="clock" title={text.slice(0, 10)}>
      {text.slice(11, 19)} <span className="dim">UTC</span>
    </time>
  );
}

function Counts() {
  const status = useLive((state) => state.status);
  const count = (name: string, value: number | undefined, tone: string) => (
    <div className={`figure ${value !== undefined && value > 0 ? tone : ""}`}>
      <dt>{name}</dt>
      <dd>{value === undefined ? "–" : value.toLocaleString("en")}</dd>
    </div>
  );
  return (
    <dl className="counts" data-testid="counts">
      {count("Orders", status?.orders, "")}
      {count("Hits", status?.hits, "")}
      {count("Alerts", status?.alerts, "bad")}
      {count("Dead letters", status?.dead_letters, "warn")}
      {count("Late rows", status?.late_rows, "warn")}
      <Away peers={status?.peers ?? []} />
    </dl>
  );
}

/** The processes that the server waits for; nothing while there is none. */
function Away({ peers }: { readonly peers: readonly Peer[] }) {
  const away = awayOf(peers);
  if (away === undefined) return null;
  return (
    <div className="figure bad" title={away.why} data-testid="away">
      <dt>Away</dt>
      <dd>{away.roles}</dd>
    </div>
  );
}
