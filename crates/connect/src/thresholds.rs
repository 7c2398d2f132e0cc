//! Reads the reference's file of spoofing thresholds.
//!
//! Invariant: all three values come from the first data row, or none do.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tapewatch_model::{Quantity, SourceError, TimeSpan};

use crate::csv::{CsvFramer, CsvStep, normalised};
use crate::source_error;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 10;
const NAMES: [&str; 3] = [
    "cancelQtyThreshold",
    "cancelCountThreshold",
    "lookbackInterval",
];

/// Thresholds of the spoofing detector. A hit needs more than both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoofingThresholds {
    /// Sum of the quantities of the cancels in the lookback.
    pub cancel_quantity: Quantity,
    /// Number of the cancels in the lookback.
    pub cancel_count: u64,
    /// How far back cancels count.
    pub lookback: TimeSpan,
}

/// Reads a CSV file with the columns `cancelQtyThreshold`, `cancelCountThreshold` and
/// `lookbackInterval` (in any order; others are ignored). As in the reference, only the first data
/// row counts.
///
/// # Errors
/// [`SourceError`] when the file cannot be read, or a column or a value is missing or wrong.
pub fn read_thresholds(path: &Path) -> Result<SpoofingThresholds, SourceError> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| source_error(&name, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!(
            "is larger than {FILE_BYTES_MAX} bytes: a file of thresholds has a header and one row"
        );
        return Err(source_error(&name, message));
    }
    parse(&bytes).map_err(|message| source_error(&name, message))
}

/// The same from the file's bytes. Pure.
fn parse(bytes: &[u8]) -> Result<SpoofingThresholds, String> {
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut line = 0;
    let header = next_row(&mut rest, &mut line)?
        .ok_or_else(|| format!("is empty: its first line must name {}", NAMES.join(", ")))?;
    let row = next_row(&mut rest, &mut line)?.ok_or("has no row behind its header")?;
    if row.len() != header.len() {
        return Err(format!(
            "line {line} has {} fields, the header has {}",
            row.len(),
            header.len()
        ));
    }
    let [quantity, count, lookback] = NAMES.map(|name| value(name, &header, &row));
    let (quantity, count, lookback) = (quantity?, count?, lookback?);
    let wrong = |name: &str, value: &str, why: &dyn std::fmt::Display| {
        format!("line {line}: {name} {value:?} {why}")
    };
    Ok(SpoofingThresholds {
        cancel_quantity: quantity
            .parse()
            .map_err(|error| wrong("cancelQtyThreshold", quantity, &error))?,
        cancel_count: count
            .parse()
            .map_err(|_| wrong("cancelCountThreshold", count, &"is not a whole number"))?,
        lookback: TimeSpan::parse(lookback)
            .map_err(|error| wrong("lookbackInterval", lookback, &format!("is {error}")))?,
    })
}

/// The next line that is not blank, as texts; `line` becomes its number.
fn next_row(rest: &mut &[u8], line: &mut u64) -> Result<Option<Vec<String>>, String> {
    let mut framer = CsvFramer::default();
    loop {
        *line += 1;
        let data = *rest;
        match framer.next(data, true) {
            CsvStep::Blank { bytes } => *rest = data.get(bytes..).unwrap_or_default(),
            CsvStep::Record(record) => {
                *rest = data.get(record.bytes()..).unwrap_or_default();
                let texts = framer.fields(data).iter().map(|text| {
                    String::from_utf8(text.to_vec())
                        .map_err(|_| format!("line {line} is not UTF-8"))
                });
                return texts.collect::<Result<_, _>>().map(Some);
            }
            CsvStep::Refused { reason, .. } => return Err(format!("line {line}: {reason}")),
            CsvStep::End | CsvStep::More => return Ok(None),
        }
    }
}

fn value<'a>(name: &str, header: &[String], row: &'a [String]) -> Result<&'a str, String> {
    let wanted = normalised(name.as_bytes());
    let mut found = header
        .iter()
        .zip(row)
        .filter(|(column, _)| normalised(column.as_bytes()) == wanted)
        .map(|(_, value)| value.as_str());
    match (found.next(), found.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(format!("names the column {name} twice: remove one of them")),
        (None, _) => Err(format!(
            "column {name} not found in the header {:?}: name {} there",
            header.join(","),
            NAMES.join(", ")
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_reference_file() {
        let path = "../../tests/data/spoofingThresholds.csv";
        let expected = SpoofingThresholds {
            cancel_quantity: Quantity::from_whole(4_000).unwrap(),
            cancel_count: 3,
            lookback: TimeSpan::from_secs(25),
        };
        assert_eq!(read_thresholds(Path::new(path)), Ok(expected));
        let other = "\u{feff}\nlookback_interval, cancel count threshold,x,cancelqtythreshold\n25s,3,\"a\",4000\n9s,9,,9";
        assert_eq!(parse(other.as_bytes()), Ok(expected));
    }

    #[test]
    fn says_what_is_wrong() {
        let header = "cancelQtyThreshold,cancelCountThreshold,lookbackInterval\r\n";
        for (text, message) in [
            (
                String::new(),
                "is empty: its first line must name cancelQtyThreshold, cancelCountThreshold, lookbackInterval",
            ),
            (header.to_owned(), "has no row behind its header"),
            (
                format!("{header}1,2\n"),
                "line 2 has 2 fields, the header has 3",
            ),
            (
                format!("{header}\n4x,2,25s\n"),
                "line 3: cancelQtyThreshold \"4x\" is not a number",
            ),
            (
                format!("{header}4,2.5,25s\n"),
                "line 2: cancelCountThreshold \"2.5\" is not a whole number",
            ),
            (
                format!("{header}4,2,25\n"),
                "line 2: lookbackInterval \"25\" is not a time span: expected a form like 25s, 10ms, 1h or 0D00:00:25.000000000",
            ),
            (
                format!("{header}4,2,\"25s\n"),
                "line 2: a quote on this line is not closed",
            ),
            (
                "a,b\n1,2\n".to_owned(),
                "column cancelQtyThreshold not found in the header \"a,b\": name cancelQtyThreshold, cancelCountThreshold, lookbackInterval there",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(message.to_owned()));
        }
        let error = read_thresholds(Path::new("/no/such/file.csv")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("/no/such/file.csv: cannot be read: ")
        );
    }

    #[test]
    fn refuses_a_file_that_is_something_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![b'x'; 70_000]).unwrap();
        let error = read_thresholds(file.path()).unwrap_err();
        assert!(
            error.message.starts_with("is larger than 65536 bytes"),
            "{error}"
        );
    }
}
