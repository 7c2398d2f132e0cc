// A kdb+ client of Tapewatch as users of Node.js write it, for tests/kdb.rs: subscribes, publishes two rows one way
// and one another, asks, and is refused. Its table name goes as a text, its numbers as floats.
const assert = require("node:assert");
const { promisify } = require("node:util");
const nodeq = require("node-q");

async function main(port) {
  const con = await promisify(nodeq.connect)({ host: "127.0.0.1", port: Number(port), user: "node", password: "x" });
  con.on("error", (error) => { throw error; });
  const ask = promisify(con.k.bind(con));
  const send = promisify(con.ks.bind(con));
  assert.equal(await ask("2+2"), 4);
  const [name, schema] = await ask(".u.sub", "order", "`NODE");
  assert.deepEqual([name, schema], ["order", []]);
  const seen = [];
  const done = new Promise((resolve) => {
    con.on("upd", (table, rows) => {
      assert.equal(table, "order");
      seen.push(...rows);
      if (seen.length === 2) resolve();
    });
  });
  const time = new Date(Date.UTC(2015, 3, 17, 12, 0, 0, 250));
  const row = (sym, id) => [time, "`" + sym, "`new", "trader", "`B", id, 1.25, 100];
  await send(".u.upd", "order", row("NODE", "N-1"));
  await send(".u.upd", "`order", row("ELSE", "E-1"));
  await ask("upd", "order", { time, sym: "`NODE", eventType: "`cancelled", trader: "trader", side: "`B", orderID: "N-2", price: 1.25, quantity: 100 });
  await done;
  assert.deepEqual(seen.map((one) => [one.sym, one.orderID, one.price]), [["NODE", "N-1", 1.25], ["NODE", "N-2", 1.25]]);
  assert.equal(await ask("count order"), 3);
  const rows = await ask("select n:count i by sym from order");
  assert.equal(JSON.stringify(rows).includes("ELSE"), true);
  await assert.rejects(ask("exit 0"), /nyi/);
  await assert.rejects(ask(".u.upd", "trade", row("A", "1")), /trade/);
  con.close(() => console.log("ok"));
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
