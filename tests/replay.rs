//! Ten million orders: the known answer from CSV and Parquet with any number of threads, and the
//! same answer from DuckDB and Polars on a million.
//!
//! The data is made by `bench/gen_orders.py` with the Python of `TAPEWATCH_PYTHON` (made by
//! `cargo xtask test`) and kept beside the build, since it is the same every time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::{root, run, tapewatch};

fn python() -> String {
    std::env::var("TAPEWATCH_PYTHON").expect(
        "TAPEWATCH_PYTHON is not set: `cargo xtask test` makes a Python with duckdb, polars, numpy and pyarrow \
         and sets it",
    )
}

/// The generated files of so many rows, made once: `.csv` and `.parquet` can be appended.
fn generated(rows: u64) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("orders");
    fs::create_dir_all(&cache).unwrap();
    let prefix = cache.join(format!("orders-{rows}"));
    let done = prefix.with_extension("done");
    if !done.exists() {
        let (code, _, error) = run(Command::new(python())
            .arg(root().join("bench/gen_orders.py"))
            .arg(rows.to_string())
            .arg(&prefix));
        assert_eq!(code, 0, "{error}");
        fs::write(done, "").unwrap();
    }
    prefix
}

/// Hits, sum of quantities, sum of counts.
fn replayed(file: &Path, threads: &str) -> (u64, u64, u64) {
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

#[test]
fn ten_million_orders_give_the_known_answer() {
    let prefix = generated(10_000_000);
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
fn peers_agree_on_a_million_orders() {
    let prefix = generated(1_000_000);
    for format in ["csv", "parquet"] {
        let file = prefix.with_extension(format);
        let ours = replayed(&file, "1");
        assert!(ours.0 > 100, "{ours:?}");
        for peer in ["duckdb", "polars"] {
            let (code, out, error) = run(Command::new(python())
                .arg(root().join("bench/peers.py"))
                .arg(peer)
                .arg(&file)
                .arg("2"));
            assert_eq!(code, 0, "{peer}: {error}");
            let theirs: Value = serde_json::from_str(out.trim()).unwrap();
            let number = |name: &str| theirs[name].as_u64().unwrap();
            assert_eq!(
                (number("hits"), number("sum_quantity"), number("sum_count")),
                ours,
                "{peer} on {format}"
            );
        }
    }
}
