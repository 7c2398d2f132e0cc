//! Window rules that only count events and sum their quantities: the windows of the spoofing detector
//! measure them, many times as fast as those of other rules.
//!
//! Invariant: the measures are those that [`super::window::Windows`] would give. A group is a line of 64
//! bytes and its events; groups are not let go, since their number is that of the entities.

use tapewatch_model::EVIDENCE_MAX;

use super::expr::{Column, Expr, ONE, Scene, View};
use super::ring::{Fold, ROWS_MAX, Source};
use super::rule::Found;
use super::window::WindowRule;
use crate::detector::Rows;
use crate::window::{AT_ONCE, Coming, Kept, SavedWindow, Windows};

/// The windows of a rule.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    windows: Windows,
    pub(super) overflows: u64,
    /// The instrument seen last, where they come one after another.
    at: Option<u32>,
    /// For their memory.
    coming: Vec<Coming>,
    slots: Vec<Option<i128>>,
}

impl Sums {
    /// Empty windows; `None` when the rule measures more than sums.
    pub(super) fn of(rule: &WindowRule) -> Option<Self> {
        let shape = &rule.shape;
        let quantity = Expr::Column(Column::Quantity);
        let sums = shape.aggregates.iter().all(|one| {
            let summed = one.fold == Fold::Sum && one.value.as_ref() == Some(&quantity);
            (summed || one.fold == Fold::Count) && one.filter.is_none()
        });
        let one_who = !(rule.grouping.trader && rule.grouping.owner);
        let fits = sums && one_who && shape.daily.is_empty() && !rule.once && !rule.asks().market;
        fits.then(|| Self {
            windows: Windows::new(shape.lookback, shape.lateness),
            overflows: 0,
            at: None,
            coming: Vec::new(),
            slots: vec![None; rule.measures.len() + shape.sources.len()],
        })
    }

    /// Takes events of the rule's types in; tells where the condition holds.
    pub(super) fn take(
        &mut self,
        rule: &WindowRule,
        (rows, wanted): (&Rows<'_>, &[u32]),
        found: &mut dyn FnMut(&View<'_>, Found<'_>),
    ) {
        if !rows.by_instrument {
            return self.take_some(rule, (rows, wanted), found);
        }
        for of_one in rows.by_sym(wanted) {
            let sym = of_one.first().and_then(|row| view(rows, *row).sym());
            if sym.is_some() && self.at != sym {
                self.windows.clear();
                self.at = sym;
            }
            self.take_some(rule, (rows, of_one), found);
        }
    }

    fn take_some(
        &mut self,
        rule: &WindowRule,
        (rows, wanted): (&Rows<'_>, &[u32]),
        found: &mut dyn FnMut(&View<'_>, Found<'_>),
    ) {
        let Self {
            windows,
            coming,
            slots,
            ..
        } = self;
        for some in wanted.chunks(AT_ONCE) {
            coming.clear();
            coming.extend(some.iter().filter_map(|row| come(rule, &view(rows, *row))));
            self.overflows += windows.push_all(coming, ROWS_MAX, |windows, row, total| {
                let measures = rule.measures.len();
                for (source, slot) in rule
                    .shape
                    .sources
                    .iter()
                    .zip(slots.iter_mut().skip(measures))
                {
                    let Source::Window(at) = source else { continue };
                    let fold = rule.shape.aggregates.get(*at).map(|one| one.fold);
                    *slot = Some(match fold {
                        Some(Fold::Sum) => total.quantity.saturating_mul(10),
                        _ => i128::from(total.count) * ONE,
                    });
                }
                let view = view(rows, row.row as u32);
                if rule.judge(&bare(&view), slots) {
                    let told = Found {
                        entity: row.entity,
                        lookback: rule.lookback,
                        values: slots,
                        evidence: &|| windows.evidence(row.place, total, EVIDENCE_MAX),
                        evidence_total: total.count,
                    };
                    found(&view, told);
                }
            });
        }
    }

    pub(super) fn entities(&self) -> u64 {
        self.windows.len() as u64
    }

    pub(super) fn save(&self) -> (u64, Vec<SavedWindow>) {
        (self.overflows, self.windows.save())
    }

    /// Takes saved windows in; `false` when they cannot be.
    pub(super) fn load(&mut self, (overflows, saved): (u64, Vec<SavedWindow>)) -> bool {
        self.overflows = overflows;
        self.windows.load(saved)
    }
}

#[inline]
fn view<'a>(rows: &'a Rows<'a>, row: u32) -> View<'a> {
    View {
        rows,
        row: row as usize,
        step: None,
    }
}

#[inline]
fn bare<'a>(view: &'a View<'a>) -> Scene<'a> {
    Scene {
        view,
        slots: &[],
        orders: &[],
    }
}

/// An event that the rule looks at, on its way into its window.
#[inline]
fn come(rule: &WindowRule, view: &View<'_>) -> Option<Coming> {
    let sym = view.sym()?;
    let filter = rule.filter.as_ref();
    if filter.is_some_and(|filter| !filter.holds(&bare(view))) {
        return None;
    }
    let key = rule.grouping.key(view)?;
    Some(Coming {
        row: view.row,
        entity: rule.grouping.entity(sym, key),
        place: 0,
        kept: Kept {
            time: view.time(),
            quantity: view.rows.orders.quantities().get(view.row)?.units(),
            seq: view.rows.orders.seq(view.row),
        },
    })
}
