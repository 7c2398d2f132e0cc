// Owns the line below a grid: which rows are shown, page size, paging, and what is not shown.
import type { GridTable } from "./table";

export const PAGE_SIZES = [10, 25, 100, 500] as const;

interface PagerProps<T extends object> {
  readonly gridId: string;
  readonly table: GridTable<T>;
  readonly note: string | undefined;
}

export function Pager<T extends object>({ gridId, table, note }: PagerProps<T>) {
  const { pageIndex, pageSize } = table.state.pagination;
  const lines = table.getRowCount();
  const shown = table.getRowModel().rows.length;
  const kept = table.getFilteredRowModel().rows.length;
  const all = table.getCoreRowModel().rows.length;
  const grouped = table.state.grouping.length > 0;
  const from = pageIndex * pageSize + 1;
  const to = pageIndex * pageSize + shown;
  const number = (value: number) => value.toLocaleString("en");
  const kind = grouped ? "lines" : "rows";
  const words = [
    shown === 0 ? `no ${kind}` : `${kind} ${number(from)}–${number(to)} of ${number(lines)}`,
  ];
  if (grouped) words.push(`${number(kept)} rows in groups`);
  if (kept < all) words.push(`filtered from ${number(all)}`);
  const step = (label: string, face: string, enabled: boolean, act: () => void, name: string) => (
    <button
      type="button"
      className="icon"
      aria-label={label}
      title={label}
      disabled={!enabled}
      data-testid={`${gridId}-page-${name}`}
      onClick={act}
    >
      {face}
    </button>
  );
  return (
    <footer className="pager">
      <span className="range" data-testid={`${gridId}-range`} aria-live="off">
        {words.join(" · ")}
      </span>
      {note !== undefined && <span className="note">{note}</span>}
      <span className="steps">
        <label>
          <span className="wide">rows a page </span>
          <select
            aria-label="Rows a page"
            data-testid={`${gridId}-page-size`}
            value={pageSize}
            onChange={(event) => {
              table.setPageSize(Number(event.target.value));
              table.setPageIndex(0);
            }}
          >
            {PAGE_SIZES.map((size) => (
              <option key={size} value={size}>
                {size}
              </option>
            ))}
          </select>
        </label>
        {step("First page", "«", table.getCanPreviousPage(), () => table.firstPage(), "first")}
        {step("Previous page", "‹", table.getCanPreviousPage(), () => table.previousPage(), "prev")}
        {step("Next page", "›", table.getCanNextPage(), () => table.nextPage(), "next")}
        {step("Last page", "»", table.getCanNextPage(), () => table.lastPage(), "last")}
      </span>
    </footer>
  );
}
