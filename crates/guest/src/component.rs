//! One instance of a component, and its calls.
//!
//! Invariant: an instance that trapped is not called again. Fuel is counted over the events that it
//! was told, so the event at which it runs out does not depend on how they were cut into batches.

use std::sync::Arc;

use serde_json::{Map, Value};
use tapewatch_detect::{DetectorInfo, Guest, GuestEvent, GuestFinding, NameOf};
use tapewatch_model::{EventType, EventTypes, Side};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store, StoreLimits, StoreLimitsBuilder, Trap};

use crate::answer::{self, Described};
use crate::params::{Limits, values};
use crate::wit::{self, Detector};

/// Fuel of a call that is not made for an event: to describe, configure, save or load.
const FUEL_OF_CALL: u64 = 20_000_000_000;
/// Most bytes that it may save, about.
const SAVED_BYTES_MAX: usize = 256 << 20;
/// Most bytes that its answer to an event may fill here, about: what a list of findings can hold is
/// less, and lists may share memory there.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const TABLE_ELEMENTS_MAX: usize = 1 << 20;

/// The same code gives the same answers everywhere: no threads, no relaxed SIMD, one NaN, fuel
/// instead of time.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_relaxed_simd(false)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true);
    Engine::new(&config)
}

/// Code that was compiled and described.
pub(crate) struct Code {
    pub(crate) engine: Engine,
    pub(crate) component: Component,
    pub(crate) described: Described,
}

/// What it is; asked of an instance that is then thrown away.
pub(crate) fn describe(engine: &Engine, component: &Component) -> Result<wit::Description, String> {
    let limits = Limits::read(&Map::new())?;
    let (mut store, detector) = instantiate(engine, component, limits)?;
    detector
        .call_describe(&mut store)
        .map_err(|error| why(&error))
}

fn bounds(limits: Limits) -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(usize::try_from(limits.memory).unwrap_or(usize::MAX))
        .table_elements(TABLE_ELEMENTS_MAX)
        .trap_on_grow_failure(true)
        .build()
}

fn instantiate(
    engine: &Engine,
    component: &Component,
    limits: Limits,
) -> Result<(Store<StoreLimits>, Detector), String> {
    let mut store = Store::new(engine, bounds(limits));
    store.limiter(|bounds| bounds);
    store.set_hostcall_fuel(ANSWER_BYTES_MAX);
    store.set_fuel(FUEL_OF_CALL).map_err(|error| why(&error))?;
    // The linker is empty: what imports anything does not come to life.
    let detector = Detector::instantiate(&mut store, component, &Linker::new(engine));
    Ok((store, detector.map_err(|error| why(&error))?))
}

/// A guest that is alive.
pub(crate) struct Instance {
    code: Arc<Code>,
    limits: Limits,
    values: Vec<i64>,
    store: Store<StoreLimits>,
    detector: Detector,
}

impl Instance {
    /// As new, with the parameters of its table.
    pub(crate) fn new(code: Arc<Code>, table: &Map<String, Value>) -> Result<Self, String> {
        let limits = Limits::read(table)?;
        let values = values(&code.described.parameters, table)?;
        let (store, detector) = instantiate(&code.engine, &code.component, limits)?;
        let mut instance = Self {
            code,
            limits,
            values,
            store,
            detector,
        };
        instance.tell_values()?;
        instance.fill(limits.burst)?;
        Ok(instance)
    }

    fn tell_values(&mut self) -> Result<(), String> {
        let told = self.aside(|detector, store, values| detector.call_configure(store, values))?;
        told.map_err(|reason| format!("it refuses its parameters: {}", cut(&reason)))
    }

    /// A call outside the stream of events: it does not draw on their fuel.
    fn aside<T>(
        &mut self,
        call: impl FnOnce(&Detector, &mut Store<StoreLimits>, &[i64]) -> wasmtime::Result<T>,
    ) -> Result<T, String> {
        let before = self.fuel();
        self.fill(FUEL_OF_CALL)?;
        self.store.set_hostcall_fuel(SAVED_BYTES_MAX);
        let answer = call(&self.detector, &mut self.store, &self.values);
        let answer = answer.map_err(|error| why(&error))?;
        self.store.set_hostcall_fuel(ANSWER_BYTES_MAX);
        self.fill(before)?;
        Ok(answer)
    }

    fn fuel(&self) -> u64 {
        self.store.get_fuel().unwrap_or_default() // an error is that none is counted
    }

    fn fill(&mut self, fuel: u64) -> Result<(), String> {
        self.store.set_fuel(fuel).map_err(|error| why(&error))
    }

    /// Why a call for an event failed.
    fn spent(&self, error: &wasmtime::Error) -> String {
        if matches!(error.downcast_ref(), Some(Trap::OutOfFuel)) {
            let Limits { fuel, burst, .. } = self.limits;
            return format!(
                "it ran too long: each event brings {fuel} units of fuel, at most {burst} are saved up, and it used them up"
            );
        }
        why(error)
    }
}

impl Guest for Instance {
    fn info(&self) -> &'static DetectorInfo {
        self.code.described.info
    }

    fn wants(&self) -> EventTypes {
        self.code.described.wants
    }

    fn restart(&mut self) -> Result<(), String> {
        let (store, detector) = instantiate(&self.code.engine, &self.code.component, self.limits)?;
        self.store = store;
        self.detector = detector;
        self.tell_values()?;
        self.fill(self.limits.burst)
    }

    fn configure(&mut self, params: &Map<String, Value>) -> Result<(), String> {
        let limits = Limits::read(params)?;
        self.values = values(&self.code.described.parameters, params)?;
        *self.store.data_mut() = bounds(limits);
        self.limits = limits;
        self.tell_values()
    }

    fn name(&mut self, of: NameOf, number: u32, text: &str) -> Result<(), String> {
        let of = match of {
            NameOf::Instrument => wit::Names::Instrument,
            NameOf::Trader => wit::Names::Trader,
            NameOf::Owner => wit::Names::Owner,
        };
        let told = self.detector.call_name(&mut self.store, of, number, text);
        told.map_err(|error| self.spent(&error))
    }

    fn apply(&mut self, event: &GuestEvent, found: &mut Vec<GuestFinding>) -> Result<(), String> {
        let fuel = self.fuel().saturating_add(self.limits.fuel);
        self.fill(fuel.min(self.limits.burst))?;
        let answer = self.detector.call_apply(&mut self.store, told(event));
        let findings = answer.map_err(|error| self.spent(&error))?;
        if findings.is_empty() {
            return Ok(());
        }
        answer::findings(findings, event.seq, &self.code.described.measures, found)
    }

    fn save(&mut self) -> Result<Vec<u8>, String> {
        let mut saved = self.fuel().to_le_bytes().to_vec();
        let state = self.aside(|detector, store, _| detector.call_save(store))?;
        if state.len() > SAVED_BYTES_MAX {
            return Err(format!(
                "{} bytes; {SAVED_BYTES_MAX} are the most",
                state.len()
            ));
        }
        saved.extend(state);
        Ok(saved)
    }

    fn load(&mut self, saved: &[u8]) -> Result<(), String> {
        let (fuel, state) = saved.split_first_chunk().ok_or("it is cut short")?;
        let loaded = self.aside(|detector, store, _| detector.call_load(store, state))?;
        self.fill(u64::from_le_bytes(*fuel))?;
        loaded.map_err(|reason| format!("it refuses what it saved: {}", cut(&reason)))
    }
}

#[inline]
fn told(event: &GuestEvent) -> wit::Event {
    wit::Event {
        seq: event.seq,
        time: event.time.nanos(),
        instrument: event.instrument,
        trader: event.trader,
        owner: event.owner,
        order: event.order,
        execution: event.execution,
        what: match event.event_type {
            EventType::New => wit::EventType::New,
            EventType::Amended => wit::EventType::Amended,
            EventType::Cancelled => wit::EventType::Cancelled,
            EventType::Filled => wit::EventType::Filled,
        },
        side: match event.side {
            Side::Buy => wit::Side::Buy,
            Side::Sell => wit::Side::Sell,
        },
        price: event.price,
        quantity: event.quantity,
        shown: event.shown,
        marks: event.flags.bits(),
    }
}

/// What went wrong, without addresses: the same for the same events.
fn why(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "it gave up (trap unreachable)".to_owned(),
        Some(trap) => format!("trap: {trap}"),
        None => cut(&error.root_cause().to_string()),
    }
}

fn cut(reason: &str) -> String {
    reason
        .chars()
        .filter(|c| !c.is_control())
        .take(500)
        .collect()
}
