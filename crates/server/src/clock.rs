//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use tapewatch_model::Time;

#[cfg(test)]
thread_local! {
    /// What the clock says in a simulation.
    pub(crate) static SAYS: std::cell::Cell<Option<Time>> = const { std::cell::Cell::new(None) };
}

/// Now, UTC. A clock before 1970 or after 2262 reads as the nearest end.
pub(crate) fn now() -> Time {
    #[cfg(test)]
    if let Some(says) = SAYS.get() {
        return says;
    }
    let now = system();
    #[cfg(debug_assertions)]
    let now = crate::faults::clock(now);
    now
}

fn system() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Time::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)),
        Err(_) => Time::from_nanos(0),
    }
}
