//! Checkpoints: what the fold knows at a sequence number, so that a start need not fold all again.
//!
//! A checkpoint is a file `state-SEQ.bin` and the files `hits-AFTER-THROUGH.parquet` that it names:
//! the hits that were in memory. It is derived from the journal and can be deleted at any time.
//!
//! Invariant: a checkpoint that is there under its name is whole: its hits were written before it,
//! and both were renamed only when they were on the disk. Whoever reads one checks its digest, its
//! version and that the journal has the same frame where it ends.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fold::{FrameMark, Placed, Totals};

mod writer;

pub(crate) use writer::{Pending, Writer};

/// Directory of the checkpoints inside the data directory.
pub(crate) const CHECKPOINT_DIR: &str = "checkpoints";
/// What a file begins with: a magic number and the version of what follows.
const HEAD: &[u8; 12] = b"TWCHECK\n\x02\0\0\0";
const DIGEST_BYTES: usize = 32;

/// What the fold knew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The last frame that it had applied.
    pub(crate) frame: FrameMark,
    /// The windows of each shard.
    pub(crate) shards: Vec<Vec<u8>>,
    pub(crate) producers: Vec<(String, Vec<Placed>)>,
    /// The configuration in force, once a frame had told it.
    pub(crate) config: Option<String>,
    pub(crate) totals: Totals,
    /// When rows came: nanoseconds and sequence numbers.
    pub(crate) arrivals: Vec<(i64, u64)>,
    /// Hits that were not in the history, oldest first.
    pub(crate) hits: Vec<HitsFile>,
    /// Last sequence number that the history's hits had: a history that has fewer now lacks some.
    pub(crate) history_hits: u64,
}

/// A file of hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HitsFile {
    /// Its hits came after this sequence number,
    pub(crate) after: u64,
    /// up to this one.
    pub(crate) through: u64,
    /// How many there are.
    pub(crate) rows: u64,
}

impl HitsFile {
    fn name(&self) -> String {
        format!("hits-{:020}-{:020}.parquet", self.after, self.through)
    }

    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.name())
    }
}

impl Checkpoint {
    /// Reads one.
    ///
    /// # Errors
    /// Why it cannot be used, for people.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
        let Some(rest) = bytes.strip_prefix(HEAD) else {
            return Err("is no checkpoint of this version".to_owned());
        };
        let (digest, body) = rest.split_at_checked(DIGEST_BYTES).ok_or("is cut short")?;
        if blake3::hash(body).as_bytes() != digest {
            return Err("is damaged: its digest differs".to_owned());
        }
        postcard::from_bytes(body).map_err(|error| format!("is not a checkpoint: {error}"))
    }

    /// Writes it under its name, whole or not at all.
    fn write(&self, dir: &Path) -> io::Result<()> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let part = dir.join("state.part");
        let mut file = fs::File::create(&part)?;
        file.write_all(HEAD)?;
        file.write_all(blake3::hash(&body).as_bytes())?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&part, dir.join(state_name(self.frame.last_seq())))?;
        fs::File::open(dir)?.sync_all()
    }
}

fn state_name(seq: u64) -> String {
    format!("state-{seq:020}.bin")
}

/// The checkpoints that are there, newest first.
pub(crate) fn list(dir: &Path) -> Vec<PathBuf> {
    let paths = |entries: fs::ReadDir| entries.map(|entry| Ok(entry?.path())).collect();
    let mut found: Vec<PathBuf> = match fs::read_dir(dir).and_then(paths) {
        Ok(found) => found,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, dir = %dir.display(), "the checkpoints cannot be listed");
            }
            return Vec::new();
        }
    };
    found.retain(|path| named(path, "state-", ".bin"));
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

fn named(path: &Path, prefix: &str, suffix: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample(seq: u64) -> Checkpoint {
        Checkpoint {
            frame: FrameMark {
                seq,
                count: 2,
                time: 7,
            },
            shards: vec![vec![1, 2, 3]],
            producers: Vec::new(),
            config: Some("{}".to_owned()),
            totals: Totals::default(),
            arrivals: vec![(1, 2)],
            hits: Vec::new(),
            history_hits: 0,
        }
    }

    #[test]
    fn what_cannot_be_listed_is_warned_of_unless_it_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let warned = |path: &Path| {
            let writer = fs::File::create(&log).unwrap();
            let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
            tracing::subscriber::with_default(subscriber, || assert!(list(path).is_empty()));
            fs::read_to_string(&log).unwrap()
        };
        assert_eq!(warned(&dir.path().join("nowhere")), "");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(warned(&file).contains("cannot be listed"));
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        for seq in [9, 10] {
            sample(seq).write(dir.path()).unwrap();
        }
        let found = list(dir.path());
        assert_eq!(found.len(), 2);
        let newest = found.first().unwrap();
        let read = Checkpoint::read(newest).unwrap();
        assert_eq!(
            (read.frame.last_seq(), read.shards),
            (11, vec![vec![1, 2, 3]])
        );
        let whole = fs::read(newest).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            *flipped.get_mut(at).unwrap() ^= 1;
            fs::write(newest, flipped).unwrap();
            assert!(Checkpoint::read(newest).is_err(), "byte {at}");
            fs::write(newest, whole.get(..at).unwrap()).unwrap();
            assert!(Checkpoint::read(newest).is_err(), "cut at {at}");
        }
    }
}
