//! The columns of a file that need not be there, and what a row tells in them.
//!
//! Invariant: a value that is null or an empty text tells nothing.

use arrow::array::{Array as _, ArrayRef, RecordBatch, StringViewArray};
use arrow::error::ArrowError;
use tapewatch_model::{Details, Flags, RowError};

use super::columns::{Numbers, texts};
use crate::coded::Coded;

/// Those of one decoded batch; each may be missing.
pub(super) struct DetailColumns {
    account: Option<Coded>,
    exec_id: Option<StringViewArray>,
    display: Option<Numbers>,
    flags: Option<Words>,
}

/// A column of flags.
struct Words {
    column: Coded,
    /// What each text of the dictionary means.
    meanings: Vec<Result<Flags, RowError>>,
}

impl DetailColumns {
    /// The columns at these places that tell something; `None` when there is none.
    pub(super) fn of(
        batch: &RecordBatch,
        places: [Option<usize>; 4],
    ) -> Result<Option<Self>, ArrowError> {
        let tells = |column: &&ArrayRef| column.logical_null_count() < column.len();
        let columns = places.map(|place| batch.columns().get(place?).filter(tells));
        if columns.iter().all(Option::is_none) {
            return Ok(None);
        }
        let [account, exec_id, display, flags] = columns;
        Ok(Some(Self {
            account: account.map(Coded::of).transpose()?,
            exec_id: exec_id.map(texts).transpose()?,
            display: display.map(Numbers::of).transpose()?,
            flags: flags.map(Coded::of).transpose()?.map(Words::of),
        }))
    }

    /// What the row at `index` tells.
    pub(super) fn row(&self, index: usize) -> Result<Details<'_, [u8]>, RowError> {
        let account = self.account.as_ref().and_then(|texts| texts.get(index));
        let exec_id = self.exec_id.as_ref().filter(|ids| ids.is_valid(index));
        let display = self.display.as_ref().filter(|shown| shown.tells(index));
        Ok(Details {
            account: account.unwrap_or_default(),
            exec_id: exec_id.map_or(&[], |ids| ids.value(index).as_bytes()),
            display: match display {
                Some(shown) => Some(shown.quantity(index, "display_quantity")?),
                None => None,
            },
            flags: match &self.flags {
                Some(words) => words.get(index)?,
                None => Flags::NONE,
            },
        })
    }
}

impl Words {
    fn of(column: Coded) -> Self {
        let meaning = |at| Flags::parse(column.text(at).unwrap_or_default());
        let meanings = (0..column.len()).map(meaning).collect();
        Self { column, meanings }
    }

    fn get(&self, index: usize) -> Result<Flags, RowError> {
        let meaning = self.column.code(index).and_then(|at| self.meanings.get(at));
        meaning.map_or(Ok(Flags::NONE), Clone::clone)
    }
}
