//! A journal's directory: making it, the names in it, and its lock.
//! Invariant: a segment's name is its first sequence number, twenty digits, so names sort by it.

use std::path::{Path, PathBuf};

use crate::error::{OpenError, ScanError};
use crate::storage::Storage;

const EXTENSION: &str = "seg";
const DIGITS: usize = 20;

/// A segment file by its name alone; nothing of its content has been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) first_seq: u64,
    pub(crate) path: PathBuf,
}

pub(crate) fn segment_path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.{EXTENSION}"))
}

/// Makes sure that `dir` exists, and goes on existing after a power loss.
pub(crate) fn create(storage: &dyn Storage, dir: &Path) -> Result<(), ScanError> {
    let new = dir
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !storage.exists(path));
    let new: Vec<_> = new.collect();
    storage
        .create_dirs(dir)
        .map_err(ScanError::io("create", dir))?;
    for made in new {
        let parent = made
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        storage
            .sync_dir(parent)
            .map_err(ScanError::io("sync", parent))?;
    }
    Ok(())
}

/// The segments of `dir`, oldest first. Files of other extensions are not the journal's.
pub(crate) fn list(storage: &dyn Storage, dir: &Path) -> Result<Vec<Named>, ScanError> {
    let mut segments = Vec::new();
    for path in storage.list(dir).map_err(ScanError::io("list", dir))? {
        if path
            .extension()
            .is_none_or(|extension| extension != EXTENSION)
        {
            continue;
        }
        let Some(first_seq) = first_seq_of(&path) else {
            let reason = "its name is not a sequence number of twenty digits".to_owned();
            return Err(ScanError::Damaged {
                segment: path,
                offset: 0,
                seq: 0,
                reason,
            });
        };
        segments.push(Named { first_seq, path });
    }
    segments.sort_unstable_by_key(|segment| segment.first_seq);
    Ok(segments)
}

fn first_seq_of(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    let digits = stem.len() == DIGITS && stem.bytes().all(|byte| byte.is_ascii_digit());
    let first_seq = stem.parse().ok().filter(|_| digits)?;
    (first_seq > 0).then_some(first_seq)
}

/// Takes the directory for this writer until the lock is dropped.
pub(crate) fn lock(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn Send + Sync>, OpenError> {
    let path = dir.join("LOCK");
    let lock = storage.lock(&path).map_err(ScanError::io("lock", &path))?;
    lock.ok_or_else(|| OpenError::Locked {
        dir: dir.to_owned(),
    })
}
