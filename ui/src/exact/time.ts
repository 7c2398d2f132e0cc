// Owns times and durations: UTC with nanoseconds, as text and as BigInt. A time is never shown
// through a JavaScript Date, which would lose everything below a millisecond.

const ISO = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:Z|\+00:00)?$/;

/** True when the text is a UTC time as the server writes it. */
export function isTime(text: string): boolean {
  return ISO.test(text);
}

/** The parts of a time that are shown: date, time of day and always nine digits of fraction. */
export function timeParts(text: string): { date: string; clock: string; fraction: string } | null {
  const match = ISO.exec(text);
  if (match === null) return null;
  const [, date = "", clock = "", fraction = ""] = match;
  return { date, clock, fraction: fraction.padEnd(9, "0") };
}

/** `2015-04-17T12:00:20.000000000Z` as `2015-04-17 12:00:20.000000000`; other text unchanged. */
export function formatTime(text: string): string {
  const parts = timeParts(text);
  return parts === null ? text : `${parts.date} ${parts.clock}.${parts.fraction}`;
}

/** Nanoseconds since 1970-01-01 UTC; null when the text is not a time. For arithmetic only. */
export function timeToNanos(text: string): bigint | null {
  const parts = timeParts(text);
  if (parts === null) return null;
  const millis = Date.parse(`${parts.date}T${parts.clock}Z`);
  return Number.isNaN(millis) ? null : BigInt(millis) * 1_000_000n + BigInt(parts.fraction);
}

const UNITS: ReadonlyArray<readonly [number, string]> = [
  [3_600_000_000_000, "h"],
  [60_000_000_000, "min"],
  [1_000_000_000, "s"],
  [1_000_000, "ms"],
  [1_000, "µs"],
];

/** A duration in the largest unit that writes it in four digits or fewer: `25 s`, `1.5 ms`. */
export function formatDuration(nanos: number): string {
  const size = Math.abs(nanos);
  for (const [unit, name] of UNITS) {
    // Hours and minutes only when they come out even; 90 s reads better than 1.5 min.
    const even = Number.isInteger(size / unit);
    if (size >= unit && (unit <= 1_000_000_000 || even)) {
      return `${Number((nanos / unit).toPrecision(4))} ${name}`;
    }
  }
  return `${nanos} ns`;
}
