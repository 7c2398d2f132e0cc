//! Random numbers for agents: seeded, whole, the same on every machine.
//!
//! Invariant: what is drawn is a function of the seed, the stream and what was drawn before. Each agent
//! has a stream of its own, so that one more agent changes no draw of the others. No floats:
//! logarithms differ between machines.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tapewatch_model::Side;

/// Doublings of a heavy-tailed size.
const DOUBLINGS_MAX: u32 = 6;

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut numbers = ChaCha8Rng::seed_from_u64(seed);
        numbers.set_stream(stream);
        Self(numbers)
    }

    /// One of 0 to `bound` − 1, all alike; 0 when there are none.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // Off from alike by one in 2^64 / bound.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// One of `from` to `to`, all alike; `from` where they are the other way round.
    pub(crate) fn between(&mut self, from: i64, to: i64) -> i64 {
        let count = to.saturating_sub(from).saturating_add(1);
        from.saturating_add(self.below(u64::try_from(count).unwrap_or(0)) as i64)
    }

    /// Either side, both alike.
    pub(crate) fn side(&mut self) -> Side {
        if self.chance(500) {
            Side::Buy
        } else {
            Side::Sell
        }
    }

    /// Whether something comes to pass that does so `times` in a thousand.
    pub(crate) fn chance(&mut self, times: u64) -> bool {
        self.below(1_000) < times
    }

    /// The time to the next of events that come by themselves, one in `mean` on average.
    ///
    /// John von Neumann's way to exponential numbers, which only compares uniform ones: of a run of
    /// falling numbers, those of odd length keep their first one as the fraction.
    pub(crate) fn wait(&mut self, mean: i64) -> i64 {
        let mut whole = 0_u64;
        loop {
            let first = self.0.next_u32();
            let (mut last, mut length) = (first, 1_u32);
            loop {
                let next = self.0.next_u32();
                if next > last {
                    break;
                }
                last = next;
                length += 1;
            }
            if length % 2 == 1 || whole == 64 {
                let times = (i128::from(whole) << 32) + i128::from(first);
                return ((i128::from(mean) * times) >> 32) as i64;
            }
            whole += 1;
        }
    }

    /// A size of one to two times `unit`, doubled again and again with a chance of 4 in 10 each: the
    /// share above some size falls with its power of 1.3.
    pub(crate) fn size(&mut self, unit: u64) -> u64 {
        let doublings = (0..DOUBLINGS_MAX).take_while(|_| self.chance(400)).count();
        let unit = unit << doublings;
        unit + self.below(unit)
    }

    /// A whole number of steps from 0, each as likely as `times` in a thousand; 64 at most.
    pub(crate) fn steps(&mut self, times: u64) -> i64 {
        (0..64).take_while(|_| self.chance(times)).count() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_the_same_everywhere() {
        let mut draws = Draws::new(7, 1);
        let drawn: Vec<u64> = (0..4).map(|_| draws.below(1_000)).collect();
        assert_eq!(drawn, [992, 9, 721, 528]);
    }

    #[test]
    fn waits_have_their_mean_and_its_tail() {
        let mut draws = Draws::new(1, 0);
        let waits: Vec<i64> = (0..100_000).map(|_| draws.wait(1_000_000)).collect();
        let mean = waits.iter().sum::<i64>() / 100_000;
        assert!((990_000..1_010_000).contains(&mean), "{mean}");
        // e^-3 of them are above three times the mean.
        let long = waits.iter().filter(|&&wait| wait > 3_000_000).count();
        assert!((4_700..5_300).contains(&long), "{long}");
    }
}
