//! The hits that engines found, as a log beside the journal: kept by the role `journal` for roles in
//! other processes, each hit once, although an engine may die between finding and publishing.
//!
//! Invariant: every hit up to the watermark is in the log, and none is in it twice. Engines find the
//! same hits again after a restart: one at or below the watermark, or with an id that came above it,
//! is known. The watermark is the least that any share of the engines has come to. It is never beyond
//! the journal: where a loss of power took rows from the journal, the hits on them are void.
//!
//! A frame's payload is a `u64` (the watermark before it), another (hits above this sequence number in
//! the frames before are void; the greatest there is for none) and then hits as the model encodes them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
/// Hits in one frame, or one message to it, but for those on one event.
const TOGETHER: usize = 512;
/// Frames whose place is remembered for retention; beyond, two become one.
const PLACES_MAX: usize = 65_536;

/// The writer of the log.
pub(crate) struct HitsLog {
    journal: Journal,
    shares: Arc<Mutex<Shares>>,
    watermark: u64,
    /// The watermark in the last frame.
    noted: u64,
    /// Hits above the watermark.
    above: HashMap<Id, u64>,
    /// The log's sequence number after a frame, and the last order that it or one before rests on.
    places: VecDeque<(u64, u64)>,
    grown: watch::Sender<u64>,
}

/// How far each share of the engines has come, and how many there are.
#[derive(Default)]
struct Shares {
    count: u32,
    came: BTreeMap<u32, u64>,
}

/// The readers' side: clones read the same log.
#[derive(Clone)]
pub(crate) struct HitsReaders {
    pub(crate) readers: Readers,
    /// The watermark; told anew after every frame.
    pub(crate) grown: watch::Receiver<u64>,
    shares: Arc<Mutex<Shares>>,
}

impl HitsReaders {
    /// Up to where each share of the engines has told all that it finds; `None`: nothing since the
    /// start of this process. Empty before any has.
    pub(crate) fn shares(&self) -> Vec<(Shard, Option<u64>)> {
        let shares = lock(&self.shares);
        let count = shares.count;
        let one = |index| (Shard { index, count }, shares.came.get(&index).copied());
        (0..count).map(one).collect()
    }
}

/// Whoever died with it left it whole: it is changed at once.
fn lock(shares: &Mutex<Shares>) -> MutexGuard<'_, Shares> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A frame of the log.
pub(crate) struct Found {
    /// The watermark before it.
    watermark: u64,
    /// Hits above this sequence number in the frames before are void.
    pub(crate) void_above: u64,
    pub(crate) hits: Vec<Hit>,
}

/// What was found up to sequence number `through`, ascending, in parts: each with the number up to
/// which it and those before it are all there is.
pub(crate) fn parts(mut hits: Vec<Hit>, through: u64) -> Vec<(u64, Vec<Hit>)> {
    let mut parts = Vec::new();
    while hits.len() > TOGETHER {
        let last = hits.get(TOGETHER - 1).map_or(0, |hit| hit.order.seq);
        let rest = hits.split_off(hits.partition_point(|hit| hit.order.seq <= last));
        parts.push((last, std::mem::replace(&mut hits, rest)));
    }
    parts.push((through, hits));
    parts
}

impl Shares {
    /// Notes how far one has come; how far all have, once each has told.
    fn came_to(&mut self, share: Shard, through: u64) -> Option<u64> {
        if self.count != share.count {
            if self.count > 0 {
                let (before, now) = (self.count, share.count);
                tracing::warn!(
                    before,
                    now,
                    "engines with another number of shares: give all the same engine.share"
                );
            }
            (self.count, self.came) = (share.count, BTreeMap::new());
        }
        let came = self.came.entry(share.index).or_default();
        *came = through.max(*came);
        let all = self.came.len() as u64 == u64::from(self.count);
        self.came.values().copied().min().filter(|_| all)
    }
}

impl HitsLog {
    /// Opens the log in `dir` beside a journal that ends at sequence number `journal_last`, and hands
    /// every frame of it to `each`.
    pub(crate) fn open(
        dir: &Path,
        options: Options,
        journal_last: u64,
        mut each: impl FnMut(Found),
    ) -> Result<Self, Failure> {
        let (journal, recovery) = Journal::open(dir, options).map_err(Failure::run)?;
        let mut reader = journal.reader(recovery.first_seq).map_err(Failure::run)?;
        let mut log = Self {
            journal,
            shares: Arc::default(),
            watermark: 0,
            noted: 0,
            above: HashMap::new(),
            places: VecDeque::new(),
            grown: watch::channel(0).0,
        };
        let mut last = 0;
        while let Some(frame) = reader.next_frame().map_err(Failure::run)? {
            let found = decode(&frame)?;
            log.fall(found.void_above);
            last = last.min(found.void_above);
            log.rise(found.watermark);
            log.noted = found.watermark;
            log.note(frame.seq + u64::from(frame.count), &found.hits);
            let newest = found.hits.last().map_or(0, |hit| hit.order.seq);
            last = last.max(newest).max(found.watermark);
            each(found);
        }
        if last > journal_last {
            tracing::warn!(
                last,
                journal_last,
                "the log of hits goes beyond the journal, which has lost rows; the hits on them are void"
            );
            log.fall(journal_last);
            let hits = Vec::new();
            each(log.append(hits, journal_last)?);
        }
        log.grown.send_replace(log.watermark);
        Ok(log)
    }

    /// What readers need.
    pub(crate) fn readers(&self) -> HitsReaders {
        HitsReaders {
            readers: self.journal.readers(),
            grown: self.grown.subscribe(),
            shares: Arc::clone(&self.shares),
        }
    }

    /// Up to which order every hit is in the log.
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Whether so many more may wait for the shares that are behind.
    ///
    /// # Errors
    /// Where those are.
    pub(crate) fn check_room(&self, hits: usize) -> Result<(), String> {
        if self.above.len() + hits <= ABOVE_MAX {
            return Ok(());
        }
        Err(format!(
            "{ABOVE_MAX} hits wait for shares of the engines that have come only to sequence number {}",
            self.watermark
        ))
    }

    /// Takes what a share found up to sequence number `through`, since it said so last, ascending;
    /// those that were not in the log before.
    ///
    /// # Errors
    /// When the log cannot take it.
    pub(crate) fn found(
        &mut self,
        share: Shard,
        through: u64,
        hits: Vec<Hit>,
    ) -> Result<Vec<Hit>, Failure> {
        let mut new = Vec::new();
        for (_, mut part) in parts(hits, through) {
            part.retain(|hit| {
                hit.order.seq > self.watermark && !self.above.contains_key(&hit.hit_id)
            });
            if !part.is_empty() {
                new.extend(self.append(part, u64::MAX)?.hits);
            }
        }
        let all = lock(&self.shares).came_to(share, through);
        self.rise(all.unwrap_or(0));
        self.grown.send_replace(self.watermark);
        Ok(new)
    }

    fn append(&mut self, hits: Vec<Hit>, void_above: u64) -> Result<Found, Failure> {
        let mut payload = self.watermark.to_le_bytes().to_vec();
        payload.extend(void_above.to_le_bytes());
        encode_hits(&hits, &mut payload);
        let (count, now) = (hits.len().max(1) as u32, clock::now().nanos());
        let seq = self
            .journal
            .append(frame_kind::HITS, count, now, &payload)
            .map_err(Failure::run)?;
        self.journal.commit().map_err(Failure::run)?;
        self.note(seq + u64::from(count), &hits);
        self.noted = self.watermark;
        Ok(Found {
            watermark: self.watermark,
            void_above,
            hits,
        })
    }

    /// Whether it still takes hits.
    ///
    /// # Errors
    /// Why it does not until the next start.
    pub(crate) fn check_running(&mut self) -> Result<(), Failure> {
        let running = self.journal.check_running();
        running.map_err(|stopped| Failure::run(format!("the log of hits: {stopped}")))
    }

    /// Forces it to the disk, whatever the policy, and with it the watermark: an engine will not find
    /// these hits again.
    pub(crate) fn sync(&mut self) -> Result<(), Failure> {
        if self.noted < self.watermark {
            self.append(Vec::new(), u64::MAX)?;
        }
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

    /// Forgets what is void.
    fn fall(&mut self, void_above: u64) {
        self.watermark = self.watermark.min(void_above);
        self.above.retain(|_, seq| *seq <= void_above);
    }

    fn rise(&mut self, watermark: u64) {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.above.retain(|_, seq| *seq > watermark);
        }
    }
}

/// Reads a frame of the log.
pub(crate) fn decode(frame: &FrameRef<'_>) -> Result<Found, Failure> {
    let wrong = |what: String| {
        Failure::run(format!(
            "the log of hits at its sequence number {}: {what}; delete the directory {HITS_DIR} and the engines' \
             checkpoints: engines find the hits of the journal again",
            frame.seq
        ))
    };
    let short = || wrong("a frame that ends early".to_owned());
    let (watermark, rest) = frame.payload.split_first_chunk().ok_or_else(short)?;
    let (void_above, hits) = rest.split_first_chunk().ok_or_else(short)?;
    Ok(Found {
        watermark: u64::from_le_bytes(*watermark),
        void_above: u64::from_le_bytes(*void_above),
        hits: decode_hits(hits).map_err(|error| wrong(error.to_string()))?,
    })
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
            let found = decode(&frame).unwrap();
            seqs.retain(|seq| *seq <= found.void_above);
            seqs.extend(found.hits.iter().map(|hit| hit.order.seq));
        }
        seqs
    }

    fn open(dir: &Path, options: Options, journal_last: u64) -> HitsLog {
        HitsLog::open(dir, options, journal_last, |_| ()).unwrap()
    }

    const A: Shard = Shard { index: 0, count: 2 };
    const B: Shard = Shard { index: 1, count: 2 };

    #[test]
    fn a_hit_that_is_found_again_is_in_the_log_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), Options::default(), u64::MAX);
        log.found(A, 10, hits(&[3, 7])).unwrap();
        assert_eq!(*log.readers().grown.borrow(), 0, "the other share is away");
        assert_eq!(log.readers().shares(), [(A, Some(10)), (B, None)]);
        log.found(B, 5, hits(&[5])).unwrap();
        assert_eq!(*log.readers().grown.borrow(), 5);
        // An engine died and finds them again: below the watermark, and above it.
        log.found(A, 10, hits(&[3, 7, 9])).unwrap();
        assert_eq!(all(&log), [3, 7, 5, 9]);
        // The journal's process too.
        drop(log);
        let mut log = open(dir.path(), Options::default(), u64::MAX);
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
        let mut log = open(dir.path(), options.clone(), u64::MAX);
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
        let mut log = open(dir.path(), options, u64::MAX);
        log.found(Shard::WHOLE, 20, hits(&[2, 19, 20])).unwrap();
        assert_eq!(all(&log), left);
    }

    #[test]
    fn hits_on_rows_that_the_journal_has_lost_are_void() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), Options::default(), 0);
        log.found(Shard::WHOLE, 9, hits(&[3, 7, 9])).unwrap();
        log.found(Shard::WHOLE, 12, hits(&[12])).unwrap();
        drop(log);
        let log = open(dir.path(), Options::default(), 7);
        assert_eq!(log.watermark(), 7);
        assert_eq!(all(&log), [3, 7]);
        drop(log);
        // Other rows come to stand there: a hit on one of them is taken, also after another start.
        let mut log = open(dir.path(), Options::default(), 20);
        assert_eq!(log.watermark(), 7);
        log.found(Shard::WHOLE, 20, hits(&[3, 7, 9, 20])).unwrap();
        assert_eq!(all(&log), [3, 7, 9, 20]);
        drop(log);
        let mut told = Vec::new();
        let each = |found: Found| told.push((found.void_above, found.hits.len()));
        HitsLog::open(dir.path(), Options::default(), 20, each).unwrap();
        assert_eq!(told, [(u64::MAX, 3), (u64::MAX, 1), (7, 0), (u64::MAX, 2)]);
    }

    #[test]
    fn many_hits_go_in_parts_and_those_of_one_event_stay_together() {
        let one = hits(&(1..=511).collect::<Vec<_>>());
        let event = std::iter::repeat_n(hits(&[512]).remove(0), 5);
        let many: Vec<Hit> = one.into_iter().chain(event).chain(hits(&[600])).collect();
        let found = parts(many, 700);
        let found: Vec<_> = found.iter().map(|(to, part)| (*to, part.len())).collect();
        assert_eq!(found, [(512, 516), (700, 1)]);
        assert_eq!(parts(Vec::new(), 7).len(), 1);
    }
}
