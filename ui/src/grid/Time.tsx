// Owns how a time looks: date, time of day, nanoseconds; the text is one unbroken string.
import { timeParts } from "../exact/time";

interface TimeProps {
  readonly value: string;
  /** Leave the date out, where something near says it. */
  readonly short?: boolean;
}

export function Time({ value, short = false }: TimeProps) {
  const parts = timeParts(value);
  if (parts === null) return value;
  return (
    <time className="time" dateTime={value} title={short ? parts.date : undefined}>
      {!short && <span className="dim">{parts.date} </span>}
      {parts.clock}
      <span className="dim">.{parts.fraction}</span>
    </time>
  );
}
