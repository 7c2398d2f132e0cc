//! What reading a message asks of the allocator: never more than the limit, whatever the bytes say.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use allocation_counter::measure;
use tapewatch_connect::kdb::wire::{Limits, decode_message};

/// A message of `value`, low bytes first.
fn message(value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len() + 8).unwrap();
    [&[1, 0, 0, 0], length.to_le_bytes().as_slice(), value].concat()
}

#[test]
fn hostile_messages_take_no_more_than_the_limit() {
    let limits = Limits {
        memory_bytes: 1 << 20,
        ..Limits::default()
    };
    // Values that become many times larger than their bytes.
    let atoms = [b"\0\0\x40\x0d\x03\0".to_vec(), b"\xfc\x01".repeat(200_000)].concat();
    let symbols = [b"\x0b\0\x40\x0d\x03\0".to_vec(), vec![0; 200_000]].concat();
    let empty = b"\0\0\0\0\0\0".repeat(20_000);
    let lists = [b"\0\0\x20\x4e\0\0".to_vec(), empty].concat();
    let packed = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/kdb/zip_compressed.bin"
    ));
    let mut huge = packed.unwrap();
    huge.splice(8..12, 20_000_u32.to_le_bytes());
    let cases = [
        (
            "a count without its items",
            message(b"\x07\0\xff\xff\xff\0"),
        ),
        ("atoms", message(&atoms)),
        ("symbols", message(&symbols)),
        ("lists", message(&lists)),
        ("packed, shorter than it says", huge),
        ("depth", message(&b"\0\0\x01\0\0\0".repeat(100_000))),
    ];
    for (name, bytes) in cases {
        let mut read = false;
        let used = measure(|| read = decode_message(&bytes, &limits).is_ok());
        assert!(used.bytes_max <= 1 << 20, "{name}: {used:?}");
        assert_eq!(read, name == "symbols", "{name}: {used:?}");
    }
}
