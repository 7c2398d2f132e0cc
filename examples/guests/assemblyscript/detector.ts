// A detector as a WebAssembly component: an order that is much larger than the instrument's orders
// usually are.
//
// Invariant: what it finds is a function of the events of an instrument, in their order. It keeps the
// sums of two blocks of orders for each instrument, nothing else.

import { Writer, begin, room, text, trap } from "./abi";
export { cabi_realloc } from "./abi";
export { loadState as load };

const COUNT: u8 = 0;
const TIME_SPAN: u8 = 2;
const RATIO: u8 = 5;
const NEW_ORDERS: u8 = 1; // the first of the flags
const TRADER: i32 = 1;

// The average of the last one to two blocks of orders.
class Usual {
  quantity: i64 = 0;
  count: i64 = 0;
  quantityBefore: i64 = 0;
  countBefore: i64 = 0;
}

let multiple: i64 = 0; // 10⁻⁹
let block: i64 = 0;
let lookback: i64 = 0;
const usual = new Map<u32, Usual>();
const traders = new Map<u32, string>();

function parameter(at: Writer, name: string, kind: u8, value: string, doc: string): void {
  at.text(name).u8(kind).text(value).text(doc);
}

export function describe(): usize {
  begin();
  const answer = room(56);
  const description = new Writer(answer).text("large_order").u32(1);
  description.text("An order much larger than is usual");
  description.text(
    "At a new order: its quantity is at least multiple times the average of the instrument's new orders " +
      "before it, the last one to two blocks of them. Before the first block is full nothing is found. " +
      "Instruments whose orders are large in the auctions alone are found every day.",
  );
  const parameters = description.list(3, 28);
  parameter(parameters, "multiple", RATIO, "10", "How many times the average.");
  parameter(parameters, "block", COUNT, "100", "Orders in a block.");
  parameter(parameters, "lookback", TIME_SPAN, "1m", "Orders of one trader join into an alert that long.");
  description.list(1, 8).text("quantity");
  description.u8(NEW_ORDERS);
  return answer;
}

export function configure(values: usize, count: i32): usize {
  if (count != 3) trap();
  multiple = load<i64>(values);
  block = load<i64>(values, 8);
  lookback = load<i64>(values, 16);
  begin();
  const answer = room(12);
  if (block == 0) {
    new Writer(answer).u8(1).text("block must be above 0");
  } else {
    new Writer(answer).u8(0);
  }
  return answer;
}

export function name(whose: i32, number: u32, at: usize, bytes: usize): void {
  if (whose == TRADER) traders.set(number, text(at, bytes));
  begin();
}

export function apply(
  seq: i64, time: i64, instrument: u32, trader: u32, owner: u32, order: i64, execution: i64,
  what: i32, side: i32, price: i64, quantity: i64, shown: i64, marks: u32,
): usize {
  begin();
  const answer = room(8);
  let known: Usual;
  if (usual.has(instrument)) {
    known = usual.get(instrument);
  } else {
    known = new Usual();
    usual.set(instrument, known);
  }
  const count = known.count + known.countBefore;
  const average = count == 0 ? 0 : (known.quantity + known.quantityBefore) / count;
  const warm = known.countBefore > 0;
  known.quantity += quantity;
  known.count += 1;
  if (known.count == block) {
    known.quantityBefore = known.quantity;
    known.countBefore = known.count;
    known.quantity = 0;
    known.count = 0;
  }
  const least = average > i64.MAX_VALUE / 1000 ? i64.MAX_VALUE : times(average, multiple);
  if (!warm || quantity < least) {
    new Writer(answer).u32(0).u32(0);
    return answer;
  }
  const finding = new Writer(answer).list(1, 40);
  finding.u32(trader).i64(lookback);
  finding.list(1, 16).i64(quantity * 10).i64(least * 10); // from 10⁻⁸ to 10⁻⁹
  finding.u32(0).u32(0);
  const who = traders.has(trader) ? traders.get(trader) : "someone unnamed";
  finding.text(who + " entered an order much larger than the average of the " + count.toString() + " before it");
  return answer;
}

// `value` times `ratio`, which is in units of 10⁻⁹, cut to whole units; at most a tenth of what there is.
function times(value: i64, ratio: i64): i64 {
  const billion: i64 = 1_000_000_000;
  const most: i64 = i64.MAX_VALUE / 10;
  const whole = ratio / billion;
  if (whole > 0 && value > most / (whole + 1)) return most;
  const part = ratio % billion;
  return value * whole + (value / billion) * part + ((value % billion) * part) / billion;
}

export function save(): usize {
  begin();
  const answer = room(8);
  const instruments = usual.keys();
  const state = new Writer(answer).list(instruments.length * 40, 1);
  for (let i = 0; i < instruments.length; i++) {
    const known = usual.get(instruments[i]);
    state.i64(instruments[i]).i64(known.quantity).i64(known.count);
    state.i64(known.quantityBefore).i64(known.countBefore);
  }
  return answer;
}

function loadState(at: usize, bytes: usize): usize {
  for (let i: usize = 0; i + 40 <= bytes; i += 40) {
    const known = new Usual();
    known.quantity = load<i64>(at + i, 8);
    known.count = load<i64>(at + i, 16);
    known.quantityBefore = load<i64>(at + i, 24);
    known.countBefore = load<i64>(at + i, 32);
    usual.set(<u32>load<i64>(at + i), known);
  }
  begin();
  const answer = room(12);
  new Writer(answer).u8(0);
  return answer;
}
