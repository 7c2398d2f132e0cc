//! Which rows a scan reads, as a digest.
//!
//! Invariant: scans of the same request with the same identity give the same rows. Files of the
//! history are known by their table, name, size and times of writing, as the table and as the disk
//! or the bucket say: a table or a directory that is made again gives the same names again, and its sequence
//! numbers; a file that is restored has a new time. Rows of recent are known by all
//! that they say.

use std::time::SystemTime;

use tapewatch_model::{Quantity, RowRef};

use super::parts::Part;
use crate::recent_orders::Chunk;

/// The digest of the files and rows.
pub(super) fn of(table: Option<&str>, parts: &[Part], recent: &[Chunk]) -> String {
    let mut digest = blake3::Hasher::new();
    text(&mut digest, table.unwrap_or_default());
    number(&mut digest, parts.len() as u64);
    for part in parts {
        let file = &part.file;
        text(&mut digest, &file.at.name());
        for said in [file.bytes, file.written] {
            digest.update(&said.to_le_bytes());
        }
        let changed = file.changed.duration_since(SystemTime::UNIX_EPOCH);
        digest.update(&changed.unwrap_or_default().as_nanos().to_le_bytes());
        number(&mut digest, part.group as u64);
    }
    for chunk in recent {
        let orders = chunk.orders();
        for index in chunk.rows() {
            if let Some(order) = orders.row(index) {
                number(&mut digest, orders.seq(index));
                row(&mut digest, &order);
            }
        }
    }
    digest.finalize().to_hex().to_string()
}

fn row(digest: &mut blake3::Hasher, row: &RowRef<'_>) {
    digest.update(&row.time.nanos().to_le_bytes());
    digest.update(&[row.event_type as u8, row.side as u8]);
    digest.update(&row.price.units().to_le_bytes());
    digest.update(&row.quantity.units().to_le_bytes());
    let details = &row.details;
    for part in [
        row.sym,
        row.trader,
        row.order_id,
        details.account,
        details.exec_id,
    ] {
        text(digest, part);
    }
    let display = details.display.map_or(-1, Quantity::units); // none is negative
    digest.update(&display.to_le_bytes());
    digest.update(&details.flags.bits().to_le_bytes());
}

fn number(digest: &mut blake3::Hasher, number: u64) {
    digest.update(&number.to_le_bytes());
}

/// With its length: no two rows of texts are the same bytes.
fn text(digest: &mut blake3::Hasher, text: &str) {
    number(digest, text.len() as u64);
    digest.update(text.as_bytes());
}
