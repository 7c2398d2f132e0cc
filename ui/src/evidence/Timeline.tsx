// Owns the picture of the evidence: each order's quantity as a stem, the rolling sum as a step
// line, the threshold as a dashed line.
import { useMemo } from "react";
import type { Alert, Order } from "../api/types";
import { formatDuration, formatTime } from "../exact/time";
import { plotEvidence, ticks } from "./plot";

const WIDTH = 480;
const HEIGHT = 190;
const LEFT = 46;
const RIGHT = 22;
/** The sum goes on for a little after the alert, so that its last step can be seen. */
const TAIL = 14;
const TOP = 12;
const BOTTOM = 24;

interface TimelineProps {
  readonly alert: Alert;
  readonly orders: readonly Order[];
}

export function Timeline({ alert, orders }: TimelineProps) {
  const plot = useMemo(() => plotEvidence(alert, orders), [alert, orders]);
  if (plot === null) return null;
  const x = (at: number) => LEFT + at * (WIDTH - LEFT - RIGHT);
  const y = (value: number) => HEIGHT - BOTTOM - (value / plot.top) * (HEIGHT - TOP - BOTTOM);
  let path = `M ${x(0)} ${y(0)}`;
  for (const step of plot.steps) path += ` H ${x(step.at)} V ${y(step.sum)}`;
  path += ` H ${x(1) + TAIL}`;
  const last = plot.stems.at(-1);
  const label =
    `Quantities of ${plot.stems.length} evidence orders over ${formatDuration(plot.span)}; ` +
    `the running sum ends at ${last?.sum ?? "0"}` +
    (plot.threshold === null ? "." : `, the threshold is ${plot.threshold}.`);
  return (
    <figure className="timeline">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
        {ticks(plot.top, 4).map((value) => (
          <g key={value}>
            <line className="grid-line" x1={LEFT} x2={x(1) + TAIL} y1={y(value)} y2={y(value)} />
            <text className="tick" x={LEFT - 6} y={y(value) + 3.5} textAnchor="end">
              {value}
            </text>
          </g>
        ))}
        {ticks(plot.span, 5).map((before) => (
          <text key={before} className="tick" x={x(1 - before / plot.span)} y={HEIGHT - 7} textAnchor="middle">
            {before === 0 ? "alert" : `−${formatDuration(before)}`}
          </text>
        ))}
        <path className="sum" d={path} />
        {last !== undefined && (
          <text className="last" x={x(1) - 6} y={y(Number(last.sum)) - 5} textAnchor="end">
            {last.sum}
          </text>
        )}
        {plot.threshold !== null && (
          <line
            className="threshold"
            x1={LEFT}
            x2={x(1) + TAIL}
            y1={y(plot.threshold)}
            y2={y(plot.threshold)}
          />
        )}
        {plot.stems.map((stem) => (
          <g key={stem.order.seq} className="stem">
            <line x1={x(stem.at)} x2={x(stem.at)} y1={y(0)} y2={y(stem.quantity)} />
            <circle cx={x(stem.at)} cy={y(stem.quantity)} r="3.5" />
            <title>
              {`${formatTime(stem.order.time)} · ${stem.order.order_id}\n` +
                `quantity ${stem.order.quantity}, running sum ${stem.sum}`}
            </title>
          </g>
        ))}
      </svg>
      <figcaption>
        <span className="key key-stem">quantity</span>
        <span className="key key-sum">running sum</span>
        {plot.threshold !== null && (
          <span className="key key-threshold">threshold {plot.threshold}</span>
        )}
      </figcaption>
    </figure>
  );
}
