//! The file operations that change a journal, as a seam: the writer, recovery and retention go
//! through it, so that tests can make any of them fail at any point.
//! Invariant: nothing outside this file creates, writes, truncates, syncs or deletes a segment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// Operations on the journal's directory.
pub(crate) trait Storage: Send + Sync {
    /// Creates a file that must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;
    /// Opens an existing file for writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Forces the directory's own entries to stable storage.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// One file that is being written.
pub(crate) trait StoredFile: Send + Sync {
    /// Writes at `offset`; may write less than all of it, as write(2) may.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// fdatasync: the data and the length reach stable storage.
    fn sync(&self) -> io::Result<()>;
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

/// Reads until `slots` is full or the file ends; gives the bytes read.
pub(crate) fn read_full(mut file: &File, slots: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = slots.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => have = have.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

/// The real file system.
pub(crate) struct Disk;

impl Storage for Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(
            OpenOptions::new().write(true).create_new(true).open(path)?,
        ))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(OpenOptions::new().write(true).open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl StoredFile for File {
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
}
