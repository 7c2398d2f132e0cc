//! `tapewatch simulate`: a trading session with labelled abuse, as files; and the same as a source.
//!
//! Invariant: the same arguments give the same bytes. Labels are in a file of their own, never among
//! the orders. A directory is written whole or not at all: it has its name only when it is complete.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tapewatch_exchange::{Event, Label, Pattern, Plan, Scenario, Simulation, Tape};
use tapewatch_journal::{FsyncPolicy, Journal, Options};
use tapewatch_model::{
    Bucket, DeadLetter, OrderBatch, OrderSource, Origin, Progress, SourceError, Time, TimeSpan,
    encode_bucket, frame_kind,
};
use tapewatch_store::order_file::OrderFileWriter;

use crate::cli::{ScenarioArgs, SimulateArgs, SimulatedFormat};
use crate::failure::Failure;
use crate::progress::{RowProgress, per_second};
use crate::replay::stop_flag;

/// Rows of a bucket of a journal, and of a row group's share of a file.
const ROWS_AT_ONCE: usize = 8_192;
const NAME: &str = "simulation";

/// The rows of a simulated session, one batch after another.
pub(crate) struct Simulated {
    simulation: Simulation,
    /// What it was asked to play, in each of so many instruments.
    plan: Plan,
    instruments: u32,
    tape: Tape,
    events: Vec<Event>,
    now: Time,
    rows: u64,
    over: bool,
}

impl Simulated {
    /// A session that has not begun.
    pub(crate) fn new(args: &ScenarioArgs) -> Result<Self, Failure> {
        let scenario = scenario(args)?;
        let (plan, instruments) = (scenario.plan, scenario.instruments);
        let simulation = Simulation::new(scenario);
        let simulation = simulation.map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self {
            tape: Tape::new(simulation.accounts().clone()),
            simulation,
            plan,
            instruments,
            events: Vec::new(),
            now: Time::MIN,
            rows: 0,
            over: false,
        })
    }

    /// A line for each pattern of the plan that was not carried out as often as it says.
    fn left_out(&self) -> Vec<String> {
        let labels = self.simulation.labels();
        let line = |pattern: Pattern| {
            let wanted = u64::from(self.plan.count(pattern)) * u64::from(self.instruments);
            let played = labels
                .iter()
                .filter(|label| label.pattern == pattern)
                .count() as u64;
            (played < wanted).then(|| {
                format!(
                    "{pattern}: {played} of {wanted} carried out; the market or the hours left no room for more"
                )
            })
        };
        Pattern::all().filter_map(line).collect()
    }

    /// The session as it is now.
    pub(crate) fn simulation(&self) -> &Simulation {
        &self.simulation
    }
}

fn scenario(args: &ScenarioArgs) -> Result<Scenario, Failure> {
    let usual = Scenario::default();
    let plan = Plan::parse(&args.abuse).map_err(|e| Failure::usage(format!("--abuse: {e}")))?;
    let hours = args.hours.units() / 1_000_000; // thousandths of an hour
    let trading = TimeSpan::from_nanos(hours.saturating_mul(3_600_000_000));
    let times = args
        .rate
        .trim_end_matches('x')
        .parse::<tapewatch_model::Price>();
    let pace = times
        .ok()
        .and_then(|times| u32::try_from(times.units() / 10_000_000).ok());
    let pace = pace.ok_or_else(|| {
        Failure::usage(format!(
            "--rate: {:?} is not a factor such as 1x or 2.5x",
            args.rate
        ))
    })?;
    let start = match args.date {
        None => usual.start,
        Some(date) => {
            let at = usual.start.nanos().rem_euclid(86_400_000_000_000);
            date.start().saturating_add(TimeSpan::from_nanos(at))
        }
    };
    Ok(Scenario {
        seed: args.seed,
        instruments: args.instruments,
        news: args.news,
        start,
        trading,
        pace,
        plan,
        ..usual
    })
}

impl OrderSource for Simulated {
    fn next_batch(
        &mut self,
        rows_max: usize,
        orders: &mut OrderBatch,
        _dead_letters: &mut Vec<DeadLetter>,
    ) -> Result<bool, SourceError> {
        let rows_max = rows_max.max(1);
        while self.tape.rows().len() < rows_max && !self.over {
            self.events.clear();
            let Some(now) = self.simulation.next(&mut self.events) else {
                self.over = true;
                break;
            };
            self.now = now;
            for event in &self.events {
                self.tape.push(now, event).map_err(|error| SourceError {
                    source_name: NAME.to_owned(),
                    message: error.to_string(),
                })?;
            }
        }
        *orders = self.tape.take();
        orders.number_from(self.rows + 1);
        self.rows += orders.len() as u64;
        Ok(!orders.is_empty())
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.simulation.done(self.now),
            total: 1_000,
            passed_over: 0,
        }
    }
}

/// Where the rows go.
enum Out {
    Csv(BufWriter<File>),
    Parquet(Box<OrderFileWriter>),
    Journal(Box<Journal>, Vec<u8>),
}

impl Out {
    fn create(format: SimulatedFormat, dir: &Path) -> Result<Self, Failure> {
        let path = |name: &str| dir.join(name);
        Ok(match format {
            SimulatedFormat::Csv => {
                let mut file =
                    BufWriter::new(File::create(path("orders.csv")).map_err(Failure::run)?);
                writeln!(file, "{CSV_HEADER}").map_err(Failure::run)?;
                Self::Csv(file)
            }
            SimulatedFormat::Parquet => {
                let writer = OrderFileWriter::create(&path("orders.parquet"));
                Self::Parquet(Box::new(writer.map_err(Failure::run)?))
            }
            SimulatedFormat::Journal => {
                let options = Options {
                    fsync: FsyncPolicy::Os,
                    ..Options::default()
                };
                let (journal, _) =
                    Journal::open(&path("journal"), options).map_err(Failure::run)?;
                Self::Journal(Box::new(journal), Vec::new())
            }
        })
    }

    fn write(&mut self, orders: OrderBatch) -> Result<(), Failure> {
        match self {
            Self::Csv(file) => write_csv(file, &orders).map_err(Failure::run),
            Self::Parquet(writer) => writer.write(&orders).map_err(Failure::run),
            Self::Journal(journal, payload) => {
                let time = orders.times().last().map_or(0, |time| time.nanos());
                let bucket = Bucket {
                    origin: Origin::default(),
                    orders,
                    dead_letters: Vec::new(),
                };
                payload.clear();
                encode_bucket(&bucket, payload);
                let count = bucket.count() as u32;
                let appended = journal.append(frame_kind::BUCKET, count, time, payload);
                appended.map_err(Failure::run)?;
                journal.commit().map_err(Failure::run)
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Csv(mut file) => file.flush().map_err(Failure::run),
            Self::Parquet(writer) => writer.finish().map_err(Failure::run),
            Self::Journal(mut journal, _) => journal.sync().map_err(Failure::run),
        }
    }
}

const CSV_HEADER: &str = "time,sym,event_type,trader,side,order_id,price,quantity,account,exec_id,display_quantity,flags";

/// No text of a simulated row needs quotes.
fn write_csv(file: &mut BufWriter<File>, orders: &OrderBatch) -> std::io::Result<()> {
    for (_, row) in orders.rows() {
        let details = row.details;
        write!(
            file,
            "{},{},{},{},{},{},{},{},{},{},",
            row.time,
            row.sym,
            row.event_type,
            row.trader,
            row.side,
            row.order_id,
            row.price,
            row.quantity,
            details.account,
            details.exec_id
        )?;
        if let Some(display) = details.display {
            write!(file, "{display}")?;
        }
        writeln!(file, ",{}", details.flags)?;
    }
    Ok(())
}

/// Writes a session.
pub(crate) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => PathBuf::from(format!("simulation-{}", args.scenario.seed)),
    };
    if dir.exists() {
        let message = format!(
            "{}: is there already; choose another --dir, or delete it",
            dir.display()
        );
        return Err(Failure::usage(message));
    }
    let mut source = Simulated::new(&args.scenario)?;
    let stop = stop_flag()?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Failure::run)?;
    // Gone again unless it is kept: after an error, or a signal.
    let unfinished = tempfile::Builder::new()
        .prefix(".simulation-")
        .tempdir_in(parent);
    let unfinished = unfinished.map_err(Failure::run)?;
    let mut out = Out::create(args.out, unfinished.path())?;
    let mut progress = RowProgress::new("simulate");
    let (mut orders, mut letters, mut rows) = (OrderBatch::default(), Vec::new(), 0);
    while source
        .next_batch(ROWS_AT_ONCE, &mut orders, &mut letters)
        .map_err(Failure::run)?
    {
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::stopped("nothing was written"));
        }
        rows += orders.len() as u64;
        out.write(std::mem::take(&mut orders))?;
        progress.show(rows, source.progress());
    }
    out.finish()?;
    let labels = write_labels(source.simulation(), unfinished.path())?;
    let left_out = source.left_out();
    let kept = unfinished.keep();
    fs::rename(&kept, &dir).map_err(Failure::run)?;
    let time = progress.finish();
    eprintln!(
        "{}: {rows} rows, {labels} labels, {:.2} s, {} rows/s",
        dir.display(),
        time.as_secs_f64(),
        per_second(rows, time)
    );
    for line in left_out {
        eprintln!("{line}");
    }
    Ok(())
}

/// The labels and the reference tables; how many labels there are.
fn write_labels(simulation: &Simulation, dir: &Path) -> Result<usize, Failure> {
    let labels = simulation.labels();
    let mut text = format!("{}\n", Label::CSV_HEADER);
    for label in &labels {
        text.push_str(&label.csv_line(simulation.accounts()));
        text.push('\n');
    }
    fs::write(dir.join("labels.csv"), text).map_err(Failure::run)?;
    fs::write(dir.join("reference.json"), simulation.reference_json()).map_err(Failure::run)?;
    Ok(labels.len())
}
