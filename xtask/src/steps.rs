//! Numbered steps: a title before, the time after, one table at the end.

use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Passed,
    Failed,
}

/// A run of steps that stops at the first failure.
#[derive(Debug)]
pub(crate) struct Steps {
    total: usize,
    done: Vec<(String, State, Duration)>,
}

impl Steps {
    /// A run of `total` steps.
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            done: Vec::new(),
        }
    }

    /// Runs one step between its title and its time.
    pub(crate) fn run<T>(&mut self, title: &str, step: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let number = self.done.len() + 1;
        let total = self.total;
        println!("[{number}/{total}] {title}");
        let started = Instant::now();
        let outcome = step();
        let took = started.elapsed();
        let state = if outcome.is_ok() {
            State::Passed
        } else {
            State::Failed
        };
        self.done.push((title.to_owned(), state, took));
        match outcome {
            Ok(value) => {
                println!("[{number}/{total}] {title}: done in {}", human(took));
                Ok(value)
            }
            Err(failure) => Err(Failure::new(format!(
                "step {number} of {total}, {title}, failed after {}: {failure}",
                human(took)
            ))),
        }
    }

    /// The table of all steps and, as the last line, how many passed and failed.
    pub(crate) fn summary(&self) -> String {
        let width = self
            .done
            .iter()
            .map(|(title, ..)| title.len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        let mut sum = Duration::ZERO;
        for (number, (title, state, took)) in self.done.iter().enumerate() {
            let word = match state {
                State::Passed => "passed",
                State::Failed => "FAILED",
            };
            sum += *took;
            text.push_str(&format!(
                "{:>3}  {title:<width$}  {word}  {:>8}\n",
                number + 1,
                human(*took)
            ));
        }
        let failed = self
            .done
            .iter()
            .filter(|(_, state, _)| *state == State::Failed)
            .count();
        let passed = self.done.len() - failed;
        let skipped = self.total.saturating_sub(self.done.len());
        text.push_str(&format!(
            "     {:<width$}          {:>8}\n",
            "all",
            human(sum)
        ));
        text.push_str(&format!("steps: {passed} passed, {failed} failed"));
        if skipped > 0 {
            text.push_str(&format!(", {skipped} skipped"));
        }
        text.push('\n');
        text
    }
}

/// A duration for people: `0.4 s`, `12.0 s`, `3 min 07 s`.
pub(crate) fn human(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_for_people() {
        assert_eq!(human(Duration::from_millis(420)), "0.4 s");
        assert_eq!(human(Duration::from_secs(60)), "1 min 00 s");
        assert_eq!(human(Duration::from_secs(187)), "3 min 07 s");
    }

    #[test]
    fn the_summary_counts_what_passed_failed_and_never_ran() {
        let mut steps = Steps::new(3);
        assert_eq!(steps.run("fmt", || Ok(7)), Ok(7));
        let failure = steps.run("clippy", || Err::<(), _>(Failure::new("it broke")));
        assert!(failure.is_err_and(|failure| {
            let text = failure.to_string();
            text.starts_with("step 2 of 3, clippy, failed after") && text.ends_with("it broke")
        }));
        let summary = steps.summary();
        assert!(summary.contains("  1  fmt     passed"), "{summary}");
        assert!(summary.contains("  2  clippy  FAILED"), "{summary}");
        assert!(
            summary.ends_with("steps: 1 passed, 1 failed, 1 skipped\n"),
            "{summary}"
        );
    }

    #[test]
    fn the_summary_of_a_clean_run_mentions_no_skipped_step() {
        let mut steps = Steps::new(1);
        assert_eq!(steps.run("fmt", || Ok(())), Ok(()));
        assert!(steps.summary().ends_with("steps: 1 passed, 0 failed\n"));
    }
}
