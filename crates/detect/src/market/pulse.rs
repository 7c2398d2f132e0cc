//! A market by the second: the middle of its book at the end of each, how far it moves, its messages.
//!
//! Invariant: one entry for each second in which a row came, in order; half an hour of them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType};

const SECOND: i64 = 1_000_000_000;
/// Seconds kept.
const KEPT: i64 = 1_800;
/// Seconds over which moves are measured.
const MEASURED: i64 = 900;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Entry {
    second: i64,
    /// Twice the middle at its end.
    mid2: i64,
    /// A row of an auction or a halt was in it: the middle means little.
    called: bool,
    /// All squared moves of twice the middle from second to second, this one's included.
    squares: i128,
    /// All orders, amendments and cancels so far.
    messages: u64,
}

/// How far the middle moves in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moves {
    /// The sum of the squared moves of twice the middle.
    squares: i128,
    /// Over so many seconds.
    seconds: i64,
}

impl Moves {
    /// The square of how many times the usual move over `span` nanoseconds a move of `mid2` (twice
    /// the price) is, in units of 1e-9; `None` when nothing moved.
    fn times_squared(&self, mid2: i64, span: i64) -> Option<i128> {
        let move_squared = i128::from(mid2) * i128::from(mid2);
        // move² / (squares / seconds × span)
        let usual = self.squares.saturating_mul(i128::from(span.max(1))) / i128::from(SECOND);
        let scaled = move_squared.checked_mul(i128::from(self.seconds))?;
        let wide = scaled.checked_mul(1_000_000_000);
        match wide {
            Some(wide) => wide.checked_div(usual),
            None => scaled.checked_div(usual / 1_000_000_000),
        }
    }

    /// How many times the usual move over `span` nanoseconds a move of `mid2` (twice the price) is;
    /// `None` when nothing moved.
    pub(crate) fn times(&self, mid2: i64, span: i64) -> Option<Decimal> {
        let squared = self.times_squared(mid2, span)?;
        let units = squared.saturating_mul(1_000_000_000).checked_isqrt()?;
        Some(Decimal::from_units(units))
    }
}

/// A market by the second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pulse(VecDeque<Entry>);

impl Pulse {
    pub(super) fn take(&mut self, now: i64, mid2: i64, kind: EventType, called: bool) {
        let second = now.div_euclid(SECOND);
        let message = u64::from(kind != EventType::Filled);
        match self.0.back_mut() {
            Some(last) if last.second == second => {
                last.messages += message;
                if last.mid2 != mid2 || (called && !last.called) {
                    last.called |= called;
                    self.move_to(mid2);
                }
            }
            last => {
                let last = last.copied();
                self.0.push_back(Entry {
                    second,
                    mid2,
                    called,
                    squares: squares(last.as_ref(), mid2, called),
                    messages: last.map_or(0, |last| last.messages) + message,
                });
                while self
                    .0
                    .front()
                    .is_some_and(|first| first.second < second - KEPT)
                {
                    self.0.pop_front();
                }
            }
        }
    }

    /// The middle of the last second is another one.
    fn move_to(&mut self, mid2: i64) {
        let before = self.0.len().checked_sub(2).and_then(|at| self.0.get(at));
        let called = self.0.back().is_some_and(|last| last.called);
        let squares = squares(before, mid2, called);
        if let Some(last) = self.0.back_mut() {
            last.mid2 = mid2;
            last.squares = squares;
        }
    }

    /// The entry of the second of `time`, or the one before it.
    fn at(&self, time: i64) -> Option<&Entry> {
        let second = time.div_euclid(SECOND);
        let end = self.0.partition_point(|entry| entry.second <= second);
        self.0.get(end.checked_sub(1)?)
    }

    /// Twice the middle at the end of the second before that of `time`; `None` when there was none.
    pub(crate) fn mid2_before(&self, time: i64) -> Option<i64> {
        let entry = self.at(time.saturating_sub(SECOND))?;
        (entry.mid2 != 0).then_some(entry.mid2)
    }

    /// Orders, amendments and cancels from the second of `from` up to now.
    pub(crate) fn messages_since(&self, from: i64) -> u64 {
        let all = self.0.back().map_or(0, |last| last.messages);
        let before = self.at(from.saturating_sub(SECOND));
        all - before.map_or(0, |entry| entry.messages)
    }

    /// How far the middle moved from second to second, auctions and halts left out, in the quarter of an
    /// hour up to the second before `time`; `None` when less than a minute is known.
    pub(crate) fn moves_before(&self, time: i64) -> Option<Moves> {
        let last = self.at(time.saturating_sub(SECOND))?;
        let start = last.second - MEASURED;
        let end = self.0.partition_point(|entry| entry.second <= start);
        let (squares, second) = match end.checked_sub(1).and_then(|at| self.0.get(at)) {
            Some(first) => (first.squares, start),
            None => self.0.front().map(|first| (first.squares, first.second))?,
        };
        let seconds = last.second - second;
        (seconds >= 60).then_some(Moves {
            squares: last.squares - squares,
            seconds,
        })
    }
}

fn squares(before: Option<&Entry>, mid2: i64, called: bool) -> i128 {
    let Some(before) = before else {
        return 0;
    };
    if before.mid2 == 0 || mid2 == 0 || before.called || called {
        return before.squares;
    }
    let step = i128::from(mid2) - i128::from(before.mid2);
    before.squares.saturating_add(step * step)
}

/// The volatility of prices over their time: what the median of their moves stands for (1.4826 of it is a
/// standard deviation), so that neither earlier news nor wild hours nor closed nights say anything. `None`
/// where there are no three moves, or most of them are none.
pub(crate) fn volatility(mut prices: impl Iterator<Item = i64>) -> Option<i128> {
    let mut last = prices.next()?;
    let moves = prices.map(|price| price.abs_diff(std::mem::replace(&mut last, price)));
    let mut moves: Vec<u64> = moves.collect();
    let count = moves.len();
    if count < 3 {
        return None;
    }
    let (_, median, _) = moves.select_nth_unstable(count / 2);
    let squared = i128::from(*median).saturating_pow(2);
    let variance = squared.saturating_mul(count as i128).saturating_mul(2_198) / 1_000;
    variance
        .checked_isqrt()
        .filter(|volatility| *volatility > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_so_many_times_the_usual_one() {
        let mut pulse = Pulse::default();
        for second in 0..=1_000_i64 {
            // Up and down by 2 (twice the middle) every second.
            let mid2 = 1_000 + 2 * (second % 2);
            pulse.take(second * SECOND, mid2, EventType::New, false);
        }
        let moves = pulse.moves_before(1_001 * SECOND).unwrap();
        assert_eq!((moves.squares, moves.seconds), (3_600, 900));
        // 4 squared seconds: the usual move over them is 4; 12 is three times it, 9 squared.
        assert_eq!(moves.times_squared(12, 4 * SECOND), Some(9_000_000_000));
        assert_eq!(moves.times(-12, 4 * SECOND), Some(Decimal::from_count(3)));
        assert_eq!(pulse.mid2_before(1_000 * SECOND), Some(1_002));
        assert_eq!(pulse.messages_since(999 * SECOND), 2);
        assert_eq!(pulse.moves_before(30 * SECOND), None);
    }

    #[test]
    fn what_the_middle_does_in_an_auction_is_no_move() {
        let mut pulse = Pulse::default();
        for second in 0..=100_i64 {
            // An auction until the tenth second, with a middle that means nothing.
            let (mid2, called) = if second < 10 {
                (50, true)
            } else {
                (1_000, false)
            };
            pulse.take(second * SECOND, mid2, EventType::New, false);
            pulse.take(second * SECOND, mid2, EventType::New, called);
        }
        pulse.take(101 * SECOND, 1_004, EventType::New, false);
        assert_eq!(pulse.moves_before(102 * SECOND).unwrap().squares, 16);
        assert_eq!(pulse.mid2_before(6 * SECOND), Some(50));
    }

    #[test]
    fn volatility_is_that_of_the_middle_move() {
        // Moves of 1, 2, 40, 1, 1: the middle one is 1, 1.4826 of it is 3.315 over five.
        let of = |prices: &[i64]| volatility(prices.iter().map(|price| price * 1_000));
        assert_eq!(of(&[100, 101, 103, 63, 64, 63]), Some(3_315));
        assert_eq!(of(&[100, 101, 103]), None, "two moves");
        assert_eq!(of(&[100, 100, 100, 140, 140]), None, "most are none");
    }
}
