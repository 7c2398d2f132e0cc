//! Bars, as SVG.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Outcome;
use crate::cost::Costs;
use crate::score::Score;

const LEFT: f64 = 150.0;
const WIDTH: f64 = 420.0;
const ROW: f64 = 26.0;
const COLOURS: [&str; 2] = ["#2463a5", "#d97b29"];

/// Bars of one or two kinds for each detector.
struct Bars<'a> {
    title: &'a str,
    kinds: &'a [&'a str],
    /// Name, a value of each kind, and how it is written.
    rows: Vec<(&'static str, Vec<Option<f64>>)>,
    /// Whether lengths are logarithms.
    log: bool,
    text: fn(f64) -> String,
    /// A line across, where bars should end.
    goals: &'a [f64],
}

/// Writes all plots.
pub(crate) fn write(dir: &Path, scores: &[Score], costs: &Costs) -> Outcome<()> {
    fs::create_dir_all(dir)?;
    let played = scores.iter().filter(|score| score.injected > 0);
    let quality = Bars {
        title: "Precision and recall on the test seeds",
        kinds: &["precision", "recall"],
        rows: played
            .clone()
            .map(|score| (score.detector, vec![score.precision(), score.recall()]))
            .collect(),
        log: false,
        text: |value| format!("{value:.2}"),
        goals: &[0.90, 0.95],
    };
    fs::write(dir.join("detectors-quality.svg"), quality.svg(1.0))?;
    let delay = Bars {
        title: "Time from the beginning of a pattern to its alert (log scale)",
        kinds: &["median", "90th percentile"],
        rows: played
            .map(|score| (score.detector, vec![score.delay(50), score.delay(90)]))
            .collect(),
        log: true,
        text: |value| {
            if value < 600.0 {
                format!("{value:.1} s")
            } else {
                format!("{:.0} min", value / 60.0)
            }
        },
        goals: &[],
    };
    fs::write(dir.join("detectors-delay.svg"), delay.svg(delay.most()))?;
    let rows = costs
        .each
        .iter()
        .map(|cost| (cost.detector, vec![Some(cost.nanos.max(0.0))]));
    let cost = Bars {
        title: "Nanoseconds an event, beside the market that all share",
        kinds: &["ns"],
        rows: std::iter::once(("(market)", vec![Some(costs.market)]))
            .chain(rows)
            .collect(),
        log: false,
        text: |value| format!("{value:.0}"),
        goals: &[],
    };
    fs::write(dir.join("detectors-cost.svg"), cost.svg(cost.most()))?;
    Ok(())
}

impl Bars<'_> {
    fn most(&self) -> f64 {
        let values = self
            .rows
            .iter()
            .flat_map(|(_, values)| values.iter().flatten());
        values.fold(1e-9, |most, value| most.max(*value))
    }

    fn length(&self, value: f64, most: f64) -> f64 {
        // From a hundredth of a second on.
        let log = |value: f64| (value / 0.01).max(1.0).ln();
        let part = if self.log {
            log(value) / log(most).max(1e-9)
        } else {
            value / most
        };
        WIDTH * part.clamp(0.0, 1.0)
    }

    fn svg(&self, most: f64) -> String {
        let height = 60.0 + ROW * self.rows.len() as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"660\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"10\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
            self.title
        );
        for (at, (kind, colour)) in self.kinds.iter().zip(COLOURS).enumerate() {
            let x = LEFT + 130.0 * at as f64;
            // A string takes all that is written to it.
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"30\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"39\">{kind}</text>",
                x + 15.0
            );
        }
        for goal in self.goals {
            let x = LEFT + self.length(*goal, most);
            let _ = writeln!(
                svg,
                "<line x1=\"{x}\" y1=\"46\" x2=\"{x}\" y2=\"{}\" stroke=\"#999\" stroke-dasharray=\"4 3\"/>",
                height - 10.0
            );
        }
        for (at, (name, values)) in self.rows.iter().enumerate() {
            let y = 50.0 + ROW * at as f64;
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>",
                LEFT - 8.0,
                y + 14.0
            );
            let thick = (ROW - 6.0) / values.len().max(1) as f64;
            for (kind, (value, colour)) in values.iter().zip(COLOURS).enumerate() {
                let Some(value) = value else { continue };
                let (width, top) = (self.length(*value, most), y + thick * kind as f64);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{}</text>",
                    thick - 1.0,
                    LEFT + width + 4.0,
                    top + thick - 1.5,
                    (self.text)(*value)
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}
