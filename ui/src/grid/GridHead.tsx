// Owns a grid's header: the row of names (sort by click or key, drag to group, a menu per column)
// and the row of filter boxes.
import type { Column } from "@tanstack/react-table";
import { parseFilter } from "./filter";
import { Menu } from "./Menu";
import type { Features, GridTable } from "./table";
import type { GridColumn } from "./types";

/** The drag-and-drop type of one grid's columns: columns cannot be dropped on another grid. */
export function dragType(gridId: string): string {
  return `application/x-tapewatch-${gridId.toLowerCase()}`;
}

interface HeadProps<T extends object> {
  readonly gridId: string;
  readonly table: GridTable<T>;
  readonly byId: ReadonlyMap<string, GridColumn<T>>;
}

const PLACEHOLDER = { number: ">100", text: "contains", time: "contains" } as const;
const HELP = {
  number: ">100, >=100, <5, <=5, =3, !=3, or 10..20 with both ends",
  text: "Text that the value contains, in any case",
  time: "A part of the time, such as 2015-04-17 12:00",
} as const;

export function GridHead<T extends object>({ gridId, table, byId }: HeadProps<T>) {
  const columns = table.getVisibleLeafColumns();
  const multi = table.state.sorting.length > 1;
  return (
    <thead>
      <tr>
        {columns.map((column) => (
          <HeadCell
            key={column.id}
            gridId={gridId}
            table={table}
            column={column}
            ours={byId.get(column.id)}
            multi={multi}
          />
        ))}
      </tr>
      <tr className="filters">
        {columns.map((column) => {
          const ours = byId.get(column.id);
          if (ours === undefined) return null;
          const typed = String(column.getFilterValue() ?? "");
          const filter = parseFilter(ours.kind, typed);
          return (
            <th key={column.id} scope="col">
              <input
                type="text"
                data-testid={`filter-${gridId}-${column.id}`}
                aria-label={`Filter ${ours.label}`}
                aria-invalid={!filter.ok}
                title={filter.ok ? HELP[ours.kind] : filter.message}
                placeholder={ours.example ?? PLACEHOLDER[ours.kind]}
                size={1}
                spellCheck={false}
                autoComplete="off"
                value={typed}
                onChange={(event) => {
                  column.setFilterValue(event.target.value);
                  table.setPageIndex(0);
                }}
              />
            </th>
          );
        })}
      </tr>
    </thead>
  );
}

interface CellProps<T extends object> {
  readonly gridId: string;
  readonly table: GridTable<T>;
  readonly column: Column<Features, T>;
  readonly ours: GridColumn<T> | undefined;
  readonly multi: boolean;
}

function HeadCell<T extends object>({ gridId, table, column, ours, multi }: CellProps<T>) {
  if (ours === undefined) return null;
  const sorted = column.getIsSorted();
  const sort = (several: boolean) => {
    column.toggleSorting(undefined, several);
    table.setPageIndex(0);
  };
  const aria = sorted === "asc" ? "ascending" : sorted === "desc" ? "descending" : "none";
  return (
    <th
      scope="col"
      className={ours.kind === "number" ? "num" : undefined}
      data-testid={`header-${gridId}-${column.id}`}
      aria-sort={aria}
      draggable
      onDragStart={(event) => {
        event.dataTransfer.setData(dragType(gridId), column.id);
        event.dataTransfer.effectAllowed = "move";
      }}
    >
      <div className="head">
        {/* Not a <button>: some browsers do not start a drag from one. */}
        <span
          role="button"
          tabIndex={0}
          className="sort"
          title={`Sort by ${ours.label} (Shift: as a further key). Drag to the bar above to group.`}
          onClick={(event) => sort(event.shiftKey)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" && event.key !== " ") return;
            event.preventDefault();
            sort(event.shiftKey);
          }}
        >
          {ours.label}
          <span className="arrow" aria-hidden="true">
            {sorted === "asc" ? "↑" : sorted === "desc" ? "↓" : ""}
            {sorted !== false && multi ? <sup>{column.getSortIndex() + 1}</sup> : null}
          </span>
        </span>
        <Menu label={`${ours.label}: sort, group, hide`} className="dots" face="⋮">
          {(close) => {
            const item = (words: string, act: () => void) => (
              <button
                type="button"
                onClick={() => {
                  act();
                  close();
                }}
              >
                {words}
              </button>
            );
            return (
              <>
                {item("Sort ascending", () => column.toggleSorting(false, false))}
                {item("Sort descending", () => column.toggleSorting(true, false))}
                {sorted !== false && item("Do not sort", () => column.clearSorting())}
                {item(column.getIsGrouped() ? "Do not group" : "Group by this column", () => {
                  column.toggleGrouping();
                  table.setPageIndex(0);
                })}
                {item("Hide column", () => column.toggleVisibility(false))}
              </>
            );
          }}
        </Menu>
      </div>
    </th>
  );
}
