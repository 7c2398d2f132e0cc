//! Saving an engine's windows, and taking them in again.
//!
//! Invariant: an engine that loaded what another saved gives the same hits from there on. What does
//! not fit (another configuration, another version of a rule, wrong bytes) is refused whole; the
//! engine is then as new.

use serde::{Deserialize, Serialize};
use tapewatch_model::{Id, Time};

use crate::alerts::OpenAlert;
use crate::codes::SavedCodes;
use crate::config::DetectConfig;
use crate::detector::{Detector, StateError};
use crate::engine::{Engine, Running, Signature};
use crate::market::SavedMarket;
use crate::markets::Markets;

/// A copy of an engine's windows: cheap to take, to be turned into bytes elsewhere.
pub struct EngineState {
    canonical: String,
    codes: SavedCodes,
    markets: Markets,
    detectors: Vec<Copied>,
}

/// A detector as it was.
struct Copied {
    signature: Signature,
    detector: Box<dyn Detector>,
    open: Vec<(u64, OpenAlert)>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    /// The configuration in its canonical form.
    config: String,
    codes: SavedCodes,
    markets: Vec<Option<SavedMarket>>,
    detectors: Vec<SavedDetector>,
}

#[derive(Serialize, Deserialize)]
struct SavedDetector {
    id: String,
    version: u32,
    windows: Vec<u8>,
    /// Entity, id of the alert, first time, last time, hits.
    open: Vec<(u64, [u8; 16], i64, i64, u64)>,
}

impl EngineState {
    /// The bytes that [`Engine::load`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let detectors = self.detectors.iter().map(|copied| {
            let open = copied.open.iter().map(|(entity, open)| {
                let OpenAlert {
                    id,
                    first,
                    last,
                    hits,
                } = open;
                (*entity, *id.bytes(), first.nanos(), last.nanos(), *hits)
            });
            SavedDetector {
                id: copied.signature.id.to_owned(),
                version: copied.signature.version,
                windows: copied.detector.save(),
                open: open.collect(),
            }
        });
        let saved = Saved {
            config: self.canonical.clone(),
            codes: self.codes.clone(),
            markets: self.markets.save(),
            detectors: detectors.collect(),
        };
        // Only a writer that fails can refuse: memory does not.
        postcard::to_stdvec(&saved).unwrap_or_default()
    }
}

impl Engine {
    /// A copy of the windows as they are now.
    #[must_use]
    pub fn state(&self) -> EngineState {
        let detectors = self.running.iter().map(|running| Copied {
            signature: running.signature,
            detector: running.detector.copy(),
            open: running.open.save(),
        });
        EngineState {
            canonical: self.config.canonical(),
            codes: self.codes.save(),
            markets: self.markets.clone(),
            detectors: detectors.collect(),
        }
    }

    /// Takes windows in that an engine of this configuration, or of the one saved with them, saved.
    ///
    /// # Errors
    /// [`StateError`] says what does not fit; the engine is then empty.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let loaded = self.load_all(bytes);
        if loaded.is_err() {
            self.clear();
        }
        loaded
    }

    fn load_all(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let wrong = |detector: &str, reason: String| StateError {
            detector: detector.to_owned(),
            reason,
        };
        let saved: Saved = postcard::from_bytes(bytes).map_err(|e| wrong("all", e.to_string()))?;
        let config = DetectConfig::from_canonical(&saved.config)
            .map_err(|error| wrong("all", error.to_string()))?;
        self.reconfigure(&config)
            .map_err(|error| wrong("all", error.to_string()))?;
        if saved.detectors.len() != self.running.len() {
            return Err(wrong("all", "it is of other detectors".to_owned()));
        }
        for (running, saved) in self.running.iter_mut().zip(saved.detectors) {
            load_detector(running, saved)?;
        }
        if !self.codes.load(&saved.codes) {
            return Err(wrong("all", "a name is there twice".to_owned()));
        }
        self.markets.load(saved.markets);
        Ok(())
    }
}

fn load_detector(running: &mut Running, saved: SavedDetector) -> Result<(), StateError> {
    let info = running.signature;
    let wrong = |reason: String| StateError {
        detector: saved.id.clone(),
        reason,
    };
    if saved.id != info.id {
        return Err(wrong(format!("it is not of detector {}", info.id)));
    }
    if saved.version != info.version {
        let (was, is) = (saved.version, info.version);
        return Err(wrong(format!(
            "it is of version {was} of the rule, this is {is}"
        )));
    }
    running.detector.load(&saved.windows).map_err(wrong)?;
    let open = saved
        .open
        .into_iter()
        .map(|(entity, id, first, last, hits)| {
            let open = OpenAlert {
                id: Id::from_bytes(id),
                first: Time::from_nanos(first),
                last: Time::from_nanos(last),
                hits,
            };
            (entity, open)
        });
    running.open.load(open);
    Ok(())
}
