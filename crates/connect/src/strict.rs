//! Looks for the first row of a source that cannot be used, before anything of it is published.
//!
//! Invariant: the source is read to its first refused row, and no further than its batch.

use tapewatch_model::{DeadLetter, OrderBatch, OrderSource, SourceError};

/// Rows read at a time.
const BATCH_ROWS: usize = 8_192;

/// The first refused row of `source`; nothing when it has none. The source is used up by this:
/// open it again to read its orders.
///
/// # Errors
/// [`SourceError`] when the source itself fails before a row was refused.
pub fn first_error(source: &mut impl OrderSource) -> Result<Option<DeadLetter>, SourceError> {
    let mut orders = OrderBatch::default();
    let mut refused = Vec::new();
    while source.next_batch(BATCH_ROWS, &mut orders, &mut refused)? {
        if !refused.is_empty() {
            return Ok(refused.into_iter().next());
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::CsvOrders;

    #[test]
    fn finds_the_first_refused_row_beyond_the_first_batch() {
        let mut text = "time,sym,event_type,trader,side,order_id,price,quantity\n".to_owned();
        for _ in 0..20_000 {
            text.push_str("2024-01-05T08:00:00.0,ABC,new,T,B,1,1,1\n");
        }
        let mut source = CsvOrders::new(text.as_bytes(), "a.csv", 0).unwrap();
        assert_eq!(first_error(&mut source), Ok(None));
        text.push_str("2024-01-05T08:00:00.0,ABC,new,T,X,1,1,1\n,,\n");
        let mut source = CsvOrders::new(text.as_bytes(), "a.csv", 0).unwrap();
        let refused = first_error(&mut source).unwrap().unwrap();
        assert_eq!((refused.line, refused.column.as_str()), (20_002, "side"));
    }
}
