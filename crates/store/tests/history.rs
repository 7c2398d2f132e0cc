//! Recent and history from outside: moving, reopening, reading back, other readers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::path::Path;

use common::{DAY, batch, check_count, csv, dump, hit, letter, lines, open, order};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use tapewatch_model::{EventType, Order, Time};
use tapewatch_store::Store;

fn files(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return usize::from(dir.is_file());
    };
    entries.map(|entry| files(&entry.unwrap().path())).sum()
}

fn fill(store: &Store, upto: u64) {
    let orders: Vec<Order> = (1..=upto).map(|seq| order(seq, (seq % 3) as i64)).collect();
    store.append_orders(batch(&orders));
    let hits: Vec<_> = orders.into_iter().step_by(5).map(hit).collect();
    store.append_hits(&hits);
    store.append_dead_letters(upto + 1, order(1, 4).time, &[letter(1), letter(2)]);
}

#[tokio::test]
async fn rows_move_to_the_partitions_of_their_dates() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store, 100);
    let before = dump(&store).await;
    let report = store.end_of_day(102).await.unwrap();
    assert_eq!(
        (
            report.orders.rows,
            report.orders.files,
            report.orders.through
        ),
        (100, 3, 100)
    );
    let dates: Vec<_> = report
        .orders
        .dates
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(dates, ["2024-01-05", "2024-01-06", "2024-01-07"]);
    assert_eq!((report.hits.rows, report.dead_letters.rows), (20, 2));
    assert_eq!(dump(&store).await, before);
    let counts = store.counts();
    assert_eq!(
        (
            counts.orders,
            counts.hits,
            counts.dead_letters,
            counts.recent_orders
        ),
        (100, 20, 2, 0)
    );
    let on_disk = files(dir.path());
    assert_eq!(store.end_of_day(102).await.unwrap().orders.rows, 0);
    assert_eq!(files(dir.path()), on_disk, "nothing new, nothing written");
    // A late row of an old day adds a file there.
    store.append_orders(batch(&[order(103, 0)]));
    let report = store.end_of_day(200).await.unwrap();
    assert_eq!(
        (report.orders.rows, report.orders.files, report.hits.rows),
        (1, 1, 0)
    );
    let mark = store.high_water();
    assert_eq!((mark.orders, mark.hits, mark.dead_letters), (103, 96, 102));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ends_of_day_at_once_move_each_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store, 300);
    let before = dump(&store).await;
    let (a, b) = tokio::join!(
        tokio::spawn({
            let store = store.clone();
            async move { store.end_of_day(302).await.unwrap().orders.rows }
        }),
        tokio::spawn({
            let store = store.clone();
            async move { store.end_of_day(302).await.unwrap().orders.rows }
        })
    );
    assert_eq!(a.unwrap() + b.unwrap(), 300);
    assert_eq!(dump(&store).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_sees_each_row_once_while_rows_move() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mover = tokio::spawn({
        let store = store.clone();
        async move {
            for start in (1..=2_000_u64).step_by(100) {
                let orders: Vec<_> = (start..start + 100).map(|seq| order(seq, 0)).collect();
                store.append_orders(batch(&orders));
                let hits: Vec<_> = orders.into_iter().step_by(3).map(hit).collect();
                store.append_hits(&hits);
                if start % 400 == 1 {
                    store.end_of_day(start + 50).await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let mut last = 0;
    while !mover.is_finished() {
        let text = lines(
            &store,
            "SELECT count(*) AS a, count(DISTINCT seq) AS b, coalesce(max(seq), 0) AS c, (SELECT \
             count(*) FROM hits WHERE seq NOT IN (SELECT seq FROM orders)) AS d FROM orders",
        )
        .await;
        let numbers: Vec<u64> = text
            .lines()
            .nth(1)
            .unwrap()
            .split(',')
            .map(|n| n.parse().unwrap())
            .collect();
        assert_eq!(
            (numbers[0], numbers[1], numbers[3]),
            (numbers[2], numbers[2], 0)
        );
        assert!(numbers[0] >= last);
        last = numbers[0];
    }
    mover.await.unwrap();
}

#[tokio::test]
async fn filters_on_date_and_time_leave_out_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for day in 0..4 {
        let seq = 1 + day * 10;
        store.append_orders(batch(&[order(seq, day as i64), order(seq + 1, day as i64)]));
        store.end_of_day(seq + 1).await.unwrap();
    }
    for (filter, rows) in [
        ("date = '2024-01-06'", 2),
        ("date >= DATE '2024-01-08'", 2),
        ("time >= '2024-01-08T00:00:00Z'", 2),
        ("time < '2024-01-06T00:00:00Z'", 2),
        ("date = '2030-01-01'", 0),
    ] {
        check_count(&store, filter, rows).await;
        let sql = format!("EXPLAIN ANALYZE SELECT seq, price FROM orders WHERE {filter}");
        let plan = csv(&store, &sql).await;
        let scanned = plan.matches(".parquet").count();
        assert!(scanned <= 1, "{filter}: {scanned} files\n{plan}");
    }
    let plan = csv(&store, "EXPLAIN SELECT seq, price FROM orders").await;
    assert_eq!(plan.matches(".parquet").count(), 4, "{plan}");
}

#[tokio::test]
async fn plain_delta_lake_reads_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store, 50);
    store.end_of_day(30).await.unwrap();
    let url = url::Url::from_directory_path(dir.path().join("history/orders")).unwrap();
    let table = deltalake::open_table(url).await.unwrap();
    let state = table.snapshot().unwrap();
    assert_eq!(state.metadata().partition_columns(), &["date".to_owned()]);
    let mark = state
        .transaction_version(table.log_store().as_ref(), "tapewatch")
        .await;
    assert_eq!(mark.unwrap(), Some(30));
    assert_eq!(
        (
            state.protocol().min_reader_version(),
            state.protocol().min_writer_version()
        ),
        (1, 2)
    );
    let schema = state.snapshot().arrow_schema();
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    assert_eq!(
        columns.join(", "),
        "seq Int64, time_ns Int64, date Date32, sym Utf8, event_type Utf8, trader Utf8, side Utf8, \
         order_id Utf8, price Decimal128(19, 9), quantity Decimal128(19, 8), account Utf8, \
         exec_id Utf8, display_quantity Decimal128(19, 8), flags Utf8"
    );
    for file in table.get_file_uris().unwrap() {
        let rows = sorted_rows(Path::new(file.trim_start_matches("file://")));
        assert!(rows.is_sorted(), "{file}: {rows:?}");
    }
    for file in state.log_data().iter() {
        assert_eq!(file.num_records(), Some(10));
    }
}

/// Event type, instrument and number of each row; each row group has one event type.
fn sorted_rows(file: &Path) -> Vec<(EventType, String, i64)> {
    use arrow::array::AsArray as _;
    let builder = || {
        let file = std::fs::File::open(file).unwrap();
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap()
    };
    let mut all = Vec::new();
    for group in 0..builder().metadata().num_row_groups() {
        let before = all.len();
        for rows in builder().with_row_groups(vec![group]).build().unwrap() {
            let rows = rows.unwrap();
            let seqs = rows["seq"].as_primitive::<arrow::datatypes::Int64Type>();
            let (kinds, syms) = (
                rows["event_type"].as_string::<i32>(),
                rows["sym"].as_string::<i32>(),
            );
            all.extend((0..rows.num_rows()).map(|row| {
                let kind = EventType::parse(kinds.value(row).as_bytes()).unwrap();
                (kind, syms.value(row).to_owned(), seqs.value(row))
            }));
        }
        let group: Vec<_> = all[before..].iter().map(|(kind, ..)| *kind).collect();
        assert!(!group.is_empty() && group.len() <= 131_072);
        assert!(group.iter().all(|kind| *kind == group[0]), "{group:?}");
    }
    all
}

/// What no row of a file fills costs nothing there.
#[tokio::test]
async fn a_file_has_the_columns_that_its_rows_fill() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let rows: Vec<Order> = (0..4).map(|day| order(18 + day, day as i64)).collect();
    store.append_orders(batch(&rows));
    store.end_of_day(21).await.unwrap();
    for (day, told) in [&[][..], &[], &["account"], &["exec_id", "flags"]]
        .iter()
        .enumerate()
    {
        let dir = dir
            .path()
            .join(format!("history/orders/date=2024-01-0{}", 5 + day));
        let entry = std::fs::read_dir(dir).unwrap().next().unwrap().unwrap();
        let file = std::fs::File::open(entry.path()).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let columns = builder
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        assert_eq!(columns.skip(9).collect::<Vec<_>>(), *told, "day {day}");
    }
    for (filter, rows) in [
        ("account = 'ACC, 2'", 1),
        ("account <> 'ACC, 2'", 0),
        ("exec_id = 'E21' AND flags = 'ioc aggressor'", 1),
        ("flags LIKE '%aggressor%'", 1),
        ("account IS NULL AND display_quantity IS NULL", 3),
        ("coalesce(display_quantity, 5) = 5", 4),
    ] {
        check_count(&store, filter, rows).await;
    }
}

#[tokio::test]
async fn history_orders_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let all: Vec<Order> = (1..=3_000)
        .map(|seq| order(seq, (seq % 3) as i64))
        .collect();
    store.append_orders(batch(&all[..2_000]));
    store.end_of_day(1_500).await.unwrap();
    store.append_orders(batch(&all[2_000..]));
    let start = all[2].time.nanos() / DAY * DAY;
    for (from, to) in [
        (i64::MIN, i64::MAX),
        (start, start + DAY),
        (start + DAY, start + DAY),
        (all[500].time.nanos(), all[1_900].time.nanos()),
    ] {
        let (from, to) = (Time::from_nanos(from), Time::from_nanos(to));
        let expected: Vec<&Order> = all
            .iter()
            .filter(|o| o.time >= from && o.time < to)
            .collect();
        let mut stream = store.history_orders(from, to).await.unwrap();
        let mut got = Vec::new();
        while let Some(orders) = stream.next().await.unwrap() {
            got.extend((0..orders.len()).map(|index| orders.order(index).unwrap()));
        }
        assert_eq!(got.iter().collect::<Vec<_>>(), expected, "{from} {to}");
    }
    assert_eq!(store.recent_orders(0, 3), all[1_500..1_503]);
    assert_eq!(store.recent_orders(1_999, 2), all[1_999..2_001]);
    assert_eq!(store.recent_orders(3_000, 2), []);
    assert_eq!(store.recent_orders_last(2), all[2_998..]);
    assert_eq!(store.recent_orders_last(100_000).len(), 1_500);
}

#[tokio::test]
async fn chunks_are_sealed_without_a_seam() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let all: Vec<Order> = (1..=40_000).map(|seq| order(seq, 0)).collect();
    for part in all.chunks(7_001) {
        store.append_orders(batch(part));
        assert_eq!(store.recent_orders_last(1)[0], *part.last().unwrap());
    }
    assert_eq!(store.recent_orders(16_380, 10), all[16_380..16_390]);
    assert_eq!(store.recent_orders_last(25_000), all[15_000..]);
    assert_eq!(store.end_of_day(20_000).await.unwrap().orders.rows, 20_000);
    assert_eq!(store.recent_orders(0, 1)[0], all[20_000]);
    assert_eq!(store.counts().recent_orders, 20_000);
    let sums = "SELECT count(*), sum(seq), count(DISTINCT order_id) FROM orders";
    assert_eq!(
        lines(&store, sums).await.lines().nth(1),
        Some("40000,800020000,40000")
    );
}

#[tokio::test]
async fn damage_is_told_with_table_and_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store, 10);
    store.end_of_day(10).await.unwrap();
    drop(store);
    let log = dir
        .path()
        .join("history/hits/_delta_log/00000000000000000001.json");
    std::fs::write(&log, "{\"add\": nonsense").unwrap();
    let error = Store::open(dir.path(), tapewatch_store::StoreOptions::default()).await;
    let Err(error) = error else { panic!("opened") };
    let text = error.to_string();
    assert!(
        text.contains("table hits in ") && text.contains("history/hits"),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn moving_and_reopening_anywhere_changes_nothing(
        steps in proptest::collection::vec((1_u64..60, any::<bool>(), any::<bool>()), 1..5)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let plain = open(&dir.path().join("plain")).await;
            let moved = dir.path().join("moved");
            let mut store = open(&moved).await;
            let mut all: Vec<Order> = Vec::new();
            for (rows, move_all, reopen) in steps {
                let first = all.len() as u64 + 1;
                let new: Vec<Order> = (first..first + rows).map(|seq| order(seq, (seq * 7 % 5) as i64)).collect();
                plain.append_orders(batch(&new));
                store.append_orders(batch(&new));
                all.extend(new);
                let through = if move_all { u64::MAX >> 1 } else { first + rows / 2 };
                store.end_of_day(through).await.unwrap();
                if reopen {
                    drop(store);
                    store = open(&moved).await;
                    store.append_orders(batch(&all));
                }
                assert_eq!(store.counts().orders, all.len() as u64);
            }
            assert_eq!(dump(&store).await, dump(&plain).await);
        });
    }
}
