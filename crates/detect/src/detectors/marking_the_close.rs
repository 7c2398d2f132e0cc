//! Marking the close: aggressive trades that move the price just before it counts. Also the open, and
//! any moment of the day at which a benchmark is fixed.
//!
//! Invariant: at most 256 executions of the window are kept for a trader in an instrument, about 18 KB
//! when full; what they come to is kept of all. Source: EU 2016/522, Annex II, "marking the close".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tapewatch_model::{Decimal, EventType, EventTypes, Side, TimeSpan};

use crate::detector::{DetectorInfo, Finding, Need, Registration};
use crate::entities::{Entities, key};
use crate::fills::{Fill, Fills, done, measure, sign};
use crate::params::{ParamSet as _, ParamValue, Profiles, at_least, params, ratio};
use crate::reference::{Class, time_of_day};
use crate::step::{DAY, Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<MarkingTheClose>();

params! {
    struct Params {
        /// The moments looked at, parted by commas: close, open, or a time of day (UTC, HH:MM:SS).
        moments: Moments = "close,open",
        /// How long before the close or the time of day, and how long after the open.
        window: TimeSpan = "5m",
        /// How long before the window the volume-weighted price is taken.
        before: TimeSpan = "20m",
        /// The trader's aggressive volume on the side, less that on the other, is at least this share
        /// of the window's (and of what trades in such a time before it).
        volume_share: Decimal = "0.2",
        /// The price moved by at least this share of it.
        move_share: Decimal = "0.002",
        /// And by at least so many times the usual move over the window.
        times_usual: Decimal = "3",
        /// So many of the last executions are looked at.
        last_prints: u64 = "10",
        /// So many of them are the trader's own.
        last_own: u64 = "2",
    }
}

/// A moment of the day that prices are taken at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Close,
    Open,
    /// Nanoseconds from midnight.
    At(i64),
}

/// The moments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Moments(Vec<Moment>);

impl Moments {
    /// The window that `time` is in, both ends included.
    fn window(&self, class: &Class, time: i64, long: i64) -> Option<(i64, i64)> {
        let midnight = time - time.rem_euclid(DAY);
        let windows = self.0.iter().filter_map(|moment| match moment {
            Moment::Close => class.closes(time).map(|end| (end - long, end)),
            Moment::Open => class.opens(time).map(|start| (start, start + long)),
            Moment::At(at) => Some((midnight + at - long, midnight + at)),
        });
        let mut inside = windows.filter(|(start, end)| (*start..=*end).contains(&time));
        inside.next()
    }
}

impl FromStr for Moments {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let moment = |word: &str| match word.trim() {
            "close" => Ok(Moment::Close),
            "open" => Ok(Moment::Open),
            word => match time_of_day(word) {
                Ok(Some(at)) => Ok(Moment::At(at)),
                _ => Err(format!("{word:?} is not close, open or HH:MM:SS")),
            },
        };
        text.split(',')
            .map(moment)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for moment in &self.0 {
            f.write_str(comma)?;
            comma = ",";
            match moment {
                Moment::Close => f.write_str("close")?,
                Moment::Open => f.write_str("open")?,
                Moment::At(at) => {
                    let seconds = at / 1_000_000_000;
                    let (hour, minute) = (seconds / 3_600, seconds / 60 % 60);
                    write!(f, "{hour:02}:{minute:02}:{:02}", seconds % 60)?;
                }
            }
        }
        Ok(())
    }
}

impl Serialize for Moments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl ParamValue for Moments {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn complaint(&self) -> Option<&'static str> {
        self.0.is_empty().then_some("at least one moment")
    }
}

/// What a trader did in the window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Own {
    /// Of the window.
    start: i64,
    /// Bought less sold by orders that came in, in units of quantity.
    net: i128,
    fills: Fills,
    /// What was found in this window already.
    found: Option<Side>,
}

/// What makes it a hit.
struct Marked {
    net: i128,
    volume: i128,
    moved: i64,
    from: i64,
    times: Option<Decimal>,
}

impl Own {
    /// Applies an execution of an order of the trader's that came in.
    fn apply(&mut self, step: &Step<'_>, params: &Params, start: i64) -> Option<Marked> {
        if self.start != start {
            *self = Self {
                start,
                ..Self::default()
            };
        }
        let sign = sign(step.side);
        self.net = self
            .net
            .saturating_add(i128::from(step.quantity) * i128::from(sign));
        self.fills.push(Fill::of(step), start);
        let net = self.net * i128::from(sign);
        if self.found == Some(step.side) || net <= 0 {
            return None;
        }
        let (prints, span) = (step.market.prints(), params.before.nanos());
        let before = prints.between(start.saturating_sub(span), start.saturating_sub(1));
        let first = || prints.first_from(start).map(|print| print.price);
        let from = before.vwap().or_else(first)?;
        let moved = step.price.saturating_sub(from);
        let (ahead, far) = (
            moved.saturating_mul(sign),
            i128::from(from.saturating_abs()),
        );
        if ahead <= 0 || !at_least(i128::from(ahead), params.move_share, far) {
            return None;
        }
        let usual = before.volume.saturating_mul(params.window.nanos().into()) / i128::from(span);
        let volume = prints.between(start, step.time).volume.max(usual).max(net);
        if !at_least(net, params.volume_share, volume) || !self.is_among_the_last(step, params) {
            return None;
        }
        let moves = step.market.pulse().moves_before(start);
        let (moved2, window) = (moved.saturating_mul(2), params.window.nanos());
        let times = moves.and_then(|moves| moves.times(moved2, window));
        if times.is_some_and(|times| times < params.times_usual) {
            return None;
        }
        self.found = Some(step.side);
        Some(Marked {
            net,
            volume,
            moved,
            from,
            times,
        })
    }

    fn is_among_the_last(&self, step: &Step<'_>, params: &Params) -> bool {
        let last = params.last_prints.saturating_sub(1) as usize;
        let since = step.market.prints().back_to(self.start).nth(last);
        let since = since.map_or(self.start, |print| print.time);
        let own = self.fills.iter().rev().filter(|own| own.side == step.side);
        let own = own.take_while(|own| own.time >= since).count();
        own as u64 >= params.last_own
    }
}

fn say(step: &Step<'_>, params: &Params, own: &Own, marked: &Marked) -> Finding {
    let share = ratio(marked.net, marked.volume);
    let moved = ratio(
        i128::from(marked.moved),
        i128::from(marked.from.saturating_abs()),
    );
    let times = marked.times.unwrap_or_default();
    let measures = vec![
        measure("volume_share", share, params.volume_share),
        measure("move_share", moved, params.move_share),
        measure("times_usual", times, params.times_usual),
    ];
    let text = format!(
        "Marking the close: {trader} {done} {net} of {sym} with orders that came in since the window \
         began, {share} of its volume (at least {least}), and the price went {moved} away from {from} \
         (at least {far}), {times} times the usual move (at least {usual}, where that is known).",
        trader = step.trader_name(),
        done = done(step.side),
        net = Decimal::from_quantity_units(marked.net),
        sym = step.sym_name(),
        least = params.volume_share,
        from = Decimal::from_units(marked.from.into()),
        far = params.move_share,
        usual = params.times_usual,
    );
    finding(step, measures, own.fills.seqs(), text)
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct MarkingTheClose {
    traders: Entities<Own>,
}

impl Watch for MarkingTheClose {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "marking_the_close",
        version: 1,
        title: "Aggressive trades that move the price just before the close",
        rule: "At an execution of an order that came in, within window before the close or a time of \
            day, or after the open: what the trader so bought less what he so sold since the window \
            began is at least volume_share of the window's volume, and of what the volume of the time \
            before makes in such a time; its price is at least move_share away in his direction from \
            the volume-weighted price of the time before the window (where nothing traded, from the \
            window's first price), and times_usual times the usual move over a window, as the quarter \
            of an hour before moved (where a minute of it is known); last_own of the last_prints \
            executions are his. Once for each window and side. Executions in auctions are nobody's \
            orders that came in. Executions are known for half an hour: window and before together \
            must not be longer. False positives: a large order that is worked up to the close; a fund \
            that must trade at it.",
        source: "EU 2016/522 Annex II (marking the close)",
        params: Params::PARAMS,
        needs: &[Need::Trader, Need::Sessions],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::of(&[EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let (Some(trader), true) = (step.trader(), step.is_aggressive()) else {
            return;
        };
        let (params, class) = (params.of(step), step.names().class(step.class));
        let long = params.window.nanos();
        let window = class.and_then(|class| params.moments.window(class, step.time, long));
        let Some((start, _)) = window else {
            return;
        };
        let own = self.traders.get(step, trader, long);
        if let Some(marked) = own.apply(step, params, start) {
            found.hit(step, key(step.sym, trader), params.window, || {
                say(step, params, own, &marked)
            });
        }
    }

    fn entities(&self) -> u64 {
        self.traders.len()
    }
}
