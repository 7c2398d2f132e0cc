//! Making the state again from the journal: for a start, and read-only beside a running process.
//!
//! Invariant: every frame is applied once, in order; damage stops it with segment, offset and
//! sequence number. Without a journal the state is empty.

use std::path::Path;

use indicatif::ProgressBar;
use tapewatch_detect::DetectConfig;
use tapewatch_journal::{ReadError, Reader};
use tapewatch_model::{Time, decode_config, frame_kind};
use tapewatch_store::{Store, StoreOptions};

use crate::arrivals::Arrivals;
use crate::failure::Failure;
use crate::fold::Fold;

/// Directory of the journal inside the data directory.
pub(crate) const JOURNAL_DIR: &str = "journal";

/// What recovery read.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) frames: u64,
    /// Last sequence number that came before `boundary`.
    pub(crate) before_boundary: u64,
    /// When the rows came.
    pub(crate) arrivals: Arrivals,
}

/// Applies all frames of a reader; those received before `boundary` are told apart.
pub(crate) fn replay(
    reader: &mut Reader,
    fold: &mut Fold,
    boundary: Option<Time>,
    last_seq: Option<u64>,
    progress: &ProgressBar,
) -> Result<Recovered, Failure> {
    let mut recovered = Recovered::default();
    if let Some(last_seq) = last_seq {
        progress.set_length(last_seq);
    }
    while let Some(frame) = reader.next_frame().map_err(Failure::run)? {
        fold.frame(&frame).map_err(Failure::run)?;
        recovered.frames += 1;
        recovered
            .arrivals
            .note(Time::from_nanos(frame.time), frame.seq);
        let last = frame
            .seq
            .saturating_add(u64::from(frame.count))
            .saturating_sub(1);
        if boundary.is_some_and(|boundary| frame.time < boundary.nanos()) {
            recovered.before_boundary = last;
        }
        if recovered.frames % 256 == 0 {
            progress.set_position(last);
        }
    }
    progress.finish_and_clear();
    Ok(recovered)
}

/// The configuration that the journal's first rows were judged by: the first one that it tells. A
/// segment tells it at its beginning, if not always before its first rows.
pub(crate) fn first_config(reader: &mut Reader) -> Result<Option<DetectConfig>, Failure> {
    while let Some(frame) = reader.next_frame().map_err(Failure::run)? {
        if frame.kind == frame_kind::DETECTOR_CONFIG {
            let told = decode_config(frame.payload).map_err(Failure::run)?;
            return DetectConfig::from_canonical(&told.json)
                .map(Some)
                .map_err(Failure::run);
        }
    }
    Ok(None)
}

/// A reader over the whole journal in `data`; `None` when there is no journal.
pub(crate) fn whole_journal(data: &Path) -> Result<Option<Reader>, Failure> {
    let dir = data.join(JOURNAL_DIR);
    if !dir.is_dir() {
        return Ok(None);
    }
    match Reader::open(&dir, 1) {
        Err(ReadError::Gone { first_seq, .. }) => Reader::open(&dir, first_seq).map(Some),
        other => other.map(Some),
    }
    .map_err(Failure::run)
}

/// The state as the files in `data` tell it, without changing them; a process may be running.
pub(crate) async fn read_only(
    data: &Path,
    config: &DetectConfig,
    options: StoreOptions,
) -> Result<Fold, Failure> {
    if !data.is_dir() {
        return Err(Failure::usage(format!(
            "{}: there is no data directory; name one with --data",
            data.display()
        )));
    }
    let store = Store::open_read_only(data, options)
        .await
        .map_err(Failure::run)?;
    let mut fold = Fold::new(config, store).map_err(Failure::usage)?;
    if let Some(mut reader) = whole_journal(data)? {
        replay(&mut reader, &mut fold, None, None, &ProgressBar::hidden())?;
    }
    Ok(fold)
}
