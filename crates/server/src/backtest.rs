//! `tapewatch backtest`: one or many sets of parameters over a range of history, in one pass.
//!
//! Invariant: the alerts of a set are those of a replay with its parameters, in the order of their
//! first hits, for any number of threads and however often it was stopped in between. The history is
//! cut into units of instruments; each is done whole or not at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use tapewatch_detect::{Backtest, SetAlert, Shard};
use tapewatch_model::Progress;
use tapewatch_store::{OrderScan, ScanRequest, ScanUnit};

use crate::cli::BacktestArgs;
use crate::config::Config;
use crate::failure::Failure;
use crate::guests;
use crate::progress::{RowProgress, per_second};
use crate::replay::stop_flag;
use crate::{recovery, up};

mod grid;
mod output;

use grid::Grid;
use output::{Line, Output};

/// Wanted rows of a unit for each event type, about: small enough that a stop costs little, that threads
/// end together and that the rows of several types are sorted in memory; large enough that the row
/// groups that two units share do not count.
const UNIT_ROWS: u64 = 250_000;
const UNITS_MAX: u64 = 4_096;
/// Alerts of all sets together; they are sorted in memory.
const ALERTS_MAX: u64 = 5_000_000;

/// Runs it.
pub(crate) fn run(args: &BacktestArgs) -> Result<(), Failure> {
    let grid = Grid::read(args)?;
    let (from, to) = args.stored.times()?;
    let backtest = Backtest::with_guests(grid.sets(), Shard::WHOLE, &guests::provider())
        .map_err(Failure::usage)?;
    if backtest.by_bucket() {
        return Err(Failure::usage(
            "a detector mode that is defined over buckets (wj, wj1) cannot be tested over history: \
             it does not keep the buckets; use mode seq, or `tapewatch replay` on a file",
        ));
    }
    let request = ScanRequest {
        from,
        to,
        events: backtest.events(),
        syms: args.sym.clone(),
        details: backtest.wants_details(),
    };
    let scan = up::block_on(async {
        let options = Config::default().store_options();
        let store = recovery::orders_only(&args.stored.data, options).await?;
        tokio::task::block_in_place(|| store.order_scan(&request)).map_err(Failure::run)
    })?;
    let kinds = request.events.iter().count() as u64;
    Run::new(args, grid, scan, kinds.max(1))?.run()
}

/// A backtest under way.
struct Run<'a> {
    args: &'a BacktestArgs,
    grid: Grid,
    units: Vec<Mutex<Option<ScanUnit>>>,
    output: Output,
    /// Rows that the units have to look at, and how many of them are done.
    total: u64,
    looked_at: AtomicU64,
    /// Orders that the sets were given by this process.
    rows: AtomicU64,
    alerts: AtomicU64,
    next: AtomicUsize,
    stop: std::sync::Arc<AtomicBool>,
}

impl<'a> Run<'a> {
    /// A backtest that looks at so many event types.
    fn new(
        args: &'a BacktestArgs,
        grid: Grid,
        scan: OrderScan,
        kinds: u64,
    ) -> Result<Self, Failure> {
        let rows = scan.rows();
        let identity = args.out.as_ref().map(|_| scan.identity());
        let count = rows.div_ceil(UNIT_ROWS * kinds).clamp(2, UNITS_MAX);
        let units = scan.units(usize::try_from(count).unwrap_or(2));
        let names: Vec<String> = units.iter().map(ScanUnit::name).collect();
        let output = Output::open(args, &grid, (&names, identity), rows)?;
        Ok(Self {
            args,
            grid,
            total: units.iter().map(ScanUnit::rows).sum(),
            units: units
                .into_iter()
                .map(|unit| Mutex::new(Some(unit)))
                .collect(),
            output,
            looked_at: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            alerts: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            stop: stop_flag()?,
        })
    }

    fn run(self) -> Result<(), Failure> {
        let mut progress = RowProgress::new("backtest");
        let threads = match self.args.threads {
            0 => thread::available_parallelism().map_or(1, |count| count.get() as u32),
            threads => threads,
        };
        let before = self.output.done();
        let results: Vec<Result<(), Failure>> = thread::scope(|scope| {
            let work = || {
                let mut others = StopUnless {
                    done: false,
                    stop: &self.stop,
                };
                let result = self.work();
                others.done = result.is_ok();
                result
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            while !workers.iter().all(ScopedJoinHandle::is_finished) {
                progress.show(
                    self.rows.load(Ordering::Relaxed),
                    Progress {
                        done: self.looked_at.load(Ordering::Relaxed),
                        total: self.total,
                        passed_over: 0,
                    },
                );
                thread::park_timeout(Duration::from_millis(20));
            }
            let died = || Failure::run("a backtest thread died");
            let joined = workers.into_iter().map(|worker| worker.join());
            joined
                .map(|result| result.unwrap_or_else(|_| Err(died())))
                .collect()
        });
        let time = progress.finish();
        results.into_iter().collect::<Result<(), Failure>>()?;
        let done = self.output.done();
        if done < self.units.len() {
            return Err(Failure::stopped(
                self.output.how_to_go_on(done, self.units.len()),
            ));
        }
        let (units, sets) = (self.units.len(), self.grid.sets().len());
        let (data, rows) = (self.args.stored.data.display(), self.rows.into_inner());
        let lines = self.output.finish(&self.grid)?;
        let kept = match before {
            0 => String::new(),
            before => format!(" beside {before} of {units} parts that were done before"),
        };
        eprintln!(
            "{data}: {sets} sets, {rows} rows{kept}, {lines} alerts, {:.3} s, {} rows/s",
            time.as_secs_f64(),
            per_second(rows, time)
        );
        if rows == 0 && before == 0 {
            eprintln!(
                "{data}: no order there is asked for: check --data, --from, --to, --sym and --detector"
            );
        }
        Ok(())
    }

    /// Takes units until there are none.
    fn work(&self) -> Result<(), Failure> {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = self.units.get(index) else {
                return Ok(());
            };
            let unit = unit.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(mut unit) = unit else {
                continue;
            };
            if self.output.has(index) {
                self.looked_at.fetch_add(unit.rows(), Ordering::Relaxed);
                continue;
            }
            match self.unit(&mut unit)? {
                Some(alerts) => self.output.put(index, lines(&alerts)?)?,
                None => return Ok(()),
            }
        }
    }

    /// The alerts of one unit; `None` when it was stopped.
    fn unit(&self, unit: &mut ScanUnit) -> Result<Option<Vec<SetAlert>>, Failure> {
        let mut backtest =
            Backtest::with_guests(self.grid.sets(), Shard::WHOLE, &guests::provider())
                .map_err(Failure::usage)?;
        if unit.by_instrument() {
            backtest = backtest.by_instrument();
        }
        let (mut places, mut passed_over) = (BTreeMap::new(), unit.rows());
        while let Some(orders) = unit.next_batch().map_err(Failure::run)? {
            let rows = orders.len() as u64;
            passed_over = passed_over.saturating_sub(rows);
            let new = backtest.apply(orders);
            self.count(new.len() as u64)?;
            let place = |alert: &SetAlert| Some((alert.first.order.seq, unit.place(alert.row)?));
            places.extend(new.iter().filter_map(place));
            self.rows.fetch_add(rows, Ordering::Relaxed);
            self.looked_at.fetch_add(rows, Ordering::Relaxed);
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        self.looked_at.fetch_add(passed_over, Ordering::Relaxed);
        if let Some((set, notice)) = backtest.disabled().first() {
            // Its alerts would not be whole, and which are missing would depend on the scan.
            return Err(Failure::run(format!("set {set}: {notice}")));
        }
        let mut alerts = backtest.into_alerts();
        // The scan may leave out ids and prices; those of the alerts are read now, in their order.
        let place = |alert: &SetAlert| places.get(&alert.first.order.seq).copied();
        let places: Vec<_> = alerts.iter().filter_map(place).collect();
        let details = unit.details(&places).map_err(Failure::run)?;
        if details.len() != alerts.len() {
            return Err(Failure::run("the history has fewer rows than it had"));
        }
        for (alert, (order_id, price)) in alerts.iter_mut().zip(&details) {
            alert.identify(order_id, *price);
        }
        Ok(Some(alerts))
    }

    fn count(&self, new: u64) -> Result<(), Failure> {
        if self.alerts.fetch_add(new, Ordering::Relaxed) + new > ALERTS_MAX {
            return Err(Failure::run(format!(
                "the sets have more than {ALERTS_MAX} alerts together: take fewer sets, higher \
                 thresholds or a shorter time"
            )));
        }
        Ok(())
    }
}

/// Stops the other threads when one fails or dies.
struct StopUnless<'a> {
    done: bool,
    stop: &'a AtomicBool,
}

impl Drop for StopUnless<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// The alerts as they are written.
fn lines(alerts: &[SetAlert]) -> Result<Vec<Line>, Failure> {
    alerts.iter().map(Line::of).collect()
}
