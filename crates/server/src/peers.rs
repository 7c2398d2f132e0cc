//! The processes that this one needs: which of them answer, which are away, since when and why.
//!
//! Invariant: a peer is away from its first failed attempt until the next that works. The log says
//! both, and every half minute that it still is; `/readyz` and the status say it at any time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tapewatch_model::Time;
use utoipa::ToSchema;

use crate::clock;

/// Between two lines about the same peer.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// The first pause before another attempt, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A role, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerName {
    pub(crate) role: &'static str,
    /// `host:port`.
    pub(crate) address: String,
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.role, self.address)
    }
}

/// The peers; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Peers(Arc<Mutex<BTreeMap<PeerName, Peer>>>);

struct Peer {
    /// Since when it answers, or does not.
    since: Time,
    away: Option<Away>,
    /// Last sequence number that it is known to have; 0: none.
    last_seq: Arc<AtomicU64>,
}

struct Away {
    since: Instant,
    said: Instant,
    attempts: u32,
    why: String,
    /// It answered, and is another role than the one that it is configured as.
    misplaced: bool,
}

/// How a peer stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PeerStatus {
    /// What it does: `journal`, `engine`, `recent`, `history`.
    role: &'static str,
    /// `host:port`, as configured.
    address: String,
    state: PeerState,
    /// Since when, UTC.
    since: String,
    /// What went wrong at the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    why: Option<String>,
    /// Attempts in vain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    attempts: Option<u32>,
    /// Last sequence number that it is known to have: of the journal the last row, of others the last
    /// that they have applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_seq: Option<u64>,
    /// Sequence numbers by which it is behind the journal, where a gateway tells of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lag: Option<u64>,
}

/// Whether a peer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PeerState {
    /// The last attempt worked.
    Connected,
    /// The last attempt failed; there will be another.
    Waiting,
}

impl Peers {
    /// An attempt failed; how long to pause before the next.
    pub(crate) fn away(&self, name: &PeerName, why: &str) -> Duration {
        self.note(name, why, false)
    }

    fn note(&self, name: &PeerName, why: &str, misplaced: bool) -> Duration {
        let now = Instant::now();
        let mut peers = self.lock();
        let peer = peers.entry(name.clone()).or_insert_with(Peer::new);
        let known = peer.away.is_some();
        if !known {
            peer.since = clock::now();
        }
        let away = peer.away.get_or_insert_with(|| Away {
            since: now,
            said: now,
            attempts: 0,
            why: String::new(),
            misplaced,
        });
        away.misplaced = misplaced;
        away.attempts = away.attempts.saturating_add(1);
        why.clone_into(&mut away.why);
        if !known || now.duration_since(away.said) >= SAY_EVERY {
            away.said = now;
            tracing::warn!(peer = %name, why, attempts = away.attempts, "is away; trying again");
        }
        PAUSE
            .saturating_mul(1 << away.attempts.saturating_sub(1).min(10))
            .min(PAUSE_MAX)
    }

    /// It answers, and is another role than the one that it is configured as.
    pub(crate) fn misplaced(&self, name: &PeerName, why: &str) {
        self.note(name, why, true);
    }

    /// Why it must not be asked for anything, when it is not what it is configured as.
    pub(crate) fn why_misplaced(&self, name: &PeerName) -> Option<String> {
        let peers = self.lock();
        let away = peers.get(name)?.away.as_ref()?;
        away.misplaced.then(|| away.why.clone())
    }

    /// Whether any is not what it is configured as.
    pub(crate) fn any_misplaced(&self) -> bool {
        let peers = self.lock();
        let mut away = peers.values().filter_map(|peer| peer.away.as_ref());
        away.any(|away| away.misplaced)
    }

    /// Whether it was ever asked.
    pub(crate) fn knows(&self, name: &PeerName) -> bool {
        self.lock().contains_key(name)
    }

    /// It answers.
    pub(crate) fn back(&self, name: &PeerName) {
        let mut peers = self.lock();
        let peer = peers.entry(name.clone()).or_insert_with(Peer::new);
        if let Some(away) = peer.away.take() {
            peer.since = clock::now();
            let seconds = away.since.elapsed().as_secs_f64();
            tracing::info!(peer = %name, seconds, "is back");
        }
    }

    /// Whether its last attempt failed.
    pub(crate) fn is_away(&self, name: &PeerName) -> bool {
        let peers = self.lock();
        peers.get(name).is_some_and(|peer| peer.away.is_some())
    }

    /// The last sequence number that a peer is known to have, to be set and read.
    pub(crate) fn last_seq(&self, name: &PeerName) -> Arc<AtomicU64> {
        let mut peers = self.lock();
        let peer = peers.entry(name.clone()).or_insert_with(Peer::new);
        Arc::clone(&peer.last_seq)
    }

    /// The last sequence number that any of a role is known to have; 0: none.
    pub(crate) fn last_seq_of(&self, role: &str) -> u64 {
        let peers = self.lock();
        let of_role = peers.iter().filter(|(name, _)| name.role == role);
        let seqs = of_role.map(|(_, peer)| peer.last_seq.load(Ordering::Relaxed));
        seqs.max().unwrap_or(0)
    }

    /// How each stands. With `behind` what is known of the journal, how far each is behind that.
    pub(crate) fn status(&self, behind: Option<u64>) -> Vec<PeerStatus> {
        let one = |(name, peer): (&PeerName, &Peer)| {
            let last_seq = Some(peer.last_seq.load(Ordering::Relaxed)).filter(|seq| *seq > 0);
            let away = peer.away.as_ref();
            PeerStatus {
                role: name.role,
                address: name.address.clone(),
                state: match away {
                    None => PeerState::Connected,
                    Some(_) => PeerState::Waiting,
                },
                since: peer.since.to_string(),
                why: away.map(|away| away.why.clone()),
                attempts: away.map(|away| away.attempts),
                last_seq,
                lag: last_seq.and_then(|seq| Some(behind?.saturating_sub(seq))),
            }
        };
        self.lock().iter().map(one).collect()
    }

    /// Each, and whether it is away.
    pub(crate) fn each(&self, mut tell: impl FnMut(&PeerName, bool)) {
        for (name, peer) in &*self.lock() {
            tell(name, peer.away.is_some());
        }
    }

    /// A line for each that is away.
    pub(crate) fn text(&self) -> String {
        let line = |(name, peer): (&PeerName, &Peer)| {
            let away = peer.away.as_ref()?;
            Some(format!(
                "{name} is away since {} s: {} ({} attempts)\n",
                away.since.elapsed().as_secs(),
                away.why,
                away.attempts
            ))
        };
        self.lock().iter().filter_map(line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerName, Peer>> {
        // A thread that panicked left the map whole: every change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn new() -> Self {
        Self {
            since: clock::now(),
            away: None,
            last_seq: Arc::default(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_away_until_it_answers_and_pauses_grow_to_a_limit() {
        let peers = Peers::default();
        let journal = PeerName {
            role: "journal",
            address: "h:1".to_owned(),
        };
        let pauses: Vec<_> = (0..12).map(|_| peers.away(&journal, "refused")).collect();
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
        let told = serde_json::to_value(peers.status(Some(9))).unwrap();
        assert_eq!(told[0]["state"], "waiting");
        assert_eq!(told[0]["why"], "refused");
        assert!(told[0].get("last_seq").is_none() && told[0].get("lag").is_none());
        peers.back(&journal);
        assert_eq!(peers.text(), "");
        peers.last_seq(&journal).store(7, Ordering::Relaxed);
        assert_eq!(peers.last_seq_of("journal"), 7);
        let told = serde_json::to_value(peers.status(Some(9))).unwrap();
        assert_eq!(told[0]["state"], "connected");
        assert_eq!(
            (&told[0]["last_seq"], &told[0]["lag"]),
            (&7.into(), &2.into())
        );
        assert!(told[0].get("why").is_none());
    }
}
