//! Roles on a disk that is full, slow or fails an fsync, and under a clock that jumps: a failed fsync
//! ends the role, everything else is waited out, and the tables end as those of an undisturbed process.
#![cfg(debug_assertions)] // a release cannot be told to fail
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use support::cluster::{Cluster, orders, undisturbed};
use support::wait_for;

/// A cluster whose faults can be armed.
fn cluster(fsync: &str) -> Cluster {
    let mut cluster = Cluster::new("");
    let faults = cluster.dir.path().join("faults");
    fs::create_dir(&faults).unwrap();
    cluster.all_have("TAPEWATCH_FAULTS", faults.display());
    cluster.all_have("TAPEWATCH_JOURNAL__FSYNC", fsync);
    cluster.filled()
}

/// Puts a fault in force, whole at once; with no text none is.
fn arm(cluster: &Cluster, name: &str, text: &str) {
    let file = cluster.dir.path().join("faults").join(name);
    let part = file.with_extension("part");
    fs::write(&part, text).unwrap();
    fs::rename(part, file).unwrap();
}

fn feed(cluster: &Cluster, file: &Path) -> Child {
    let mut feed = cluster
        .gateway()
        .command(&["feed", "csv", file.to_str().unwrap()]);
    feed.args(["--rows-per-bucket", "7", "--interval", "10ms"]);
    feed.stderr(Stdio::null()).spawn().unwrap()
}

fn rows(cluster: &mut Cluster) -> u64 {
    let status = cluster.role("journal").get_json("/api/v1/status");
    status["next_seq"].as_u64().unwrap()
}

#[test]
fn a_failed_fsync_ends_the_journal_and_the_others_wait() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 2_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    for (fsync, fault, says) in [
        ("always", "fsync data/journal", "data/journal"),
        ("interval:5ms", "fsync data/journal", "data/journal"),
        ("always", "fsync data/hits", "the log of hits: "),
    ] {
        println!("{fsync}, {fault}");
        let mut cluster = cluster(fsync);
        let mut feed = feed(&cluster, &file);
        wait_for("some rows", || rows(&mut cluster) > 300);
        arm(&cluster, "disk", fault);
        assert_eq!(cluster.role("journal").ends_within(20), Some(3));
        let log = cluster.gateway().log();
        assert!(log.contains("an fsync that a test made fail"), "{log}");
        assert!(
            log.contains(says) && log.contains("restart the process"),
            "{log}"
        );
        let peer = format!("journal at 127.0.0.1:{} is away", cluster.ports.journal);
        cluster.readyz(cluster.ports.engine, 503, &peer);
        cluster.readyz(cluster.ports.recent, 200, "");
        assert_eq!(feed.try_wait().unwrap(), None, "the feed waits too");
        // The start itself fails while the disk does.
        let name = "journal";
        cluster.role(name).restart_silently();
        assert_eq!(cluster.role(name).ends_within(20), Some(3));
        arm(&cluster, "disk", "");
        cluster.role(name).restart();
        assert!(feed.wait().unwrap().success());
        cluster.comes_to(&expected, fault);
        cluster.readyz(cluster.ports.engine, 200, "");
    }
}

#[test]
fn a_full_disk_and_a_slow_one_are_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 2_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    let mut cluster = cluster("always");
    let mut feed = feed(&cluster, &file);
    for fault in ["full data/journal", "full data/hits", "slow", "full"] {
        let before = rows(&mut cluster);
        wait_for("some rows", || rows(&mut cluster) > before + 100);
        arm(&cluster, "disk", fault);
        if fault.starts_with("full") && fault != "full data/hits" {
            wait_for("the refusal", || {
                let (status, text) = cluster.gateway().http("POST", "/api/v1/clear", "", b"");
                status == 507 && text.contains("disk_full")
            });
        } else {
            std::thread::sleep(Duration::from_secs(1));
        }
        for port in [cluster.ports.journal, cluster.ports.recent] {
            cluster.readyz(port, 200, "");
        }
        arm(&cluster, "disk", "");
    }
    assert!(feed.wait().unwrap().success());
    cluster.comes_to(&expected, "after a disk that was full and slow");
}

#[test]
fn a_clock_that_jumps_by_hours_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 6_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    let mut cluster = cluster("interval:5ms");
    let mut feed = feed(&cluster, &file);
    let names = ["engine", "journal", "recent", "history", "engine 2"];
    let mut round = 0;
    while feed.try_wait().unwrap().is_none() {
        // Forwards over the end of the day as well, and back before it.
        let hours = [30, -20, 5, 50, -3][round % 5];
        arm(&cluster, "clock", &(hours * 3_600).to_string());
        std::thread::sleep(Duration::from_millis(700));
        let name = names[round % names.len()];
        cluster.role(name).kill();
        cluster.role(name).restart();
        round += 1;
    }
    assert!(feed.wait().unwrap().success());
    assert!(round > 3, "only {round} jumps");
    cluster.comes_to(&expected, "under a clock that jumps");
}
