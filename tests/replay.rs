//! Replays beside DuckDB and Polars: the known answers of ten million orders, and the same answer
//! from all on orders that nobody has seen before.
//!
//! The data is made by `bench/gen_orders.py` with the Python of `TAPEWATCH_PYTHON` (made by
//! `cargo xtask test`). Files of known answers are kept beside the build; those of a random seed are
//! deleted. `TAPEWATCH_SEED` repeats a seed that a failure named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::{root, run, tapewatch};

/// Hits, sum of quantities, sum of counts.
type Answer = (u64, u64, u64);

/// The seed of `bench/gen_orders.py` when none is named.
const KNOWN_SEED: u64 = 20_240_105;
/// Divides the time of day: the same orders in 20 minutes.
const DENSE: u64 = 25;

fn python() -> String {
    std::env::var("TAPEWATCH_PYTHON").expect(
        "TAPEWATCH_PYTHON is not set: `cargo xtask test` makes a Python with duckdb, polars, numpy and pyarrow \
         and sets it",
    )
}

/// Writes `PREFIX.csv` and `PREFIX.parquet`.
fn generate(prefix: &Path, rows: u64, seed: u64, squeeze: u64) {
    let numbers = [seed, squeeze].map(|number| number.to_string());
    let (code, _, error) = run(Command::new(python())
        .arg(root().join("bench/gen_orders.py"))
        .arg(rows.to_string())
        .arg(prefix)
        .args(numbers));
    assert_eq!(code, 0, "{error}");
}

/// The ten million orders, made once: `.csv` and `.parquet` can be appended.
fn ten_million(squeeze: u64) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("orders");
    fs::create_dir_all(&cache).unwrap();
    let prefix = cache.join(format!("orders-10000000-{squeeze}"));
    let done = prefix.with_extension("done");
    if !done.exists() {
        generate(&prefix, 10_000_000, KNOWN_SEED, squeeze);
        fs::write(done, "").unwrap();
    }
    prefix
}

fn replayed(file: &Path, threads: &str) -> Answer {
    let (code, out, error) = run(tapewatch()
        .arg("replay")
        .arg(file)
        .args(["--threads", threads]));
    assert_eq!(code, 0, "{error}");
    assert!(error.contains(" 0 rejects"), "{error}");
    let sum = |hits: &[Value], measure: usize| -> u64 {
        let value = |hit: &Value| {
            hit["measures"][measure]["value"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        hits.iter().map(value).sum()
    };
    let hits: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        hits.is_sorted_by_key(|hit| hit["seq"].as_u64()),
        "in the order of the events"
    );
    (hits.len() as u64, sum(&hits, 0), sum(&hits, 1))
}

fn of_peer(peer: &str, file: &Path, threads: &str) -> Answer {
    let (code, out, error) = run(Command::new(python())
        .arg(root().join("bench/peers.py"))
        .arg(peer)
        .arg(file)
        .arg(threads));
    assert_eq!(code, 0, "{peer}: {error}");
    let theirs: Value = serde_json::from_str(out.trim()).unwrap();
    let number = |name: &str| theirs[name].as_u64().unwrap();
    (number("hits"), number("sum_quantity"), number("sum_count"))
}

#[test]
fn ten_million_orders_give_the_known_answer() {
    let prefix = ten_million(1);
    for (format, threads) in [
        ("csv", "1"),
        ("csv", "2"),
        ("parquet", "1"),
        ("parquet", "3"),
    ] {
        let answer = replayed(&prefix.with_extension(format), threads);
        assert_eq!(
            answer,
            (8_209, 51_432_401, 78_345),
            "{format}, {threads} threads"
        );
    }
}

#[test]
fn ten_million_orders_in_twenty_minutes_give_the_known_number_of_hits() {
    let file = ten_million(DENSE).with_extension("parquet");
    let mut replay = tapewatch()
        .arg("replay")
        .arg(&file)
        .args(["--threads", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Counted on the way: all of them as text would fill the memory.
    let hits = BufReader::new(replay.stdout.take().unwrap());
    let hits = hits.split(b'\n').map(Result::unwrap).count();
    assert!(replay.wait().unwrap().success());
    assert_eq!(hits, 380_535);
}

/// One that no run had before, unless the environment names one.
fn seed() -> u64 {
    let named = std::env::var("TAPEWATCH_SEED").ok();
    let seed = named.map_or_else(
        || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_nanos() as u64 >> 10 & 0xffff_ffff
        },
        |text| text.parse().expect("TAPEWATCH_SEED is a whole number"),
    );
    println!("TAPEWATCH_SEED={seed}");
    seed
}

#[test]
fn peers_agree_on_orders_of_a_random_seed() {
    let seed = seed();
    let dir = tempfile::tempdir().unwrap();
    for squeeze in [1, DENSE] {
        let prefix = dir.path().join(format!("orders-{squeeze}"));
        generate(&prefix, 300_000, seed, squeeze);
        let expected = of_peer("duckdb", &prefix.with_extension("parquet"), "2");
        assert!(expected.0 > 1_000, "{expected:?}");
        for (format, threads) in [
            ("csv", "1"),
            ("csv", "2"),
            ("parquet", "1"),
            ("parquet", "2"),
        ] {
            let file = prefix.with_extension(format);
            let what = format!(
                "{format}, {threads} threads, squeezed {squeeze} times; TAPEWATCH_SEED={seed}"
            );
            assert_eq!(replayed(&file, threads), expected, "replay of {what}");
            for peer in ["duckdb", "polars"] {
                assert_eq!(of_peer(peer, &file, threads), expected, "{peer} on {what}");
            }
        }
    }
}
