//! Progress and summaries on standard error.
//!
//! Invariant: a bar is drawn only on a terminal; the summary always.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tapewatch_model::{DeadLetter, Progress};

/// A bar over a source's bytes, with rows and rows a second.
pub(crate) struct RowProgress {
    bar: ProgressBar,
    started: Instant,
    rows: u64,
}

impl RowProgress {
    /// Starts now.
    pub(crate) fn new(verb: &'static str) -> Self {
        let bar = ProgressBar::new(0);
        let template = "{prefix} {bar:30} {percent:>3} %  {msg}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(verb);
        Self {
            bar,
            started: Instant::now(),
            rows: 0,
        }
    }

    /// Rows done in all, and how far the source is.
    pub(crate) fn show(&mut self, rows: u64, progress: Progress) {
        self.rows = rows;
        if !self.bar.is_hidden() {
            self.bar.set_length(progress.total.max(progress.done));
            self.bar.set_position(progress.done);
            let rate = per_second(rows, self.started.elapsed());
            self.bar
                .set_message(format!("{} rows, {}/s", HumanCount(rows), HumanCount(rate)));
        }
    }

    /// A line above the bar.
    pub(crate) fn note(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Takes the bar away; the time since the start.
    pub(crate) fn finish(self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }
}

/// Whole rows a second.
pub(crate) fn per_second(rows: u64, time: Duration) -> u64 {
    let rate = rows as f64 / time.as_secs_f64().max(1e-9);
    rate as u64
}

/// The place and the reason of a refused row, for people.
pub(crate) fn refused(letter: &DeadLetter) -> String {
    let DeadLetter {
        source,
        line,
        column,
        reason,
        ..
    } = letter;
    format!("{source}, line {line}, column {column}: {reason}")
}
