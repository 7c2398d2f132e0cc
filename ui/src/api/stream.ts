// Owns the WebSocket: subscribes to orders and alerts, hands out frames, and reconnects with an
// exponential backoff. Sockets and timers are passed in, so that tests need neither.
import type { Frame } from "./types";

export type StreamState = "connecting" | "live" | "reconnecting";

/** The part of a WebSocket that is used here. */
export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  close(): void;
}

export interface StreamOptions {
  readonly url: string;
  readonly onFrame: (frame: Frame) => void;
  readonly onState: (state: StreamState) => void;
  readonly open?: (url: string) => Socket;
  readonly schedule?: (run: () => void, millis: number) => () => void;
  readonly random?: () => number;
}

const FIRST_DELAY = 500;
const LONGEST_DELAY = 15_000;

/** The delay before attempt `n` (from 0): doubling, capped, and spread over its upper half. */
export function backoff(attempt: number, random: number): number {
  const full = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** Math.min(attempt, 16));
  return Math.round(full / 2 + (full / 2) * random);
}

/** Reads one text frame; null for anything that is not rows of a table this page shows. */
export function readFrame(data: unknown): Frame | null {
  if (typeof data !== "string") return null;
  try {
    const frame: unknown = JSON.parse(data);
    if (typeof frame !== "object" || frame === null) return null;
    const { table, rows } = frame as { table?: unknown; rows?: unknown };
    if ((table !== "orders" && table !== "alerts") || !Array.isArray(rows)) return null;
    return frame as Frame;
  } catch {
    return null;
  }
}

function openWebSocket(url: string): Socket {
  const socket = new WebSocket(url);
  const out: Socket = { onopen: null, onmessage: null, onclose: null, close: () => socket.close() };
  socket.onopen = () => out.onopen?.();
  socket.onmessage = (event) => out.onmessage?.({ data: event.data });
  // An error is always followed by a close, which is where the next attempt is planned.
  socket.onclose = () => out.onclose?.();
  return out;
}

function later(run: () => void, millis: number): () => void {
  const timer = setTimeout(run, millis);
  return () => clearTimeout(timer);
}

/** One subscription that stays up: after every loss it connects again and gets the last rows. */
export class Stream {
  private socket: Socket | null = null;
  private cancelRetry: (() => void) | null = null;
  private attempt = 0;
  private everLive = false;

  constructor(private readonly options: StreamOptions) {}

  start(): void {
    if (this.socket !== null || this.cancelRetry !== null) return;
    this.options.onState(this.everLive ? "reconnecting" : "connecting");
    const socket = (this.options.open ?? openWebSocket)(this.options.url);
    this.socket = socket;
    socket.onopen = () => {
      this.attempt = 0;
      this.everLive = true;
      this.options.onState("live");
    };
    socket.onmessage = (event) => {
      const frame = readFrame(event.data);
      if (frame !== null) this.options.onFrame(frame);
    };
    socket.onclose = () => {
      this.release();
      this.options.onState("reconnecting");
      const delay = backoff(this.attempt, (this.options.random ?? Math.random)());
      this.attempt += 1;
      this.cancelRetry = (this.options.schedule ?? later)(() => {
        this.cancelRetry = null;
        this.start();
      }, delay);
    };
  }

  /** Drops the connection and makes a new one at once. */
  restart(): void {
    this.stop();
    this.start();
  }

  stop(): void {
    this.cancelRetry?.();
    this.cancelRetry = null;
    const socket = this.socket;
    this.release();
    socket?.close();
  }

  private release(): void {
    if (this.socket === null) return;
    this.socket.onopen = null;
    this.socket.onmessage = null;
    this.socket.onclose = null;
    this.socket = null;
  }
}
