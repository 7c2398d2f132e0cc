//! `tapewatch sql` in every form, with and without a process, and replay over what is stored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::process::Stdio;

use serde_json::json;
use support::{Server, assert_same, run, tables, tapewatch, write_orders};

#[test]
fn every_format_with_and_without_a_process() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(dir.path(), &[]);
    server.push(&json!({ "interval_ms": 0 }));
    assert_eq!(run(&mut server.command(&["eod"])).0, 0);
    server.push(&json!({ "interval_ms": 0 }));
    let query = "select sym, side, count(*) as n, sum(quantity) as q from orders group by sym, side order by side";
    let formats = [
        ("csv", "sym,side,n,q\r\nSNDL,B,4,"),
        ("json", "{\"sym\":\"SNDL\",\"side\":\"B\",\"n\":4,"),
        ("jsonl", "{\"sym\":\"SNDL\",\"side\":\"B\",\"n\":4,"),
        ("table", "| SNDL | B    | 4 |"),
    ];
    let online: Vec<_> = formats
        .iter()
        .map(|(format, _)| {
            let (code, out, error) = run(&mut server.command(&["sql", query, "--format", format]));
            assert_eq!(code, 0, "{error}");
            out
        })
        .collect();
    // Beside the running process, and after it ended: the files alone give the same answers.
    for ended in [false, true] {
        if ended {
            assert_eq!(server.terminate(), 0);
        }
        for ((format, start), online) in formats.iter().zip(&online) {
            let mut command = tapewatch();
            let (code, out, error) = run(command
                .args(["sql", query, "--format", format, "--data"])
                .arg(&data));
            assert_eq!(code, 0, "{error}");
            assert_eq!(&out, online, "{format}");
            let squeezed = out.replace("  ", " ").replace("  ", " ");
            assert!(
                out.contains(start) || squeezed.contains("SNDL"),
                "{format}: {out}"
            );
        }
    }
    let file = dir.path().join("out.parquet");
    let (code, _, error) = run(tapewatch()
        .args([
            "sql",
            "select * from \"order\"",
            "--format",
            "parquet",
            "--output",
        ])
        .arg(&file)
        .arg("--data")
        .arg(&data));
    assert_eq!(code, 0, "{error}");
    let (code, out, error) = run(tapewatch().arg("replay").arg(&file));
    assert!(
        code == 0 && out.lines().count() == 4,
        "what was written can be replayed: {error}"
    );
}

#[test]
fn mistakes_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (code, out, error) = run(&mut server.command(&["sql", "select * from ordrs"]));
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(
        error.contains("line 1, column 15") && error.contains("orders"),
        "{error}"
    );
    let (code, _, error) =
        run(tapewatch().args(["sql", "select 1", "--url", "http://127.0.0.1:9"]));
    assert!(code == 3 && error.contains("tapewatch up"), "{error}");
    let (code, _, error) = run(tapewatch().args(["sql", "select 1", "--url", "ftp://x"]));
    assert!(code == 2 && error.contains("http://"), "{error}");
    let (code, _, error) = run(tapewatch().args(["sql", "select 1", "--data", "/nowhere"]));
    assert!(code == 2 && error.contains("/nowhere"), "{error}");
    assert_eq!(
        run(tapewatch().args(["sql", "select 1", "--format", "xml"])).0,
        2
    );
    assert_eq!(run(tapewatch().args(["frobnicate"])).0, 2);
    // What one flag says and another leaves unheard.
    let set = ["sql", "select 1", "--set", "spoofing.cancel_count=3"];
    let (code, _, error) = run(tapewatch().args(set).args(["--data", "."]));
    assert!(code == 2 && error.contains("'--data <DIR>'"), "{error}");
    for arguments in [["x.csv", "--from", "2024-01-05"], ["x.csv", "--data", "."]] {
        let (code, _, error) = run(tapewatch().arg("replay").args(arguments));
        assert_eq!(code, 2);
        assert!(error.contains("replay [OPTIONS] <FILE>\n"), "{error}");
        assert!(error.contains("[--data <DIR>] --from <TIME>"), "{error}");
    }
    let mut command = server.command(&["sql", "-"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"select 40 + 2 as x").unwrap();
    let out = child.wait_with_output().unwrap().stdout;
    assert!(String::from_utf8(out).unwrap().contains("42"));
}

#[test]
fn replay_over_history_and_today_gives_the_live_hits() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("orders.csv");
    write_orders(&file, 6_000);
    let mut server = Server::start(dir.path(), &[]);
    assert_eq!(server.feed(&file, &[]).0, 0);
    assert_eq!(run(&mut server.command(&["eod"])).0, 0);
    assert_eq!(server.feed(&file, &[]).0, 0);
    let ids = server.csv("select hit_id, alert_id from hits order by seq");
    let live: Vec<_> = ids.lines().skip(1).map(str::to_owned).collect();
    assert!(live.len() > 20);
    for threads in ["1", "3"] {
        let (code, out, error) = run(tapewatch()
            .args([
                "replay",
                "--from",
                "2024-01-01",
                "--to",
                "2025-01-01",
                "--threads",
                threads,
                "--data",
            ])
            .arg(&data));
        assert_eq!(code, 0, "{error}");
        let replayed: Vec<_> = out
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|hit| {
                format!(
                    "{},{}",
                    hit["hit_id"].as_str().unwrap(),
                    hit["alert_id"].as_str().unwrap()
                )
            })
            .collect();
        assert_eq!(replayed, live, "ids are functions of the content");
    }
    // A day out of the middle.
    let (code, out, _) = run(tapewatch()
        .args([
            "replay",
            "--from",
            "2024-01-06",
            "--to",
            "2024-01-07",
            "--format",
            "csv",
            "--data",
        ])
        .arg(&data));
    assert_eq!(code, 0);
    assert!(
        out.lines()
            .skip(1)
            .all(|line| line.contains(",2024-01-06T"))
            && out.lines().count() > 5
    );
    server.kill();
}

/// The reference's orders with all that a source may tell.
const TOLD: &str = "\
time,sym,eventType,trader,side,orderID,price,quantity,account,execID,displayQty,flags
2015-04-17D12:00:00,SNDL,new,Spoofer,S,O10,1.25,1000,ACC-1,,100,
2015-04-17D12:00:01,SNDL,new,Spoofer,S,O11,1.25,1100,ACC-1,,,post_only
2015-04-17D12:00:02,SNDL,new,,B,M1,,70,,,,market anonymous
2015-04-17D12:00:02,SNDL,filled,,B,M1,1.25,70,,E1,,aggressor anonymous
2015-04-17D12:00:02,SNDL,filled,Spoofer,S,O10,1.25,70,ACC-1,E1,0,passive
2015-04-17D12:00:04,SNDL,new,Spoofer,S,O12,1.25,2200,,,,
2015-04-17D12:00:05,SNDL,cancelled,Spoofer,S,O10,1.25,930,ACC-1,,,
2015-04-17D12:00:05,SNDL,new,Spoofer,S,O13,1.23,1300,,,,
2015-04-17D12:00:10,SNDL,cancelled,Spoofer,S,O12,1.25,2200,,,,
2015-04-17D12:00:11,SNDL,cancelled,Spoofer,S,O11,1.25,1100,ACC-1,,,expired
2015-04-17D12:00:20,SNDL,cancelled,Spoofer,S,O13,1.23,1300,\"ACC, 2\",X9,0.5,halt expired
";

/// What not every source tells is the same in the journal, today, in the history and in a replay.
#[test]
fn what_a_source_tells_is_never_lost() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("told.csv");
    fs::write(&file, TOLD).unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let (code, _, error) = server.feed(&file, &["--strict", "--rows-per-bucket", "3"]);
    assert_eq!(code, 0, "{error}");
    let (status, answer) = server.post_json(
        "/api/v1/orders",
        &json!([{
            "time": "2015-04-17T12:00:21Z", "sym": "SNDL", "event_type": "new", "side": "B", "quantity": 1,
            "display_quantity": "0.25", "account": "A", "exec_id": "E", "flags": "anonymous market",
        }]),
    );
    assert_eq!(status, 200, "{answer}");
    for (bad, column) in [
        (json!({ "flags": "anonymous" }), "price"),
        (json!({ "flags": "market" }), "trader"),
        (json!({ "flags": "fast", "price": 1 }), "flags"),
    ] {
        let mut row = json!({ "time": "2015-04-17T12:00:21Z", "sym": "A", "event_type": "new", "side": "B", "quantity": 1 });
        row.as_object_mut()
            .unwrap()
            .extend(bad.as_object().unwrap().clone());
        let (status, answer) = server.post_json("/api/v1/orders", &json!([row]));
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(
            status == 400 && message.contains(&format!("column {column}")),
            "{answer}"
        );
    }
    let rows = server.get_json("/api/v1/orders")["rows"].clone();
    assert_eq!(
        (rows[4]["display_quantity"].as_str(), &rows[4]["flags"]),
        (Some("0"), &json!("passive"))
    );
    assert_eq!(
        (&rows[11]["trader"], &rows[11]["display_quantity"]),
        (&json!(""), &json!("0.25"))
    );
    assert!(
        rows[5].get("account").is_none() && rows[5].get("flags").is_none(),
        "{rows}"
    );
    let alerts = server.get_json("/api/v1/alerts")["rows"].clone();
    assert_eq!(
        (&alerts[0]["account"], &alerts[0]["flags"]),
        (&json!("ACC, 2"), &json!("halt expired"))
    );

    let told = "select account, exec_id, display_quantity, flags from orders order by seq";
    let csv = server.csv(told).replace('\r', "");
    let expected = TOLD
        .lines()
        .skip(1)
        .map(|line| line.splitn(9, ',').last().unwrap().replace('\\', ""));
    let words = ",E1,,aggressor anonymous";
    assert!(csv.contains(words), "{csv}");
    let mut lines: Vec<String> = expected.collect();
    lines.insert(0, "account,exec_id,display_quantity,flags".to_owned());
    lines.push("A,E,0.25,market anonymous".to_owned());
    assert_eq!(csv.lines().collect::<Vec<_>>(), lines);

    let all = tables(&server);
    server.kill();
    server.restart();
    assert_same(&tables(&server), &all, "after a crash");
    assert_eq!(run(&mut server.command(&["eod"])).0, 0);
    assert_same(&tables(&server), &all, "in the history");
    server.kill();
    server.restart();
    assert_same(&tables(&server), &all, "in the history, after a crash");
    assert_eq!(server.get_json("/api/v1/alerts")["rows"], alerts);

    // Stored rows are replayed, and exported ones are fed, as they were.
    let data = dir.path().join("data");
    let stored = [
        "replay",
        "--from",
        "2015-04-17",
        "--to",
        "2015-04-18",
        "--data",
    ];
    let (code, hits, error) = run(tapewatch().args(stored).arg(&data));
    assert_eq!(code, 0, "{error}");
    let hit: serde_json::Value = serde_json::from_str(hits.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&hit["account"], &hit["display_quantity"]),
        (&json!("ACC, 2"), &json!("0.5"))
    );
    let export = dir.path().join("orders.parquet");
    let query = "select * from orders order by seq";
    let mut sql = server.command(&["sql", query, "--format", "parquet"]);
    assert_eq!(run(sql.arg("--output").arg(&export)).0, 0);
    let other = tempfile::tempdir().unwrap();
    let second = Server::start(other.path(), &[]);
    let (code, _, error) = run(second
        .command(&["feed", "parquet"])
        .arg(&export)
        .arg("--strict"));
    assert_eq!(code, 0, "{error}");
    let query = "select * exclude (seq) from orders order by seq";
    assert_eq!(second.csv(query), server.csv(query));
}

#[test]
fn configuration_is_layered_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    fs::write(
        &file,
        "listen = \"127.0.0.1:1111\"\n[journal]\nfsync = \"always\"\n[sql]\ntimeout = \"5s\"\n",
    )
    .unwrap();
    let show = |command: &mut std::process::Command| {
        let (code, out, error) = run(command);
        assert_eq!(code, 0, "{error}");
        out
    };
    let out = show(
        tapewatch()
            .args(["config", "show", "--config"])
            .arg(&file)
            .args([
                "--listen",
                "127.0.0.1:3333",
                "--set",
                "spoofing.lookback=10s",
            ])
            .env("TAPEWATCH_JOURNAL__FSYNC", "os")
            .env("TAPEWATCH_LISTEN", "127.0.0.1:2222"),
    );
    for line in [
        "listen = \"127.0.0.1:3333\"",
        "fsync = \"os\"",
        "timeout = \"5s\"",
        "lookback = \"10s\"",
        "rolls_at = \"00:00\"",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    fs::write(&file, &out).unwrap();
    assert_eq!(
        show(tapewatch().args(["config", "show", "--config"]).arg(&file)),
        out,
        "it can be read back"
    );
    fs::write(&file, "listn = 1\n").unwrap();
    let (code, _, error) = run(tapewatch().args(["config", "show", "--config"]).arg(&file));
    assert!(code == 2 && error.contains("listn"), "{error}");
}
