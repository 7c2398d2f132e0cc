//! Plain readings of what each abuse is, for one label: whether the events around it show it.
//!
//! Invariant: the numbers are those of the detectors' definitions, written down again.
#![allow(dead_code)]

use std::collections::BTreeMap;

use tapewatch_exchange::{Abuse, Label, Pattern};
use tapewatch_model::{OrderKey, Side};

use super::session::{Act, MILLI, MINUTE, Row, SECOND, Session};

/// Whether the events show the pattern at the detectors' defaults.
pub(crate) fn shows(session: &Session, label: &Label) -> bool {
    let (from, to) = (label.from.nanos(), label.to.nanos());
    let own = |accounts: &[u32]| session.of(accounts, from - MINUTE, to + MINUTE);
    let first = own(&label.accounts[..1]);
    let Pattern::Abuse(abuse) = label.pattern else {
        return true;
    };
    match abuse {
        Abuse::Spoofing => spoofing(&first),
        Abuse::BaitAndSwitch => bait(&first, 1),
        Abuse::Layering => bait(&first, 3),
        Abuse::QuoteStuffing => stuffing(session, &first),
        Abuse::OrderToTrade => ratio(&first),
        Abuse::FleetingOrders => fleeting(&first),
        Abuse::Pinging => pinging(&first),
        Abuse::WashTrade => wash(session, &own(&label.accounts)),
        Abuse::RoundTrip => [0, 1].iter().any(|at| {
            let own = session.of(&label.accounts[*at..=*at], from, to);
            round_trip(session, &own)
        }),
        Abuse::MatchedOrders => matched(&session.of(&label.accounts, from, to)) >= 3,
        Abuse::MarkingTheClose => close(session, label.accounts[0]),
        Abuse::MomentumIgnition => ignition(session, label.accounts[0], from),
        Abuse::Ramping => ramping(session, label.accounts[0], from, to),
        Abuse::FrontRunning => front_running(session, label),
        Abuse::OffMarket => off_market(session, &first, &label.orders),
        Abuse::BeforeNews => before_news(session, label),
    }
}

/// The rows from a time on, for so long.
fn since(own: &[Row], from: i64, lasts: i64) -> std::slice::Iter<'_, Row> {
    let first = own.partition_point(|row| row.time < from);
    let end = own.partition_point(|row| row.time <= from + lasts);
    own[first..end].iter()
}

pub(crate) fn spoofing(own: &[Row]) -> bool {
    own.iter().any(|last| {
        let window = since(own, last.time - 25 * SECOND, 25 * SECOND);
        let cancels = window.filter_map(|row| match row.act {
            Act::Cancelled { lots, .. } if row.side == last.side => Some(lots),
            _ => None,
        });
        let cancels: Vec<i64> = cancels.collect();
        cancels.iter().sum::<i64>() > 4_000 && cancels.len() > 3
    })
}

/// Lots and prices of an account's orders on both sides that live just before a moment.
fn live(own: &[Row], time: i64) -> BTreeMap<OrderKey, (Side, i64, i64)> {
    let mut live = BTreeMap::new();
    for row in own.iter().take_while(|row| row.time < time) {
        match row.act {
            Act::New { lots, ticks } => drop(live.insert(row.order, (row.side, lots, ticks))),
            Act::Cancelled { .. } | Act::Ended => drop(live.remove(&row.order)),
            Act::Filled { lots, .. } => {
                if let Some((_, left, _)) = live.get_mut(&row.order) {
                    *left -= lots;
                }
            }
            Act::Amended => {}
        }
    }
    live.retain(|_, (_, lots, _)| *lots > 0);
    live
}

fn bait(own: &[Row], levels: usize) -> bool {
    let fills = own.iter().filter(|row| row.traded() > 0);
    fills.clone().any(|fill| {
        let side = fill.side.opposite();
        let live = live(own, fill.time);
        let on = |side| live.values().filter(move |(of, ..)| *of == side);
        let bait: i64 = on(side).map(|(_, lots, _)| lots).sum();
        let other: i64 = on(fill.side).map(|(_, lots, _)| lots).sum();
        let genuine = other.max(fill.traded());
        let mut prices: Vec<i64> = on(side).map(|(_, _, ticks)| *ticks).collect();
        prices.sort_unstable();
        prices.dedup();
        let depth = fill.depth[side as usize - 1];
        let after = own.iter().filter(|row| {
            (fill.time..=fill.time + 2 * SECOND).contains(&row.time)
                && live.contains_key(&row.order)
        });
        let gone: i64 = after
            .clone()
            .filter(|row| row.side == side)
            .map(|row| {
                if let Act::Cancelled { lots, .. } = row.act {
                    lots
                } else {
                    0
                }
            })
            .sum();
        let lost: i64 = after.filter(|row| row.side == side).map(Row::traded).sum();
        bait * 5 >= depth
            && bait >= 5 * genuine
            && gone * 10 >= bait * 8
            && lost * 20 <= bait
            && prices.len() >= levels
    })
}

pub(crate) fn stuffing(session: &Session, own: &[Row]) -> bool {
    let messages: Vec<&Row> = own.iter().filter(|row| row.is_message()).collect();
    messages.windows(250).any(|window| {
        let (first, last) = (window[0].time, window[249].time);
        let all = || {
            session
                .within(first, last)
                .iter()
                .filter(|row| row.is_message())
                .count()
        };
        last - first <= SECOND && all() <= 500
    })
}

pub(crate) fn ratio(own: &[Row]) -> bool {
    own.iter().any(|first| {
        let window = own
            .iter()
            .filter(|row| (0..=5 * MINUTE).contains(&(row.time - first.time)));
        let (messages, fills): (Vec<&Row>, Vec<&Row>) = window.partition(|row| row.is_message());
        messages.len() >= 200 && messages.len() >= 101 * fills.len().max(1)
    })
}

pub(crate) fn fleeting(own: &[Row]) -> bool {
    own.iter().any(|first| {
        let window = own
            .iter()
            .filter(|row| (0..=MINUTE).contains(&(row.time - first.time)));
        let orders = window
            .clone()
            .filter(|row| matches!(row.act, Act::New { .. }))
            .count();
        let mut filled: Vec<OrderKey> = window
            .clone()
            .filter(|row| row.traded() > 0)
            .map(|row| row.order)
            .collect();
        filled.dedup();
        let fills = filled.len();
        let mut lives: Vec<i64> = window
            .filter_map(|row| {
                if let Act::Cancelled { lived, .. } = row.act {
                    Some(lived)
                } else {
                    None
                }
            })
            .collect();
        lives.sort_unstable();
        let median = lives.get(lives.len() / 2);
        orders >= 50 && fills * 50 <= orders && median.is_some_and(|life| *life <= 10 * MILLI)
    })
}

fn pinging(own: &[Row]) -> bool {
    let entered = |row: &Row| {
        if let Act::New { lots, .. } = row.act {
            Some(lots)
        } else {
            None
        }
    };
    own.iter().filter(|row| entered(row).is_some()).any(|last| {
        let probes = own.iter().filter(|row| {
            row.side == last.side
                && (0..=5 * SECOND).contains(&(last.time - row.time))
                && entered(row)
                    .is_some_and(|lots| lots * 20 <= row.best[row.side.opposite() as usize - 1])
        });
        let probes: Vec<&Row> = probes.collect();
        let mut sizes: Vec<i64> = probes.iter().filter_map(|row| entered(row)).collect();
        sizes.sort_unstable();
        let hit = own
            .iter()
            .any(|row| row.traded() > 0 && probes.iter().any(|probe| probe.order == row.order));
        let median = sizes.get(sizes.len() / 2).copied().unwrap_or(i64::MAX / 20);
        let follows = own.iter().any(|row| {
            row.side == last.side
                && (0..=2 * SECOND).contains(&(row.time - last.time))
                && entered(row).is_some_and(|lots| lots >= 10 * median)
        });
        probes.len() >= 10 && hit && follows
    })
}

fn wash(session: &Session, own: &[Row]) -> bool {
    own.iter().any(|row| match row.act {
        Act::Filled { other, .. } => session.owner(other) == session.owner(row.account),
        _ => false,
    })
}

fn round_trip(session: &Session, own: &[Row]) -> bool {
    let traded = |side| {
        own.iter()
            .filter(|row| row.side == side)
            .map(Row::traded)
            .sum::<i64>()
    };
    let (bought, sold) = (traded(Side::Buy), traded(Side::Sell));
    let mut by_other: BTreeMap<u32, i64> = BTreeMap::new();
    for row in own {
        if let Act::Filled { lots, other, .. } = row.act {
            *by_other.entry(session.owner(other)).or_default() += lots;
        }
    }
    let most = by_other.values().max().copied().unwrap_or(0);
    let gross = bought + sold;
    bought >= 20 && sold >= 20 && (bought - sold).abs() * 20 <= gross && most * 10 >= gross * 8
}

fn matched(own: &[Row]) -> usize {
    let mut entered: BTreeMap<OrderKey, (i64, i64)> = BTreeMap::new();
    let mut pairs = Vec::new();
    for row in own {
        match row.act {
            Act::New { lots, .. } => drop(entered.insert(row.order, (row.time, lots))),
            Act::Filled { .. } => {
                let of_same = own.iter().find(|other| {
                    other.time == row.time
                        && other.account != row.account
                        && other.traded() == row.traded()
                });
                let both = of_same
                    .and_then(|other| Some((entered.get(&row.order)?, entered.get(&other.order)?)));
                if let Some(((time, lots), (other_time, other_lots))) = both
                    && (time - other_time).abs() <= 250 * MILLI
                    && (lots - other_lots).abs() * 20 <= *lots
                {
                    pairs.push(row.order);
                }
            }
            _ => {}
        }
    }
    pairs.len() / 2
}

fn volume(rows: &[Row]) -> i64 {
    rows.iter().map(Row::traded).sum::<i64>() / 2
}

fn price(row: &Row) -> Option<i64> {
    if let Act::Filled { ticks, .. } = row.act {
        Some(ticks)
    } else {
        None
    }
}

fn close(session: &Session, account: u32) -> bool {
    let scenario = session.scenario;
    let stops = scenario.start.nanos() + scenario.call.nanos() + scenario.trading.nanos();
    let before = session.within(stops - 25 * MINUTE, stops - 5 * MINUTE);
    let worth: i64 = before
        .iter()
        .filter_map(|row| Some(price(row)? * row.traded()))
        .sum();
    let reference = worth / (2 * volume(before));
    let last = session.within(stops - 5 * MINUTE, stops - 1);
    let moved = last.iter().rev().find_map(price).unwrap() - reference;
    let side = if moved > 0 { Side::Buy } else { Side::Sell };
    let own = last
        .iter()
        .filter(|row| row.account == account && row.side == side);
    let own: i64 = own.map(Row::taken).sum();
    own * 5 >= volume(last) && moved.abs() * 500 >= reference
}

fn ignition(session: &Session, account: u32, from: i64) -> bool {
    let burst = session.within(from, from + 5 * SECOND);
    [Side::Buy, Side::Sell].iter().any(|side| {
        let sign = if *side == Side::Buy { 1 } else { -1 };
        let own = burst
            .iter()
            .filter(|row| row.account == account && row.side == *side && row.taken() > 0);
        let mine: i64 = own.clone().map(Row::taken).sum();
        let Some(end) = own.clone().next_back().map(|row| row.time) else {
            return false;
        };
        let paid: i64 = own.filter_map(|row| Some(price(row)? * row.taken())).sum();
        let others = session.within(end, end + 30 * SECOND).iter();
        let others = others.filter(|row| row.account != account && row.side == *side);
        let followed: i64 = others.map(Row::taken).sum();
        let out = session.within(end, end + MINUTE).iter();
        let out = out.filter(|row| {
            row.account == account && row.side == side.opposite() && row.traded() > 0
        });
        let sold: i64 = out.clone().map(Row::traded).sum();
        let got: i64 = out.filter_map(|row| Some(price(row)? * row.traded())).sum();
        mine * 10 >= volume(session.within(from, end)) * 3
            && followed >= 2 * mine
            && sold * 10 >= mine * 8
            && sign * (got * mine - paid * sold) > 0
    })
}

fn ramping(session: &Session, account: u32, from: i64, to: i64) -> bool {
    let all = session.within(from, to);
    let start = session
        .within(from - MINUTE, from)
        .iter()
        .rev()
        .find_map(price)
        .unwrap();
    let end = all.iter().rev().find_map(price).unwrap();
    let (side, sign) = if end > start {
        (Side::Buy, 1)
    } else {
        (Side::Sell, -1)
    };
    let (mut extreme, mut taken, mut beyond, mut own) = (sign * start, 0, 0, 0);
    for row in all {
        let Some(price) = price(row) else { continue };
        if row.account == account && row.side == side && row.taken() > 0 {
            taken += 1;
            own += row.taken();
            beyond += i64::from(sign * price >= extreme);
        }
        extreme = extreme.max(sign * price);
    }
    taken >= 8
        && beyond * 10 >= taken * 7
        && own * 4 >= volume(all)
        && (extreme - sign * start) * 1_000 >= start * 3
}

fn front_running(session: &Session, label: &Label) -> bool {
    let (house, client) = (label.accounts[0], label.accounts[1]);
    let rows = session.of(&[house, client], label.from.nanos(), label.to.nanos());
    let large = rows.iter().find(|row| {
        row.account == client && matches!(row.act, Act::New { lots, .. } if lots >= 200)
    });
    let large = large.unwrap();
    let ahead = rows.iter().any(|row| {
        row.account == house
            && row.side == large.side
            && row.traded() > 0
            && (0..=MINUTE).contains(&(large.time - row.time))
    });
    let fill = rows
        .iter()
        .find(|row| row.order == large.order && row.traded() > 0)
        .unwrap();
    let closed = rows.iter().any(|row| {
        row.account == house && row.side != large.side && row.traded() > 0 && row.time > fill.time
    });
    ahead && closed
}

fn off_market(session: &Session, own: &[Row], orders: &[OrderKey]) -> bool {
    let mut sizes: Vec<i64> = session
        .rows
        .iter()
        .filter_map(|row| {
            if let Act::New { lots, .. } = row.act {
                Some(lots)
            } else {
                None
            }
        })
        .collect();
    sizes.sort_unstable();
    let median = sizes[sizes.len() / 2];
    own.iter()
        .filter(|row| orders.contains(&row.order))
        .any(|row| match row.act {
            Act::New { lots, ticks } => {
                let far = (2 * ticks - row.middle2).abs() * 200 >= row.middle2;
                far || lots >= 20 * median
            }
            _ => false,
        })
}

fn before_news(session: &Session, label: &Label) -> bool {
    let news = session
        .news
        .iter()
        .find(|news| news.time > label.from)
        .unwrap();
    let own = session.of(&label.accounts, 0, news.time.nanos());
    let signed = |row: &Row| {
        if row.side == news.side() {
            row.traded()
        } else {
            -row.traded()
        }
    };
    let built: i64 = own
        .iter()
        .filter(|row| row.time >= label.from.nanos())
        .map(signed)
        .sum();
    let earlier: Vec<i64> = own
        .iter()
        .filter(|row| row.time < label.from.nanos())
        .map(signed)
        .collect();
    // Three standard deviations of what it traded before in as much time, were it all one way.
    let spread = earlier.iter().map(|lots| lots * lots).sum::<i64>().isqrt();
    built >= 100 && built >= 2 * spread
}
