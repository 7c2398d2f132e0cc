//! Hits as text: JSON lines, CSV or a table.
//!
//! Invariant: a hit is written whole; numbers and times are exact.

use std::io::{Result, Write};

use tapewatch_model::Hit;

use crate::cli::ReplayFormat;

const COLUMNS: [&str; 17] = [
    "seq",
    "time",
    "sym",
    "event_type",
    "trader",
    "side",
    "order_id",
    "price",
    "quantity",
    "detector",
    "measures",
    "lookback",
    "evidence_total",
    "alert_id",
    "alert_hit",
    "hit_id",
    "text",
];
/// Columns and their widths in a table.
const TABLE: [(&str, usize); 9] = [
    ("time", 31),
    ("detector", 10),
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
            ReplayFormat::Jsonl => {
                serde_json::to_writer(&mut self.out, hit).map_err(std::io::Error::from)?;
                self.out.write_all(b"\n")
            }
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
            hit.detector.to_owned(),
            measures(hit),
            hit.lookback.to_string(),
            hit.evidence_total.to_string(),
            hit.alert_id.to_string(),
            hit.alert_hit.to_string(),
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
