//! `tapewatch up`: the roles of this process, from recovery to a clean stop.
//!
//! Invariant: the address answers at once (`/healthz` yes, `/readyz` not yet), rows are taken only
//! after recovery; on SIGTERM no further row is taken, what was taken is answered, and the journal is forced to the disk.

use std::future::Future;
use std::io::Write as _;
use std::time::Duration;

use tapewatch_detect::DetectConfig;
use tapewatch_model::{Time, TimeSpan};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::UpArgs;
use crate::cluster::Service;
use crate::config::Config;
use crate::failure::Failure;
use crate::kdb;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::port::{self, Services};
use crate::postgres;
use crate::roles::{Role, Roles};
use crate::shared::Shared;
use crate::starting::{self, Started, Starting, Thread, Work};
use crate::subscription::Subscribers;
use crate::tls::Tls;
use crate::{api, clock, rules};

/// How long open requests may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// How often it is looked at whether the session has rolled or the memory is full.
const WATCH: Duration = Duration::from_millis(500);
/// Before an end of day is tried again that failed, or moved nothing.
const AGAIN: Duration = Duration::from_secs(10);
const DAY: i64 = 86_400_000_000_000;

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: &UpArgs) -> Result<(), Failure> {
    let (config, detect) = load(args)?;
    // From here on it reloads files and never ends the process, whether anything listens or not.
    let _hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
        .map_err(Failure::run)?;
    let roles = Roles::named(&args.role);
    roles.check(config.share()?)?;
    let _lock = starting::directories(&config, roles)?;
    let (stop, stopping) = watch::channel(false);
    let peers = Peers::default();
    let metrics = Metrics::new().map_err(Failure::run)?;
    let doors = Doors::new(&config, &peers, &metrics)?;
    let (urls, mut server) = listen(roles, &config, &doors, &metrics, &stopping).await?;
    let mut started = if roles.is_gateway_alone() {
        doors.kdb.send_away(&config.peers, stopping.clone());
        starting::gateway(&config, &peers, metrics, &stopping)
    } else if let Some(role) = roles.of_cluster() {
        doors.kdb.send_away(&config.peers, stopping.clone());
        starting::of_cluster(role, &config, metrics, stopping).await?
    } else {
        let starting = Starting {
            config: config.clone(),
            detect: detect.clone(),
            roles,
            peers,
            metrics,
            subscribers: Subscribers::default(),
            stopping,
        };
        // A task of its own: recovery is computation, and must not keep a signal waiting.
        let starting = tokio::spawn(async move { starting.run().await });
        tokio::select! {
            started = starting => started.map_err(Failure::run)??,
            signal = signal() => {
                tracing::info!(signal = signal?, "stopped while reading the journal");
                return Ok(());
            }
        }
    };
    let service = started.service.take();
    let work = doors.open(started);
    let work = work.map(|work| Work::begin(work, &config, detect));
    let (tasks, thread) = work.transpose()?.unzip();
    for url in urls {
        say(format_args!("listening on {url}"));
    }
    let works = thread.is_some() || service.is_some();
    let dead = wait_for(thread, service);
    tokio::pin!(dead);
    // Whichever comes first: a signal, the server's end, or a journal that stopped.
    let failed = tokio::select! {
        signal = signal() => { tracing::info!(signal = signal?, "stopping"); None }
        _ = server.join_next() => Some(Failure::run("the server ended by itself")),
        result = &mut dead => Some(result.err().unwrap_or_else(|| Failure::run("the pipeline ended by itself"))),
    };
    stop.send_replace(true);
    if let Some(failure) = failed {
        return Err(failure);
    }
    doors.close();
    drain(server, tasks.unwrap_or_default()).await;
    if works {
        match tokio::time::timeout(DRAIN, dead).await {
            Ok(result) => result?,
            Err(_) => return Err(Failure::run("the pipeline did not end in time")),
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// Lets open requests come to their end, and what goes on beside the thread: with the last handle the
/// queue ends, and with it the thread.
async fn drain(mut server: JoinSet<()>, tasks: Tasks) {
    let drained = async { while server.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("requests were still open after {} s", DRAIN.as_secs());
        server.abort_all();
    }
    for task in tasks {
        drop(task.await);
    }
}

/// The ways into the process, closed until it is ready.
struct Doors {
    http: api::Gate,
    kdb: kdb::Door,
    postgres: postgres::Door,
}

impl Doors {
    fn new(config: &Config, peers: &Peers, metrics: &Metrics) -> Result<Self, Failure> {
        Ok(Self {
            http: api::Gate::new(peers.clone()),
            kdb: kdb::Door::new(config, metrics.clone())?,
            postgres: postgres::Door::new(config, metrics.clone())?,
        })
    }

    fn open(&self, started: Started) -> Option<Work> {
        self.http.open(started.router);
        if let Some(gateway) = started.gateway {
            self.postgres.hand_on(gateway);
        }
        let work = started.work?;
        self.kdb.open(work.shared.clone());
        self.postgres.open(work.shared.clone());
        Some(work)
    }

    fn close(&self) {
        self.http.close();
        self.kdb.close();
        self.postgres.close();
    }
}

/// Binds the addresses of the roles and serves there what the gate lets through, until `stopping`.
async fn listen(
    roles: Roles,
    config: &Config,
    doors: &Doors,
    metrics: &Metrics,
    stopping: &watch::Receiver<bool>,
) -> Result<(Vec<String>, JoinSet<()>), Failure> {
    let tls = Tls::load(&config.tls)?;
    if let Some(tls) = &tls {
        drop(tls.spawn_watch(stopping.clone())); // it ends with `stopping`
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (mut urls, mut servers) = (Vec::new(), JoinSet::new());
    for wanted in roles.addresses(config) {
        let listener = TcpListener::bind(wanted)
            .await
            .map_err(|error| Failure::run(format!("cannot listen on {wanted}: {error}")))?;
        let address = listener.local_addr().map_err(Failure::run)?;
        let url = format!("{scheme}://{address}");
        tracing::info!(%url, "open; reading the journal");
        let loopback = address.ip().is_loopback();
        if !loopback && config.tls.client_ca.as_os_str().is_empty() {
            tracing::warn!(%url, "open to the network: whoever reaches this address can read and publish");
        }
        let services = Services {
            http: doors.http.on(loopback).router(),
            kdb: doors.kdb.handler(loopback),
            postgres: doors.postgres.handler(loopback),
            tls: tls.clone(),
            metrics: metrics.clone(),
        };
        servers.spawn(port::serve(vec![listener], services, stopping.clone()));
        urls.push(url);
    }
    Ok((urls, servers))
}

type Tasks = Vec<tokio::task::JoinHandle<()>>;

impl Work {
    /// Begins what goes on beside the thread.
    fn begin(self, config: &Config, detect: DetectConfig) -> Result<(Tasks, Thread), Failure> {
        let shared = self.shared;
        let roles = shared.roles;
        shared.metrics.ready.set(1);
        let rolls_at = config.rolls_at()?;
        let mut tasks = Vec::new();
        if roles.has(Role::Journal) {
            let interval = config.checkpoint.interval;
            tasks.push(tokio::spawn(save_windows(shared.clone(), interval)));
            tasks.push(rules::spawn_watch(&shared, &config.rules.dir, detect));
        }
        if roles.has(Role::History) {
            let session = watch_session(shared.clone(), rolls_at, self.before_boundary);
            tasks.push(tokio::spawn(session));
        }
        if roles.apart() && roles.tables() {
            tasks.push(tokio::spawn(watch_history(shared.clone())));
        }
        if let Some(rolls_at) = rolls_at {
            tasks.push(tokio::spawn(watch_days(shared, rolls_at)));
        }
        Ok((tasks, self.thread))
    }
}

fn load(args: &UpArgs) -> Result<(Config, DetectConfig), Failure> {
    let mut config = Config::load(args.config.as_ref(), args.overrides())?;
    config.set_detectors(&args.detector, &args.set)?;
    crate::logging::start(&config.log)?;
    let detect = config.detect()?;
    crate::guests::keep(&config.data)?;
    Ok((config, detect))
}

/// A line for whoever started the process; nobody may be reading.
fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Waits for the end of what the process does.
async fn wait_for(thread: Option<Thread>, service: Option<Service>) -> Result<(), Failure> {
    match service {
        Some(service) => service.await.map_err(Failure::run)?,
        None => wait_for_thread(thread).await,
    }
}

async fn wait_for_thread(thread: Option<Thread>) -> Result<(), Failure> {
    let Some(thread) = thread else {
        return std::future::pending().await;
    };
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    match joined {
        Ok(Ok(result)) => result,
        _ => Err(Failure::run(
            "the pipeline thread died; restart the process",
        )),
    }
}

async fn signal() -> Result<&'static str, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::run)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::run)?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// The latest roll of the session at or before `now`.
pub(crate) fn last_boundary(now: Time, rolls_at: TimeSpan) -> Time {
    let today = now.date().start().saturating_add(rolls_at);
    if today <= now {
        today
    } else {
        today.saturating_sub(TimeSpan::from_nanos(DAY))
    }
}

/// Ends the day when the session rolls, also one that rolled while the process was away, and ahead
/// of time when the memory is full.
async fn watch_session(shared: Shared, rolls_at: Option<TimeSpan>, before_boundary: u64) {
    if before_boundary > shared.store.high_water().orders {
        tracing::info!("the session rolled while the process was away");
        // A failure is logged and counted; the next roll tries again.
        let _ = shared.end_of_day(Some(before_boundary)).await;
    }
    let mut rolled = rolls_at.map(|at| last_boundary(clock::now(), at));
    loop {
        tokio::select! {
            () = shared.stopped() => return,
            () = tokio::time::sleep(WATCH) => {}
        }
        let boundary = rolls_at.map(|at| last_boundary(clock::now(), at));
        let full = shared.store.counts().recent_orders >= shared.recent_rows_max;
        if boundary <= rolled && !full {
            continue;
        }
        tracing::info!(full, "the session rolls");
        // Tables that are full take no further row: what is there must move, and not more.
        let through = full.then(|| shared.come());
        match shared.end_of_day(through).await {
            Ok(_) if !full => rolled = boundary,
            Ok(report) if report.orders.rows > 0 => {}
            _ => tokio::select! {
                () = shared.stopped() => return,
                () = tokio::time::sleep(AGAIN) => {}
            },
        }
    }
}

/// Tells subscribers when the session rolls, whichever process moves the day.
async fn watch_days(shared: Shared, rolls_at: TimeSpan) {
    let mut rolled = last_boundary(clock::now(), rolls_at);
    loop {
        tokio::select! {
            () = shared.stopped() => return,
            () = tokio::time::sleep(WATCH) => {}
        }
        let boundary = last_boundary(clock::now(), rolls_at);
        if boundary > rolled {
            rolled = boundary;
            shared.day_ended(boundary.saturating_sub(TimeSpan::from_nanos(1)).date());
        }
    }
}

/// Takes in what another process moves to the history.
async fn watch_history(shared: Shared) {
    loop {
        tokio::select! {
            () = shared.stopped() => return,
            () = tokio::time::sleep(WATCH) => {}
        }
        match shared.store.refresh_history().await {
            Ok(true) => tracing::info!(
                through = shared.store.high_water().last(),
                "the history was changed"
            ),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the history cannot be looked at; trying again"),
        }
    }
}

/// Asks for a checkpoint every so often.
async fn save_windows(shared: Shared, interval: TimeSpan) {
    let interval = Duration::from_nanos(interval.nanos().unsigned_abs());
    while !interval.is_zero() {
        tokio::select! {
            () = shared.stopped() => return,
            () = tokio::time::sleep(interval) => shared.pipeline.checkpoint().await,
        }
    }
}

/// Runs a future on a runtime with a thread for each core.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::run(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(future);
    // A blocked reader of a pipe or a file must not keep a finished command alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_session_rolls_at_its_time_of_day() {
        let at = |text: &str| Time::parse(text.as_bytes()).unwrap();
        let half_past_ten = TimeSpan::parse("22:30:00").unwrap();
        for (now, boundary) in [
            ("2024-01-05T22:29:59.999999999", "2024-01-04T22:30"),
            ("2024-01-05T22:30:00", "2024-01-05T22:30"),
            ("2024-01-06T00:00:00", "2024-01-05T22:30"),
        ] {
            assert_eq!(last_boundary(at(now), half_past_ten), at(boundary), "{now}");
        }
    }
}
