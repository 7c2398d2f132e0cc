// Owns what a grid needs to know about its columns, whatever the rows are.
import type { ReactNode } from "react";

/** How a column sorts, filters, aligns and shows. */
export type ColumnKind = "text" | "number" | "time";

export interface GridColumn<T> {
  /** The machine name: CSV header and test ids. */
  readonly id: string;
  /** The words in the header. */
  readonly label: string;
  readonly kind: ColumnKind;
  /** The exact value as text; undefined when there is none. */
  readonly value: (row: T) => string | undefined;
  /** An example of a filter, where that of the kind would mislead. */
  readonly example?: string;
  /** Show the exact sum in group rows (numbers only). */
  readonly sum?: boolean;
  /** Not shown until it is switched on under Columns. */
  readonly hidden?: boolean;
  /** Another look for the cell than its text. */
  readonly render?: (value: string, row: T) => ReactNode;
}

/** One column of the initial sort. */
export interface InitialSort {
  readonly id: string;
  readonly desc: boolean;
}
