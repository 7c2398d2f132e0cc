//! Plots of two markets, one SVG a subject.

use std::error::Error;
use std::path::Path;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

use crate::fold::{Measured, PARTS};
use crate::statistics::{at_spread, autocorrelation, depth, mean, squared, survival};

type Points = Vec<(f64, f64)>;

/// What is drawn: a line for each market.
struct Plot {
    file: &'static str,
    title: &'static str,
    x: &'static str,
    y: &'static str,
    log: (bool, bool),
    points: fn(&Measured) -> Points,
}

const PLOTS: &[Plot] = &[
    Plot {
        file: "spread.svg",
        title: "Spread",
        x: "ticks",
        y: "% of seconds",
        log: (false, false),
        points: |it| {
            (1..=8)
                .map(f64::from)
                .map(|at| (at, at_spread(it, at)))
                .collect()
        },
    },
    Plot {
        file: "depth.svg",
        title: "Depth by level",
        x: "level",
        y: "quantity, in mean new orders",
        log: (false, false),
        points: |it| (1..).map(f64::from).zip(depth(it)).collect(),
    },
    Plot {
        file: "lifetimes.svg",
        title: "Life of cancelled orders",
        x: "seconds",
        y: "share that lives longer",
        log: (true, false),
        points: |it| survival(&it.lives_cancelled, 1.0),
    },
    Plot {
        file: "gaps.svg",
        title: "Time between messages, by its mean",
        x: "in means",
        y: "share that is longer",
        log: (true, false),
        points: |it| survival(&it.gaps, mean(&it.gaps)),
    },
    Plot {
        file: "sizes.svg",
        title: "Size of new orders, by its mean",
        x: "in means",
        y: "share that is larger",
        log: (true, true),
        points: |it| survival(&it.sizes, mean(&it.sizes)),
    },
    Plot {
        file: "activity.svg",
        title: "Activity through the session",
        x: "part of the session",
        y: "messages, by their mean",
        log: (false, false),
        points: |it| {
            let parts = (0..PARTS).map(|part| (part as f64 + 0.5) / PARTS as f64);
            let mean = mean(&it.activity);
            parts.zip(it.activity.map(|count| count / mean)).collect()
        },
    },
    Plot {
        file: "clustering.svg",
        title: "Autocorrelation of squared 1-second returns",
        x: "lag in seconds",
        y: "autocorrelation",
        log: (false, false),
        points: |it| {
            let squared = squared(it);
            let lags = 1_u16..=60;
            lags.map(|lag| (f64::from(lag), autocorrelation(&squared, usize::from(lag))))
                .collect()
        },
    },
];

const SIZE: (u32, u32) = (640, 360);
const COLOURS: [RGBColor; 2] = [RGBColor(31, 119, 180), RGBColor(214, 96, 20)];

/// Writes all plots into a directory and gives back their names and titles.
pub(crate) fn write(
    directory: &Path,
    markets: &[(&str, &Measured)],
) -> Result<Vec<(&'static str, &'static str)>, Box<dyn Error>> {
    std::fs::create_dir_all(directory)?;
    for plot in PLOTS {
        let lines: Vec<(&str, Points)> = markets
            .iter()
            .map(|(name, measured)| (*name, (plot.points)(measured)))
            .collect();
        draw(&directory.join(plot.file), plot, &lines)?;
    }
    Ok(PLOTS.iter().map(|plot| (plot.file, plot.title)).collect())
}

/// An axis that is even, or even in powers of ten.
#[derive(Clone, Copy)]
struct Axis {
    first: f64,
    last: f64,
    log: bool,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let range = values.filter(|value| value.is_finite() && (!log || *value > 0.0));
        let (first, last) = range.fold((f64::MAX, f64::MIN), |(first, last), value| {
            (first.min(value), last.max(value))
        });
        let first = if log { first } else { first.min(0.0) };
        Self { first, last, log }
    }

    fn place(self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (first, last) = (self.place(self.first), self.place(self.last));
        let part = (self.place(*value) - first) / (last - first);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if !self.log {
            let even: plotters::coord::types::RangedCoordf64 = (self.first..self.last).into();
            return even.key_points(hint);
        }
        let (first, last) = (self.first.log10().ceil() as i32, self.last.log10() as i32);
        (first..=last).map(|power| 10_f64.powi(power)).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.first..self.last
    }
}

fn draw(path: &Path, plot: &Plot, lines: &[(&str, Points)]) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|(_, points)| points.iter());
    let x = Axis::over(points().map(|point| point.0), plot.log.0);
    let y = Axis::over(points().map(|point| point.1), plot.log.1);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(plot.title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(x, y)?;
    let label = |value: &f64| {
        let (short, long) = (value.abs() < 1e-3, value.abs() >= 1e5);
        if *value != 0.0 && (short || long) {
            format!("{value:e}")
        } else {
            format!("{:.4}", value)
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
        }
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(plot.x)
        .y_desc(plot.y)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 20, y)], colour.stroke_width(2))
            });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(BLACK.mix(0.2))
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    Ok(())
}
