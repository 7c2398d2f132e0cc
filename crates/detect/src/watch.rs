//! Detectors of market behaviour: what each of them is, and what they have in common.
//!
//! Invariant: what a watch finds is a function of its instrument's rows and its parameters; its state
//! is all that it remembers.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tapewatch_model::EventTypes;

use crate::config::ConfigError;
use crate::detector::{Built, Detector, DetectorInfo, Findings, ParamMap, Registration};
use crate::params::{ParamSet, Profiles, complete};
use crate::reference::Reference;
use crate::step::{Found, Step};

/// A rule over the rows of an instrument and their market. Its state is saved and taken in as it is.
pub(crate) trait Watch:
    Clone + Default + Send + Serialize + DeserializeOwned + 'static
{
    /// Its parameters.
    type Params: ParamSet + 'static;

    /// What it is.
    const INFO: DetectorInfo;

    /// The events that it looks at.
    const EVENTS: EventTypes;

    /// Applies a row of one of its events.
    fn step(&mut self, step: &Step<'_>, params: &Profiles<Self::Params>, found: &mut Found<'_>);

    /// Entities it keeps something for.
    fn entities(&self) -> u64;

    /// What it passed over because a limit was reached.
    fn overflows(&self) -> u64 {
        0
    }
}

/// The registry's entry of a watch.
pub(crate) const fn registration<W: Watch>() -> Registration {
    Registration {
        info: &const { W::INFO },
        complete: |params| complete::<W::Params>(W::INFO.id, params),
        build: build::<W>,
    }
}

fn build<W: Watch>(set: u32, params: &ParamMap, reference: &Arc<Reference>) -> Built {
    Ok(Box::new(Watcher::<W> {
        set,
        params: Profiles::read(W::INFO.id, params, reference)?,
        watch: W::default(),
    }))
}

/// A watch, and the parameters of one set.
#[derive(Clone)]
struct Watcher<W: Watch> {
    set: u32,
    params: Profiles<W::Params>,
    watch: W,
}

impl<W: Watch> Detector for Watcher<W> {
    fn events(&self) -> EventTypes {
        // The market needs them all.
        EventTypes::ALL
    }

    fn by_step(&self) -> Option<EventTypes> {
        Some(W::EVENTS)
    }

    #[inline]
    fn step(&mut self, step: &Step<'_>, findings: &mut dyn Findings) {
        let set = self.set;
        let mut found = Found { set, findings };
        self.watch.step(step, &self.params, &mut found);
    }

    fn clear(&mut self) {
        self.watch = W::default();
    }

    fn reconfigure(
        &mut self,
        params: &ParamMap,
        reference: &Arc<Reference>,
    ) -> Result<(), ConfigError> {
        self.params = Profiles::read(W::INFO.id, params, reference)?;
        Ok(())
    }

    fn share(&mut self, _: u32, _: &ParamMap) -> Result<bool, ConfigError> {
        Ok(false)
    }

    fn copy(&self) -> Box<dyn Detector> {
        Box::new(self.clone())
    }

    fn save(&self) -> Vec<u8> {
        // Only a writer that fails can refuse: memory does not.
        postcard::to_stdvec(&self.watch).unwrap_or_default()
    }

    fn load(&mut self, saved: &[u8]) -> Result<(), String> {
        self.watch = postcard::from_bytes(saved).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn overflows(&self) -> u64 {
        self.watch.overflows()
    }

    fn entities(&self) -> u64 {
        self.watch.entities()
    }
}
