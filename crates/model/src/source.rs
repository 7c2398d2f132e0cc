//! What every source of orders looks like to the engine and the journal: batches, one after another.
//!
//! Invariant: a row of the source appears exactly once, as an order or as a dead letter, in source
//! order, whatever the batch size; orders are numbered by their data row in the source, from 1,
//! refused rows counted too.

use crate::batch::OrderBatch;
use crate::dead_letter::DeadLetter;
use crate::order::EventTypes;

/// How far a source has been read, in its own bytes (of an unknown total: 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes (or, where a source has no bytes, rows) read.
    pub done: u64,
    /// Bytes (or rows) in all.
    pub total: u64,
    /// Rows that were passed over because their events are not wanted.
    pub passed_over: u64,
}

/// A source cannot be read on; a single bad row is a [`DeadLetter`] instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {message}")]
pub struct SourceError {
    /// File or other name of the source.
    pub source_name: String,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// What a source tells of its rows beyond what every source tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tells {
    /// Who trades.
    pub trader: bool,
    /// Both sides of an execution under one name.
    pub exec_id: bool,
    /// Whose orders are clients' and whose the firm's own.
    pub capacity: bool,
}

impl Tells {
    /// Everything.
    pub const ALL: Self = Self {
        trader: true,
        exec_id: true,
        capacity: true,
    };
    /// Nothing beyond what every source tells.
    pub const NOTHING: Self = Self {
        trader: false,
        exec_id: false,
        capacity: false,
    };
}

/// A source of orders.
pub trait OrderSource {
    /// Clears `orders` and reads up to `rows_max` (at least 1) rows of the source into it and
    /// `dead_letters` (which is appended to). `false` when nothing was left to read.
    ///
    /// # Errors
    /// [`SourceError`] when the source itself fails.
    fn next_batch(
        &mut self,
        rows_max: usize,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, SourceError>;

    /// Asks for these events alone. A source may then pass over other rows without looking at more
    /// of them than what kind they are; those rows are counted and keep their numbers. It must not
    /// leave out what cannot be told from a wanted row.
    fn want(&mut self, events: EventTypes) {
        let _ = events;
    }

    /// What its rows may tell; a source that does not know it may tell everything.
    fn tells(&self) -> Tells {
        Tells::ALL
    }

    /// How far it has been read.
    fn progress(&self) -> Progress;
}

impl<S: OrderSource + ?Sized> OrderSource for Box<S> {
    fn next_batch(
        &mut self,
        rows_max: usize,
        orders: &mut OrderBatch,
        dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, SourceError> {
        (**self).next_batch(rows_max, orders, dead_letters)
    }

    fn want(&mut self, events: EventTypes) {
        (**self).want(events);
    }

    fn tells(&self) -> Tells {
        (**self).tells()
    }

    fn progress(&self) -> Progress {
        (**self).progress()
    }
}
