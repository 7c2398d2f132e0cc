// Owns the bar above a grid that column headers are dropped on, and the chips of its groups.
import { useState } from "react";
import { dragType } from "./GridHead";
import type { GridTable } from "./table";
import type { GridColumn } from "./types";

interface GroupBarProps<T extends object> {
  readonly gridId: string;
  readonly table: GridTable<T>;
  readonly byId: ReadonlyMap<string, GridColumn<T>>;
}

export function GroupBar<T extends object>({ gridId, table, byId }: GroupBarProps<T>) {
  const [over, setOver] = useState(false);
  const type = dragType(gridId);
  const grouping = table.state.grouping;
  return (
    <div
      className={`group-bar${over ? " over" : ""}`}
      data-testid={`${gridId}-group-bar`}
      role="group"
      aria-label="Grouped by"
      onDragOver={(event) => {
        if (!event.dataTransfer.types.includes(type)) return;
        event.preventDefault();
        event.dataTransfer.dropEffect = "move";
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        setOver(false);
        const id = event.dataTransfer.getData(type);
        if (!byId.has(id)) return;
        event.preventDefault();
        if (!grouping.includes(id)) table.setGrouping([...grouping, id]);
        table.setPageIndex(0);
      }}
    >
      {grouping.length === 0 ? (
        <span className="hint">Drag a column here to group, or use its ⋮ menu</span>
      ) : (
        <>
          <span className="hint">Grouped by</span>
          {grouping.map((id) => {
            const label = byId.get(id)?.label ?? id;
            return (
              <span key={id} className="chip">
                {label}
                <button
                  type="button"
                  aria-label={`Do not group by ${label}`}
                  onClick={() => table.setGrouping(grouping.filter((other) => other !== id))}
                >
                  ×
                </button>
              </span>
            );
          })}
          <button
            type="button"
            className="link"
            onClick={() => table.toggleAllRowsExpanded(!table.getIsAllRowsExpanded())}
          >
            {table.getIsAllRowsExpanded() ? "Close all" : "Open all"}
          </button>
        </>
      )}
    </div>
  );
}
