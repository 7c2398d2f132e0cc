//! `tapewatch measure`: what one process does on this machine, for benchmarks; a hidden command.
//!
//! Invariant: the parts measured are those of `tapewatch up`: feed, journal, engine and tables, with
//! the pipeline between them. Everything goes into a new directory, which is deleted at the end.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::json;
use tapewatch_connect::{Bucketer, Pace};
use tapewatch_detect::DetectConfig;
use tapewatch_journal::{Journal, Retention};
use tapewatch_model::{Bucket, Details, EventType, Price, Quantity, RowRef, Side, TimeSpan};
use tapewatch_store::Store;
use tokio::sync::oneshot;

use crate::arrivals::Arrivals;
use crate::checkpoint::{CHECKPOINT_DIR, Writer};
use crate::cli::{LatencyArgs, LiveArgs, MeasureArgs, MeasureCommand};
use crate::clock;
use crate::config::Config;
use crate::failure::Failure;
use crate::fold::{Fold, Parts};
use crate::metrics::Metrics;
use crate::pipeline::{self, Pipeline, PublishError, Published, Spawned};
use crate::recovery::JOURNAL_DIR;
use crate::source::{format_of, open};
use crate::starting::Thread;
use crate::up;
use dashboard::Dashboard;

mod dashboard;
mod sql;
mod wire;
mod wire_latency;

/// Buckets on the way through the pipeline.
const IN_FLIGHT: usize = 8;
/// Journal that is kept while it is measured.
const JOURNAL_BYTES_KEPT: u64 = 1 << 30;
/// One event in so many is a hit.
const HIT_EVERY: u64 = 10;
/// Traders whose events are hits: each cancels a few times a second, as many as a window is made for.
const SPOOFERS: u64 = 1_000;
/// Events before the measured ones: from then on each of these traders is over the thresholds.
const WARM_UP: u64 = HIT_EVERY * SPOOFERS * 5;
const DAY: TimeSpan = TimeSpan::from_secs(86_400);

/// Runs a measurement and prints it as one JSON object.
pub(crate) fn run(command: &MeasureCommand) -> Result<(), Failure> {
    let (args, result) = match command {
        MeasureCommand::Live(args) => (&args.common, up::block_on(live(args))),
        MeasureCommand::Latency(args) => (&args.common, up::block_on(latency(args))),
        MeasureCommand::Wire(args) => (&args.common, wire::run(args)),
        MeasureCommand::WirePart(args) => return wire::work(args),
        MeasureCommand::Sql(args) => (&args.common, up::block_on(sql::run(args))),
    };
    let dir = directory(args);
    if let Err(error) = fs::remove_dir_all(&dir) {
        eprintln!("{}: cannot be deleted: {error}", dir.display());
    }
    println!("{}", result?);
    Ok(())
}

fn directory(args: &MeasureArgs) -> PathBuf {
    let parent = args.data.clone().unwrap_or_else(std::env::temp_dir);
    parent.join(format!("tapewatch-measure-{}", std::process::id()))
}

/// A pipeline over a new directory, as `up` has it.
async fn start(args: &MeasureArgs) -> Result<(Spawned, Thread, Store), Failure> {
    let mut config = Config {
        data: directory(args),
        ..Config::default()
    };
    if let Some(fsync) = &args.fsync {
        config.journal.fsync.clone_from(fsync);
    }
    let journal_dir = config.data.join(JOURNAL_DIR);
    fs::create_dir_all(&journal_dir)
        .map_err(|error| Failure::run(format!("{}: {error}", journal_dir.display())))?;
    let options = config.journal_options()?;
    let (journal, _) = Journal::open(&journal_dir, options).map_err(Failure::run)?;
    let store = Store::open(&config.data, config.store_options())
        .await
        .map_err(Failure::run)?;
    let detect = DetectConfig::default();
    let fold = Fold::new(&detect, Parts::whole(config.shards()?), store.clone())?;
    let metrics = Metrics::new().map_err(Failure::run)?;
    let checkpoints = config.data.join(CHECKPOINT_DIR);
    let limits = pipeline::Limits {
        recent_rows_max: u64::MAX / 2,
        arrivals: Arrivals::default(),
        checkpoints: Some(Writer::start(
            checkpoints,
            Some(store.clone()),
            metrics.clone(),
            Vec::new(),
            0,
        )?),
        hits: None,
    };
    let (spawned, thread) = pipeline::spawn(journal, fold, &detect, metrics, limits)?;
    Ok((spawned, thread, store))
}

/// A file of orders, day after day, through the whole process at a steady rate.
async fn live(args: &LiveArgs) -> Result<serde_json::Value, Failure> {
    let (spawned, thread, store) = start(&args.common).await?;
    let pipeline = spawned.pipeline.clone();
    let span = Duration::from_secs(args.common.seconds);
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let mut rows = 0_u64;
    let mut checkpoint = Instant::now();
    for day in 0.. {
        let source = open(&args.file, &format_of(&args.file)?)?;
        let mut buckets = Bucketer::new(source, Pace::default());
        let mut failed = None;
        let buckets = std::iter::from_fn(|| {
            let due = Duration::from_secs_f64(rows as f64 / args.rate as f64);
            if started.elapsed() >= span {
                return None;
            }
            thread::sleep(due.saturating_sub(started.elapsed()));
            match buckets.next_bucket() {
                Ok(due) => due.map(|due| {
                    let mut bucket = due.bucket;
                    bucket
                        .orders
                        .shift_times(TimeSpan::from_nanos(DAY.nanos() * day));
                    rows += bucket.count();
                    bucket
                }),
                Err(error) => {
                    failed = Some(Failure::run(error));
                    None
                }
            }
        });
        let publish = |bucket| pipeline.publish(bucket);
        let mut published = futures::stream::iter(buckets)
            .map(publish)
            .buffered(IN_FLIGHT);
        while let Some(published) = published.next().await {
            let published = published.map_err(Failure::run)?;
            if checkpoint.elapsed() > Duration::from_secs(30) {
                checkpoint = Instant::now();
                pipeline.checkpoint().await;
                pipeline.retain(kept(published.placed.first_seq)).await;
            }
        }
        drop(published);
        if let Some(failure) = failed {
            return Err(failure);
        }
        if started.elapsed() >= span {
            break;
        }
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let counts = store.counts();
    finish(pipeline, spawned, thread)?;
    Ok(json!({
        "rows": rows,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "rows_per_second": (rows as f64 / seconds) as u64,
        "rows_per_cpu_second": (rows as f64 / cpu) as u64,
        "hits": counts.hits,
        "recent_bytes_per_row": counts.recent_bytes as f64 / counts.recent_orders.max(1) as f64,
        "peak_rss_mb": peak_rss_mb(),
    }))
}

fn kept(seq: u64) -> Retention {
    Retention {
        bytes_max: Some(JOURNAL_BYTES_KEPT),
        age_max: None,
        keep_from_seq: seq,
    }
}

/// One event a bucket, at a steady rate: from the moment it is due to the moment its answer is seen,
/// when its hit is in the tables.
async fn latency(args: &LatencyArgs) -> Result<serde_json::Value, Failure> {
    let (spawned, thread, store) = start(&args.common).await?;
    let events = args.rate.saturating_mul(args.common.seconds) + WARM_UP;
    let pipeline = spawned.pipeline.clone();
    let dashboard = Dashboard::start(&store, args.queries)?;
    let source = thread::Builder::new()
        .name("source".to_owned())
        .spawn({
            let (pipeline, rate) = (pipeline.clone(), args.rate);
            move || send_events(&pipeline, rate, events)
        })
        .map_err(Failure::run)?;
    let joined = tokio::task::spawn_blocking(move || source.join()).await;
    let mut waits = match joined {
        Ok(Ok(waits)) => waits?,
        _ => return Err(Failure::run("the source died")),
    };
    let answers = match dashboard {
        Some(dashboard) => dashboard.stop().await?,
        None => 0,
    };
    let hits = store.counts().hits;
    finish(pipeline, spawned, thread)?;
    waits.sort_unstable();
    let at = |part: f64| {
        let index = (waits.len() as f64 * part) as usize;
        let wait = waits.get(index.min(waits.len().saturating_sub(1)));
        wait.map_or(0.0, |wait: &Duration| wait.as_nanos() as f64 / 1e3)
    };
    Ok(json!({
        "rate": args.rate,
        "events": waits.len(),
        "hits": hits,
        "answers": answers,
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "p999_us": at(0.999),
        "max_us": at(1.0),
    }))
}

/// What is asked, and when it was due.
type Asked = (Instant, oneshot::Receiver<Result<Published, PublishError>>);

/// Sends the events when they are due and looks for answers in between, without sleeping: a sleep
/// would be longer than what is measured. The waits of hits' events.
fn send_events(pipeline: &Pipeline, rate: u64, events: u64) -> Result<Vec<Duration>, Failure> {
    let gap = Duration::from_secs(1).as_nanos() as u64 / rate.max(1);
    let started = Instant::now();
    let mut waits = Vec::new();
    let mut asked: VecDeque<(u64, Asked)> = VecDeque::new();
    let mut next = 0;
    while next < events || !asked.is_empty() {
        let due = started + Duration::from_nanos(gap.saturating_mul(next));
        if next < events && Instant::now() >= due {
            // A full queue makes the source wait; the event is late then, and that counts.
            if let Some(answer) = pipeline.try_publish(event(next)?) {
                asked.push_back((next, (due, answer)));
                next += 1;
            }
        }
        while let Some((number, (due, answer))) = asked.front_mut() {
            match answer.try_recv() {
                Ok(published) => {
                    published.map_err(Failure::run)?;
                    if *number >= WARM_UP && number.is_multiple_of(HIT_EVERY) {
                        waits.push(due.elapsed());
                    }
                    asked.pop_front();
                }
                Err(oneshot::error::TryRecvError::Empty) => break,
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(Failure::run("the pipeline ended"));
                }
            }
        }
    }
    Ok(waits)
}

/// A cancel; one in [`HIT_EVERY`] is of the traders who cancel far too much.
fn event(number: u64) -> Result<Bucket, Failure> {
    let spoofs = number.is_multiple_of(HIT_EVERY);
    let trader = if spoofs {
        number / HIT_EVERY % SPOOFERS
    } else {
        SPOOFERS + number % 4_000
    };
    let sym = trader % 500;
    let [sym, trader, order_id] = [('S', sym), ('T', trader), ('O', number)]
        .map(|(letter, number)| format!("{letter}{number}"));
    let mut bucket = Bucket::default();
    let row = RowRef::<[u8]> {
        time: clock::now(),
        sym: sym.as_bytes(),
        event_type: EventType::Cancelled,
        trader: trader.as_bytes(),
        side: Side::Buy,
        order_id: order_id.as_bytes(),
        price: Price::from_units(1_000_000_000),
        quantity: Quantity::from_whole(if spoofs { 5_000 } else { 1 }).map_err(Failure::run)?,
        details: Details::default(),
    };
    bucket.orders.push(&row).map_err(Failure::run)?;
    Ok(bucket)
}

fn finish(pipeline: Pipeline, spawned: Spawned, thread: Thread) -> Result<(), Failure> {
    drop((pipeline, spawned.pipeline));
    let ended = thread.join();
    ended.unwrap_or_else(|_| Err(Failure::run("the pipeline thread died")))
}

/// CPU time of this process so far, all threads.
fn cpu_seconds() -> f64 {
    // Fields 14 and 15, in hundredths of a second; the name before them may hold spaces.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn peak_rss_mb() -> u64 {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
