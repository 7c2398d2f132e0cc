//! Users' rules against a naive reading of them, over random streams with ties, gaps and late rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use proptest::prelude::*;
use support::{batch, config, cut, orders, rows, sizes};
use tapewatch_detect::{Backtest, DetectConfig, Engine, Rules, Shard, merge_shards};
use tapewatch_model::{EventType, Hit, Order, OrderBatch, Time};

const SPOOFING: &str = include_str!("../../../examples/rules/cancelled_quantity.toml");
const ONE: i128 = 1_000_000_000;
const DAY: i64 = 86_400_000_000_000;

fn only(name: &str, text: &str) -> DetectConfig {
    let rules = Rules::parse(&[(name.to_owned(), text.to_owned())])
        .unwrap_or_else(|errors| panic!("{}", errors[0]));
    let mut config = DetectConfig::default().with_rules(rules);
    config.only(&[name.to_owned()]).unwrap();
    config
}

fn run(buckets: &[OrderBatch], config: &DetectConfig, count: u32) -> Vec<Hit> {
    let shard = |index| {
        let mut engine = Engine::new(config, Shard { index, count }).unwrap();
        let mut hits = Vec::new();
        buckets
            .iter()
            .for_each(|bucket| engine.apply(bucket, &mut hits));
        hits
    };
    merge_shards((0..count).map(shard).collect())
}

/// However the rows are cut, shared out and interrupted, the hits are the same; they.
fn run_all_ways(orders: &[Order], sizes: &[usize], config: &DetectConfig) -> Vec<Hit> {
    let buckets: Vec<_> = cut(orders, sizes).into_iter().map(batch).collect();
    let hits = run(&buckets, config, 1);
    assert_eq!(run(&[batch(orders)], config, 1), hits, "in one bucket");
    assert_eq!(run(&buckets, config, 3), hits, "in three shards");
    let mut engine = Engine::new(config, Shard::WHOLE).unwrap();
    let mut resumed = Vec::new();
    for bucket in &buckets {
        engine.apply(bucket, &mut resumed);
        let saved = engine.state().to_bytes();
        engine = Engine::new(&DetectConfig::default(), Shard::WHOLE).unwrap();
        engine.load(&saved).unwrap();
        assert_eq!(engine.state().to_bytes(), saved, "the same bytes again");
    }
    assert_eq!(resumed, hits, "saved in between");
    let backtest = Backtest::new(&[config.clone(), config.clone()], Shard::WHOLE);
    let mut backtest = backtest.unwrap();
    buckets.iter().for_each(|bucket| {
        backtest.apply(bucket);
    });
    let alerts = backtest.into_alerts();
    for set in [0, 1] {
        let found = alerts.iter().filter(|alert| alert.set == set);
        let found: Vec<_> = found
            .map(|alert| (alert.first.order.seq, alert.hits))
            .collect();
        let firsts = hits.iter().filter(|hit| hit.alert_hit == 1);
        let count = |first: &Hit| {
            hits.iter()
                .filter(|hit| hit.alert_id == first.alert_id)
                .count()
        };
        let expected: Vec<_> = firsts
            .map(|hit| (hit.order.seq, count(hit) as u64))
            .collect();
        assert_eq!(found, expected, "in a backtest");
    }
    hits
}

fn same_hits(a: &[Hit], b: &[Hit]) -> bool {
    let shown = |hit: &Hit| {
        let measures: Vec<_> = hit
            .measures
            .iter()
            .map(|m| (m.name, m.value, m.threshold))
            .collect();
        let alert = (hit.alert_hit, hit.alert_time, hit.lookback);
        (
            hit.order.clone(),
            measures,
            hit.evidence.clone(),
            hit.evidence_total,
            alert,
        )
    };
    a.iter().map(shown).eq(b.iter().map(shown))
}

/// Units of a decimal.
fn units(whole: i64) -> i128 {
    i128::from(whole) * ONE
}

fn quantity(order: &Order) -> i128 {
    i128::from(order.quantity.units()) * 10
}

const MEASURES: &str = r#"
name = "measured"
version = 3
title = "All that can be measured"
[params]
small = 800
[window]
events = ["cancelled", "new"]
where = "quantity > small"
group = ["sym", "side"]
lookback = "3000m"
lateness = "31d"
condition = "all > 1"
[measures]
all = "count()"
news = "count(event_type == 'new')"
total = "sum(quantity, event_type == 'cancelled')"
least = "min(quantity)"
most = "max(quantity, trader == 'T1')"
traders = "distinct(trader)"
sizes = "distinct(quantity, event_type == 'new')"
ratio = "total / news"
today = "day(sum(quantity))"
usual = "mean_per_day(sum(quantity), 3)"
middle = "median_per_day(count(), 4)"
known = "days(count(), 4)"
"#;

/// Each measure of the event at `at`, by looking at everything that came before.
fn naive_measures(orders: &[Order], at: usize) -> Vec<Option<i128>> {
    let probe = &orders[at];
    let group = |order: &&Order| {
        (&order.sym, order.side) == (&probe.sym, probe.side)
            && quantity(order) > units(800)
            && order.event_type != EventType::Filled
    };
    let mine: Vec<_> = orders[..=at].iter().filter(group).collect();
    let age = |order: &Order| probe.time.nanos() - order.time.nanos();
    let window = mine
        .iter()
        .filter(|o| (0..=3_000 * 60 * 1_000_000_000).contains(&age(o)));
    let window: Vec<_> = window.copied().collect();
    let new = |order: &&&Order| order.event_type == EventType::New;
    let count = |count: usize| Some(count as i128 * ONE);
    let distinct = |mut values: Vec<i128>| {
        values.sort_unstable();
        values.dedup();
        count(values.len())
    };
    let total: i128 = window.iter().filter(|o| !new(o)).map(|o| quantity(o)).sum();
    let news = window.iter().filter(new).count() as i128;
    let day = |order: &Order| order.time.nanos().div_euclid(DAY);
    let mut days: Vec<_> = mine.iter().map(|order| day(order)).collect();
    days.sort_unstable();
    days.dedup();
    let past = |back: i64| {
        let own = day(probe);
        let days = days
            .iter()
            .filter(move |day| (own - back..own).contains(*day));
        days.map(|wanted| {
            mine.iter()
                .filter(|o| day(o) == *wanted)
                .collect::<Vec<_>>()
        })
        .collect::<Vec<_>>()
    };
    let sums: Vec<i128> = past(3)
        .iter()
        .map(|d| d.iter().map(|o| quantity(o)).sum())
        .collect();
    let mut counts: Vec<i128> = past(4).iter().map(|d| d.len() as i128 * ONE).collect();
    counts.sort_unstable();
    let middle = counts.len() / 2;
    vec![
        count(window.len()),
        Some(news * ONE),
        Some(total),
        window.iter().map(|o| quantity(o)).min(),
        window
            .iter()
            .filter(|o| o.trader == "T1")
            .map(|o| quantity(o))
            .max(),
        distinct(
            window
                .iter()
                .map(|o| i128::from(o.trader.as_bytes()[1]))
                .collect(),
        ),
        distinct(window.iter().filter(new).map(|o| quantity(o)).collect()),
        (news > 0).then(|| total / news.max(1)),
        Some(
            mine.iter()
                .filter(|o| day(o) == day(probe))
                .map(|o| quantity(o))
                .sum(),
        ),
        (!sums.is_empty()).then(|| sums.iter().sum::<i128>() / sums.len().max(1) as i128),
        match counts.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(counts[middle]),
            _ => Some((counts[middle - 1] + counts[middle]) / 2),
        },
        count(past(4).len()),
    ]
}

/// Orders of a stream with few names of orders, half of its events fills.
fn filled(rows: &[(i64, u8, u8, bool, u8, i64)]) -> Vec<Order> {
    let mut orders = orders(rows);
    for (order, row) in orders.iter_mut().zip(rows) {
        order.order_id = format!("O{}", row.5 % 4);
        order.event_type = match row.4 {
            0 => EventType::New,
            1 => EventType::Cancelled,
            _ => EventType::Filled,
        };
    }
    orders
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// The reference's rule, written as a user's, has the detector's hits: measures, thresholds,
    /// evidence, alerts; however late rows are.
    #[test]
    fn spoofing_as_a_rule_finds_what_the_detector_finds(rows in rows(), sizes in sizes(), late in 0..3_usize) {
        let orders = orders(&rows);
        let lateness = ["1d", "10s", "1s"][late];
        let text = SPOOFING.replace("\"5m\"", &format!("{lateness:?}"));
        let hits = run_all_ways(&orders, &sizes, &only("cancelled_quantity", &text));
        let detector = config(&[&format!("spoofing.lateness={lateness}")]);
        let expected = run(&[batch(&orders)], &detector, 1);
        prop_assert!(same_hits(&hits, &expected), "{hits:#?} {expected:#?}");
    }

    #[test]
    fn window_rules_measure_what_they_say(rows in rows(), sizes in sizes()) {
        let mut orders = orders(&rows);
        let start = 1_700_000_000_000_000_000;
        for order in &mut orders {
            order.time = Time::from_nanos(start + (order.time.nanos() - start) * 10_000);
        }
        let hits = run_all_ways(&orders, &sizes, &only("measured", MEASURES));
        let mut found = hits.iter();
        for at in 0..orders.len() {
            let looked_at = quantity(&orders[at]) > units(800);
            let expected = naive_measures(&orders, at);
            if !looked_at || expected[0] <= Some(ONE) {
                continue;
            }
            let hit = found.next().expect("a hit");
            prop_assert_eq!(hit.order.seq, orders[at].seq);
            let measures: Vec<_> = hit.measures.iter().map(|m| m.value.units()).collect();
            prop_assert_eq!(measures, expected.into_iter().flatten().collect::<Vec<_>>());
            prop_assert_eq!(hit.measures[0].threshold.units(), ONE);
        }
        prop_assert_eq!(found.next(), None);
    }
}

/// A step as the naive reading sees it: whether an event belongs there, given the events of each step
/// so far, and whether those of the step are enough.
struct Naive {
    not: bool,
    many: bool,
    within: Option<i64>,
    fits: fn(&[Vec<&Order>], &Order) -> bool,
    enough: fn(&[Vec<&Order>]) -> bool,
}

const SECOND: i64 = 1_000_000_000;

fn sum(orders: &[&Order]) -> i128 {
    orders.iter().map(|order| quantity(order)).sum()
}

/// How the match that begins at `start` goes on over one key's events (time and event): the place
/// where it is complete, and the places of its events. Of `used`, an event and the start of the match
/// that it completed, those of older matches do not exist for it.
fn naive_match(
    events: &[(i64, &Order)],
    start: usize,
    used: &[(usize, usize)],
    (steps, within): (&[Naive], i64),
) -> (Option<usize>, Vec<usize>) {
    let is_used = |at: usize| used.iter().any(|&(place, by)| place == at && by < start);
    let mut taken: Vec<Vec<&Order>> = vec![Vec::new(); steps.len()];
    let mut entered = vec![None; steps.len()];
    if is_used(start) || !(steps[0].fits)(&taken, events[start].1) {
        return (None, Vec::new());
    }
    let (mut at, mut places) = (0, vec![start]);
    taken[0].push(events[start].1);
    entered[0] = Some(events[start].0);
    let last = (0..steps.len()).rfind(|&step| !steps[step].not).unwrap();
    for (place, &(time, order)) in events.iter().enumerate().skip(start + 1) {
        let next = (at + 1..steps.len()).find(|&step| !steps[step].not);
        let enough = (steps[at].enough)(&taken);
        let waits = at == last && enough;
        if waits && time > entered[at].unwrap() + steps[at + 1].within.unwrap() {
            return (Some(place), places);
        }
        if !waits && time > events[start].0 + within {
            return (None, places);
        }
        if is_used(place) {
            continue;
        }
        for not in (at + 1..next.unwrap_or(steps.len())).filter(|_| enough) {
            if (steps[not].fits)(&taken, order) {
                taken[not].push(order);
                if (steps[not].enough)(&taken) {
                    return (None, places);
                }
            }
        }
        if waits {
            continue;
        }
        let soon = |step: usize, since: Option<i64>| {
            let end = |within: i64| time <= since.unwrap() + within;
            steps[step].within.is_none_or(end)
        };
        let fits = |step: usize, since: Option<i64>| {
            soon(step, since) && (steps[step].fits)(&taken, order)
        };
        let before = (0..at).rfind(|&step| !steps[step].not);
        let to = match next.filter(|&next| enough && fits(next, entered[at])) {
            Some(next) => next,
            None if steps[at].many && fits(at, before.and_then(|before| entered[before])) => at,
            None => continue,
        };
        entered[to] = entered[to].or(Some(time));
        at = to;
        taken[at].push(order);
        places.push(place);
        if at == last && last + 1 == steps.len() && (steps[at].enough)(&taken) {
            return (Some(place), places);
        }
    }
    (None, places)
}

/// All matches of one key, the earliest complete one first, of those the one that began first: the
/// sequence numbers of the event that shows it and of its own. No event is in two.
fn naive_matches(events: &[(i64, &Order)], rule: (&[Naive], i64)) -> Vec<(u64, Vec<u64>)> {
    let (mut found, mut ended, mut used) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let open = (0..events.len()).filter(|start| !ended.contains(start));
        let complete = open.filter_map(|start| {
            let (end, places) = naive_match(events, start, &used, rule);
            Some((end?, start, places))
        });
        let Some((end, start, places)) = complete.min() else {
            return found;
        };
        let seq = |place: &usize| events[*place].1.seq;
        found.push((seq(&end), places.iter().map(seq).collect()));
        ended.push(start);
        if places.contains(&end) {
            used.push((end, start));
        }
        for other in 0..=end {
            let (_, others) = naive_match(&events[..=end], other, &used, rule);
            if others.iter().any(|place| places.contains(place)) {
                ended.push(other);
            }
        }
    }
}

/// The hits that the naive reading gives for all keys (instrument and trader).
fn naive_hits(orders: &[Order], rule: (&[Naive], i64)) -> Vec<(u64, Vec<u64>)> {
    let mut keys: Vec<_> = orders.iter().map(|o| (&o.sym, &o.trader)).collect();
    keys.sort();
    keys.dedup();
    let mut hits = Vec::new();
    for (sym, trader) in keys {
        let mut now = i64::MIN;
        let mut events = Vec::new();
        for order in orders.iter().filter(|order| order.sym == *sym) {
            now = now.max(order.time.nanos());
            if order.trader == *trader {
                events.push((now, order));
            }
        }
        hits.extend(naive_matches(&events, rule));
    }
    hits.sort();
    hits
}

fn found(hits: &[Hit], at_end: bool) -> Vec<(u64, Vec<u64>)> {
    let found = |hit: &Hit| {
        let mut evidence = hit.evidence.clone();
        if at_end {
            assert_eq!(evidence.pop(), Some(hit.order.seq));
        }
        (hit.order.seq, evidence)
    };
    let mut found: Vec<_> = hits.iter().map(found).collect();
    found.sort();
    found
}

const BETWEEN: &str = r#"
name = "between"
version = 1
title = "A new order, fills on the other side, not the order cancelled, then cancels"
[sequence]
key = ["sym", "trader"]
within = "12s"
condition = "gone >= 1"
[measures]
gone = "c.quantity / a.quantity"
[[step]]
name = "a"
events = ["new"]
[[step]]
name = "b"
events = ["filled"]
where = "side != a.side and side == b.side"
within = "6s"
measures = { quantity = "sum(quantity)" }
enough = "b.quantity >= 2 * a.quantity"
[[step]]
name = "x"
not = true
events = ["cancelled"]
where = "order == a.order"
[[step]]
name = "c"
events = ["cancelled"]
where = "order in b"
within = "5s"
measures = { quantity = "sum(quantity)" }
enough = "c.quantity >= a.quantity"
"#;

const AT_END: &str = r#"
name = "at_end"
version = 1
title = "A new order, a fill of it, and no two cancels of the trader on its side soon after"
[sequence]
key = ["sym", "trader"]
within = "10s"
[[step]]
name = "a"
events = ["new"]
[[step]]
name = "b"
events = ["filled"]
where = "order == a.order"
[[step]]
name = "c"
not = true
events = ["cancelled"]
where = "side == a.side"
within = "3s"
measures = { cancels = "count()" }
enough = "c.cancels >= 2"
"#;

const ANY: Naive = Naive {
    not: false,
    many: false,
    within: None,
    fits: |_, order| order.event_type == EventType::New,
    enough: |_| true,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn sequences_are_found_as_they_are_read(rows in rows(), sizes in sizes()) {
        let orders = filled(&rows);
        let steps = [
            ANY,
            Naive {
                many: true,
                within: Some(6 * SECOND),
                fits: |taken, order| {
                    let side = taken[1].first().map_or(order.side, |first| first.side);
                    order.event_type == EventType::Filled
                        && order.side != taken[0][0].side && order.side == side
                },
                enough: |taken| sum(&taken[1]) >= 2 * sum(&taken[0]),
                ..ANY
            },
            Naive {
                not: true,
                fits: |taken, order| {
                    order.event_type == EventType::Cancelled && order.order_id == taken[0][0].order_id
                },
                ..ANY
            },
            Naive {
                many: true,
                within: Some(5 * SECOND),
                fits: |taken, order| {
                    order.event_type == EventType::Cancelled
                        && taken[1].iter().any(|b| b.order_id == order.order_id)
                },
                enough: |taken| sum(&taken[3]) >= sum(&taken[0]),
                ..ANY
            },
        ];
        let hits = run_all_ways(&orders, &sizes, &only("between", BETWEEN));
        prop_assert_eq!(found(&hits, false), naive_hits(&orders, (&steps, 12 * SECOND)));
    }

    #[test]
    fn what_must_not_follow_is_waited_for(rows in rows(), sizes in sizes()) {
        let orders = filled(&rows);
        let steps = [
            ANY,
            Naive {
                fits: |taken, order| {
                    order.event_type == EventType::Filled && order.order_id == taken[0][0].order_id
                },
                ..ANY
            },
            Naive {
                not: true,
                within: Some(3 * SECOND),
                fits: |taken, order| {
                    order.event_type == EventType::Cancelled && order.side == taken[0][0].side
                },
                enough: |taken| taken[2].len() >= 2,
                ..ANY
            },
        ];
        let hits = run_all_ways(&orders, &sizes, &only("at_end", AT_END));
        prop_assert_eq!(found(&hits, true), naive_hits(&orders, (&steps, 10 * SECOND)));
    }
}
