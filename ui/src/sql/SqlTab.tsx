// Owns the SQL tab: a query, its answer in a grid, or its error with the place it points at.
import { useMemo, useRef, useState } from "react";
import { runSql } from "../api/client";
import type { SqlRow } from "../api/types";
import { Grid } from "../grid/Grid";
import { ROW_LIMIT } from "../live/buffers";
import { errorPlace, offsetOf, pointAt, resultColumns } from "./result";

type Outcome =
  | { readonly state: "none" }
  | { readonly state: "running" }
  | { readonly state: "failed"; readonly query: string; readonly message: string }
  | { readonly state: "done"; readonly run: number; readonly rows: readonly SqlRow[]; readonly millis: number };

const EXAMPLES: ReadonlyArray<readonly [string, string]> = [
  ["Latest orders", "SELECT * FROM orders ORDER BY seq DESC LIMIT 100"],
  [
    "Cancels per trader",
    "SELECT trader, sym, side, count(*) AS cancels, sum(quantity) AS quantity\n" +
      "FROM orders\nWHERE event_type = 'cancelled'\nGROUP BY trader, sym, side\nORDER BY cancels DESC",
  ],
  ["Spoofing hits", 'SELECT * FROM "orderAlerts"'],
];

export function SqlTab() {
  const [query, setQuery] = useState("");
  const [outcome, setOutcome] = useState<Outcome>({ state: "none" });
  const running = useRef<AbortController | null>(null);
  const runs = useRef(0);
  const box = useRef<HTMLTextAreaElement>(null);

  const run = async () => {
    if (query.trim() === "") return;
    running.current?.abort();
    const abort = new AbortController();
    running.current = abort;
    setOutcome({ state: "running" });
    const began = performance.now();
    try {
      const rows = await runSql(query, abort.signal);
      runs.current += 1;
      const millis = Math.round(performance.now() - began);
      setOutcome({ state: "done", run: runs.current, rows, millis });
    } catch (error) {
      if (abort.signal.aborted) {
        if (running.current === abort) setOutcome({ state: "none" });
        return;
      }
      const message = error instanceof Error ? error.message : String(error);
      setOutcome({ state: "failed", query, message });
      const place = errorPlace(message);
      if (place === null) return;
      const at = offsetOf(query, place);
      box.current?.focus();
      box.current?.setSelectionRange(at, at);
    }
  };

  return (
    <div className="sql">
      <section className="panel query" aria-label="Query">
        <textarea
          ref={box}
          data-testid="sql-input"
          aria-label="SQL query"
          placeholder="SELECT … FROM orders"
          rows={5}
          spellCheck={false}
          autoCapitalize="off"
          autoComplete="off"
          value={query}
          onChange={(event) => setQuery(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
              event.preventDefault();
              void run();
            }
          }}
        />
        <div className="query-bar">
          {outcome.state === "running" ? (
            <button type="button" onClick={() => running.current?.abort()}>
              Stop
            </button>
          ) : (
            <button
              type="button"
              className="primary"
              data-testid="sql-run"
              disabled={query.trim() === ""}
              onClick={() => void run()}
            >
              Run
            </button>
          )}
          <kbd>Ctrl+Enter</kbd>
          <span className="examples">
            <span className="quiet">Try:</span>
            {EXAMPLES.map(([name, text]) => (
              <button key={name} type="button" className="link" onClick={() => setQuery(text)}>
                {name}
              </button>
            ))}
          </span>
          <span className="quiet outcome" aria-live="polite">
            {outcome.state === "running" && "Running…"}
            {outcome.state === "done" &&
              `${outcome.rows.length.toLocaleString("en")} row${outcome.rows.length === 1 ? "" : "s"} · ${outcome.millis} ms`}
          </span>
        </div>
        {outcome.state === "failed" && <SqlError query={outcome.query} message={outcome.message} />}
      </section>
      {outcome.state === "done" ? (
        <SqlResult key={outcome.run} rows={outcome.rows} />
      ) : (
        <section className="panel" aria-label="Result">
          <div className="empty">
            <strong>No result.</strong> Write a query over <code>orders</code>, <code>alerts</code>{" "}
            or <code>dead_letters</code> and press <b>Run</b>; today’s rows and past days are one
            table.
          </div>
        </section>
      )}
    </div>
  );
}

function SqlError({ query, message }: { readonly query: string; readonly message: string }) {
  const place = errorPlace(message);
  const excerpt = place === null ? null : pointAt(query, place);
  return (
    <div className="sql-error" role="alert" data-testid="sql-error">
      <p>{message}</p>
      {excerpt !== null && <pre>{excerpt}</pre>}
    </div>
  );
}

function SqlResult({ rows }: { readonly rows: readonly SqlRow[] }) {
  const kept = useMemo(() => rows.slice(0, ROW_LIMIT), [rows]);
  const columns = useMemo(() => resultColumns(kept), [kept]);
  return (
    <Grid
      id="sql"
      title="Result"
      columns={columns}
      rows={kept}
      rowKey={(_row, index) => String(index)}
      rowTestId="sql-row"
      note={
        kept.length < rows.length
          ? `first ${kept.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}; add a LIMIT or WHERE`
          : undefined
      }
      empty="The query ran and has no rows."
    />
  );
}
