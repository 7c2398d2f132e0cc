// Checks how an answer becomes columns and where an error points.
import { describe, expect, it } from "vitest";
import { cellText, errorPlace, kindOf, offsetOf, pointAt, resultColumns } from "./result";

describe("columns of an answer", () => {
  it("finds their kinds", () => {
    expect(kindOf(["1", "2.5", undefined])).toBe("number");
    expect(kindOf(["2015-04-17T12:00:20.000000000Z"])).toBe("time");
    expect(kindOf(["1", "x"])).toBe("text");
    expect(kindOf(["007", "1"])).toBe("text");
    expect(kindOf(["0.5", "0", "-0.25"])).toBe("number");
    expect(kindOf([undefined])).toBe("text");
  });

  it("takes the columns of all rows in order", () => {
    const columns = resultColumns([{ trader: "T", n: "4" }, { trader: "U", n: "5", extra: null }]);
    expect(columns.map((column) => [column.id, column.kind, column.sum])).toEqual([
      ["trader", "text", false],
      ["n", "number", true],
      ["extra", "text", false],
    ]);
  });

  it("shows nested values as JSON and null as nothing", () => {
    expect(cellText([1, "a"])).toBe('[1,"a"]');
    expect(cellText(null)).toBeUndefined();
    expect(cellText(false)).toBe("false");
  });
});

describe("the place of an error", () => {
  it.each([
    ["Expected: an SQL statement, found: selec at Line: 1, Column: 1", { line: 1, column: 1 }],
    ["line 2, column 7: no such column", { line: 2, column: 7 }],
    ["no such table: x", null],
  ])("in %j", (message, place) => expect(errorPlace(message)).toEqual(place));

  it("is shown below the line and found in the text", () => {
    const query = "SELECT 1\nFROM  x";
    expect(pointAt(query, { line: 2, column: 7 })).toBe("FROM  x\n      ^");
    expect(pointAt(query, { line: 9, column: 1 })).toBeNull();
    expect(offsetOf(query, { line: 2, column: 7 })).toBe(15);
    expect(offsetOf(query, { line: 2, column: 99 })).toBe(query.length);
  });
});
