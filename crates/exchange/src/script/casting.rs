//! Who plays a pattern, and when.
//!
//! Invariant: players are honest traders of the instrument, who go on with what they do: the pattern is
//! a part of their flow.

use super::{MINUTE, SECOND};
use crate::simulation::{Crowd, Draws};

/// Who plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cast {
    /// One who trades often.
    Active,
    /// One who seldom trades, and does nothing else meanwhile.
    Alone,
    /// One of the third of those who trade least.
    Quietest,
    /// Two of those, who have nothing to do with each other.
    Pair,
    /// A market maker.
    Maker,
    /// All accounts of one owner, each with a trader of its own.
    Linked,
    /// Two funds of one manager.
    Funds,
    /// So many who have nothing to do with each other.
    Strangers(usize),
    /// A broker's own account, and one of his clients'.
    Broker,
}

impl Cast {
    /// Whether those who play do nothing else meanwhile.
    pub(crate) const fn is_alone(self) -> bool {
        matches!(self, Self::Alone | Self::Quietest | Self::Pair)
    }

    /// Their accounts; empty where there are none such.
    pub(crate) fn choose(self, crowd: &Crowd, draws: &mut Draws) -> Vec<u32> {
        let one = |of: &[u32], draws: &mut Draws| -> Vec<u32> {
            let at = draws.below(of.len() as u64) as usize;
            of.get(at).copied().into_iter().collect()
        };
        match self {
            Self::Active => one(&crowd.active, draws),
            Self::Alone => one(&crowd.quiet, draws),
            Self::Quietest => {
                // They are there in the order of how often they trade.
                let (_, last) = crowd.quiet.split_at(crowd.quiet.len() / 3 * 2);
                one(last, draws)
            }
            Self::Maker => one(&crowd.makers, draws),
            Self::Pair => some(2, crowd.quiet.clone(), draws),
            Self::Funds => crowd.funds.clone(),
            Self::Linked => {
                let at = draws.below(crowd.linked.len() as u64) as usize;
                crowd.linked.get(at).cloned().unwrap_or_default()
            }
            Self::Strangers(count) => {
                let all = [crowd.active.as_slice(), &crowd.quiet].concat();
                some(count, all, draws)
            }
            Self::Broker => {
                let at = draws.below(crowd.brokers.len() as u64) as usize;
                let broker = crowd.brokers.get(at);
                let both = broker.map(|(house, clients)| (*house, one(clients, draws)));
                both.map_or_else(Vec::new, |(house, client)| [vec![house], client].concat())
            }
        }
    }
}

/// So many of them.
fn some(count: usize, mut of: Vec<u32>, draws: &mut Draws) -> Vec<u32> {
    let mut chosen = Vec::new();
    while chosen.len() < count && !of.is_empty() {
        chosen.push(of.swap_remove(draws.below(of.len() as u64) as usize));
    }
    chosen
}

/// When it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At any time that leaves so many nanoseconds before trading ends.
    Any(i64),
    /// So many nanoseconds before trading ends; once a session.
    BeforeClose(i64),
    /// So many nanoseconds before news; once for each.
    BeforeNews(i64),
}

impl When {
    /// When the `at`-th of `count` begins, in nanoseconds after the market opens at which trading that
    /// lasts `trading` begins; `None` when the session has no place for it. `news` are the times of
    /// news in the same measure.
    pub(crate) fn choose(
        self,
        (at, count): (u16, u16),
        trading: i64,
        news: &[i64],
        draws: &mut Draws,
    ) -> Option<i64> {
        match self {
            Self::Any(needs) => {
                let first = MINUTE.min(trading / 10);
                let room = trading - first - needs;
                let slot = room / i64::from(count.max(1));
                (room > 0).then(|| first + slot * i64::from(at) + draws.between(0, slot))
            }
            Self::BeforeClose(before) => (at == 0 && before < trading)
                .then(|| trading - before + draws.between(0, 10 * SECOND.min(before / 20))),
            Self::BeforeNews(before) => {
                let news = news.get(usize::from(at))?;
                (*news > before).then(|| news - before)
            }
        }
    }
}
