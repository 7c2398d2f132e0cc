// Owns the filter expressions: text contains, and comparisons and ranges for numbers, all exact.
import { compareDecimal, parseDecimal } from "../exact/decimal";
import { formatTime } from "../exact/time";
import type { ColumnKind } from "./types";

/** A filter that can be applied, or the message that says what is wrong with it. */
export type Filter =
  | { readonly ok: true; readonly test: (value: string | undefined) => boolean }
  | { readonly ok: false; readonly message: string };

const COMPARISON = /^(>=|<=|!=|<>|>|<|=)?\s*(\S+)$/;
const RANGE = /^(\S*?)\s*\.\.\s*(\S*)$/;
const HELP = "use >100, >=100, <5, <=5, =3, !=3 or 10..20";

function everything(): boolean {
  return true;
}

function parseNumberFilter(text: string): Filter {
  const wrong = (why: string): Filter => ({ ok: false, message: `“${text}” ${why}` });
  const range = RANGE.exec(text);
  if (range !== null) {
    const [, low = "", high = ""] = range;
    if (low === "" && high === "") return wrong(`has no number: ${HELP}`);
    for (const end of [low, high]) {
      if (end !== "" && parseDecimal(end) === null) return wrong(`has “${end}”, not a number: ${HELP}`);
    }
    if (low !== "" && high !== "" && compareDecimal(low, high) > 0) {
      return wrong("is empty: the first number of a range is the smaller one");
    }
    return {
      ok: true,
      test: (value) =>
        value !== undefined &&
        (low === "" || compareDecimal(value, low) >= 0) &&
        (high === "" || compareDecimal(value, high) <= 0),
    };
  }
  const [, operator = "=", number = ""] = COMPARISON.exec(text) ?? [];
  if (parseDecimal(number) === null) return wrong(`is not a filter for numbers: ${HELP}`);
  const holds: Record<string, (order: number) => boolean> = {
    ">": (order) => order > 0,
    ">=": (order) => order >= 0,
    "<": (order) => order < 0,
    "<=": (order) => order <= 0,
    "=": (order) => order === 0,
    "!=": (order) => order !== 0,
    "<>": (order) => order !== 0,
  };
  const test = holds[operator] ?? everything;
  return {
    ok: true,
    test: (value) =>
      value !== undefined && parseDecimal(value) !== null && test(compareDecimal(value, number)),
  };
}

/** Reads what was typed into a column's filter box. Empty text lets every row through. */
export function parseFilter(kind: ColumnKind, typed: string): Filter {
  const text = typed.trim();
  if (text === "") return { ok: true, test: everything };
  if (kind === "number") return parseNumberFilter(text);
  const needle = text.toLowerCase();
  if (kind === "time") {
    // Both ways of writing a time are found: as shown, and as the server sends it.
    return {
      ok: true,
      test: (value) =>
        value !== undefined &&
        (formatTime(value).includes(needle) || value.toLowerCase().includes(needle)),
    };
  }
  return { ok: true, test: (value) => value?.toLowerCase().includes(needle) ?? false };
}
