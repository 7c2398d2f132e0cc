//! Those who play a pattern: a script in steps, which waits for times, fills and moments.
//!
//! Invariant: a script sees the public book, the tape and its own orders, like everybody; what it
//! sends reaches the venue later, and it learns of fills later. It runs only when the simulation
//! polls it: nothing here waits on a clock. A step that is over leaves no trace but orders and labels.

mod casting;
mod desk;
mod state;
mod tactics;
mod ticket;
mod view;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use tapewatch_model::Time;

use crate::simulation::Line;
pub(crate) use casting::{Cast, When};
pub(crate) use desk::Desk;
pub(crate) use state::Brief;
pub(crate) use tactics::{Meeting, away, gain};
pub(crate) use ticket::Ticket;
pub(crate) use view::View;

/// Nanoseconds.
pub(crate) const MILLI: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1_000 * MILLI;
pub(crate) const MINUTE: i64 = 60 * SECOND;

/// The steps of a script.
pub(crate) type Play = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who plays a pattern, when, and how.
pub(crate) type Direction = (Cast, When, fn(Desk) -> Play);

/// The direction of a module that has `CAST`, `WHEN` and `play`.
macro_rules! direction {
    ($module:ident) => {
        ($module::CAST, $module::WHEN, |desk| {
            Box::pin($module::play(desk))
        })
    };
}
pub(crate) use direction;

/// A script on its way.
pub(crate) struct Script {
    play: Option<Play>,
    pub(crate) desk: Desk,
    pub(crate) line: Line,
    /// Whether those who play do nothing else meanwhile.
    pub(crate) alone: bool,
    /// When it is polled next by its own wish.
    scheduled: Option<Time>,
}

impl Script {
    pub(crate) fn new(play: Play, desk: Desk, line: Line, alone: bool) -> Self {
        Self {
            play: Some(play),
            desk,
            line,
            alone,
            scheduled: None,
        }
    }

    /// Runs it as far as it can go now. Gives when it is to be polled again, unless it will be anyway.
    pub(crate) fn poll(&mut self, now: Time) -> Option<Time> {
        if self.scheduled.is_some_and(|scheduled| scheduled <= now) {
            self.scheduled = None;
        }
        let play = self.play.as_mut()?;
        let mut context = Context::from_waker(Waker::noop());
        if play.as_mut().poll(&mut context).is_ready() {
            self.play = None;
            return None;
        }
        let wish = self.desk.with(|state| state.wish.take())?;
        if self.scheduled.is_some_and(|scheduled| scheduled <= wish) {
            return None;
        }
        self.scheduled = Some(wish);
        Some(wish)
    }

    /// Whether it has come to its end.
    pub(crate) const fn is_over(&self) -> bool {
        self.play.is_none()
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script")
            .field("over", &self.is_over())
            .field("scheduled", &self.scheduled)
            .finish_non_exhaustive()
    }
}
