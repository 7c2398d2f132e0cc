//! What a guest may do wrong, and what becomes of it: it alone stops, at that event, for good.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use serde_json::json;
use support::{batches, config, engine, flow, hostile, hostile_with, of, run};
use tapewatch_detect::{Disabled, Engine, Shard, settle};
use tapewatch_guest::{Library, LoadError};

/// Runs the body until event 20, then `bad`; finds something at every event before.
fn from_event_20(bad: &str) -> Vec<u8> {
    hostile(&format!(
        "(if (result i32) (i64.lt_u (local.get 0) (i64.const 20)) (then (i32.const 16)) (else {bad}))"
    ))
}

fn put(at: u32, value: u32) -> String {
    format!("(i32.store (i32.const {at}) (i32.const {value}))")
}

/// Each misdeed, and words of the reason.
fn misdeeds() -> Vec<(&'static str, String, &'static str)> {
    let finding = |change: &str| format!("{change} (i32.const 16)");
    vec![
        ("a loop without end", "(loop $on (br $on)) unreachable".to_owned(), "ran too long"),
        ("a trap", "unreachable".to_owned(), "it gave up (trap unreachable)"),
        (
            "memory without end",
            "(loop $on (drop (memory.grow (i32.const 64))) (br $on)) unreachable".to_owned(),
            "memory",
        ),
        (
            "bulk writes without end",
            "(loop $on (memory.fill (i32.const 1024) (i32.const 0) (i32.const 60000)) (br $on)) unreachable"
                .to_owned(),
            "ran too long",
        ),
        ("an address out of its memory", "(i32.load (i32.const 99999999))".to_owned(), "out of bounds"),
        ("a division by zero", "(i32.div_u (i32.const 1) (i32.const 0))".to_owned(), "divide by zero"),
        ("a list out of its memory", finding(&put(16, 65_530)), "out of bounds"),
        ("too many findings", finding(&(put(16, 32_768) + &put(20, 65))), "65 things at one event"),
        ("a huge count of findings", finding(&put(20, 0x7fff_ffff)), "out of bounds"),
        ("a lookback of nothing", finding(&put(136, 0)), "looked back 0 ns"),
        ("too few measures", finding(&put(148, 0)), "0 measures, its description names 1"),
        ("evidence of the future", finding(&(put(152, 600) + &put(156, 1) + &put(600, 21))), "event 21 as evidence"),
        ("too much evidence", finding(&(put(152, 600) + &put(156, 1_001))), "1001 events as evidence"),
        ("too long a sentence", finding(&put(164, 2_001)), "2001 bytes"),
        (
            "a sentence as long as its memory",
            finding(&("(drop (memory.grow (i32.const 64)))".to_owned() + &put(164, 2_000_000))),
            "fuel",
        ),
        ("a sentence that is no text", finding(&(put(600, 0xffff_ffff) + &put(160, 600))), "utf-8"),
        ("a control character", finding(&(put(600, 0x0101_0101) + &put(160, 600))), "control character"),
    ]
}

#[test]
fn whatever_it_does_it_alone_stops_at_that_event() {
    let orders = flow(60);
    let rows = batches(&orders, &[60]);
    let others = run(&mut engine(&config(&[])), &rows);
    assert!(others.len() > 3);
    for (misdeed, body, reason) in misdeeds() {
        let code = from_event_20(&body);
        let mut made = engine(&config(&[("hostile", &code, json!({}))]));
        let hits = run(&mut made, &rows);
        let [notice] = &made.disabled()[..] else {
            unreachable!("{misdeed}");
        };
        assert_eq!((notice.detector, notice.seq), ("hostile", 20), "{misdeed}");
        assert!(
            notice.reason.to_lowercase().contains(reason),
            "{misdeed}: {}",
            notice.reason
        );
        assert!(notice.to_string().contains("all other detectors go on"));
        let mine: Vec<u64> = of("hostile", &hits)
            .iter()
            .map(|hit| hit.order.seq)
            .collect();
        assert_eq!(
            mine,
            (1..20).collect::<Vec<_>>(),
            "{misdeed}: its hits before stay"
        );
        let rest: Vec<_> = hits
            .into_iter()
            .filter(|hit| hit.detector != "hostile")
            .collect();
        assert_eq!(rest, others, "{misdeed}: the others' hits");
    }
}

#[test]
fn it_stops_at_the_same_event_however_rows_are_cut() {
    // Costs ever more: it is in debt at some event.
    let code = hostile(
        "(local $n i32)
         (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (local.set $n (i32.mul (global.get $calls) (i32.const 1000)))
         (loop $on (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $on (local.get $n)))
         (i32.const 16)",
    );
    let table = json!({"fuel_per_event": 20_000, "fuel_burst": 100_000});
    let of = config(&[("hostile", &code, table)]);
    let orders = flow(60);
    let mut expected = None;
    for sizes in [&[60][..], &[1], &[7, 1, 3]] {
        let mut made = engine(&of);
        let hits = run(&mut made, &batches(&orders, sizes));
        let all = (hits, made.disabled());
        assert_eq!(all.1.len(), 1);
        assert!((3..40).contains(&all.1[0].seq), "{:?}", all.1);
        assert_eq!(expected.get_or_insert(all.clone()), &all, "{sizes:?}");
    }
}

#[test]
fn stopped_it_stays_through_a_restart_until_it_is_configured_anew() {
    let code = from_event_20("unreachable");
    let of = config(&[("hostile", &code, json!({}))]);
    let rows = batches(&flow(60), &[10]);
    let mut first = engine(&of);
    run(&mut first, &rows[..3]);
    let saved = first.state().to_bytes();
    let mut second = engine(&of);
    second.load(&saved).unwrap();
    assert_eq!(second.disabled(), first.disabled());
    assert_eq!(run(&mut second, &rows[3..]), run(&mut first, &rows[3..]));
    first.clear();
    assert_eq!(
        first.disabled(),
        second.disabled(),
        "a clear does not mend it"
    );
    // Other limits: it begins anew, and fails anew.
    let mended = config(&[("hostile", &code, json!({"fuel_per_event": 30_000}))]);
    let mut third = Engine::with_guests(&of.1, Shard::WHOLE, mended.0).unwrap();
    third.load(&saved).unwrap();
    third.reconfigure(&mended.1).unwrap();
    assert_eq!(third.disabled(), []);
    run(&mut third, &rows[3..4]);
    assert_eq!(third.disabled()[0].seq, 31);
}

#[test]
fn one_that_cannot_be_saved_is_stopped_and_the_rest_is_saved() {
    let code = hostile_with("(i32.const 8)", "unreachable", "(i32.const 64)");
    let of = config(&[("hostile", &code, json!({}))]);
    let rows = batches(&flow(30), &[10]);
    let mut made = engine(&of);
    run(&mut made, &rows[..1]);
    let saved = made.state().to_bytes();
    assert!(
        made.disabled()[0]
            .reason
            .contains("it cannot be saved: it gave up")
    );
    assert_eq!(made.disabled()[0].seq, 10);
    let mut other = engine(&of);
    other.load(&saved).unwrap();
    assert_eq!(other.disabled(), made.disabled());
}

#[test]
fn what_a_shard_finds_after_another_stopped_does_not_count() {
    let code = from_event_20("unreachable");
    let of = config(&[("hostile", &code, json!({}))]);
    let orders = flow(60);
    let rows = batches(&orders, &[60]);
    let mut whole = engine(&of);
    let expected = run(&mut whole, &rows);
    let (mut hits, mut disabled): (Vec<_>, Vec<Disabled>) = Default::default();
    let mut engines: Vec<_> = (0..2)
        .map(|index| {
            Engine::with_guests(
                &of.1,
                Shard { index, count: 2 },
                std::sync::Arc::clone(&of.0),
            )
            .unwrap()
        })
        .collect();
    for engine in &mut engines {
        hits.push(run(engine, &rows));
        disabled.extend(engine.disabled());
    }
    assert_eq!(disabled.len(), 2, "each met its own event");
    let mut hits = tapewatch_detect::merge_shards(hits);
    let counted = settle(disabled, &mut hits);
    assert_eq!(counted, whole.disabled());
    assert_eq!(hits, expected);
    for engine in &mut engines {
        counted.iter().for_each(|notice| engine.disable(notice));
        assert_eq!(engine.disabled(), counted);
    }
}

#[test]
fn what_wants_anything_or_is_no_component_is_refused() {
    let library = Library::new().unwrap();
    let wants = wat::parse_str(
        r#"(component
             (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64)))))
             (import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result u64))))))"#,
    );
    let error = library.add(&wants.unwrap()).unwrap_err();
    let LoadError::Imports(names) = &error else {
        unreachable!("{error}");
    };
    assert_eq!(
        names,
        "wasi:clocks/wall-clock@0.2.0, wasi:random/random@0.2.0"
    );
    let module = wat::parse_str("(module)").unwrap();
    for (bytes, reason) in [
        (&b"nothing"[..], "not a WebAssembly component"),
        (&module, "not a WebAssembly component"),
        (
            &wat::parse_str("(component)").unwrap(),
            "does not describe itself",
        ),
        (&vec![0; 16 << 20 | 1], "16777217 bytes"),
    ] {
        let error = library.add(bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_table_is_checked_by_name() {
    let library = Library::new().unwrap();
    let digest = library.add(support::RUST).unwrap();
    let refused = |id, table: serde_json::Value| {
        let table = table.as_object().unwrap();
        library.complete(id, digest, table).unwrap_err().to_string()
    };
    for (table, reason) in [
        (
            json!({"cancels": 3}),
            "unknown parameter \"cancels\": there are lookback, cancel_count",
        ),
        (
            json!({"lookback": "0s"}),
            "lookback = \"0s\": must be longer than nothing",
        ),
        (
            json!({"cancel_count": -1}),
            "cancel_count = \"-1\": must not be negative",
        ),
        (json!({"cancel_quantity": "1.000000001"}), "cancel_quantity"),
        (
            json!({"memory_bytes": 0}),
            "memory_bytes = 0: must be a whole number",
        ),
        (json!({"fuel_burst": 10}), "fuel_burst must not be less"),
    ] {
        let error = refused("cancel_burst", table);
        assert!(error.contains(reason), "{error}");
    }
    assert!(refused("burst", json!({})).contains("is of a detector that is called cancel_burst"));
}

#[test]
fn an_engine_without_its_code_says_which() {
    let (_, config) = config(&[("cancel_burst", support::RUST, json!({}))]);
    let error = Engine::new(&config, Shard::WHOLE)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("detector cancel_burst"), "{error}");
    assert!(error.contains(&support::digest(support::RUST)), "{error}");
}
