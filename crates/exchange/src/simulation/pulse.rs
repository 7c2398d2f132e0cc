//! What an instrument is worth to those who make its prices, how excited its market is, and what has
//! traded.
//!
//! Invariant: worth walks and jumps by itself; who takes from the book pushes the price further for a
//! while, and a part of that stays, because the others cannot know why he did.

use tapewatch_model::Side;

use super::draws::Draws;

/// Parts of a tick in which worth is kept.
pub(crate) const PARTS: i64 = 64;
/// How far worth steps in about a second, at most, in a calm market.
const STEP_MAX: i64 = 28;
/// What a lot that takes moves the price by, in hundredths of a part.
const IMPACT: i64 = 75;
/// The most lots of one execution that do so.
const IMPACT_LOTS_MAX: i64 = 400;
/// Seconds over which a push fades by its e-th part.
const FADES_OVER: i64 = 45;
/// Seconds over which excitement does.
const CALMS_OVER: i64 = 60;
/// The part of a push that stays: one in so many.
const STAYS: i64 = 2;
/// Looks over which the variance is averaged.
const VARIANCE_OVER: i64 = 512;
/// The standard deviation of the price over a second that daily ones are reckoned with.
const SECOND_SIGMA: i64 = 30;
/// How lively the market may be by itself, in thousandths.
const MOODS: [i64; 6] = [500, 700, 900, 1_000, 1_300, 1_800];

/// One instrument's pulse.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    pub(crate) draws: Draws,
    /// In parts of a tick.
    worth: i64,
    /// How far those who took have pushed it, in hundredths of a part.
    pressure: i64,
    mood: i64,
    excitement: i64,
    middle: Option<i64>,
    /// Squares of parts, of the middle's change in a second, times [`VARIANCE_OVER`].
    variance: i64,
    /// Lots that have traded.
    pub(crate) volume: i64,
    /// Lots taken by buyers and by sellers.
    pub(crate) taken: [i64; 2],
}

impl Pulse {
    pub(crate) const fn new(draws: Draws, ticks: i64) -> Self {
        Self {
            draws,
            worth: ticks * PARTS,
            pressure: 0,
            mood: 1_000,
            excitement: 0,
            middle: None,
            variance: SECOND_SIGMA * SECOND_SIGMA * VARIANCE_OVER,
            volume: 0,
            taken: [0; 2],
        }
    }

    /// What those who make prices think of it, in parts of a tick.
    pub(crate) const fn fair(&self) -> i64 {
        self.worth + self.pressure / 100
    }

    /// How lively the market is, in thousandths.
    pub(crate) const fn heat(&self) -> i64 {
        self.mood + self.excitement
    }

    /// The standard deviation of the middle's change in a second, lately, in parts of a tick.
    pub(crate) const fn sigma(&self) -> i64 {
        (self.variance / VARIANCE_OVER).isqrt()
    }

    /// The standard deviation of the price over so many seconds, as a rule, in parts of a tick.
    pub(crate) fn usual_sigma(seconds: i64) -> i64 {
        SECOND_SIGMA * seconds.max(0).isqrt()
    }

    /// About a second has gone; `middle` is that of the best prices, in parts.
    pub(crate) fn step(&mut self, middle: Option<i64>) {
        let size = STEP_MAX * self.heat() / 1_000;
        self.worth = (self.worth + self.draws.between(-size, size)).max(100 * PARTS);
        self.pressure -= self.pressure / FADES_OVER;
        self.excitement -= self.excitement / CALMS_OVER;
        if self.draws.chance(3) {
            let mood = self.draws.below(MOODS.len() as u64) as usize;
            self.mood = MOODS.get(mood).copied().unwrap_or(1_000);
        }
        if let (Some(before), Some(now)) = (self.middle, middle) {
            let change = (now - before).clamp(-100 * PARTS, 100 * PARTS);
            self.variance += change * change - self.variance / VARIANCE_OVER;
        }
        self.middle = middle.or(self.middle);
    }

    /// News that changes the worth by so many parts.
    pub(crate) fn jump(&mut self, parts: i64) {
        self.worth = (self.worth + parts).max(100 * PARTS);
        self.excitement += 3_000;
    }

    /// Lots have traded. Who takes because he knows the worth tells nothing new about it.
    pub(crate) fn traded(&mut self, aggressor: Option<Side>, lots: i64, tells: bool) {
        self.volume = self.volume.saturating_add(lots);
        let Some(side) = aggressor else {
            return;
        };
        let [bought, sold] = &mut self.taken;
        let (taken, sign) = match side {
            Side::Buy => (bought, 1),
            Side::Sell => (sold, -1),
        };
        *taken = taken.saturating_add(lots);
        if !tells {
            return;
        }
        let push = sign * lots.min(IMPACT_LOTS_MAX) * IMPACT;
        self.pressure += push;
        self.worth = (self.worth + push / 100 / STAYS).max(100 * PARTS);
    }
}
