//! Columns of few distinct texts, read by their codes.
//!
//! Invariant: what a dictionary of a file says once is looked up once; a code that is given out is
//! one of the dictionary that the batch of orders has at that moment.

use std::sync::{Arc, Weak};

use arrow::array::{Array as _, ArrayRef, AsArray as _, Int32Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;
use tapewatch_model::Interner;

/// The type that such a column is asked for as.
pub(crate) fn coded_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// A column of texts through a dictionary.
pub(crate) struct Coded {
    codes: Int32Array,
    texts: StringArray,
}

impl Coded {
    pub(crate) fn of(column: &ArrayRef) -> Result<Self, ArrowError> {
        let column = cast(column, &coded_type())?;
        let column = column.as_dictionary::<Int32Type>();
        Ok(Self {
            codes: column.keys().clone(),
            texts: column.values().as_string::<i32>().clone(),
        })
    }

    /// Number of texts in the dictionary.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Where the row's text is in the dictionary.
    #[inline]
    pub(crate) fn code(&self, index: usize) -> Option<usize> {
        if self.codes.is_null(index) {
            return None;
        }
        usize::try_from(self.codes.value(index)).ok()
    }

    /// The dictionary's text at `at`.
    pub(crate) fn text(&self, at: usize) -> Option<&[u8]> {
        let there = at < self.texts.len() && self.texts.is_valid(at);
        there.then(|| self.texts.value(at).as_bytes())
    }

    /// The row's text.
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        self.text(self.code(index)?)
    }
}

/// What the texts of one dictionary of a file are in the batch of orders that is being filled, as
/// far as it is known.
#[derive(Default)]
pub(crate) struct TextCodes {
    /// For each text, its code or [`UNKNOWN`].
    codes: Vec<u32>,
    /// The file's dictionary, kept so that no other can take its place in memory.
    texts: Option<StringArray>,
    /// The dictionary that the codes are of. While this is held nobody can change it where it is.
    of: Weak<Interner>,
}

/// No text has this code: a batch of orders has fewer rows.
const UNKNOWN: u32 = u32::MAX;

impl TextCodes {
    /// Forgets what does not hold for this column and this dictionary.
    pub(crate) fn begin(&mut self, column: &Coded, of: &Arc<Interner>) {
        let texts = &column.texts;
        let same = |known: &StringArray| {
            known.len() == texts.len()
                && known.offsets().ptr_eq(texts.offsets())
                && std::ptr::eq(known.values().as_ptr(), texts.values().as_ptr())
        };
        if !self.texts.as_ref().is_some_and(same) || self.of.as_ptr() != Arc::as_ptr(of) {
            self.codes.clear();
            self.codes.resize(texts.len(), UNKNOWN);
            self.texts = Some(texts.clone());
        }
    }

    /// The code for the text at `at`, which is looked for once.
    #[inline]
    pub(crate) fn code(&mut self, at: usize, find: impl FnOnce() -> Option<u32>) -> Option<u32> {
        let slot = self.codes.get_mut(at)?;
        if *slot == UNKNOWN {
            *slot = find()?;
        }
        Some(*slot)
    }

    /// Notes what the dictionary has grown into: codes that were known still hold.
    pub(crate) fn end(&mut self, of: &Arc<Interner>) {
        self.of = Arc::downgrade(of);
    }
}
