//! Tapes: a test of a detector or a rule as a text file, events in, exactly these hits out.
//!
//! Invariant: a tape holds however its rows are cut into buckets and wherever the engine is saved and
//! taken in again, or it fails. `#` begins a comment. Lines, in any number and order:
//!
//! ```text
//! set lookback=25s                  a parameter of the detector
//! reference {"linked":{"A":"B"}}    reference tables
//! event 0 cancelled S 1100 [id]     at 0 s: a row of SYM/TRADER; `|` before it joins the bucket before
//! event 0 new B 5 o1 price=10.5 trader=T2 sym=S account=A exec=X show=1 flags=ioc,agency
//!                                   what is told beside, in any order
//! expect wj: 25=4400/4 26=5500/5    in this mode (or `all`): hits, time=measure/measure…, in order
//! ```

use tapewatch_model::{EventType, Flags, Hit, Order, OrderBatch, Price, Quantity, Side, Time};

use crate::config::DetectConfig;
use crate::engine::Engine;
use crate::shard::Shard;

/// Noon of 17 April 2015: second 0 of every tape.
const START: i64 = 1_429_272_000_000_000_000;

/// What is wrong with a tape, or what it did not find.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TapeError {
    /// Line of the tape, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// What a tape expects in one mode.
#[derive(Debug, Clone)]
struct Expected {
    line: usize,
    mode: String,
    hits: String,
}

/// A tape.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    settings: Vec<(usize, String)>,
    reference: Option<(usize, serde_json::Value)>,
    buckets: Vec<OrderBatch>,
    rows: u64,
    expected: Vec<Expected>,
}

impl Tape {
    /// Reads a tape.
    ///
    /// # Errors
    /// [`TapeError`] names the first line that is none of a tape; a tape that expects nothing is
    /// refused too.
    pub fn parse(text: &str) -> Result<Self, TapeError> {
        let mut tape = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            let read = tape.read_line(number, line);
            read.map_err(|reason| TapeError {
                line: number,
                reason,
            })?;
        }
        if tape.expected.is_empty() {
            let reason = "the tape expects nothing: a line `expect all:` is missing".to_owned();
            return Err(TapeError { line: 1, reason });
        }
        Ok(tape)
    }

    fn read_line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (joined, line) = match line.strip_prefix('|') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["reference", ..] => {
                let json = line.trim_start_matches("reference");
                let tables = serde_json::from_str(json).map_err(|error| error.to_string())?;
                self.reference = Some((number, tables));
            }
            ["set", setting] => self.settings.push((number, (*setting).to_owned())),
            ["event", time, kind, side, quantity, rest @ ..] => {
                let row = row([time, kind, side, quantity], rest)?;
                self.add(&row, joined)?;
            }
            ["expect", mode, hits @ ..] => {
                let mode = mode.strip_suffix(':').ok_or("write expect MODE: hits")?;
                let modes = match mode {
                    "all" => vec!["seq", "wj1", "wj"],
                    mode => vec![mode],
                };
                self.expected.extend(modes.into_iter().map(|mode| Expected {
                    line: number,
                    mode: mode.to_owned(),
                    hits: hits.join(" "),
                }));
            }
            _ => return Err(format!("{line:?} is no line of a tape")),
        }
        Ok(())
    }

    fn add(&mut self, row: &Order, joined: bool) -> Result<(), String> {
        self.rows += 1;
        if !joined {
            let mut bucket = OrderBatch::default();
            bucket.number_from(self.rows);
            self.buckets.push(bucket);
        }
        let bucket = self
            .buckets
            .last_mut()
            .ok_or("`|` needs a bucket before it")?;
        let pushed = bucket.push(&row.as_row().as_bytes());
        pushed.map_err(|error| error.to_string())
    }

    /// Plays the tape to one detector or rule of `base`, with its default parameters and those that
    /// the tape sets, and compares its hits; their number.
    ///
    /// # Errors
    /// [`TapeError`] says what was found in place of what the tape expects, or why it cannot be
    /// played.
    pub fn check(&self, detector: &str, base: &DetectConfig) -> Result<usize, TapeError> {
        let mut found = 0;
        for expected in &self.expected {
            let config = self.config(detector, base, &expected.mode)?;
            let wrong = |reason: String| TapeError {
                line: expected.line,
                reason,
            };
            let hits = run(&config, &self.buckets).map_err(wrong)?;
            let shown = render(&hits);
            if shown != expected.hits {
                let (mode, hits) = (&expected.mode, &expected.hits);
                return Err(wrong(format!(
                    "in mode {mode} the hits are [{shown}], expected are [{hits}]"
                )));
            }
            if !matches!(expected.mode.as_str(), "wj" | "wj1") {
                self.check_otherwise(&config, &hits).map_err(wrong)?;
            }
            if let Some(hit) = hits.iter().find(|hit| !is_founded(hit)) {
                let seq = hit.order.seq;
                return Err(wrong(format!("the hit at event {seq} does not rest on it")));
            }
            found += hits.len();
        }
        Ok(found)
    }

    /// The same with all rows in one bucket, and with the engine saved and taken in after every one.
    fn check_otherwise(&self, config: &DetectConfig, hits: &[Hit]) -> Result<(), String> {
        let mut all = OrderBatch::default();
        let mut saved: Option<Vec<u8>> = None;
        let mut resumed = Vec::new();
        for bucket in &self.buckets {
            all.append(bucket).map_err(|error| error.to_string())?;
            let mut engine = engine(config)?;
            if let Some(saved) = &saved {
                engine.load(saved).map_err(|error| error.to_string())?;
            }
            engine.apply(bucket, &mut resumed);
            saved = Some(engine.state().to_bytes());
        }
        if resumed != hits {
            let shown = render(&resumed);
            return Err(format!(
                "with the engine saved in between the hits are [{shown}]"
            ));
        }
        let together = run(config, &[all])?;
        if together != hits {
            let shown = render(&together);
            return Err(format!(
                "with all rows in one bucket the hits are [{shown}]"
            ));
        }
        Ok(())
    }

    fn config(
        &self,
        detector: &str,
        base: &DetectConfig,
        mode: &str,
    ) -> Result<DetectConfig, TapeError> {
        let mut config = base.clone();
        let at = |line: usize| {
            move |error: crate::config::ConfigError| TapeError {
                line,
                reason: error.to_string(),
            }
        };
        config.only(&[detector.to_owned()]).map_err(at(1))?;
        if let Some((line, tables)) = &self.reference {
            config.refer(tables).map_err(at(*line))?;
        }
        for (line, setting) in &self.settings {
            config
                .set(&format!("{detector}.{setting}"))
                .map_err(at(*line))?;
        }
        // A detector without modes gives the same under any name.
        let params = config.params(detector);
        if params.is_some_and(|params| params.contains_key("mode")) {
            config
                .set(&format!("{detector}.mode={mode}"))
                .map_err(at(1))?;
        }
        Ok(config)
    }
}

/// An `event` line: what must stand there, and the words behind it.
fn row([time, kind, side, quantity_text]: [&str; 4], rest: &[&str]) -> Result<Order, String> {
    let quantity = |text: &str| {
        let read = Quantity::parse(text.as_bytes());
        read.map_err(|error| format!("quantity {text:?}: {error}"))
    };
    let price = |text: &str| {
        let read = Price::parse(text.as_bytes());
        read.map_err(|error| format!("{text:?}: {error}"))
    };
    let event_type = EventType::parse(kind.as_bytes());
    let mut order = Order {
        seq: 0,
        time: Time::from_nanos(START.saturating_add(price(time)?.units())),
        sym: "SYM".to_owned(),
        event_type: event_type.ok_or_else(|| format!("{kind:?} is no event type"))?,
        trader: "TRADER".to_owned(),
        side: Side::parse(side.as_bytes()).ok_or_else(|| format!("{side:?} is no side"))?,
        order_id: String::new(),
        price: Price::from_units(1_250_000_000),
        quantity: quantity(quantity_text)?,
        account: String::new(),
        exec_id: String::new(),
        display: None,
        flags: Flags::NONE,
    };
    for word in rest {
        match word.split_once('=') {
            None => order.order_id = (*word).to_owned(),
            Some(("price", text)) => order.price = price(text)?,
            Some(("trader", text)) => order.trader = text.to_owned(),
            Some(("sym", text)) => order.sym = text.to_owned(),
            Some(("account", text)) => order.account = text.to_owned(),
            Some(("exec", text)) => order.exec_id = text.to_owned(),
            Some(("show", text)) => order.display = Some(quantity(text)?),
            Some(("flags", text)) => {
                let flags = Flags::parse(text.replace(',', " ").as_bytes());
                order.flags = flags.map_err(|error| error.to_string())?;
            }
            Some((other, _)) => return Err(format!("{other:?} is nothing that an event tells")),
        }
    }
    Ok(order)
}

fn engine(config: &DetectConfig) -> Result<Engine, String> {
    Engine::new(config, Shard::WHOLE).map_err(|error| error.to_string())
}

fn run(config: &DetectConfig, buckets: &[OrderBatch]) -> Result<Vec<Hit>, String> {
    let mut engine = engine(config)?;
    let mut hits = Vec::new();
    buckets
        .iter()
        .for_each(|bucket| engine.apply(bucket, &mut hits));
    Ok(hits)
}

/// Whether a hit names all events that it rests on, its own among them.
fn is_founded(hit: &Hit) -> bool {
    let named = hit.evidence.len() as u64 == hit.evidence_total;
    named && hit.evidence.contains(&hit.order.seq)
}

fn render(hits: &[Hit]) -> String {
    let hit = |hit: &Hit| {
        let nanos = hit.order.time.nanos() - START;
        let measures: Vec<_> = hit.measures.iter().map(|m| m.value.to_string()).collect();
        format!("{}={}", Price::from_units(nanos), measures.join("/"))
    };
    hits.iter().map(hit).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_that_does_not_hold_fails() {
        let tape = |text: &str| Tape::parse(text);
        let events = "set cancel_count=1\nset cancel_quantity=10\nevent 0 cancelled S 10\nevent 1 cancelled S 5\n";
        let base = DetectConfig::default();
        let right = tape(&format!("{events}expect seq: 1=15/2")).unwrap();
        assert_eq!(right.check("spoofing", &base), Ok(1));
        let wrong = tape(&format!("{events}expect seq:")).unwrap();
        let error = wrong.check("spoofing", &base).unwrap_err();
        assert_eq!(error.line, 5);
        assert!(error.reason.contains("[1=15/2]"), "{error}");
        for (text, line, reason) in [
            ("", 1, "expects nothing"),
            ("\nfoo", 2, "no line"),
            ("event x new B 1", 1, "\"x\""),
            (
                "event 0 new B 1 colour=red",
                1,
                "nothing that an event tells",
            ),
            ("| event 0 new B 1", 1, "needs a bucket"),
        ] {
            let error = tape(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }
}
