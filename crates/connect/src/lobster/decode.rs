//! Makes an order event of a line of a LOBSTER message file. Pure; it remembers what orders have open.
//!
//! Invariant: a line gives one order event or one refusal; a refused line changes nothing.
//!
//! | type | becomes |
//! |---|---|
//! | 1, submission | `new` |
//! | 2, partial cancellation | `amended` to what stays; refused when the order came before the file begins, so that what stays is not known |
//! | 3, deletion | `cancelled` |
//! | 4, execution of a visible order | `filled`, flag `passive` |
//! | 5, execution of a hidden order | `filled`, flag `passive`; since December 2010 the exchange tells neither the order, so the id is empty, nor its side, which is B in all files |
//! | 6, cross trade; 7, halt | refused: they are of no order |
//!
//! The order that came and met these is in no line, so it is in no row.

use tapewatch_model::{
    Date, Details, EventType, Flags, NumberError, OrderBatch, Price, Quantity, RowError, RowRef,
    Side, Time, TimeSpan,
};

use crate::open_orders::{Open, OpenOrders};

const FIELDS: usize = 6;
const NANOS_PER_DAY: i64 = 86_400_000_000_000;
/// A price of LOBSTER is in 1/10,000.
const PRICE_UNITS: i64 = 100_000;

/// Decodes the lines of one instrument and day.
#[derive(Debug)]
pub(super) struct Decoder {
    sym: String,
    midnight: Time,
    open: OpenOrders,
}

/// A line as it stands.
struct Message<'a> {
    time: Time,
    kind: &'a [u8],
    order: u64,
    order_text: &'a [u8],
    quantity: Quantity,
    price: Price,
    side: Side,
}

impl Decoder {
    pub(super) fn new(sym: String, date: Date, utc_offset: TimeSpan) -> Self {
        Self {
            sym,
            midnight: date.start().saturating_sub(utc_offset),
            open: OpenOrders::default(),
        }
    }

    /// Adds the event of a line.
    pub(super) fn decode(&mut self, line: &[u8], orders: &mut OrderBatch) -> Result<(), RowError> {
        let message = self.message(line)?;
        let key = (0, message.order);
        let stands = Open {
            side: message.side,
            price: message.price,
            quantity: message.quantity,
        };
        let known = self.open.get(key);
        let (event_type, flags, left) = match message.kind {
            b"1" if known.is_some() => {
                let reason = format!("{} is the id of an order that is open", message.order);
                return Err(RowError::new("order_id", reason));
            }
            b"1" => (EventType::New, Flags::NONE, stands),
            b"2" => {
                let left = known.map(|open| less(open, message.quantity));
                let left = left.filter(|left| left.quantity > Quantity::ZERO);
                (EventType::Amended, Flags::NONE, left.ok_or_else(no_rest)?)
            }
            b"3" => (
                EventType::Cancelled,
                Flags::NONE,
                less(stands, stands.quantity),
            ),
            b"4" | b"5" => {
                let left = less(known.unwrap_or(stands), message.quantity);
                (EventType::Filled, Flags::PASSIVE, left)
            }
            _ => return Err(no_event(message.kind)),
        };
        let quantity = match event_type {
            EventType::Amended => left.quantity,
            _ => message.quantity,
        };
        self.push(&message, event_type, quantity, flags, orders)?;
        if message.order != 0 {
            self.open.set(key, left)?;
        }
        Ok(())
    }

    fn message<'a>(&self, line: &'a [u8]) -> Result<Message<'a>, RowError> {
        let mut fields = [b"".as_slice(); FIELDS];
        let mut given = line.split(|&byte| byte == b',');
        for field in &mut fields {
            *field = given.next().ok_or_else(not_six)?;
        }
        if given.next().is_some() {
            return Err(not_six());
        }
        let [time, kind, order_text, size, price, direction] = fields;
        if !matches!(kind, b"1" | b"2" | b"3" | b"4" | b"5") {
            return Err(no_event(kind));
        }
        let order = whole(order_text)
            .and_then(|order| u64::try_from(order).ok())
            .ok_or_else(|| RowError::new("order_id", "is not a whole number"))?;
        if order == 0 && kind != b"5" {
            return Err(RowError::new("order_id", "is 0: it names no order"));
        }
        Ok(Message {
            time: self.time(time)?,
            kind,
            order,
            order_text: if order == 0 { b"" } else { order_text },
            quantity: quantity(size)?,
            price: whole(price)
                .and_then(|price| price.checked_mul(PRICE_UNITS))
                .map(Price::from_units)
                .ok_or_else(|| RowError::new("price", "is not a whole number in range"))?,
            side: match direction {
                b"1" => Side::Buy,
                b"-1" => Side::Sell,
                _ => return Err(RowError::new("side", "is neither 1 nor -1")),
            },
        })
    }

    /// Seconds after midnight with up to nine decimals.
    fn time(&self, text: &[u8]) -> Result<Time, RowError> {
        // A price has nine decimals too.
        let nanos = Price::parse(text).map_err(|error| RowError::new("time", error))?;
        if !(0..NANOS_PER_DAY).contains(&nanos.units()) {
            return Err(RowError::new("time", "is not within a day"));
        }
        let since_midnight = TimeSpan::from_nanos(nanos.units());
        Ok(self.midnight.saturating_add(since_midnight))
    }

    fn push(
        &self,
        message: &Message<'_>,
        event_type: EventType,
        quantity: Quantity,
        flags: Flags,
        orders: &mut OrderBatch,
    ) -> Result<(), RowError> {
        orders.push(&RowRef {
            time: message.time,
            sym: self.sym.as_bytes(),
            event_type,
            trader: b"",
            side: message.side,
            order_id: message.order_text,
            price: message.price,
            quantity,
            details: Details {
                flags: flags.with(Flags::ANONYMOUS),
                ..Details::default()
            },
        })
    }
}

/// What an order has open without a part of it.
fn less(open: Open, part: Quantity) -> Open {
    Open {
        quantity: open.quantity.saturating_sub(part),
        ..open
    }
}

/// A whole number; at most 18 digits.
fn whole(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn quantity(text: &[u8]) -> Result<Quantity, RowError> {
    let pieces = whole(text).ok_or(NumberError::OutOfRange);
    match pieces.and_then(Quantity::from_whole) {
        Ok(Quantity::ZERO) => Err(RowError::new("quantity", "is 0")),
        Ok(quantity) => Ok(quantity),
        Err(_) => Err(RowError::new("quantity", "is not a whole number in range")),
    }
}

fn not_six() -> RowError {
    let reason = "needs six fields: time, type, order id, size, price, direction";
    RowError::new("row", reason)
}

fn no_rest() -> RowError {
    let reason = "names no order of which more is open, so that it is not known what stays";
    RowError::new("quantity", reason)
}

fn no_event(kind: &[u8]) -> RowError {
    let reason = match kind {
        b"6" => "6 is a cross trade, which is of no order".to_owned(),
        b"7" => "7 tells of a halt, which is of no order".to_owned(),
        _ => {
            let kind: String = String::from_utf8_lossy(kind).chars().take(64).collect();
            format!("unknown type {kind:?} (1 to 7)")
        }
    };
    RowError::new("event_type", reason)
}
