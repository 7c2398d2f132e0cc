//! A data file of the history that threads without a runtime read: from a disk as it is, from a bucket
//! by ranges.
//!
//! Invariant: what is read is what the file holds from the asked place on, all of it or an error; of a
//! bucket at most [`BLOCKS`] blocks are kept for a reader. A thread that waits for the bucket waits for
//! a runtime of its own, so it may be any thread.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{DynObjectStore, ObjectStoreExt as _};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Runtime;

use crate::block_sums::{BlockSums, CheckedFile};

/// Bytes that are fetched at once where less is asked for.
const BLOCK: u64 = 512 << 10;
/// Blocks that are kept: one for each column that is read, and some.
const BLOCKS: usize = 16;

/// Where a data file is.
#[derive(Clone)]
pub(crate) enum FileAt {
    /// With its checksums, if it has some.
    Disk(PathBuf, Option<Arc<BlockSums>>),
    Bucket {
        store: Arc<DynObjectStore>,
        path: Path,
        /// Its URL.
        name: String,
    },
}

/// What the disk or the bucket says of a file.
pub(crate) struct Told {
    pub(crate) bytes: u64,
    /// When it was changed last.
    pub(crate) changed: SystemTime,
}

/// An open data file.
pub(crate) enum ObjectFile {
    Disk(File),
    Checked(Arc<CheckedFile>),
    /// The store compares checksums.
    Bucket(Arc<InBucket>),
}

/// A file in a bucket and the last blocks of it.
pub(crate) struct InBucket {
    store: Arc<DynObjectStore>,
    path: Path,
    bytes: u64,
    blocks: Mutex<VecDeque<(u64, Bytes)>>,
}

impl FileAt {
    /// Its path or URL, for people.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Disk(path, _) => path.display().to_string(),
            Self::Bucket { name, .. } => name.clone(),
        }
    }

    pub(crate) fn told(&self) -> io::Result<Told> {
        match self {
            Self::Disk(path, _) => {
                let told = std::fs::metadata(path)?;
                Ok(Told {
                    bytes: told.len(),
                    changed: told.modified()?,
                })
            }
            Self::Bucket { store, path, .. } => {
                let (store, path) = (Arc::clone(store), path.clone());
                let told = wait(async move { store.head(&path).await })??;
                Ok(Told {
                    bytes: told.size,
                    changed: told.last_modified.into(),
                })
            }
        }
    }

    /// Opens it; it has `bytes` bytes.
    pub(crate) fn open(&self, bytes: u64) -> io::Result<ObjectFile> {
        match self {
            Self::Disk(path, None) => File::open(path).map(ObjectFile::Disk),
            Self::Disk(path, Some(sums)) => Ok(ObjectFile::Checked(Arc::new(CheckedFile {
                file: File::open(path)?,
                sums: Arc::clone(sums),
            }))),
            Self::Bucket { store, path, .. } => Ok(ObjectFile::Bucket(Arc::new(InBucket {
                store: Arc::clone(store),
                path: path.clone(),
                bytes,
                blocks: Mutex::default(),
            }))),
        }
    }
}

impl InBucket {
    /// The bytes from one place up to another.
    fn range(&self, from: u64, to: u64) -> io::Result<Bytes> {
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        let bytes = wait(async move { store.get_range(&path, from..to).await })??;
        if bytes.len() as u64 == to - from {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// What there is from a place on, up to the end of its block.
    fn rest_of_block(&self, at: u64) -> io::Result<Bytes> {
        let start = at - at % BLOCK;
        let skipped = usize::try_from(at - start).unwrap_or(usize::MAX);
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = blocks.iter().find(|(first, _)| *first == start);
        let block = match known {
            Some((_, block)) => block.clone(),
            None => {
                let block = self.range(start, (start + BLOCK).min(self.bytes))?;
                if blocks.len() >= BLOCKS {
                    blocks.pop_front();
                }
                blocks.push_back((start, block.clone()));
                block
            }
        };
        Ok(block.slice(skipped.min(block.len())..))
    }

    fn bytes(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let end = start.saturating_add(length as u64);
        if end > self.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if length as u64 >= BLOCK {
            return self.range(start, end);
        }
        let first = self.rest_of_block(start)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut whole = first.to_vec();
        let second = self.rest_of_block(start + first.len() as u64)?;
        let missing = length - first.len();
        whole.extend_from_slice(second.get(..missing).unwrap_or_default());
        Ok(whole.into())
    }
}

impl Length for ObjectFile {
    fn len(&self) -> u64 {
        match self {
            Self::Disk(file) => Length::len(file),
            Self::Checked(checked) => Length::len(&checked.file),
            Self::Bucket(file) => file.bytes,
        }
    }
}

impl ChunkReader for ObjectFile {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(match self {
            Self::Disk(file) => Box::new(ChunkReader::get_read(file, start)?) as Box<dyn Read>,
            Self::Checked(checked) => Box::new(checked.reader(start)),
            Self::Bucket(file) => {
                let at = Cursor {
                    file: Arc::clone(file),
                    at: start,
                };
                Box::new(BufReader::with_capacity(8 << 10, at))
            }
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            Self::Disk(file) => file.get_bytes(start, length),
            Self::Checked(checked) => checked.bytes(start, length).map_err(external),
            Self::Bucket(file) => file.bytes(start, length).map_err(external),
        }
    }
}

fn external(error: io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Reads on from a place.
struct Cursor {
    file: Arc<InBucket>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.file.bytes {
            return Ok(0);
        }
        let mut rest = &*self.file.rest_of_block(self.at)?;
        let read = rest.read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// What a request answers, which another thread makes.
fn wait<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    static REQUESTS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("history")
            .enable_all()
            .build()
    });
    let runtime = match &*REQUESTS {
        Ok(runtime) => runtime,
        Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
    };
    let (answer, answered) = sync_channel(1);
    runtime.spawn(async move {
        // Who waits takes it.
        let _taken = answer.send(request.await);
    });
    answered.recv().map_err(io::Error::other)
}
