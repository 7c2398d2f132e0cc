//! One row group of sorted orders: column after column, those of few distinct values by their codes.
//!
//! Invariant: every column has the rows in the order of their places.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;
use tapewatch_model::{Interner, OrderBatch, Price, Quantity, Side};

use super::{PAGE_ROWS, Place, Slot};
use crate::column_chunk::{self, ColumnChunk};
use crate::data_file::Sink;
use crate::history::HistoryError;
use crate::order_arrays;
use crate::recent_orders::Chunk;

/// Rows that become Arrow columns at once.
const WRITE_ROWS: usize = 8_192;

/// A code that is not used.
const NONE: u32 = u32::MAX;

/// What rows are taken from.
pub(super) struct Sources<'a> {
    pub(super) chunks: &'a [Chunk],
    /// The names of the instruments, by their ranks.
    syms: &'a [&'a str],
    /// The traders' names, by codes that all chunks share.
    traders: Interner,
    columns: Vec<Columns<'a>>,
}

/// The columns of a chunk's batch.
struct Columns<'a> {
    sides: &'a [Side],
    prices: &'a [Price],
    quantities: &'a [Quantity],
    traders: &'a [u32],
    /// What the chunk's codes of traders are among all.
    codes: Arc<[u32]>,
}

impl<'a> Sources<'a> {
    pub(super) fn of(chunks: &'a [Chunk], syms: &'a [&'a str]) -> Self {
        let mut traders = Interner::default();
        let mut last: Option<(&Arc<Interner>, Arc<[u32]>)> = None;
        let columns = chunks.iter().map(|chunk| {
            let orders = chunk.orders();
            let named = orders.traders();
            let codes = match &last {
                Some((same, codes)) if Arc::ptr_eq(same, named) => Arc::clone(codes),
                _ => {
                    let texts = named.texts().iter();
                    // What is in an interner is UTF-8.
                    let codes = texts.map(|text| traders.intern(text.as_bytes()).unwrap_or(NONE));
                    codes.collect()
                }
            };
            last = Some((named, Arc::clone(&codes)));
            Columns {
                sides: orders.sides(),
                prices: orders.prices(),
                quantities: orders.quantities(),
                traders: orders.trader_codes(),
                codes,
            }
        });
        Self {
            columns: columns.collect(),
            chunks,
            syms,
            traders,
        }
    }

    /// Writes the rows as a row group; `writers` are those of all columns.
    pub(super) fn write(
        &self,
        file: &mut SerializedFileWriter<&mut Sink>,
        schema: &SchemaRef,
        writers: Vec<ArrowColumnWriter>,
        rows: (&[Slot], &[Place]),
    ) -> Result<(), HistoryError> {
        let described = file.schema_descr().columns().to_vec();
        let mut group = file.next_row_group()?;
        let fields = schema.fields().iter().zip(&described);
        for ((field, descr), mut writer) in fields.zip(writers) {
            if let Some(ColumnChunk { bytes, close }) = self.coded(field, descr, rows)? {
                group.append_column(&bytes, close)?;
                continue;
            }
            for some in rows.1.chunks(WRITE_ROWS) {
                let some = some.iter().map(|place| self.at(*place));
                let column = order_arrays::column(field, some)?;
                for leaf in compute_leaves(field, &column)? {
                    writer.write(&leaf)?;
                }
            }
            writer.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }

    fn at(&self, place: Place) -> (&'a OrderBatch, usize) {
        match self.chunks.get(place.chunk as usize) {
            Some(chunk) => (chunk.orders(), place.row as usize),
            None => unreachable!("places are made from the chunks"),
        }
    }

    /// The column, if its values have codes.
    fn coded(
        &self,
        field: &Field,
        descr: &ColumnDescPtr,
        (slots, places): (&[Slot], &[Place]),
    ) -> Result<Option<ColumnChunk>, HistoryError> {
        let name = field.name().as_str();
        let decimals = |units: Vec<i64>| column_chunk::decimals(descr, &units, PAGE_ROWS);
        Ok(match name {
            "price" if column_chunk::is_decimal(descr) => {
                let units = self.each(places, |columns, row| {
                    Some(columns.prices.get(row)?.units())
                });
                Some(decimals(units)?)
            }
            "quantity" if column_chunk::is_decimal(descr) => {
                let units = self.each(places, |columns, row| {
                    Some(columns.quantities.get(row)?.units())
                });
                Some(decimals(units)?)
            }
            _ if !column_chunk::is_text(descr) => None,
            "sym" | "event_type" => {
                let text = |slot: &Slot| match name {
                    "sym" => self.syms.get(slot.sym).copied().unwrap_or_default(),
                    _ => slot.kind.name(),
                };
                Some(of_slots(descr, slots, text)?)
            }
            "side" => {
                let numbers =
                    self.each(places, |columns, row| Some(*columns.sides.get(row)? as u32));
                let text = |number: u32| {
                    let side = Side::from_number(u8::try_from(number).unwrap_or_default());
                    side.map_or("", Side::name)
                };
                Some(of_numbers(descr, numbers, 1 << 8, text)?)
            }
            "trader" => {
                let numbers = self.each(places, |columns, row| {
                    columns
                        .codes
                        .get(*columns.traders.get(row)? as usize)
                        .copied()
                });
                let text = |code: u32| self.traders.get(code).unwrap_or_default();
                Some(of_numbers(descr, numbers, self.traders.len(), text)?)
            }
            _ => None,
        })
    }

    /// A value of each row.
    fn each<T>(
        &self,
        places: &[Place],
        value: impl Fn(&Columns<'_>, usize) -> Option<T>,
    ) -> Vec<T> {
        let values = places.iter().filter_map(|place| {
            let columns = self.columns.get(place.chunk as usize)?;
            value(columns, place.row as usize)
        });
        values.collect()
    }
}

/// A column whose value is one for all rows of a slot.
fn of_slots<'a>(
    descr: &ColumnDescPtr,
    slots: &[Slot],
    text: impl Fn(&Slot) -> &'a str,
) -> Result<ColumnChunk, HistoryError> {
    let (mut texts, mut codes): (Vec<&[u8]>, Vec<u32>) = (Vec::new(), Vec::new());
    for slot in slots {
        let text = text(slot).as_bytes();
        // Slots are in the order of event types, then of instruments.
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        let code = (texts.len() as u32).saturating_sub(1);
        codes.extend(std::iter::repeat_n(code, slot.rows));
    }
    Ok(column_chunk::texts(descr, &texts, &codes, PAGE_ROWS)?)
}

/// A column of texts with numbers below `width`.
fn of_numbers<'a>(
    descr: &ColumnDescPtr,
    mut numbers: Vec<u32>,
    width: usize,
    text: impl Fn(u32) -> &'a str,
) -> Result<ColumnChunk, HistoryError> {
    let (mut known, mut texts): (_, Vec<&[u8]>) = (vec![NONE; width], Vec::new());
    for number in &mut numbers {
        let Some(code) = known.get_mut(*number as usize) else {
            let message = "an order has a trader or a side without a name".to_owned();
            return Err(HistoryError::Writer(message));
        };
        if *code == NONE {
            *code = texts.len() as u32;
            texts.push(text(*number).as_bytes());
        }
        *number = *code;
    }
    Ok(column_chunk::texts(descr, &texts, &numbers, PAGE_ROWS)?)
}
