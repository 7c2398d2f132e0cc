//! Measures a journal on this machine: append and commit of 64 KiB frames under each policy, the
//! scan of recovery and reading. `cargo run --release -p tapewatch-journal --example throughput --
//! [DIR] [MIB]`; the directory gets and loses a folder of its own.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tapewatch_journal::{FsyncPolicy, Journal, Options};

const FRAME_BYTES: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let mib: u64 = arguments
        .next()
        .unwrap_or_else(|| "1024".to_owned())
        .parse()?;
    let dir = dir.join(format!(
        "tapewatch-journal-throughput-{}",
        std::process::id()
    ));
    for policy in [FsyncPolicy::Os, FsyncPolicy::default(), FsyncPolicy::Always] {
        for frames_per_commit in [1, 16] {
            let result = measure(&dir, policy, frames_per_commit, mib << 20);
            std::fs::remove_dir_all(&dir)?;
            result?;
        }
    }
    Ok(())
}

fn measure(
    dir: &Path,
    fsync: FsyncPolicy,
    frames_per_commit: u64,
    bytes: u64,
) -> Result<(), Box<dyn Error>> {
    let options = Options {
        fsync,
        ..Options::default()
    };
    let payload: Vec<u8> = (0..FRAME_BYTES)
        .map(|at| (at.wrapping_mul(31) >> 3) as u8)
        .collect();
    let frames = bytes / FRAME_BYTES as u64;
    let mb_per_second =
        |begun: Instant| (frames * FRAME_BYTES as u64) as f64 / 1e6 / begun.elapsed().as_secs_f64();

    let (mut journal, _) = Journal::open(dir, options.clone())?;
    let mut slowest = 0.0_f64;
    let begun = Instant::now();
    for frame in 1..=frames {
        journal.append(1, 1_000, 0, &payload)?;
        if frame % frames_per_commit == 0 || frame == frames {
            let commit = Instant::now();
            journal.commit()?;
            slowest = slowest.max(commit.elapsed().as_secs_f64());
        }
    }
    let write = mb_per_second(begun);
    drop(journal);

    let begun = Instant::now();
    let (journal, recovery) = Journal::open(dir, options)?;
    let scan = mb_per_second(begun);
    let begun = Instant::now();
    let mut reader = journal.reader(recovery.first_seq)?;
    let mut read = 0_u64;
    while reader.next_frame()?.is_some() {
        read += 1;
    }
    assert_eq!(read, frames, "every frame is read back");
    let read = mb_per_second(begun);
    println!(
        "{:>14}, {frames_per_commit:>2} frames a commit: write {write:6.0} MB/s (slowest commit {:5.1} ms), \
         recovery {scan:6.0} MB/s, read {read:6.0} MB/s",
        fsync.to_string(),
        slowest * 1e3
    );
    Ok(())
}
