//! Power loss: sectors that were not synced are missing in any order. Nothing that was synced is
//! lost, the journal starts again, and damage to what was synced is still called damage.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::{Kept, read_on, sample, tempdir};
use crate::format::{FrameHeader, encode_frame, encode_segment_header};
use crate::judge::{Verdict, judge_bytes};
use crate::{Journal, OpenError, Options};

/// A segment as a writer leaves it whose syncs reached `stable` of each frame.
struct Tape {
    bytes: Vec<u8>,
    frames: Vec<Kept>,
    /// Where each frame begins, and the end.
    offsets: Vec<usize>,
}

fn tape(frames: &[(usize, bool)]) -> Tape {
    let mut out = Tape {
        bytes: encode_segment_header(1).to_vec(),
        frames: vec![],
        offsets: vec![],
    };
    let (mut seq, mut stable) = (1, 1);
    for (n, (bytes, synced_before)) in frames.iter().enumerate() {
        if *synced_before {
            stable = seq;
        }
        let frame = Kept {
            seq,
            ..sample(n as u64, *bytes)
        };
        let Kept {
            count,
            kind,
            time,
            ref payload,
            ..
        } = frame;
        out.offsets.push(out.bytes.len());
        encode_frame(
            &mut out.bytes,
            &FrameHeader {
                crc: 0,
                length: 0,
                count,
                kind,
                seq,
                stable,
                time,
            },
            payload,
        );
        seq += u64::from(count);
        out.frames.push(frame);
    }
    out.offsets.push(out.bytes.len());
    out
}

fn open(dir: &Path, bytes: &[u8]) -> Result<Vec<Kept>, OpenError> {
    fs::write(dir.join("00000000000000000001.seg"), bytes).unwrap();
    let (journal, recovery) = Journal::open(dir, Options::default())?;
    assert_eq!(
        recovery.torn.is_some(),
        recovery
            .torn
            .as_ref()
            .is_some_and(|torn| torn.saved_to.exists())
    );
    Ok(read_on(&mut journal.reader(1).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Some frames are synced; of the rest each sector either reached the disk or reads as before,
    /// and the length may not have reached it either.
    #[test]
    fn unsynced_sectors_may_be_missing_in_any_order(
        sizes in prop::collection::vec((0_usize..1_500, any::<bool>()), 1..12),
        missing in prop::collection::vec(any::<bool>(), 40),
        cut in 0.0_f64..1.3,
    ) {
        let mut tape = tape(&sizes);
        // What the last frame knows to be synced is; nothing is known about later syncs.
        let synced = sizes.iter().rposition(|(_, synced)| *synced).unwrap_or(0);
        let synced_to = tape.offsets[synced];
        let unsynced = tape.bytes.len() - synced_to;
        if cut < 1.0 {
            tape.bytes.truncate(synced_to + (unsynced as f64 * cut) as usize);
        }
        for (sector, missing) in tape.bytes.chunks_mut(512).enumerate().zip(missing.into_iter().cycle()) {
            let (at, bytes) = sector;
            let begin = synced_to.saturating_sub(at * 512).min(bytes.len());
            if missing {
                bytes[begin..].fill(0);
            }
        }
        let dir = tempdir();
        let found = open(dir.path(), &tape.bytes).unwrap();
        prop_assert!(found.len() >= synced, "{} of {synced} synced frames", found.len());
        prop_assert_eq!(&found[..], &tape.frames[..found.len()]);
    }

    #[test]
    fn a_lost_sector_that_was_synced_is_damage(
        sizes in prop::collection::vec(600_usize..1_500, 3..8),
        at in 0.0_f64..1.0,
    ) {
        let mut tape = tape(&sizes.iter().map(|bytes| (*bytes, true)).collect::<Vec<_>>());
        let last = tape.offsets[sizes.len() - 1];
        let sector = (last as f64 * at) as usize / 512;
        prop_assume!(sector > 0 && (sector + 1) * 512 <= last);
        tape.bytes[sector * 512..(sector + 1) * 512].fill(0);
        let dir = tempdir();
        let error = open(dir.path(), &tape.bytes).unwrap_err();
        let hurt = tape.offsets.iter().rposition(|offset| *offset <= sector * 512).unwrap();
        let OpenError::Damaged { offset, seq, .. } = error else { panic!("{error}") };
        prop_assert_eq!((offset, seq), (tape.offsets[hurt] as u64, tape.frames[hurt].seq));
    }

    #[test]
    fn the_judge_takes_any_bytes(tail in prop::collection::vec(any::<u8>(), 0..2_000), offset in 0_u64..2_000) {
        prop_assert_eq!(judge_bytes(&tail, offset, 1), Verdict::Torn, "random bytes hold no sound frame");
    }
}

#[test]
fn a_hole_in_what_was_not_synced_is_torn_but_a_flipped_bit_there_is_damage() {
    let mut tape = tape(&[(300, true), (2_000, false), (300, false)]);
    let dir = tempdir();
    let whole = tape.bytes.clone();
    tape.bytes[1_024..1_536].fill(0);
    assert_eq!(open(dir.path(), &tape.bytes).unwrap(), tape.frames[..1]);
    let mut flipped = whole;
    flipped[1_100] ^= 1;
    let error = open(dir.path(), &flipped).unwrap_err().to_string();
    for words in [
        "offset 372 (seq 2)",
        "checksum",
        "a sound frame stands behind it, of seq 4",
    ] {
        assert!(error.contains(words), "{error}");
    }
}

/// A payload that is full of frame headers must not make the search slow or wrong.
#[test]
fn a_tail_full_of_false_frames_is_judged_in_bounded_time() {
    let mut header = Vec::new();
    encode_frame(
        &mut header,
        &FrameHeader {
            crc: 0,
            length: 0,
            count: 1,
            kind: 0,
            seq: 9,
            stable: 1,
            time: 0,
        },
        &[],
    );
    header[4..8].copy_from_slice(&2_000_000_u32.to_le_bytes());
    let tail = header.repeat(100_000);
    assert!(
        matches!(judge_bytes(&tail, 100, 5), Verdict::Damaged(reason) if reason.contains("too many"))
    );
}
