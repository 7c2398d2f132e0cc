//! Names of instruments by their numbers, as the head of a file tells them.
//!
//! Invariant: an instrument that the head does not name on a day is called by its number.

use std::collections::BTreeMap;

use dbn::{MappingInterval, Metadata, SType};
use tapewatch_model::{Date, Time};

/// Julian day of 1970-01-01.
const JULIAN_1970: i32 = 2_440_588;

/// A name and when it holds.
#[derive(Debug)]
struct Named {
    first: Date,
    /// The day after the last.
    end: Date,
    name: String,
}

/// Names of instruments.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    names: BTreeMap<u32, Vec<Named>>,
    /// The last answer: rows of one instrument and day mostly follow each other.
    last: Option<(u32, Date)>,
    name: String,
}

impl Symbols {
    pub(super) fn new(metadata: Metadata) -> Self {
        let numbers_come_in = metadata.stype_in == Some(SType::InstrumentId);
        let mut symbols = Self::default();
        for mapping in metadata.mappings {
            for interval in mapping.intervals {
                let (number, name) = if numbers_come_in {
                    (&mapping.raw_symbol, &interval.symbol)
                } else {
                    (&interval.symbol, &mapping.raw_symbol)
                };
                if let Ok(number) = number.parse()
                    && !name.is_empty()
                {
                    let named = named(&interval, name);
                    symbols.names.entry(number).or_default().push(named);
                }
            }
        }
        symbols
    }

    /// What the instrument is called at a time.
    pub(super) fn name(&mut self, instrument: u32, time: Time) -> &str {
        let asked = (instrument, time.date());
        if self.last != Some(asked) {
            let named = self.names.get(&instrument).and_then(|names| {
                let holds = |named: &&Named| named.first <= asked.1 && asked.1 < named.end;
                names.iter().find(holds)
            });
            self.name = named.map_or_else(|| instrument.to_string(), |named| named.name.clone());
            self.last = Some(asked);
        }
        &self.name
    }
}

fn named(interval: &MappingInterval, name: &str) -> Named {
    let days = |julian: i32| Date::from_days(julian.saturating_sub(JULIAN_1970));
    Named {
        first: days(interval.start_date.to_julian_day()),
        end: days(interval.end_date.to_julian_day()),
        name: name.to_owned(),
    }
}
