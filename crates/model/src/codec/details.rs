//! The part of a bucket that only version 2 has: the rows' details.
//!
//! Invariant: see [`super`]; a row's account is in the dictionary, its flags are known.

use super::decode::Input;
use super::{CodecError, put_all, put_bytes, put_dictionary};
use crate::batch::OrderBatch;
use crate::details::{Details, Flags};
use crate::fixed::Quantity;
use crate::text::TRADER_BYTES_MAX;

/// A display quantity that is not there.
const NONE: i64 = -1;

/// Appends them, if there are any.
pub(super) fn put(out: &mut Vec<u8>, orders: &OrderBatch) {
    let (Some((accounts, codes)), Some(exec_ids)) = (orders.accounts(), orders.exec_ids()) else {
        return;
    };
    let accounts = put_dictionary(out, accounts, codes);
    put_all(out, &accounts, |code| code.to_le_bytes());
    put_all(out, orders.flags(), |flags| flags.bits().to_le_bytes());
    put_all(out, orders.displays(), |display| {
        display.map_or(NONE, Quantity::units).to_le_bytes()
    });
    exec_ids.iter_bytes().for_each(|text| put_bytes(out, text));
}

/// The details of a bucket's rows, still as bytes.
pub(super) struct DetailsInput<'a> {
    accounts: Vec<&'a [u8]>,
    account: &'a [[u8; 4]],
    flags: &'a [[u8; 4]],
    display: &'a [[u8; 8]],
    /// Where the rows' names of executions begin.
    pub(super) exec_ids: usize,
}

impl<'a> DetailsInput<'a> {
    pub(super) fn read(input: &mut Input<'a>, rows: usize) -> Result<Self, CodecError> {
        let mut accounts = Vec::new();
        for _ in 0..input.u32()? {
            accounts.push(input.text(TRADER_BYTES_MAX)?.as_bytes());
        }
        Ok(Self {
            accounts,
            account: input.column(rows)?,
            flags: input.column(rows)?,
            display: input.column(rows)?,
            exec_ids: input.skip_texts(rows)?,
        })
    }

    /// The details of a row, whose execution has this name.
    pub(super) fn row<'t>(
        &self,
        row: usize,
        exec_id: &'t [u8],
    ) -> Result<Details<'t, [u8]>, CodecError>
    where
        'a: 't,
    {
        let details = || {
            let account = u32::from_le_bytes(*self.account.get(row)?) as usize;
            let display = match i64::from_le_bytes(*self.display.get(row)?) {
                NONE => None,
                units => Some(Quantity::from_units(units).ok()?),
            };
            Some(Details {
                account: self.accounts.get(account).copied()?,
                exec_id,
                display,
                flags: Flags::from_bits(u32::from_le_bytes(*self.flags.get(row)?))?,
            })
        };
        details().ok_or(CodecError::Value {
            at: self.exec_ids,
            what: "a row with an unknown account or flag, or a negative quantity shown",
        })
    }
}
