//! From bytes to a value.
//!
//! Invariant: memory for a list is charged against the budget, and its count compared with the
//! bytes that are left, before it is reserved; the depth of calls is that of the value, at most
//! [`Limits::depth`].

use super::{ByteOrder, Limits, WireError, Wrong, at_most};
use crate::kdb::value::{Arity, Atom, Attr, Dict, Items, List, Symbol, Symbols, Table, Value};

/// A value, and where the bytes behind it begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The value.
    pub value: Value,
    /// Offset of the first byte behind it.
    pub end: usize,
}

/// Reads the value that begins at `start` of `bytes`; others may follow it.
///
/// # Errors
/// [`WireError`] with the offset in `bytes` when there is no such value, or it is more than
/// `limits` allow.
pub fn decode_value(
    bytes: &[u8],
    start: usize,
    order: ByteOrder,
    limits: &Limits,
) -> Result<Decoded, WireError> {
    let mut reader = Reader {
        bytes,
        at: start,
        order,
        items_max: limits.items,
        memory_max: limits.memory_bytes,
        depth_max: limits.depth,
        memory: 0,
    };
    let value = reader.value(limits.depth)?;
    Ok(Decoded {
        value,
        end: reader.at,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    order: ByteOrder,
    items_max: usize,
    memory_max: usize,
    depth_max: usize,
    /// Bytes asked of the allocator so far.
    memory: usize,
}

/// A number on the wire.
trait Number<const N: usize>: Sized {
    fn read(bytes: [u8; N], order: ByteOrder) -> Self;
}

macro_rules! numbers {
    ($($number:ty),+) => {
        $(impl Number<{ size_of::<$number>() }> for $number {
            fn read(bytes: [u8; size_of::<$number>()], order: ByteOrder) -> Self {
                match order {
                    ByteOrder::Little => Self::from_le_bytes(bytes),
                    ByteOrder::Big => Self::from_be_bytes(bytes),
                }
            }
        })+
    };
}
numbers!(u8, u32, i16, i32, i64, f32, f64);

/// The same bytes in either order.
impl Number<16> for [u8; 16] {
    fn read(bytes: [u8; 16], _: ByteOrder) -> Self {
        bytes
    }
}

impl Number<1> for bool {
    fn read([byte]: [u8; 1], _: ByteOrder) -> Self {
        byte != 0
    }
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn short(&self, wanted: &'static str) -> WireError {
        let left = self.rest().len();
        WireError::new(self.at, Wrong::Short { wanted, left })
    }

    fn number<T: Number<N>, const N: usize>(
        &mut self,
        wanted: &'static str,
    ) -> Result<T, WireError> {
        let bytes = self.rest().first_chunk::<N>();
        let bytes = *bytes.ok_or_else(|| self.short(wanted))?;
        self.at += N;
        Ok(T::read(bytes, self.order))
    }

    fn byte(&mut self, wanted: &'static str) -> Result<u8, WireError> {
        self.number(wanted)
    }

    /// Counts memory that is about to be taken.
    fn charge(&mut self, at: usize, count: usize, each: usize) -> Result<(), WireError> {
        let total = count
            .checked_mul(each)
            .and_then(|bytes| bytes.checked_add(self.memory))
            .filter(|total| *total <= self.memory_max);
        self.memory = total.ok_or_else(|| {
            let what = "the memory for the values, in bytes,";
            let found = (count as u64)
                .saturating_mul(each as u64)
                .saturating_add(self.memory as u64);
            let max = self.memory_max as u64;
            WireError::new(at, Wrong::TooMany { what, found, max })
        })?;
        Ok(())
    }

    /// A count of items that take at least `each` bytes here and `memory` bytes there.
    fn count(&mut self, each: usize, memory: usize) -> Result<usize, WireError> {
        let at = self.at;
        let count: u32 = self.number("4 bytes of a count")?;
        let count = at_most(at, "the count", u64::from(count), self.items_max)?;
        if count
            .checked_mul(each)
            .is_none_or(|bytes| bytes > self.rest().len())
        {
            return Err(self.short("the items of a list"));
        }
        self.charge(at, count, memory)?;
        Ok(count)
    }

    fn numbers<T: Number<N>, const N: usize>(&mut self) -> Result<Vec<T>, WireError> {
        let count = self.count(N, size_of::<T>())?;
        let bytes = self.rest().get(..count * N).unwrap_or_default();
        self.at += bytes.len();
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|&c| T::read(c, self.order)).collect())
    }

    /// The bytes up to the next NUL, which is passed over.
    fn text(&mut self) -> Result<&'a [u8], WireError> {
        let rest = self.rest();
        let end = memchr::memchr(0, rest).ok_or_else(|| self.short("a NUL behind a text"))?;
        self.at += end + 1;
        Ok(rest.get(..end).unwrap_or_default())
    }

    fn symbol(&mut self) -> Result<Symbol, WireError> {
        let at = self.at;
        let text = self.text()?;
        self.charge(at, text.len(), 1)?;
        Ok(Symbol::new(text))
    }

    fn symbols(&mut self) -> Result<Symbols, WireError> {
        let count = self.count(1, size_of::<u32>())?;
        let (start, block) = (self.at, self.rest());
        let mut ends = Vec::with_capacity(count);
        for _ in 0..count {
            self.text()?;
            let end = at_most(
                self.at,
                "the text of symbols",
                (self.at - 1 - start) as u64,
                u32::MAX as usize,
            )?;
            ends.push(end as u32); // at most u32::MAX
        }
        let text = block.get(..self.at - start).unwrap_or_default();
        self.charge(start, text.len(), 1)?;
        Ok(Symbols::from_wire(text.to_vec(), ends))
    }

    fn attr(&mut self) -> Result<Attr, WireError> {
        let at = self.at;
        let found = self.byte("an attribute")?;
        let wanted = "an attribute (0 to 4)";
        Attr::from_code(found).ok_or(WireError::new(at, Wrong::Byte { wanted, found }))
    }

    /// A byte that can only be `expected`.
    fn expect(&mut self, expected: u8, wanted: &'static str) -> Result<(), WireError> {
        let at = self.at;
        match self.byte(wanted)? {
            found if found == expected => Ok(()),
            found => Err(WireError::new(at, Wrong::Byte { wanted, found })),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, WireError> {
        let at = self.at;
        let Some(depth) = depth.checked_sub(1) else {
            let what = "the depth of values";
            let max = self.depth_max as u64;
            let found = max + 1;
            return Err(WireError::new(at, Wrong::TooMany { what, found, max }));
        };
        let code = self.byte("the type of a value")?.cast_signed();
        match code {
            0..=19 => Ok(Value::List(self.list(code, at, depth)?)),
            -19..=-1 => Ok(Value::Atom(self.atom(code, at)?)),
            98 => {
                let attr = self.attr()?;
                self.expect(99, "the dictionary of a table (0x63)")?;
                self.table(attr, depth)
            }
            99 | 127 => {
                let keys = self.value(depth)?;
                let values = self.value(depth)?;
                self.charge(at, 1, size_of::<Dict>())?;
                let dict = Dict::new(code == 127, keys, values);
                let dict = dict.map_err(|error| WireError::new(at, error.into()))?;
                Ok(Value::Dict(Box::new(dict)))
            }
            100 => {
                let context = self.symbol()?;
                self.expect(10, "the text of a function (0x0a)")?;
                self.attr()?;
                let text = self.numbers()?;
                Ok(Value::Lambda { context, text })
            }
            101 => self.primitive(Arity::Unary),
            102 => self.primitive(Arity::Binary),
            103 => self.primitive(Arity::Ternary),
            -128 => Ok(Value::Error(self.symbol()?)),
            _ => Err(WireError::new(at, Wrong::Type(code))),
        }
    }

    fn primitive(&mut self, arity: Arity) -> Result<Value, WireError> {
        let number = self.byte("the number of a primitive")?;
        Ok(Value::Primitive(arity, number))
    }

    fn table(&mut self, attr: Attr, depth: usize) -> Result<Value, WireError> {
        let at = self.at;
        self.expect(11, "the names of columns (0x0b)")?;
        self.attr()?;
        let names = self.symbols()?;
        self.expect(0, "the columns of a table (0x00)")?;
        self.attr()?;
        let count = self.count(6, size_of::<List>())?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            let at = self.at;
            let found = self.byte("a column")?;
            let code = found.cast_signed();
            if !(0..=19).contains(&code) {
                let wanted = "a list as column";
                return Err(WireError::new(at, Wrong::Byte { wanted, found }));
            }
            columns.push(self.list(code, at, depth)?);
        }
        self.charge(at, 1, size_of::<Table>())?;
        let table = Table::new(names, columns);
        let table = table.map_err(|error| WireError::new(at, error.into()))?;
        Ok(Value::Table(Box::new(table.with_attr(attr))))
    }

    fn list(&mut self, code: i8, at: usize, depth: usize) -> Result<List, WireError> {
        let attr = self.attr()?;
        let items = match code {
            0 => {
                let count = self.count(2, size_of::<Value>())?;
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    values.push(self.value(depth)?);
                }
                Items::Mixed(values)
            }
            1 => Items::Bool(self.numbers()?),
            2 => Items::Guid(self.numbers()?),
            4 => Items::Byte(self.numbers()?),
            5 => Items::Short(self.numbers()?),
            6 => Items::Int(self.numbers()?),
            7 => Items::Long(self.numbers()?),
            8 => Items::Real(self.numbers()?),
            9 => Items::Float(self.numbers()?),
            10 => Items::Char(self.numbers()?),
            11 => Items::Symbol(self.symbols()?),
            12 => Items::Timestamp(self.numbers()?),
            13 => Items::Month(self.numbers()?),
            14 => Items::Date(self.numbers()?),
            15 => Items::Datetime(self.numbers()?),
            16 => Items::Timespan(self.numbers()?),
            17 => Items::Minute(self.numbers()?),
            18 => Items::Second(self.numbers()?),
            19 => Items::Time(self.numbers()?),
            _ => return Err(WireError::new(at, Wrong::Type(code))),
        };
        Ok(List { attr, items })
    }

    fn atom(&mut self, code: i8, at: usize) -> Result<Atom, WireError> {
        const WANTED: &str = "the bytes of an atom";
        Ok(match code {
            -1 => Atom::Bool(self.number(WANTED)?),
            -2 => Atom::Guid(self.number(WANTED)?),
            -4 => Atom::Byte(self.number(WANTED)?),
            -5 => Atom::Short(self.number(WANTED)?),
            -6 => Atom::Int(self.number(WANTED)?),
            -7 => Atom::Long(self.number(WANTED)?),
            -8 => Atom::Real(self.number(WANTED)?),
            -9 => Atom::Float(self.number(WANTED)?),
            -10 => Atom::Char(self.number(WANTED)?),
            -11 => Atom::Symbol(self.symbol()?),
            -12 => Atom::Timestamp(self.number(WANTED)?),
            -13 => Atom::Month(self.number(WANTED)?),
            -14 => Atom::Date(self.number(WANTED)?),
            -15 => Atom::Datetime(self.number(WANTED)?),
            -16 => Atom::Timespan(self.number(WANTED)?),
            -17 => Atom::Minute(self.number(WANTED)?),
            -18 => Atom::Second(self.number(WANTED)?),
            -19 => Atom::Time(self.number(WANTED)?),
            _ => return Err(WireError::new(at, Wrong::Type(code))),
        })
    }
}
