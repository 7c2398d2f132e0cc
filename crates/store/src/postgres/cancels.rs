//! Whom a CancelRequest means: sessions by number and secret.
//!
//! Invariant: a request with a wrong secret does nothing, and takes as long as one with the right one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{constant_time, rand};
use bytes::Bytes;

/// Bytes of a secret: as many as clients of protocol 3.0 take.
const SECRET_BYTES: usize = 4;

/// All sessions.
#[derive(Default)]
pub(super) struct Cancels {
    sessions: Mutex<Sessions>,
}

/// The id of the query that a session runs, if it runs one.
type Query = Arc<Mutex<Option<String>>>;

#[derive(Default)]
struct Sessions {
    last: i32,
    /// Secret and query by number.
    open: HashMap<i32, (Bytes, Query)>,
}

/// A session that can be cancelled, until it is dropped.
pub(super) struct Cancellable {
    cancels: Arc<Cancels>,
    pub(super) process: i32,
    pub(super) secret: Bytes,
    query: Query,
}

impl Cancels {
    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a session; `None` when there is no randomness or no number left.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Cancellable> {
        let mut secret = [0; SECRET_BYTES];
        rand::fill(&mut secret).ok()?;
        let secret = Bytes::copy_from_slice(&secret);
        let query = Query::default();
        let mut sessions = self.sessions();
        let process = free(&sessions)?;
        sessions.last = process;
        let entry = (secret.clone(), Arc::clone(&query));
        sessions.open.insert(process, entry);
        drop(sessions);
        Some(Cancellable {
            cancels: Arc::clone(self),
            process,
            secret,
            query,
        })
    }

    /// The query that this session runs.
    pub(super) fn query(&self, process: i32, secret: &[u8]) -> Option<String> {
        let sessions = self.sessions();
        let (known, query) = sessions.open.get(&process)?;
        constant_time::verify_slices_are_equal(known, secret).ok()?;
        query.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A number above 0 that no session has.
fn free(sessions: &Sessions) -> Option<i32> {
    let mut number = sessions.last;
    for _ in 0..=sessions.open.len() {
        number = number.checked_add(1).unwrap_or(1);
        if !sessions.open.contains_key(&number) {
            return Some(number);
        }
    }
    None
}

impl Cancellable {
    /// From now on this is what it runs.
    pub(super) fn runs(&self, query: Option<String>) {
        *self.query.lock().unwrap_or_else(PoisonError::into_inner) = query;
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.cancels.sessions().open.remove(&self.process);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_finds_the_query() {
        let cancels = Arc::new(Cancels::default());
        let (one, two) = (cancels.enter().unwrap(), cancels.enter().unwrap());
        assert_ne!(one.process, two.process);
        one.runs(Some("q".into()));
        assert_eq!(cancels.query(one.process, &one.secret), Some("q".into()));
        assert_eq!(cancels.query(two.process, &two.secret), None);
        assert_eq!(cancels.query(one.process, b"wrong"), None);
        let (process, secret) = (one.process, one.secret.clone());
        drop(one);
        assert_eq!(cancels.query(process, &secret), None);
    }
}
