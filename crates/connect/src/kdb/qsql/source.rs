//! The tables of the reference as SQL over ours.
//!
//! Invariant: a source has the columns of [`columns`] under their own names, and before them `date`
//! and the order of its rows, `_seq`, which no column of a query can be called.

use std::ops::RangeInclusive;

use super::expression::quote;
use super::{Select, Shape};
use crate::kdb::tick::{ColumnKind, ORDER, Syms, columns};

/// The rows of a table with these sequence numbers, in order, of some instruments or of all; `None`
/// when there is no such table. That number is the first column, `_seq`.
#[must_use]
pub fn rows_between(table: &str, seqs: RangeInclusive<u64>, syms: &Syms) -> Option<Select> {
    let source = Source::find(table)?;
    let mut columns = vec![("_seq".to_owned(), ColumnKind::Long)];
    columns.extend(
        source
            .columns
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), *kind)),
    );
    let names: Vec<String> = columns
        .iter()
        .map(|(name, _)| format!("t.\"{name}\""))
        .collect();
    let some = match syms {
        Syms::All => String::new(),
        Syms::Some(syms) if syms.is_empty() => " AND false".to_owned(),
        Syms::Some(syms) => {
            let syms: Vec<String> = syms.iter().map(|sym| quote(sym)).collect();
            format!(" AND t.sym IN ({})", syms.join(", "))
        }
    };
    let (names, from) = (names.join(", "), source.sql);
    let (first, last) = (seqs.start(), seqs.end());
    Some(Select {
        sql: format!(
            "SELECT {names} FROM {from} AS t WHERE t._seq BETWEEN {first} AND {last}{some} ORDER BY t._seq"
        ),
        columns,
        keys: 0,
        shape: Shape::Table,
    })
}

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
