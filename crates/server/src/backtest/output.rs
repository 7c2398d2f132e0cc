//! What a backtest leaves: a table of the sets, and in a directory the alerts of each.
//!
//! Invariant: a directory belongs to one backtest, named by the digest of all that decides its
//! alerts; the file of a unit is there when the unit is done. Sets' files appear when all units are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tapewatch_detect::{SetAlert, detectors};
use tapewatch_model::{Id, Severity};

use super::grid::Grid;
use crate::cli::{BacktestArgs, ReplayFormat};
use crate::failure::Failure;

/// Says which backtest a directory holds.
const MANIFEST: &str = "backtest.json";

/// One alert of one set, worded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    set: u32,
    /// Of the first hit's event.
    seq: u64,
    /// Of the detector, in the registry.
    rank: usize,
    hits: u64,
    entity: String,
    alert: Value,
}

impl Line {
    pub(crate) fn of(alert: &SetAlert) -> Result<Self, Failure> {
        let first = &alert.first;
        let order = &first.order;
        let rank = detectors().position(|info| info.id == first.detector);
        let json = json!({
            "alert_id": first.alert_id,
            "detector": first.detector,
            "detector_version": first.detector_version,
            "config_version": first.config_version,
            "sym": order.sym,
            "trader": order.trader,
            "side": order.side,
            "first_time": first.alert_time,
            "last_time": alert.last_time,
            "hits": alert.hits,
            "first_seq": order.seq,
            "last_seq": alert.last_seq,
            "order_id": order.order_id,
            "event_type": order.event_type,
            "price": order.price,
            "quantity": order.quantity,
            "measures": first.measures,
            "first_severity": Severity::of_measures(&first.measures).score(),
            "evidence": first.evidence,
            "evidence_total": first.evidence_total,
            "text": first.text,
        });
        Ok(Self {
            set: alert.set,
            seq: order.seq,
            rank: rank.unwrap_or(usize::MAX), // a rule's, behind them
            hits: alert.hits,
            entity: format!("{} {}", order.sym, order.trader),
            alert: json,
        })
    }
}

/// What there is to say of a set.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    alerts: u64,
    hits: u64,
    entities: BTreeSet<String>,
}

/// Where results go.
pub(crate) struct Output {
    dir: Option<PathBuf>,
    format: ReplayFormat,
    units: usize,
    /// The results that are there, by unit; in a directory they are read again at the end.
    done: Mutex<BTreeMap<usize, Vec<Line>>>,
}

impl Output {
    /// Opens the directory, if one is named; results of the same backtest that was stopped are used.
    pub(crate) fn open(
        args: &BacktestArgs,
        grid: &Grid,
        (units, orders): (&[String], Option<String>),
        rows: u64,
    ) -> Result<Self, Failure> {
        let mut output = Self {
            dir: args.out.clone(),
            format: args.format,
            units: units.len(),
            done: Mutex::default(),
        };
        let Some(dir) = &args.out else {
            return Ok(output);
        };
        let sets: Vec<String> = grid.sets().iter().map(|set| set.canonical()).collect();
        let times =
            [args.stored.from, args.stored.to].map(|time| time.map(|time| time.to_string()));
        let rules: Vec<_> = detectors().map(|info| (info.id, info.version)).collect();
        let decides = json!({ "rules": rules, "orders": orders, "sets": sets, "times": times, "syms": args.sym, "units": units, "rows": rows });
        let digest = Id::of(decides.to_string().as_bytes()).to_string();
        fs::create_dir_all(dir).map_err(|error| failed("create", dir, &error))?;
        let manifest = dir.join(MANIFEST);
        match fs::read_to_string(&manifest) {
            Ok(text) => {
                let held: Value = serde_json::from_str(&text).unwrap_or_default();
                if held.get("digest") != Some(&json!(digest)) {
                    return Err(Failure::usage(format!(
                        "{} holds another backtest, or one of a history that has changed since: \
                         name another directory, or delete it",
                        dir.display()
                    )));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = json!({ "digest": digest, "data": args.stored.data, "sets": grid.sets().len(), "rows": rows });
                write_whole(&manifest, text.to_string().as_bytes())?;
            }
            Err(error) => return Err(failed("read", &manifest, &error)),
        }
        output.find_done(dir)?;
        Ok(output)
    }

    fn find_done(&mut self, dir: &Path) -> Result<(), Failure> {
        for unit in 0..self.units {
            let path = unit_path(dir, unit);
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("read", &path, &error)),
            };
            let lines: Result<Vec<Line>, _> = text.lines().map(serde_json::from_str).collect();
            let lines = lines.map_err(|error| {
                Failure::run(format!("{}: {error}; delete the file", path.display()))
            })?;
            self.lock().insert(unit, lines);
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Vec<Line>>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a unit is done.
    pub(crate) fn has(&self, unit: usize) -> bool {
        self.lock().contains_key(&unit)
    }

    /// Units that are done.
    pub(crate) fn done(&self) -> usize {
        self.lock().len()
    }

    /// For people, after a stop.
    pub(crate) fn how_to_go_on(&self, done: usize, units: usize) -> String {
        match &self.dir {
            Some(dir) => format!(
                "{done} of {units} parts are done and kept in {}: the same command goes on there",
                dir.display()
            ),
            None => "nothing is kept; with --out DIR it can go on later".to_owned(),
        }
    }

    /// Keeps the results of a unit.
    pub(crate) fn put(&self, unit: usize, lines: Vec<Line>) -> Result<(), Failure> {
        if let Some(dir) = &self.dir {
            let mut text = Vec::new();
            for line in &lines {
                serde_json::to_writer(&mut text, line).map_err(Failure::run)?;
                text.push(b'\n');
            }
            write_whole(&unit_path(dir, unit), &text)?;
        }
        self.lock().insert(unit, lines);
        Ok(())
    }

    /// Writes the sets' files and prints the table; the number of alerts.
    pub(crate) fn finish(self, grid: &Grid) -> Result<u64, Failure> {
        let done = self
            .done
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<Line> = done.into_values().flatten().collect();
        lines.sort_by_key(|line| (line.set, line.seq, line.rank));
        let mut summaries: Vec<Summary> = Vec::new();
        summaries.resize_with(grid.sets().len(), Summary::default);
        for line in &lines {
            if let Some(summary) = summaries.get_mut(line.set as usize) {
                summary.alerts += 1;
                summary.hits += line.hits;
                summary.entities.insert(line.entity.clone());
            }
        }
        let table = table(grid, &summaries);
        if let Some(dir) = &self.dir {
            for set in 0..grid.sets().len() {
                write_set(dir, set, &lines)?;
            }
            write_whole(&dir.join("sets.csv"), csv(&table).as_bytes())?;
            for unit in 0..self.units {
                let path = unit_path(dir, unit);
                fs::remove_file(&path).map_err(|error| failed("delete", &path, &error))?;
            }
        }
        let text = match self.format {
            ReplayFormat::Csv => csv(&table),
            ReplayFormat::Jsonl => jsonl(&table),
            ReplayFormat::Table => aligned(&table),
        };
        let written = std::io::stdout().write_all(text.as_bytes());
        written.map_err(|error| Failure::run(format!("cannot write the table: {error}")))?;
        Ok(lines.len() as u64)
    }
}

/// A header and a row a set.
fn table(grid: &Grid, summaries: &[Summary]) -> Vec<Vec<String>> {
    let mut header = vec!["set".to_owned()];
    header.extend(grid.names().iter().cloned());
    header.extend(["alerts", "hits", "entities"].map(str::to_owned));
    let row = |(set, summary): (usize, &Summary)| {
        let mut row = vec![set.to_string()];
        row.extend(grid.values(set).iter().cloned());
        let entities = summary.entities.len() as u64;
        row.extend([summary.alerts, summary.hits, entities].map(|count| count.to_string()));
        row
    };
    std::iter::once(header)
        .chain(summaries.iter().enumerate().map(row))
        .collect()
}

fn csv(table: &[Vec<String>]) -> String {
    table.iter().map(|row| row.join(",") + "\n").collect()
}

fn jsonl(table: &[Vec<String>]) -> String {
    let Some((header, rows)) = table.split_first() else {
        return String::new();
    };
    let object = |row: &Vec<String>| -> Value {
        let value = |text: &String| {
            text.parse::<u64>()
                .map_or_else(|_| json!(text), |n| json!(n))
        };
        header.iter().cloned().zip(row.iter().map(value)).collect()
    };
    rows.iter()
        .map(|row| object(row).to_string() + "\n")
        .collect()
}

fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:>width$}"));
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    table.iter().map(line).collect()
}

/// The alerts of one set, in order.
fn write_set(dir: &Path, set: usize, lines: &[Line]) -> Result<(), Failure> {
    let path = dir.join(format!("set-{set:05}.jsonl"));
    let from = lines.partition_point(|line| (line.set as usize) < set);
    let own = lines
        .iter()
        .skip(from)
        .take_while(|line| line.set as usize == set);
    let mut text = Vec::new();
    for line in own {
        serde_json::to_writer(&mut text, &line.alert).map_err(Failure::run)?;
        text.push(b'\n');
    }
    write_whole(&path, &text)
}

fn unit_path(dir: &Path, unit: usize) -> PathBuf {
    dir.join(format!("unit-{unit:05}.jsonl"))
}

/// Writes a file that is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let write = || {
        let mut file = BufWriter::new(fs::File::create(&part)?);
        file.write_all(bytes)?;
        file.into_inner()?.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|error| failed("write", path, &error))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::run(format!("cannot {what} {}: {error}", path.display()))
}
