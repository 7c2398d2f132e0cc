// Owns the Dead letters tab: the rows that could not be used, why, and where they stood.
import { useEffect, useState } from "react";
import { runSql } from "../api/client";
import type { SqlRow } from "../api/types";
import { Grid } from "../grid/Grid";
import type { ColumnKind, GridColumn } from "../grid/types";
import { useLive } from "../live/LiveData";
import { cellText } from "../sql/result";

const LIMIT = 1000;
const QUERY = `SELECT * FROM dead_letters ORDER BY seq DESC LIMIT ${LIMIT}`;

const column = (id: string, kind: ColumnKind): GridColumn<SqlRow> => ({
  id,
  label: id,
  kind,
  value: (row) => cellText(row[id]),
  ...(id === "raw" ? { render: (value: string) => <span className="mono raw">{value}</span> } : {}),
});

const columns = [
  column("seq", "number"),
  column("source", "text"),
  column("line", "number"),
  column("column", "text"),
  column("reason", "text"),
  column("raw", "text"),
];
const newest = [{ id: "seq", desc: true }];

export function DeadLettersTab({ active }: { readonly active: boolean }) {
  const total = useLive((state) => state.status?.dead_letters);
  const [rows, setRows] = useState<readonly SqlRow[]>([]);
  const [error, setError] = useState<string | null>(null);
  const [turn, setTurn] = useState(0);

  // Read again whenever the tab is opened and whenever the count changes while it is open.
  useEffect(() => {
    if (!active) return;
    const abort = new AbortController();
    runSql(QUERY, abort.signal).then(
      (answer) => {
        setRows(answer);
        setError(null);
      },
      (cause: unknown) => {
        if (!abort.signal.aborted) setError(cause instanceof Error ? cause.message : String(cause));
      },
    );
    return () => abort.abort();
  }, [active, total, turn]);

  return (
    <div className="single">
      <Grid
        id="dead_letters"
        title="Dead letters"
        columns={columns}
        rows={rows}
        rowKey={(row, index) => cellText(row["seq"]) ?? String(index)}
        sort={newest}
        rowTestId="dead-letter-row"
        note={
          rows.length >= LIMIT && total !== undefined && total > rows.length
            ? `latest ${LIMIT.toLocaleString("en")} of ${total.toLocaleString("en")}; use SQL for the rest`
            : undefined
        }
        tools={
          <button type="button" onClick={() => setTurn(turn + 1)}>
            Refresh
          </button>
        }
        empty={
          error === null ? (
            <>
              <strong>No dead letters.</strong> A row that cannot be used is kept here with its
              reason and its place in the source; the rest of its file goes on.
            </>
          ) : (
            <span role="alert">The dead letters could not be read: {error}</span>
          )
        }
      />
    </div>
  );
}
