//! The line between one who trades and the venue.
//!
//! Invariant: commands arrive in the order in which they were sent, each later than the one before it.

use std::collections::VecDeque;

use tapewatch_model::{Time, TimeSpan};

use super::draws::Draws;
use crate::command::Command;
use crate::exchange::Instrument;

/// The least time between two commands, and the most that is drawn on top of it, in nanoseconds.
const GAP: i64 = 900;
const GAP_DRAWN: i64 = 2_600;

/// A line, with what is on its way.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    out: VecDeque<(Time, Instrument, Command)>,
    /// On average, in nanoseconds.
    latency: i64,
}

impl Line {
    pub(crate) const fn new(latency: i64) -> Self {
        Self {
            out: VecDeque::new(),
            latency,
        }
    }

    /// Sends a command. When nothing else is on its way, that is when the line must be looked at.
    pub(crate) fn send(
        &mut self,
        now: Time,
        draws: &mut Draws,
        instrument: Instrument,
        command: Command,
    ) -> Option<Time> {
        let gap = GAP + draws.between(0, GAP_DRAWN);
        let half = self.latency / 2;
        let arrives = match self.out.back() {
            // What is sent at once goes out together.
            Some((last, ..)) => {
                let own = after(now, half);
                after(*last, gap).max(own)
            }
            None => after(now, half + draws.wait(half).max(1)),
        };
        let first = self.out.is_empty();
        self.out.push_back((arrives, instrument, command));
        first.then_some(arrives)
    }

    /// When the last command that is on its way arrives.
    pub(crate) fn busy_until(&self) -> Option<Time> {
        self.out.back().map(|(arrives, ..)| *arrives)
    }

    /// The command that arrives now, and when the next one does.
    pub(crate) fn arrive(&mut self) -> (Option<(Instrument, Command)>, Option<Time>) {
        let command = self.out.pop_front();
        let next = self.out.front().map(|(arrives, ..)| *arrives);
        (
            command.map(|(_, instrument, command)| (instrument, command)),
            next,
        )
    }
}

/// So many nanoseconds later.
pub(crate) fn after(time: Time, nanos: i64) -> Time {
    time.saturating_add(TimeSpan::from_nanos(nanos))
}
