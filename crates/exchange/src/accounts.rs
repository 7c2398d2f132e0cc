//! Who stands behind the codes in the events: accounts, the traders who trade for them, their owners.
//!
//! Invariant: all accounts of a session are there from its start, each with a trader and an owner;
//! accounts are linked when they have the same owner.

use std::collections::BTreeMap;

/// For whom an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// For the trader's own firm.
    Principal,
    /// For a client.
    Agency,
}

/// One account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The number of the trader who trades for it.
    pub trader: u32,
    /// The number of its owner.
    pub owner: u32,
    /// For whom it is.
    pub capacity: Capacity,
}

/// The accounts of a session; the code of an account is its place, from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts(Vec<Account>);

impl Accounts {
    /// The account with a code.
    #[must_use]
    pub fn get(&self, code: u32) -> Option<&Account> {
        self.0.get(code as usize)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of the trader who trades for an account: its own code where nothing else is known.
    #[must_use]
    pub fn trader(&self, code: u32) -> u32 {
        self.get(code).map_or(code, |account| account.trader)
    }

    /// The name of an account in the rows.
    #[must_use]
    pub fn account_name(code: u32) -> String {
        format!("A{code}")
    }

    /// The name of a trader in the rows.
    #[must_use]
    pub fn trader_name(trader: u32) -> String {
        format!("T{trader}")
    }

    /// The accounts that are linked with others, each with the name of its owner, in the order of their
    /// codes.
    #[must_use]
    pub fn linked(&self) -> Vec<(String, String)> {
        let mut owned: BTreeMap<u32, u32> = BTreeMap::new();
        for account in &self.0 {
            *owned.entry(account.owner).or_default() += 1;
        }
        let all = (0..).zip(&self.0);
        let linked = all.filter(|(_, account)| owned.get(&account.owner) > Some(&1));
        linked
            .map(|(code, account)| (Self::account_name(code), format!("O{}", account.owner)))
            .collect()
    }

    /// Adds an account of its own trader and owner and says its code.
    pub(crate) fn open(&mut self) -> u32 {
        let code = self.0.len() as u32;
        self.0.push(Account {
            trader: code,
            owner: code,
            capacity: Capacity::Principal,
        });
        code
    }

    pub(crate) fn get_mut(&mut self, code: u32) -> Option<&mut Account> {
        self.0.get_mut(code as usize)
    }
}
