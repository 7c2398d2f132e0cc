//! Whatever a kdb+ client, a log or a query may say: read or refused, never a panic, never more
//! memory than the limit. What is read is written again and read as the same.
//!
//! ```text
//! cd crates/connect && cargo +nightly fuzz run kdb -- -rss_limit_mb=512 -max_total_time=600
//! ```
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapewatch_connect::kdb::tick::{AlertRows, OrderRows, Request};
use tapewatch_connect::kdb::tplog::{HEAD, LogReader};
use tapewatch_connect::kdb::value::Value;
use tapewatch_connect::kdb::wire::{Credentials, Limits, decode_message, encode_message};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        memory_bytes: 64 << 20,
        ..Limits::default()
    };
    let _ = Credentials::parse(bytes);
    if let Ok(message) = decode_message(bytes, &limits) {
        let written = encode_message(message.order, message.kind, &message.value).unwrap();
        let again = decode_message(&written, &Limits::default()).unwrap();
        let twice = encode_message(again.order, again.kind, &again.value).unwrap();
        assert_eq!(written, twice);
        request(message.value);
    }
    request(Value::text(bytes));
    let log = [HEAD.as_slice(), bytes].concat();
    let mut log = LogReader::new(log.as_slice(), limits).unwrap();
    while let Ok(Some(_)) = log.next_message() {}
});

fn request(value: Value) {
    if let Ok(Request::Update(update)) = Request::parse(value) {
        let _ = AlertRows::of(update.data.clone())
            .map(|rows| (0..rows.len()).for_each(|at| drop(rows.get(at))));
        if let Ok(rows) = OrderRows::of(update.data) {
            let mut orders = Default::default();
            (0..rows.len()).for_each(|at| drop(rows.push(at, &mut orders)));
        }
    }
}
