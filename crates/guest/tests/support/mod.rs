//! The examples, tapes for them, and components of hand-written code.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tapewatch_detect::{DetectConfig, Engine, Guests, Shard};
use tapewatch_guest::{Digest, Library};
use tapewatch_model::{EventType, Flags, Hit, Order, OrderBatch, Price, Quantity, Side, Time};

pub(crate) const RUST: &[u8] = include_bytes!("../../../../examples/guests/rust/cancel_burst.wasm");
pub(crate) const ASSEMBLYSCRIPT: &[u8] =
    include_bytes!("../../../../examples/guests/assemblyscript/large_order.wasm");

/// An order event at a time in milliseconds.
pub(crate) fn order(millis: i64, sym: &str, trader: &str, kind: EventType, pieces: i64) -> Order {
    Order {
        seq: 0,
        time: Time::from_nanos(1_700_000_000_000_000_000 + millis * 1_000_000),
        sym: sym.to_owned(),
        event_type: kind,
        trader: trader.to_owned(),
        side: Side::Buy,
        order_id: String::new(),
        price: Price::default(),
        quantity: Quantity::from_whole(pieces).unwrap(),
        account: String::new(),
        exec_id: String::new(),
        display: None,
        flags: Flags::NONE,
    }
}

/// A flow of news and cancels of a few traders and instruments, with ties, late rows, bursts and
/// orders that are large; the same every time.
pub(crate) fn flow(rows: u64) -> Vec<Order> {
    let mut seed = 7_u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let mut millis = 0;
    let mut flow = Vec::new();
    for _ in 0..rows {
        millis += draw(60) as i64 - 5;
        let kind = if draw(2) == 0 {
            EventType::New
        } else {
            EventType::Cancelled
        };
        let pieces = 50 + draw(100) + if draw(70) == 0 { 5_000 } else { 0 };
        let (sym, trader) = (format!("S{}", draw(3)), format!("T{}", draw(4)));
        flow.push(order(millis, &sym, &trader, kind, pieces as i64));
    }
    flow
}

/// The rows numbered from 1, in batches of these sizes, over and over.
pub(crate) fn batches(orders: &[Order], sizes: &[usize]) -> Vec<OrderBatch> {
    let (mut rest, mut seq, mut batches) = (orders, 1, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*size).min(rest.len()));
        let mut batch = OrderBatch::default();
        for order in now {
            batch.push(&order.as_row().as_bytes()).unwrap();
        }
        batch.number_from(seq);
        seq += now.len() as u64;
        rest = later;
        batches.push(batch);
    }
    batches
}

/// The examples, and what else is given, in a library and a configuration. Tables by detector.
pub(crate) fn config(codes: &[(&str, &[u8], Value)]) -> (Arc<dyn Guests>, DetectConfig) {
    // Compiled once a process.
    static LIBRARY: LazyLock<Arc<Library>> = LazyLock::new(|| Arc::new(Library::new().unwrap()));
    let library = Arc::clone(&LIBRARY);
    let mut tables = json!({"spoofing": {"cancel_count": 3, "cancel_quantity": 300}});
    for (id, bytes, table) in codes {
        let digest = library.add(bytes).unwrap();
        let table = table.as_object().unwrap();
        tables[*id] = Value::Object(library.complete(id, digest, table).unwrap());
    }
    (library, DetectConfig::from_json(&tables).unwrap())
}

pub(crate) fn engine(of: &(Arc<dyn Guests>, DetectConfig)) -> Engine {
    Engine::with_guests(&of.1, Shard::WHOLE, Arc::clone(&of.0)).unwrap()
}

pub(crate) fn run(engine: &mut Engine, batches: &[OrderBatch]) -> Vec<Hit> {
    let mut hits = Vec::new();
    for batch in batches {
        engine.apply(batch, &mut hits);
    }
    hits
}

pub(crate) fn of<'a>(detector: &str, hits: &'a [Hit]) -> Vec<&'a Hit> {
    hits.iter().filter(|hit| hit.detector == detector).collect()
}

/// A component called `hostile` of hand-written code. `apply` is the body of that function: it finds
/// the sequence number in local 0, and leaves the address of a list of findings; 8 holds an empty one,
/// and 16 one of one finding that is as it should be.
pub(crate) fn hostile(apply: &str) -> Vec<u8> {
    hostile_with(apply, "(i32.const 0)", "(i32.const 64)")
}

/// The same, with the bodies of `save` (leaves the address of a list of bytes) and of `load` (of a
/// result) too.
pub(crate) fn hostile_with(apply: &str, save: &str, load: &str) -> Vec<u8> {
    let mut memory = vec![0_u8; 1_024];
    let mut put = |at: usize, words: &[u32]| {
        for (word, place) in words.iter().zip((at..).step_by(4)) {
            memory[place..place + 4].copy_from_slice(&word.to_le_bytes());
        }
    };
    put(16, &[128, 1]); // one finding
    put(128, &[5, 0, 1_000_000_000, 0, 192, 1, 0, 0, 512, 4]);
    put(192, &[1, 0, 1, 0]); // its measure
    // its description: id, version, title, rule, no parameters, one measure, wants all
    put(256, &[520, 7, 1, 512, 4, 512, 4, 0, 0, 320, 1, 15]);
    put(320, &[512, 4]);
    memory[512..516].copy_from_slice(b"size");
    memory[520..527].copy_from_slice(b"hostile");
    let mut data = String::new();
    memory
        .iter()
        .for_each(|byte| write!(data, "\\{byte:02x}").unwrap());
    let core = format!(
        r#"(module
          (memory (export "memory") 1)
          (data (i32.const 0) "{data}")
          (global $free (mut i32) (i32.const 4096))
          (global $calls (mut i32) (i32.const 0))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $free (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const 0xfff0)))
            (global.get $free)
            (global.set $free (i32.add (global.get $free) (local.get 3))))
          (func (export "describe") (result i32) (i32.const 256))
          (func (export "configure") (param i32 i32) (result i32) (i32.const 64))
          (func (export "name") (param i32 i32 i32 i32))
          (func (export "apply")
            (param i64 i64 i32 i32 i32 i64 i64 i32 i32 i64 i64 i64 i32) (result i32) {apply})
          (func (export "save") (result i32) {save})
          (func (export "load") (param i32 i32) (result i32) {load}))"#
    );
    with_core(ASSEMBLYSCRIPT, &wat::parse_str(core).unwrap())
}

/// The component with another core module in it.
fn with_core(component: &[u8], core: &[u8]) -> Vec<u8> {
    const HEAD: usize = 8;
    const CORE_MODULE: u8 = 1;
    let mut out = component[..HEAD].to_vec();
    let mut rest = &component[HEAD..];
    let mut replaced = 0;
    while let [id, after @ ..] = rest {
        let (length, digits) = number(after);
        let (section, later) = after[digits..].split_at(length);
        let section = if *id == CORE_MODULE { core } else { section };
        replaced += usize::from(*id == CORE_MODULE);
        out.push(*id);
        let mut length = section.len();
        while length > 0x7f {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(section);
        rest = later;
    }
    assert_eq!(replaced, 1);
    out
}

/// A number in LEB128, and of how many bytes it is.
fn number(bytes: &[u8]) -> (usize, usize) {
    let digits = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let value = bytes[..digits].iter().rev();
    (
        value.fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f)),
        digits,
    )
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}
