// Owns a stand-in for the server, for working on the page alone: `npm run build && npm run mock`.
// It serves dist/ and just enough of the API for the ten demo orders; it is no reference for either.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const port = Number(process.env.PORT ?? 8080);
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:";
const lookback = 25_000_000_000;

// second, event type, side, order, price, quantity
const demo = [
  [0, "new", "S", 10, "1.25", 1000], [1, "new", "S", 11, "1.25", 1100],
  [4, "new", "S", 12, "1.25", 1200], [5, "cancelled", "S", 10, "1.25", 1000],
  [5, "new", "S", 13, "1.23", 1300], [6, "new", "B", 14, "1.25", 2000],
  [10, "cancelled", "S", 12, "1.25", 1200], [11, "cancelled", "S", 11, "1.25", 1100],
  [12, "filled", "B", 14, "1.25", 2000], [20, "cancelled", "S", 13, "1.23", 1300],
];
const orders = [];
const alerts = [];
const deadLetters = [
  { seq: 1, source: "bad.csv", line: 7, column: "price", reason: "price: `1,25` is not a decimal", raw: "2015-04-17D12:00:00,SNDL,new,SpoofingTrader,S,SPG-Oid1,1,25,1000" },
];
const feeds = [];
let seq = 1;
let cancels = [];

const sockets = new WebSocketServer({ noServer: true });
const publish = (table, rows) => {
  for (const socket of sockets.clients) socket.send(JSON.stringify({ table, rows }));
};

function take([second, event_type, side, id, price, quantity]) {
  const time = `2015-04-17T12:00:${String(second).padStart(2, "0")}.000000000Z`;
  const order = { seq: seq++, time, sym: "SNDL", event_type, trader: "SpoofingTrader", side, order_id: `SPG-Oid${id}`, price, quantity: String(quantity) };
  orders.push(order);
  publish("orders", [order]);
  if (event_type !== "cancelled") return;
  cancels.push({ seq: order.seq, second, quantity });
  const window = cancels.filter((cancel) => cancel.second <= second && cancel.second >= second - 25);
  const sum = window.reduce((total, cancel) => total + cancel.quantity, 0);
  if (sum <= 4000 || window.length <= 3) return;
  const alert = {
    alert_id: `spoofing-${order.seq.toString(16).padStart(16, "0")}`, detector: "spoofing", detector_version: 1,
    config_version: "9f2c41d07be5a813", sym: order.sym, trader: order.trader, side, first_time: time, time, hits: 1,
    seq: order.seq, order_id: order.order_id, event_type, price, quantity: order.quantity,
    measures: [
      { name: "cancel_quantity", value: String(sum), threshold: "4000" },
      { name: "cancel_count", value: String(window.length), threshold: "3" },
    ],
    lookback_ns: lookback, evidence: window.map((cancel) => cancel.seq), evidence_total: window.length,
    severity: 30,
    text: `SpoofingTrader cancelled ${window.length} sell orders of SNDL with a total quantity of ${sum} within 25 s; the thresholds are 3 orders and 4000.`,
  };
  alerts.push(alert);
  publish("alerts", [alert]);
}

function push({ clear = true, rows_per_bucket: bucket = 2, interval_ms: interval = 1000 }) {
  if (clear) cancels = [];
  const feed = { id: `push-${feeds.length + 1}`, source: "demo", rows_total: demo.length, rows_sent: 0, state: "running", error: null };
  feeds.push(feed);
  const step = () => {
    for (const row of demo.slice(feed.rows_sent, feed.rows_sent + bucket)) take(row);
    feed.rows_sent = Math.min(demo.length, feed.rows_sent + bucket);
    if (feed.rows_sent < demo.length) setTimeout(step, interval);
    else feed.state = "done";
  };
  step();
  return { id: feed.id };
}

function sql(query) {
  const text = query.trim();
  if (!/^select\s/i.test(text)) {
    return [400, { error: { code: "sql", message: `Expected: an SQL statement, found: ${text.split(/\s/)[0]} at Line: 1, Column: 1` } }];
  }
  if (/count\(\*\)/i.test(text)) return [200, [{ n: orders.length }]];
  if (/from dead_letters/i.test(text)) return [200, deadLetters];
  if (/from "?(orderAlerts|alerts)/i.test(text)) return [200, alerts];
  const list = /seq in \(([\d, ]+)\)/i.exec(text);
  if (list !== null) {
    const wanted = new Set(list[1].split(",").map(Number));
    return [200, orders.filter((order) => wanted.has(order.seq))];
  }
  if (/from orders/i.test(text)) return [200, orders];
  return [400, { error: { code: "sql", message: "this stand-in knows orders, alerts and dead_letters only" } }];
}

async function api(path, body) {
  if (path === "/api/v1/status") {
    return [200, {
      version: "0.1.0", ready: true, orders: orders.length, hits: alerts.length, alerts: alerts.length,
      dead_letters: deadLetters.length, late_rows: 0, next_seq: seq, feeds, peers: [],
    }];
  }
  if (path === "/api/v1/push") return [202, push(JSON.parse(body || "{}"))];
  if (path === "/api/v1/sql") return sql(JSON.parse(body).query);
  return [404, { error: { code: "not_found", message: `no such path: ${path}` } }];
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname.startsWith("/api/")) {
    let body = "";
    for await (const chunk of request) body += chunk;
    const [status, answer] = await api(pathname, body);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
    return;
  }
  const file = join(dist, normalize(pathname === "/" ? "/index.html" : pathname));
  try {
    const content = await readFile(file);
    response.writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream", "content-security-policy": policy }).end(content);
  } catch {
    response.writeHead(404).end("not found");
  }
});
server.on("upgrade", (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, (client) => {
    client.send(JSON.stringify({ table: "orders", rows: orders }));
    client.send(JSON.stringify({ table: "alerts", rows: alerts }));
  });
});
server.listen(port, "127.0.0.1", () => console.log(`mock on http://127.0.0.1:${port}`));
