//! Storage that fails where a plan says so, on top of real files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::storage::{Disk, Storage, StoredFile};

/// What happens at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails with this kind of error and does nothing.
    Fail(io::ErrorKind),
    /// A write writes this many bytes and says so; any other operation fails.
    Short(usize),
    /// A write writes this many bytes, any other operation does nothing; from then on everything
    /// fails, as if the process had been killed.
    Die(usize),
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    operations: AtomicUsize,
    faults: Mutex<BTreeMap<usize, Fault>>,
    /// The directories that were synced, in order.
    pub(crate) synced_dirs: Mutex<Vec<std::path::PathBuf>>,
    /// The names of the files that were synced, in order.
    pub(crate) synced: Mutex<Vec<String>>,
    /// The names of the files whose bytes the system may forget, in order.
    pub(crate) forgotten: Mutex<Vec<String>>,
    /// Every sync fails from now on.
    pub(crate) syncs_fail: std::sync::atomic::AtomicBool,
}

impl Plan {
    pub(crate) fn new(faults: impl IntoIterator<Item = (usize, Fault)>) -> Arc<Self> {
        Arc::new(Self {
            faults: Mutex::new(faults.into_iter().collect()),
            ..Self::default()
        })
    }

    pub(crate) fn operations(&self) -> usize {
        self.operations.load(Ordering::SeqCst)
    }

    fn fault(&self) -> Option<Fault> {
        let at = self.operations.fetch_add(1, Ordering::SeqCst);
        let faults = self.faults.lock().unwrap();
        let dead = faults
            .range(..at)
            .any(|(_, fault)| matches!(fault, Fault::Die(_)));
        if dead {
            Some(Fault::Fail(io::ErrorKind::Other))
        } else {
            faults.get(&at).copied()
        }
    }

    fn run<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.fault() {
            None => operation(),
            Some(Fault::Fail(kind)) => Err(kind.into()),
            Some(Fault::Short(_) | Fault::Die(_)) => Err(io::Error::other("injected")),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Faulty(pub(crate) Arc<Plan>);

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn StoredFile>,
    name: String,
    plan: Arc<Plan>,
}

impl Faulty {
    fn wrap(&self, path: &Path, file: Arc<dyn StoredFile>) -> Arc<dyn StoredFile> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Arc::new(FaultyFile {
            file,
            name,
            plan: Arc::clone(&self.0),
        })
    }
}

impl Storage for Faulty {
    fn exists(&self, dir: &Path) -> bool {
        Disk.exists(dir)
    }

    fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dirs(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        Disk.lock(path)
    }

    fn read(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Disk.read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        self.0
            .run(|| Disk.create(path))
            .map(|file| self.wrap(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        self.0
            .run(|| Disk.open(path))
            .map(|file| self.wrap(path, file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.run(|| Disk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.synced_dirs.lock().unwrap().push(dir.to_owned());
        self.0.run(|| Ok(()))
    }
}

impl StoredFile for FaultyFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, offset: u64, slots: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, slots)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        match self.plan.fault() {
            None => self.file.write_at(offset, bytes),
            Some(Fault::Fail(kind)) => Err(kind.into()),
            Some(Fault::Short(most)) => self.file.write_at(offset, &bytes[..most.min(bytes.len())]),
            Some(Fault::Die(most)) => {
                self.file
                    .write_at(offset, &bytes[..most.min(bytes.len())])?;
                Err(io::Error::other("injected"))
            }
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.plan.run(|| self.file.truncate(len))
    }

    fn sync(&self) -> io::Result<()> {
        if self.plan.syncs_fail.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected sync failure"));
        }
        self.plan.synced.lock().unwrap().push(self.name.clone());
        // The tests look at the page cache; a real sync would only make them slow.
        self.plan.run(|| Ok(()))
    }

    fn forget(&self) {
        self.file.forget();
        self.plan.forgotten.lock().unwrap().push(self.name.clone());
    }
}
