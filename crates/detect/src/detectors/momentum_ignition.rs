//! Momentum ignition: a burst of aggressive trades sets the price off, others follow, and the position
//! is given to them.
//!
//! Invariant: at most 256 executions of a burst that may begin and the numbers of 512 of one that did
//! are kept for a trader in an instrument, about 22 KB when full. Source: EU 2016/522, Annex II,
//! "momentum ignition".

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Side, TimeSpan};

use crate::detector::{DetectorInfo, Finding, Need, Registration};
use crate::entities::{Entities, key};
use crate::fills::{FILLS_MAX, Fill, Fills, amount, done, measure, sign};
use crate::market::Traded;
use crate::params::{ParamSet as _, Profiles, at_least, params, ratio};
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<MomentumIgnition>();
const SECOND: i64 = 1_000_000_000;

params! {
    struct Params {
        /// The burst is at most so long.
        burst: TimeSpan = "5s",
        /// The trader's aggressive volume is at least this share of the burst's.
        volume_share: Decimal = "0.4",
        /// And at least this share of all that traded in follow_within before the burst: who is a small part
        /// of what goes on anyway sets nothing off.
        before_share: Decimal = "0.1",
        /// And at least so many times the usual order of the instrument.
        size_multiple: Decimal = "17",
        /// What is usual is known when so many orders came in.
        least_orders: u64 = "100",
        /// The price moves in it by at least so many times the usual move over such a time.
        times_usual: Decimal = "4",
        /// And by at least this share of the price.
        move_share: Decimal = "0.00015",
        /// How long after the burst others follow.
        follow_within: TimeSpan = "30s",
        /// Their aggressive volume on the side is at least so many times the trader's.
        followers: Decimal = "2",
        /// How long after the burst the position is given away.
        reverse_within: TimeSpan = "60s",
        /// At least this share of the most that he had of it.
        reversed_share: Decimal = "0.8",
        /// What he put into the book meanwhile, in the last 10 to 20 seconds, is on one side at least less
        /// than this share of that: who quotes both sides gives back what he took by quoting.
        quoted_share: Decimal = "0.1",
    }
}

/// A burst that set the price off.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Burst {
    side: Side,
    end: i64,
    /// The burst's executions, and then the others of the trader's.
    seqs: Vec<u64>,
    own: Traded,
    volume: i128,
    moved: i64,
    from: i64,
    /// In units of a decimal.
    times: Option<i128>,
    /// Bought or sold on the side since.
    more: Traded,
    /// What was given away since.
    out: Traded,
    /// The largest position since.
    most: i128,
}

/// What is kept of a trader.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Trader {
    /// Executions of his orders that came in, of one side, within the length of a burst.
    recent: Fills,
    burst: Option<Burst>,
}

/// What makes it a hit.
struct Ignited {
    burst: Burst,
    followers: i128,
    profit: i128,
}

impl Trader {
    fn apply(&mut self, step: &Step<'_>, params: &Params) -> Option<Ignited> {
        let deadline = params.reverse_within.nanos();
        self.burst
            .take_if(|burst| step.time.saturating_sub(burst.end) > deadline);
        let aggressive = step.is_aggressive();
        if let Some(burst) = &mut self.burst {
            if burst.seqs.len() < 2 * FILLS_MAX {
                burst.seqs.push(step.seq);
            }
            if burst.side != step.side {
                burst.out = burst.out.and(Traded::one(step.price, step.quantity, None));
                if let Some((followers, profit)) = burst.is_given_away(step, params) {
                    let burst = self.burst.take()?;
                    return Some(Ignited {
                        burst,
                        followers,
                        profit,
                    });
                }
            } else {
                let more = Traded::one(step.price, step.quantity, step.aggressor);
                burst.more = burst.more.and(more);
                burst.most = burst.most.max(burst.position());
            }
        }
        if aggressive {
            self.note(step, params);
        }
        None
    }

    /// An execution of an order that came in: whether it makes a burst.
    fn note(&mut self, step: &Step<'_>, params: &Params) {
        if self
            .recent
            .first()
            .is_some_and(|first| first.side != step.side)
        {
            self.recent.clear();
        }
        let from = step.time.saturating_sub(params.burst.nanos());
        self.recent.push(Fill::of(step), from);
        let Some(first) = self.recent.first() else {
            return;
        };
        let own = *self.recent.total();
        // What he had waiting may trade meanwhile: only a larger burst takes the place of one that is
        // being given away.
        let larger = |burst: &Burst| burst.out.volume == 0 || own.volume > burst.own.volume;
        if !self.burst.as_ref().is_none_or(larger) {
            return;
        }
        // From the first to the last execution, or from middle to middle: what one order does is in
        // the book after it only.
        let middle = step.market.mid2().filter(|_| first.mid2 != 0);
        let middle = middle.map_or(0, |now| now.saturating_sub(first.mid2));
        let paid = step.price.saturating_sub(first.price).saturating_mul(2);
        let sign = sign(step.side);
        let moved2 = sign * (sign * middle).max(sign * paid);
        let far = i128::from(first.price.saturating_abs()) * 2;
        let enough = at_least((sign * moved2).into(), params.move_share, far);
        if sign * moved2 <= 0 || !enough {
            return;
        }
        let volume = step.market.prints().between(first.time, step.time).volume;
        let usual = step.market.sizes().usual(params.least_orders);
        let usual = i128::from(usual.unwrap_or_default());
        if !at_least(own.volume, params.size_multiple, usual) {
            return;
        }
        let volume = volume.max(own.volume);
        if !at_least(own.volume, params.volume_share, volume) {
            return;
        }
        let before = first.time.saturating_sub(params.follow_within.nanos());
        let before = step.market.prints().between(before, first.time - 1).volume;
        if !at_least(own.volume, params.before_share, before) {
            return;
        }
        let moves = step.market.pulse().moves_before(first.time);
        let long = (step.time - first.time).max(SECOND);
        let times = moves.and_then(|moves| moves.times(moved2, long));
        if times.is_some_and(|times| times < params.times_usual) {
            return;
        }
        self.burst = Some(Burst {
            side: step.side,
            end: step.time,
            seqs: self.recent.seqs().collect(),
            own,
            volume,
            moved: moved2 / 2,
            from: first.price,
            times: times.map(|times| times.units()),
            more: Traded::default(),
            out: Traded::default(),
            most: own.volume,
        });
    }
}

/// What he put on each side of the book of late, or more on one of them.
fn quoted(step: &Step<'_>) -> i128 {
    let presence = step.market.presence();
    let placed = |side| presence.placed(step.trader, side, step.time);
    placed(Side::Buy).min(placed(Side::Sell)).into()
}

impl Burst {
    /// What he has of what he took on.
    fn position(&self) -> i128 {
        let taken = self.own.volume.saturating_add(self.more.volume);
        taken.saturating_sub(self.out.volume)
    }

    /// What he no longer has of the most that he had.
    fn reversed(&self) -> i128 {
        self.most.saturating_sub(self.position())
    }

    /// What the followers' volume and the profit are, when the position was given to them.
    fn is_given_away(&self, step: &Step<'_>, params: &Params) -> Option<(i128, i128)> {
        if !at_least(self.reversed(), params.reversed_share, self.most)
            || at_least(quoted(step), params.quoted_share, self.most)
        {
            return None;
        }
        let taken = self.own.and(self.more);
        let per_piece = self.out.vwap()?.saturating_sub(taken.vwap()?);
        let per_piece = i128::from(per_piece.saturating_mul(sign(self.side)));
        if per_piece <= 0 {
            return None;
        }
        let (from, within) = (self.end.saturating_add(1), params.follow_within.nanos());
        let after = step
            .market
            .prints()
            .between(from, self.end.saturating_add(within));
        let followers = after.by(self.side).saturating_sub(self.more.by(self.side));
        if !at_least(followers, params.followers, self.own.volume) {
            return None;
        }
        let profit = per_piece.saturating_mul(self.out.volume.min(taken.volume));
        Some((followers, profit))
    }
}

fn say(step: &Step<'_>, params: &Params, ignited: &Ignited) -> Finding {
    let burst = &ignited.burst;
    let share = ratio(burst.own.volume, burst.volume);
    let followed = ratio(ignited.followers, burst.own.volume);
    let reversed = ratio(burst.reversed(), burst.most);
    let moved = ratio(burst.moved.into(), burst.from.saturating_abs().into());
    let times = Decimal::from_units(burst.times.unwrap_or_default());
    let profit = amount(ignited.profit);
    let measures = vec![
        measure("volume_share", share, params.volume_share),
        measure("times_usual", times, params.times_usual),
        measure("move_share", moved, params.move_share),
        measure("followers", followed, params.followers),
        measure("reversed_share", reversed, params.reversed_share),
        measure("profit", profit, Decimal::default()),
    ];
    let text = format!(
        "Momentum ignition: {trader} {done} {own} of {sym}, {share} of the burst's volume (at least \
         {least}), and the price moved by {moved} of it (at least {far}), {times} times the usual move \
         (at least {usual}, where that is known); others followed with {followed} times as much (at \
         least {followers}), and he gave them {reversed} of the position (at least {most}) within \
         {within}, at a profit of {profit}.",
        trader = step.trader_name(),
        done = done(burst.side),
        own = Decimal::from_quantity_units(burst.own.volume),
        sym = step.sym_name(),
        least = params.volume_share,
        far = params.move_share,
        usual = params.times_usual,
        followers = params.followers,
        most = params.reversed_share,
        within = TimeSpan::from_nanos(step.time - burst.end),
    );
    finding(step, measures, burst.seqs.iter().copied(), text)
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct MomentumIgnition {
    traders: Entities<Trader>,
}

impl Watch for MomentumIgnition {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "momentum_ignition",
        version: 3,
        title: "A burst sets the price off, others follow, the position is given to them",
        rule: "A burst: within burst, one trader's orders that came in made at least volume_share of \
            the volume since the first of them, at least before_share of all that traded in follow_within \
            before it, and at least size_multiple times the usual order (the median, where least_orders \
            are known), and the price (from the first execution to the last, \
            or the middle) moved their way by at least move_share and times_usual times the usual move \
            over that time, as the quarter of an hour before moved (where a minute of it is known). At \
            an execution of his on the other side at most reverse_within after it: of the most that he \
            had of it and of what he took on since, at least reversed_share is gone, at a better average \
            price; within follow_within others' orders that came in on the burst's side made at least \
            followers times his volume; and what he put into the book of late is less than quoted_share \
            of that most on one side at least. Executions in auctions are no burst and no followers. \
            False positives: a trader on news who takes his profit early; a trend follower who is among \
            the first; a stop-loss cascade in which one was first.",
        source: "EU 2016/522 Annex II (momentum ignition)",
        params: Params::PARAMS,
        needs: &[Need::Trader],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::of(&[EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let Some(trader) = step.trader() else {
            return;
        };
        let params = params.of(step);
        let kept = params.burst.nanos().max(params.reverse_within.nanos());
        let state = self.traders.get(step, trader, kept);
        if let Some(ignited) = state.apply(step, params) {
            let lookback = TimeSpan::from_nanos(kept);
            found.hit(step, key(step.sym, trader), lookback, || {
                say(step, params, &ignited)
            });
        }
    }

    fn entities(&self) -> u64 {
        self.traders.len()
    }
}
