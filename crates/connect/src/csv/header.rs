//! Finds the columns of the order schema in a header line.
//!
//! Invariant: a [`Columns`] has every column of the schema exactly once, and an optional one at most
//! once.

use tapewatch_model::Tells;

use super::framing::Fields;

/// The columns in the words of the message to the user.
pub(super) const NAMES: &str =
    "the columns time, sym, event_type, trader, side, order_id, price and quantity";

/// Canonical name, and its spellings after [`normalised`].
const COLUMNS: [(&str, &[&str]); 8] = [
    ("time", &["time"]),
    ("sym", &["sym", "symbol", "instrument"]),
    ("event_type", &["eventtype"]),
    ("trader", &["trader"]),
    ("side", &["side"]),
    ("order_id", &["orderid", "clordid"]),
    ("price", &["price", "px"]),
    ("quantity", &["quantity", "qty", "orderqty"]),
];

/// The same of the columns that need not be there.
const OPTIONAL: [(&str, &[&str]); 4] = [
    ("account", &["account"]),
    ("exec_id", &["execid"]),
    ("display_quantity", &["displayquantity", "displayqty"]),
    ("flags", &["flags"]),
];

/// The place of an optional column that is not there: no row has a field there.
const ABSENT: usize = usize::MAX;

/// Longest part of a header that is repeated in a message.
const SHOWN_CHARS_MAX: usize = 300;

/// Where the columns are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// Fields in a row, unknown ones too.
    pub(super) count: usize,
    pub(super) time: usize,
    pub(super) sym: usize,
    pub(super) event_type: usize,
    pub(super) trader: usize,
    pub(super) side: usize,
    pub(super) order_id: usize,
    pub(super) price: usize,
    pub(super) quantity: usize,
    /// None when there is no optional column.
    pub(super) details: Option<DetailColumns>,
}

/// Where the optional columns are; one that is not there has a place that no row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DetailColumns {
    pub(super) account: usize,
    pub(super) exec_id: usize,
    pub(super) display_quantity: usize,
    pub(super) flags: usize,
}

impl Columns {
    /// Finds them by name; the message says which are missing or double, and what was found.
    pub(super) fn find(header: Fields<'_>) -> Result<Self, String> {
        let names: Vec<String> = header.iter().map(normalised).collect();
        let mut places = [0; COLUMNS.len()];
        let mut missing = Vec::new();
        for (place, (name, spellings)) in places.iter_mut().zip(COLUMNS) {
            match find_one(header, &names, name, spellings)? {
                Some(at) => *place = at,
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            let columns = if missing.len() == 1 {
                "column"
            } else {
                "columns"
            };
            let found: Vec<_> = header.iter().map(String::from_utf8_lossy).collect();
            return Err(format!(
                "{columns} {} not found in the header {}: name {NAMES} there (any order, separated by commas)",
                missing.join(", "),
                shown(found.join(",").as_bytes()),
            ));
        }
        let [
            time,
            sym,
            event_type,
            trader,
            side,
            order_id,
            price,
            quantity,
        ] = places;
        Ok(Self {
            count: header.len(),
            time,
            sym,
            event_type,
            trader,
            side,
            order_id,
            price,
            quantity,
            details: DetailColumns::find(header, &names)?,
        })
    }
}

impl Columns {
    /// What rows with these columns may tell.
    pub(super) fn tells(&self) -> Tells {
        let there = |place: fn(&DetailColumns) -> usize| {
            self.details
                .as_ref()
                .is_some_and(|columns| place(columns) != ABSENT)
        };
        Tells {
            trader: true,
            exec_id: there(|columns| columns.exec_id),
            capacity: there(|columns| columns.flags),
        }
    }
}

impl DetailColumns {
    fn find(header: Fields<'_>, names: &[String]) -> Result<Option<Self>, String> {
        let mut places = [ABSENT; OPTIONAL.len()];
        for (place, (name, spellings)) in places.iter_mut().zip(OPTIONAL) {
            *place = find_one(header, names, name, spellings)?.unwrap_or(ABSENT);
        }
        let [account, exec_id, display_quantity, flags] = places;
        let found = places != [ABSENT; OPTIONAL.len()];
        Ok(found.then_some(Self {
            account,
            exec_id,
            display_quantity,
            flags,
        }))
    }
}

/// The place of a column; an error when two mean it.
fn find_one(
    header: Fields<'_>,
    names: &[String],
    name: &str,
    spellings: &[&str],
) -> Result<Option<usize>, String> {
    let mut at = names
        .iter()
        .enumerate()
        .filter(|(_, found)| spellings.contains(&found.as_str()))
        .map(|(index, _)| index);
    match (at.next(), at.next()) {
        (Some(first), Some(second)) => {
            let both = [first, second].map(|index| shown(header.get(index)));
            Err(format!(
                "columns {} ({both}) both mean {name}: rename or remove one of them",
                [first + 1, second + 1].map(|n| n.to_string()).join(" and "),
                both = both.join(" and "),
            ))
        }
        (first, _) => Ok(first),
    }
}

/// A column's name in lower case, without `_` and spaces.
pub(crate) fn normalised(name: &[u8]) -> String {
    String::from_utf8_lossy(name)
        .chars()
        .filter(|c| *c != '_' && !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect()
}

fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}
