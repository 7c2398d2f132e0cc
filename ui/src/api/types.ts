// Owns the shapes that the server sends: status, orders, alerts, stream frames and errors.
// Prices, quantities and measures are exact decimals as text; times are UTC text with nanoseconds.

export interface Feed {
  readonly id: string;
  readonly source: string;
  readonly rows_total: number | null;
  readonly rows_sent: number;
  readonly state: "running" | "done" | "failed";
  readonly error: string | null;
}

/** A process that the server needs; a gateway names all. */
export interface Peer {
  readonly role: string;
  readonly address: string;
  readonly state: "connected" | "waiting";
  readonly since: string;
  readonly why?: string;
}

export interface Status {
  readonly version: string;
  readonly ready: boolean;
  readonly orders: number;
  readonly hits: number;
  readonly alerts: number;
  readonly dead_letters: number;
  readonly late_rows: number;
  readonly next_seq: number;
  readonly feeds: readonly Feed[];
  readonly peers: readonly Peer[];
}

/** What not every source tells of an order; what it does not tell is not there. */
export interface Details {
  readonly account?: string;
  readonly exec_id?: string;
  readonly display_quantity?: string;
  /** Words with a space between. */
  readonly flags?: string;
}

export interface Order extends Details {
  readonly seq: number;
  readonly time: string;
  readonly sym: string;
  readonly event_type: string;
  readonly trader: string;
  readonly side: string;
  readonly order_id: string;
  readonly price: string;
  readonly quantity: string;
}

export interface Measure {
  readonly name: string;
  readonly value: string;
  readonly threshold: string;
}

export interface Alert extends Details {
  readonly alert_id: string;
  readonly detector: string;
  readonly detector_version: number;
  readonly config_version: string;
  readonly sym: string;
  readonly trader: string;
  readonly side: string;
  readonly first_time: string;
  readonly time: string;
  readonly hits: number;
  readonly seq: number;
  readonly order_id: string;
  readonly event_type: string;
  readonly price: string;
  readonly quantity: string;
  readonly measures: readonly Measure[];
  readonly lookback_ns: number;
  readonly evidence: readonly number[];
  readonly evidence_total: number;
  readonly text: string;
  /** 0 to 100; of its gravest hit. */
  readonly severity: number;
  /** Why it was expected; not there when it was not. */
  readonly suppressed?: string;
}

export type Frame =
  | { readonly table: "orders"; readonly rows: readonly Order[] }
  | { readonly table: "alerts"; readonly rows: readonly Alert[] };

/** One row of an SQL answer; numbers and decimals as text. */
export type SqlRow = Readonly<Record<string, unknown>>;
