// Owns the end-to-end test of the page: a real Chromium against a real server.
//   node test/browser.mjs --url http://127.0.0.1:PORT --market FILE --out DIR [--chromium PATH]
// The server must be fresh (no orders yet), run all detectors, and suppress the alerts of the trader
// QuotingDesk with a reason; FILE is a simulated session with abuse (CSV). Exit code 0 when every check holds, else 1; the
// screenshots land in DIR either way.
import { execFileSync } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { alertsCsv, ordersCsv, ordersOf } from "./expected.mjs";

const { values: args } = parseArgs({
  options: {
    url: { type: "string" },
    market: { type: "string" },
    out: { type: "string" },
    chromium: { type: "string" },
  },
});
if (args.url === undefined || args.market === undefined || args.out === undefined) {
  console.error("usage: node test/browser.mjs --url URL --market FILE --out DIR [--chromium PATH]");
  process.exit(1);
}

function findChromium() {
  if (args.chromium !== undefined) return args.chromium;
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // Not this name.
    }
  }
  console.error("no chromium on PATH: apt-get install chromium, or name one with --chromium PATH");
  return process.exit(1);
}

await mkdir(args.out, { recursive: true });
const browser = await chromium.launch({
  executablePath: findChromium(),
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
});
const context = await browser.newContext({
  viewport: { width: 1440, height: 900 },
  colorScheme: "light",
  acceptDownloads: true,
});
const page = await context.newPage();
page.setDefaultTimeout(15_000);
const consoleErrors = [];
// The page asks for a query that is wrong on purpose; Chromium logs that answer as an error.
let expectBadRequest = false;
page.on("console", (message) => {
  if (message.type() !== "error") return;
  if (expectBadRequest && /status of 400/.test(message.text())) return;
  consoleErrors.push(message.text());
});
page.on("pageerror", (error) => consoleErrors.push(String(error)));

function check(holds, what) {
  if (!holds) throw new Error(what);
}
function same(actual, expected, what) {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  check(a === b, `${what}\n  expected ${b}\n  but was  ${a}`);
}
async function step(name, run) {
  const began = Date.now();
  await run();
  console.log(`ok   ${name} (${Date.now() - began} ms)`);
}
/** Asks again until it holds: the page works asynchronously. */
async function until(what, holds, millis = 15_000) {
  const end = Date.now() + millis;
  let last;
  for (;;) {
    last = await holds();
    if (last === true) return;
    if (Date.now() > end) throw new Error(`${what} (after ${millis} ms; last: ${JSON.stringify(last)})`);
    await page.waitForTimeout(50);
  }
}

const id = (name) => page.getByTestId(name);
const orderRows = () => id("order-row");
const alertRows = () => id("alert-row");
const cells = (row, column) => row.locator(`td[data-column="${column}"]`).allInnerTexts();
const sortBy = (header) => id(header).locator(".sort").click();
const noSideScroll = async (where) => {
  const [content, view] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    document.documentElement.clientWidth,
  ]);
  check(content <= view, `${where}: the page scrolls sideways, ${content} px in ${view} px`);
};
/** Drags with the mouse itself, not with made-up events. */
async function drag(from, to) {
  const a = await from.boundingBox();
  const b = await to.boundingBox();
  check(a !== null && b !== null, "what is dragged and its goal are on the page");
  await page.mouse.move(a.x + a.width / 2, a.y + a.height / 2);
  await page.mouse.down();
  await page.mouse.move(a.x + a.width / 2 + 8, a.y + a.height / 2 - 8, { steps: 4 });
  await page.mouse.move(b.x + 40, b.y + b.height / 2, { steps: 12 });
  await page.mouse.up();
}
/** Publishes rows as a program does, beside the page. */
async function publish(csv) {
  const answer = await fetch(new URL("api/v1/orders", args.url), {
    method: "POST",
    headers: { "content-type": "text/csv" },
    body: csv,
  });
  check(answer.ok, `the rows are taken: ${answer.status}`);
}
async function query(sql) {
  const answer = await fetch(new URL("api/v1/sql", args.url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: sql, format: "json" }),
  });
  return await answer.json();
}
/** Both widths of one view, for the eye. */
async function pictures(name) {
  for (const [suffix, width, height] of [["", 1440, 900], ["-phone", 390, 844]]) {
    await page.setViewportSize({ width, height });
    await noSideScroll(`${name} at ${width} px`);
    await page.waitForTimeout(200);
    await page.screenshot({ path: join(args.out, `${name}${suffix}.png`) });
  }
  await page.setViewportSize({ width: 1440, height: 900 });
}
async function exported(button) {
  const [download] = await Promise.all([page.waitForEvent("download"), id(button).click()]);
  const path = join(args.out, download.suggestedFilename());
  await download.saveAs(path);
  return await readFile(path, "utf8");
}

let failed = false;
/** The sequence numbers of the first push, in order. */
let seqs = [];
try {
  await step("the page opens and connects", async () => {
    await page.goto(args.url);
    await until("the connection is live", async () => (await id("connection").innerText()) === "live");
    check((await orderRows().count()) === 0, "the server has orders already: start a fresh one");
    check((await id("orders-grid").innerText()).includes("Push data"), "the empty grid says what to do");
    await page.screenshot({ path: join(args.out, "empty.png") });
  });

  await step("push data: rows appear as they arrive, without a reload", async () => {
    await page.evaluate(() => { window.notReloaded = true; });
    await id("push-data").click();
    const counts = new Set();
    await until("ten order rows appear", async () => {
      const count = await orderRows().count();
      counts.add(count);
      return count === 10 || [...counts];
    });
    counts.delete(0);
    check(counts.size >= 4, `rows come in several steps, seen: ${[...counts]}`);
    check(await page.evaluate(() => window.notReloaded === true), "the page was not reloaded");
  });

  await step("the spoofing alert appears", async () => {
    await until("one alert row", async () => (await alertRows().count()) === 1 || (await alertRows().count()));
    const text = (await alertRows().first().innerText()).split("\t").map((cell) => cell.trim());
    for (const word of ["2015-04-17 12:00:20.000000000", "SNDL", "SpoofingTrader", "SPG-Oid13", "4600", "4"]) {
      check(text.includes(word), `the alert row has a cell “${word}”: ${text}`);
    }
    await until("it is announced", async () => (await id("announcement").textContent()).startsWith("New alert: ") || "silent");
    await until("the feed is done", async () => (await id("feed-progress").innerText()).includes("10/10") || "not yet");
  });

  await step("the evidence panel", async () => {
    await alertRows().first().focus();
    await page.keyboard.press("Enter");
    await until("four evidence rows", async () => (await id("evidence-row").count()) === 4 || (await id("evidence-row").count()));
    const panel = await id("evidence-panel").innerText();
    for (const word of ["4600", "threshold 4000", "threshold 3", "25 s", "version 1"]) {
      check(panel.includes(word), `the panel says “${word}”`);
    }
    same(await id("evidence-panel").locator("svg .stem").count(), 4, "the plot has four stems");
    await page.waitForTimeout(600);
    await page.screenshot({ path: join(args.out, "evidence.png") });
    await page.keyboard.press("Escape");
    await until("Escape closes it", async () => (await id("evidence-panel").count()) === 0);
    check(await alertRows().first().evaluate((row) => row === document.activeElement), "the focus is back on the row");
  });

  await step("sort by price", async () => {
    await sortBy("header-orders-price");
    same(await id("header-orders-price").getAttribute("aria-sort"), "ascending", "aria-sort");
    same(await cells(orderRows(), "price"), ["1.23", "1.23", ...Array(8).fill("1.25")], "prices ascending");
    await sortBy("header-orders-price");
    same(await cells(orderRows(), "price"), [...Array(8).fill("1.25"), "1.23", "1.23"], "prices descending");
    await page.keyboard.down("Shift");
    await sortBy("header-orders-quantity");
    await page.keyboard.up("Shift");
    same((await cells(orderRows(), "quantity")).slice(0, 3), ["1000", "1000", "1100"], "then by quantity");
    await sortBy("header-orders-seq");
    seqs = (await cells(orderRows(), "seq")).map(Number);
    check(seqs.every((seq, at) => at === 0 || seq > seqs[at - 1]), `seq ascending: ${seqs}`);
  });

  await step("export both grids as CSV", async () => {
    const alertId = (await cells(alertRows().first(), "alert_id"))[0];
    same(await exported("orders-export"), ordersCsv(seqs), "orders.csv");
    same(await exported("alerts-export"), alertsCsv(alertId, seqs[9]), "alerts.csv");
  });

  await step("filter", async () => {
    await id("filter-orders-event_type").fill("cancelled");
    await until("four cancelled orders", async () => (await orderRows().count()) === 4 || (await orderRows().count()));
    await id("filter-orders-quantity").fill("1100..1200");
    await until("two of them in the range", async () => (await orderRows().count()) === 2 || (await orderRows().count()));
    same((await exported("orders-export")).split("\r\n").length, 4, "the export is filtered: header, two rows, end");
    await id("filter-orders-quantity").fill(">many");
    check((await id("orders-filter-error").innerText()).includes("10..20"), "a wrong filter says how to write one");
    await id("filter-orders-quantity").fill("");
    await id("filter-orders-event_type").fill("");
    await until("all ten again", async () => (await orderRows().count()) === 10);
  });

  await step("group by dragging a column", async () => {
    await drag(id("header-orders-event_type").locator(".sort"), id("orders-group-bar"));
    const groups = id("orders-grid").getByTestId("group-row");
    await until("three groups", async () => (await groups.count()) === 3 || (await groups.count()));
    const text = (await groups.allInnerTexts()).map((row) => row.replace(/\s+/g, " ").trim());
    for (const want of ["new (5) Σ 6600", "cancelled (4) Σ 4600", "filled (1) Σ 2000"]) {
      check(text.some((row) => row.includes(want)), `a group “${want}” in ${JSON.stringify(text)}`);
    }
    await groups.filter({ hasText: "cancelled" }).click();
    await until("a group opens", async () => (await orderRows().count()) === 4 || (await orderRows().count()));
    await page.screenshot({ path: join(args.out, "grouped.png") });
    await id("orders-group-bar").getByRole("button", { name: "Do not group by event type" }).click();
    await until("no groups", async () => (await groups.count()) === 0);
  });

  await step("a second push raises a second alert", async () => {
    await until("the button is ready", async () => id("push-data").isEnabled());
    const first = (await cells(alertRows().first(), "alert_id"))[0];
    await id("push-data").click();
    await until("twenty order rows", async () => (await orderRows().count()) === 20 || (await orderRows().count()));
    await until("two alert rows", async () => (await alertRows().count()) === 2 || (await alertRows().count()));
    const ids = await cells(alertRows(), "alert_id");
    check(new Set(ids).size === 2 && ids[1] === first, `the new alert is on top with an id of its own: ${ids}`);
  });

  await step("paging", async () => {
    await id("orders-page-size").selectOption("10");
    same(await id("orders-range").innerText(), "rows 1–10 of 20", "the first page");
    await id("orders-page-next").click();
    same(await id("orders-range").innerText(), "rows 11–20 of 20", "the second page");
    check(Number((await cells(orderRows(), "seq"))[0]) > seqs[9], "it begins after the first push");
    check(await id("orders-page-next").isDisabled(), "there is no third page");
    await id("orders-page-first").click();
    await id("orders-page-size").selectOption("25");
  });

  await step("SQL: a result and an error with its place", async () => {
    await id("tab-sql").click();
    await id("sql-input").fill("select count(*) as n from orders");
    await id("sql-run").click();
    await until("the count", async () => (await id("sql-row").count()) === 1);
    same(await cells(id("sql-row"), "n"), ["20"], "twenty orders");
    await page.screenshot({ path: join(args.out, "sql.png") });
    expectBadRequest = true;
    await id("sql-input").fill("selec 1");
    await id("sql-input").press("Control+Enter");
    await id("sql-error").waitFor();
    const message = await id("sql-error").innerText();
    check(/line:? *\d+,? *column:? *\d+/i.test(message), `the error names its place: ${message}`);
    check(message.includes("^"), `the error points at its place: ${message}`);
    await page.waitForTimeout(200);
    expectBadRequest = false;
  });

  await step("dead letters", async () => {
    await id("tab-dead-letters").click();
    await id("dead_letters-grid").waitFor();
    await page.screenshot({ path: join(args.out, "dead-letters.png") });
    await id("tab-live").click();
  });

  await step("after a reload every row is there, once", async () => {
    await page.reload();
    await until("twenty orders", async () => (await orderRows().count()) === 20 || (await orderRows().count()));
    await until("two alerts", async () => (await alertRows().count()) === 2 || (await alertRows().count()));
    same(await page.locator("tr.fresh").count(), 0, "alerts that were there already do not flash");
  });

  await step("suppressed alerts are away until they are asked for, and say why", async () => {
    await publish(ordersOf("QuotingDesk"));
    await until("thirty orders", async () => (await orderRows().count()) === 25 && (await id("orders-range").innerText()).endsWith("of 30"));
    await until("the button counts it", async () => (await id("suppressed").innerText()) === "Show 1 suppressed");
    same(await alertRows().count(), 2, "alerts that call for work");
    await id("suppressed").click();
    same(await alertRows().count(), 3, "with the suppressed one");
    const row = alertRows().filter({ hasText: "QuotingDesk" });
    same(await cells(row, "suppressed"), ["quoting obligation"], "its reason");
    check((await cells(row, "severity"))[0].includes("suppressed"), "it is marked");
    check((await row.getAttribute("class")).includes("expected"), "it stands back");
    await id("suppressed").click();
    same(await alertRows().count(), 2, "hidden again");
  });

  for (const scheme of ["light", "dark"]) {
    const suffix = scheme === "light" ? "" : "-dark";
    await step(`desktop and phone, ${scheme}`, async () => {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width: 1440, height: 900 });
      await alertRows().first().click();
      await until("the evidence", async () => (await id("evidence-row").count()) === 4);
      await noSideScroll("desktop");
      await page.mouse.move(700, 20);
      await page.screenshot({ path: join(args.out, `desktop${suffix}.png`) });
      await page.setViewportSize({ width: 390, height: 844 });
      await noSideScroll("the evidence on a phone");
      await page.screenshot({ path: join(args.out, `phone-evidence${suffix}.png`) });
      await page.keyboard.press("Escape");
      await noSideScroll("a phone");
      await page.evaluate(() => {
        document.activeElement.blur();
        window.scrollTo(0, 0);
      });
      await page.screenshot({ path: join(args.out, `phone${suffix}.png`) });
      for (const tab of ["tab-traders", "tab-sql", "tab-dead-letters", "tab-live"]) {
        await id(tab).click();
        await noSideScroll(`${tab} on a phone`);
      }
    });
  }

  await step("a market: alerts of many detectors, by severity", async () => {
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize({ width: 1440, height: 900 });
    await publish(await readFile(args.market, "utf8"));
    const [{ n }] = await query("select count(*) as n from alerts where suppressed is null");
    check(n > 12, `the market raises alerts: ${n}`);
    await until("all are there", async () => (await id("alerts-range").innerText()).endsWith(`of ${n}`) || (await id("alerts-range").innerText()));
    await sortBy("header-alerts-severity");
    await sortBy("header-alerts-severity");
    same(await id("header-alerts-severity").getAttribute("aria-sort"), "descending", "aria-sort");
    const scores = (await cells(alertRows(), "severity")).map((text) => parseInt(text, 10));
    check(scores[0] >= 80 && scores.every((score, at) => at === 0 || score <= scores[at - 1]), `the gravest first: ${scores}`);
    check((await cells(alertRows(), "severity"))[0].includes("critical"), "in a word too");
    const detectors = new Set(await cells(alertRows(), "detector"));
    check(detectors.size >= 5, `many detectors: ${[...detectors]}`);
    check((await cells(alertRows(), "text"))[0].length > 40, "each says what happened");
    await pictures("market");
  });

  await step("traders: the SQL view's rows; a click shows the trader's alerts", async () => {
    await id("tab-traders").click();
    const view = await query("select trader, alerts, severity, hits, time, detectors, syms from traders");
    const rows = id("trader-row");
    await id("traders-page-size").selectOption("100");
    // The page has one row more: whose only alert is suppressed.
    await until("a row for each trader", async () => (await rows.count()) === view.length + 1 || (await rows.count()));
    const column = (name) => cells(rows, name);
    const shown = { trader: await column("trader"), alerts: await column("alerts"), severity: await column("severity"), hits: await column("hits"), detectors: await column("detectors") };
    for (const [at, row] of view.entries()) {
      same(shown.trader[at], row.trader, `trader ${at + 1}`);
      same([shown.alerts[at], shown.hits[at]].map(Number), [row.alerts, row.hits], `alerts and hits of ${row.trader}`);
      same(parseInt(shown.severity[at], 10), row.severity, `the severity of ${row.trader}`);
      const tallies = shown.detectors[at].trim().split(/\s+/).map(Number).filter((part) => !Number.isNaN(part));
      same([tallies.length, tallies.reduce((a, b) => a + b, 0)], [row.detectors, row.alerts], `the tallies of ${row.trader}`);
    }
    same(shown.trader.at(-1), "QuotingDesk", "who has nothing but a suppressed alert comes last");
    await id("traders-page-size").selectOption("25");
    await pictures("traders");
    await rows.first().click();
    await until("the alerts of one trader", async () => (await id("alerts-range").innerText()).endsWith(`of ${view[0].alerts}`) || (await id("alerts-range").innerText()));
    same([...new Set(await cells(alertRows(), "trader"))], [view[0].trader], "of nobody else");
    await alertRows().first().click();
    await until("its evidence", async () => (await id("evidence-row").count()) > 0);
    await pictures("trader");
    await page.keyboard.press("Escape");
    await id("only-trader").getByRole("button").click();
    same(await id("only-trader").count(), 0, "all traders again");
    await alertRows().filter({ hasText: "spoofing" }).first().click();
    await until("the evidence of another", async () => (await id("evidence-row").count()) > 0);
    await pictures("alerts");
    await page.keyboard.press("Escape");
    await page.evaluate(() => {
      document.activeElement.blur();
      for (const grid of document.querySelectorAll(".scroll")) grid.scrollTop = 0;
    });
    await pictures("list");
  });

  same(consoleErrors, [], "the console has no errors");
  console.log("ok   the console has no errors");
} catch (error) {
  failed = true;
  console.error(`FAIL ${error instanceof Error ? error.message : error}`);
  if (consoleErrors.length > 0) console.error(`console: ${consoleErrors.join("\n         ")}`);
  await page.screenshot({ path: join(args.out, "failure.png") }).catch(() => {});
} finally {
  await browser.close();
}
process.exit(failed ? 1 : 0);
