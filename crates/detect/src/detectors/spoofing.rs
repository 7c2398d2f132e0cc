//! Spoofing: an entity cancels many orders, and much quantity, within a short time.
//!
//! Invariant: in mode `seq` a finding depends on the entity's own cancels alone. Source: the kdb+
//! `surv-cloud` paper's alert; modes `wj` and `wj1` reproduce its window joins, bucket by bucket.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use tapewatch_model::{EVIDENCE_MAX, EventType, EventTypes, Side};

use crate::config::ConfigError;
use crate::detector::{Built, Detector, Findings, ParamMap, Registration, Rows, Spot};
use crate::kdb_cache::{EntityCache, Floors};
use crate::params::Profiles;
use crate::reference::Reference;
use crate::window::{AT_ONCE, Coming, Kept, SavedWindow, Windows};

#[path = "spoofing/params.rs"]
mod params;

use params::{Entity, INFO, Mode, Params, complete};

pub(crate) const REGISTRATION: Registration = Registration {
    info: &const { INFO },
    complete,
    build,
};

/// Most cancels kept for one entity; beyond, the oldest goes and is counted as an overflow.
const KEPT_MAX: usize = 100_000;

fn build(set: u32, params: &ParamMap, reference: &Arc<Reference>) -> Built {
    Ok(Box::new(Spoofing::new(set, params, reference)?))
}

/// Parameters, and the number under which what they find is told.
#[derive(Debug, Clone)]
struct Set {
    number: u32,
    params: Profiles<Params>,
}

/// Sets of one shape.
#[derive(Debug, Clone)]
struct Sets {
    /// Never empty.
    all: Vec<Set>,
    /// The least thresholds of all: what does not exceed them is no finding of any.
    least_quantity: i128,
    least_count: u64,
}

#[derive(Clone)]
struct Spoofing {
    sets: Sets,
    /// For the profiles of sets to come.
    reference: Arc<Reference>,
    measured: Measured,
    overflows: u64,
    /// The instrument seen last, where they come one after another.
    instrument: Option<u32>,
    /// Cancels at hand, and the rows of all cancels of the batch. Kept for their memory.
    cancels: Vec<Coming>,
    rows: Vec<u32>,
}

/// What the cancels are measured with.
#[derive(Clone)]
enum Measured {
    /// Mode `seq`.
    Windows(Windows),
    /// Modes `wj` and `wj1`.
    Caches(Box<Caches>),
}

/// The caches of all entities, in order of first sight.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Caches {
    keys: Vec<u64>,
    caches: Vec<EntityCache>,
    floors: Floors,
    #[serde(skip)]
    places: HashMap<u64, u32, FixedState>,
}

impl Caches {
    fn place(&mut self, key: u64) -> u32 {
        let next = self.keys.len() as u32;
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.keys.push(key);
            self.caches.push(EntityCache::default());
        }
        place
    }
}

impl Measured {
    fn new(params: &Params) -> Self {
        match params.mode {
            Mode::Seq => Self::Windows(Windows::new(
                params.lookback.nanos(),
                params.lateness.nanos(),
            )),
            Mode::Wj | Mode::Wj1 => Self::Caches(Box::default()),
        }
    }
}

impl Sets {
    fn new(all: Vec<Set>) -> Self {
        let params = all.iter().map(|set| &set.params);
        let params: Vec<&Params> = params
            .flat_map(|own| own.others().chain([own.usual()]))
            .collect();
        let quantities = params.iter().map(|p| i128::from(p.cancel_quantity.units()));
        let least_quantity = quantities.min().unwrap_or_default();
        let counts = params.iter().map(|p| p.cancel_count);
        let least_count = counts.min().unwrap_or_default();
        Self {
            all,
            least_quantity,
            least_count,
        }
    }

    /// The parameters that all have in common, thresholds aside.
    fn common(&self) -> Params {
        self.all
            .first()
            .map(|set| set.params.usual().clone())
            .unwrap_or_default()
    }

    #[inline]
    fn may_exceed(&self, (quantity, count): (i128, u64)) -> bool {
        count > self.least_count && quantity > self.least_quantity
    }

    /// Tells of the sets whose thresholds are exceeded.
    fn judge(
        &self,
        rows: &Rows<'_>,
        cancel: &Coming,
        (quantity, count): (i128, u64),
        evidence: impl Fn(usize) -> Vec<u64>,
        findings: &mut dyn Findings,
    ) {
        for Set { number, params } in &self.all {
            let params = params.at(|| rows.class_and_group(cancel.row));
            if count <= params.cancel_count
                || quantity <= i128::from(params.cancel_quantity.units())
            {
                continue;
            }
            let spot = Spot {
                set: *number,
                row: cancel.row,
                entity: cancel.entity,
                lookback: params.lookback,
            };
            if findings.at(spot)
                && let Some(order) = rows.orders.row(cancel.row)
            {
                let finding = params.finding(&order, quantity, count, evidence(EVIDENCE_MAX));
                findings.put(spot, finding);
            }
        }
    }
}

impl Spoofing {
    fn new(
        number: u32,
        params: &ParamMap,
        reference: &Arc<Reference>,
    ) -> Result<Self, ConfigError> {
        let params = Profiles::<Params>::read(INFO.id, params, reference)?;
        Ok(Self {
            measured: Measured::new(params.usual()),
            sets: Sets::new(vec![Set { number, params }]),
            reference: Arc::clone(reference),
            overflows: 0,
            instrument: None,
            cancels: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Measures the cancels at some rows of the batch.
    fn apply_some(&mut self, cancels: &[u32], rows: &Rows<'_>, findings: &mut dyn Findings) {
        let (sets, entity) = (&self.sets, self.sets.common().entity);
        match &mut self.measured {
            Measured::Windows(windows) => {
                for some in cancels.chunks(AT_ONCE) {
                    list_cancels(some, rows, entity, &mut self.cancels);
                    let some = (self.cancels.as_mut_slice(), sets);
                    self.overflows += apply_windows(windows, some, rows, findings);
                }
            }
            Measured::Caches(caches) => {
                list_cancels(cancels, rows, entity, &mut self.cancels);
                let all = (self.cancels.as_mut_slice(), sets);
                self.overflows += apply_caches(caches, all, rows, findings);
            }
        }
    }

    /// Forgets the windows of the instrument before, when these rows are of another.
    fn change_instrument(&mut self, of_one: &[u32], rows: &Rows<'_>) {
        let row = of_one.first().map_or(0, |row| *row as usize);
        let sym = rows.entity(row).map(|(sym, _)| sym);
        if sym != self.instrument {
            self.instrument = sym;
            if let Measured::Windows(windows) = &mut self.measured {
                windows.clear();
            }
        }
    }
}

/// Lists the cancels in some rows of a batch and their entities.
fn list_cancels(of: &[u32], rows: &Rows<'_>, entity: Entity, cancels: &mut Vec<Coming>) {
    cancels.clear();
    let by_side = u64::from(entity == Entity::SymTraderSide);
    let orders = rows.orders;
    for &row in of {
        let row = row as usize;
        let Some((sym, trader)) = rows.entity(row) else {
            continue;
        };
        let side = orders.sides().get(row).copied();
        let side = by_side & u64::from(side == Some(Side::Sell));
        let entity = u64::from(sym) << 32 | u64::from(trader) << 1 | side;
        let kept = Kept {
            time: orders.times().get(row).map_or(0, |time| time.nanos()),
            quantity: orders
                .quantities()
                .get(row)
                .map_or(0, |quantity| quantity.units()),
            seq: orders.seq(row),
        };
        cancels.push(Coming {
            row,
            entity,
            place: 0,
            kept,
        });
    }
}

/// Measures each cancel over the cancels that came before it; how many rows left full windows.
fn apply_windows(
    windows: &mut Windows,
    (cancels, sets): (&mut [Coming], &Sets),
    rows: &Rows<'_>,
    findings: &mut dyn Findings,
) -> u64 {
    windows.push_all(cancels, KEPT_MAX, |windows, cancel, total| {
        let sum = (total.quantity, total.count);
        if sets.may_exceed(sum) {
            let evidence = |max| windows.evidence(cancel.place, total, max);
            sets.judge(rows, cancel, sum, evidence, findings);
        }
    })
}

/// Measures each cancel over the cache with the whole bucket in it, as the reference does.
fn apply_caches(
    all: &mut Caches,
    (cancels, sets): (&mut [Coming], &Sets),
    rows: &Rows<'_>,
    findings: &mut dyn Findings,
) -> u64 {
    let Params { lookback, mode, .. } = sets.common();
    all.floors
        .next_bucket(rows.time_min.saturating_sub(lookback.nanos()));
    let mut overflows = 0;
    for cancel in &mut *cancels {
        cancel.place = all.place(cancel.entity);
        if let Some(cache) = all.caches.get_mut(cancel.place as usize) {
            cache.push(cancel.kept, &all.floors);
            if cache.len() > KEPT_MAX {
                cache.drop_oldest();
                overflows += 1;
            }
        }
    }
    for cancel in &*cancels {
        let Some(cache) = all.caches.get(cancel.place as usize) else {
            continue;
        };
        let to = cancel.kept.time;
        let from = to.saturating_sub(lookback.nanos());
        let span = match mode {
            Mode::Wj => cache.wj(from, to),
            Mode::Wj1 | Mode::Seq => cache.wj1(from, to),
        };
        let sum = (span.quantity, span.count());
        if sets.may_exceed(sum) {
            sets.judge(rows, cancel, sum, |max| cache.evidence(span, max), findings);
        }
    }
    overflows
}

impl Detector for Spoofing {
    fn events(&self) -> EventTypes {
        match self.measured {
            Measured::Windows(_) => EventTypes::of(&[EventType::Cancelled]),
            // A bucket's floor is the time of its oldest row, whatever that is.
            Measured::Caches(_) => EventTypes::ALL,
        }
    }

    fn by_bucket(&self) -> bool {
        matches!(self.measured, Measured::Caches(_))
    }

    fn wants_details(&self) -> bool {
        // Whose client the account is.
        let mut sets = self.sets.all.iter();
        sets.any(|set| set.params.others().next().is_some())
    }

    fn apply(&mut self, rows: &Rows<'_>, findings: &mut dyn Findings) {
        let mut cancels = std::mem::take(&mut self.rows);
        rows.of_types(EventTypes::of(&[EventType::Cancelled]), &mut cancels);
        if rows.by_instrument {
            for of_one in rows.by_sym(&cancels) {
                self.change_instrument(of_one, rows);
                self.apply_some(of_one, rows, findings);
            }
        } else {
            self.apply_some(&cancels, rows, findings);
        }
        self.rows = cancels;
    }

    fn clear(&mut self) {
        self.measured = Measured::new(&self.sets.common());
    }

    fn reconfigure(
        &mut self,
        params: &ParamMap,
        reference: &Arc<Reference>,
    ) -> Result<(), ConfigError> {
        let params = Profiles::<Params>::read(INFO.id, params, reference)?;
        let fits = params.usual().shape() == self.sets.common().shape();
        self.reference = Arc::clone(reference);
        self.sets = Sets::new(vec![Set { number: 0, params }]);
        if !fits {
            self.clear();
        }
        Ok(())
    }

    fn share(&mut self, set: u32, params: &ParamMap) -> Result<bool, ConfigError> {
        let params = Profiles::<Params>::read(INFO.id, params, &self.reference)?;
        let fits = params.usual().shape() == self.sets.common().shape();
        if fits {
            let mut all = std::mem::take(&mut self.sets.all);
            all.push(Set {
                number: set,
                params,
            });
            self.sets = Sets::new(all);
        }
        Ok(fits)
    }

    fn copy(&self) -> Box<dyn Detector> {
        Box::new(self.clone())
    }

    fn save(&self) -> Vec<u8> {
        let saved = match &self.measured {
            Measured::Windows(windows) => postcard::to_stdvec(&(self.overflows, windows.save())),
            Measured::Caches(caches) => postcard::to_stdvec(&(self.overflows, caches)),
        };
        saved.unwrap_or_default() // only a writer that fails can refuse: memory does not
    }

    fn load(&mut self, saved: &[u8]) -> Result<(), String> {
        self.clear();
        let text = |error: postcard::Error| error.to_string();
        match &mut self.measured {
            Measured::Windows(windows) => {
                let (overflows, saved): (u64, Vec<SavedWindow>) =
                    postcard::from_bytes(saved).map_err(text)?;
                if !windows.load(saved) {
                    return Err("its rows are not in order".to_owned());
                }
                self.overflows = overflows;
            }
            Measured::Caches(caches) => {
                let (overflows, mut saved): (u64, Box<Caches>) =
                    postcard::from_bytes(saved).map_err(text)?;
                saved.places = saved.keys.iter().copied().zip(0..).collect();
                if saved.keys.len() != saved.caches.len() || saved.places.len() != saved.keys.len()
                {
                    return Err("an entity has no cache, or two".to_owned());
                }
                *caches = saved;
                self.overflows = overflows;
            }
        }
        Ok(())
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }

    fn entities(&self) -> u64 {
        match &self.measured {
            Measured::Windows(windows) => windows.len() as u64,
            Measured::Caches(caches) => caches.keys.len() as u64,
        }
    }
}
