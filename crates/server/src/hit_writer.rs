//! Hits as text: JSON lines, CSV or a table.
//!
//! Invariant: a hit is written whole; numbers and times are exact.

use std::io::{Result, Write};

use tapewatch_model::{Hit, Severity};

use crate::cli::ReplayFormat;

const COLUMNS: [&str; 27] = [
    "seq",
    "time",
    "sym",
    "event_type",
    "trader",
    "side",
    "order_id",
    "price",
    "quantity",
    "account",
    "exec_id",
    "display_quantity",
    "flags",
    "detector",
    "detector_version",
    "config_version",
    "severity",
    "suppressed",
    "measures",
    "lookback",
    "evidence",
    "evidence_total",
    "alert_id",
    "alert_hit",
    "alert_time",
    "hit_id",
    "text",
];
/// Columns and their widths in a table.
const TABLE: [(&str, usize); 10] = [
    ("time", 31),
    ("severity", 8),
    ("detector", 17),
    ("sym", 8),
    ("trader", 16),
    ("side", 4),
    ("order_id", 14),
    ("price", 10),
    ("quantity", 10),
    ("measures", 0),
];

/// Writes hits one after another.
pub(crate) struct HitWriter<W> {
    out: W,
    format: ReplayFormat,
    begun: bool,
}

impl<W: Write> HitWriter<W> {
    pub(crate) fn new(out: W, format: ReplayFormat) -> Self {
        Self {
            out,
            format,
            begun: false,
        }
    }

    /// Writes one hit, and the header before the first.
    pub(crate) fn write(&mut self, hit: &Hit) -> Result<()> {
        self.begin()?;
        match self.format {
            ReplayFormat::Jsonl => write_json_line(&mut self.out, hit),
            ReplayFormat::Csv => self.csv(hit),
            ReplayFormat::Table => self.table(hit),
        }
    }

    /// Writes what is left, and the header if there was no hit.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.begin()?;
        self.out.flush()
    }

    fn begin(&mut self) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        match self.format {
            ReplayFormat::Jsonl => Ok(()),
            ReplayFormat::Csv => writeln!(self.out, "{}", COLUMNS.join(",")),
            ReplayFormat::Table => {
                let names: Vec<_> = TABLE
                    .iter()
                    .map(|(name, width)| format!("{name:<width$}"))
                    .collect();
                writeln!(self.out, "{}", names.join(" "))
            }
        }
    }

    fn csv(&mut self, hit: &Hit) -> Result<()> {
        let order = &hit.order;
        let values = [
            order.seq.to_string(),
            order.time.to_string(),
            order.sym.clone(),
            order.event_type.to_string(),
            order.trader.clone(),
            order.side.to_string(),
            order.order_id.clone(),
            order.price.to_string(),
            order.quantity.to_string(),
            order.account.clone(),
            order.exec_id.clone(),
            order
                .display
                .map(|shown| shown.to_string())
                .unwrap_or_default(),
            order.flags.to_string(),
            hit.detector.to_owned(),
            hit.detector_version.to_string(),
            hit.config_version.to_string(),
            severity(hit).to_string(),
            hit.suppressed.clone(),
            measures(hit),
            hit.lookback.to_string(),
            evidence(hit),
            hit.evidence_total.to_string(),
            hit.alert_id.to_string(),
            hit.alert_hit.to_string(),
            hit.alert_time.to_string(),
            hit.hit_id.to_string(),
            hit.text.clone(),
        ];
        let quoted: Vec<_> = values.iter().map(|value| quote(value)).collect();
        writeln!(self.out, "{}", quoted.join(","))
    }

    fn table(&mut self, hit: &Hit) -> Result<()> {
        let order = &hit.order;
        let values = [
            order.time.to_string(),
            severity(hit).to_string(),
            hit.detector.to_owned(),
            order.sym.clone(),
            order.trader.clone(),
            order.side.to_string(),
            order.order_id.clone(),
            order.price.to_string(),
            order.quantity.to_string(),
            measures(hit),
        ];
        let cells = values
            .iter()
            .zip(TABLE)
            .map(|(value, (_, width))| format!("{value:<width$}"));
        writeln!(self.out, "{}", cells.collect::<Vec<_>>().join(" "))
    }
}

/// Writes a hit as one JSON object, with its severity, and the end of the line.
pub(crate) fn write_json_line(mut out: impl Write, hit: &Hit) -> Result<()> {
    #[derive(serde::Serialize)]
    struct Told<'a> {
        #[serde(flatten)]
        hit: &'a Hit,
        severity: u8,
    }
    let severity = severity(hit);
    serde_json::to_writer(&mut out, &Told { hit, severity }).map_err(std::io::Error::from)?;
    out.write_all(b"\n")
}

fn severity(hit: &Hit) -> u8 {
    Severity::of_measures(&hit.measures).score()
}

/// Sequence numbers with a space between.
fn evidence(hit: &Hit) -> String {
    let seqs: Vec<_> = hit.evidence.iter().map(u64::to_string).collect();
    seqs.join(" ")
}

/// `cancel_quantity 4600 > 4000; cancel_count 4 > 3`.
fn measures(hit: &Hit) -> String {
    let one = |m: &tapewatch_model::Measure| format!("{} {} > {}", m.name, m.value, m.threshold);
    hit.measures.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// RFC 4180.
fn quote(value: &str) -> String {
    if value.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}
