//! Which process tells what it finds in which share of the instruments.
//!
//! Invariant: of a share one process at a time is heard, over any number of connections; another is
//! refused until the last of these has ended, by itself or because nothing came on it for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tapewatch_detect::Shard;

/// The shares that are told of; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Sharers(Arc<Mutex<Claims>>);

/// By index and count of a share: the run of a process, and its connections.
type Claims = BTreeMap<(u32, u32), (u64, usize)>;

/// What a connection has of a share, until it is dropped.
pub(super) struct Claim {
    sharers: Sharers,
    share: (u32, u32),
    run: u64,
}

impl Sharers {
    /// With the share that this very process detects in, if it does.
    pub(crate) fn with_own(share: Option<Shard>) -> Self {
        let sharers = Self::default();
        if let Some(share) = share {
            sharers.lock().insert((share.index, share.count), (0, 1)); // for ever
        }
        sharers
    }

    /// Claims a share for a connection of the process whose run is called so.
    ///
    /// # Errors
    /// Another process has it: what to do.
    pub(super) fn claim(&self, share: Shard, run: u64) -> Result<Claim, String> {
        let key = (share.index, share.count);
        let mut claims = self.lock();
        let (owner, connections) = claims.entry(key).or_insert((run, 0));
        if *owner != run {
            return Err(format!(
                "another engine with the share {}/{} is connected: stop it, or give this one another share \
                 (engine.share); one that has crashed is forgotten after 15 s",
                share.index, share.count
            ));
        }
        *connections += 1;
        drop(claims);
        Ok(Claim {
            sharers: self.clone(),
            share: key,
            run,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Claims> {
        // Every change is one step: a thread that panicked left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Whether it is of this share and run.
    pub(super) fn is_of(&self, share: Shard, run: u64) -> bool {
        self.share == (share.index, share.count) && self.run == run
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.sharers.lock();
        if let Some((_, connections)) = claims.get_mut(&self.share) {
            *connections = connections.saturating_sub(1);
            if *connections == 0 {
                claims.remove(&self.share);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_share_belongs_to_one_process_until_its_last_connection_ends() {
        let half = Shard { index: 1, count: 2 };
        let sharers = Sharers::with_own(Some(Shard { index: 0, count: 2 }));
        let own = sharers.claim(Shard { index: 0, count: 2 }, 7);
        assert!(own.err().unwrap().contains("the share 0/2 is connected"));
        let first = sharers.claim(half, 7).unwrap();
        // The same process again: its first connection may be half-dead.
        let again = sharers.claim(half, 7).unwrap();
        assert!(again.is_of(half, 7) && !again.is_of(half, 8));
        assert!(sharers.claim(half, 8).is_err());
        drop(first);
        assert!(sharers.claim(half, 8).is_err());
        drop(again);
        assert!(sharers.claim(half, 8).is_ok());
    }
}
