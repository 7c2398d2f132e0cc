//! From a value to bytes.
//!
//! Invariant: what is written is read again as the same value, in either byte order; a count or a
//! length that its field cannot hold is an error, never a wrap.

use super::{ByteOrder, HEADER_BYTES, MessageKind, WireError, at_most};
use crate::kdb::value::{Atom, Items, List, Symbols, Table, Value};

/// Longest message that peers without the 64-bit form read, in bytes.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// Writes a message, not packed; [`super::compress`] packs it.
///
/// # Errors
/// [`WireError`] when it would be longer than 2 GiB.
pub fn encode_message(
    order: ByteOrder,
    kind: MessageKind,
    value: &Value,
) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![
        match order {
            ByteOrder::Little => 1,
            ByteOrder::Big => 0,
        },
        match kind {
            MessageKind::Async => 0,
            MessageKind::Sync => 1,
            MessageKind::Response => 2,
        },
    ];
    bytes.resize(HEADER_BYTES, 0);
    encode_value(value, order, &mut bytes)?;
    let length = length(bytes.len(), order)?;
    for (to, from) in bytes.iter_mut().skip(4).zip(length) {
        *to = from;
    }
    Ok(bytes)
}

/// The bytes of a length or count.
pub(super) fn length(length: usize, order: ByteOrder) -> Result<[u8; 4], WireError> {
    let found = length as u64;
    let length = at_most(length, "the length or a count", found, MESSAGE_BYTES_MAX)? as u32;
    Ok(match order {
        ByteOrder::Little => length.to_le_bytes(),
        ByteOrder::Big => length.to_be_bytes(),
    })
}

/// Appends a value as in a message or a log.
///
/// # Errors
/// [`WireError`] when a list is too long for its count.
pub fn encode_value(value: &Value, order: ByteOrder, bytes: &mut Vec<u8>) -> Result<(), WireError> {
    Writer { order, bytes }.value(value)
}

struct Writer<'a> {
    order: ByteOrder,
    bytes: &'a mut Vec<u8>,
}

/// Appends numbers in the order of bytes that is wanted.
macro_rules! put {
    ($writer:expr, $items:expr) => {{
        let items = $items;
        match $writer.order {
            ByteOrder::Little => {
                items.for_each(|item| $writer.bytes.extend_from_slice(&item.to_le_bytes()));
            }
            ByteOrder::Big => {
                items.for_each(|item| $writer.bytes.extend_from_slice(&item.to_be_bytes()));
            }
        }
    }};
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Result<(), WireError> {
        match value {
            Value::Atom(atom) => {
                self.bytes.push((-atom.code()).cast_unsigned());
                self.atom(atom);
            }
            Value::List(list) => self.list(list)?,
            Value::Table(table) => self.table(table)?,
            Value::Dict(dict) => {
                self.bytes.push(if dict.is_sorted() { 127 } else { 99 });
                self.value(dict.keys())?;
                self.value(dict.values())?;
            }
            Value::Lambda { context, text } => {
                self.bytes.push(100);
                self.text(context.bytes());
                self.bytes.extend_from_slice(&[10, 0]);
                self.count(text.len())?;
                self.bytes.extend_from_slice(text);
            }
            Value::Primitive(arity, number) => {
                self.bytes.extend_from_slice(&[*arity as u8, *number]);
            }
            Value::Error(text) => {
                self.bytes.push(0x80);
                self.text(text.bytes());
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &Table) -> Result<(), WireError> {
        self.bytes
            .extend_from_slice(&[98, table.attr().code(), 99, 11, 0]);
        self.symbols(table.names())?;
        self.bytes.extend_from_slice(&[0, 0]);
        self.count(table.columns().len())?;
        table.columns().iter().try_for_each(|list| self.list(list))
    }

    fn count(&mut self, count: usize) -> Result<(), WireError> {
        self.bytes.extend_from_slice(&length(count, self.order)?);
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
    }

    fn symbols(&mut self, symbols: &Symbols) -> Result<(), WireError> {
        self.count(symbols.len())?;
        self.bytes.extend_from_slice(symbols.wire());
        Ok(())
    }

    fn list(&mut self, list: &List) -> Result<(), WireError> {
        let code = list.items.code().cast_unsigned();
        self.bytes.extend_from_slice(&[code, list.attr.code()]);
        if let Items::Symbol(symbols) = &list.items {
            return self.symbols(symbols);
        }
        self.count(list.items.len())?;
        match &list.items {
            Items::Mixed(values) => values.iter().try_for_each(|value| self.value(value))?,
            Items::Bool(items) => self.bytes.extend(items.iter().map(|&item| u8::from(item))),
            Items::Guid(items) => self.bytes.extend(items.iter().flatten()),
            Items::Byte(items) | Items::Char(items) => self.bytes.extend_from_slice(items),
            Items::Short(items) => put!(self, items.iter()),
            Items::Int(items)
            | Items::Month(items)
            | Items::Date(items)
            | Items::Minute(items)
            | Items::Second(items)
            | Items::Time(items) => put!(self, items.iter()),
            Items::Long(items) | Items::Timestamp(items) | Items::Timespan(items) => {
                put!(self, items.iter());
            }
            Items::Real(items) => put!(self, items.iter()),
            Items::Float(items) | Items::Datetime(items) => put!(self, items.iter()),
            Items::Symbol(_) => {}
        }
        Ok(())
    }

    fn atom(&mut self, atom: &Atom) {
        match atom {
            Atom::Bool(item) => self.bytes.push(u8::from(*item)),
            Atom::Guid(item) => self.bytes.extend_from_slice(item),
            Atom::Byte(item) | Atom::Char(item) => self.bytes.push(*item),
            Atom::Short(item) => put!(self, std::iter::once(item)),
            Atom::Int(item)
            | Atom::Month(item)
            | Atom::Date(item)
            | Atom::Minute(item)
            | Atom::Second(item)
            | Atom::Time(item) => put!(self, std::iter::once(item)),
            Atom::Long(item) | Atom::Timestamp(item) | Atom::Timespan(item) => {
                put!(self, std::iter::once(item));
            }
            Atom::Real(item) => put!(self, std::iter::once(item)),
            Atom::Float(item) | Atom::Datetime(item) => put!(self, std::iter::once(item)),
            Atom::Symbol(symbol) => self.text(symbol.bytes()),
        }
    }
}
