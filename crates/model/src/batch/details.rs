//! The columns of a batch that not every source fills.
//!
//! Invariant: a batch has them when one of its rows, or of those it followed, tells something there,
//! and then for every row.

use std::sync::Arc;

use super::columns::pick;
use super::row::check_length;
use super::{OrderBatch, intern, recode};
use crate::details::{Details, Flags};
use crate::fixed::Quantity;
use crate::order::RowError;
use crate::text::{Interner, ORDER_ID_BYTES_MAX, TRADER_BYTES_MAX, TextColumn, check_utf8};

/// The columns; all of the batch's length.
#[derive(Debug, Clone, Default)]
pub(super) struct DetailColumns {
    accounts: Arc<Interner>,
    account: Vec<u32>,
    exec_id: TextColumn,
    display: Vec<Option<Quantity>>,
    flags: Vec<Flags>,
}

impl DetailColumns {
    fn fill(&mut self, rows: usize) {
        let none = intern(&mut self.accounts, b"").unwrap_or_default(); // nothing is UTF-8
        self.account.resize(rows, none);
        self.exec_id.push_empty(rows - self.exec_id.len());
        self.display.resize(rows, None);
        self.flags.resize(rows, Flags::NONE);
    }

    fn push(&mut self, details: &Details<'_, [u8]>) {
        // The texts were checked.
        let account = intern(&mut self.accounts, details.account).unwrap_or_default();
        self.account.push(account);
        if self.exec_id.push_bytes(details.exec_id).is_err() {
            self.exec_id.push_empty(1);
        }
        self.display.push(details.display);
        self.flags.push(details.flags);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.account.capacity() * size_of::<u32>()
            + self.exec_id.heap_bytes()
            + self.display.capacity() * size_of::<Option<Quantity>>()
            + self.flags.capacity() * size_of::<Flags>()
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.account.shrink_to_fit();
        self.exec_id.shrink_to_fit();
        self.display.shrink_to_fit();
        self.flags.shrink_to_fit();
    }
}

/// Whether the details of a row can be kept.
#[inline]
pub(super) fn check(details: &Details<'_, [u8]>) -> Result<(), RowError> {
    if details.account.is_empty() && details.exec_id.is_empty() {
        return Ok(());
    }
    check_texts(details)
}

fn check_texts(details: &Details<'_, [u8]>) -> Result<(), RowError> {
    let Details {
        account, exec_id, ..
    } = details;
    for (column, text, max) in [
        ("account", account, TRADER_BYTES_MAX),
        ("exec_id", exec_id, ORDER_ID_BYTES_MAX),
    ] {
        check_length(column, text, max)?;
        check_utf8(text).map_err(|_| super::not_utf8(column))?;
    }
    Ok(())
}

impl OrderBatch {
    /// Adds what was checked, before the row's other columns.
    #[inline]
    pub(super) fn push_details(&mut self, details: &Details<'_, [u8]>) {
        if self.details.is_some() || !details.is_empty() {
            self.put_details(details);
        }
    }

    fn put_details(&mut self, details: &Details<'_, [u8]>) {
        let rows = self.time.len();
        let columns = self.details.get_or_insert_with(|| {
            let mut columns = Box::<DetailColumns>::default();
            columns.fill(rows);
            columns
        });
        columns.push(details);
    }

    /// Fills up the columns, if there are any, to the batch's length.
    pub(super) fn pad_details(&mut self) {
        let rows = self.time.len();
        if let Some(columns) = &mut self.details {
            columns.fill(rows);
        }
    }

    /// What else a row tells; nothing when there is no such row.
    #[must_use]
    #[inline]
    pub fn details_at(&self, index: usize) -> Details<'_> {
        match &self.details {
            None => Details::default(),
            Some(columns) => Details {
                account: columns
                    .account
                    .get(index)
                    .and_then(|code| columns.accounts.get(*code))
                    .unwrap_or_default(),
                exec_id: columns.exec_id.get(index).unwrap_or_default(),
                display: columns.display.get(index).copied().flatten(),
                flags: columns.flags.get(index).copied().unwrap_or_default(),
            },
        }
    }

    /// Whether any row tells more than every source does.
    #[must_use]
    pub fn has_details(&self) -> bool {
        self.details.is_some()
    }

    /// The accounts that codes stand for, and the codes in row order; none when no row has details.
    /// The code of a row without an account is that of an empty text.
    #[must_use]
    pub fn accounts(&self) -> Option<(&Arc<Interner>, &[u32])> {
        let columns = self.details.as_ref()?;
        Some((&columns.accounts, &columns.account))
    }

    /// Marks, in row order; empty when no row has details.
    #[must_use]
    pub fn flags(&self) -> &[Flags] {
        self.details.as_ref().map_or(&[], |columns| &columns.flags)
    }

    /// Names of executions, in row order; none when no row has details.
    #[must_use]
    pub fn exec_ids(&self) -> Option<&TextColumn> {
        Some(&self.details.as_ref()?.exec_id)
    }

    /// Quantities shown, in row order; empty when no row has details.
    #[must_use]
    pub fn displays(&self) -> &[Option<Quantity>] {
        self.details
            .as_ref()
            .map_or(&[], |columns| &columns.display)
    }

    /// Puts the rows' accounts under the dictionary `accounts`, which grows where it must.
    pub fn recode_accounts(&mut self, accounts: &mut Arc<Interner>) {
        if let Some(columns) = &mut self.details {
            recode(&mut columns.account, &mut columns.accounts, accounts);
        }
    }

    /// The columns of a batch of the rows at these places, under the same dictionary.
    pub(super) fn picked_details(&self, rows: &[usize]) -> Option<Box<DetailColumns>> {
        let columns = self.details.as_ref()?;
        Some(Box::new(DetailColumns {
            accounts: Arc::clone(&columns.accounts),
            account: pick(&columns.account, rows),
            exec_id: columns.exec_id.picked(rows),
            display: pick(&columns.display, rows),
            flags: pick(&columns.flags, rows),
        }))
    }

    /// The columns of a batch that follows this one: no rows, the same dictionary.
    pub(super) fn following_details(&self) -> Option<Box<DetailColumns>> {
        let columns = self.details.as_ref()?;
        let accounts = Arc::clone(&columns.accounts);
        let short = accounts.len() <= super::DICTIONARY_MAX;
        short.then(|| {
            Box::new(DetailColumns {
                accounts,
                ..DetailColumns::default()
            })
        })
    }
}
