//! The file operations of a journal, as a seam: everything goes through it, so that tests can make any
//! of them fail at any point, or keep the files in memory.
//! Invariant: nothing outside this file touches a file system.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a journal keeps its files: [`Disk`], or what a test puts in its place. Errors are those of
/// the operating system.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Whether there is a directory of this name.
    fn exists(&self, dir: &Path) -> bool;
    /// Makes a directory and its parents, as far as they are not there.
    ///
    /// # Errors
    /// When one cannot be made.
    fn create_dirs(&self, dir: &Path) -> io::Result<()>;
    /// The files of a directory, in any order.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Locks a file, which is made where it is missing, until what it gives is dropped; `None` when
    /// somebody has the lock.
    ///
    /// # Errors
    /// When it can be neither made nor locked.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
    /// Creates a file that must not exist yet.
    ///
    /// # Errors
    /// When it is there, or cannot be made.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;
    /// Opens an existing file for writing.
    ///
    /// # Errors
    /// When it is not there, or may not be written.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;
    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// When it is not there, or may not be read.
    fn read(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;
    /// Deletes a file.
    ///
    /// # Errors
    /// When it is not there, or may not be deleted.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Forces the directory's own entries to stable storage.
    ///
    /// # Errors
    /// When they may not be there.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file.
pub trait StoredFile: fmt::Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// When the system does not say.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads from `offset` on; may read less than there is room for, and nothing at the end.
    ///
    /// # Errors
    /// When nothing was read.
    fn read_at(&self, offset: u64, slots: &mut [u8]) -> io::Result<usize>;
    /// Writes at `offset`; may write less than all of it, as write(2) may.
    ///
    /// # Errors
    /// When nothing was written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts the file, or fills it up with zeros.
    ///
    /// # Errors
    /// When its length is as before.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// fdatasync: the data and the length reach stable storage.
    ///
    /// # Errors
    /// When they may not have; a later call that succeeds says nothing about them.
    fn sync(&self) -> io::Result<()>;
    /// Lets the system have the memory back in which it keeps what was written: it will hardly be read
    /// soon, and from the disk then. Nothing happens where the system cannot.
    fn forget(&self) {}
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_all_at(
    file: &dyn StoredFile,
    mut offset: u64,
    mut bytes: &[u8],
) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(offset, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset = offset.saturating_add(written as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads from `offset` on until `slots` is full or the file ends; gives the bytes read.
pub(crate) fn read_full(file: &dyn StoredFile, offset: u64, slots: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = slots.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset.saturating_add(have as u64), rest) {
            Ok(0) => break,
            Ok(read) => have = have.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

/// The real file system.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Storage for Disk {
    fn exists(&self, dir: &Path) -> bool {
        dir.exists()
    }

    fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    }

    /// The lock is the system's, so it goes away with the process however that ends; the file itself
    /// stays and means nothing.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = (OpenOptions::new().write(true).create(true).truncate(false)).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(
            OpenOptions::new().write(true).create_new(true).open(path)?,
        ))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(OpenOptions::new().write(true).open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(File::open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl StoredFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, slots: &mut [u8]) -> io::Result<usize> {
        let mut file = self;
        file.seek(SeekFrom::Start(offset))?;
        file.read(slots)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self;
        file.seek(SeekFrom::Start(offset))?;
        file.write(bytes)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn forget(&self) {
        // A piece of advice: what it costs where it is not taken is memory.
        let _ = rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed);
    }
}
