//! `tapewatch replay`: the engine of the live system over a file or over what is stored.
//!
//! Invariant: the same hits in the same order for any number of threads; hits go to standard output,
//! everything else to standard error. Memory does not grow with the input.

use std::io::{BufWriter, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tapewatch_detect::{DetectConfig, Disabled, Engine, Shard, merge_shards, settle};
use tapewatch_model::{
    DeadLetter, EventTypes, Hit, OrderBatch, OrderSource, Progress, SourceError,
};
use tapewatch_store::HistoryOrders;

use crate::cli::ReplayArgs;
use crate::config::Config;
use crate::failure::Failure;
use crate::guests;
use crate::hit_writer::HitWriter;
use crate::in_force;
use crate::progress::{RowProgress, per_second, refused};
use crate::source::{format_of, open};
use crate::{recovery, up};

/// Batches that may wait for a thread.
const BATCHES_AHEAD: usize = 4;
/// Refused rows that are named on standard error.
const NAMED_MAX: u64 = 10;

/// Runs the replay.
pub(crate) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let mut config = args.detect.config()?;
    for assignment in &args.set {
        config
            .set(assignment)
            .map_err(|error| Failure::usage(format!("--set: {error}")))?;
    }
    let (from, to) = args.stored.times()?;
    match &args.file {
        Some(path) => {
            let format = format_of(path)?;
            let source = open(path, &format)?;
            Replay::new(args, config)?.run(source, &path.display().to_string())
        }
        None => up::block_on(async {
            let (detect, options) = (DetectConfig::default(), Config::default().store_options());
            let store = recovery::read_only(&args.stored.data, &detect, options)
                .await?
                .store;
            let orders = store.history_orders(from, to).await.map_err(Failure::run)?;
            let runtime = tokio::runtime::Handle::current();
            let stored = Stored {
                orders,
                runtime,
                rows: 0,
                name: args.stored.data.display().to_string(),
            };
            tokio::task::block_in_place(|| {
                let name = stored.name.clone();
                Replay::new(args, config)?.run(Box::new(stored), &name)
            })
        }),
    }
}

/// What is stored, as a source: its batches keep the sequence numbers they have.
struct Stored {
    orders: HistoryOrders,
    runtime: tokio::runtime::Handle,
    rows: u64,
    name: String,
}

impl OrderSource for Stored {
    fn next_batch(
        &mut self,
        _rows_max: usize,
        orders: &mut OrderBatch,
        _dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, SourceError> {
        let next = self.runtime.block_on(self.orders.next());
        let next = next.map_err(|error| SourceError {
            source_name: self.name.clone(),
            message: error.to_string(),
        })?;
        match next {
            Some(batch) => *orders = batch,
            None => {
                orders.clear();
                return Ok(false);
            }
        }
        self.rows += orders.len() as u64;
        Ok(true)
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.rows,
            total: 0,
            passed_over: 0,
        }
    }
}

/// What a thread found in a batch, and the guests that stopped in it.
type Found = (Vec<Hit>, Vec<Disabled>);

struct Replay<'a> {
    args: &'a ReplayArgs,
    config: DetectConfig,
    progress: RowProgress,
    /// Set by SIGINT and SIGTERM.
    stop: Arc<AtomicBool>,
    orders: u64,
    refused: u64,
    passed_over: u64,
    hits: u64,
    /// Guests that stopped.
    disabled: Vec<Disabled>,
}

impl<'a> Replay<'a> {
    fn new(args: &'a ReplayArgs, config: DetectConfig) -> Result<Self, Failure> {
        Ok(Self {
            args,
            config,
            progress: RowProgress::new("replay"),
            stop: stop_flag()?,
            orders: 0,
            refused: 0,
            passed_over: 0,
            hits: 0,
            disabled: Vec::new(),
        })
    }

    /// Rows of the source that were read, whatever became of them.
    fn rows(&self) -> u64 {
        self.orders + self.refused + self.passed_over
    }

    fn run(
        mut self,
        mut source: Box<dyn OrderSource + Send + '_>,
        name: &str,
    ) -> Result<(), Failure> {
        let missing = in_force::missing(&self.config, source.tells());
        let unknown = self.config.unknown_names();
        let told = unknown.iter().chain(&missing);
        told.for_each(|line| eprintln!("{name}: {line}"));
        source.want(self.wanted()?);
        let out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
        let mut writer = HitWriter::new(out, self.args.format);
        let done = match self.args.threads {
            1 => self.on_this_thread(source, &mut writer),
            threads => self.on_threads(source, &mut writer, threads),
        };
        match done.and_then(|()| writer.finish().map_err(written)) {
            Err(Ended::ReaderGone) => {
                eprintln!("{name}: stopped, nobody reads the hits any more");
                return Ok(());
            }
            Ok(()) => {}
            Err(Ended::Failed(failure)) => return Err(failure),
        }
        let (rows, stopped) = (self.rows(), self.stop.load(Ordering::Relaxed));
        let time = self.progress.finish();
        let passed_over = match self.passed_over {
            0 => String::new(),
            rows => format!("{rows} of events that no detector looks at, "),
        };
        eprintln!(
            "{name}: {}{rows} rows, {passed_over}{} rejects, {} hits, {:.3} s, {} rows/s",
            if stopped { "stopped after " } else { "" },
            self.refused,
            self.hits,
            time.as_secs_f64(),
            per_second(rows, time)
        );
        self.disabled
            .iter()
            .for_each(|one| eprintln!("{name}: {one}"));
        if rows == 0 && self.args.file.is_none() {
            eprintln!("{name}: no order there is asked for: check --data, --from and --to");
        }
        if stopped {
            return Err(Failure::stopped("the hits up to there are written"));
        }
        Ok(())
    }

    /// The events that the source must give.
    fn wanted(&self) -> Result<EventTypes, Failure> {
        if self.args.check_all || self.args.strict {
            return Ok(EventTypes::ALL);
        }
        Ok(engine(&self.config, Shard::WHOLE)?.events())
    }

    fn on_this_thread<W: Write>(
        &mut self,
        mut source: Box<dyn OrderSource + Send + '_>,
        writer: &mut HitWriter<W>,
    ) -> Result<(), Ended> {
        let mut engine = engine(&self.config, Shard::WHOLE)?;
        let mut orders = OrderBatch::default();
        let mut letters = Vec::new();
        let mut hits = Vec::new();
        while self.read(source.as_mut(), &mut orders, &mut letters)? {
            engine.apply(&orders, &mut hits);
            self.disabled = engine.disabled();
            self.hits += hits.len() as u64;
            hits.drain(..)
                .try_for_each(|hit| writer.write(&hit))
                .map_err(written)?;
        }
        Ok(())
    }

    fn on_threads<W: Write>(
        &mut self,
        mut source: Box<dyn OrderSource + Send + '_>,
        writer: &mut HitWriter<W>,
        count: u32,
    ) -> Result<(), Ended> {
        let engines: Result<Vec<_>, _> = (0..count)
            .map(|index| engine(&self.config, Shard { index, count }))
            .collect();
        let engines = engines?;
        thread::scope(|scope| {
            let mut batches: Vec<SyncSender<Arc<OrderBatch>>> = Vec::new();
            let mut results: Vec<Receiver<Found>> = Vec::new();
            for mut engine in engines {
                let (batch_in, batch_out) = sync_channel::<Arc<OrderBatch>>(BATCHES_AHEAD);
                let (hits_in, hits_out) = sync_channel(BATCHES_AHEAD * 2);
                scope.spawn(move || {
                    for orders in batch_out {
                        let mut hits = Vec::new();
                        engine.apply(&orders, &mut hits);
                        if hits_in.send((hits, engine.disabled())).is_err() {
                            return; // whoever collects has ended, and says why
                        }
                    }
                });
                batches.push(batch_in);
                results.push(hits_out);
            }
            let mut letters = Vec::new();
            let mut waiting = 0;
            let mut before = OrderBatch::default();
            loop {
                let mut orders = OrderBatch::following(&before, 0);
                let more = self.read(source.as_mut(), &mut orders, &mut letters)?;
                if more {
                    before = OrderBatch::following(&orders, 0);
                    let orders = Arc::new(orders);
                    for batch in &batches {
                        batch.send(Arc::clone(&orders)).map_err(|_| died())?;
                    }
                    waiting += 1;
                }
                while waiting > if more { BATCHES_AHEAD } else { 0 } {
                    self.collect(&results, writer)?;
                    waiting -= 1;
                }
                if !more {
                    return Ok(());
                }
            }
        })
    }

    /// Writes the hits of the oldest batch on the way.
    fn collect<W: Write>(
        &mut self,
        results: &[Receiver<Found>],
        writer: &mut HitWriter<W>,
    ) -> Result<(), Ended> {
        let shards: Result<Vec<Found>, _> = results.iter().map(Receiver::recv).collect();
        let (shards, disabled): (Vec<_>, Vec<_>) = shards.map_err(|_| died())?.into_iter().unzip();
        let mut hits = merge_shards(shards);
        let before = std::mem::take(&mut self.disabled);
        self.disabled = settle(
            before.into_iter().chain(disabled.into_iter().flatten()),
            &mut hits,
        );
        self.hits += hits.len() as u64;
        hits.iter()
            .try_for_each(|hit| writer.write(hit))
            .map_err(written)
    }

    fn read(
        &mut self,
        source: &mut (dyn OrderSource + Send + '_),
        orders: &mut OrderBatch,
        letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, Ended> {
        if self.stop.load(Ordering::Relaxed) {
            orders.clear();
            return Ok(false);
        }
        let rows_max = self.args.rows_per_bucket.get();
        let more = source
            .next_batch(rows_max, orders, letters)
            .map_err(failed)?;
        if let Some(letter) = letters.first().filter(|_| self.args.strict) {
            let message = format!("{}; stopped there", refused(letter));
            return Err(Ended::Failed(Failure::strict(message)));
        }
        for letter in letters.drain(..) {
            if self.refused < NAMED_MAX {
                self.progress
                    .note(&format!("refused: {}", refused(&letter)));
            }
            self.refused += 1;
        }
        self.orders += orders.len() as u64;
        let progress = source.progress();
        self.passed_over = progress.passed_over;
        self.progress.show(self.rows(), progress);
        Ok(more)
    }
}

/// A flag that SIGINT and SIGTERM set; a second one ends the process at once.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first one finds the flag not set yet.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(Failure::run)?;
    }
    Ok(stop)
}

/// Why a replay ended early.
enum Ended {
    Failed(Failure),
    /// Whoever read the hits has closed the pipe, as `head` does.
    ReaderGone,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn engine(config: &DetectConfig, shard: Shard) -> Result<Engine, Failure> {
    Engine::with_guests(config, shard, guests::provider()).map_err(Failure::usage)
}

fn failed(error: SourceError) -> Ended {
    Ended::Failed(Failure::run(error))
}

fn written(error: std::io::Error) -> Ended {
    match error.kind() {
        ErrorKind::BrokenPipe => Ended::ReaderGone,
        _ => Ended::Failed(Failure::run(format!("cannot write the hits: {error}"))),
    }
}

fn died() -> Ended {
    Ended::Failed(Failure::run("a detector thread died"))
}
