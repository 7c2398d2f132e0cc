//! A disk in memory, which knows what was forced to it and what a loss of power keeps.
//!
//! Invariant: `live` is what a running machine reads; a loss of power leaves what was forced there and
//! a beginning of the rest, in the order in which it was written, the last of that perhaps in part, by
//! sectors. What an fsync that failed was to force is not forced by a later one that succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tapewatch_journal::{Storage, StoredFile};

use super::Dice;

const SECTOR: usize = 512;

/// What happens at one operation that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails; a write may have written a part.
    Error,
    /// An fsync fails, whichever comes next.
    Fsync,
    /// It is done in part, and nothing works until the next start: the process was killed there.
    Kill,
}

/// A disk; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    /// The names that a loss of power leaves.
    stable_names: BTreeMap<PathBuf, usize>,
    files: Vec<Content>,
    /// What is not forced to the disk, in order.
    pending: Vec<Change>,
    locks: BTreeSet<PathBuf>,
    /// No room.
    full: bool,
    /// Operations until a fault, and which.
    fault: Option<(u64, Fault)>,
    killed: bool,
    /// Syncs that failed.
    failed_syncs: u64,
}

#[derive(Debug, Default)]
struct Content {
    live: Vec<u8>,
    stable: Vec<u8>,
}

#[derive(Debug)]
enum Change {
    Write(usize, usize, Vec<u8>),
    Truncate(usize, usize),
    Create(PathBuf, usize),
    Remove(PathBuf),
}

impl FakeDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Makes an operation from here on fail.
    pub(super) fn fail_in(&self, operations: u64, fault: Fault) {
        self.lock().fault = Some((operations, fault));
    }

    /// No fault is waiting any more.
    pub(super) fn heal(&self) {
        self.lock().fault = None;
    }

    pub(super) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Whether the process was killed at one of its operations.
    pub(super) fn is_killed(&self) -> bool {
        self.lock().killed
    }

    pub(super) fn failed_syncs(&self) -> u64 {
        self.lock().failed_syncs
    }

    /// What a new process finds.
    pub(super) fn restart(&self) {
        let mut state = self.lock();
        assert!(state.locks.is_empty(), "the process before is gone");
        (state.killed, state.fault) = (false, None);
    }

    /// The power is lost; gives how many changes were.
    pub(super) fn lose_power(&self, dice: &mut Dice) -> usize {
        let mut state = self.lock();
        let pending = std::mem::take(&mut state.pending);
        let kept = dice.below(pending.len() as u64 + 1) as usize;
        let lost = pending.len() - kept;
        for (number, change) in pending.into_iter().enumerate() {
            match change {
                Change::Write(file, at, bytes) if number == kept => {
                    tear(&mut state.files[file].stable, at, &bytes, dice);
                }
                change if number < kept => state.apply(change),
                _ => {}
            }
        }
        state.names = state.stable_names.clone();
        for file in &mut state.files {
            file.live.clone_from(&file.stable);
        }
        lost
    }
}

/// Writes some sectors of what was to be written.
fn tear(stable: &mut Vec<u8>, at: usize, bytes: &[u8], dice: &mut Dice) {
    let end = at + dice.below(bytes.len() as u64 + 1) as usize;
    if end > stable.len() {
        stable.resize(end, 0);
    }
    let mut from = at;
    while from < end {
        let to = ((from / SECTOR + 1) * SECTOR).min(end);
        if dice.below(4) > 0 {
            stable[from..to].copy_from_slice(&bytes[from - at..to - at]);
        }
        from = to;
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl State {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Write(file, at, bytes) => write(&mut self.files[file].stable, at, &bytes),
            Change::Truncate(file, len) => self.files[file].stable.resize(len, 0),
            Change::Create(path, file) => drop(self.stable_names.insert(path, file)),
            Change::Remove(path) => drop(self.stable_names.remove(&path)),
        }
    }

    /// Takes out the changes that are `wanted`.
    fn take(&mut self, wanted: impl Fn(&Change) -> bool) -> Vec<Change> {
        let pending = std::mem::take(&mut self.pending);
        let (taken, left) = pending.into_iter().partition(wanted);
        self.pending = left;
        taken
    }

    /// What happens at this operation.
    fn fault(&mut self, sync: bool) -> io::Result<Option<Fault>> {
        if self.killed {
            return Err(io::Error::other("killed"));
        }
        let Some((left, fault)) = &mut self.fault else {
            return Ok(None);
        };
        if *left > 0 || (*fault == Fault::Fsync && !sync) {
            *left = left.saturating_sub(1);
            return Ok(None);
        }
        let fault = *fault;
        self.fault = None;
        self.killed = fault == Fault::Kill;
        Ok(Some(fault))
    }

    /// Whether a change of names is done; it may be, and say that it is not.
    fn name_changes(&mut self) -> io::Result<()> {
        if self.fault(false)?.is_some() {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Lock(FakeDisk, PathBuf);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.lock().locks.remove(&self.1);
    }
}

#[derive(Debug)]
struct FakeFile(FakeDisk, usize);

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Storage for FakeDisk {
    fn exists(&self, _: &Path) -> bool {
        true
    }

    fn create_dirs(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock();
        let names = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.cloned().collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        if !self.lock().locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Lock(self.clone(), path.to_owned()))))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let mut state = self.lock();
        state.name_changes()?;
        if state.full {
            return Err(full());
        }
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(Content::default());
        state.names.insert(path.to_owned(), file);
        state.pending.push(Change::Create(path.to_owned(), file));
        Ok(Arc::new(FakeFile(self.clone(), file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        self.read(path)
    }

    fn read(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        match self.lock().names.get(path) {
            Some(file) => Ok(Arc::new(FakeFile(self.clone(), *file))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.name_changes()?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.pending.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let fault = state.fault(true)?;
        let of_dir = |change: &Change| match change {
            Change::Create(path, _) | Change::Remove(path) => path.parent() == Some(dir),
            _ => false,
        };
        if fault.is_some() {
            // Names that were not forced come with the next attempt: the directory is still dirty.
            state.failed_syncs += 1;
            return Err(io::Error::other("injected"));
        }
        for change in state.take(of_dir) {
            state.apply(change);
        }
        Ok(())
    }
}

impl StoredFile for FakeFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().files[self.1].live.len() as u64)
    }

    fn read_at(&self, offset: u64, slots: &mut [u8]) -> io::Result<usize> {
        let state = self.0.lock();
        let live = &state.files[self.1].live;
        let rest = live.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(slots.len());
        slots[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let fault = state.fault(false)?;
        let at = offset as usize;
        let room = (state.files[self.1].live.len().saturating_sub(at)).min(bytes.len());
        let most = match fault {
            None if state.full => room,
            None => bytes.len(),
            // Which part is as good as any.
            Some(_) => (at * 7 + bytes.len() * 3) % (bytes.len() + 1),
        };
        if most > 0 {
            write(&mut state.files[self.1].live, at, &bytes[..most]);
            let change = Change::Write(self.1, at, bytes[..most].to_vec());
            state.pending.push(change);
        }
        match fault {
            None if most == 0 => Err(full()),
            None => Ok(most),
            Some(_) => Err(io::Error::other("injected")),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.fault(false)?.is_some() {
            return Err(io::Error::other("injected"));
        }
        state.files[self.1].live.resize(len as usize, 0);
        state.pending.push(Change::Truncate(self.1, len as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let fault = state.fault(true)?;
        if fault == Some(Fault::Kill) {
            return Err(io::Error::other("injected"));
        }
        let of_file = |change: &Change| match change {
            Change::Write(file, ..) | Change::Truncate(file, _) => *file == self.1,
            _ => false,
        };
        let changes = state.take(of_file);
        if fault.is_some() {
            // The system takes them for written and forgets that they are not.
            state.failed_syncs += 1;
            return Err(io::Error::other("injected"));
        }
        for change in changes {
            state.apply(change);
        }
        Ok(())
    }
}
