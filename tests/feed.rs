//! The command-line feed as its user meets it: bad rows, strictness, pace, a full disk, no server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Server, data, run, tapewatch, write_orders};

const HEADER: &str = "time,sym,eventType,trader,side,orderID,price,quantity\n";
const GOOD: &str = "2015-04-17T12:00:00,SNDL,new,T,S,O1,1.25,1000\n";

#[test]
fn a_bad_row_becomes_a_dead_letter_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let file = dir.path().join("bad.csv");
    let bad: [(&[u8], &str, &str); 8] = [
        (
            b"2015-04-17T12:00:00,SNDL,new,T,S,O1,1.25,12x",
            "quantity",
            "number",
        ),
        (
            b"2015-04-17T12:00:00,SNDL,new,T,X,O1,1.25,1000",
            "side",
            "X",
        ),
        (
            b"2315-04-17T12:00:00,SNDL,new,T,S,O1,1.25,1000",
            "time",
            "out of range",
        ),
        (
            b"2015-04-17T12:00:00,SN\xffL,new,T,S,O1,1.25,1000",
            "sym",
            "UTF-8",
        ),
        (
            b"2015-04-17T12:00:00,SNDL,new,T,S,O1,1.25",
            "row",
            "7 fields",
        ),
        (
            b"2015-04-17T12:00:00,SNDL,born,T,S,O1,1.25,1000",
            "event_type",
            "born",
        ),
        (
            b"2015-04-17T12:00:00,SNDL,new,T,S,O1,1.25,-1",
            "quantity",
            "negative",
        ),
        (b"2015-04-17T12:00:00,,new,T,S,O1,1.25,1000", "sym", "empty"),
    ];
    let mut text = HEADER.as_bytes().to_vec();
    for (row, _, _) in &bad {
        text.extend_from_slice(row);
        text.push(b'\n');
        text.extend_from_slice(GOOD.as_bytes());
    }
    // A row that is too long is skipped in bounded memory.
    text.extend_from_slice(&vec![b'x'; 200_000]);
    text.push(b'\n');
    text.extend_from_slice(GOOD.as_bytes());
    fs::write(&file, &text).unwrap();

    let (code, _, error) = server.feed(&file, &[]);
    assert_eq!(code, 0, "refused rows are no failure: {error}");
    assert!(
        error.contains("9 orders published, 9 rows refused"),
        "{error}"
    );
    let letters =
        server.csv("select line, \"column\", reason, source from dead_letters order by line");
    let letters: Vec<_> = letters.lines().skip(1).collect();
    assert_eq!(letters.len(), 9);
    for (index, (letter, (_, column, reason))) in letters.iter().zip(&bad).enumerate() {
        assert!(
            letter.starts_with(&format!("{},{column},", 2 + index * 2)),
            "{letter}"
        );
        assert!(
            letter.contains(reason) && letter.contains("bad.csv"),
            "{letter}"
        );
    }
    assert!(letters[8].contains("65536"), "{}", letters[8]);
    assert_eq!(server.number("select count(*) from orders"), 9);
    assert_eq!(server.get_json("/api/v1/status")["dead_letters"], 9);
}

#[test]
fn strict_stops_at_the_first_bad_row_and_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let file = dir.path().join("bad.csv");
    fs::write(
        &file,
        format!("{HEADER}{GOOD}{GOOD}2015-04-17T12:00:00,SNDL,new,T,S,O1,abc,1000\n"),
    )
    .unwrap();
    let (code, _, error) = server.feed(&file, &["--strict", "--rows-per-bucket", "1"]);
    assert_eq!(code, 1, "{error}");
    assert!(
        error.contains("line 4") && error.contains("price") && error.contains("abc"),
        "{error}"
    );
    assert_eq!(server.number("select count(*) from orders"), 0);
    assert_eq!(server.number("select count(*) from dead_letters"), 0);
    let (code, out, error) = run(tapewatch().arg("replay").arg(&file).arg("--strict"));
    assert_eq!((code, out.as_str()), (1, ""), "{error}");
}

#[test]
fn a_file_that_is_no_file_of_orders_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let write = |text: &str| {
        let file = dir.path().join("f.csv");
        fs::write(&file, text).unwrap();
        file
    };
    for (text, expected) in [
        ("", "empty"),
        ("time,sym,eventType,trader,side,orderID,price\n", "quantity"),
        (
            "time,time,sym,eventType,trader,side,orderID,price,quantity\n",
            "time",
        ),
    ] {
        let (code, _, error) = server.feed(&write(text), &[]);
        assert_eq!(code, 3, "{text:?}: {error}");
        assert!(
            error.contains(expected) && error.contains("f.csv"),
            "{text:?}: {error}"
        );
    }
    let (code, _, error) = server.feed(&dir.path().join("none.csv"), &[]);
    assert!(code == 3 && error.contains("none.csv"), "{error}");
    let (code, _, error) = server.feed(&write(HEADER), &[]);
    assert!(code == 0 && error.contains("0 orders"), "{error}");
    let (code, _, error) = server.feed(&write(HEADER), &["--rows-per-bucket", "0"]);
    assert!(code == 2 && error.contains("1 to 65536"), "{error}");
}

#[test]
fn paced_by_interval_and_by_event_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let started = Instant::now();
    let file = data("spoofingData.csv");
    assert_eq!(
        server
            .feed(&file, &["--rows-per-bucket", "2", "--interval", "200ms"])
            .0,
        0
    );
    assert!(
        started.elapsed() >= Duration::from_millis(800),
        "five buckets, four intervals"
    );
    let started = Instant::now();
    assert_eq!(server.feed(&file, &["--speed", "20x", "--clear"]).0, 0);
    assert!(
        started.elapsed() >= Duration::from_millis(1_000),
        "20 s of events at 20x"
    );
    assert_eq!(server.number("select count(*) from orders"), 20);
    assert_eq!(server.number("select count(*) from alerts"), 2);
}

#[test]
fn without_a_server_it_tries_for_the_time_given_and_says_so() {
    let started = Instant::now();
    let (code, _, error) = run(tapewatch()
        .args(["feed", "csv"])
        .arg(data("spoofingData.csv"))
        .args(["--url", "http://127.0.0.1:9", "--retry", "1s"]));
    assert_eq!(code, 3);
    assert!(
        error.contains("127.0.0.1:9") && error.contains("tapewatch up"),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// Needs the right to mount a file system; where that is not given the journal's own tests stand
/// for it, with a disk that fails at every point.
#[test]
fn a_full_disk_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("data");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("not run: no right to mount a small file system here");
        return;
    }
    let filler = disk.join("filler");
    fs::write(&filler, vec![0; 3 << 20]).unwrap();
    let file = dir.path().join("orders.csv");
    write_orders(&file, 30_000);
    let mut server = Server::start(dir.path(), &[]);
    let feed = server
        .command(&[
            "feed",
            "csv",
            file.to_str().unwrap(),
            "--rows-per-bucket",
            "500",
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.counts("reason=\"disk_full\"");
    let (status, answer) = server.http(
        "POST",
        "/api/v1/orders",
        "text/csv",
        &fs::read(&file).unwrap(),
    );
    assert!(
        status == 507 && answer.contains("disk_full"),
        "{status} {answer}"
    );
    let acknowledged = server.number("select count(*) from orders");
    assert!(acknowledged > 0 && acknowledged < 30_000, "{acknowledged}");
    server.kill();
    server.restart();
    assert_eq!(
        server.number("select count(*) from orders"),
        acknowledged,
        "what was taken is there"
    );
    fs::remove_file(&filler).unwrap();
    let feed = feed.wait_with_output().unwrap();
    let error = String::from_utf8(feed.stderr).unwrap();
    assert!(
        feed.status.success() && error.contains("disk is full"),
        "{error}"
    );
    assert_eq!(server.number("select count(*) from orders"), 30_000);
    drop(server);
    assert!(
        Command::new("umount")
            .arg(&disk)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn detectors_that_lack_a_column_or_a_table_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--detector", "all"]);
    assert!(
        server
            .log()
            .contains("not told: a news calendar (reference tables); off for it: before_news"),
        "{}",
        server.log()
    );
    let status = server.get_json("/api/v1/status");
    let missing = |name: &str| {
        let all = status["detectors"].as_array().unwrap().clone();
        let one = all.into_iter().find(|one| one["name"] == name);
        one.unwrap()["missing"].clone()
    };
    assert_eq!(missing("before_news"), "a news calendar (reference tables)");
    assert!(missing("spoofing").is_null());

    let ids = "not told: both sides of an execution (column exec_id); off for it: wash_trade, round_trip, matched_orders";
    let capacity = "not told: whose orders are clients' (flags agency and principal); off for it: front_running";
    let (plain, full) = (dir.path().join("plain.csv"), dir.path().join("full.csv"));
    fs::write(&plain, format!("{HEADER}{GOOD}")).unwrap();
    let more = |line: &str, fields: &str| format!("{},{fields}\n", line.trim_end());
    fs::write(&full, more(HEADER, "exec_id,flags") + &more(GOOD, ",")).unwrap();
    let replay = |file: &Path| {
        run(tapewatch()
            .arg("replay")
            .arg(file)
            .args(["--detector", "all"]))
    };
    for (code, _, said) in [server.feed(&plain, &[]), replay(&plain)] {
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(ids) && said.contains(capacity), "{said}");
    }
    for (code, _, said) in [server.feed(&full, &[]), replay(&full)] {
        assert_eq!(code, 0, "{said}");
        assert!(!said.contains(ids) && !said.contains(capacity), "{said}");
    }
}
