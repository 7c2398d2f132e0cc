//! `COPY … TO STDOUT`: rows as lines of text, in Postgres's own form or as CSV.
//!
//! Invariant: a line is a row; whoever reads it in the same form has the same values.

use arrow::error::ArrowError;

use super::cells::{Column, set_length};
use super::lex::{Kind, Lexeme};

/// The form of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopyFormat {
    csv: bool,
    pub(super) header: bool,
    delimiter: u8,
    null: String,
}

/// The options behind `TO STDOUT`; what is wrong with them.
pub(super) fn options(words: &[Lexeme<'_>]) -> Result<CopyFormat, String> {
    let (mut csv, mut header, mut delimiter, mut null) = (false, false, None, None);
    let signs = |lexeme: &&Lexeme<'_>| {
        !(lexeme.is("WITH")
            || lexeme.is("AS")
            || ["(", ")", ","].iter().any(|sign| lexeme.is_sign(sign)))
    };
    let mut rest = words.iter().filter(signs).peekable();
    while let Some(option) = rest.next() {
        match option.text.to_ascii_uppercase().as_str() {
            "FORMAT" => match rest
                .next()
                .map(Lexeme::value)
                .unwrap_or_default()
                .to_ascii_lowercase()
                .as_str()
            {
                "csv" => csv = true,
                "text" => csv = false,
                other => {
                    return Err(format!(
                        "COPY in the format {other:?}; there are text and csv"
                    ));
                }
            },
            "CSV" => csv = true,
            "HEADER" => {
                let said = rest.next_if(|lexeme| {
                    ["true", "false", "on", "off", "1", "0"]
                        .iter()
                        .any(|word| lexeme.text.eq_ignore_ascii_case(word))
                });
                header = !said.is_some_and(|said| {
                    ["false", "off", "0"]
                        .iter()
                        .any(|word| said.text.eq_ignore_ascii_case(word))
                });
            }
            "DELIMITER" => {
                let value = text(rest.next());
                let byte = value.as_deref().map(str::as_bytes);
                match byte {
                    Some([byte]) if byte.is_ascii() && !b"\\\r\n\"".contains(byte) => {
                        delimiter = Some(*byte)
                    }
                    _ => return Err("a delimiter of COPY that is not one letter".to_owned()),
                }
            }
            "NULL" => null = Some(text(rest.next()).ok_or("COPY with NULL and no text")?),
            // UTF-8 is what there is.
            "ENCODING" => drop(rest.next()),
            other => {
                return Err(format!(
                    "COPY with the option {other}; there are FORMAT, HEADER, DELIMITER and NULL"
                ));
            }
        }
    }
    let null = null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() });
    let delimiter = delimiter.unwrap_or(if csv { b',' } else { b'\t' });
    Ok(CopyFormat {
        csv,
        header,
        delimiter,
        null,
    })
}

fn text(lexeme: Option<&Lexeme<'_>>) -> Option<String> {
    let lexeme = lexeme.filter(|lexeme| lexeme.kind == Kind::Text)?;
    Some(match lexeme.text.starts_with(['E', 'e']) {
        true => lexeme.value().replace("\\t", "\t"),
        false => lexeme.value(),
    })
}

/// The query that `COPY table (columns)` means.
pub(super) fn of_table(source: &[Lexeme<'_>]) -> Option<String> {
    let open = source.iter().position(|lexeme| lexeme.is_sign("("));
    let (table, columns) = source.split_at(open.unwrap_or(source.len()));
    let of = |parts: &[Lexeme<'_>]| parts.iter().map(|lexeme| lexeme.text).collect::<String>();
    let columns = match columns {
        [] => "*".to_owned(),
        [_open, inner @ .., _close] => of(inner).replace(',', ", "),
        [_] => return None,
    };
    (!table.is_empty()).then(|| format!("SELECT {columns} FROM {}", of(table)))
}

impl CopyFormat {
    /// The names of the columns as a line.
    pub(super) fn header_line<'n>(
        &self,
        names: impl Iterator<Item = &'n String>,
    ) -> Result<Vec<u8>, ArrowError> {
        let mut out = Vec::new();
        message(&mut out, |out| {
            for (index, name) in names.enumerate() {
                self.field(index, Some(name.as_bytes()), out);
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Appends a row as a message with a line.
    pub(super) fn write_row(
        &self,
        columns: &[Column<'_>],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ArrowError> {
        let mut value = Vec::new();
        message(out, |out| {
            for (index, column) in columns.iter().enumerate() {
                value.clear();
                let is_null = column.is_null(row);
                if !is_null {
                    column.write_text(row, &mut value)?;
                }
                self.field(index, (!is_null).then_some(value.as_slice()), out);
            }
            Ok(())
        })
    }

    fn field(&self, index: usize, value: Option<&[u8]>, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(self.delimiter);
        }
        match value {
            None => out.extend(self.null.as_bytes()),
            Some(value) if self.csv => self.csv_field(value, out),
            Some(value) => {
                for byte in value {
                    match byte {
                        b'\\' => out.extend(b"\\\\"),
                        b'\n' => out.extend(b"\\n"),
                        b'\r' => out.extend(b"\\r"),
                        b'\t' => out.extend(b"\\t"),
                        byte if *byte == self.delimiter => out.extend([b'\\', *byte]),
                        byte => out.push(*byte),
                    }
                }
            }
        }
    }

    /// In quotes when it has to be: also what would be taken for NULL.
    fn csv_field(&self, value: &[u8], out: &mut Vec<u8>) {
        let special = |byte: &u8| *byte == self.delimiter || b"\"\r\n".contains(byte);
        // A line of `\.` alone ends the data for older clients.
        if value != self.null.as_bytes() && value != b"\\." && !value.iter().any(special) {
            return out.extend(value);
        }
        out.push(b'"');
        for byte in value {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
}

/// Appends a message with a line.
fn message(
    out: &mut Vec<u8>,
    line: impl FnOnce(&mut Vec<u8>) -> Result<(), ArrowError>,
) -> Result<(), ArrowError> {
    let at = out.len() + 1;
    out.extend(b"d\0\0\0\0");
    line(out)?;
    out.push(b'\n');
    let length = out.len() - at;
    set_length(out, at, length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::lex::lexemes;
    use super::*;

    #[test]
    fn options_old_and_new() {
        let of = |text| options(&lexemes(text));
        let format = |csv, header, delimiter, null: &str| {
            Ok(CopyFormat {
                csv,
                header,
                delimiter,
                null: null.to_owned(),
            })
        };
        assert_eq!(of(""), format(false, false, b'\t', "\\N"));
        assert_eq!(of("csv header"), format(true, true, b',', ""));
        assert_eq!(
            of("with (format csv, header false, delimiter ';', null 'x')"),
            format(true, false, b';', "x")
        );
        assert_eq!(
            of("WITH DELIMITER AS '|'"),
            format(false, false, b'|', "\\N")
        );
        for text in [
            "(format binary)",
            "(delimiter 'ab')",
            "(force_quote (a))",
            "null",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        let line = |text: &str, fields: &[Option<&str>]| {
            let format = options(&lexemes(text)).unwrap();
            let mut out = Vec::new();
            for (index, field) in fields.iter().enumerate() {
                format.field(index, field.map(str::as_bytes), &mut out);
            }
            String::from_utf8(out).unwrap()
        };
        let fields = [Some("a,\"b\""), None, Some(""), Some("c\td"), Some("\\.")];
        assert_eq!(line("csv", &fields), "\"a,\"\"b\"\"\",,\"\",c\td,\"\\.\"");
        assert_eq!(line("", &fields), "a,\"b\"\t\\N\t\tc\\td\t\\\\.");
    }
}
