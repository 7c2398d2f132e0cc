//! How far New York's clock is before UTC.
//!
//! Invariant: the rule is the one in force since 2007, LOBSTER's first year: summer time from the
//! second Sunday of March to the first of November. Exchanges are closed at the hour of the change.

use tapewatch_model::{Date, TimeSpan};

const HOUR_SECONDS: i64 = 3_600;

/// The offset on a day after its night; negative: behind UTC.
pub(super) fn offset(date: Date) -> TimeSpan {
    let (_, month, day) = date.civil();
    // 1970-01-01 was a Thursday; Sunday is 0.
    let weekday = (date.days() + 4).rem_euclid(7) as u32;
    // The day of the month of the Sunday at or before it, and how many Sundays there were.
    let sundays = (day + 6).saturating_sub(weekday) / 7;
    let summer = match month {
        4..=10 => true,
        3 => sundays >= 2,
        11 => sundays < 1,
        _ => false,
    };
    let hours = if summer { -4 } else { -5 };
    TimeSpan::from_secs(hours * HOUR_SECONDS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn summer_time_by_the_rule_since_2007() {
        for (date, hours) in [
            ("2012-06-21", -4),
            ("2024-01-05", -5),
            ("2024-03-09", -5),
            ("2024-03-10", -4),
            ("2024-11-02", -4),
            ("2024-11-03", -5),
            ("2015-03-07", -5),
            ("2015-03-08", -4),
            ("2015-10-31", -4),
            ("2015-11-01", -5),
            ("2010-03-13", -5),
            ("2010-03-14", -4),
            ("2010-11-06", -4),
            ("2010-11-07", -5),
            ("2010-12-31", -5),
        ] {
            let date_of = Date::parse(date.as_bytes()).unwrap();
            assert_eq!(
                offset(date_of),
                TimeSpan::from_secs(hours * HOUR_SECONDS),
                "{date}"
            );
        }
    }
}
