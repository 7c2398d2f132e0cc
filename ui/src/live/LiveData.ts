// Owns the live picture: stream and status put together into one immutable snapshot that React
// subscribes to. Frames are gathered and shown at most ten times a second, less often when full.
import { useSyncExternalStore } from "react";
import { getStatus } from "../api/client";
import { Stream, type StreamState } from "../api/stream";
import type { Alert, Frame, Order, Status } from "../api/types";
import { AlertBuffer, OrderBuffer, ROW_LIMIT } from "./buffers";

export interface LiveState {
  readonly orders: readonly Order[];
  readonly alerts: readonly Alert[];
  /** Alerts that were raised in the last seconds; they flash once. */
  readonly newAlerts: ReadonlySet<string>;
  /** The words for screen readers when alerts come in. */
  readonly announcement: string;
  readonly stream: StreamState;
  readonly status: Status | null;
  readonly statusError: string | null;
}

const FLASH_MILLIS = 5000;

function streamUrl(): string {
  const url = new URL("api/v1/stream", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = `tables=orders,alerts&last=${ROW_LIMIT}`;
  return url.href;
}

/** What is said when these alerts come in. */
export function announce(fresh: readonly Alert[]): string {
  const [first] = fresh;
  if (first === undefined) return "";
  if (fresh.length > 3) return `${fresh.length} new alerts.`;
  return fresh.map((alert) => `New alert: ${alert.text}`).join(" ");
}

class LiveData {
  private state: LiveState = {
    orders: [],
    alerts: [],
    newAlerts: new Set(),
    announcement: "",
    stream: "connecting",
    status: null,
    statusError: null,
  };
  private readonly listeners = new Set<() => void>();
  private readonly orders = new OrderBuffer();
  private readonly alerts = new AlertBuffer();
  private readonly flashing = new Set<string>();
  private fresh: Alert[] = [];
  private flushTimer: ReturnType<typeof setTimeout> | undefined;
  private statusTimer: ReturnType<typeof setTimeout> | undefined;
  private running = false;
  /** Alerts from this sequence number on are news; the ones before were there already. */
  private newsFrom: number | null = null;
  private readonly stream = new Stream({
    url: streamUrl(),
    onFrame: (frame) => this.take(frame),
    onState: (stream) => {
      this.set({ stream });
      if (stream === "live") void this.checkSameJournal(this.orders.lastSeq);
    },
  });

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly getState = (): LiveState => this.state;

  start(): void {
    if (this.running) return;
    this.running = true;
    this.stream.start();
    void this.pollStatus();
  }

  stop(): void {
    this.running = false;
    this.stream.stop();
    clearTimeout(this.statusTimer);
  }

  /** Asks for the status now instead of at the next turn. */
  refresh(): void {
    clearTimeout(this.statusTimer);
    void this.pollStatus();
  }

  private set(change: Partial<LiveState>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.listeners) listener();
  }

  private take(frame: Frame): void {
    if (frame.table === "orders") this.orders.upsert(frame.rows);
    else this.fresh.push(...this.alerts.upsert(frame.rows));
    this.flushTimer ??= setTimeout(() => this.flush(), this.orders.size > 20_000 ? 1000 : 100);
  }

  private flush(): void {
    this.flushTimer = undefined;
    const from = this.newsFrom;
    const news = from === null ? [] : this.fresh.filter((alert) => alert.seq >= from && alert.suppressed === undefined);
    this.fresh = [];
    for (const alert of news) this.flashing.add(alert.alert_id);
    if (news.length > 0) {
      setTimeout(() => {
        for (const alert of news) this.flashing.delete(alert.alert_id);
        this.set({ newAlerts: new Set(this.flashing) });
      }, FLASH_MILLIS);
    }
    this.set({
      orders: this.orders.snapshot(),
      alerts: this.alerts.snapshot(),
      newAlerts: new Set(this.flashing),
      ...(news.length > 0 ? { announcement: announce(news) } : {}),
    });
    if (news.length > 0) this.refresh();
  }

  private async pollStatus(): Promise<void> {
    try {
      const status = await getStatus();
      this.newsFrom ??= status.next_seq;
      this.set({ status, statusError: null });
    } catch (error) {
      this.set({ statusError: error instanceof Error ? error.message : String(error) });
    }
    if (!this.running) return;
    const busy = this.state.status?.feeds.some((feed) => feed.state === "running") ?? false;
    clearTimeout(this.statusTimer);
    this.statusTimer = setTimeout(() => void this.pollStatus(), busy ? 400 : 2000);
  }

  /**
   * After a reconnect: a server whose journal ends before what this page holds has another journal
   * (its data was removed), so the rows here are no longer true.
   */
  private async checkSameJournal(held: number): Promise<void> {
    if (held === 0) return;
    try {
      const status = await getStatus();
      if (status.next_seq > held) return;
      this.orders.clear();
      this.alerts.clear();
      this.newsFrom = status.next_seq;
      this.set({ orders: [], alerts: [], newAlerts: new Set(), status });
      this.stream.restart();
    } catch {
      // The status poll shows that the server does not answer.
    }
  }
}

let shared: LiveData | undefined;

/** The one live picture of the page. */
export function liveData(): LiveData {
  shared ??= new LiveData();
  return shared;
}

/** A part of the live picture; the component renders again when that part changes. */
export function useLive<T>(select: (state: LiveState) => T): T {
  const data = liveData();
  return useSyncExternalStore(data.subscribe, () => select(data.getState()));
}
