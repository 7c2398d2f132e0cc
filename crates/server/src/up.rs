//! `tapewatch up`: all roles in one process, from recovery to a clean stop.
//!
//! Invariant: the address answers at once (`/healthz` yes, `/readyz` not yet), rows are taken only
//! after recovery; on SIGTERM no further row is taken, what was taken is answered, and the journal is forced to the disk.

use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tapewatch_detect::DetectConfig;
use tapewatch_model::{Time, TimeSpan};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::checkpoint::{CHECKPOINT_DIR, Writer};
use crate::cli::UpArgs;
use crate::config::Config;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::pipeline::{self, Spawned};
use crate::port::Services;
use crate::recovery::{self, JOURNAL_DIR, Recovered};
use crate::shared::Shared;
use crate::sql_runtime::SqlRuntime;
use crate::subscription::Subscribers;
use crate::tls::Tls;
use crate::{api, clock, port, rules};

/// How long open requests may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// How often it is looked at whether the session has rolled or the memory is full.
const WATCH: Duration = Duration::from_millis(500);
const DAY: i64 = 86_400_000_000_000;

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: &UpArgs) -> Result<(), Failure> {
    let (config, detect) = load(args)?;
    for name in [JOURNAL_DIR, CHECKPOINT_DIR] {
        let dir = config.data.join(name);
        fs::create_dir_all(&dir).map_err(|error| {
            Failure::run(format!(
                "cannot create directory {}: {error}",
                dir.display()
            ))
        })?;
    }
    let (stop, stopping) = watch::channel(false);
    let metrics = Metrics::new().map_err(Failure::run)?;
    let gate = api::Gate::new(config.listen.ip().is_loopback());
    let (url, server) = open(&config, &gate, &metrics, &stopping).await?;
    tracing::info!(%url, "open; reading the journal");
    // A task of its own: recovery is computation, and must not keep a signal waiting.
    let (ours, theirs) = (config.clone(), detect.clone());
    let starting = tokio::spawn(async move { start(&ours, &theirs, metrics, stopping).await });
    let started = tokio::select! {
        started = starting => started.map_err(Failure::run)??,
        signal = signal() => {
            tracing::info!(signal = signal?, "stopped while reading the journal");
            return Ok(());
        }
    };
    let Running {
        shared,
        thread,
        recovered,
    } = started;
    gate.open(api::router(shared.clone()));
    shared.metrics.ready.set(1);
    let saving = tokio::spawn(save_windows(shared.clone(), config.checkpoint.interval));
    let rules = rules::spawn_watch(&shared, &config.rules.dir, detect);
    let session = tokio::spawn(watch_session(
        shared,
        config.rolls_at()?,
        recovered.before_boundary,
    ));
    say(format_args!("listening on {url}"));
    let dead = wait_for_thread(thread);
    tokio::pin!(dead, server);
    // Whichever comes first: a signal, the server's end, or a journal that stopped.
    let failed = tokio::select! {
        signal = signal() => { tracing::info!(signal = signal?, "stopping"); None }
        _ = &mut server => Some(Failure::run("the server ended by itself")),
        result = &mut dead => Some(result.err().unwrap_or_else(|| Failure::run("the pipeline ended by itself"))),
    };
    stop.send_replace(true);
    if let Some(failure) = failed {
        return Err(failure);
    }
    gate.close();
    if tokio::time::timeout(DRAIN, &mut server).await.is_err() {
        tracing::warn!("requests were still open after {} s", DRAIN.as_secs());
        server.abort();
    }
    // With the last handle the queue ends, and with it the thread.
    drop((saving.await, session.await, rules.await));
    match tokio::time::timeout(DRAIN, dead).await {
        Ok(result) => result?,
        Err(_) => return Err(Failure::run("the pipeline did not end in time")),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Binds the address and serves there what the gate lets through, until `stopping`.
async fn open(
    config: &Config,
    gate: &api::Gate,
    metrics: &Metrics,
    stopping: &watch::Receiver<bool>,
) -> Result<(String, JoinHandle<()>), Failure> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| Failure::run(format!("cannot listen on {}: {error}", config.listen)))?;
    let address = listener.local_addr().map_err(Failure::run)?;
    let tls = Tls::load(&config.tls)?;
    if let Some(tls) = &tls {
        drop(tls.spawn_watch(stopping.clone())); // it ends with `stopping`
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let services = Services {
        http: gate.clone().router(),
        kdb: None,
        tls,
        metrics: metrics.clone(),
    };
    let server = tokio::spawn(port::serve(vec![listener], services, stopping.clone()));
    Ok((format!("{scheme}://{address}"), server))
}

/// A process that takes rows.
struct Running {
    shared: Shared,
    thread: std::thread::JoinHandle<Result<(), Failure>>,
    recovered: Recovered,
}

/// Recovers, and starts the pipeline.
async fn start(
    config: &Config,
    detect: &DetectConfig,
    metrics: Metrics,
    stopping: watch::Receiver<bool>,
) -> Result<Running, Failure> {
    let (journal, fold, mut recovered) = recovery::start(config, detect).await?;
    let book = fold.book();
    let readers = journal.readers();
    let store = fold.store.clone();
    let arrivals = std::mem::take(&mut recovered.arrivals);
    let checkpoints = Writer::start(
        config.data.join(CHECKPOINT_DIR),
        store.clone(),
        metrics.clone(),
        std::mem::take(&mut recovered.hits),
        recovered.checkpoint.last_seq(),
    )?;
    let limits = pipeline::Limits {
        recent_rows_max: config.recent.rows_max,
        arrivals,
        checkpoints,
    };
    let Spawned {
        pipeline,
        published,
        live,
        thread,
    } = pipeline::spawn(journal, fold, detect, metrics.clone(), limits)?;
    let shared = Shared {
        store,
        book,
        pipeline,
        published,
        readers,
        subscribers: Subscribers::default(),
        live,
        jobs: Arc::default(),
        metrics,
        sql: SqlRuntime::start()?,
        stopping,
        retention_age: config.journal.retention_age,
        retention_bytes: config.journal.retention_bytes,
        recent_rows_max: config.recent.rows_max,
    };
    Ok(Running {
        shared,
        thread,
        recovered,
    })
}

fn load(args: &UpArgs) -> Result<(Config, DetectConfig), Failure> {
    let mut config = Config::load(args.config.as_ref(), args.overrides())?;
    config.set_detectors(&args.detector, &args.set)?;
    crate::logging::start(&config.log)?;
    let detect = config.detect()?;
    crate::guests::keep(&config.data)?;
    if !config.listen.ip().is_loopback() && config.tls.client_ca.as_os_str().is_empty() {
        tracing::warn!(listen = %config.listen, "open to the network: whoever reaches this address can read and publish");
    }
    Ok((config, detect))
}

/// A line for whoever started the process; nobody may be reading.
fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

async fn wait_for_thread(
    thread: std::thread::JoinHandle<Result<(), Failure>>,
) -> Result<(), Failure> {
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
        if boundary > rolled || full {
            tracing::info!(full, "the session rolls");
            if shared.end_of_day(None).await.is_ok() {
                rolled = boundary;
            } else {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
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
