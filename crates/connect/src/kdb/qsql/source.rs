//! The tables of the reference as SQL over ours.
//!
//! Invariant: a source has the columns of [`columns`] under their own names, and before them `date`
//! and the order of its rows, `_seq`, which no column of a query can be called.

use crate::kdb::tick::{ColumnKind, ORDER, columns};

/// A table that can be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) columns: &'static [(&'static str, ColumnKind)],
    /// A query in brackets.
    pub(super) sql: &'static str,
}

/// What both tables take from theirs.
macro_rules! order_event {
    ($rest:literal) => {
        concat!(
            "(SELECT seq AS _seq, date, time, sym, event_type AS \"eventType\", trader, side, ",
            "order_id AS \"orderID\", CAST(price AS DOUBLE) AS price, ",
            "CAST(quantity AS DOUBLE) AS quantity",
            $rest
        )
    };
}

impl Source {
    /// The table of that name.
    pub(super) fn find(name: &str) -> Option<Self> {
        let columns = columns(name)?;
        let sql = if name == ORDER {
            order_event!(" FROM orders)")
        } else {
            order_event!(
                r#", detector AS "alertName", CAST(measure(measures, 'cancel_quantity') AS DOUBLE) AS "totalCancelQty", CAST(measure(measures, 'cancel_count') AS BIGINT) AS "totalCancelCount", CAST(threshold(measures, 'cancel_quantity') AS BIGINT) AS "cancelQtyThreshold", CAST(threshold(measures, 'cancel_count') AS BIGINT) AS "cancelCountThreshold", lookback_ns AS "lookbackInterval" FROM hits WHERE detector = 'spoofing')"#
            )
        };
        Some(Self { columns, sql })
    }

    /// Kind of a column, those that are not shown too.
    pub(super) fn kind(&self, name: &str) -> Option<ColumnKind> {
        match name {
            "date" => Some(ColumnKind::Date),
            "i" => Some(ColumnKind::Long),
            _ => self
                .columns
                .iter()
                .find(|(column, _)| *column == name)
                .map(|(_, kind)| *kind),
        }
    }
}
