//! A guest as the engine runs detectors.
//!
//! Invariant: what the guest was told (numbers, times, order) is a function of its instruments' rows.

use std::cell::{RefCell, RefMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tapewatch_model::{EVIDENCE_MAX, EventTypes, Quantity, Time};

use super::{Disabled, Guest, GuestEvent, GuestFinding, Guests, NameOf, WASM};
use crate::config::ConfigError;
use crate::detector::{Detector, DetectorInfo, Finding, Findings, NOBODY, ParamMap, Rows, Spot};
use crate::market::{OrderName, exec_number};
use crate::reference::Reference;

const KINDS: [NameOf; 3] = [NameOf::Instrument, NameOf::Trader, NameOf::Owner];

/// Whether two tables name the same code.
pub(crate) fn same_code(a: &ParamMap, b: &ParamMap) -> bool {
    a.get(WASM) == b.get(WASM)
}

/// A guest, and what it was told.
pub(crate) struct GuestDetector {
    set: u32,
    info: &'static DetectorInfo,
    wants: EventTypes,
    params: ParamMap,
    guests: Arc<dyn Guests>,
    /// Where instruments come one after another: the one at hand.
    at: Option<u32>,
    told: Told,
    found: Vec<GuestFinding>,
    // Saving calls the guest, which changes it; the engine's detectors are saved from behind `&`.
    run: RefCell<Run>,
}

struct Run {
    guest: Running,
    disabled: Option<Disabled>,
}

enum Running {
    Live(Box<dyn Guest>),
    /// A copy to be saved: what the guest saved.
    Copied(Vec<u8>),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Told {
    /// Instruments, traders and owners.
    names: [Numbers; 3],
    /// The latest time of each instrument, by its number less one.
    latest: Vec<i64>,
    /// Sequence number and time of the last row.
    last: (u64, i64),
}

/// Numbers by first sight.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Numbers {
    /// By the engine's number; 0 is none yet.
    of_engine: Vec<u32>,
    /// By number less one.
    texts: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    told: Told,
    disabled: Option<(u64, i64, String)>,
    guest: Vec<u8>,
}

impl GuestDetector {
    /// The guest that `id` and its table name, as new.
    pub(crate) fn new(
        set: u32,
        id: &str,
        params: &ParamMap,
        guests: &Arc<dyn Guests>,
    ) -> Result<Self, ConfigError> {
        let refuse = |reason| ConfigError::Guest {
            detector: id.to_owned(),
            reason,
        };
        let guest = guests.guest(id, params).map_err(refuse)?;
        Ok(Self {
            set,
            info: guest.info(),
            wants: guest.wants(),
            params: params.clone(),
            guests: Arc::clone(guests),
            at: None,
            told: Told::default(),
            found: Vec::new(),
            run: RefCell::new(Run {
                guest: Running::Live(guest),
                disabled: None,
            }),
        })
    }

    pub(crate) fn info(&self) -> &'static DetectorInfo {
        self.info
    }

    /// Notes why it failed; it is not called again.
    fn fail(&self, mut run: RefMut<'_, Run>, reason: String) {
        let (seq, time) = self.told.last;
        run.disabled = Some(Disabled {
            detector: self.info.id,
            seq,
            time: Time::from_nanos(time),
            reason,
        });
    }

    /// What the guest remembers; nothing of one that is disabled.
    fn saved_guest(&self) -> Vec<u8> {
        let mut run = self.run.borrow_mut();
        if run.disabled.is_some() {
            return Vec::new();
        }
        let saved = match &mut run.guest {
            Running::Copied(saved) => return saved.clone(),
            Running::Live(guest) => guest.save(),
        };
        saved.unwrap_or_else(|reason| {
            self.fail(run, format!("it cannot be saved: {reason}"));
            Vec::new()
        })
    }

    fn begin_anew(&mut self) {
        self.told = Told {
            last: self.told.last,
            ..Told::default()
        };
        let mut run = self.run.borrow_mut();
        if run.disabled.is_none()
            && let Running::Live(guest) = &mut run.guest
            && let Err(reason) = guest.restart()
        {
            self.fail(run, reason);
        }
    }
}

impl Told {
    /// The row as the guest sees it, after it was told what its numbers stand for.
    fn event(
        &mut self,
        rows: &Rows<'_>,
        row: usize,
        sym: u32,
        guest: &mut dyn Guest,
    ) -> Option<Result<GuestEvent, String>> {
        let orders = rows.orders;
        let (trader, owner) = rows.trader_and_owner(row)?;
        let seq = orders.seq(row);
        let told_time = orders.times().get(row)?.nanos();
        self.last = (seq, told_time);
        let mut numbers = [0; 3];
        for ((number, of), engine) in numbers.iter_mut().zip(KINDS).zip([sym, trader, owner]) {
            *number = match self.number(of, engine, rows, guest) {
                Ok(number) => number,
                Err(reason) => return Some(Err(reason)),
            };
        }
        let [instrument, trader, owner] = numbers;
        let latest = self.latest.get_mut((instrument as usize).checked_sub(1)?)?;
        *latest = told_time.max(*latest);
        let exec = orders.exec_ids().and_then(|ids| ids.bytes_at(row));
        let display = orders.displays().get(row).copied().flatten();
        Some(Ok(GuestEvent {
            seq,
            time: Time::from_nanos(*latest),
            instrument,
            trader,
            owner,
            order: OrderName::of(orders.order_ids().bytes_at(row)?).key,
            execution: exec.map_or(0, exec_number),
            event_type: *orders.event_types().get(row)?,
            side: *orders.sides().get(row)?,
            price: orders.prices().get(row)?.units(),
            quantity: orders.quantities().get(row)?.units(),
            shown: display.map_or(-1, Quantity::units),
            flags: orders.flags().get(row).copied().unwrap_or_default(),
        }))
    }

    /// The guest's number of an engine's number: it is told the text at first sight.
    #[inline]
    fn number(
        &mut self,
        of: NameOf,
        engine: u32,
        rows: &Rows<'_>,
        guest: &mut dyn Guest,
    ) -> Result<u32, String> {
        if engine == NOBODY {
            return Ok(0);
        }
        let Some(numbers) = self.names.get_mut(of as usize) else {
            return Ok(0); // there are three
        };
        match numbers.of_engine.get(engine as usize) {
            Some(&number) if number != 0 => return Ok(number),
            _ => {}
        }
        let text = match of {
            NameOf::Instrument => rows.names.sym(engine),
            NameOf::Trader => rows.names.trader(engine),
            NameOf::Owner => rows.names.owner(engine),
        };
        let place = engine as usize;
        if numbers.of_engine.len() <= place {
            numbers.of_engine.resize(place + 1, 0);
        }
        numbers.texts.push(text.to_owned());
        let number = numbers.texts.len() as u32; // not more than the engine has
        if let Some(slot) = numbers.of_engine.get_mut(place) {
            *slot = number;
        }
        if of == NameOf::Instrument {
            self.latest.push(i64::MIN);
        }
        guest.name(of, number, text)?;
        Ok(number)
    }
}

impl Detector for GuestDetector {
    fn events(&self) -> EventTypes {
        self.wants
    }

    fn wants_details(&self) -> bool {
        true
    }

    fn apply(&mut self, rows: &Rows<'_>, findings: &mut dyn Findings) {
        for (row, &event_type) in rows.orders.event_types().iter().enumerate() {
            if !self.wants.contains(event_type) {
                continue;
            }
            let Some(sym) = rows.sym(row) else {
                continue; // of another shard
            };
            if rows.by_instrument && self.at != Some(sym) {
                if self.at.is_some() {
                    self.begin_anew();
                }
                self.at = Some(sym);
            }
            let mut run = self.run.borrow_mut();
            let Run { guest, disabled } = &mut *run;
            let (Running::Live(guest), None) = (guest, disabled) else {
                return;
            };
            let Some(event) = self.told.event(rows, row, sym, guest.as_mut()) else {
                continue;
            };
            self.found.clear();
            let found = &mut self.found;
            if let Err(reason) = event.and_then(|event| guest.apply(&event, found)) {
                return self.fail(run, reason);
            }
            for finding in self.found.drain(..) {
                let spot = Spot {
                    set: self.set,
                    row,
                    entity: u64::from(sym) << 32 | u64::from(finding.entity),
                    lookback: finding.lookback,
                };
                if findings.at(spot) {
                    findings.put(spot, worded(rows.orders.seq(row), finding));
                }
            }
        }
    }

    fn clear(&mut self) {
        self.at = None;
        self.begin_anew();
    }

    fn reconfigure(&mut self, params: &ParamMap, _: &Arc<Reference>) -> Result<(), ConfigError> {
        if *params == self.params {
            return Ok(());
        }
        // As new first: what refuses these parameters must not change anything.
        let anew = Self::new(self.set, self.info.id, params, &self.guests)?;
        let run = self.run.get_mut();
        let configured = match (&mut run.guest, &run.disabled) {
            (Running::Live(guest), None) => guest.configure(params),
            _ => {
                *self = Self {
                    at: self.at,
                    ..anew
                };
                return Ok(());
            }
        };
        if let Err(reason) = configured {
            self.fail(self.run.borrow_mut(), reason);
        }
        self.params = params.clone();
        Ok(())
    }

    fn share(&mut self, _: u32, _: &ParamMap) -> Result<bool, ConfigError> {
        Ok(false)
    }

    fn copy(&self) -> Box<dyn Detector> {
        let guest = Running::Copied(self.saved_guest());
        Box::new(Self {
            params: self.params.clone(),
            guests: Arc::clone(&self.guests),
            told: self.told.clone(),
            found: Vec::new(),
            run: RefCell::new(Run {
                guest,
                disabled: self.disabled(),
            }),
            ..*self
        })
    }

    fn save(&self) -> Vec<u8> {
        let guest = self.saved_guest();
        let disabled = self
            .disabled()
            .map(|one| (one.seq, one.time.nanos(), one.reason));
        let saved = Saved {
            told: self.told.clone(),
            disabled,
            guest,
        };
        // Only a writer that fails can refuse: memory does not.
        postcard::to_stdvec(&saved).unwrap_or_default()
    }

    fn load(&mut self, saved: &[u8]) -> Result<(), String> {
        let saved: Saved = postcard::from_bytes(saved).map_err(|error| error.to_string())?;
        let run = self.run.get_mut();
        run.disabled = saved.disabled.map(|(seq, time, reason)| Disabled {
            detector: self.info.id,
            seq,
            time: Time::from_nanos(time),
            reason,
        });
        self.told = saved.told;
        let (Running::Live(guest), None) = (&mut run.guest, &run.disabled) else {
            return Ok(());
        };
        guest.restart()?;
        for (of, numbers) in KINDS.into_iter().zip(&self.told.names) {
            for (text, number) in numbers.texts.iter().zip(1..) {
                guest.name(of, number, text)?;
            }
        }
        guest.load(&saved.guest)
    }

    fn overflows(&self) -> u64 {
        0
    }

    fn entities(&self) -> u64 {
        self.told.latest.len() as u64
    }

    fn disabled(&self) -> Option<Disabled> {
        self.run.borrow().disabled.clone()
    }

    fn disable(&mut self, notice: &Disabled) {
        self.run.get_mut().disabled = Some(notice.clone());
    }
}

fn worded(seq: u64, finding: GuestFinding) -> Finding {
    let mut evidence = finding.evidence;
    evidence.push(seq);
    evidence.sort_unstable();
    evidence.dedup();
    let total = evidence.len();
    Finding {
        measures: finding.measures,
        evidence: evidence.split_off(total.saturating_sub(EVIDENCE_MAX)),
        evidence_total: total as u64,
        text: finding.text,
    }
}
