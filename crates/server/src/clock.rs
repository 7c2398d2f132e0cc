//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use tapewatch_model::Time;

/// Now, UTC. A clock before 1970 or after 2262 reads as the nearest end.
pub(crate) fn now() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Time::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)),
        Err(_) => Time::from_nanos(0),
    }
}
