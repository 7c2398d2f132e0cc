// Owns the grid: sorts, filters, groups, pages, hides and exports whatever rows it is given.
import { useTable } from "@tanstack/react-table";
import { useEffect, useMemo, type ReactNode } from "react";
import { download, toCsv } from "./csv";
import { parseFilter } from "./filter";
import { GridBody } from "./GridBody";
import { GridHead } from "./GridHead";
import { GroupBar } from "./GroupBar";
import { Menu } from "./Menu";
import { Pager } from "./Pager";
import { columnDef, features, leafRows } from "./table";
import type { GridColumn, InitialSort } from "./types";

export interface GridProps<T extends object> {
  /** The name in test ids and in the exported file's name. */
  readonly id: string;
  readonly title: string;
  readonly columns: readonly GridColumn<T>[];
  readonly rows: readonly T[];
  readonly rowKey: (row: T, index: number) => string;
  readonly sort?: readonly InitialSort[];
  /** Shown in place of rows when there are none at all. */
  readonly empty: ReactNode;
  /** What the footer says about rows that the page does not hold. */
  readonly note?: string | undefined;
  /** Further controls at the end of the toolbar. */
  readonly tools?: ReactNode;
  readonly rowTestId?: string;
  readonly rowClass?: (row: T) => string;
  readonly selected?: string | undefined;
  readonly onOpen?: (row: T) => void;
}

export function Grid<T extends object>(props: GridProps<T>) {
  const { id, title, columns, rows, rowKey } = props;
  const byId = useMemo(() => new Map(columns.map((column) => [column.id, column])), [columns]);
  const defs = useMemo(() => columns.map((column) => columnDef(column)), [columns]);
  const initialState = useMemo(
    () => ({
      sorting: (props.sort ?? []).map((entry) => ({ ...entry })),
      pagination: { pageIndex: 0, pageSize: 25 },
      columnVisibility: Object.fromEntries(
        columns.filter((column) => column.hidden === true).map((column) => [column.id, false]),
      ),
    }),
    // The initial state is read once.
    [],
  );
  const table = useTable({
    features,
    columns: defs,
    data: rows as T[],
    getRowId: rowKey,
    initialState,
    groupedColumnMode: "reorder",
    // Live rows must not throw the reader back to the first page or close the groups.
    autoResetPageIndex: false,
    autoResetExpanded: false,
    isMultiSortEvent: (event: unknown) => event instanceof MouseEvent && event.shiftKey,
  });

  const { pageIndex } = table.state.pagination;
  const lastPage = Math.max(0, table.getPageCount() - 1);
  useEffect(() => {
    if (pageIndex > lastPage) table.setPageIndex(lastPage);
  }, [pageIndex, lastPage, table]);

  const wrong = table.state.columnFilters.flatMap(({ id: columnId, value }) => {
    const column = byId.get(columnId);
    if (column === undefined) return [];
    const filter = parseFilter(column.kind, String(value));
    return filter.ok ? [] : [`${column.label}: ${filter.message}`];
  });

  const exportCsv = () => {
    const visible = table
      .getVisibleLeafColumns()
      .flatMap((column) => byId.get(column.id) ?? []);
    download(`${id}.csv`, toCsv(visible, leafRows(table.getSortedRowModel().rows)));
  };

  const filtered = table.state.columnFilters.length > 0;
  const none = table.getRowModel().rows.length === 0;
  return (
    <section className="panel" aria-label={title} data-testid={`${id}-grid`}>
      <header className="toolbar">
        <h2>{title}</h2>
        <GroupBar gridId={id} table={table} byId={byId} />
        <span className="tools">
          {filtered && (
            <button
              type="button"
              onClick={() => {
                table.resetColumnFilters(true);
                table.setPageIndex(0);
              }}
            >
              Clear filters
            </button>
          )}
          <Menu label="Columns to show" className="" face="Columns">
            {() =>
              table.getAllLeafColumns().map((column) => (
                <label key={column.id}>
                  <input
                    type="checkbox"
                    checked={column.getIsVisible()}
                    onChange={(event) => column.toggleVisibility(event.target.checked)}
                  />
                  {byId.get(column.id)?.label ?? column.id}
                </label>
              ))
            }
          </Menu>
          <button
            type="button"
            data-testid={`${id}-export`}
            disabled={rows.length === 0}
            title="Download the filtered and sorted rows of all pages"
            onClick={exportCsv}
          >
            Export CSV
          </button>
          {props.tools}
        </span>
      </header>
      {wrong.length > 0 && (
        <p className="filter-error" role="alert" data-testid={`${id}-filter-error`}>
          {wrong.join(" · ")}
        </p>
      )}
      <div className="scroll" tabIndex={-1}>
        <table>
          <GridHead gridId={id} table={table} byId={byId} />
          <GridBody
            table={table}
            byId={byId}
            rowTestId={props.rowTestId}
            rowClass={props.rowClass}
            selected={props.selected}
            onOpen={props.onOpen}
          />
        </table>
        {none && (
          <div className="empty">
            {rows.length === 0 ? props.empty : "No row passes the filters."}
          </div>
        )}
      </div>
      <Pager gridId={id} table={table} note={props.note} />
    </section>
  );
}
