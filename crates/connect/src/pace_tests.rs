//! Tests of the pace: bucket sizes, due times, bounds, and that no row is lost or moved.

use proptest::prelude::*;

use super::*;
use crate::CsvOrders;

const HEADER: &str = "time,sym,event_type,trader,side,order_id,price,quantity\n";

/// A row at `millis` past noon; a refused one for `None`.
fn row(number: usize, millis: Option<i64>) -> String {
    match millis {
        None => format!("bad {number}\n"),
        Some(millis) => {
            let noon = 1_429_272_000_000_000_000;
            let time = Time::from_nanos(noon + millis * 1_000_000);
            format!("{time},ABC,new,T,B,{number},1,1\n")
        }
    }
}

fn text(rows: &[Option<i64>]) -> String {
    let rows = rows.iter().enumerate();
    let rows: String = rows.map(|(at, millis)| row(at, *millis)).collect();
    format!("{HEADER}{rows}")
}

fn buckets(text: &str, pace: Pace) -> Vec<Due> {
    let source = CsvOrders::new(text.as_bytes(), "a.csv", 0).unwrap();
    let mut bucketer = Bucketer::new(source, pace);
    let mut all = Vec::new();
    while let Some(due) = bucketer.next_bucket().unwrap() {
        all.push(due);
    }
    assert_eq!(bucketer.next_bucket(), Ok(None));
    all
}

/// Data rows of the bucket: numbers of orders, lines (less the header) of dead letters.
fn rows_of(bucket: &Bucket) -> Vec<u64> {
    let orders = bucket.orders.rows().map(|(seq, _)| seq);
    let letters = bucket.dead_letters.iter().map(|letter| letter.line - 1);
    let mut rows: Vec<u64> = orders.chain(letters).collect();
    rows.sort_unstable();
    rows
}

fn shape(dues: &[Due]) -> Vec<(u64, Vec<u64>)> {
    let micros = |due: &Due| due.after.as_micros() as u64;
    dues.iter()
        .map(|due| (micros(due), rows_of(&due.bucket)))
        .collect()
}

#[test]
fn buckets_of_an_interval_have_exactly_their_rows() {
    let text = text(&[Some(0), None, Some(5), Some(1), Some(2)]);
    let pace = Pace::Interval {
        rows_per_bucket: NonZeroUsize::new(2).unwrap(),
        interval: Duration::from_secs(1),
    };
    let expected = [
        (0, vec![1, 2]),
        (1_000_000, vec![3, 4]),
        (2_000_000, vec![5]),
    ];
    assert_eq!(shape(&buckets(&text, pace)), expected);
    let at_once = buckets(&text, Pace::default());
    assert_eq!(shape(&at_once), [(0, vec![1, 2, 3, 4, 5])]);
    assert_eq!(at_once[0].bucket.orders.seq(1), 3);
}

#[test]
fn event_time_releases_rows_as_they_happened() {
    let rows = [
        None,
        Some(0),
        Some(5),
        None,
        Some(1_000),
        Some(900),
        Some(1_010),
        Some(1_020),
        None,
    ];
    let speed = "10x".parse().unwrap();
    let expected = [
        // The second order is due 0.5 ms after the first: within the tick.
        (0, vec![1, 2, 3, 4]),
        // The late row is due at once; 1,010 ms is due a whole tick after 1,000 ms.
        (100_000, vec![5, 6]),
        (101_000, vec![7]),
        (102_000, vec![8, 9]),
    ];
    assert_eq!(
        shape(&buckets(&text(&rows), Pace::EventTime { speed })),
        expected
    );
}

#[test]
fn a_burst_at_one_time_is_cut_at_the_most_rows() {
    let text = text(&vec![Some(7); BUCKET_ROWS_MAX + 3]);
    let speed = Speed::new(1.0).unwrap();
    let sizes: Vec<_> = buckets(&text, Pace::EventTime { speed })
        .iter()
        .map(|due| (due.after, due.bucket.orders.len()))
        .collect();
    assert_eq!(
        sizes,
        [(Duration::ZERO, BUCKET_ROWS_MAX), (Duration::ZERO, 3)]
    );
}

#[test]
fn large_dead_letters_are_spread_over_buckets() {
    let long = "x".repeat(1_200);
    let lines = format!("{long}\n").repeat(40_000);
    let text = format!("{HEADER}{}{lines}", row(0, Some(0)));
    let rows_per_bucket = NonZeroUsize::new(BUCKET_ROWS_MAX).unwrap();
    let speed = Speed::new(1.0).unwrap();
    for pace in [Pace::Fastest { rows_per_bucket }, Pace::EventTime { speed }] {
        let dues = buckets(&text, pace);
        assert_eq!(dues.len(), 2, "{pace:?}");
        let mut encoded = Vec::new();
        for due in &dues {
            encoded.clear();
            tapewatch_model::encode_bucket(&due.bucket, &mut encoded);
            assert!(encoded.len() <= BUCKET_BYTES_MAX, "{}", encoded.len());
        }
        let rows: Vec<u64> = dues.iter().flat_map(|due| rows_of(&due.bucket)).collect();
        assert!(rows.iter().copied().eq(1..=40_001));
    }
}

/// Fails behind its first rows.
struct Failing<'a>(&'a [u8]);

impl std::io::Read for Failing<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(to)? {
            0 => Err(std::io::Error::other("pulled out")),
            count => Ok(count),
        }
    }
}

#[test]
fn rows_before_a_failure_are_given_out() {
    let text = text(&[Some(0), Some(50), None]);
    for pace in [
        Pace::default(),
        Pace::EventTime {
            speed: "0.5x".parse().unwrap(),
        },
    ] {
        let source = CsvOrders::new(Failing(text.as_bytes()), "a.csv", 0).unwrap();
        let mut bucketer = Bucketer::new(source, pace);
        let mut rows = 0;
        let error = loop {
            match bucketer.next_bucket() {
                Ok(Some(due)) => rows += due.bucket.count(),
                Ok(None) => panic!("the failure was swallowed"),
                Err(error) => break error,
            }
        };
        assert_eq!(rows, 3);
        assert!(error.message.contains("pulled out"));
        assert_eq!(bucketer.next_bucket(), Err(error));
    }
}

#[test]
fn speeds_are_checked() {
    assert_eq!("10x".parse::<Speed>().unwrap().get(), 10.0);
    assert_eq!("0.25".parse::<Speed>().unwrap().to_string(), "0.25x");
    for text in ["", "x", "0x", "-1x", "NaN", "infx", "1 x", "10xx"] {
        assert_eq!(text.parse::<Speed>(), Err(SpeedError(text.to_owned())));
    }
    assert_eq!(ROWS_PER_BUCKET.get(), 8_192);
}

#[test]
fn a_bucket_is_never_larger_than_the_most_rows() {
    let text = text(&vec![Some(7); BUCKET_ROWS_MAX + 3]);
    let rows_per_bucket = NonZeroUsize::MAX;
    let dues = buckets(&text, Pace::Fastest { rows_per_bucket });
    let sizes: Vec<_> = dues.iter().map(|due| due.bucket.count()).collect();
    assert_eq!(sizes, [BUCKET_ROWS_MAX as u64, 3]);
}

#[test]
fn the_longest_gap_and_the_slowest_speed_do_not_overflow() {
    let header = HEADER;
    let (first, last) = (Time::MIN, Time::MAX);
    let text = format!("{header}{first},A,new,T,B,1,1,1\n{last},A,new,T,B,2,1,1\n");
    let speed = Speed::new(f64::MIN_POSITIVE).unwrap();
    let dues = buckets(&text, Pace::EventTime { speed });
    assert_eq!(dues[1].after, Duration::from_nanos(u64::MAX));
}

proptest! {
    #[test]
    fn every_row_comes_once_and_in_order(
        rows in proptest::collection::vec(proptest::option::weighted(0.8, 0_i64..200), 0..60),
        size in 1_usize..7,
        speed in 0.1_f64..50.0,
    ) {
        let text = text(&rows);
        let rows_per_bucket = NonZeroUsize::new(size).unwrap();
        let speed = Speed::new(speed).unwrap();
        for pace in [
            Pace::Fastest { rows_per_bucket },
            Pace::Interval { rows_per_bucket, interval: Duration::from_millis(3) },
            Pace::EventTime { speed },
        ] {
            let dues = buckets(&text, pace);
            let given: Vec<u64> = dues.iter().flat_map(|due| rows_of(&due.bucket)).collect();
            prop_assert_eq!(given, (1..=rows.len() as u64).collect::<Vec<_>>());
            prop_assert!(dues.is_sorted_by_key(|due| due.after));
            prop_assert!(dues.iter().all(|due| !due.bucket.is_empty()));
            if !matches!(pace, Pace::EventTime { .. }) {
                let full = dues.iter().rev().skip(1);
                prop_assert!(full.clone().all(|due| due.bucket.count() == size as u64));
            }
        }
    }
}
