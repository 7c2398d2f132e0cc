//! What a journal costs on this machine's disk: append and commit of 64 KiB frames under each fsync
//! policy, the scan of recovery, and reading.
//!
//! Invariant: every measured journal is fresh and gone afterwards; it lies below the system's
//! temporary directory, so `TMPDIR` says which disk is measured.
#![allow(clippy::unwrap_used)]

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use std::path::Path;
use std::time::Duration;
use tapewatch_journal::{FsyncPolicy, Journal, Options};
use tempfile::TempDir;

const FRAME_BYTES: usize = 64 << 10;
const FRAMES: u64 = 64;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let payload: Vec<u8> = (0..FRAME_BYTES)
        .map(|at| (at.wrapping_mul(31) >> 3) as u8)
        .collect();
    let mut group = criterion.benchmark_group("journal");
    group
        .throughput(Throughput::Bytes(FRAMES * FRAME_BYTES as u64))
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    for fsync in [FsyncPolicy::Os, FsyncPolicy::default(), FsyncPolicy::Always] {
        for frames_per_commit in [1, 16] {
            let name = format!("append_{fsync}_{frames_per_commit}_frames_a_commit");
            group.bench_function(name, |bencher| {
                let setup = || empty(fsync);
                let append = |(dir, mut journal): (TempDir, Journal)| {
                    fill(&mut journal, &payload, frames_per_commit);
                    (journal, dir)
                };
                bencher.iter_batched(setup, append, BatchSize::PerIteration);
            });
        }
    }
    let (dir, mut journal) = empty(FsyncPolicy::Os);
    fill(&mut journal, &payload, 16);
    drop(journal);
    group.bench_function("recovery", |bencher| {
        bencher.iter(|| open(dir.path(), FsyncPolicy::Os));
    });
    let (journal, recovery) = Journal::open(dir.path(), Options::default()).unwrap();
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let mut reader = journal.reader(recovery.first_seq).unwrap();
            let mut frames = 0;
            while reader.next_frame().unwrap().is_some() {
                frames += 1;
            }
            assert_eq!(frames, FRAMES, "every frame is read back");
        });
    });
    group.finish();
    criterion.final_summary();
}

fn open(dir: &Path, fsync: FsyncPolicy) -> Journal {
    let options = Options {
        fsync,
        ..Options::default()
    };
    Journal::open(dir, options).unwrap().0
}

fn empty(fsync: FsyncPolicy) -> (TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), fsync);
    (dir, journal)
}

fn fill(journal: &mut Journal, payload: &[u8], frames_per_commit: u64) {
    for frame in 1..=FRAMES {
        journal.append(1, 1_000, 0, payload).unwrap();
        if frame % frames_per_commit == 0 {
            journal.commit().unwrap();
        }
    }
}
