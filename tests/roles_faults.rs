//! Networks that cut, stall and delay, roles that die together, engines that share anew, and disks that
//! lose what was not forced to them: the tables end as those of an undisturbed process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::cluster::{Cluster, orders, undisturbed};
use support::{Server, tables, wait_for};

/// Passes connections on to a port, and cuts, stalls and delays them as a seed says.
struct BadNetwork {
    port: u16,
    cuts: Arc<AtomicU64>,
}

impl BadNetwork {
    fn before(port: u16, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let network = Self {
            port: listener.local_addr().unwrap().port(),
            cuts: Arc::default(),
        };
        let cuts = Arc::clone(&network.cuts);
        std::thread::spawn(move || {
            for (number, near) in (0..).zip(listener.incoming()) {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", port))) else {
                    continue;
                };
                let seed = seed.wrapping_mul(1_000_003).wrapping_add(number);
                for (from, to, seed) in [
                    (near.try_clone().unwrap(), far.try_clone().unwrap(), seed),
                    (far, near, !seed),
                ] {
                    let cuts = Arc::clone(&cuts);
                    std::thread::spawn(move || pass(from, to, seed, &cuts));
                }
            }
        });
        network
    }

    fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

/// Passes bytes one way until it is cut, which may be in the middle of anything.
fn pass(mut from: TcpStream, mut to: TcpStream, mut seed: u64, cuts: &AtomicU64) {
    let mut random = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    // Some get far: a message must come through in the end.
    let mut left = match random(3) {
        0 => random(3_000),
        1 => random(60_000),
        _ => random(600_000),
    } as usize;
    let mut bytes = vec![0; 4_096];
    loop {
        let most = bytes.len().min(1 + random(4_096) as usize);
        let Ok(read @ 1..) = from.read(&mut bytes[..most]) else {
            break;
        };
        match random(60) {
            0 => std::thread::sleep(Duration::from_millis(100)),
            1..20 => std::thread::sleep(Duration::from_millis(2)),
            _ => {}
        }
        if to.write_all(&bytes[..read.min(left)]).is_err() {
            break;
        }
        left = left.saturating_sub(read);
        if left == 0 {
            cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_network_that_cuts_stalls_and_delays_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 2_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    for seed in 1..=2 {
        println!("seed {seed}");
        let mut cluster = Cluster::new("");
        cluster.start("journal", "journal", &[]);
        let network = BadNetwork::before(cluster.ports.journal, seed);
        let through = format!("127.0.0.1:{}", network.port);
        cluster.all_have("TAPEWATCH_PEERS__JOURNAL", through);
        cluster.engine("engine", "0/2");
        cluster.engine("engine 2", "1/2");
        cluster.start("recent", "recent", &[]);
        cluster.start("gateway", "gateway", &[]);
        cluster.feed(&file);
        cluster.role("recent").kill();
        cluster.role("engine").kill();
        cluster.role("recent").restart();
        cluster.role("engine").restart();
        cluster.comes_to(&expected, &format!("with seed {seed}"));
        assert!(network.cuts() > 5, "only {} cuts", network.cuts());
    }
}

#[test]
fn journal_and_engines_killed_together_start_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 2_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    let mut cluster = Cluster::whole();
    let mut feed = cluster
        .gateway()
        .command(&["feed", "csv", file.to_str().unwrap()])
        .args(["--rows-per-bucket", "7", "--interval", "20ms"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut round = 0;
    while feed.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(500));
        let mut names = ["journal", "engine", "engine 2"];
        for name in names {
            cluster.role(name).kill();
        }
        names.rotate_left(round % 3);
        for name in names {
            match name {
                "journal" => cluster.role(name).restart(),
                _ => cluster.role(name).restart_silently(),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        round += 1;
    }
    assert!(feed.wait().unwrap().success());
    assert!(round > 2, "only {round} rounds");
    cluster.comes_to(&expected, "after rounds");
}

#[test]
fn engines_that_share_the_instruments_anew_find_each_hit_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 1_500);
    let one = Server::start(dir.path(), &["--detector", "all"]);
    let mut cluster = Cluster::whole();
    for (round, shares) in [2, 1, 2, 1].into_iter().enumerate() {
        for name in ["engine", "engine 2"] {
            if cluster.names().contains(&name) {
                cluster.stop(name);
            }
        }
        match shares {
            1 => cluster.engine("engine", "0/1"),
            _ => {
                cluster.engine("engine", "0/2");
                cluster.engine("engine 2", "1/2");
            }
        }
        for server in [&one, cluster.gateway()] {
            assert_eq!(server.feed(&file, &["--rows-per-bucket", "7"]).0, 0);
        }
        cluster.comes_to(&tables(&one), &format!("{shares} engines in round {round}"));
    }
}

/// The newest segment of a log.
fn newest(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let segments = files.filter(|path| path.metadata().unwrap().len() > 100);
    segments.max().unwrap()
}

/// Loses the last bytes of a log, as a loss of power does.
fn lose(dir: &Path, bytes: impl Fn(u64) -> u64) {
    let path = newest(dir);
    let file = fs::File::options().write(true).open(&path).unwrap();
    let size = file.metadata().unwrap().len();
    file.set_len(size - bytes(size)).unwrap();
}

/// What one process makes of the journal of a cluster.
fn truth(cluster: &Cluster) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("data/journal");
    fs::create_dir_all(&journal).unwrap();
    for entry in fs::read_dir(cluster.dir.path().join("data/journal")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, journal.join(path.file_name().unwrap())).unwrap();
    }
    tables(&Server::start(dir.path(), &["--detector", "all"]))
}

#[test]
fn hits_that_a_loss_of_power_took_from_the_log_are_told_again() {
    let mut cluster = Cluster::new("");
    cluster.all_have("TAPEWATCH_CHECKPOINT__INTERVAL", "0s");
    let mut cluster = cluster.filled();
    let file = orders(cluster.dir.path(), 2_000);
    // Few messages: many would be forced to the disk meanwhile.
    let many = ["--rows-per-bucket", "50"];
    assert_eq!(cluster.gateway().feed(&file, &many).0, 0);
    let expected = truth(&cluster);
    cluster.comes_to(&expected, "fed");
    cluster.role("journal").kill();
    lose(&cluster.dir.path().join("data/hits"), |size| size / 2);
    cluster.role("journal").restart();
    // Who has seen more of the log than there is starts again.
    for name in ["recent", "history"] {
        let code = cluster.role(name).ends_within(20);
        assert!(code.is_some_and(|code| code > 0), "{name}: {code:?}");
        cluster.role(name).restart();
    }
    cluster.comes_to(&expected, "told again");
}

#[test]
fn rows_that_a_loss_of_power_took_from_the_journal_leave_nothing_behind() {
    let mut cluster = Cluster::whole();
    let file = orders(cluster.dir.path(), 1_500);
    cluster.feed(&file);
    let expected = truth(&cluster);
    cluster.comes_to(&expected, "fed");
    cluster.role("journal").kill();
    lose(&cluster.dir.path().join("data/journal"), |size| size / 3);
    // Other rows take the places of those that are lost before anybody looks.
    cluster.start("journal", "journal", &[]);
    let code = cluster
        .role("journal")
        .feed(&file, &["--rows-per-bucket", "5"])
        .0;
    assert_eq!(code, 0);
    for name in ["engine", "engine 2", "recent", "history"] {
        let code = cluster.role(name).ends_within(20);
        assert!(code.is_some_and(|code| code > 0), "{name}: {code:?}");
    }
    assert!(cluster.gateway().log().contains("has lost rows"));
    for name in ["engine", "engine 2", "recent", "history"] {
        cluster.role(name).restart();
    }
    wait_for("the gateway", || cluster.gateway().get("/readyz").0 == 200);
    cluster.comes_to(&truth(&cluster), "with other rows");
}
