//! Unusual trading before news: a position far out of line with the owner's own past, taken before an
//! item of the news calendar that moved the price his way.
//!
//! Invariant: an item may come into the calendar before its time or up to `late` after it: it is judged
//! from what is kept of the last 48 hours (at the defaults): 16 bytes for each minute of an
//! instrument (at most 3,072), 64 for each five minutes in which an owner traded in it (at most 640:
//! 40 KB), and 24 days of his, 16 bytes each. At most 65,536 owners are kept for an instrument. Source: EU 596/2014 articles 7, 8 and 16 (insider
//! dealing); US SEC Rule 10b-5.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Quantity, Side, TimeSpan};

use crate::detector::{DetectorInfo, Finding, NOBODY, Need, Registration};
use crate::entities::{Entities, key};
use crate::fills::{amount, done, measure, sign};
use crate::market::volatility;
use crate::params::{ParamSet as _, Profiles, at_least, params, ratio};
use crate::reference::{News, between};
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<BeforeNews>();
const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
/// Volatility is that of moves over so many minutes, in which the bounce between bid and ask is little.
const MOVE: i64 = 5;
const MINUTES_MAX: usize = 3_072;
/// An owner's trades are kept by the five minutes.
const SLICE: i64 = 5 * MINUTE;
const SLICES_MAX: usize = 640;
const OWNERS_MAX: usize = 65_536;
/// Periods of an owner's past, and those that come after it until the news is judged.
const PERIODS: usize = 20;
const PERIODS_KEPT: usize = PERIODS + 4;

params! {
    struct Params {
        /// How long before the news trades count; and the length of the periods of the past.
        window: TimeSpan = "1d",
        /// How long after the news the price is taken.
        horizon: TimeSpan = "30m",
        /// How long after that the news may come into the calendar.
        late: TimeSpan = "1d",
        /// The price moved by at least so many times its volatility over the window before the news.
        times_usual: Decimal = "2",
        /// And by at least this share of it.
        move_share: Decimal = "0.01",
        /// The net change of position is at least this share of all that was bought and sold in the stretch
        /// in which it came about.
        one_way: Decimal = "0.9",
        /// The net change of position is at least so many times the usual one of a period.
        deviations: Decimal = "3",
        /// The instrument has been seen for so many periods before.
        least_periods: u64 = "5",
        /// The gain is at least so much, in price times quantity.
        gain: Quantity = "3000",
    }
}

/// What an owner did in a slice of time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Change {
    first: i64,
    last: i64,
    /// Bought less sold, in units of quantity; and what was paid for it, in units of both.
    net: i64,
    gross: i64,
    paid: i128,
    seqs: (u64, u64),
}

/// What is kept of an owner.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Owner {
    changes: VecDeque<Change>,
    /// Net changes by period in which he traded.
    periods: VecDeque<(i64, i64)>,
}

impl Owner {
    /// Takes an execution of his in; whether one that still counts was dropped for want of room.
    fn take(&mut self, step: &Step<'_>, params: &Params, news: &[News]) -> bool {
        let (time, net) = (step.time, step.quantity.saturating_mul(sign(step.side)));
        let paid = i128::from(step.price) * i128::from(net);
        let period = time.div_euclid(params.window.nanos());
        match self.periods.back_mut() {
            Some((last, sum)) if *last == period => *sum = sum.saturating_add(net),
            _ => self.periods.push_back((period, net)),
        }
        if self.periods.len() > PERIODS_KEPT {
            self.periods.pop_front();
        }
        if let Some(last) = self.changes.back_mut()
            && last.first.div_euclid(SLICE) == time.div_euclid(SLICE)
            && !between(news, last.last, time)
        {
            last.last = time;
            last.net = last.net.saturating_add(net);
            last.gross = last.gross.saturating_add(step.quantity);
            last.paid = last.paid.saturating_add(paid);
            last.seqs.1 = step.seq;
            return false;
        }
        let oldest = time.saturating_sub(params.kept());
        while self
            .changes
            .front()
            .is_some_and(|first| first.last < oldest)
        {
            self.changes.pop_front();
        }
        self.changes.push_back(Change {
            first: time,
            last: time,
            net,
            gross: step.quantity,
            paid,
            seqs: (step.seq, step.seq),
        });
        let full = self.changes.len() > SLICES_MAX;
        if full {
            self.changes.pop_front();
        }
        full
    }

    /// The usual net change of the periods before one: the root of their mean square; `None` when he
    /// did not trade in any.
    fn usual(&self, before: i64) -> Option<i128> {
        let past = self
            .periods
            .iter()
            .rev()
            .filter(|(period, _)| *period < before);
        let (mut squares, mut count) = (0_i128, 0_i128);
        for (_, net) in past.take(PERIODS) {
            let net = i128::from(*net);
            squares = squares.saturating_add(net.saturating_mul(net));
            count += 1;
        }
        squares.checked_div(count)?.checked_isqrt()
    }
}

impl Params {
    fn kept(&self) -> i64 {
        let after = self.horizon.nanos().saturating_add(self.late.nanos());
        self.window.nanos().saturating_add(after)
    }
}

/// What is kept of an instrument.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Instrument {
    /// When it was first and last seen.
    since: Option<i64>,
    now: i64,
    /// Twice the middle, or else the last price, at the end of every minute.
    prices: VecDeque<(i64, i64)>,
    owners: BTreeMap<u32, Owner>,
    /// Times of news that were judged.
    judged: BTreeSet<i64>,
}

/// News that moved the price.
struct Moved<'a> {
    news: &'a News,
    /// Twice the price at the horizon, and how far it went.
    after2: i64,
    moved2: i64,
    before2: i64,
    /// Times the volatility before.
    times: Option<Decimal>,
}

impl Instrument {
    /// The next news that can be judged at a time, if any.
    fn due<'a>(&self, news: &'a [News], params: &Params, now: i64) -> Option<&'a News> {
        let late = self.now.saturating_sub(params.horizon.nanos());
        let late = late.saturating_sub(params.late.nanos());
        let first = news.partition_point(|news| news.time.nanos() < late);
        let rest = news.get(first..)?.iter();
        let horizon = params.horizon.nanos();
        let mut due = rest
            .take_while(|news| news.time.nanos().saturating_add(horizon) <= now)
            .filter(|news| !self.judged.contains(&news.time.nanos()));
        due.next()
    }

    /// Twice the price at the end of the minute before that of `time`, and how many there are up to it.
    fn price2(&self, time: i64) -> Option<(usize, i64)> {
        let minute = time.div_euclid(MINUTE);
        let end = self.prices.partition_point(|(at, _)| *at < minute);
        let (_, price2) = self.prices.get(end.checked_sub(1)?)?;
        Some((end, *price2))
    }

    /// How far the price went after news, when that is far enough.
    fn moved<'a>(&self, news: &'a News, params: &Params) -> Option<Moved<'a>> {
        let time = news.time.nanos();
        let (end, before2) = self.price2(time)?;
        let (_, after2) = self.price2(time.saturating_add(params.horizon.nanos()))?;
        let moved2 = after2.saturating_sub(before2);
        let (far, from) = (moved2.saturating_abs(), before2.saturating_abs());
        if far == 0 || !at_least(far.into(), params.move_share, from.into()) {
            return None;
        }
        let oldest = time
            .saturating_sub(params.window.nanos())
            .div_euclid(MINUTE);
        let start = self.prices.partition_point(|(at, _)| *at < oldest);
        let prices = || self.prices.range(start.min(end)..end);
        let next = prices()
            .map(|(at, _)| at.div_euclid(MOVE))
            .skip(1)
            .map(Some)
            .chain([None]);
        let ends = prices().zip(next);
        let ends = ends.filter(|((at, _), next)| Some(at.div_euclid(MOVE)) != *next);
        let usual = volatility(ends.map(|((_, price2), _)| *price2));
        let times = usual.map(|usual| ratio(far.into(), usual));
        let far = times.is_none_or(|times| times >= params.times_usual);
        far.then_some(Moved {
            news,
            after2,
            moved2,
            before2,
            times,
        })
    }

    /// Takes a row's time and price in; how many minutes were dropped for want of room.
    fn take(&mut self, step: &Step<'_>, params: &Params) -> u64 {
        let long = params.window.nanos();
        if self.now.div_euclid(long) != step.time.div_euclid(long) {
            let oldest = step.time.div_euclid(long) - PERIODS_KEPT as i64;
            let stays = |owner: &Owner| owner.periods.back().is_some_and(|last| last.0 >= oldest);
            self.owners.retain(|_, owner| stays(owner));
            let oldest = step.time.saturating_sub(params.kept());
            self.judged.retain(|time| *time >= oldest);
        }
        self.since.get_or_insert(step.time);
        self.now = step.time;
        let last = step.market.prints().last();
        let last = || last.map(|print| print.price.saturating_mul(2));
        let Some(price2) = step.market.mid2().or_else(last) else {
            return 0;
        };
        let minute = step.time.div_euclid(MINUTE);
        match self.prices.back_mut() {
            Some((at, known)) if *at == minute => {
                *known = price2;
                return 0;
            }
            _ => self.prices.push_back((minute, price2)),
        }
        let oldest = step.time.saturating_sub(params.kept()).div_euclid(MINUTE);
        while self.prices.front().is_some_and(|first| first.0 < oldest) {
            self.prices.pop_front();
        }
        let full = self.prices.len() > MINUTES_MAX;
        if full {
            self.prices.pop_front();
        }
        u64::from(full)
    }

    /// Judges what an owner did before news that moved the price.
    fn judge(
        &self,
        owner: &Owner,
        moved: &Moved<'_>,
        params: &Params,
        lot: i128,
    ) -> Option<Judged> {
        let (time, long) = (moved.news.time.nanos(), params.window.nanos());
        let from = time.saturating_sub(long);
        let within = |change: &&Change| change.first >= from && change.last < time;
        let sign = i128::from(moved.moved2.signum());
        // What he did the other way before he began is no part of it: of the stretches that end with the
        // news, in which he traded one way, the one with the largest position.
        let (mut all, mut most) = (Stretch::default(), Stretch::default());
        for change in owner.changes.iter().rev().filter(within) {
            all.add(change);
            let one_way = at_least(all.net * sign, params.one_way, all.gross);
            if one_way && all.net * sign > most.net * sign {
                most = all;
            }
        }
        let worth = most.net.saturating_mul(moved.after2.into()) / 2;
        let gain = amount(worth.saturating_sub(most.paid));
        if most.net == 0 || gain < Decimal::from(params.gain) {
            return None;
        }
        let period = from.div_euclid(long);
        let since = self.since?.div_euclid(long);
        if period.saturating_sub(since) < i64::try_from(params.least_periods).ok()? {
            return None;
        }
        let usual = owner.usual(period);
        let deviations = usual.map(|usual| ratio(most.net.saturating_abs(), usual.max(lot)));
        let far = deviations.is_none_or(|times| times >= params.deviations);
        let part = |change: &&Change| within(change) && change.first >= most.first;
        let changes = owner.changes.iter().filter(part);
        far.then(|| Judged {
            most,
            gain,
            deviations,
            seqs: changes
                .flat_map(|change| [change.seqs.0, change.seqs.1])
                .collect(),
        })
    }
}

/// Changes that end with the news.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    first: i64,
    net: i128,
    gross: i128,
    paid: i128,
}

impl Stretch {
    /// Takes the change before them in.
    fn add(&mut self, change: &Change) {
        self.first = change.first;
        self.net += i128::from(change.net);
        self.gross += i128::from(change.gross);
        self.paid = self.paid.saturating_add(change.paid);
    }
}

/// What an owner did before news.
struct Judged {
    most: Stretch,
    gain: Decimal,
    /// `None` of a first trade.
    deviations: Option<Decimal>,
    seqs: Vec<u64>,
}

fn say(
    step: &Step<'_>,
    params: &Params,
    owner: u32,
    moved: &Moved<'_>,
    judged: &Judged,
) -> Finding {
    let share = ratio(moved.moved2.into(), moved.before2.saturating_abs().into());
    let times = moved.times.unwrap_or_default();
    let one_way = ratio(judged.most.net.saturating_abs(), judged.most.gross.max(1));
    let measures = vec![
        measure(
            "deviations",
            judged.deviations.unwrap_or_default(),
            params.deviations,
        ),
        measure("one_way", one_way, params.one_way),
        measure("gain", judged.gain, Decimal::from(params.gain)),
        measure("move_share", share, params.move_share),
        measure("times_usual", times, params.times_usual),
    ];
    let past = match judged.deviations {
        Some(times) => format!(
            "{times} times the usual change (at least {})",
            params.deviations
        ),
        None => "and had not traded in it before".to_owned(),
    };
    let bought = judged.most.net > 0;
    let text = format!(
        "Before news: {owner} {done} {net} of {sym} in the {stretch} before {headline:?} of {time}, \
         {one_way} of all that it traded (at least {most}), {past}; the price then moved by {share} of it (at least {least}), {times} times its \
         volatility before (at least {usual}, where that is known), a gain of {gain} (at least \
         {enough}).",
        owner = step.names().owner(owner),
        done = done(if bought { Side::Buy } else { Side::Sell }),
        net = Decimal::from_quantity_units(judged.most.net.saturating_abs()),
        sym = step.sym_name(),
        stretch = TimeSpan::from_nanos(moved.news.time.nanos().saturating_sub(judged.most.first)),
        most = params.one_way,
        headline = moved.news.headline,
        time = moved.news.time,
        least = params.move_share,
        usual = params.times_usual,
        gain = judged.gain,
        enough = params.gain,
    );
    finding(step, measures, judged.seqs.iter().copied(), text)
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct BeforeNews {
    instruments: Entities<Instrument>,
    overflows: u64,
}

/// Judges one item for all owners, in the order of their names: their numbers depend on how rows were
/// cut into batches.
fn tell(
    at: &Instrument,
    news: &News,
    step: &Step<'_>,
    params: &Profiles<Params>,
    found: &mut Found<'_>,
) {
    let Some(moved) = at.moved(news, params.of_class(step)) else {
        return;
    };
    let names = step.names();
    let mut judged = Vec::new();
    for (number, owner) in &at.owners {
        let params = params.of_owner(step, *number);
        if let Some(one) = at.judge(owner, &moved, params, step.lot().max(1).into()) {
            judged.push((names.owner(*number), *number, params, one));
        }
    }
    judged.sort_by(|a, b| (a.0, &a.3.seqs).cmp(&(b.0, &b.3.seqs)));
    for (_, number, params, one) in &judged {
        found.hit(step, key(step.sym, *number), params.window, || {
            say(step, params, *number, &moved, one)
        });
    }
}

impl Watch for BeforeNews {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "before_news",
        version: 3,
        title: "A position out of line with the owner's past, taken before news that moved the price",
        rule: "At the first row of a second of an instrument that is at least horizon after an item of \
            the news calendar on it, and once for each time in it: from the last minute before the \
            news to the last one within horizon the middle (where there is none, the last price) moved \
            by at least move_share and times_usual times its volatility in the window before the news (1.4826 times the \
            median of the moves over five minutes, times the root of their number; unknown where there \
            are fewer than three, or most are none). An owner's executions in some stretch within the \
            window, which ends with the news, come to a net change of position in the direction of that \
            move that is at least one_way of all that he bought and sold in it; of such stretches that \
            with the largest change counts. It is at least deviations times the usual one (the root of the mean square of his net changes in the \
            periods of that length before the window in which he traded, at most 20, and at least a \
            lot), or he did not trade in any of them; it gained at least gain by the price at the \
            horizon; and the instrument has been seen for least_periods before the window. An item may \
            come into the calendar up to late after it could be judged; one that came after its time \
            does not see trades of its own five minutes by the clock. False positives: one who acts on \
            public rumours; a fund that builds a position by plan; one who is often large within a period \
            and flat at its end.",
        source: "EU 596/2014 articles 7, 8 and 16; US SEC Rule 10b-5",
        params: Params::PARAMS,
        needs: &[Need::Trader, Need::News],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::ALL;

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let common = params.of_class(step);
        // An instrument's past counts however long nothing came.
        let at = self.instruments.get(step, NOBODY, i64::MAX);
        let news = || step.names().news(step.sym);
        if at.since.is_some() && at.now.div_euclid(SECOND) != step.time.div_euclid(SECOND) {
            let news = news();
            while let Some(due) = at.due(news, common, step.time) {
                tell(at, due, step, params, found);
                at.judged.insert(due.time.nanos());
            }
        }
        self.overflows += at.take(step, common);
        let (Some(owner), EventType::Filled) = (step.owner(), step.kind) else {
            return;
        };
        if at.owners.len() >= OWNERS_MAX && !at.owners.contains_key(&owner) {
            self.overflows += 1;
            return;
        }
        let dropped = at
            .owners
            .entry(owner)
            .or_default()
            .take(step, params.of(step), news());
        self.overflows += u64::from(dropped);
    }

    fn entities(&self) -> u64 {
        let owners = self.instruments.states().map(|at| at.owners.len() as u64);
        self.instruments.len() + owners.sum::<u64>()
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }
}
