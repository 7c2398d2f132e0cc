// Owns the rows that the page keeps: the latest orders by sequence number and the latest alerts by
// alert id, each at most ROW_LIMIT. A row that comes twice (after a reconnect) is kept once.
import type { Alert, Order } from "../api/types";

/** Rows kept per grid; older ones are dropped from the page (never from the server). */
export const ROW_LIMIT = 50_000;

/** The latest orders, ascending by sequence number. */
export class OrderBuffer {
  private rows: Order[] = [];

  constructor(private readonly limit: number = ROW_LIMIT) {}

  /** The highest sequence number held; 0 when empty. */
  get lastSeq(): number {
    return this.rows.at(-1)?.seq ?? 0;
  }

  get size(): number {
    return this.rows.length;
  }

  upsert(incoming: readonly Order[]): void {
    for (const order of incoming) {
      if (order.seq > this.lastSeq) {
        this.rows.push(order);
        continue;
      }
      const at = this.position(order.seq);
      if (this.rows[at]?.seq === order.seq) this.rows[at] = order;
      else this.rows.splice(at, 0, order);
    }
    // Trim in steps, so that a full buffer does not move all its rows for every frame.
    if (this.rows.length > this.limit * 1.1 + 100) this.rows = this.rows.slice(-this.limit);
  }

  clear(): void {
    this.rows = [];
  }

  /** A copy of the latest rows, never more than the limit. */
  snapshot(): readonly Order[] {
    return this.rows.slice(-this.limit);
  }

  /** The first place whose sequence number is not below `seq`. */
  private position(seq: number): number {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.rows[middle]?.seq ?? Infinity) < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The latest alerts by id; a later row of the same id replaces the earlier one. */
export class AlertBuffer {
  private readonly rows = new Map<string, Alert>();

  constructor(private readonly limit: number = ROW_LIMIT) {}

  get lastSeq(): number {
    let last = 0;
    for (const alert of this.rows.values()) last = Math.max(last, alert.seq);
    return last;
  }

  /** Takes the rows in; returns those whose id was not there before. */
  upsert(incoming: readonly Alert[]): Alert[] {
    const fresh = new Map<string, Alert>();
    for (const alert of incoming) {
      if (!this.rows.has(alert.alert_id) || fresh.has(alert.alert_id)) {
        fresh.set(alert.alert_id, alert);
      }
      this.rows.set(alert.alert_id, alert);
    }
    // A Map iterates in order of insertion: the first key is the alert that was opened first.
    for (const id of this.rows.keys()) {
      if (this.rows.size <= this.limit) break;
      this.rows.delete(id);
      fresh.delete(id);
    }
    return [...fresh.values()];
  }

  get(id: string): Alert | undefined {
    return this.rows.get(id);
  }

  clear(): void {
    this.rows.clear();
  }

  snapshot(): readonly Alert[] {
    return [...this.rows.values()];
  }
}
