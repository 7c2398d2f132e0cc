//! Settings of a session: what clients ask for, and what they may change.
//!
//! Invariant: what a setting says is so: one that would change the meaning of an answer is taken only
//! with the value that it has here anyway.

use std::collections::BTreeMap;
use std::time::Duration;

use super::errors::Failure;

/// Whose protocol is spoken: clients choose their questions by it.
pub(super) const SERVER_VERSION: &str = "16.6";
/// Bytes of a value.
const VALUE_BYTES_MAX: usize = 1_024;

/// All settings with what they are at the start. Sorted.
const DEFAULTS: [(&str, &str); 32] = [
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C.UTF-8"),
    ("lc_ctype", "C.UTF-8"),
    ("lc_messages", "C.UTF-8"),
    ("lc_monetary", "C.UTF-8"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("row_security", "on"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "160006"),
    ("session_authorization", ""),
    ("ssl", "off"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];
/// Of these a client is told at the start, with the letters that it knows them by.
const TOLD: [(&str, &str); 13] = [
    ("application_name", "application_name"),
    ("client_encoding", "client_encoding"),
    ("datestyle", "DateStyle"),
    (
        "default_transaction_read_only",
        "default_transaction_read_only",
    ),
    ("in_hot_standby", "in_hot_standby"),
    ("integer_datetimes", "integer_datetimes"),
    ("intervalstyle", "IntervalStyle"),
    ("is_superuser", "is_superuser"),
    ("search_path", "search_path"),
    ("server_encoding", "server_encoding"),
    ("session_authorization", "session_authorization"),
    ("standard_conforming_strings", "standard_conforming_strings"),
    ("timezone", "TimeZone"),
];
/// These may be anything: they change nothing here.
const FREE: [&str; 11] = [
    "application_name",
    "client_min_messages",
    "default_transaction_isolation",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "jit",
    "lc_messages",
    "lock_timeout",
    "row_security",
    "search_path",
    "transaction_isolation",
];

/// What a setting is at the start of every session.
pub(super) fn default(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let found = DEFAULTS.binary_search_by(|(known, _)| known.cmp(&name.as_str()));
    found
        .ok()
        .and_then(|at| DEFAULTS.get(at))
        .map(|(_, value)| *value)
}

/// The settings of a session.
#[derive(Debug, Default)]
pub(super) struct Settings {
    changed: BTreeMap<String, String>,
    timeout: Option<Duration>,
}

impl Settings {
    /// As a client begins, who may ask for settings with it. Names that are not known are left out.
    pub(super) fn of_start(user: &str, parameters: &[(String, String)]) -> Result<Self, Failure> {
        let mut settings = Self::default();
        settings
            .changed
            .insert("session_authorization".to_owned(), user.to_owned());
        for (name, value) in parameters {
            if name == "options" {
                for (name, value) in options(value) {
                    settings.set(&name, Some(&value))?;
                }
            } else if default(name).is_some() {
                settings.set(name, Some(value))?;
            }
        }
        Ok(settings)
    }

    /// The time that a query may take, if one was set.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        match self.changed.get(&name) {
            Some(value) => Some(value),
            None => default(&name),
        }
    }

    /// All names with their values.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        DEFAULTS.iter().map(|(name, value)| {
            (
                *name,
                self.changed.get(*name).map_or(*value, String::as_str),
            )
        })
    }

    /// What a client is told at the start.
    pub(super) fn told(&self) -> impl Iterator<Item = (&'static str, &str)> {
        TOLD.iter()
            .map(|(name, shown)| (*shown, self.get(name).unwrap_or_default()))
    }

    pub(super) fn reset(&mut self) {
        self.timeout = None;
        self.changed
            .retain(|name, _| name == "session_authorization" || name == "application_name");
    }

    /// Changes a setting, or gives it its first value back: what the client is to be told of it.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
    ) -> Result<Option<(&'static str, String)>, Failure> {
        let lower = name.to_ascii_lowercase();
        let Some(first) = default(&lower) else {
            // A name with a point is an application's own.
            return match lower.contains('.') {
                true => Ok(None),
                false => Err(Failure::new("42704", format!("there is no setting {name}"))),
            };
        };
        let value = value.unwrap_or(first).trim();
        if value.len() > VALUE_BYTES_MAX {
            let message = format!("the value of {name} is longer than {VALUE_BYTES_MAX} bytes");
            return Err(Failure::new("22023", message));
        }
        let kept = match lower.as_str() {
            "statement_timeout" => {
                let time = duration(value).ok_or_else(|| {
                    Failure::new(
                        "22023",
                        format!(
                            "{value:?} is no time for {name}: write 5000 (milliseconds), 5s or 1min"
                        ),
                    )
                })?;
                self.timeout = (!time.is_zero()).then_some(time);
                value
            }
            // There are few ways to write it, and texts are UTF-8 in any case.
            "client_encoding" if is_utf8(value) => first,
            // Times are told with their zone; who asks for another one converts them.
            "timezone" => first,
            "datestyle" if value.to_ascii_uppercase().starts_with("ISO") => first,
            free if FREE.contains(&free) => value,
            _ if value.eq_ignore_ascii_case(first) => first,
            _ => {
                let message = format!("{name} is {first} here and cannot be {value}");
                return Err(Failure::new("55P02", message));
            }
        };
        self.changed.insert(lower.clone(), kept.to_owned());
        let told = TOLD.iter().find(|(known, _)| *known == lower);
        Ok(told.map(|(_, shown)| (*shown, kept.to_owned())))
    }
}

fn is_utf8(name: &str) -> bool {
    ["UTF8", "UTF-8", "UNICODE", "SQL_ASCII"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// `5000` (milliseconds), `5s`, `1 min`.
fn duration(text: &str) -> Option<Duration> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let millis: u64 = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(
        number.parse::<u64>().ok()?.checked_mul(millis)?,
    ))
}

/// `-c name=value --other-name=value`, as the parameter `options` has them.
fn options(text: &str) -> Vec<(String, String)> {
    // A space that belongs to a value has a backslash before it.
    let text = text.replace("\\ ", "\u{0}");
    let words = text.split_whitespace().filter(|word| *word != "-c");
    let pairs = words.filter_map(|word| {
        let word = word
            .strip_prefix("--")
            .or_else(|| word.strip_prefix("-c"))
            .unwrap_or(word);
        let (name, value) = word.split_once('=')?;
        Some((name.replace('-', "_"), value.replace('\u{0}', " ")))
    });
    pairs.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_and_changed() {
        assert!(DEFAULTS.is_sorted());
        for name in TOLD.iter().map(|(name, _)| name).chain(&FREE) {
            assert!(default(name).is_some(), "{name}");
        }
        let mut settings = Settings::default();
        assert_eq!(settings.get("TimeZone"), Some("UTC"));
        assert_eq!(
            settings.set("Application_Name", Some("x")),
            Ok(Some(("application_name", "x".to_owned())))
        );
        assert_eq!(settings.get("application_name"), Some("x"));
        assert_eq!(settings.set("statement_timeout", Some("5s")), Ok(None));
        assert_eq!(settings.timeout(), Some(Duration::from_secs(5)));
        settings.set("statement_timeout", None).unwrap();
        assert_eq!(settings.timeout(), None);
        settings.set("client_encoding", Some("utf-8")).unwrap();
        assert_eq!(settings.get("client_encoding"), Some("UTF8"));
        for (name, value, code) in [
            ("colour", "red", "42704"),
            ("client_encoding", "LATIN1", "55P02"),
            ("server_version", "9", "55P02"),
            ("default_transaction_read_only", "off", "55P02"),
            ("statement_timeout", "soon", "22023"),
        ] {
            assert_eq!(
                settings.set(name, Some(value)).unwrap_err().code,
                code,
                "{name}"
            );
        }
    }

    #[test]
    fn options_of_the_start() {
        let parameters = [(
            "options".to_owned(),
            "-c statement_timeout=2s --application-name=a\\ b".to_owned(),
        )];
        let settings = Settings::of_start("me", &parameters).unwrap();
        assert_eq!(settings.timeout(), Some(Duration::from_secs(2)));
        assert_eq!(settings.get("application_name"), Some("a b"));
        assert_eq!(settings.get("session_authorization"), Some("me"));
    }
}
