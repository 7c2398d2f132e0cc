//! The processes that this one needs: which of them are away, since when and why.
//!
//! Invariant: a peer is away from its first failed attempt until the next that works. The log says
//! both, and every half minute that it still is; `/readyz` says it at any time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about the same peer.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// The first pause before another attempt, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The peers; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Peers(Arc<Mutex<BTreeMap<String, Away>>>);

struct Away {
    since: Instant,
    said: Instant,
    attempts: u32,
    why: String,
}

impl Peers {
    /// An attempt failed; how long to pause before the next.
    pub(crate) fn away(&self, peer: &str, why: &str) -> Duration {
        let now = Instant::now();
        let mut peers = self.lock();
        let known = peers.contains_key(peer);
        let away = peers.entry(peer.to_owned()).or_insert_with(|| Away {
            since: now,
            said: now,
            attempts: 0,
            why: String::new(),
        });
        away.attempts = away.attempts.saturating_add(1);
        why.clone_into(&mut away.why);
        if !known || now.duration_since(away.said) >= SAY_EVERY {
            away.said = now;
            tracing::warn!(peer, why, attempts = away.attempts, "is away; trying again");
        }
        PAUSE
            .saturating_mul(1 << away.attempts.saturating_sub(1).min(10))
            .min(PAUSE_MAX)
    }

    /// It answers.
    pub(crate) fn back(&self, peer: &str) {
        if let Some(away) = self.lock().remove(peer) {
            let seconds = away.since.elapsed().as_secs_f64();
            tracing::info!(peer, seconds, "is back");
        }
    }

    /// Whether its last attempt failed.
    pub(crate) fn is_away(&self, peer: &str) -> bool {
        self.lock().contains_key(peer)
    }

    /// A line for each that is away.
    pub(crate) fn text(&self) -> String {
        let line = |(peer, away): (&String, &Away)| {
            format!(
                "{peer} is away since {} s: {} ({} attempts)\n",
                away.since.elapsed().as_secs(),
                away.why,
                away.attempts
            )
        };
        self.lock().iter().map(line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Away>> {
        // A thread that panicked left the map whole: every change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_away_until_it_answers_and_pauses_grow_to_a_limit() {
        let peers = Peers::default();
        let pauses: Vec<_> = (0..12)
            .map(|_| peers.away("journal at h:1", "refused"))
            .collect();
        assert!(pauses.is_sorted());
        assert_eq!(
            (pauses.first(), pauses.last()),
            (Some(&PAUSE), Some(&PAUSE_MAX))
        );
        let text = peers.text();
        assert!(
            text.contains("journal at h:1 is away") && text.contains("12 attempts"),
            "{text}"
        );
        peers.back("journal at h:1");
        assert_eq!(peers.text(), "");
    }
}
