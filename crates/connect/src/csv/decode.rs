//! Makes an order of the fields of a row. Pure, but for the date that is kept from row to row.
//!
//! Invariant: the same fields give the same order or the same refusal, whatever came before. The
//! first column that is wrong is told, in the order time, event type, side, quantity shown, flags,
//! price, quantity, and then the texts, which [`tapewatch_model::OrderBatch::push`] checks.

use tapewatch_model::{
    Details, EventType, EventTypes, Flags, OrderBatch, Price, RowError, RowRef, Side, Tells,
};

use super::fast::{NumberText, TimeReader, read_price, read_quantity};
use super::framing::Fields;
use super::header::{Columns, DetailColumns};
use super::scan::peek_field;

const EVENT_TYPES: &str = "new, amended, cancelled or filled";
/// Longest part of a value that is repeated in a reason.
const SHOWN_CHARS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Decoder {
    columns: Columns,
    times: TimeReader,
}

impl Decoder {
    pub(super) fn new(columns: Columns) -> Self {
        Self {
            columns,
            times: TimeReader::default(),
        }
    }

    /// What the rows may tell.
    pub(super) fn tells(&self) -> Tells {
        self.columns.tells()
    }

    /// Bytes of the line that `data` begins with, when a short look tells that its event is not
    /// wanted; whatever else is wrong with it does not matter then.
    #[inline]
    pub(super) fn peeks_over(&self, data: &[u8], wanted: EventTypes) -> Option<usize> {
        if wanted == EventTypes::ALL {
            return None;
        }
        let (field, bytes) = peek_field(data, self.columns.event_type)?;
        let event_type = EventType::parse(field)?;
        (!wanted.contains(event_type)).then_some(bytes)
    }

    /// Whether the row is surely of an event that is not wanted.
    #[inline]
    pub(super) fn passes_over(&self, fields: Fields<'_>, wanted: EventTypes) -> bool {
        wanted != EventTypes::ALL
            && EventType::parse(fields.get(self.columns.event_type))
                .is_some_and(|event_type| !wanted.contains(event_type))
    }

    /// Adds the row to `orders`; they are unchanged when it is refused.
    #[inline]
    pub(super) fn decode(
        &mut self,
        fields: Fields<'_>,
        orders: &mut OrderBatch,
    ) -> Result<(), RowError> {
        let columns = &self.columns;
        if fields.len() != columns.count {
            return Err(wrong_count(fields.len(), columns.count));
        }
        let text = fields.get(columns.time);
        let time = match self.times.read(text) {
            Ok(time) => time,
            Err(error) => return Err(wrong("time", &error, text)),
        };
        let text = fields.get(columns.event_type);
        let Some(event_type) = EventType::parse(text) else {
            return Err(unknown("event_type", "event type", text, EVENT_TYPES));
        };
        let text = fields.get(columns.side);
        let Some(side) = Side::parse(text) else {
            return Err(unknown("side", "side", text, "B or S"));
        };
        let details = match &columns.details {
            None => Details::default(),
            Some(columns) => details(fields, columns)?,
        };
        let number = number(fields, columns.price);
        let price = match read_price(number) {
            Ok(price) => price,
            Err(_) if number.text.is_empty() && details.flags.need_no_price(event_type) => {
                Price::default()
            }
            Err(error) => return Err(wrong("price", &error, number.text)),
        };
        let number = self::number(fields, columns.quantity);
        let quantity = match read_quantity(number) {
            Ok(quantity) => quantity,
            Err(error) => return Err(wrong("quantity", &error, number.text)),
        };
        orders.push(&RowRef {
            time,
            sym: fields.get(columns.sym),
            event_type,
            trader: fields.get(columns.trader),
            side,
            order_id: fields.get(columns.order_id),
            price,
            quantity,
            details,
        })
    }
}

/// What else the row tells; an empty field tells nothing.
fn details<'a>(fields: Fields<'a>, columns: &DetailColumns) -> Result<Details<'a, [u8]>, RowError> {
    let number = number(fields, columns.display_quantity);
    let display = match number.text {
        [] => None,
        text => match read_quantity(number) {
            Ok(display) => Some(display),
            Err(error) => return Err(wrong("display_quantity", &error, text)),
        },
    };
    Ok(Details {
        account: fields.get(columns.account),
        exec_id: fields.get(columns.exec_id),
        display,
        flags: Flags::parse(fields.get(columns.flags))?,
    })
}

#[inline]
fn number(fields: Fields<'_>, index: usize) -> NumberText<'_> {
    NumberText {
        text: fields.get(index),
        word: fields.word(index),
    }
}

#[cold]
fn wrong_count(found: usize, expected: usize) -> RowError {
    let fields = if found == 1 { "field" } else { "fields" };
    RowError::new("row", format!("has {found} {fields}, {expected} expected"))
}

#[cold]
fn wrong(column: &'static str, error: &impl std::fmt::Display, text: &[u8]) -> RowError {
    match text {
        [] => RowError::new(column, "is empty"),
        _ => RowError::new(column, format!("{error}: {}", shown(text))),
    }
}

#[cold]
fn unknown(column: &'static str, what: &str, text: &[u8], known: &str) -> RowError {
    match text {
        [] => RowError::new(column, "is empty"),
        _ => RowError::new(column, format!("unknown {what} {} ({known})", shown(text))),
    }
}

/// In quotes, cut.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}
