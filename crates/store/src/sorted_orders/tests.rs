//! How the rows of a day are cut into files.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use tapewatch_model::{Flags, Order, OrderBatch, Price, Quantity, Side, Time};

use super::*;
use crate::recent_orders::RecentOrders;

const CHUNK_ROWS: u64 = 2_500;

/// Orders of two days by turns, in three chunks.
fn chunks() -> Vec<Chunk> {
    let mut recent = RecentOrders::default();
    let order = |seq: u64| Order {
        seq,
        time: Time::from_nanos((seq % 2 * 86_400_000_000_000 + seq % 5).cast_signed()),
        sym: format!("S{}", seq % 7),
        event_type: EventType::from_number((seq / 2 % 4 + 1) as u8).unwrap(),
        trader: "T".to_owned(),
        side: Side::Buy,
        order_id: String::new(),
        price: Price::default(),
        quantity: Quantity::default(),
        account: String::new(),
        exec_id: String::new(),
        display: None,
        flags: Flags::NONE,
    };
    for first in (0..3).map(|chunk| chunk * CHUNK_ROWS + 1) {
        let mut batch = OrderBatch::default();
        for seq in first..first + CHUNK_ROWS {
            batch.push(&order(seq).as_row().as_bytes()).unwrap();
        }
        batch.number_from(first);
        recent.append(batch, 0);
    }
    recent.snapshot().chunks().cloned().collect()
}

#[test]
fn a_day_is_cut_between_instruments() {
    let chunks = chunks();
    let syms = Syms::of(&chunks);
    for (date, about) in dates(&chunks)
        .into_iter()
        .flat_map(|date| [1, 700, 1_250, 5_000].map(|about| (date, about)))
    {
        let sorted = sort(&chunks, &syms, date);
        let (mut seqs, mut slots) = (BTreeSet::new(), BTreeSet::new());
        let mut last = None;
        let files = sorted.files(about);
        assert_eq!(files.len() == 1, about == 5_000);
        for file in files {
            let mut of_file = Vec::new();
            for place in file.places {
                let (orders, row) = place.of(&chunks);
                let order = orders.order(row).unwrap();
                let key = (order.event_type, order.sym, order.seq);
                slots.insert((key.0, key.1.clone()));
                of_file.push(order.seq);
                assert!(last < Some(key.clone()), "sorted, over all files");
                last = Some(key);
            }
            let bounds = (of_file.iter().min().unwrap(), of_file.iter().max().unwrap());
            assert_eq!(file.seqs(), (*bounds.0, *bounds.1));
            seqs.extend(of_file);
        }
        let slots_of_files: usize = sorted
            .files(about)
            .iter()
            .map(|file| file.slots.len())
            .sum();
        assert_eq!(slots_of_files, slots.len(), "none is in two files");
        let first = seqs.first().copied().unwrap();
        let expected: BTreeSet<u64> = (first..=3 * CHUNK_ROWS).step_by(2).collect();
        assert!(
            first <= 2 && seqs == expected,
            "{date}, {about} rows a file"
        );
    }
}
