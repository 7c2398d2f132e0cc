//! Publishers of the simulation: with a name and numbers, which say again what was not answered and now
//! and then what was, over two ways; and without, which do not.
//!
//! Invariant: what is noted as acknowledged was answered so; a bucket that is said again and
//! acknowledged again stands where it stood.

use tapewatch_model::{Bucket, Details, EventType, Origin, Price, Quantity, RowRef, Side, Time};
use tokio::sync::oneshot;

use super::Dice;
use super::roles::{JournalRole, Link};
use crate::fold::Placed;
use crate::pipeline::{Command, PublishError, Published};

/// What is known of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Not answered yet.
    Nothing,
    Acknowledged(Placed),
    /// It was acknowledged under a policy that lets a loss of power take it.
    Lost,
    /// Whoever published it cannot know.
    Unknown,
}

type Answer = oneshot::Receiver<Result<Published, PublishError>>;

pub(super) struct Publisher {
    pub(super) number: usize,
    named: bool,
    pub(super) buckets: Vec<Bucket>,
    pub(super) known: Vec<Known>,
    /// The bucket whose turn it is.
    at: usize,
    pub(super) ways: [Link; 2],
    /// Answers that are due, of which bucket and way.
    due: Vec<(usize, usize, Answer)>,
    /// Processes so far.
    runs: u64,
    pub(super) duplicates: u64,
}

fn bucket(dice: &mut Dice, publisher: usize, number: usize) -> Bucket {
    let mut bucket = Bucket::default();
    for row in 0..1 + dice.below(5) {
        let texts = [
            format!("SYM{}", dice.below(5)),
            format!("T{}", dice.below(2)),
            format!("O{publisher}-{number}-{row}"),
        ];
        let row = RowRef::<[u8]> {
            time: Time::from_nanos((number as i64 * 800 + dice.below(800) as i64) * 1_000_000),
            sym: texts[0].as_bytes(),
            event_type: [EventType::New, EventType::Cancelled][dice.below(2) as usize],
            trader: texts[1].as_bytes(),
            side: [Side::Buy, Side::Sell][dice.below(2) as usize],
            order_id: texts[2].as_bytes(),
            price: Price::from_units(1),
            quantity: Quantity::from_whole(60).unwrap(),
            details: Details::default(),
        };
        bucket.orders.push(&row).unwrap();
    }
    bucket
}

impl Publisher {
    pub(super) fn new(number: usize, named: bool, buckets: usize, dice: &mut Dice) -> Self {
        let of = |at| {
            let mut bucket = bucket(dice, number, at);
            if named {
                bucket.origin = Origin {
                    producer: format!("producer {number}"),
                    batch: at as u64 + 1,
                };
            }
            bucket
        };
        let mut publisher = Self {
            number,
            named,
            buckets: (0..buckets).map(of).collect(),
            known: vec![Known::Nothing; buckets],
            at: 0,
            ways: ["", ""].map(Link::new),
            due: Vec::new(),
            runs: 0,
            duplicates: 0,
        };
        publisher.restart(0);
        publisher.restart(1);
        publisher
    }

    /// The process of a way is killed and started again.
    pub(super) fn restart(&mut self, way: usize) {
        self.runs += 1;
        self.ways[way] = Link::new(&format!("run {}-{}", self.number, self.runs));
    }

    pub(super) fn is_done(&self) -> bool {
        self.at >= self.buckets.len()
    }

    pub(super) fn step(&mut self, journal: &mut JournalRole, dice: &mut Dice) {
        let way = dice.below(if self.named { 2 } else { 1 }) as usize;
        self.ways[way].step(journal, dice);
        self.hear();
        let waits = self.due.iter().any(|(bucket, ..)| *bucket == self.at);
        if !self.is_done() && !waits && self.ways[way].has_room() {
            self.say(self.at, way);
        } else if self.named && dice.below(12) == 0 && self.ways[way].has_room() {
            // Once more what is under way, or was answered long ago.
            let back = dice.below(3) as usize;
            let bucket = self.at.saturating_sub(back).min(self.buckets.len() - 1);
            if bucket < self.at || waits {
                self.say(bucket, way);
            }
        }
    }

    fn say(&mut self, bucket: usize, way: usize) {
        let (reply, answer) = oneshot::channel();
        let command = Command::Publish(self.buckets[bucket].clone().into(), reply);
        self.ways[way].push(command);
        self.due.push((bucket, way, answer));
    }

    fn hear(&mut self) {
        for (bucket, way, mut answer) in std::mem::take(&mut self.due) {
            match answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => self.due.push((bucket, way, answer)),
                Ok(Ok(published)) => self.acknowledged(bucket, published),
                // The process is gone, or does not know.
                Err(_) | Ok(Err(PublishError::Unknown(_))) if !self.named => {
                    self.known[bucket] = Known::Unknown;
                    self.at = bucket + 1;
                }
                Ok(Err(PublishError::Invalid(why))) => {
                    assert!(bucket < self.at, "bucket {bucket} was refused: {why}");
                }
                // It is said again when its turn comes.
                Err(_) | Ok(Err(_)) => {}
            }
        }
    }

    fn acknowledged(&mut self, bucket: usize, published: Published) {
        self.duplicates += u64::from(published.duplicate);
        if let Known::Acknowledged(placed) = self.known[bucket] {
            assert_eq!(placed, published.placed, "acknowledged twice");
        }
        self.known[bucket] = Known::Acknowledged(published.placed);
        self.at = self.at.max(bucket + 1);
    }

    /// A loss of power took rows after `last`, which the policy allows.
    pub(super) fn lost(&mut self, last: u64) {
        for known in &mut self.known {
            if let Known::Acknowledged(placed) = known
                && placed.first_seq + placed.orders - 1 > last
            {
                *known = Known::Lost;
            }
        }
    }
}
