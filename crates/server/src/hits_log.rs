//! The hits that engines found, as a log beside the journal: kept by the role `journal` for roles in
//! other processes, each hit once, although an engine may die between finding and publishing.
//!
//! Invariant: every hit up to the watermark is in the log, and none is in it twice. Engines find the
//! same hits again after a restart: one at or below the watermark, or with an id that came above it,
//! is known. The watermark is the least that any share of the engines has come to.
//!
//! A frame's payload is a `u64` (the watermark before it) and then hits as the model encodes them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;

use tapewatch_detect::Shard;
use tapewatch_journal::{FrameRef, Journal, Options, Readers, Retention};
use tapewatch_model::{Hit, Id, decode_hits, encode_hits, frame_kind};
use tokio::sync::watch;

use crate::clock;
use crate::failure::Failure;

/// Directory of the log inside the data directory.
pub(crate) const HITS_DIR: &str = "hits";
/// Hits above the watermark: more mean that a share is away, and the others wait for it.
const ABOVE_MAX: usize = 1_000_000;
/// Frames whose place is remembered for retention; beyond, two become one.
const PLACES_MAX: usize = 65_536;

/// The writer of the log.
pub(crate) struct HitsLog {
    journal: Journal,
    /// How far each share has come, and how many shares there are.
    shares: BTreeMap<u32, u64>,
    count: u32,
    watermark: u64,
    /// Hits above the watermark.
    above: HashMap<Id, u64>,
    /// The log's sequence number after a frame, and the last order that it or one before rests on.
    places: VecDeque<(u64, u64)>,
    grown: watch::Sender<u64>,
}

/// The readers' side: clones read the same log.
#[derive(Clone)]
pub(crate) struct HitsReaders {
    pub(crate) readers: Readers,
    /// The watermark; told anew after every frame.
    pub(crate) grown: watch::Receiver<u64>,
}

impl HitsLog {
    /// Opens the log in `dir` and reads it.
    pub(crate) fn open(dir: &Path, options: Options) -> Result<Self, Failure> {
        let (journal, recovery) = Journal::open(dir, options).map_err(Failure::run)?;
        let mut reader = journal.reader(recovery.first_seq).map_err(Failure::run)?;
        let mut log = Self {
            journal,
            shares: BTreeMap::new(),
            count: 0,
            watermark: 0,
            above: HashMap::new(),
            places: VecDeque::new(),
            grown: watch::channel(0).0,
        };
        while let Some(frame) = reader.next_frame().map_err(Failure::run)? {
            let (watermark, hits) = decode(&frame)?;
            log.rise(watermark);
            log.note(frame.seq + u64::from(frame.count), &hits);
        }
        Ok(log)
    }

    /// What readers need.
    pub(crate) fn readers(&self) -> HitsReaders {
        HitsReaders {
            readers: self.journal.readers(),
            grown: self.grown.subscribe(),
        }
    }

    /// Up to which order every hit is in the log.
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Takes what a share found up to sequence number `through`, since it said so last; those that
    /// were not in the log before.
    ///
    /// # Errors
    /// When the log cannot take it, or too much waits for another share: then nothing is taken.
    pub(crate) fn found(
        &mut self,
        share: Shard,
        through: u64,
        mut hits: Vec<Hit>,
    ) -> Result<Vec<Hit>, Failure> {
        hits.retain(|hit| hit.order.seq > self.watermark && !self.above.contains_key(&hit.hit_id));
        if self.above.len() + hits.len() > ABOVE_MAX {
            return Err(Failure::run(format!(
                "{ABOVE_MAX} hits wait for shares of the engines that have come only to sequence number {}",
                self.watermark
            )));
        }
        if !hits.is_empty() {
            let mut payload = self.watermark.to_le_bytes().to_vec();
            encode_hits(&hits, &mut payload);
            let (count, now) = (hits.len() as u32, clock::now().nanos());
            let seq = self
                .journal
                .append(frame_kind::HITS, count, now, &payload)
                .map_err(Failure::run)?;
            self.journal.commit().map_err(Failure::run)?;
            self.note(seq + u64::from(count), &hits);
        }
        if self.count != share.count {
            (self.count, self.shares) = (share.count, BTreeMap::new());
        }
        let came = self.shares.entry(share.index).or_default();
        *came = through.max(*came);
        if self.shares.len() as u64 == u64::from(self.count) {
            self.rise(self.shares.values().copied().min().unwrap_or(0));
        }
        self.grown.send_replace(self.watermark);
        Ok(hits)
    }

    /// Forces it to the disk, whatever the policy: an engine will not find these hits again.
    pub(crate) fn sync(&mut self) -> Result<(), Failure> {
        self.journal.sync().map(drop).map_err(Failure::run)
    }

    /// Lets go of segments whose hits rest on orders before `retention.keep_from_seq` alone.
    pub(crate) fn retain(&mut self, retention: &Retention) -> Result<(), Failure> {
        let mut keep_from_seq = self.journal.first_seq();
        for &(after, last) in &self.places {
            if last >= retention.keep_from_seq {
                break;
            }
            keep_from_seq = after;
        }
        let retention = Retention {
            keep_from_seq,
            ..*retention
        };
        let report = self.journal.retain(&retention, clock::now().nanos());
        let first = report.map_err(Failure::run)?.first_seq;
        self.places.retain(|(after, _)| *after > first);
        Ok(())
    }

    fn note(&mut self, after: u64, hits: &[Hit]) {
        let above = hits.iter().filter(|hit| hit.order.seq > self.watermark);
        self.above
            .extend(above.map(|hit| (hit.hit_id, hit.order.seq)));
        let last = hits.iter().map(|hit| hit.order.seq).max().unwrap_or(0);
        let before = self.places.back().map_or(0, |(_, last)| *last);
        self.places.push_back((after, last.max(before)));
        if self.places.len() > PLACES_MAX {
            let mut index = 0;
            self.places.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
    }

    fn rise(&mut self, watermark: u64) {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.above.retain(|_, seq| *seq > watermark);
        }
    }
}

/// The watermark before a frame of the log, and its hits.
pub(crate) fn decode(frame: &FrameRef<'_>) -> Result<(u64, Vec<Hit>), Failure> {
    let wrong = |what: String| {
        Failure::run(format!(
            "the log of hits at its sequence number {}: {what}; delete the directory {HITS_DIR} and the engines' \
             checkpoints: engines find the hits of the journal again",
            frame.seq
        ))
    };
    let Some((watermark, hits)) = frame.payload.split_first_chunk::<8>() else {
        return Err(wrong("a frame without a watermark".to_owned()));
    };
    let hits = decode_hits(hits).map_err(|error| wrong(error.to_string()))?;
    Ok((u64::from_le_bytes(*watermark), hits))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use tapewatch_connect::CsvOrders;
    use tapewatch_detect::{DetectConfig, Engine};
    use tapewatch_model::{OrderBatch, OrderSource as _};

    use super::*;
    use crate::jobs::DEMO_CSV;

    /// Hits at the given sequence numbers.
    fn hits(seqs: &[u64]) -> Vec<Hit> {
        let mut orders = OrderBatch::default();
        let mut source = CsvOrders::new(DEMO_CSV, "demo", 0).unwrap();
        source
            .next_batch(100, &mut orders, &mut Vec::new())
            .unwrap();
        let mut found = Vec::new();
        let mut engine = Engine::new(&DetectConfig::default(), Shard::WHOLE).unwrap();
        engine.apply(&orders, &mut found);
        let at = |seq: &u64| {
            let mut hit = found[0].clone();
            hit.order.seq = *seq;
            hit.hit_id = hit.content_id();
            hit
        };
        seqs.iter().map(at).collect()
    }

    fn all(log: &HitsLog) -> Vec<u64> {
        let readers = log.readers().readers;
        let mut reader = readers.reader(readers.first_seq().unwrap()).unwrap();
        let mut seqs = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            seqs.extend(decode(&frame).unwrap().1.iter().map(|hit| hit.order.seq));
        }
        seqs
    }

    const A: Shard = Shard { index: 0, count: 2 };
    const B: Shard = Shard { index: 1, count: 2 };

    #[test]
    fn a_hit_that_is_found_again_is_in_the_log_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = HitsLog::open(dir.path(), Options::default()).unwrap();
        log.found(A, 10, hits(&[3, 7])).unwrap();
        assert_eq!(*log.readers().grown.borrow(), 0, "the other share is away");
        log.found(B, 5, hits(&[5])).unwrap();
        assert_eq!(*log.readers().grown.borrow(), 5);
        // An engine died and finds them again: below the watermark, and above it.
        log.found(A, 10, hits(&[3, 7, 9])).unwrap();
        assert_eq!(all(&log), [3, 7, 5, 9]);
        // The journal's process too.
        drop(log);
        let mut log = HitsLog::open(dir.path(), Options::default()).unwrap();
        log.found(A, 10, hits(&[3, 7, 9])).unwrap();
        log.found(B, 12, hits(&[5, 11])).unwrap();
        assert_eq!(all(&log), [3, 7, 5, 9, 11]);
        assert_eq!(*log.readers().grown.borrow(), 10);
        // Another number of engines begins at the beginning.
        log.found(Shard::WHOLE, 12, hits(&[3, 5, 7, 9, 11, 12]))
            .unwrap();
        assert_eq!(all(&log), [3, 7, 5, 9, 11, 12]);
        assert_eq!(*log.readers().grown.borrow(), 12);
    }

    #[test]
    fn what_the_history_has_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes_max: 2_000,
            ..Options::default()
        };
        let mut log = HitsLog::open(dir.path(), options.clone()).unwrap();
        for seq in 1..=20 {
            log.found(Shard::WHOLE, seq, hits(&[seq])).unwrap();
        }
        let retention = |keep_from_seq| Retention {
            keep_from_seq,
            bytes_max: Some(1),
            age_max: None,
        };
        log.retain(&retention(11)).unwrap();
        let left = all(&log);
        assert!(left[0] > 1 && left[0] <= 11, "{left:?}");
        assert_eq!(left.last(), Some(&20));
        drop(log);
        let mut log = HitsLog::open(dir.path(), options).unwrap();
        log.found(Shard::WHOLE, 20, hits(&[2, 19, 20])).unwrap();
        assert_eq!(all(&log), left);
    }
}
