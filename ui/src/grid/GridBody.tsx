// Owns a grid's rows: data rows (a click or Enter opens one where there is something to open) and
// group rows with their count and exact sums.
import type { KeyboardEvent, ReactNode } from "react";
import { Time } from "./Time";
import { leafCount, type GridRow, type GridTable } from "./table";
import type { GridColumn } from "./types";

interface BodyProps<T extends object> {
  readonly table: GridTable<T>;
  readonly byId: ReadonlyMap<string, GridColumn<T>>;
  readonly rowTestId: string | undefined;
  readonly rowClass: ((row: T) => string) | undefined;
  readonly selected: string | undefined;
  readonly onOpen: ((row: T) => void) | undefined;
}

/** The look of one value. */
export function cellContent<T>(column: GridColumn<T>, value: string | undefined, row: T): ReactNode {
  if (value === undefined) return null;
  if (column.render !== undefined) return column.render(value, row);
  return column.kind === "time" ? <Time value={value} /> : value;
}

function moveFocus(event: KeyboardEvent<HTMLTableRowElement>): void {
  const row = event.currentTarget;
  const next =
    event.key === "ArrowDown"
      ? row.nextElementSibling
      : event.key === "ArrowUp"
        ? row.previousElementSibling
        : null;
  if (next instanceof HTMLElement) {
    event.preventDefault();
    next.focus();
  }
}

export function GridBody<T extends object>(props: BodyProps<T>) {
  const { table, byId, rowTestId, rowClass, selected, onOpen } = props;
  const { grouping } = table.state;
  const ids = table.getVisibleLeafColumns().map((column) => column.id);
  return (
    <tbody>
      {table.getRowModel().rows.map((row, index) => {
        if (row.getIsGrouped()) {
          return <GroupRow key={row.id} row={row} ids={ids} byId={byId} first={index === 0} />;
        }
        const classes = [rowClass?.(row.original) ?? "", onOpen === undefined ? "" : "opens"];
        const open = onOpen === undefined ? {} : {
          tabIndex: index === 0 ? 0 : -1,
          onClick: () => {
            // Selecting text in a row is not a click on it.
            if (window.getSelection()?.isCollapsed !== false) onOpen(row.original);
          },
          onKeyDown: (event: KeyboardEvent<HTMLTableRowElement>) => {
            if (event.key === "Enter") onOpen(row.original);
            else moveFocus(event);
          },
        };
        return (
          <tr
            key={row.id}
            data-testid={rowTestId}
            data-key={row.id}
            className={classes.join(" ").trim() || undefined}
            aria-selected={selected === undefined ? undefined : selected === row.id}
            {...open}
          >
            {ids.map((id) => {
              const column = byId.get(id);
              if (column === undefined) return null;
              return (
                <td
                  key={id}
                  data-column={id}
                  className={column.kind === "number" ? "num" : undefined}
                >
                  {/* The group row above says it already. */}
                  {!grouping.includes(id) &&
                    cellContent(column, column.value(row.original), row.original)}
                </td>
              );
            })}
          </tr>
        );
      })}
    </tbody>
  );
}

interface GroupRowProps<T extends object> {
  readonly row: GridRow<T>;
  readonly ids: readonly string[];
  readonly byId: ReadonlyMap<string, GridColumn<T>>;
  readonly first: boolean;
}

function GroupRow<T extends object>({ row, ids, byId, first }: GroupRowProps<T>) {
  const expanded = row.getIsExpanded();
  const grouped = row.groupingColumnId ?? "";
  // A hidden grouping column still has to show its group: the first cell does it.
  const shownAt = ids.includes(grouped) ? grouped : ids[0];
  const groupColumn = byId.get(grouped);
  const value = groupColumn?.value(row.original);
  return (
    <tr
      className="group"
      data-testid="group-row"
      tabIndex={first ? 0 : -1}
      aria-expanded={expanded}
      onClick={() => row.toggleExpanded()}
      onKeyDown={(event) => {
        if (event.target !== event.currentTarget) return;
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          row.toggleExpanded();
        } else if (event.key === "ArrowRight") row.toggleExpanded(true);
        else if (event.key === "ArrowLeft") row.toggleExpanded(false);
        else moveFocus(event);
      }}
    >
      {ids.map((id) => {
        const column = byId.get(id);
        if (column === undefined) return null;
        if (id === shownAt) {
          return (
            <td key={id} data-column={id} style={{ paddingInlineStart: `${10 + row.depth * 18}px` }}>
              <span className="twist" aria-hidden="true">
                {expanded ? "▾" : "▸"}
              </span>
              {groupColumn === undefined || value === undefined
                ? "(none)"
                : cellContent(groupColumn, value, row.original)}{" "}
              <span className="count">({leafCount(row)})</span>
            </td>
          );
        }
        const sum = column.sum === true ? row.getValue<string | undefined>(id) : undefined;
        return (
          <td
            key={id}
            data-column={id}
            className={column.kind === "number" ? "num" : undefined}
            title={sum === undefined ? undefined : `Sum of ${column.label} in this group`}
          >
            {sum === undefined ? null : (
              <>
                <span className="sigma">Σ </span>
                {sum}
              </>
            )}
          </td>
        );
      })}
    </tr>
  );
}
