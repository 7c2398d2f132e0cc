//! The arguments of a join by time.
//!
//! Invariant: what is read is a window whose begin is not after its end.

use datafusion::common::{DataFusionError, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::prelude::Expr;
use tapewatch_model::TimeSpan;

/// Nanoseconds of a day.
const DAY: i64 = 86_400_000_000_000;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sql) enum Kind {
    Asof,
    Wj,
    Wj1,
}

impl Kind {
    /// Its name in SQL.
    pub(in crate::sql) const fn name(self) -> &'static str {
        match self {
            Self::Asof => "asof_join",
            Self::Wj => "wj",
            Self::Wj1 => "wj1",
        }
    }

    fn usage(self) -> DataFusionError {
        match self {
            Self::Asof => plan_datafusion_err!(
                "asof_join takes ('left', 'right', 'keys', 'time' [, INTERVAL 'tolerance'])"
            ),
            Self::Wj | Self::Wj1 => plan_datafusion_err!(
                "{} takes ('left', 'right', 'keys', 'time', INTERVAL 'lookback' or INTERVAL 'begin', \
                 INTERVAL 'end', 'aggregates')",
                self.name()
            ),
        }
    }
}

/// A column of each side.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) left: String,
    pub(super) right: String,
}

/// Which right rows belong to a left row of time `t`: those from `t + begin` to `t + end`, both ends
/// with them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) begin: i64,
    pub(super) end: i64,
    /// Begin at the last row at or before the begin, where there is one, as `wj` does.
    pub(super) prevailing: bool,
}

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) left: String,
    pub(super) right: String,
    pub(super) keys: Vec<Pair>,
    pub(super) time: Pair,
    pub(super) window: Window,
    /// What is measured; of an as-of join, the last value of each column.
    pub(super) aggregates: Option<String>,
}

impl Call {
    pub(super) fn read(kind: Kind, arguments: &[Expr]) -> Result<Self> {
        let usage = || kind.usage();
        let [left, right, keys, time, rest @ ..] = arguments else {
            return Err(usage());
        };
        let read = |argument| text(argument).ok_or_else(usage);
        let (keys, time) = (read(keys)?, read(time)?);
        let (window, aggregates) = match (kind, rest) {
            // The last row at or before: the row that prevails where the window is one instant.
            (Kind::Asof, []) => (window(0, 0, true), None),
            (Kind::Asof, [tolerance]) => (window(-span(tolerance)?, 0, false), None),
            (Kind::Wj | Kind::Wj1, [lookback, aggregates]) => {
                let window = window(-span(lookback)?, 0, kind == Kind::Wj);
                (window, Some(read(aggregates)?))
            }
            (Kind::Wj | Kind::Wj1, [begin, end, aggregates]) => {
                let (begin, end) = (offset(begin)?, offset(end)?);
                let window = window(begin, end, kind == Kind::Wj);
                (window, Some(read(aggregates)?))
            }
            _ => return Err(usage()),
        };
        if window.begin > window.end {
            return plan_err!("{}: the window ends before it begins", kind.name());
        }
        let pairs = keys.split(',').filter(|key| !key.trim().is_empty());
        Ok(Self {
            left: read(left)?,
            right: read(right)?,
            keys: pairs.map(pair).collect(),
            time: pair(&time),
            window,
            aggregates,
        })
    }
}

const fn window(begin: i64, end: i64, prevailing: bool) -> Window {
    Window {
        begin,
        end,
        prevailing,
    }
}

/// `name`, or `left=right`.
fn pair(text: &str) -> Pair {
    let (left, right) = text.split_once('=').unwrap_or((text, text));
    Pair {
        left: left.trim().to_owned(),
        right: right.trim().to_owned(),
    }
}

fn text(argument: &Expr) -> Option<String> {
    match argument {
        Expr::Literal(value, _) => value.try_as_str()?.map(str::to_owned),
        Expr::Cast(cast) => text(&cast.expr),
        _ => None,
    }
}

/// A length of time, not negative.
fn span(argument: &Expr) -> Result<i64> {
    match offset(argument)? {
        nanos if nanos < 0 => plan_err!("{argument} is negative"),
        nanos => Ok(nanos),
    }
}

/// A length of time in nanoseconds.
fn offset(argument: &Expr) -> Result<i64> {
    let wrong = || {
        plan_datafusion_err!(
            "{argument} is no length of time: write INTERVAL '25 seconds', at most 292 years and \
             without months, which differ in length"
        )
    };
    let days = |days: i32, nanos: i64| i64::from(days).checked_mul(DAY)?.checked_add(nanos);
    let nanos = match argument {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(length)), _) if length.months == 0 => {
            days(length.days, length.nanoseconds)
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(length)), _) => {
            days(length.days, i64::from(length.milliseconds) * 1_000_000)
        }
        Expr::Literal(ScalarValue::DurationNanosecond(nanos), _) => *nanos,
        // As kdb+ and the configuration write it.
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
            TimeSpan::parse(text).ok().map(TimeSpan::nanos)
        }
        _ => None,
    };
    // Its negative is a length of time, too.
    nanos.filter(|&nanos| nanos > i64::MIN).ok_or_else(wrong)
}
