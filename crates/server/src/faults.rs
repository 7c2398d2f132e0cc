//! Faults that tests arm in a running process: a disk that is full, slow or fails an fsync, a clock that
//! jumps. Debug builds have them, a release has nothing of it.
//!
//! Invariant: without `TAPEWATCH_FAULTS` nothing differs. It names a directory; what stands in its files
//! holds from the next operation on. `disk`: `full`, `slow` (20 ms for each write) or `fsync`, and then
//! perhaps a part of the paths that are meant. `clock`: seconds that the clock is ahead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tapewatch_journal::{Disk, Storage, StoredFile};
use tapewatch_model::{Time, TimeSpan};

const SLOW: Duration = Duration::from_millis(20);

static DIR: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("TAPEWATCH_FAULTS").map(PathBuf::from));

fn armed(name: &str) -> Option<String> {
    fs::read_to_string(DIR.as_ref()?.join(name)).ok()
}

/// What the clock says instead of `now`.
pub(crate) fn clock(now: Time) -> Time {
    let ahead = armed("clock").and_then(|text| text.trim().parse::<i64>().ok());
    let ahead = ahead.unwrap_or(0).saturating_mul(1_000_000_000);
    now.saturating_add(TimeSpan::from_nanos(ahead))
}

/// Where the logs are.
pub(crate) fn storage() -> Arc<dyn Storage> {
    match *DIR {
        None => Arc::new(Disk),
        Some(_) => Arc::new(FaultyDisk),
    }
}

/// Fails or waits, if that is armed for this path.
fn disk(path: &Path, syncs: bool) -> io::Result<()> {
    let text = armed("disk").unwrap_or_default();
    let (fault, part) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if !path.to_string_lossy().contains(part) {
        return Ok(());
    }
    match fault {
        "full" if !syncs => Err(io::ErrorKind::StorageFull.into()),
        "fsync" if syncs => Err(io::Error::other("an fsync that a test made fail")),
        "slow" => {
            std::thread::sleep(SLOW);
            Ok(())
        }
        _ => Ok(()),
    }
}

#[derive(Debug)]
struct FaultyDisk;

#[derive(Debug)]
struct FaultyFile(Arc<dyn StoredFile>, PathBuf);

impl Storage for FaultyDisk {
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

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        disk(path, false)?;
        Ok(Arc::new(FaultyFile(Disk.create(path)?, path.to_owned())))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(FaultyFile(Disk.open(path)?, path.to_owned())))
    }

    fn read(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Disk.read(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        disk(dir, true)?;
        Disk.sync_dir(dir)
    }
}

impl StoredFile for FaultyFile {
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn read_at(&self, offset: u64, slots: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, slots)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        disk(&self.1, false)?;
        self.0.write_at(offset, bytes)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        disk(&self.1, true)?;
        self.0.sync()
    }

    fn forget(&self) {
        self.0.forget();
    }
}
