//! The code of guests, by digest.
//!
//! Invariant: code that is in the library was compiled, described itself well and imports nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use tapewatch_detect::{Guest, Guests};
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::answer::described;
use crate::component::{Code, Instance, describe, engine};
use crate::params::{WASM, complete};

/// Most bytes of a component's file.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// Names code: the BLAKE3 digest of its file, 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of the bytes of a file.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hash = blake3::Hash::from_hex(text);
        let hash = hash.map_err(|_| format!("{text:?} is no digest: 64 hex digits are wanted"))?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// Why code is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Too long.
    #[error("the component has {0} bytes; {FILE_BYTES_MAX} are the most")]
    Size(usize),
    /// No component.
    #[error("it is not a WebAssembly component that runs here: {0}")]
    Component(String),
    /// Wants something of its host.
    #[error(
        "the component imports {0}; a detector must import nothing: build it without WASI (see docs/use/code.md)"
    )]
    Imports(String),
    /// Cannot say what it is, or says nonsense.
    #[error("the component does not describe itself: {0}")]
    Description(String),
    /// Its table in the configuration is wrong.
    #[error("{0}")]
    Table(String),
}

/// Compiled code. Its owner brings the files in; engines take guests out.
pub struct Library {
    engine: Engine,
    codes: Mutex<BTreeMap<Digest, Arc<Code>>>,
}

impl Library {
    /// An empty one.
    ///
    /// # Errors
    /// [`LoadError::Component`] when this machine cannot run WebAssembly.
    pub fn new() -> Result<Self, LoadError> {
        let engine = engine().map_err(|error| LoadError::Component(error.to_string()))?;
        Ok(Self {
            engine,
            codes: Mutex::default(),
        })
    }

    /// Brings the bytes of a component's file in: compiles it and asks what it is. Code that is there
    /// already costs nothing; what was compiled is not kept beyond the process.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with it.
    pub fn add(&self, bytes: &[u8]) -> Result<Digest, LoadError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(LoadError::Size(bytes.len()));
        }
        let digest = Digest::of(bytes);
        if self.holds(digest) {
            return Ok(digest);
        }
        let component = Component::from_binary(&self.engine, bytes);
        let component = component.map_err(|error| LoadError::Component(format!("{error:#}")))?;
        let kind = component.component_type();
        // The names of types are no capabilities; all else is.
        let imports = kind.imports(&self.engine);
        let imports: Vec<&str> = imports
            .filter(|(_, import)| !self.is_type(&import.ty))
            .map(|(name, _)| name)
            .collect();
        if !imports.is_empty() {
            return Err(LoadError::Imports(imports.join(", ")));
        }
        let description = describe(&self.engine, &component).map_err(LoadError::Description)?;
        let described = described(description, &digest.to_string());
        let code = Code {
            engine: self.engine.clone(),
            component,
            described: described.map_err(LoadError::Description)?,
        };
        self.codes().insert(digest, Arc::new(code));
        Ok(digest)
    }

    fn is_type(&self, item: &ComponentItem) -> bool {
        match item {
            ComponentItem::Type(_) => true,
            ComponentItem::ComponentInstance(instance) => {
                let mut items = instance.exports(&self.engine);
                items.all(|(_, export)| self.is_type(&export.ty))
            }
            _ => false,
        }
    }

    /// Whether it has that code.
    #[must_use]
    pub fn holds(&self, digest: Digest) -> bool {
        self.codes().contains_key(&digest)
    }

    /// The name of the detector whose code that is; `None` when the library does not hold it.
    #[must_use]
    pub fn name(&self, digest: Digest) -> Option<&'static str> {
        let codes = self.codes();
        codes.get(&digest).map(|code| code.described.info.id)
    }

    /// The table of detector `id`, whose code is `digest`, as the configuration keeps it: the key
    /// `wasm` is the digest, all limits and parameters are there, each written in one way.
    ///
    /// # Errors
    /// [`LoadError::Table`] says what is wrong with it.
    pub fn complete(
        &self,
        id: &str,
        digest: Digest,
        table: &Map<String, Value>,
    ) -> Result<Map<String, Value>, LoadError> {
        let code = self
            .code(id, &digest.to_string())
            .map_err(LoadError::Table)?;
        let mut whole = complete(&code.described.parameters, table, &digest.to_string())
            .map_err(LoadError::Table)?;
        if let Some(switch) = table.get("enabled") {
            whole.insert("enabled".to_owned(), switch.clone());
        }
        Ok(whole)
    }

    fn code(&self, id: &str, digest: &str) -> Result<Arc<Code>, String> {
        let code = self.codes().get(&digest.parse()?).map(Arc::clone);
        let code = code.ok_or_else(|| format!("its component {digest} is not at hand"))?;
        let is = code.described.info.id;
        if is != id {
            return Err(format!(
                "its component {digest} is of a detector that is called {is}"
            ));
        }
        Ok(code)
    }

    fn codes(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<Code>>> {
        // Nothing panics while it is held, and a map is whole at any time.
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests for Library {
    fn guest(&self, id: &str, params: &Map<String, Value>) -> Result<Box<dyn Guest>, String> {
        let digest = params.get(WASM).and_then(Value::as_str);
        let code = self.code(id, digest.unwrap_or_default())?;
        Ok(Box::new(Instance::new(code, params)?))
    }
}
