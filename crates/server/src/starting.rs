//! The start of a process: from its roles to a state that is made, and the threads that keep it.
//!
//! Invariant: rows are taken and questions answered only after recovery. A process with the journal
//! makes the state from its own files, any other from what the journal sends.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tapewatch_detect::{DetectConfig, Shard};
use tapewatch_journal::{FsyncPolicy, Readers};
use tokio::sync::watch;

use crate::checkpoint::Writer;
use crate::cluster::{self, Service};
use crate::config::Config;
use crate::failure::Failure;
use crate::fold::{Fold, Parts};
use crate::follower::Follower;
use crate::gateway::{self, Gateway};
use crate::hits_log::{HITS_DIR, HitsLog};
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::pipeline::{self, Spawned};
use crate::recovery::{self, JOURNAL_DIR, Log, Recovered, Start};
use crate::roles::{Role, Roles};
use crate::shared::Shared;
use crate::subscription::Subscribers;
use crate::wire::{self, Follow, JournalAt, ServeState, Sharers};
use crate::{api, clock};

/// How long hits wait to be forced to the disk where the journal waits for it.
const HITS_FORCED_WITHIN: Duration = Duration::from_millis(100);
/// Largest segment of the log of hits: there are few.
const HITS_SEGMENT_BYTES: u64 = 16 << 20;

/// The thread that changes the state.
pub(crate) type Thread = JoinHandle<Result<(), Failure>>;

/// What is known at the start.
pub(crate) struct Starting {
    pub(crate) config: Config,
    pub(crate) detect: DetectConfig,
    pub(crate) roles: Roles,
    pub(crate) peers: Peers,
    pub(crate) metrics: Metrics,
    pub(crate) subscribers: Subscribers,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// A process that is ready.
pub(crate) struct Started {
    pub(crate) router: Router,
    /// `None` of a gateway alone, and of what runs queries for others.
    pub(crate) work: Option<Work>,
    /// Of a gateway alone.
    pub(crate) gateway: Option<Gateway>,
    /// What such a process does until it stops.
    pub(crate) service: Option<Service>,
}

/// What a process does beside answering.
pub(crate) struct Work {
    pub(crate) shared: Shared,
    pub(crate) thread: Thread,
    /// Last sequence number that came before the session's last roll.
    pub(crate) before_boundary: u64,
}

/// What the thread gives the rest of the process.
struct Running {
    pipeline: pipeline::Pipeline,
    published: watch::Receiver<u64>,
    hits: watch::Receiver<u64>,
    live: Arc<pipeline::Live>,
    /// Readers of the journal, where it is.
    readers: Option<Readers>,
    wire: Option<ServeState>,
    thread: Thread,
}

/// Makes the directories that the roles write to, before anything is promised. What is returned keeps
/// an engine's for it alone, until it is dropped; the journal keeps its own.
pub(crate) fn directories(config: &Config, roles: Roles) -> Result<Option<File>, Failure> {
    let (journal, engine) = (roles.has(Role::Journal), roles.has(Role::Engine));
    for (wanted, name) in [
        (journal, JOURNAL_DIR.to_owned()),
        (journal && roles.apart(), HITS_DIR.to_owned()),
        (journal || engine, roles.checkpoint_dir(config.share()?)),
    ] {
        let dir = config.data.join(name);
        if wanted {
            std::fs::create_dir_all(&dir).map_err(|error| {
                Failure::run(format!(
                    "cannot create directory {}: {error}",
                    dir.display()
                ))
            })?;
        }
    }
    let share = config.share()?;
    let alone = engine && !journal;
    let dir = config.data.join(roles.checkpoint_dir(share));
    alone.then(|| lock(&dir, share)).transpose()
}

/// Takes an engine's directory.
fn lock(dir: &Path, share: Shard) -> Result<File, Failure> {
    let path = dir.join("LOCK");
    let fail = |error| Failure::run(format!("cannot lock {}: {error}", path.display()));
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true);
    let file = file.open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(fail(error)),
        Err(TryLockError::WouldBlock) => Err(Failure::run(format!(
            "{}: another engine with the share {}/{} works on this directory: stop it, or give this one another \
             share (engine.share) or another directory (data)",
            dir.display(),
            share.index,
            share.count
        ))),
    }
}

/// A gateway that holds nothing.
pub(crate) fn gateway(
    config: &Config,
    peers: &Peers,
    metrics: Metrics,
    stopping: &watch::Receiver<bool>,
) -> Started {
    metrics.ready.set(1);
    let gateway = Gateway {
        config: config.peers.clone(),
        tls: config.tls.clone(),
        peers: peers.clone(),
        metrics,
        stopping: stopping.clone(),
    };
    gateway.watch();
    Started {
        router: gateway::router(gateway.clone()),
        work: None,
        gateway: Some(gateway),
        service: None,
    }
}

/// A process that runs queries for others.
pub(crate) async fn of_cluster(
    role: Role,
    config: &Config,
    metrics: Metrics,
    stopping: watch::Receiver<bool>,
) -> Result<Started, Failure> {
    let (router, service) = cluster::begin(role, config, metrics, stopping).await?;
    Ok(Started {
        router,
        work: None,
        gateway: None,
        service: Some(service),
    })
}

impl Starting {
    /// Recovers, and starts the thread.
    pub(crate) async fn run(self) -> Result<Started, Failure> {
        let metrics = self.metrics.clone();
        let detects = self.roles.has(Role::Engine);
        let parts = Parts {
            detects: match detects {
                true => Some((self.config.share()?, self.config.shards()?)),
                false => None,
            },
            tables: self.roles.tables(),
            apart: self.roles.apart(),
        };
        let made = if self.roles.has(Role::Journal) {
            self.with_journal(parts, &metrics).await?
        } else {
            self.without_journal(parts, &metrics).await?
        };
        let (fold, running, before_boundary) = made;
        let (queries, seconds) = (metrics.queries.clone(), metrics.query_seconds.clone());
        fold.store.observe_queries(move |end| {
            seconds.observe(end.seconds);
            let label = if end.done { "done" } else { "failed" };
            queries.with_label_values(&[label]).inc();
        });
        let shared = Shared {
            store: fold.store,
            book: fold.book,
            pipeline: running.pipeline,
            published: running.published,
            hits: running.hits,
            live: running.live,
            readers: running.readers,
            subscribers: self.subscribers,
            wire: running.wire,
            jobs: Arc::default(),
            days: watch::Sender::default(),
            metrics,
            stopping: self.stopping,
            retention_age: self.config.journal.retention_age,
            retention_bytes: self.config.journal.retention_bytes,
            recent_rows_max: self.config.recent.rows_max,
            roles: self.roles,
            peers: self.peers,
            places: self.config.peers.into(),
        };
        Ok(Started {
            router: api::router(shared.clone()),
            work: Some(Work {
                shared,
                thread: running.thread,
                before_boundary,
            }),
            gateway: None,
            service: None,
        })
    }

    async fn with_journal(
        &self,
        parts: Parts,
        metrics: &Metrics,
    ) -> Result<(Shown, Running, u64), Failure> {
        let config = &self.config;
        let checkpoints = config.data.join(self.roles.checkpoint_dir(config.share()?));
        let (journal, recovery) = recovery::open_journal(config)?;
        let start = Start {
            config,
            detect: &self.detect,
            parts,
            writes_history: self.roles.has(Role::History),
            checkpoints: Some(checkpoints.clone()),
            log: Log::Own(&journal),
            first_seq: recovery.first_seq,
            next_seq: recovery.next_seq,
        };
        let (mut fold, mut recovered) = start.run().await?;
        let shown = Shown::of(&fold);
        let hits = match parts.apart {
            true => Some(hits_log(config, recovery.next_seq, &mut fold)?),
            false => None,
        };
        let limits = pipeline::Limits {
            recent_rows_max: config.recent.rows_max,
            arrivals: std::mem::take(&mut recovered.arrivals),
            checkpoints: Some(writer(checkpoints, &shown, metrics, &mut recovered)?),
            hits,
        };
        let keeps_rows = fold.keeps_rows();
        let (spawned, thread) =
            pipeline::spawn(journal, fold, &self.detect, metrics.clone(), limits)?;
        let Spawned {
            pipeline,
            published,
            live,
            readers,
            marks,
            hits,
            hits_through,
        } = spawned;
        let wire = parts.apart.then(|| ServeState {
            pipeline: pipeline.clone(),
            readers: readers.clone(),
            marks,
            hits,
            published: published.clone(),
            stopping: self.stopping.clone(),
            subscribers: self.subscribers.clone(),
            connections: Arc::new(AtomicU64::new(0)),
            lane: crate::wire::Lane::default(),
            sharers: Sharers::with_own(parts.detects.map(|(share, _)| share)),
            keeps_rows,
        });
        let running = Running {
            pipeline,
            published,
            hits: hits_through,
            live,
            readers: Some(readers),
            wire,
            thread,
        };
        Ok((shown, running, recovered.before_boundary))
    }

    async fn without_journal(
        &self,
        parts: Parts,
        metrics: &Metrics,
    ) -> Result<(Shown, Running, u64), Failure> {
        let (config, peers) = (&self.config, &self.peers);
        // Another name at each start: buckets of the run before must not pass for this one's.
        let run = format!("run-{}-{:x}", std::process::id(), clock::now().nanos());
        let follow = Follow {
            journal: JournalAt {
                address: config.peers.journal.clone(),
                tls: config.tls.clone(),
            },
            name: self.roles.name(&config.share()?),
            peers: peers.clone(),
        };
        let hello = follow.hello().await;
        let checkpoints = parts
            .detects
            .map(|(share, _)| config.data.join(self.roles.checkpoint_dir(share)));
        let start = Start {
            config,
            detect: &self.detect,
            parts,
            writes_history: self.roles.has(Role::History),
            checkpoints: checkpoints.clone(),
            log: Log::Elsewhere(&follow),
            first_seq: hello.first_seq,
            next_seq: hello.next_seq,
        };
        let (fold, mut recovered) = start.run().await?;
        let shown = Shown::of(&fold);
        let pipeline = wire::connect_pipeline(&follow.journal, &run, peers, metrics.clone());
        let live = Arc::new(pipeline::Live::default());
        let interval = config.checkpoint.interval.nanos().unsigned_abs();
        let checkpoints = checkpoints
            .map(|dir| writer(dir, &shown, metrics, &mut recovered))
            .transpose()?;
        let follower = Follower {
            fold,
            pipeline: pipeline.clone(),
            metrics: metrics.clone(),
            live: Arc::clone(&live),
            arrivals: std::mem::take(&mut recovered.arrivals),
            recent_rows_max: config.recent.rows_max,
            checkpoints: checkpoints.map(|writer| (writer, Duration::from_nanos(interval))),
            stopping: self.stopping.clone(),
        };
        let following = follower.start(&follow)?;
        let running = Running {
            pipeline,
            published: following.published,
            hits: following.hits,
            live,
            readers: None,
            wire: None,
            thread: following.thread,
        };
        Ok((shown, running, recovered.before_boundary))
    }
}

/// What of a fold others may look at.
struct Shown {
    store: tapewatch_store::Store,
    /// Whether its hits come from the log of hits.
    wants_hits: bool,
    book: Arc<std::sync::Mutex<crate::alert_book::AlertBook>>,
}

impl Shown {
    fn of(fold: &Fold) -> Self {
        Self {
            store: fold.store.clone(),
            wants_hits: fold.wants_hits(),
            book: fold.book(),
        }
    }
}

/// Opens the log of hits; those that the tables lack show. It waits for no disk, whatever the policy:
/// hits that a loss of power takes are found again.
fn hits_log(config: &Config, next_seq: u64, fold: &mut Fold) -> Result<HitsLog, Failure> {
    let mut options = config.journal_options()?;
    if options.fsync == FsyncPolicy::Always {
        options.fsync = FsyncPolicy::Interval(HITS_FORCED_WITHIN);
    }
    options.segment_bytes_max = options.segment_bytes_max.min(HITS_SEGMENT_BYTES);
    let dir = config.data.join(HITS_DIR);
    let each = |found| fold.found_elsewhere(found);
    let log = HitsLog::open(&dir, options, next_seq.saturating_sub(1), each)?;
    fold.hits_elsewhere(log.watermark(), Vec::new());
    Ok(log)
}

fn writer(
    dir: std::path::PathBuf,
    shown: &Shown,
    metrics: &Metrics,
    recovered: &mut Recovered,
) -> Result<Writer, Failure> {
    let hits = std::mem::take(&mut recovered.hits);
    let covered = recovered.checkpoint.last_seq();
    let store = (!shown.wants_hits).then(|| shown.store.clone());
    Writer::start(dir, store, metrics.clone(), hits, covered)
}
