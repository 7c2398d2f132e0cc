//! Measures how many rows a second one core decodes from CSV: no files, nothing random.
//!
//! `cargo run --release -p tapewatch-connect --example csv_speed -- [ROWS] [RUNS] [quoted]`

use std::fmt::Write;
use std::time::Instant;

use tapewatch_connect::CsvOrders;
use tapewatch_model::{OrderBatch, OrderSource};

const BATCH_ROWS: usize = 8_192;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| {
        let given = arguments.get(index).and_then(|text| text.parse().ok());
        given.unwrap_or(default)
    };
    let (rows, runs) = (number(0, 2_000_000), number(1, 7));
    let quoted = arguments.iter().any(|argument| argument == "quoted");
    let text = sample(rows, quoted);
    println!("{rows} rows, {} bytes", text.len());
    for run in 1..=runs {
        let started = Instant::now();
        let (orders, refused, check) = read(&text);
        let seconds = started.elapsed().as_secs_f64();
        let speed = (orders + refused) as f64 / seconds / 1e6;
        println!(
            "run {run}: {orders} orders, {refused} refused, check {check}, {seconds:.3} s, {speed:.2} million rows/s"
        );
    }
}

/// Orders, dead letters and a sum over what was read.
fn read(text: &str) -> (usize, usize, i64) {
    let mut orders = OrderBatch::default();
    let mut refused = Vec::new();
    let (mut count, mut check) = (0, 0_i64);
    let source = CsvOrders::new(text.as_bytes(), "sample", text.len() as u64);
    let mut source = match source {
        Ok(source) => source,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    while let Ok(true) = source.next_batch(BATCH_ROWS, &mut orders, &mut refused) {
        count += orders.len();
        let last = orders.row(orders.len().saturating_sub(1));
        check ^= last.map_or(0, |row| {
            row.time.nanos() ^ row.price.units() ^ row.quantity.units()
        });
    }
    (count, refused.len(), check)
}

/// Rows like those of a trading day: 500 instruments, 5,000 traders, each order id a few times.
fn sample(rows: usize, quoted: bool) -> String {
    let mut text = "time,sym,eventType,trader,side,orderID,price,quantity\n".to_owned();
    text.reserve(rows * 90);
    let quote = if quoted { "\"" } else { "" };
    let mut state = 20_240_105_u64;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let mut nanos = 8 * 3_600 * 1_000_000_000_u64;
    for _ in 0..rows {
        nanos += next(3_000_000);
        let seconds = nanos / 1_000_000_000;
        let event = ["new", "new", "cancelled", "cancelled", "amended", "filled"];
        let event = event.get(next(6) as usize).copied().unwrap_or("new");
        let (sym, trader) = (next(500), next(71) * next(71));
        let letter = |n: u64| char::from(b'A' + (n % 26) as u8);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "2024-01-05 {:02}:{:02}:{:02}.{:09},{quote}{}{}{}{quote},{event},{quote}Trader{trader:05}{quote},{},OID{:08},{}.{:02},{}",
            seconds / 3_600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            nanos % 1_000_000_000,
            letter(sym),
            letter(sym / 26),
            letter(sym / 676),
            if next(2) == 0 { 'B' } else { 'S' },
            next(rows as u64),
            next(200) + 1,
            next(100),
            (next(50) + 1) * 100,
        );
    }
    text
}
