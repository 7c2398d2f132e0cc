//! Checkpoints: a start from one gives what a start without gives, and one that does not fit is
//! refused with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Server, assert_same, run, tables, tapewatch, wait_for, write_orders};

/// A configuration that saves the windows every so often.
fn config(dir: &Path, interval: &str, shards: u32) -> String {
    let file = dir.join("tapewatch.toml");
    let text = format!(
        "[checkpoint]\ninterval = \"{interval}\"\n[engine]\nshards = {shards}\n[session]\nrolls_at = \"never\"\n"
    );
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Parts of a file of orders, each with the header.
fn parts(dir: &Path, rows: usize, count: usize) -> Vec<PathBuf> {
    let whole = dir.join("whole.csv");
    write_orders(&whole, rows);
    let text = fs::read_to_string(whole).unwrap();
    let (header, body) = text.split_once('\n').unwrap();
    let lines: Vec<_> = body.lines().collect();
    let part = |(index, lines): (usize, &[&str])| {
        let path = dir.join(format!("part-{index}.csv"));
        fs::write(&path, format!("{header}\n{}\n", lines.join("\n"))).unwrap();
        path
    };
    lines
        .chunks(rows.div_ceil(count))
        .enumerate()
        .map(part)
        .collect()
}

fn feed(server: &Server, part: &Path) {
    let (code, _, error) = server.feed(part, &["--rows-per-bucket", "50"]);
    assert_eq!(code, 0, "{error}");
}

fn states(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join("data/checkpoints")) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut states: Vec<_> = paths
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("state-")
        })
        .collect();
    states.sort();
    states
}

/// Puts one process's checkpoint into the data directory of another.
fn give_checkpoint(from: &Path, to: &Path) {
    for entry in fs::read_dir(from.join("data/checkpoints")).unwrap() {
        let entry = entry.unwrap();
        let target = to.join("data/checkpoints").join(entry.file_name());
        fs::copy(entry.path(), target).unwrap();
    }
}

/// Starts, refuses every checkpoint with the reason, reads the journal instead, and is killed.
fn refuses(server: &mut Server, reason: &str) {
    server.restart();
    let log = server.log();
    let last = |word: &str| log.lines().rev().find(|line| line.contains(word));
    let refused = last("refused").expect(&log);
    assert!(refused.contains(reason), "{refused}");
    let recovered = last("recovered").unwrap();
    assert!(recovered.contains("checkpoint=0"), "{recovered}");
    server.kill();
}

/// The parts with nothing in between.
fn undisturbed(parts: &[PathBuf]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--config", &config(dir.path(), "0s", 1)]);
    parts.iter().for_each(|part| feed(&server, part));
    let tables = tables(&server);
    assert!(tables[1].lines().count() > 20, "hits are at stake");
    tables
}

#[test]
fn kills_and_stops_between_checkpoints_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(dir.path(), 4_000, 5);
    let expected = undisturbed(&parts);
    for shards in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), "20ms", shards);
        let mut server = Server::start(dir.path(), &["--config", &config]);
        for (index, part) in parts.iter().enumerate() {
            feed(&server, part);
            // With a checkpoint in the middle of what comes, at its end, and after an end of day.
            match index {
                0 | 2 => wait_for("a checkpoint", || !states(dir.path()).is_empty()),
                1 => assert_eq!(run(&mut server.command(&["eod"])).0, 0),
                _ => {}
            }
            if index == 3 {
                assert_eq!(server.terminate(), 0);
            } else {
                server.kill();
            }
            server.restart();
            assert_eq!(server.get("/readyz").0, 200);
        }
        assert_same(&tables(&server), &expected, &format!("{shards} shards"));
        let log = server.log();
        assert!(!log.contains("refused"), "{log}");
        let recovered = log.lines().filter(|line| line.contains("recovered"));
        let from_one = recovered.filter(|line| !line.contains("checkpoint=0"));
        assert!(from_one.count() >= 4, "{log}");
        assert!(states(dir.path()).len() <= 2, "old ones go");
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(dir.path(), 1_500, 2);
    let expected = undisturbed(&parts);
    let data = tempfile::tempdir().unwrap();
    let one = config(data.path(), "0s", 1);
    let mut server = Server::start(data.path(), &["--config", &one]);
    feed(&server, &parts[0]);
    assert_eq!(server.terminate(), 0);
    let saved = states(data.path());
    assert_eq!(saved.len(), 1, "a clean stop saves");
    let whole = fs::read(&saved[0]).unwrap();
    // A bit that flipped.
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&saved[0], flipped).unwrap();
    refuses(&mut server, "its digest differs");

    // Another number of shards.
    fs::write(&saved[0], &whole).unwrap();
    config(data.path(), "0s", 2);
    refuses(&mut server, "it is of 1 shards, this process has 2");
    config(data.path(), "0s", 1);

    // Its hits are gone.
    let hits: Vec<_> = fs::read_dir(data.path().join("data/checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "parquet")
        })
        .collect();
    assert_eq!(hits.len(), 1);
    let kept = data.path().join("kept.parquet");
    fs::rename(&hits[0], &kept).unwrap();
    refuses(&mut server, "its hits in");
    fs::rename(&kept, &hits[0]).unwrap();

    // Of another journal, of the same length.
    let other = tempfile::tempdir().unwrap();
    let mut stranger = Server::start(other.path(), &["--config", &config(other.path(), "0s", 1)]);
    feed(&stranger, &parts[0]);
    assert_eq!(stranger.terminate(), 0);
    give_checkpoint(other.path(), data.path());
    refuses(&mut server, "it is of another journal");

    // From beyond the end, so many that they are all that would be kept.
    fs::remove_file(&saved[0]).unwrap();
    let further = tempfile::tempdir().unwrap();
    let further_config = config(further.path(), "0s", 1);
    let mut longer = Server::start(further.path(), &["--config", &further_config]);
    parts.iter().for_each(|part| feed(&longer, part));
    assert_eq!(longer.terminate(), 0);
    for seq in [99_999_998, 99_999_999] {
        let beyond = saved[0].with_file_name(format!("state-{seq:020}.bin"));
        fs::copy(&states(further.path())[0], &beyond).unwrap();
    }
    refuses(&mut server, "the journal holds");

    // After all that, the same as ever.
    server.restart();
    feed(&server, &parts[1]);
    assert_same(&tables(&server), &expected, "in the end");
    assert_eq!(server.terminate(), 0);
    let kept = states(data.path());
    assert_eq!(kept.len(), 1, "the strangers are gone, its own is not");
    server.restart();
    let log = server.log();
    let recovered = log.lines().rev().find(|line| line.contains("recovered"));
    assert!(!recovered.unwrap().contains("checkpoint=0"), "{log}");
}

/// The rows up to the checkpoint are in memory again, but its hits went with the history.
#[test]
fn a_checkpoint_without_the_history_beside_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(dir.path(), 1_500, 2);
    let expected = undisturbed(&parts);
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), "0s", 1);
    let mut server = Server::start(data.path(), &["--config", &config]);
    feed(&server, &parts[0]);
    assert_eq!(run(&mut server.command(&["eod"])).0, 0);
    feed(&server, &parts[1]);
    assert_eq!(server.terminate(), 0);
    let history = data.path().join("data/history");
    fs::rename(&history, data.path().join("elsewhere")).unwrap();
    refuses(&mut server, "the history had hits up to sequence number");
    server.restart();
    assert_same(&tables(&server), &expected, "in the end");
}

/// The frame at which it ends is not there: this journal has larger buckets.
#[test]
fn a_checkpoint_that_ends_inside_a_frame_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(dir.path(), 1_500, 2);
    let expected = undisturbed(&parts);
    let few = dir.path().join("few.csv");
    let text = fs::read_to_string(&parts[0]).unwrap();
    let lines: Vec<_> = text.lines().take(1 + 70).collect();
    fs::write(&few, lines.join("\n") + "\n").unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut stranger = Server::start(other.path(), &["--config", &config(other.path(), "0s", 1)]);
    assert_eq!(stranger.feed(&few, &[]).0, 0);
    assert_eq!(stranger.terminate(), 0);

    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), "0s", 1);
    let mut server = Server::start(data.path(), &["--config", &config]);
    feed(&server, &parts[0]);
    server.kill();
    give_checkpoint(other.path(), data.path());
    refuses(&mut server, "it is of another journal");
    server.restart();
    feed(&server, &parts[1]);
    assert_same(&tables(&server), &expected, "in the end");
}

#[test]
fn a_file_where_checkpoints_go_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("checkpoints"), "").unwrap();
    let (code, out, error) = run(tapewatch()
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data));
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(error.contains("data/checkpoints"), "{error}");
    assert!(!error.contains("reading the journal"), "{error}");
}

/// Even when nothing comes any more.
#[test]
fn a_checkpoint_that_failed_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(dir.path(), 200, 1);
    let config = config(dir.path(), "20ms", 1);
    // No file can be written where a directory is.
    let in_the_way = dir.path().join("data/checkpoints/state.part");
    fs::create_dir_all(&in_the_way).unwrap();
    let server = Server::start(dir.path(), &["--config", &config]);
    feed(&server, &parts[0]);
    let failed = || server.log().matches("a checkpoint was not written").count();
    wait_for("a checkpoint to fail", || failed() > 0);
    wait_for("it to fail again", || failed() > 1);
    assert!(states(dir.path()).is_empty());
    fs::remove_dir(&in_the_way).unwrap();
    wait_for("a checkpoint", || !states(dir.path()).is_empty());
}
