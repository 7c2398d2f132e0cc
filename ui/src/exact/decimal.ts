// Owns exact decimal arithmetic for the page: parse, compare, add and sum decimals that arrive as
// text ("1.25", "1000"). Nothing here goes through a float unless the result is provably the same.

/** A decimal number: `units` · 10^-`scale`. */
export interface Decimal {
  readonly units: bigint;
  readonly scale: number;
}

const PATTERN = /^([+-]?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?$/;
const SHORT = /^-?\d+(?:\.\d+)?$/;

/** Reads a decimal exactly; null when the text is not one (exponents up to three digits). */
export function parseDecimal(text: string): Decimal | null {
  const match = PATTERN.exec(text);
  if (match === null) return null;
  const [, sign, whole = "", fraction = "", exponent = "0"] = match;
  let units = BigInt(whole + fraction);
  let scale = fraction.length - Number(exponent);
  if (scale < 0) {
    units *= 10n ** BigInt(-scale);
    scale = 0;
  }
  return { units: sign === "-" ? -units : units, scale };
}

/** Writes a decimal with no trailing zeros after the point. */
export function formatDecimal(value: Decimal): string {
  const negative = value.units < 0n;
  const digits = (negative ? -value.units : value.units).toString().padStart(value.scale + 1, "0");
  const whole = digits.slice(0, digits.length - value.scale);
  const fraction = digits.slice(digits.length - value.scale).replace(/0+$/, "");
  return (negative ? "-" : "") + whole + (fraction === "" ? "" : `.${fraction}`);
}

function align(a: Decimal, b: Decimal): [bigint, bigint, number] {
  const scale = Math.max(a.scale, b.scale);
  return [
    a.units * 10n ** BigInt(scale - a.scale),
    b.units * 10n ** BigInt(scale - b.scale),
    scale,
  ];
}

/** The exact sum of two decimals. */
export function addDecimal(a: Decimal, b: Decimal): Decimal {
  const [x, y, scale] = align(a, b);
  return { units: x + y, scale };
}

/**
 * Compares two decimals given as text: negative, zero or positive. Text that is no decimal comes
 * after every decimal, in text order.
 */
export function compareDecimal(a: string, b: string): number {
  // Up to 15 significant digits every decimal has its own double and rounding keeps the order,
  // so this fast path is exact.
  if (a.length <= 15 && b.length <= 15 && SHORT.test(a) && SHORT.test(b)) {
    return Number(a) - Number(b);
  }
  const x = parseDecimal(a);
  const y = parseDecimal(b);
  if (x === null || y === null) {
    if (x !== null) return -1;
    if (y !== null) return 1;
    return a < b ? -1 : a > b ? 1 : 0;
  }
  const [p, q] = align(x, y);
  return p < q ? -1 : p > q ? 1 : 0;
}

/** The exact sum of decimals given as text; what is no decimal is left out, none gives "". */
export function sumDecimals(values: Iterable<string | undefined>): string {
  let total: Decimal | null = null;
  for (const value of values) {
    const parsed = value === undefined ? null : parseDecimal(value);
    if (parsed !== null) total = total === null ? parsed : addDecimal(total, parsed);
  }
  return total === null ? "" : formatDecimal(total);
}
