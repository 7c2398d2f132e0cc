//! Makes rows of market-by-order records. Pure; it remembers what orders have open.
//!
//! Invariant: a record gives at most one row or one refusal, but for a clear, which gives a row for
//! each order that it takes away. A quantity that was traded is told once for each order that traded,
//! whatever further records tell that the book became smaller by it.
//!
//! The records and what becomes of them:
//!
//! | action | becomes |
//! |---|---|
//! | A, add | `new`, with the flag `snapshot` where the record has it |
//! | M, modify | `amended` to what is open now; nothing when it only tells what a fill left |
//! | C, cancel | `cancelled` when all goes that was open, `amended` to what stays otherwise; nothing when it only takes away what was filled |
//! | F, fill | `filled` at the price paid, flag `passive` when the venue names the side that came |
//! | T, trade | `filled` of the order that came, flag `aggressor` |
//! | R, clear | `cancelled` for each open order of the instrument |
//! | N, none | nothing |
//!
//! A trade and its fills have the same `exec_id`: the trade's record number. The venue also gives a
//! fill for the order that came when it was in the book before; that fill is the trade again, and is
//! no row. What is open is what the venue shows: an order with a hidden reserve is filled, and then
//! amended to its next part, which may be after all that was shown was filled.

use std::collections::BTreeMap;

use dbn::{MboMsg, UNDEF_PRICE};
use tapewatch_model::{EventType, Flags, Price, Quantity, RowError, Side};

use crate::open_orders::{Key, Open, OpenOrders};

/// Instruments with an event that has not ended, and fills in such events.
const UNENDED_MAX: usize = 1 << 16;

/// What a row says, its time and instrument aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) event_type: EventType,
    pub(super) side: Side,
    /// 0 when the venue names no order.
    pub(super) order: u64,
    pub(super) price: Price,
    pub(super) quantity: Quantity,
    pub(super) execution: Option<u64>,
    pub(super) flags: Flags,
}

/// What the venue does at once with an instrument; it may take several records to tell.
#[derive(Debug, Clone, Copy)]
struct VenueEvent {
    time: u64,
    trade: Option<Trade>,
}

#[derive(Debug, Clone, Copy)]
struct Trade {
    order: u64,
    number: u64,
}

/// Makes rows of records.
#[derive(Debug, Default)]
pub(super) struct Mapper {
    open: OpenOrders,
    events: BTreeMap<u32, VenueEvent>,
    /// Filled in an event that has not ended, and not yet told to be gone from the book.
    filled: BTreeMap<Key, u64>,
    clearing: Option<u32>,
}

impl Mapper {
    /// The row of record `number`. After a clear, [`Self::next_cleared`] has its rows.
    pub(super) fn take(&mut self, record: &MboMsg, number: u64) -> Result<Option<Row>, RowError> {
        let instrument = record.hd.instrument_id;
        self.begin(instrument, record.hd.ts_event)?;
        let row = if record.flags.is_tob() || record.flags.is_mbp() {
            Err(RowError::new("row", "tells a price level, not an order"))
        } else {
            self.row(record, number)
        };
        if record.flags.is_last() {
            self.end(instrument);
        }
        row
    }

    /// The next order that a clear took away.
    pub(super) fn next_cleared(&mut self) -> Option<Row> {
        let Some((order, open)) = self.open.take_first(self.clearing?) else {
            self.clearing = None;
            return None;
        };
        Some(Row {
            event_type: EventType::Cancelled,
            side: open.side,
            order,
            price: open.price,
            quantity: open.quantity,
            execution: None,
            flags: Flags::NONE,
        })
    }

    /// An event also ends where the venue's time is another: not all venues mark its last record.
    fn begin(&mut self, instrument: u32, time: u64) -> Result<(), RowError> {
        let goes_on = |event: &VenueEvent| event.time == time;
        if !self.events.get(&instrument).is_some_and(goes_on) {
            self.end(instrument);
            check_room(self.events.len())?;
            self.events
                .insert(instrument, VenueEvent { time, trade: None });
        }
        Ok(())
    }

    fn end(&mut self, instrument: u32) {
        self.events.remove(&instrument);
        let of_it = (instrument, 0)..=(instrument, u64::MAX);
        while let Some(key) = self.filled.range(of_it.clone()).next().map(|(key, _)| *key) {
            self.filled.remove(&key);
        }
    }

    fn row(&mut self, record: &MboMsg, number: u64) -> Result<Option<Row>, RowError> {
        match record.action as u8 {
            b'A' => self.added(record).map(Some),
            b'M' => self.modified(record),
            b'C' => self.cancelled(record),
            b'F' => self.fill(record, number),
            b'T' => self.trade(record, number).map(Some),
            b'R' => {
                self.clearing = Some(record.hd.instrument_id);
                Ok(None)
            }
            b'N' => Ok(None),
            action => {
                let action = char::from(action);
                let reason = format!("unknown action {action:?} (A, M, C, F, T, R or N)");
                Err(RowError::new("event_type", reason))
            }
        }
    }

    fn added(&mut self, record: &MboMsg) -> Result<Row, RowError> {
        let open = Open {
            side: side(record)?,
            price: price(record)?,
            quantity: quantity(record)?,
        };
        self.open.add(key(record)?, open)?;
        let flags = Flags::SNAPSHOT.when(record.flags.is_snapshot());
        Ok(of_open(EventType::New, record, open, flags))
    }

    fn modified(&mut self, record: &MboMsg) -> Result<Option<Row>, RowError> {
        let key = key(record)?;
        let before = self.open.get(key);
        let now = Open {
            side: before.map_or_else(|| side(record), |open| Ok(open.side))?,
            price: price(record)?,
            quantity: quantity(record)?,
        };
        self.open.set(key, now)?;
        let tells_a_fill = self.filled.remove(&key).is_some() && before == Some(now);
        let row = of_open(EventType::Amended, record, now, Flags::NONE);
        Ok((!tells_a_fill).then_some(row))
    }

    fn cancelled(&mut self, record: &MboMsg) -> Result<Option<Row>, RowError> {
        let key = key(record)?;
        let gone = quantity(record)?;
        let Some(pieces) = self.unfilled(key, record.size) else {
            return Ok(None);
        };
        let Some(before) = self.open.get(key) else {
            let open = Open {
                side: side(record)?,
                price: price(record)?,
                quantity: pieces,
            };
            return Ok(Some(of_open(
                EventType::Cancelled,
                record,
                open,
                Flags::NONE,
            )));
        };
        debug_assert!(pieces <= gone, "a part of it was filled");
        let left = self.open.reduce(key, pieces).unwrap_or(before);
        let (event_type, quantity) = if left.quantity == Quantity::ZERO {
            (EventType::Cancelled, before.quantity)
        } else {
            (EventType::Amended, left.quantity)
        };
        let open = Open { quantity, ..before };
        Ok(Some(of_open(event_type, record, open, Flags::NONE)))
    }

    /// What of `size` pieces was not filled in this event; nothing when all was.
    fn unfilled(&mut self, key: Key, size: u32) -> Option<Quantity> {
        let mut rest = u64::from(size);
        if let Some(filled) = self.filled.get_mut(&key) {
            let told = rest.min(*filled);
            *filled -= told;
            rest -= told;
        }
        let rest = Quantity::from_whole(rest as i64).ok()?;
        (rest != Quantity::ZERO).then_some(rest)
    }

    fn fill(&mut self, record: &MboMsg, number: u64) -> Result<Option<Row>, RowError> {
        let key = key(record)?;
        let event = self.events.get(&record.hd.instrument_id);
        let trade = event.and_then(|event| event.trade);
        if trade.is_some_and(|trade| trade.order == record.order_id) {
            return Ok(None);
        }
        let side = match self.open.get(key) {
            Some(open) => open.side,
            None => side(record)?,
        };
        let (price, quantity) = (price(record)?, quantity(record)?);
        self.note_fill(key, record.size, quantity)?;
        Ok(Some(Row {
            event_type: EventType::Filled,
            side,
            order: record.order_id,
            price,
            quantity,
            execution: Some(trade.map_or(number, |trade| trade.number)),
            flags: Flags::PASSIVE.when(record.side as u8 != b'N'),
        }))
    }

    fn trade(&mut self, record: &MboMsg, number: u64) -> Result<Row, RowError> {
        let order = record.order_id;
        if let Some(event) = self.events.get_mut(&record.hd.instrument_id) {
            event.trade = Some(Trade { order, number });
        }
        let side = side(record)?;
        let (price, quantity) = (price(record)?, quantity(record)?);
        if order != 0 {
            self.note_fill(key(record)?, record.size, quantity)?;
        }
        Ok(Row {
            event_type: EventType::Filled,
            side,
            order,
            price,
            quantity,
            execution: Some(number),
            flags: Flags::AGGRESSOR,
        })
    }

    fn note_fill(&mut self, key: Key, size: u32, quantity: Quantity) -> Result<(), RowError> {
        if !self.filled.contains_key(&key) {
            check_room(self.filled.len())?;
        }
        let filled = self.filled.entry(key).or_default();
        *filled = filled.saturating_add(u64::from(size));
        self.open.reduce(key, quantity);
        Ok(())
    }
}

fn of_open(event_type: EventType, record: &MboMsg, open: Open, flags: Flags) -> Row {
    Row {
        event_type,
        side: open.side,
        order: record.order_id,
        price: open.price,
        quantity: open.quantity,
        execution: None,
        flags,
    }
}

fn key(record: &MboMsg) -> Result<Key, RowError> {
    match record.order_id {
        0 => Err(RowError::new("order_id", "is 0: it names no order")),
        order => Ok((record.hd.instrument_id, order)),
    }
}

fn side(record: &MboMsg) -> Result<Side, RowError> {
    match record.side as u8 {
        b'B' => Ok(Side::Buy),
        b'A' => Ok(Side::Sell),
        b'N' => {
            let reason = "is N, none, and no open order tells it";
            Err(RowError::new("side", reason))
        }
        other => {
            let reason = format!("unknown side {:?} (A, B or N)", char::from(other));
            Err(RowError::new("side", reason))
        }
    }
}

fn price(record: &MboMsg) -> Result<Price, RowError> {
    match record.price {
        UNDEF_PRICE => Err(RowError::new("price", "is undefined")),
        units => Ok(Price::from_units(units)),
    }
}

fn quantity(record: &MboMsg) -> Result<Quantity, RowError> {
    match record.size {
        0 => Err(RowError::new("quantity", "is 0")),
        u32::MAX => Err(RowError::new("quantity", "is undefined")),
        size => {
            Quantity::from_whole(i64::from(size)).map_err(|error| RowError::new("quantity", error))
        }
    }
}

#[cold]
fn too_many() -> RowError {
    let reason = format!("more than {UNENDED_MAX} are in events of the venue that have not ended");
    RowError::new("row", reason)
}

fn check_room(used: usize) -> Result<(), RowError> {
    if used < UNENDED_MAX {
        Ok(())
    } else {
        Err(too_many())
    }
}
