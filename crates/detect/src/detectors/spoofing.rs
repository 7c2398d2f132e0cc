//! Spoofing: an entity cancels many orders, and much quantity, within a short time.
//!
//! Invariant: in mode `seq` a finding depends on the entity's own cancels alone. Source: the kdb+
//! `surv-cloud` paper's alert; modes `wj` and `wj1` reproduce its window joins, bucket by bucket.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tapewatch_model::{
    Decimal, EVIDENCE_MAX, EventType, Measure, Quantity, RowRef, Side, TimeSpan,
};

use crate::config::ConfigError;
use crate::detector::{Detector, DetectorInfo, Finding, ParamInfo, ParamMap, Registration, Rows};
use crate::kdb_cache::{EntityCache, Floors};
use crate::window::{Kept, Total, Window};

pub(crate) const REGISTRATION: Registration = Registration {
    info: &INFO,
    complete,
    build,
};

static INFO: DetectorInfo = DetectorInfo {
    id: "spoofing",
    version: 1,
    title: "Many cancels of one trader on one side within a short time",
    rule: "At each cancel of an entity, count the entity's cancels of the lookback up to it and sum \
        their quantities, both ends included. It is a hit when the sum exceeds cancel_quantity and \
        the count exceeds cancel_count (both strictly). A cancel that itself arrives late is \
        measured over the cancels that had arrived before it.",
    source: "KX, \"Trade surveillance in the cloud\" (surv-cloud), the orderAlerts of its real-time \
        engine; mode seq follows the paper's proposal of an event window for coarse timestamps",
    params: &[
        ParamInfo {
            name: "cancel_quantity",
            default: "4000",
            doc: "The summed quantity of the cancels must exceed this.",
        },
        ParamInfo {
            name: "cancel_count",
            default: "3",
            doc: "The number of cancels must exceed this.",
        },
        ParamInfo {
            name: "lookback",
            default: "25s",
            doc: "How far back from a cancel others count, that far back included.",
        },
        ParamInfo {
            name: "lateness",
            default: "5m",
            doc: "How late, by event time, a cancel may arrive and still be measured over all \
                cancels that belong to its window (mode seq).",
        },
        ParamInfo {
            name: "mode",
            default: "seq",
            doc: "`seq`: the cancels that arrived no later than this one; the same for any batch \
                sizes and any number of shards. `wj1`, `wj`: kdb+'s window joins over each bucket \
                with the bucket's order cache, `wj` with the prevailing cancel before the window; \
                they depend on the buckets, as the reference does.",
        },
        ParamInfo {
            name: "entity",
            default: "sym_trader_side",
            doc: "Whose cancels belong together: `sym_trader_side` or `sym_trader`.",
        },
    ],
};

/// Most cancels kept for one entity; beyond, the oldest goes and is counted as an overflow.
const KEPT_MAX: usize = 100_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    cancel_quantity: Quantity,
    cancel_count: u64,
    lookback: TimeSpan,
    lateness: TimeSpan,
    mode: Mode,
    entity: Entity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Seq,
    Wj1,
    Wj,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entity {
    SymTraderSide,
    SymTrader,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            cancel_quantity: Quantity::from_whole(4_000).unwrap_or_default(),
            cancel_count: 3,
            lookback: TimeSpan::from_secs(25),
            lateness: TimeSpan::from_secs(300),
            mode: Mode::Seq,
            entity: Entity::SymTraderSide,
        }
    }
}

impl Params {
    fn read(params: &ParamMap) -> Result<Self, ConfigError> {
        let refuse = |reason: String| ConfigError::Param {
            detector: INFO.id,
            reason,
        };
        for (name, value) in params {
            // One at a time, so that the error can name it.
            let one = Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<Self>(Value::Object(one)).map_err(|error| {
                refuse(match error.to_string() {
                    text if text.contains("unknown field") => text,
                    text => format!("{name} = {value}: {text}"),
                })
            })?;
        }
        let read: Self = serde_json::from_value(Value::Object(params.clone()))
            .map_err(|error| refuse(error.to_string()))?;
        if read.lookback <= TimeSpan::ZERO || read.lateness < TimeSpan::ZERO {
            return Err(refuse(
                "lookback must be longer than nothing, lateness not negative".into(),
            ));
        }
        Ok(read)
    }

    /// What the windows were built with: when it changes they no longer fit.
    fn shape(&self) -> (TimeSpan, TimeSpan, Mode, Entity) {
        (self.lookback, self.lateness, self.mode, self.entity)
    }
}

fn complete(params: &ParamMap) -> Result<ParamMap, ConfigError> {
    let whole = serde_json::to_value(Params::read(params)?);
    match whole {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(ConfigError::Form(
            "the parameters have no JSON form".to_owned(),
        )),
    }
}

fn build(params: &ParamMap) -> Result<Box<dyn Detector>, ConfigError> {
    Ok(Box::new(Spoofing::new(Params::read(params)?)))
}

struct Spoofing {
    params: Params,
    /// Entity key to its place in `windows` or `caches`.
    places: HashMap<u64, u32, FixedState>,
    /// Mode `seq`.
    windows: Vec<Window>,
    /// Modes `wj` and `wj1`.
    caches: Vec<EntityCache>,
    floors: Floors,
    overflows: u64,
    /// The cancels of the batch at hand: row and place. Kept for its memory.
    cancels: Vec<(usize, u32, u64)>,
}

impl Spoofing {
    fn new(params: Params) -> Self {
        Self {
            params,
            places: HashMap::with_hasher(FixedState::default()),
            windows: Vec::new(),
            caches: Vec::new(),
            floors: Floors::default(),
            overflows: 0,
            cancels: Vec::new(),
        }
    }

    /// Finds the batch's cancels and their entities first: these lookups do not wait for each other.
    fn find_cancels(&mut self, rows: &Rows<'_>) {
        self.cancels.clear();
        let orders = rows.orders;
        let columns = orders.event_types().iter().zip(orders.sym_codes());
        let columns = columns
            .zip(orders.trader_codes())
            .zip(orders.sides())
            .enumerate();
        for (row, (((&event_type, &sym), &trader), &side)) in columns {
            if event_type != EventType::Cancelled {
                continue;
            }
            let Some(&Some(sym)) = rows.syms.get(sym as usize) else {
                continue;
            };
            let Some(&trader) = rows.traders.get(trader as usize) else {
                continue;
            };
            let side = match self.params.entity {
                Entity::SymTraderSide => u64::from(side == Side::Sell),
                Entity::SymTrader => 0,
            };
            let entity = u64::from(sym) << 32 | u64::from(trader) << 1 | side;
            let next = self.places.len() as u32;
            let place = *self.places.entry(entity).or_insert(next);
            self.cancels.push((row, place, entity));
        }
    }

    fn apply_seq(&mut self, rows: &Rows<'_>, findings: &mut Vec<Finding>) {
        self.windows.resize_with(self.places.len(), Window::default);
        let lookback = self.params.lookback.nanos();
        let lateness = self.params.lateness.nanos();
        let touched = self
            .cancels
            .iter()
            .filter_map(|&(_, place, _)| self.windows.get(place as usize));
        std::hint::black_box(touched.fold(0, |all, window| all ^ window.touch()));
        for &(row, place, entity) in &self.cancels {
            let Some(window) = self.windows.get_mut(place as usize) else {
                continue;
            };
            let Some(kept) = kept(rows, row) else {
                continue;
            };
            let total = window.push(kept, lookback, lateness);
            if self.params.exceeded(total) {
                let evidence = window.evidence(total, EVIDENCE_MAX);
                findings.extend(self.params.finding(rows, row, entity, total, evidence));
            }
            if window.len() > KEPT_MAX {
                window.drop_oldest();
                self.overflows += 1;
            }
        }
    }

    fn apply_bucket(&mut self, rows: &Rows<'_>, findings: &mut Vec<Finding>) {
        self.caches
            .resize_with(self.places.len(), EntityCache::default);
        let lookback = self.params.lookback.nanos();
        self.floors
            .next_bucket(rows.time_min.saturating_sub(lookback));
        for &(row, place, _) in &self.cancels {
            let Some(cache) = self.caches.get_mut(place as usize) else {
                continue;
            };
            let Some(kept) = kept(rows, row) else {
                continue;
            };
            cache.push(kept, &self.floors);
            if cache.len() > KEPT_MAX {
                cache.drop_oldest();
                self.overflows += 1;
            }
        }
        for &(row, place, entity) in &self.cancels {
            let Some(cache) = self.caches.get(place as usize) else {
                continue;
            };
            let Some(kept) = kept(rows, row) else {
                continue;
            };
            let from = kept.time.saturating_sub(lookback);
            let total = match self.params.mode {
                Mode::Wj => cache.wj(from, kept.time),
                Mode::Wj1 | Mode::Seq => cache.wj1(from, kept.time),
            };
            if self.params.exceeded(total) {
                let evidence = cache.evidence(total, EVIDENCE_MAX);
                findings.extend(self.params.finding(rows, row, entity, total, evidence));
            }
        }
    }
}

fn kept(rows: &Rows<'_>, row: usize) -> Option<Kept> {
    Some(Kept {
        time: rows.orders.times().get(row)?.nanos(),
        quantity: rows.orders.quantities().get(row)?.units(),
        seq: rows.orders.seq(row),
    })
}

impl Params {
    fn exceeded(&self, total: Total) -> bool {
        total.count() > self.cancel_count
            && total.quantity > i128::from(self.cancel_quantity.units())
    }

    fn finding(
        &self,
        rows: &Rows<'_>,
        row: usize,
        entity: u64,
        total: Total,
        evidence: Vec<u64>,
    ) -> Option<Finding> {
        let quantity = Decimal::from_quantity_units(total.quantity);
        let order = rows.orders.row(row)?;
        Some(Finding {
            row,
            entity,
            text: self.sentence(&order, total.count(), quantity),
            measures: vec![
                Measure {
                    name: "cancel_quantity",
                    value: quantity,
                    threshold: self.cancel_quantity.into(),
                },
                Measure {
                    name: "cancel_count",
                    value: Decimal::from_count(total.count()),
                    threshold: Decimal::from_count(self.cancel_count),
                },
            ],
            lookback: self.lookback,
            evidence,
            evidence_total: total.count(),
        })
    }

    fn sentence(&self, order: &RowRef<'_>, count: u64, quantity: Decimal) -> String {
        let Self {
            cancel_quantity,
            cancel_count,
            lookback,
            ..
        } = self;
        let RowRef {
            sym, trader, time, ..
        } = order;
        let kind = match (self.entity, order.side) {
            (Entity::SymTrader, _) => "",
            (Entity::SymTraderSide, Side::Buy) => "buy ",
            (Entity::SymTraderSide, Side::Sell) => "sell ",
        };
        format!(
            "{trader} cancelled {count} {kind}orders in {sym}, {quantity} in all, within {lookback} \
             up to {time}: more than {cancel_count} cancels and more than {cancel_quantity} in all."
        )
    }
}

impl Detector for Spoofing {
    fn apply(&mut self, rows: &Rows<'_>, findings: &mut Vec<Finding>) {
        self.find_cancels(rows);
        match self.params.mode {
            Mode::Seq => self.apply_seq(rows, findings),
            Mode::Wj | Mode::Wj1 => self.apply_bucket(rows, findings),
        }
    }

    fn clear(&mut self) {
        *self = Self {
            overflows: self.overflows,
            ..Self::new(self.params.clone())
        };
    }

    fn reconfigure(&mut self, params: &ParamMap) -> Result<(), ConfigError> {
        let params = Params::read(params)?;
        let fits = params.shape() == self.params.shape();
        self.params = params;
        if !fits {
            self.clear();
        }
        Ok(())
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }

    fn entities(&self) -> u64 {
        self.places.len() as u64
    }
}
