//! Where the roles in other processes are.
//!
//! Invariant: what was checked are places that can be dialled, `host:port`, none twice in a list.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The places, each `host:port`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeersConfig {
    pub(crate) journal: String,
    pub(crate) recent: Vec<String>,
    pub(crate) engine: Vec<String>,
    pub(crate) history: String,
    pub(crate) scheduler: String,
}

impl Default for PeersConfig {
    /// Ports are those of the reference system.
    fn default() -> Self {
        let peer = |port: u16| format!("127.0.0.1:{port}");
        Self {
            journal: peer(5011),
            recent: vec![peer(5012)],
            engine: vec![peer(5013)],
            history: peer(5015),
            scheduler: peer(50050),
        }
    }
}

impl PeersConfig {
    /// Checks that these can be places of roles.
    ///
    /// # Errors
    /// The key, its value, and how to write it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for (key, place) in [
            ("journal", &self.journal),
            ("history", &self.history),
            ("scheduler", &self.scheduler),
        ] {
            if let Err(why) = check(place) {
                let text = format!("is {place:?}: {why}; write a place such as 10.0.0.7:5011");
                return Err(refuse(key, &text));
            }
        }
        for (key, places) in [("recent", &self.recent), ("engine", &self.engine)] {
            let example = "write a list of places such as [\"10.0.0.7:5012\", \"10.0.0.8:5012\"]";
            for (at, place) in places.iter().enumerate() {
                if let Err(why) = check(place) {
                    return Err(refuse(key, &format!("has {place:?}: {why}; {example}")));
                }
                if places.iter().take(at).any(|before| before == place) {
                    return Err(refuse(key, &format!("has {place:?} twice; {example}")));
                }
            }
            // Engines are asked nothing by a gateway; without a `recent` nothing can be answered.
            if places.is_empty() && key == "recent" {
                return Err(refuse(key, &format!("is []: one is needed; {example}")));
            }
        }
        Ok(())
    }
}

fn refuse(key: &str, what: &str) -> Failure {
    Failure::usage(format!("configuration: peers.{key} {what}"))
}

fn check(place: &str) -> Result<(), &'static str> {
    let (host, port) = place.rsplit_once(':').ok_or("it has no port")?;
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    match inside {
        Some(inside) if inside.parse::<std::net::Ipv6Addr>().is_ok() => {}
        None if !host.is_empty() && host.chars().all(plain) => {}
        None if host.is_empty() => return Err("it has no host"),
        _ => return Err("its host is no name and no address"),
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err("its port is no number from 1 to 65535"),
    }
}
