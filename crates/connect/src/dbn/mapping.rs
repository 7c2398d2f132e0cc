//! Makes rows of market-by-order records. Pure; it remembers what orders have open.
//!
//! Invariant: rows come out in the order of the records that tell them. An execution has a row on
//! each side that the venue names, and is told once, whatever further records tell that the book
//! became smaller by it. No row names an order that is not open, but for those that came and traded
//! at once, and for what ends that began before the file.
//!
//! The records and what becomes of them:
//!
//! | action | becomes |
//! |---|---|
//! | A, add | `new`, with the flag `snapshot` where the record has it |
//! | M, modify | `amended` to what is open now; nothing when it only tells what a fill left |
//! | C, cancel | `cancelled` when all goes that was open, `amended` to what stays otherwise; nothing when it only takes away what was filled |
//! | T, trade | says which order came; what of it no fill tells is `filled`, flag `aggressor` |
//! | F, fill | `filled` of the order that came, flag `aggressor`, and of the one that waited, flag `passive`; both have the fill's record number as `exec_id` |
//! | R, clear | `cancelled` for each open order of the instrument |
//! | N, none | nothing |
//!
//! The venue also gives a fill for the order that came when it was in the book before; its other
//! fills tell that. In an auction no order comes: its fills have neither flag nor `exec_id`, for
//! nobody says who traded with whom.
//!
//! What is open is what the venue shows. When all that was shown of an order was filled and the next
//! part of a hidden reserve is shown, that is `new`: it stands at the back of its queue. An order that
//! is modified though it was not in the file is `new` with the flag `snapshot`.

use std::collections::{BTreeMap, VecDeque};

use dbn::{MboMsg, UNDEF_PRICE};
use tapewatch_model::{EventType, Flags, NumberError, Price, Quantity, RowError, Side, Time};

use crate::open_orders::{Key, Open, OpenOrders};

/// Instruments with an event that has not ended, and fills in such events.
const UNENDED_MAX: usize = 1 << 16;

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) instrument: u32,
    pub(super) time: Time,
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

/// An order that came, and what it traded that no fill has told yet.
#[derive(Debug, Clone, Copy)]
struct Trade {
    number: u64,
    row: Option<Row>,
    order: u64,
}

/// Makes rows of records.
#[derive(Debug, Default)]
pub(super) struct Mapper {
    open: OpenOrders,
    events: BTreeMap<u32, VenueEvent>,
    /// Filled in an event that has not ended, and not yet told to be gone from the book.
    filled: BTreeMap<Key, u64>,
    /// Rows that are ready: at most two of a record, and one of the trade before it.
    ready: VecDeque<Row>,
    clearing: Option<(u32, Time)>,
}

impl Mapper {
    /// Takes record `number`; [`Self::next_row`] has its rows.
    pub(super) fn take(&mut self, record: &MboMsg, number: u64) -> Result<(), RowError> {
        let instrument = record.hd.instrument_id;
        self.begin(instrument, record.hd.ts_event)?;
        let taken = if record.flags.is_tob() || record.flags.is_mbp() {
            Err(RowError::new("row", "tells a price level, not an order"))
        } else {
            self.record(record, number)
        };
        if record.flags.is_last() {
            self.end(instrument);
        }
        taken
    }

    /// There are no more records.
    pub(super) fn finish(&mut self) {
        while let Some(instrument) = self.events.keys().next().copied() {
            self.end(instrument);
        }
    }

    /// The next row.
    pub(super) fn next_row(&mut self) -> Option<Row> {
        if let Some(row) = self.ready.pop_front() {
            return Some(row);
        }
        let (instrument, time) = self.clearing?;
        let Some((order, open)) = self.open.take_first(instrument) else {
            self.clearing = None;
            return None;
        };
        Some(Row {
            instrument,
            time,
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
        self.end_trade(instrument);
        self.events.remove(&instrument);
        let of_it = (instrument, 0)..=(instrument, u64::MAX);
        while let Some(key) = self.filled.range(of_it.clone()).next().map(|(key, _)| *key) {
            self.filled.remove(&key);
        }
    }

    /// What no fill told of a trade is a row of its own.
    fn end_trade(&mut self, instrument: u32) {
        let event = self.events.get_mut(&instrument);
        if let Some(trade) = event.and_then(|event| event.trade.take())
            && let Some(row) = trade.row
            && row.quantity > Quantity::ZERO
        {
            let execution = Some(trade.number);
            self.ready.push_back(Row { execution, ..row });
        }
    }

    fn record(&mut self, record: &MboMsg, number: u64) -> Result<(), RowError> {
        match record.action as u8 {
            b'A' => self.added(record),
            b'M' => self.modified(record),
            b'C' => self.cancelled(record),
            b'F' => self.fill(record, number),
            b'T' => self.trade(record, number),
            b'R' => {
                self.clearing = Some((record.hd.instrument_id, time(record)?));
                Ok(())
            }
            b'N' => Ok(()),
            action => {
                let action = char::from(action);
                let reason = format!("unknown action {action:?} (A, M, C, F, T, R or N)");
                Err(RowError::new("event_type", reason))
            }
        }
    }

    fn added(&mut self, record: &MboMsg) -> Result<(), RowError> {
        let row = Row {
            flags: Flags::SNAPSHOT.when(record.flags.is_snapshot()),
            ..row(record, EventType::New, side(record)?)?
        };
        self.open.add(key(record)?, open_of(&row))?;
        self.ready.push_back(row);
        Ok(())
    }

    fn modified(&mut self, record: &MboMsg) -> Result<(), RowError> {
        let key = key(record)?;
        let before = self.open.get(key);
        let side = before.map_or_else(|| side(record), |open| Ok(open.side))?;
        let mut row = row(record, EventType::Amended, side)?;
        self.open.set(key, open_of(&row))?;
        let was_filled = self.filled.remove(&key).is_some();
        if before.is_none() {
            row.event_type = EventType::New;
            row.flags = Flags::SNAPSHOT.when(!was_filled);
        }
        if !was_filled || before != Some(open_of(&row)) {
            self.ready.push_back(row);
        }
        Ok(())
    }

    fn cancelled(&mut self, record: &MboMsg) -> Result<(), RowError> {
        let key = key(record)?;
        let before = self.open.get(key);
        let side = before.map_or_else(|| side(record), |open| Ok(open.side))?;
        let record = &MboMsg {
            price: before.map_or(record.price, |open| open.price.units()),
            ..record.clone()
        };
        let mut row = row(record, EventType::Cancelled, side)?;
        row.quantity = self.unfilled(key, record.size)?;
        if row.quantity == Quantity::ZERO {
            return Ok(());
        }
        if let (Some(before), Some(left)) = (before, self.open.reduce(key, row.quantity)) {
            let stays = left.quantity > Quantity::ZERO;
            (row.event_type, row.quantity) = if stays {
                (EventType::Amended, left.quantity)
            } else {
                (EventType::Cancelled, before.quantity)
            };
        }
        self.ready.push_back(row);
        Ok(())
    }

    /// What of `size` pieces was not filled in this event.
    fn unfilled(&mut self, key: Key, size: u32) -> Result<Quantity, RowError> {
        let mut rest = u64::from(size);
        if let Some(filled) = self.filled.get_mut(&key) {
            let told = rest.min(*filled);
            *filled -= told;
            rest -= told;
        }
        pieces(rest)
    }

    fn trade(&mut self, record: &MboMsg, number: u64) -> Result<(), RowError> {
        let (instrument, order) = (record.hd.instrument_id, record.order_id);
        self.end_trade(instrument);
        let row = side(record).and_then(|side| row(record, EventType::Filled, side));
        let row = row.map(|row| Row {
            flags: Flags::AGGRESSOR,
            ..row
        });
        if let Some(event) = self.events.get_mut(&instrument) {
            event.trade = Some(Trade {
                number,
                row: row.clone().ok(),
                order,
            });
        }
        let quantity = row?.quantity;
        if order == 0 {
            return Ok(());
        }
        self.note_fill(key(record)?, record.size, quantity)
    }

    fn fill(&mut self, record: &MboMsg, number: u64) -> Result<(), RowError> {
        let key = key(record)?;
        let event = self.events.get_mut(&record.hd.instrument_id);
        let trade = event.and_then(|event| event.trade.as_mut());
        if trade.as_ref().is_some_and(|trade| trade.order == key.1) {
            return Ok(());
        }
        let side = match self.open.get(key) {
            Some(open) => open.side,
            None => side(record)?,
        };
        let came = record.side as u8 != b'N';
        let waited = Row {
            execution: came.then_some(number),
            flags: Flags::PASSIVE.when(came),
            ..row(record, EventType::Filled, side)?
        };
        let told = trade.and_then(|trade| trade.row.as_mut());
        if let Some(trade) = told.filter(|trade| came && trade.side != side) {
            let quantity = waited.quantity.min(trade.quantity);
            trade.quantity = trade.quantity.saturating_sub(quantity);
            if quantity > Quantity::ZERO {
                self.ready.push_back(Row {
                    quantity,
                    price: waited.price,
                    execution: waited.execution,
                    ..*trade
                });
            }
        }
        self.ready.push_back(waited);
        self.note_fill(key, record.size, waited.quantity)
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

/// The row that a record tells.
fn row(record: &MboMsg, event_type: EventType, side: Side) -> Result<Row, RowError> {
    Ok(Row {
        instrument: record.hd.instrument_id,
        time: time(record)?,
        event_type,
        side,
        order: record.order_id,
        price: price(record)?,
        quantity: quantity(record)?,
        execution: None,
        flags: Flags::NONE,
    })
}

fn open_of(row: &Row) -> Open {
    Open {
        side: row.side,
        price: row.price,
        quantity: row.quantity,
    }
}

/// The matching engine's time; of an order of a snapshot, the snapshot's.
fn time(record: &MboMsg) -> Result<Time, RowError> {
    let nanos = if record.flags.is_snapshot() {
        record.ts_recv
    } else {
        record.hd.ts_event
    };
    i64::try_from(nanos)
        .map(Time::from_nanos)
        .map_err(|_| RowError::new("time", "is undefined, or after 2262-04-11"))
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
        size => pieces(u64::from(size)),
    }
}

fn pieces(count: u64) -> Result<Quantity, RowError> {
    let whole = i64::try_from(count).map_err(|_| NumberError::OutOfRange);
    let quantity = whole.and_then(Quantity::from_whole);
    quantity.map_err(|error| RowError::new("quantity", error))
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
