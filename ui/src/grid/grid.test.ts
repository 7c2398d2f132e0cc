// Checks filter expressions, CSV, and how a grid compares values.
import { describe, expect, it } from "vitest";
import { csvCell, toCsv } from "./csv";
import { parseFilter } from "./filter";
import { compareValues } from "./table";
import type { ColumnKind, GridColumn } from "./types";

function passes(kind: ColumnKind, typed: string, values: (string | undefined)[]) {
  const filter = parseFilter(kind, typed);
  if (!filter.ok) throw new Error(filter.message);
  return values.filter(filter.test);
}

describe("number filters", () => {
  const values = ["-1", "3", "3.0", "10", "15.5", "20", "100", "100.0000000000000000001", undefined];
  it.each([
    [">100", ["100.0000000000000000001"]],
    [">= 100", ["100", "100.0000000000000000001"]],
    ["<=3", ["-1", "3", "3.0"]],
    ["<3", ["-1"]],
    ["=3", ["3", "3.0"]],
    ["3", ["3", "3.0"]],
    ["10..20", ["10", "15.5", "20"]],
    ["100..", ["100", "100.0000000000000000001"]],
    ["..3", ["-1", "3", "3.0"]],
    ["-5..-1", ["-1"]],
  ])("%s", (typed, expected) => expect(passes("number", typed, values)).toEqual(expected));

  it("leaves out one value with !=", () => {
    expect(passes("number", "!=3", ["3", "3.0", "4", undefined])).toEqual(["4"]);
  });

  it("lets everything through when empty", () => {
    expect(passes("number", "  ", values)).toEqual(values);
  });

  it.each([">many", ">", "1,000", "10...20", "..", "a..5", "20..10", "> 1 2"])(
    "says what is wrong with %j",
    (typed) => {
      const filter = parseFilter("number", typed);
      expect(filter.ok).toBe(false);
      expect(!filter.ok && filter.message).toContain(`“${typed}”`);
    },
  );
});

describe("text and time filters", () => {
  it("finds text in any case", () => {
    expect(passes("text", "CANC", ["cancelled", "new", undefined])).toEqual(["cancelled"]);
  });
  it("finds a time as it is shown and as it is sent", () => {
    const times = ["2015-04-17T12:00:20.000000000Z", "2015-04-17T12:00:05.000000000Z"];
    expect(passes("time", "04-17 12:00:20", times)).toEqual([times[0]]);
    expect(passes("time", "17T12:00:05", times)).toEqual([times[1]]);
  });
});

describe("CSV", () => {
  it("quotes as RFC 4180 says", () => {
    expect(csvCell('a "b", c')).toBe('"a ""b"", c"');
    expect(csvCell("two\r\nlines")).toBe('"two\r\nlines"');
    expect(csvCell(undefined)).toBe("");
  });
  it("takes the sting out of formulas and leaves numbers alone", () => {
    expect(csvCell("=1+1")).toBe("'=1+1");
    expect(csvCell("@SUM(A1)")).toBe("'@SUM(A1)");
    expect(csvCell("+cmd")).toBe("'+cmd");
    expect(csvCell('-HYPERLINK("x")')).toBe('"\'-HYPERLINK(""x"")"');
    expect(csvCell("-1.5")).toBe("-1.5");
    expect(csvCell("+1")).toBe("+1");
  });
  it("writes header and rows with CRLF", () => {
    const columns: GridColumn<{ a: string; b: string }>[] = [
      { id: "a", label: "A", kind: "text", value: (row) => row.a },
      { id: "b", label: "B", kind: "number", value: (row) => row.b },
    ];
    expect(toCsv(columns, [{ a: "x,y", b: "1.250" }])).toBe('a,b\r\n"x,y",1.250\r\n');
    expect(toCsv(columns, [])).toBe("a,b\r\n");
  });
});

describe("comparison", () => {
  it("sorts ids with numbers as people count", () => {
    const ids = ["SPG-Oid10", "SPG-Oid9"].sort((a, b) => compareValues("text", a, b));
    expect(ids).toEqual(["SPG-Oid9", "SPG-Oid10"]);
  });
  it("sorts times to the nanosecond, whatever their width", () => {
    const [early, late] = ["2015-04-17T12:00:20Z", "2015-04-17T12:00:20.000000001Z"];
    expect(compareValues("time", early, late)).toBeLessThan(0);
    expect(compareValues("time", late, late)).toBe(0);
  });
});
