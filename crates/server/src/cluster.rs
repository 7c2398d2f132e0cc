//! The roles scheduler and executor: processes that run queries for the one that has the tables.
//!
//! Invariant: each is alone in its process and holds nothing that cannot be made again. An executor that
//! has lost its scheduler tries again for ever, ever more slowly; `/readyz` says how it stands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use tapewatch_store::cluster::{
    Dialer, ExecutorHealth, ExecutorOptions, Pipe, SchedulerOptions, execute, schedule,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::ROLES;
use crate::api::error::ApiError;
use crate::config::{Config, check_plain, host_of};
use crate::dial::dial;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::roles::Role;

/// The first pause before an executor tries again, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long the steps of an executor that stops may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// What the process does until it stops.
pub(crate) type Service = JoinHandle<Result<(), Failure>>;

/// How a process stands, for who asks.
type Standing = Arc<dyn Fn() -> (bool, String) + Send + Sync>;

#[derive(Clone)]
struct Shown {
    role: &'static str,
    standing: Standing,
    metrics: Metrics,
}

/// Begins the role; it ends with `stopping`.
pub(crate) async fn begin(
    role: Role,
    config: &Config,
    metrics: Metrics,
    stopping: watch::Receiver<bool>,
) -> Result<(Router, Service), Failure> {
    let (role, standing, service) = match role {
        Role::Scheduler => scheduler(config, stopping).await?,
        _ => executor(config, stopping)?,
    };
    metrics.ready.set(1);
    let shown = Shown {
        role,
        standing,
        metrics,
    };
    let router = Router::new()
        .route("/healthz", routing::get(async || "ok\n"))
        .route("/readyz", routing::get(readyz))
        .route("/metrics", routing::get(show_metrics))
        .fallback(elsewhere)
        .with_state(shown);
    Ok((router, service))
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let (ready, text) = (shown.standing)();
    let role = [(ROLES, HeaderValue::from_static(shown.role))];
    match ready {
        true => (role, format!("ready\n{text}\n")).into_response(),
        false => {
            let text = format!("not ready\n{text}\n");
            (StatusCode::SERVICE_UNAVAILABLE, role, text).into_response()
        }
    }
}

async fn show_metrics(State(shown): State<Shown>) -> Result<String, ApiError> {
    shown.metrics.text().map_err(ApiError::internal)
}

async fn elsewhere(State(shown): State<Shown>) -> Response {
    let text = format!(
        "this process has the role {} alone: ask the gateway, or the role recent\n",
        shown.role
    );
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn scheduler(
    config: &Config,
    mut stopping: watch::Receiver<bool>,
) -> Result<(&'static str, Standing, Service), Failure> {
    let address = config.scheduler.grpc;
    check_plain("scheduler.grpc", address, config.scheduler.plain)?;
    let listener = bind(address).await?;
    let place = &config.peers.scheduler;
    let host = place
        .rsplit_once(':')
        .map_or(place.as_str(), |(host, _)| host);
    let options = SchedulerOptions {
        host: host.to_owned(),
        // Reading an answer takes at most as long as a query may.
        keep_rows: 2 * Duration::from_nanos(config.sql.timeout.nanos().unsigned_abs()).max(DRAIN),
    };
    let port = listener.local_addr().map_err(Failure::run)?.port();
    let scheduling = schedule(port, options).await.map_err(Failure::run)?;
    tracing::info!(%address, "takes queries and executors");
    let seen = scheduling.clone();
    let standing: Standing = Arc::new(move || {
        let queries = seen.queries();
        let text = match seen.has_executors() {
            true => format!("{queries} queries run"),
            false => "no executor has joined".to_owned(),
        };
        // Without executors it is ready for them.
        (true, text)
    });
    let service = tokio::spawn(async move {
        tokio::select! {
            served = scheduling.serve(listener) => served.map_err(Failure::run),
            () = stopped(&mut stopping) => Ok(()),
        }
    });
    Ok(("scheduler", standing, service))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Failure::run(format!("cannot listen on {address}: {error}")))
}

fn executor(
    config: &Config,
    stopping: watch::Receiver<bool>,
) -> Result<(&'static str, Standing, Service), Failure> {
    let of_role = &config.executor;
    check_plain("executor.flight", of_role.flight, of_role.plain)?;
    let place = &config.peers.scheduler;
    let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
    let port = port
        .parse()
        .map_err(|_| Failure::usage(format!("configuration: peers.scheduler is {place:?}")))?;
    let store = config.store_options();
    let tls = config.tls.clone();
    let options = ExecutorOptions {
        rows: of_role.flight,
        steps: of_role.grpc_port,
        host: match of_role.host.as_str() {
            "" => host_of(of_role.flight),
            host => host.to_owned(),
        },
        scheduler: (host.to_owned(), port),
        dir: config
            .data
            .join(format!("executor-{}", of_role.flight.port())),
        cores: of_role.cores,
        memory_bytes_max: of_role.memory_bytes_max,
        spill_bytes_max: store.sql_spill_bytes_max,
        data: config.data.clone(),
        history: store.history,
        dialer: Dialer::new(move |address: String| {
            let tls = tls.clone();
            async move {
                let opened = dial(&address, &tls).await?;
                Ok(Box::new(opened) as Box<dyn Pipe>)
            }
        }),
    };
    let health = ExecutorHealth::new();
    let (seen, place) = (health.clone(), place.clone());
    let standing: Standing = Arc::new(move || match seen.is_ready() {
        true => (true, format!("scheduler {place} answers")),
        false => (false, format!("scheduler {place} does not answer")),
    });
    let service = tokio::spawn(keep_on(options, health, stopping));
    Ok(("executor", standing, service))
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that everything is gone already.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Runs an executor again whenever it has ended, until the process stops.
async fn keep_on(
    options: ExecutorOptions,
    health: ExecutorHealth,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut pause = PAUSE.0;
    loop {
        let begun = tokio::time::Instant::now();
        let mut running = tokio::spawn({
            let (options, health) = (options.clone(), health.clone());
            async move { execute(&options, health).await }
        });
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = stopped(&mut stopping) => {
                if tokio::time::timeout(DRAIN, &mut running).await.is_err() {
                    tracing::warn!("steps of queries still ran after {} s", DRAIN.as_secs());
                    running.abort();
                }
                return Ok(());
            }
        };
        let why = match ended {
            Ok(Ok(())) => "it lost the scheduler".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if *stopping.borrow() {
            return Ok(());
        }
        health.mark_heartbeat_failed();
        if begun.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        tracing::warn!(%why, "the executor ended; it begins again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stopping) => return Ok(()),
        }
        pause = (2 * pause).min(PAUSE.1);
    }
}
