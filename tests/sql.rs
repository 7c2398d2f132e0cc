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
use support::{Server, run, tapewatch, write_orders};

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
