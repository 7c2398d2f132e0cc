//! Row groups of the history's files that a query reads by itself, past the engine.
//!
//! Invariant: each row group that may hold wanted rows is in one partition; a file is opened once,
//! by the partition that comes to it first.

use std::sync::{Arc, OnceLock};

use datafusion::common::{DataFusionError, Result};

use super::picked::Test;
use crate::history::History;
use crate::object_file::FileAt;
use crate::scan::{self, Part, ScanError, ScanRequest, Unopened};

/// Files whose names a plan shows.
const SHOWN: usize = 4;

/// The row groups of a reading, divided among partitions.
#[derive(Clone)]
pub(super) struct PastParts {
    files: Arc<[File]>,
    request: Arc<ScanRequest>,
    partitions: usize,
}

/// A file, and its row groups that may hold wanted rows once a partition has opened it.
struct File {
    unopened: Unopened,
    parts: OnceLock<Result<Vec<Part>, ScanError>>,
}

impl PastParts {
    /// Those in which rows may pass all tests; `None` where the engine should read them.
    pub(super) fn of(history: &History, tests: &[Test], partitions: usize) -> Option<Self> {
        let by_id = |test: &Test| matches!(test, Test::OrderIds(_));
        if tests.iter().any(by_id) || history.has_mapped_columns() {
            return None;
        }
        let request = Test::request(tests);
        // What is wrong with the table, its own reading says better.
        let files = scan::files(history, &request, None).ok()?;
        // Those of a bucket are the engine's, whose threads do not wait for them.
        if files.iter().any(|(at, _)| !matches!(at, FileAt::Disk(..))) {
            return None;
        }
        let files = files.into_iter().map(|unopened| File {
            unopened,
            parts: OnceLock::new(),
        });
        Some(Self {
            files: files.collect(),
            request: Arc::new(request),
            partitions: partitions.max(1),
        })
    }

    /// Their names, or those of the first of them, for who looks at a plan.
    pub(super) fn files(&self) -> String {
        let names = self
            .files
            .iter()
            .take(SHOWN)
            .map(|file| file.unopened.0.name());
        let names = names.collect::<Vec<_>>().join(", ");
        match self.files.len().checked_sub(SHOWN) {
            Some(more @ 1..) => format!("[{names} and {more} more]"),
            _ => format!("[{names}]"),
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.partitions
    }

    /// The row groups of a partition, file after file: every so many of them.
    pub(super) fn of_partition(
        &self,
        partition: usize,
    ) -> impl Iterator<Item = Result<Part>> + Send + use<> {
        let (files, request) = (Arc::clone(&self.files), Arc::clone(&self.request));
        let (mut file, mut group, mut number) = (0, 0, 0);
        let each = self.partitions;
        std::iter::from_fn(move || {
            loop {
                let at: &File = files.get(file)?;
                let open = || scan::open(&at.unopened.0, at.unopened.1, &request);
                let parts = match at.parts.get_or_init(open) {
                    Ok(parts) => parts,
                    Err(error) => {
                        file = files.len();
                        return Some(Err(failed(error)));
                    }
                };
                let Some(part) = parts.get(group) else {
                    (file, group) = (file + 1, 0);
                    continue;
                };
                group += 1;
                number += 1;
                if (number - 1) % each == partition {
                    return Some(Ok(part.clone()));
                }
            }
        })
    }
}

/// What a file that cannot be read says, as a query's end.
pub(super) fn failed(error: &ScanError) -> DataFusionError {
    DataFusionError::Execution(error.to_string())
}
