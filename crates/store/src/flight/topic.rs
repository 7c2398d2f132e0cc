//! What can be subscribed to, and the ticket that asks for it.
//!
//! Invariant: a ticket is checked whole before anything is opened for it.

use serde_json::{Map, Value};

use super::Refusal;

/// Bytes of a ticket.
const TICKET_BYTES_MAX: usize = 256 << 10;
/// Bytes of a subscriber's name.
const NAME_BYTES_MAX: usize = 64;
/// Letters of a wrong value that are repeated.
const SHOWN_CHARS_MAX: usize = 100;
/// What a ticket may say.
const KEYS: [&str; 5] = ["table", "from_seq", "follow", "syms", "name"];

/// A table that can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// [`Refusal::Invalid`] says what is wrong with it, [`Refusal::Unknown`] which tables there are.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > TICKET_BYTES_MAX {
            return Err(invalid(format!("has more than {TICKET_BYTES_MAX} bytes")));
        }
        let Ok(keys) = serde_json::from_slice::<Map<String, Value>>(bytes) else {
            return Err(invalid("is no JSON object"));
        };
        if let Some(key) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let known = KEYS.join(", ");
            return Err(invalid(format!(
                "has the key {key:?}, which is not known: {known} are"
            )));
        }
        // As in JSON: a key that is null is as one that is not there.
        let get = |key: &str| keys.get(key).filter(|value| !value.is_null());
        let table = get("table").ok_or_else(|| invalid("has no table"))?;
        let name = table.as_str();
        let name = name.ok_or_else(|| wrong("table", table, "a name"))?;
        let named = |topic: &Topic| topic.name() == name;
        let table = Topic::ALL.into_iter().find(named);
        let mut ticket = Self::of(table.ok_or_else(|| no_table(name))?);
        ticket.syms = get("syms").map(syms).transpose()?;
        ticket.start = match get("from_seq") {
            None => Start::First,
            Some(Value::String(word)) if word == "now" => Start::Now,
            Some(value) => match value.as_u64() {
                Some(seq) => Start::Seq(seq),
                None => return Err(wrong("from_seq", value, "a sequence number or \"now\"")),
            },
        };
        if let Some(value) = get("follow") {
            let follow = value.as_bool();
            ticket.follow = follow.ok_or_else(|| wrong("follow", value, "true or false"))?;
        }
        if let Some(value) = get("name") {
            let name = value.as_str().filter(|name| is_plain(name));
            let name = name.ok_or_else(|| {
                let wanted = format!(
                    "a text of up to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores"
                );
                wrong("name", value, &wanted)
            })?;
            ticket.name = Some(name.to_owned());
        }
        Ok(ticket)
    }
}

fn syms(value: &Value) -> Result<Vec<String>, Refusal> {
    let text = |sym: &Value| sym.as_str().map(str::to_owned);
    let syms = value
        .as_array()
        .and_then(|syms| syms.iter().map(text).collect());
    syms.ok_or_else(|| wrong("syms", value, "a list of instruments"))
}

fn is_plain(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(good)
}

fn invalid(what: impl std::fmt::Display) -> Refusal {
    let example = r#"{"table": "orders", "from_seq": 1, "follow": true}"#;
    Refusal::Invalid(format!("ticket: {what}; write it as {example}"))
}

fn wrong(key: &str, value: &Value, wanted: &str) -> Refusal {
    let shown: String = value.to_string().chars().take(SHOWN_CHARS_MAX).collect();
    invalid(format!("{key} is {shown}: {wanted} is wanted"))
}

/// There is no such table.
pub(super) fn no_table(name: impl std::fmt::Debug) -> Refusal {
    let names = Topic::ALL.map(Topic::name).join(", ");
    Refusal::Unknown(format!("there is no table {name:?}; there are {names}"))
}
