//! The session that rolled while the process was away, retention after it, and a restart on what the
//! journal still has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use support::cluster::Cluster;
use support::{Server, data, run, tables, tapewatch, wait_for};
use tapewatch_connect::CsvOrders;
use tapewatch_journal::{Journal, Options, Reader};
use tapewatch_model::{Bucket, OrderSource as _, encode_bucket, frame_kind};

/// A journal whose rows came ten days ago: the reference's orders, two at a time, again and again in
/// segments of a few frames; behind them nothing but clears.
fn write_old_journal(dir: &Path, times: usize, clears: usize) {
    let options = Options {
        segment_bytes_max: 4_000,
        ..Options::default()
    };
    let (mut journal, _) = Journal::open(dir, options).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as i64;
    let received = now - 10 * 86_400_000_000_000;
    for _ in 0..times {
        journal
            .append(frame_kind::CLEAR, 1, received, &[1])
            .unwrap();
        let mut source = CsvOrders::open(&data("spoofingData.csv")).unwrap();
        let mut bucket = Bucket::default();
        while source
            .next_batch(2, &mut bucket.orders, &mut bucket.dead_letters)
            .unwrap()
        {
            let mut payload = Vec::new();
            encode_bucket(&bucket, &mut payload);
            let count = bucket.count() as u32;
            journal
                .append(frame_kind::BUCKET, count, received, &payload)
                .unwrap();
            journal.commit().unwrap();
        }
    }
    for _ in 0..clears {
        journal
            .append(frame_kind::CLEAR, 1, received, &[1])
            .unwrap();
        journal.commit().unwrap();
    }
}

#[test]
fn a_session_that_rolled_while_away_becomes_history_and_alerts_outlive_their_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("data/journal");
    std::fs::create_dir_all(&journal).unwrap();
    write_old_journal(&journal, 30, 0);
    let first_segment = journal.join(format!("{:020}.seg", 1));
    assert!(first_segment.exists());
    let mut server = Server::start(dir.path(), &[]);
    wait_for("the end of the day that has passed", || {
        server.get_json("/api/v1/status")["recent_orders"] == 0
    });
    assert!(
        server.log().contains("rolled while the process was away"),
        "{}",
        server.log()
    );
    wait_for("old segments to go", || !first_segment.exists());
    let alerts = server.get_json("/api/v1/alerts");
    assert_eq!(alerts["rows"].as_array().unwrap().len(), 30);
    let hits = server.csv("select * from hits order by seq");
    server.kill();
    server.restart();
    assert_eq!(
        server.get_json("/api/v1/alerts"),
        alerts,
        "each once, as it was"
    );
    assert_eq!(server.csv("select * from hits order by seq"), hits);
    assert_eq!(server.number("select count(*) from orders"), 300);
    server.push(&json!({ "interval_ms": 0 }));
    assert_eq!(
        server.number("select count(*) from alerts"),
        31,
        "it goes on"
    );
    assert_eq!(server.get_json("/api/v1/status")["alerts"], 31);
}

#[test]
fn in_a_cluster_the_log_of_hits_lets_go_of_what_is_history_and_the_tables_stay() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("data/journal");
    std::fs::create_dir_all(&journal).unwrap();
    write_old_journal(&journal, 30, 0);
    let mut cluster = Cluster::new("");
    let of_cluster = cluster.dir.path().join("data/journal");
    std::fs::create_dir_all(&of_cluster).unwrap();
    for file in std::fs::read_dir(&journal).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().ends_with(".seg") {
            std::fs::copy(file.path(), of_cluster.join(file.file_name())).unwrap();
        }
    }
    // The configuration stands in each segment again: without the same ones rows have other numbers.
    let small = [
        ("TAPEWATCH_JOURNAL__SEGMENT_BYTES_MAX", "4000"),
        ("TAPEWATCH_JOURNAL__RETENTION_BYTES", "1"),
    ];
    let one = Server::start_with(dir.path(), &["--detector", "all"], &small);
    for (name, value) in small {
        cluster.all_have(name, value);
    }
    let mut cluster = cluster.filled();
    for server in [&one, cluster.gateway()] {
        wait_for("the end of the day that has passed", || {
            let (_, status) = server.get("/api/v1/status");
            let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
            status["recent_orders"] == 0 && status["orders"] == 300
        });
        for _ in 0..2 {
            let file = data("spoofingData.csv");
            let (code, _, error) = server.feed(&file, &["--clear", "--rows-per-bucket", "2"]);
            assert_eq!(code, 0, "{error}");
            let (code, _, error) = run(&mut server.command(&["eod"]));
            assert_eq!(code, 0, "{error}");
        }
    }
    let first = format!("data/hits/{:020}.seg", 1);
    let first = cluster.dir.path().join(first);
    wait_for("old hits to go", || !first.exists());
    let expected = tables(&one);
    assert!(expected[1].lines().count() > 30, "hits are at stake");
    cluster.comes_to(&expected, "after retention");
    for name in ["journal", "engine", "engine 2", "recent", "history"] {
        cluster.role(name).kill();
        cluster.role(name).restart();
    }
    cluster.comes_to(&expected, "after retention and a restart of all");
    for server in [&one, cluster.gateway()] {
        let (code, _, error) = server.feed(&data("spoofingData.csv"), &["--clear"]);
        assert_eq!(code, 0, "{error}");
    }
    cluster.comes_to(&tables(&one), "and it goes on");
}

/// Who reads both would miss rows there.
#[test]
fn retention_leaves_no_gap_between_history_and_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("data/journal");
    std::fs::create_dir_all(&journal).unwrap();
    write_old_journal(&journal, 30, 500);
    let first_segment = journal.join(format!("{:020}.seg", 1));
    let server = Server::start(dir.path(), &[]);
    wait_for("old segments to go", || !first_segment.exists());
    assert_eq!(server.number("select count(*) from orders"), 300);
    let mut command = tapewatch();
    command
        .arg("backtest")
        .arg("--data")
        .arg(dir.path().join("data"));
    let (code, _, error) = run(&mut command);
    assert_eq!(code, 0, "{error}");
}

#[test]
fn retention_by_size_never_takes_what_a_restart_needs() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("t.toml");
    std::fs::write(
        &config,
        "[journal]\nretention_bytes = 1\nsegment_bytes_max = 100\n",
    )
    .unwrap();
    let mut server = Server::start(dir.path(), &["--config", config.to_str().unwrap()]);
    let text = std::fs::read_to_string(data("spoofingData.csv")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let feed = |server: &Server, rows: &[&str]| {
        let body = format!("{}\n{}\n", lines[0], rows.join("\n"));
        assert_eq!(
            server
                .http("POST", "/api/v1/orders", "text/csv", body.as_bytes())
                .0,
            200
        );
    };
    feed(&server, &lines[1..9]);
    assert_eq!(server.http("POST", "/api/v1/eod", "", b"").0, 200);
    feed(&server, &lines[9..]);
    let expected = std::fs::read_to_string(data("expected/alerts_push_once.csv")).unwrap();
    assert_eq!(server.csv("select * from orderAlerts"), expected);
    server.kill();
    server.restart();
    assert_eq!(server.csv("select * from orderAlerts"), expected);
    assert_eq!(
        server.get_json("/api/v1/alerts")["rows"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn other_pages_are_refused() {
    use std::io::{Read as _, Write as _};
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let ask = |headers: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let request = format!(
            "POST /api/v1/clear HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let port = server.port;
    assert_eq!(ask(&format!("host: 127.0.0.1:{port}\r\n")), "200");
    assert_eq!(
        ask(&format!(
            "host: 127.0.0.1:{port}\r\norigin: http://127.0.0.1:{port}\r\n"
        )),
        "200"
    );
    assert_eq!(
        ask(&format!(
            "host: 127.0.0.1:{port}\r\norigin: http://evil.example\r\n"
        )),
        "403"
    );
    assert_eq!(ask("host: evil.example\r\n"), "403");
}

/// The segments of a journal: their files, the bytes of their frames, and whether one of these tells the
/// configuration.
fn segments(dir: &Path) -> Vec<(std::path::PathBuf, Vec<usize>, bool)> {
    let files = std::fs::read_dir(dir).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|it| it == "seg"))
        .collect();
    files.sort();
    let first =
        |file: &Path| -> u64 { file.file_stem().unwrap().to_str().unwrap().parse().unwrap() };
    let mut all: Vec<_> = files
        .iter()
        .map(|file| (file.clone(), Vec::new(), false))
        .collect();
    let mut reader = Reader::open(dir, first(&files[0])).unwrap();
    while let Some(frame) = reader.next_frame().unwrap() {
        let at = files.partition_point(|file| first(file) <= frame.seq) - 1;
        all[at].1.push(frame.bytes.len());
        all[at].2 |= frame.kind == frame_kind::DETECTOR_CONFIG;
    }
    all
}

/// What a process began that died is done by the next one: else rows would get other numbers.
#[test]
fn each_segment_tells_the_configuration_whenever_a_process_dies() {
    const HEADER: usize = 32;
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("data/journal");
    let small = [("TAPEWATCH_JOURNAL__SEGMENT_BYTES_MAX", "4000")];
    let mut server = Server::start_with(dir.path(), &[], &small);
    let feed = |server: &Server| {
        let arguments = ["--clear", "--rows-per-bucket", "2"];
        let (code, _, error) = server.feed(&data("spoofingData.csv"), &arguments);
        assert_eq!(code, 0, "{error}");
    };
    // It died before the first frame of its last segment, and behind it.
    for kept in [0, 1] {
        for _ in 0..5 {
            feed(&server);
        }
        server.kill();
        let all = segments(&journal);
        let (last, frames, _) = all.last().unwrap();
        let length: usize = HEADER + frames[..kept].iter().sum::<usize>();
        let file = std::fs::OpenOptions::new().write(true).open(last).unwrap();
        file.set_len(length as u64).unwrap();
        server.restart();
        feed(&server);
        server.kill();
        for (file, frames, told) in segments(&journal) {
            assert!(told || frames.is_empty(), "{kept}: {}", file.display());
        }
        server.restart();
    }
}
