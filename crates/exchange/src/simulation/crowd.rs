//! The honest population of one instrument: who is let in, and who belongs to whom.
//!
//! Invariant: the crowd of an instrument is the same whatever other instruments there are, and
//! whatever is played.

use super::draws::Draws;
use super::{Simulation, institution::Institution, maker::Maker, noise::Noise, trend::Trend};
use crate::accounts::{Accounts, Capacity};
use crate::exchange::Instrument;
use crate::simulation::agent::Kind;

/// Lots of the smaller parent orders of institutions, and of clients.
const INSTITUTION: u64 = 500;
const CLIENT: u64 = 150;
/// How often the most active noise trader looks, and how much less often the least active.
const LOOKS_EVERY: i64 = 4_000_000_000;
const LOOKS_LATER: i64 = 75_000_000_000;
/// Noise traders, from the last one on, who are linked; and how they are.
const LINKED: u32 = 7;

/// The accounts of an instrument's honest traders, by what they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd {
    pub(crate) makers: Vec<u32>,
    pub(crate) active: Vec<u32>,
    pub(crate) quiet: Vec<u32>,
    /// Accounts of one owner each, whose traders differ.
    pub(crate) linked: Vec<Vec<u32>>,
    /// Two funds that one manager trades for.
    pub(crate) funds: Vec<u32>,
    /// Brokers: their own account, their clients'.
    pub(crate) brokers: Vec<(u32, Vec<u32>)>,
}

impl Simulation {
    /// Lets in the agents of an instrument.
    pub(super) fn populate(&mut self, instrument: Instrument) -> Crowd {
        let agents = self.scenario.agents;
        let mut crowd = Crowd::default();
        for _ in 0..agents.makers {
            let maker = |draws: &mut Draws| Kind::Maker(Maker::new(draws));
            crowd.makers.push(self.enlist(instrument, 60_000, maker));
        }
        for number in 0..agents.noise {
            let part = i64::from(number) * 1_000 / i64::from(agents.noise);
            let looks_every = LOOKS_EVERY + LOOKS_LATER * part * part / 1_000_000;
            let account = self.enlist(instrument, 8_000_000, |draws| {
                let size = draws.between(2, 9) as u64;
                Kind::Noise(Noise { looks_every, size })
            });
            match agents.noise - number {
                left if left > LINKED && part < 500 => crowd.active.push(account),
                left if left > LINKED || agents.noise <= LINKED => crowd.quiet.push(account),
                6 | 7 => crowd.funds.push(account),
                left => {
                    let (group, first) = if left > 2 {
                        (0, left == 5)
                    } else {
                        (1, left == 2)
                    };
                    if first {
                        crowd.linked.push(Vec::new());
                    }
                    crowd
                        .linked
                        .get_mut(group)
                        .into_iter()
                        .for_each(|linked| linked.push(account));
                }
            }
        }
        for _ in 0..agents.momentum {
            self.enlist(instrument, 300_000, |draws| {
                Kind::Trend(Trend::momentum(draws))
            });
        }
        for _ in 0..agents.reversion {
            self.enlist(instrument, 2_000_000, |draws| {
                Kind::Trend(Trend::reversion(draws))
            });
        }
        for _ in 0..agents.institutions {
            let kind = |_: &mut Draws| Kind::Institution(Institution::new(INSTITUTION));
            self.enlist(instrument, 3_000_000, kind);
        }
        for _ in 0..agents.brokers {
            let house = |_: &mut Draws| {
                Kind::Noise(Noise {
                    looks_every: 2 * LOOKS_EVERY,
                    size: 4,
                })
            };
            let house = self.enlist(instrument, 1_000_000, house);
            let client = |_: &mut Draws| Kind::Institution(Institution::new(CLIENT));
            let clients = (0..agents.clients).map(|_| self.enlist(instrument, 4_000_000, client));
            crowd.brokers.push((house, clients.collect()));
        }
        crowd.link(&mut self.accounts);
        crowd
    }
}

impl Crowd {
    /// Says in the accounts who belongs to whom.
    fn link(&self, accounts: &mut Accounts) {
        let mut own = |group: &[u32], manager: bool| {
            let Some(first) = group.first() else {
                return;
            };
            for account in group {
                if let Some(account) = accounts.get_mut(*account) {
                    account.owner = *first;
                    account.trader = if manager { *first } else { account.trader };
                }
            }
        };
        self.linked.iter().for_each(|group| own(group, false));
        own(&self.funds, true);
        for (house, clients) in &self.brokers {
            for client in clients {
                if let Some(client) = accounts.get_mut(*client) {
                    client.trader = *house;
                    client.capacity = Capacity::Agency;
                }
            }
        }
    }
}
