// Owns the CSV that the grids export: RFC 4180 (CRLF, quotes doubled), UTF-8 without a byte order
// mark, header = machine names of the visible columns, values exactly as the server sent them.
//
// A spreadsheet runs a cell that begins with = + - @ (or a tab or carriage return) as a formula,
// and order ids and traders are text that others chose. Such a cell gets a leading apostrophe,
// which a spreadsheet hides. Numbers are exempt: "-1.5" stays "-1.5".
import { parseDecimal } from "../exact/decimal";
import type { GridColumn } from "./types";

const FORMULA = /^[=+\-@\t\r]/;

/** One value, quoted where RFC 4180 asks for it and safe to open in a spreadsheet. */
export function csvCell(value: string | undefined): string {
  if (value === undefined) return "";
  const safe = FORMULA.test(value) && parseDecimal(value) === null ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** The whole file. */
export function toCsv<T>(columns: readonly GridColumn<T>[], rows: Iterable<T>): string {
  const lines = [columns.map((column) => csvCell(column.id)).join(",")];
  for (const row of rows) lines.push(columns.map((column) => csvCell(column.value(row))).join(","));
  return `${lines.join("\r\n")}\r\n`;
}

/** Hands the text to the browser as a download. */
export function download(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  // The browser reads the blob after the click returns.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
