//! Updates of kdb+ clients as buckets.
//!
//! Invariant: an update is one bucket or nothing; each of its rows is an order or a dead letter.

use tapewatch_connect::kdb::tick::{ORDER, ORDER_ALERTS, OrderRows, Update};
use tapewatch_connect::pace::BUCKET_ROWS_MAX;
use tapewatch_model::Bucket;

/// The rows of an update; `source` is what dead letters say of where they came from.
///
/// # Errors
/// What the client is told.
pub(super) fn bucket(update: Update, source: &str) -> Result<Bucket, String> {
    match update.table.as_str() {
        ORDER => {}
        ORDER_ALERTS => {
            let why = "orderAlerts: alerts are found here, they are not taken";
            return Err(why.to_owned());
        }
        other => return Err(other.to_owned()), // as kdb+tick says it
    }
    let rows = OrderRows::of(update.data).map_err(|error| error.to_string())?;
    if rows.len() > BUCKET_ROWS_MAX {
        let found = rows.len();
        return Err(format!(
            "length: {found} rows, an update has at most {BUCKET_ROWS_MAX}"
        ));
    }
    let mut bucket = Bucket::default();
    for index in 0..rows.len() {
        if let Err(error) = rows.push(index, &mut bucket.orders) {
            let line = index as u64 + 1;
            bucket
                .dead_letters
                .push(rows.refuse(index, source, line, &error));
        }
    }
    Ok(bucket)
}
