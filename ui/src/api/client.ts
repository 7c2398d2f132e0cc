// Owns the calls to the HTTP API under api/v1 and the one error type that they throw.
import { parseExact } from "./json";
import type { Details, Order, SqlRow, Status } from "./types";

/** A call that the server refused or that did not reach it. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly code: string,
    readonly status: number,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

function errorFrom(status: number, body: string): ApiError {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null && "error" in parsed) {
      const error = parsed.error as { code?: unknown; message?: unknown } | null;
      if (typeof error?.message === "string") {
        return new ApiError(error.message, String(error.code ?? "error"), status);
      }
    }
  } catch {
    // Not JSON: a proxy's page or nothing at all; the status has to do.
  }
  return new ApiError(`The server answered with HTTP ${status}.`, "http", status);
}

async function call(path: string, body?: object, signal?: AbortSignal): Promise<string> {
  const init: RequestInit = { headers: { accept: "application/json" }, cache: "no-store" };
  if (signal !== undefined) init.signal = signal;
  if (body !== undefined) {
    init.method = "POST";
    init.headers = { accept: "application/json", "content-type": "application/json" };
    init.body = JSON.stringify(body);
  }
  let response: Response;
  let text: string;
  try {
    response = await fetch(`api/v1/${path}`, init);
    text = await response.text();
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError("The server cannot be reached. Is tapewatch running?", "unreachable", 0);
  }
  if (!response.ok) throw errorFrom(response.status, text);
  return text;
}

/** Counts, readiness and the feeds. */
export async function getStatus(): Promise<Status> {
  return JSON.parse(await call("status")) as Status;
}

/** Feeds the built-in demo orders, two rows a second; the answer is the feed's id. */
export async function pushDemo(clear: boolean): Promise<string> {
  const body = { clear, rows_per_bucket: 2, interval_ms: 1000 };
  return (JSON.parse(await call("push", body)) as { id: string }).id;
}

/** Runs a query; the rows have their numbers as text. */
export async function runSql(query: string, signal?: AbortSignal): Promise<SqlRow[]> {
  const rows = parseExact(await call("sql", { query, format: "json" }, signal));
  if (!Array.isArray(rows)) {
    throw new ApiError("The answer to the query is not a list of rows.", "answer", 200);
  }
  return rows as SqlRow[];
}

/** The columns that not every source fills. */
export const DETAILS = ["account", "exec_id", "display_quantity", "flags"] as const;

/** Those of them that one of the rows fills. */
export function detailsTold(rows: readonly Details[]): (keyof Details)[] {
  return DETAILS.filter((name) => rows.some((row) => row[name] !== undefined));
}

/** At most this many evidence orders are fetched for one alert. */
export const EVIDENCE_CAP = 1000;

/** The orders with these sequence numbers, in journal order. */
export async function ordersBySeq(seqs: readonly number[], signal?: AbortSignal): Promise<Order[]> {
  const wanted = seqs.filter(Number.isSafeInteger).slice(0, EVIDENCE_CAP);
  if (wanted.length === 0) return [];
  const query = `SELECT * FROM orders WHERE seq IN (${wanted.join(", ")}) ORDER BY seq`;
  return (await runSql(query, signal)).map((row) => ({
    seq: Number(row["seq"]),
    time: String(row["time"]),
    sym: String(row["sym"]),
    event_type: String(row["event_type"]),
    trader: String(row["trader"]),
    side: String(row["side"]),
    order_id: String(row["order_id"]),
    price: String(row["price"]),
    quantity: String(row["quantity"]),
    ...told(row),
  }));
}

function told(row: SqlRow): Details {
  const there = DETAILS.filter((name) => typeof row[name] === "string");
  return Object.fromEntries(there.map((name) => [name, row[name]]));
}
