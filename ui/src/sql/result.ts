// Owns what a query's answer means to a grid: its columns, their kinds, and the place of an error.
import type { SqlRow } from "../api/types";
import { parseDecimal } from "../exact/decimal";
import { isTime } from "../exact/time";
import type { ColumnKind, GridColumn } from "../grid/types";

/** One value of an answer as text; undefined for null. */
export function cellText(value: unknown): string | undefined {
  if (value === null || value === undefined) return undefined;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

// Ids like 007 are not numbers, whatever they look like.
const LEADING_ZERO = /^[+-]?0\d/;

/** Numbers and times when every value is one, text otherwise. */
export function kindOf(values: Iterable<string | undefined>): ColumnKind {
  let kind: ColumnKind | null = null;
  for (const value of values) {
    if (value === undefined) continue;
    const one: ColumnKind = isTime(value)
      ? "time"
      : parseDecimal(value) !== null && !LEADING_ZERO.test(value)
        ? "number"
        : "text";
    if (one === "text" || (kind !== null && kind !== one)) return "text";
    kind = one;
  }
  return kind ?? "text";
}

// Sums of these say nothing.
const NO_SUM = /(^|_)(seq|price|line|column|version|id|threshold)$/i;

/** The columns of an answer, in the order of its first row. */
export function resultColumns(rows: readonly SqlRow[]): GridColumn<SqlRow>[] {
  const names = new Set<string>();
  for (const row of rows) for (const name of Object.keys(row)) names.add(name);
  return [...names].map((name) => {
    const kind = kindOf(rows.map((row) => cellText(row[name])));
    const sum = kind === "number" && !NO_SUM.test(name);
    return { id: name, label: name, kind, sum, value: (row) => cellText(row[name]) };
  });
}

export interface Place {
  readonly line: number;
  readonly column: number;
}

/** The place that an error message names, counted from 1; null when it names none. */
export function errorPlace(message: string): Place | null {
  const match = /line:?\s*(\d+)\s*,?\s*col(?:umn)?:?\s*(\d+)/i.exec(message);
  if (match === null) return null;
  const place = { line: Number(match[1]), column: Number(match[2]) };
  return place.line > 0 && place.column > 0 ? place : null;
}

/** The line of the query that an error points at, with a caret below the place. */
export function pointAt(query: string, place: Place): string | null {
  const line = query.split("\n")[place.line - 1];
  if (line === undefined) return null;
  const column = Math.min(place.column, line.length + 1);
  return `${line}\n${line.slice(0, column - 1).replace(/[^\t]/g, " ")}^`;
}

/** The offset of a place in the query, for putting the cursor there. */
export function offsetOf(query: string, place: Place): number {
  const before = query.split("\n").slice(0, place.line - 1);
  const start = before.reduce((sum, line) => sum + line.length + 1, 0);
  return Math.min(query.length, start + place.column - 1);
}
