// Checks exact decimals and times.
import { describe, expect, it } from "vitest";
import { addDecimal, compareDecimal, formatDecimal, parseDecimal, sumDecimals } from "./decimal";
import { formatDuration, formatTime, timeToNanos } from "./time";

const sign = (value: number) => Math.sign(value);

describe("decimals", () => {
  it.each([
    ["1.25", "1.25"],
    ["1000", "1000"],
    ["-0.50", "-0.5"],
    ["1300.0", "1300"],
    ["0.000000001", "0.000000001"],
    ["1e3", "1000"],
    ["1.5e-7", "0.00000015"],
    ["-0", "0"],
  ])("reads and writes %s", (text, written) => {
    const value = parseDecimal(text);
    expect(value && formatDecimal(value)).toBe(written);
  });

  it.each(["", " ", "1,25", "abc", "0x10", "1.2.3", "1.", ".5", "NaN", "1e9999"])(
    "refuses %j",
    (text) => expect(parseDecimal(text)).toBeNull(),
  );

  it("compares beyond the reach of a double", () => {
    expect(sign(compareDecimal("9007199254740993", "9007199254740992"))).toBe(1);
    expect(sign(compareDecimal("0.1000000000000000001", "0.1"))).toBe(1);
    expect(sign(compareDecimal("-9007199254740993", "-9007199254740992"))).toBe(-1);
  });

  it("compares by value, not by text", () => {
    expect(sign(compareDecimal("9", "10"))).toBe(-1);
    expect(sign(compareDecimal("1.10", "1.1"))).toBe(0);
    expect(sign(compareDecimal("-2", "1"))).toBe(-1);
    expect(sign(compareDecimal("1e2", "99.5"))).toBe(1);
    expect(sign(compareDecimal("1", "n/a"))).toBe(-1);
  });

  it("adds and sums exactly", () => {
    expect(formatDecimal(addDecimal({ units: 1n, scale: 1 }, { units: 2n, scale: 1 }))).toBe("0.3");
    expect(sumDecimals(["0.1", "0.2", undefined, "n/a"])).toBe("0.3");
    expect(sumDecimals(Array(10).fill("0.1"))).toBe("1");
    expect(sumDecimals(["9007199254740993", "0.5"])).toBe("9007199254740993.5");
    expect(sumDecimals([])).toBe("");
  });
});

describe("times", () => {
  it("shows every nanosecond", () => {
    expect(formatTime("2015-04-17T12:00:20.000000000Z")).toBe("2015-04-17 12:00:20.000000000");
    expect(formatTime("2015-04-17T12:00:20.123456789Z")).toBe("2015-04-17 12:00:20.123456789");
    expect(formatTime("2015-04-17T12:00:20.5")).toBe("2015-04-17 12:00:20.500000000");
    expect(formatTime("yesterday")).toBe("yesterday");
  });

  it("counts nanoseconds exactly", () => {
    expect(timeToNanos("1970-01-01T00:00:00.000000001Z")).toBe(1n);
    expect(timeToNanos("2015-04-17T12:00:20.123456789Z")).toBe(1429272020123456789n);
    expect(timeToNanos("1969-12-31T23:59:59.999999999Z")).toBe(-1n);
    expect(timeToNanos("2015-13-17T12:00:20Z")).toBeNull();
  });

  it.each([
    [25_000_000_000, "25 s"],
    [1_500_000, "1.5 ms"],
    [90_000_000_000, "90 s"],
    [120_000_000_000, "2 min"],
    [3_600_000_000_000, "1 h"],
    [999, "999 ns"],
    [0, "0 ns"],
  ])("writes %d ns as %s", (nanos, text) => expect(formatDuration(nanos)).toBe(text));
});
