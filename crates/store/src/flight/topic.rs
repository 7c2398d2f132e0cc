//! What can be subscribed to, and the ticket that asks for it.
//!
//! Invariant: a ticket is checked whole before anything is opened for it.

use serde::{Deserialize, Serialize};

use super::Refusal;

/// Bytes of a ticket.
const TICKET_BYTES_MAX: usize = 256 << 10;
/// Bytes of a subscriber's name.
const NAME_BYTES_MAX: usize = 64;

/// A table that can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Order events, from the journal.
    Orders,
    /// Alerts, each again when it has another hit.
    Alerts,
    /// Hits.
    Hits,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Orders, Self::Alerts, Self::Hits];

    /// Its name, as in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Alerts => "alerts",
            Self::Hits => "hits",
        }
    }
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the first that there is.
    #[default]
    First,
    /// With what comes from now on.
    Now,
    /// With this sequence number.
    Seq(u64),
}

/// What a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The table.
    pub table: Topic,
    /// The instruments; `None` for all.
    pub syms: Option<Vec<String>>,
    /// Where it begins.
    pub start: Start,
    /// Whether it goes on with what comes, or ends with what there is.
    pub follow: bool,
    /// What the subscriber calls itself in the metrics.
    pub name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    table: Topic,
    #[serde(default)]
    syms: Option<Vec<String>>,
    #[serde(default)]
    from_seq: Option<FromSeq>,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FromSeq {
    Number(u64),
    Word(String),
}

impl Ticket {
    /// A ticket for everything in a table.
    #[must_use]
    pub fn of(table: Topic) -> Self {
        Self {
            table,
            syms: None,
            start: Start::default(),
            follow: false,
            name: None,
        }
    }

    /// Reads the JSON of a ticket.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let invalid = |what: String| {
            let example = r#"{"table": "orders", "from_seq": 1, "follow": true}"#;
            Refusal::Invalid(format!("ticket: {what}; write it as {example}"))
        };
        if bytes.len() > TICKET_BYTES_MAX {
            return Err(invalid(format!(
                "it has more than {TICKET_BYTES_MAX} bytes"
            )));
        }
        let text: Text =
            serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        let start = match text.from_seq {
            None => Start::First,
            Some(FromSeq::Number(seq)) => Start::Seq(seq),
            Some(FromSeq::Word(word)) if word == "now" => Start::Now,
            Some(FromSeq::Word(word)) => {
                return Err(invalid(format!(
                    "from_seq is {word:?}: a sequence number or \"now\" is wanted"
                )));
            }
        };
        let plain = |name: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(good)
        };
        if text.name.as_deref().is_some_and(|name| !plain(name)) {
            return Err(invalid(format!(
                "name: up to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores are wanted"
            )));
        }
        Ok(Self {
            table: text.table,
            syms: text.syms,
            start,
            follow: text.follow,
            name: text.name,
        })
    }
}
