//! Files of detectors that users bring as WebAssembly components: found, brought into the library,
//! and kept beside the journal.
//!
//! Invariant: a configuration names a component by its digest, and whoever judges by that
//! configuration runs exactly those bytes or stops and says which file is missing. What a journal
//! names is kept in the data directory before the journal names it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tapewatch_detect::{DetectConfig, Guest, Guests};
use tapewatch_guest::{Digest, FILE_BYTES_MAX, Library, LoadError};

use crate::failure::Failure;

/// Directory of the components inside the data directory; each is called by its digest.
const GUESTS_DIR: &str = "guests";
/// The key of a table that names a file.
const WASM: &str = "wasm";

/// All that this process has. A component is named by its content, so one table serves all.
static FILES: LazyLock<Arc<Files>> = LazyLock::new(|| {
    Arc::new(Files {
        library: Library::new(),
        known: Mutex::default(),
    })
});

struct Files {
    library: Result<Library, LoadError>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Files that were named.
    paths: BTreeMap<Digest, PathBuf>,
    /// Directories to look in.
    dirs: Vec<PathBuf>,
}

/// Where engines get their guests.
pub(crate) fn provider() -> Arc<dyn Guests> {
    Arc::<Files>::clone(&FILES)
}

/// Looks for components in this data directory too.
pub(crate) fn look_in(data: &Path) {
    let dir = data.join(GUESTS_DIR);
    let mut known = FILES.known();
    if !known.dirs.contains(&dir) {
        known.dirs.push(dir);
    }
}

/// Puts the digest of its component, its limits and its parameters into every table that names a
/// file.
pub(crate) fn resolve(detectors: &mut Map<String, Value>) -> Result<(), Failure> {
    for (id, table) in detectors {
        let Some(given) = table.as_object().filter(|table| table.contains_key(WASM)) else {
            continue;
        };
        let refuse = |reason: String| {
            Failure::usage(format!("configuration: detectors: detector {id}: {reason}"))
        };
        let wasm = given.get(WASM).and_then(Value::as_str);
        let wasm = wasm.ok_or_else(|| refuse(format!("{WASM} must be the path of a file")))?;
        let digest = match wasm.parse() {
            Ok(digest) => FILES.bring(digest).map(|()| digest),
            Err(_) => FILES.read(Path::new(wasm)),
        };
        let whole = digest.and_then(|digest| {
            let whole = FILES.library()?.complete(id, digest, given);
            whole.map_err(|error| error.to_string())
        });
        *table = Value::Object(whole.map_err(refuse)?);
    }
    Ok(())
}

/// A configuration with the detector of a file, at its defaults.
pub(crate) fn with_file(config: &DetectConfig, path: &Path) -> Result<DetectConfig, Failure> {
    let table = || {
        let digest = FILES.read(path)?;
        let library = FILES.library()?;
        let id = library.name(digest).unwrap_or_default(); // it is there now
        let table = library.complete(id, digest, &Map::new());
        Ok((id, table.map_err(|error| error.to_string())?))
    };
    let (id, table) =
        table().map_err(|reason: String| Failure::usage(format!("--guest: {reason}")))?;
    let mut tables: Map<String, Value> =
        serde_json::from_str(&config.canonical()).map_err(Failure::run)?;
    tables.insert(id.to_owned(), Value::Object(table));
    let with = DetectConfig::from_canonical(&Value::Object(tables).to_string());
    with.map_err(|error| Failure::usage(format!("--guest: {error}")))
}

/// Copies the files that were named into the data directory: a replay of its journal needs them.
pub(crate) fn keep(data: &Path) -> Result<(), Failure> {
    let dir = data.join(GUESTS_DIR);
    let known = FILES.known();
    for (digest, path) in &known.paths {
        let kept = kept_name(&dir, *digest);
        if kept.is_file() {
            continue;
        }
        let copy = || {
            fs::create_dir_all(&dir)?;
            let part = dir.join("component.part");
            let mut file = fs::File::create(&part)?;
            file.write_all(&fs::read(path)?)?;
            file.sync_all()?;
            fs::rename(&part, &kept)?;
            fs::File::open(&dir)?.sync_all()
        };
        let copied: std::io::Result<()> = copy();
        copied.map_err(|error| {
            Failure::run(format!(
                "{} cannot be kept as {}: {error}",
                path.display(),
                kept.display()
            ))
        })?;
    }
    Ok(())
}

fn kept_name(dir: &Path, digest: Digest) -> PathBuf {
    dir.join(format!("{digest}.wasm"))
}

impl Files {
    fn library(&self) -> Result<&Library, String> {
        self.library.as_ref().map_err(ToString::to_string)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held, and it is whole at any time.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a file into the library.
    fn read(&self, path: &Path) -> Result<Digest, String> {
        let wrong = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
        let length = fs::metadata(path).map_err(|error| wrong(&error))?.len();
        if length > FILE_BYTES_MAX as u64 {
            return Err(wrong(&LoadError::Size(FILE_BYTES_MAX.saturating_add(1))));
        }
        let bytes = fs::read(path).map_err(|error| wrong(&error))?;
        let digest = self.library()?.add(&bytes).map_err(|error| wrong(&error))?;
        self.known().paths.insert(digest, path.to_owned());
        Ok(digest)
    }

    /// Brings in the component of this digest.
    fn bring(&self, digest: Digest) -> Result<(), String> {
        if self.library()?.holds(digest) {
            return Ok(());
        }
        let dirs = self.known().dirs.clone();
        for dir in &dirs {
            let kept = kept_name(dir, digest);
            if kept.is_file() {
                return match self.read(&kept)? {
                    is if is == digest => Ok(()),
                    is => Err(format!("{} is damaged: its digest is {is}", kept.display())),
                };
            }
        }
        let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        Err(format!(
            "its component is missing: put the file with the BLAKE3 digest {digest} as {digest}.wasm into {}",
            dirs.join(" or ")
        ))
    }
}

impl Guests for Files {
    fn guest(&self, id: &str, params: &Map<String, Value>) -> Result<Box<dyn Guest>, String> {
        let digest = params.get(WASM).and_then(Value::as_str).unwrap_or_default();
        self.bring(digest.parse()?)?;
        self.library()?.guest(id, params)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;
    use tapewatch_detect::{Engine, Shard};

    use super::*;

    const EXAMPLE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/guests/rust/cancel_burst.wasm"
    );

    #[test]
    fn a_component_is_kept_by_its_digest_and_found_again() {
        let data = tempfile::tempdir().unwrap();
        let mut tables =
            json!({"cancel_burst": {"wasm": EXAMPLE, "cancel_count": 7}, "spoofing": {}});
        resolve(tables.as_object_mut().unwrap()).unwrap();
        let digest = Digest::of(&fs::read(EXAMPLE).unwrap());
        assert_eq!(tables["cancel_burst"]["wasm"], digest.to_string());
        assert_eq!(tables["cancel_burst"]["lookback"], "1s");
        keep(data.path()).unwrap();
        let config = DetectConfig::from_json(&tables).unwrap();
        let fresh = Files {
            library: Library::new(),
            known: Mutex::default(),
        };
        let error = Engine::with_guests(&config, Shard::WHOLE, Arc::new(fresh))
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .contains(&format!("put the file with the BLAKE3 digest {digest}"))
        );
        let fresh = Files {
            library: Library::new(),
            known: Mutex::new(Known {
                dirs: vec![data.path().join(GUESTS_DIR)],
                ..Known::default()
            }),
        };
        Engine::with_guests(&config, Shard::WHOLE, Arc::new(fresh)).unwrap();
    }
}
