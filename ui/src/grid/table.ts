// Owns the bridge to TanStack Table: the features that are switched on, and how a column of ours
// becomes one of theirs (exact comparison, filter expressions, exact sums).
import {
  columnFilteringFeature,
  columnGroupingFeature,
  columnVisibilityFeature,
  createExpandedRowModel,
  createFilteredRowModel,
  createGroupedRowModel,
  createPaginatedRowModel,
  createSortedRowModel,
  rowAggregationFeature,
  rowExpandingFeature,
  rowPaginationFeature,
  rowSortingFeature,
  tableFeatures,
  type ColumnDef,
  type ReactTable,
  type Row,
} from "@tanstack/react-table";
import { compareDecimal, sumDecimals } from "../exact/decimal";
import { timeToNanos } from "../exact/time";
import { parseFilter } from "./filter";
import type { ColumnKind, GridColumn } from "./types";

export const features = tableFeatures({
  columnFilteringFeature,
  filteredRowModel: createFilteredRowModel(),
  columnGroupingFeature,
  groupedRowModel: createGroupedRowModel(),
  rowAggregationFeature,
  rowSortingFeature,
  sortedRowModel: createSortedRowModel(),
  rowExpandingFeature,
  expandedRowModel: createExpandedRowModel(),
  rowPaginationFeature,
  paginatedRowModel: createPaginatedRowModel(),
  columnVisibilityFeature,
});

export type Features = typeof features;
export type GridTable<T extends object> = ReactTable<Features, T>;
export type GridRow<T extends object> = Row<Features, T>;
type Value = string | undefined;

const collator = new Intl.Collator("en", { numeric: true });

/** Ascending comparison of two values of a column. */
export function compareValues(kind: ColumnKind, a: string, b: string): number {
  if (kind === "number") return compareDecimal(a, b);
  if (kind === "time") {
    // Times of one width sort as text; others by their nanoseconds.
    const [x, y] = a.length === b.length ? [a, b] : [timeToNanos(a) ?? 0n, timeToNanos(b) ?? 0n];
    return x < y ? -1 : x > y ? 1 : 0;
  }
  return collator.compare(a, b);
}

/** Our column as a TanStack column. */
export function columnDef<T extends object>(column: GridColumn<T>): ColumnDef<Features, T> {
  const filterFn = Object.assign(
    (row: GridRow<T>, id: string, filter: ReturnType<typeof parseFilter>): boolean =>
      // A filter that is wrong hides nothing; the grid says what is wrong with it.
      filter.ok ? filter.test(row.getValue<Value>(id)) : true,
    { resolveFilterValue: (typed: unknown) => parseFilter(column.kind, String(typed)) },
  );
  return {
    id: column.id,
    header: column.label,
    accessorFn: (row) => column.value(row),
    sortUndefined: "last",
    sortDescFirst: false,
    sortFn: (a, b, id) =>
      compareValues(column.kind, a.getValue<Value>(id) ?? "", b.getValue<Value>(id) ?? ""),
    filterFn,
    aggregationFn: {
      aggregate: ({ rows, columnId }) => {
        if (column.sum !== true) return undefined;
        const sum = sumDecimals(rows.map((row) => row.getValue<Value>(columnId)));
        return sum === "" ? undefined : sum;
      },
    },
  };
}

/** The data rows below these rows, in their order: groups are opened up. */
export function leafRows<T extends object>(rows: readonly GridRow<T>[]): T[] {
  return rows.flatMap((row) =>
    row.subRows.length > 0 ? leafRows<T>(row.subRows) : [row.original],
  );
}

/** How many data rows a group holds. */
export function leafCount<T extends object>(row: GridRow<T>): number {
  let count = 0;
  for (const sub of row.subRows) count += sub.subRows.length > 0 ? leafCount(sub) : 1;
  return count;
}
