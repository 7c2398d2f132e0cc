//! Runs every tape under `tests/tapes/<detector>/`: events in, exactly these hits out.
//!
//! A tape is a text file. `#` begins a comment. Lines, in any number and order:
//!
//! ```text
//! set lookback=25s                  a parameter of the detector
//! reference {"linked":{"A":"B"}}    reference tables
//! event 0 cancelled S 1100 [id]     at 0 s: a row of SYM/TRADER; `|` before it joins the bucket before
//! event 0 new B 5 o1 price=10.5 trader=T2 sym=S account=A exec=X show=1 flags=ioc,agency
//!                                   what is told beside, in any order
//! expect wj: 25=4400/4 26=5500/5    in this mode (or `all`): hits, time=measure/measure…, in order
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs;
use std::path::Path;

use tapewatch_detect::{DetectConfig, Engine, Shard, detectors};
use tapewatch_model::{EventType, Flags, Hit, Order, OrderBatch, Price, Quantity, Side, Time};

#[derive(Default)]
struct Tape {
    settings: Vec<String>,
    reference: Option<serde_json::Value>,
    buckets: Vec<OrderBatch>,
    expected: Vec<(String, String)>,
}

fn time_of(seconds: &str) -> Time {
    let price = Price::parse(seconds.as_bytes()).expect("seconds with up to 9 decimals");
    Time::from_nanos(1_429_272_000_000_000_000 + price.units())
}

/// An `event` line: what must stand there, and the words behind it.
fn row([time, kind, side, quantity_text]: [&str; 4], rest: &[&str]) -> Order {
    let quantity = |text: &str| Quantity::parse(text.as_bytes()).expect("quantity");
    let mut order = Order {
        seq: 0,
        time: time_of(time),
        sym: "SYM".to_owned(),
        event_type: EventType::parse(kind.as_bytes()).expect("event type"),
        trader: "TRADER".to_owned(),
        side: Side::parse(side.as_bytes()).expect("side"),
        order_id: String::new(),
        price: Price::parse(b"1.25").unwrap(),
        quantity: quantity(quantity_text),
        account: String::new(),
        exec_id: String::new(),
        display: None,
        flags: Flags::NONE,
    };
    for word in rest {
        match word.split_once('=') {
            None => order.order_id = (*word).to_owned(),
            Some(("price", text)) => order.price = Price::parse(text.as_bytes()).unwrap(),
            Some(("trader", text)) => order.trader = text.to_owned(),
            Some(("sym", text)) => order.sym = text.to_owned(),
            Some(("account", text)) => order.account = text.to_owned(),
            Some(("exec", text)) => order.exec_id = text.to_owned(),
            Some(("show", text)) => order.display = Some(quantity(text)),
            Some(("flags", text)) => {
                order.flags = Flags::parse(text.replace(',', " ").as_bytes()).unwrap();
            }
            Some(other) => panic!("{other:?} is nothing that an event tells"),
        }
    }
    order
}

fn read(path: &Path) -> Tape {
    let mut tape = Tape::default();
    let mut seq = 0;
    for line in fs::read_to_string(path).unwrap().lines() {
        let line = line.split('#').next().unwrap().trim();
        let (joined, line) = match line.strip_prefix('|') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["reference", ..] => {
                let json = line.trim_start_matches("reference");
                tape.reference = Some(serde_json::from_str(json).expect("JSON"));
            }
            ["set", setting] => tape.settings.push((*setting).to_owned()),
            ["event", time, kind, side, quantity, rest @ ..] => {
                if !joined {
                    let mut bucket = OrderBatch::default();
                    bucket.number_from(seq + 1);
                    tape.buckets.push(bucket);
                }
                seq += 1;
                let row = row([time, kind, side, quantity], rest);
                tape.buckets
                    .last_mut()
                    .expect("`|` needs a bucket")
                    .push(&row.as_row().as_bytes())
                    .unwrap();
            }
            ["expect", mode, hits @ ..] => {
                let mode = mode.strip_suffix(':').expect("expect MODE:");
                let modes = if mode == "all" {
                    vec!["seq", "wj1", "wj"]
                } else {
                    vec![mode]
                };
                let hits = hits.join(" ");
                tape.expected
                    .extend(modes.iter().map(|mode| ((*mode).to_owned(), hits.clone())));
            }
            _ => panic!("{}: {line:?} is no line of a tape", path.display()),
        }
    }
    tape
}

fn render(hits: &[Hit]) -> String {
    let hit = |hit: &Hit| {
        let nanos = hit.order.time.nanos() - 1_429_272_000_000_000_000;
        let measures: Vec<_> = hit.measures.iter().map(|m| m.value.to_string()).collect();
        format!("{}={}", Price::from_units(nanos), measures.join("/"))
    };
    hits.iter().map(hit).collect::<Vec<_>>().join(" ")
}

fn config(detector: &str, tape: &Tape, mode: &str) -> DetectConfig {
    let mut config = DetectConfig::default();
    config.only(&[detector.to_owned()]).unwrap();
    if let Some(tables) = &tape.reference {
        config.refer(tables).unwrap();
    }
    for setting in &tape.settings {
        config.set(&format!("{detector}.{setting}")).unwrap();
    }
    // A detector without modes gives the same under any name.
    if config
        .params(detector)
        .is_some_and(|params| params.contains_key("mode"))
    {
        config.set(&format!("{detector}.mode={mode}")).unwrap();
    }
    config
}

fn run(config: &DetectConfig, buckets: &[OrderBatch]) -> Vec<Hit> {
    let mut engine = Engine::new(config, Shard::WHOLE).unwrap();
    let mut hits = Vec::new();
    let buckets = buckets.iter();
    buckets.for_each(|bucket| engine.apply(bucket, &mut hits));
    hits
}

/// The same with all rows in one bucket, and with the engine saved and taken in after every bucket.
fn run_otherwise(config: &DetectConfig, buckets: &[OrderBatch]) -> [Vec<Hit>; 2] {
    let mut all = OrderBatch::default();
    let mut saved: Option<Vec<u8>> = None;
    let mut hits = Vec::new();
    for bucket in buckets {
        all.append(bucket).unwrap();
        let mut engine = Engine::new(config, Shard::WHOLE).unwrap();
        if let Some(saved) = &saved {
            engine.load(saved).unwrap();
        }
        engine.apply(bucket, &mut hits);
        saved = Some(engine.state().to_bytes());
    }
    [run(config, &[all]), hits]
}

#[test]
fn every_tape_gives_exactly_its_hits() {
    let root = Path::new("tests/tapes");
    for detector in detectors() {
        let mut files: Vec<_> = fs::read_dir(root.join(detector.id))
            .expect("every detector has a folder of tapes")
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "tape")
            })
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no tape", detector.id);
        for path in files {
            let tape = read(&path);
            assert!(
                !tape.expected.is_empty(),
                "{} expects nothing",
                path.display()
            );
            for (mode, expected) in &tape.expected {
                let config = config(detector.id, &tape, mode);
                let hits = run(&config, &tape.buckets);
                if !matches!(mode.as_str(), "wj" | "wj1") {
                    for otherwise in run_otherwise(&config, &tape.buckets) {
                        assert_eq!(otherwise, hits, "{}: other buckets", path.display());
                    }
                }
                assert_eq!(
                    &render(&hits),
                    expected,
                    "{} in mode {mode}",
                    path.display()
                );
                for hit in &hits {
                    assert_eq!(hit.evidence.len() as u64, hit.evidence_total);
                    assert!(
                        hit.evidence.contains(&hit.order.seq),
                        "a hit rests on its own event"
                    );
                }
            }
        }
    }
}
