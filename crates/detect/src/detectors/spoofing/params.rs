//! What the spoofing detector is told, and how it words what it finds.
//!
//! Invariant: parameters that were read are valid; the documentation beside them is the reference's.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tapewatch_model::{Decimal, Measure, Quantity, RowRef, Side, TimeSpan};

use crate::config::ConfigError;
use crate::detector::{DetectorInfo, Finding, Need, ParamInfo, ParamMap};
use crate::params::ParamSet;

pub(super) const INFO: DetectorInfo = DetectorInfo {
    id: "spoofing",
    version: 1,
    title: "Many cancels of one trader on one side within a short time",
    rule: "At each cancel of an entity, count the entity's cancels of the lookback up to it and sum \
        their quantities, both ends included. It is a hit when the sum exceeds cancel_quantity and \
        the count exceeds cancel_count (both strictly); profiles give these two by class and client \
        group of the cancel. A cancel that itself arrives late is \
        measured over the cancels that had arrived before it. False positives: a market maker who \
        re-quotes on a jump of the price, a real change of mind after news, orders that end with the \
        session; nothing looks at prices or at the other side.",
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
    needs: &[Need::Trader],
    by_default: true,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Params {
    pub(super) cancel_quantity: Quantity,
    pub(super) cancel_count: u64,
    pub(super) lookback: TimeSpan,
    pub(super) lateness: TimeSpan,
    pub(super) mode: Mode,
    pub(super) entity: Entity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    Seq,
    Wj1,
    Wj,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entity {
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

impl ParamSet for Params {
    const PARAMS: &'static [ParamInfo] = INFO.params;

    fn check_each(&self) -> Result<(), String> {
        if self.lookback <= TimeSpan::ZERO || self.lateness < TimeSpan::ZERO {
            return Err("lookback must be longer than nothing, lateness not negative".to_owned());
        }
        Ok(())
    }
}

/// Checks parameters and returns them whole. All judge from the same windows, so that a profile can
/// change thresholds alone.
pub(super) fn complete(params: &ParamMap) -> Result<ParamMap, ConfigError> {
    let profiles = params.get("profiles").and_then(Value::as_array);
    let profiles = profiles.into_iter().flatten().filter_map(Value::as_object);
    let allowed = ["class", "group", "cancel_quantity", "cancel_count"];
    for name in profiles.flat_map(Map::keys) {
        if !allowed.contains(&name.as_str()) {
            return Err(ConfigError::Param {
                detector: INFO.id,
                reason: format!("a profile changes cancel_quantity and cancel_count, not {name}"),
            });
        }
    }
    crate::params::complete::<Params>(INFO.id, params)
}

impl Params {
    /// What the windows were built with: when it changes they no longer fit.
    pub(super) fn shape(&self) -> (TimeSpan, TimeSpan, Mode, Entity) {
        (self.lookback, self.lateness, self.mode, self.entity)
    }

    /// What there is to say of a cancel that exceeds both thresholds.
    pub(super) fn finding(
        &self,
        order: &RowRef<'_>,
        quantity: i128,
        count: u64,
        evidence: Vec<u64>,
    ) -> Finding {
        let quantity = Decimal::from_quantity_units(quantity);
        Finding {
            text: self.sentence(order, count, quantity),
            measures: vec![
                Measure {
                    name: "cancel_quantity",
                    value: quantity,
                    threshold: self.cancel_quantity.into(),
                },
                Measure {
                    name: "cancel_count",
                    value: Decimal::from_count(count),
                    threshold: Decimal::from_count(self.cancel_count),
                },
            ],
            evidence,
            evidence_total: count,
        }
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
