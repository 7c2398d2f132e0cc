//! What is wrong with a name in a query, and which names are near.
//!
//! Invariant: at most three names are suggested, the nearest first; where none is near, the message
//! lists what there is, if that is short.

use std::sync::LazyLock;

use datafusion::common::SchemaError;
use datafusion::execution::SessionStateDefaults;

use super::{UNBOUNDED, book, functions, order_history, tables, window_join::Kind};
use crate::schema::Table;

/// Names that are suggested.
const NEAR_MAX: usize = 3;
/// Names that are listed where none is near.
const LISTED_MAX: usize = 40;

const INFORMATION_SCHEMA: [&str; 7] = [
    "tables",
    "views",
    "columns",
    "df_settings",
    "schemata",
    "routines",
    "parameters",
];

/// Names of functions that stand where values do.
static FUNCTIONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let scalars = SessionStateDefaults::default_scalar_functions();
    let aggregates = SessionStateDefaults::default_aggregate_functions();
    let windows = SessionStateDefaults::default_window_functions();
    let mut names: Vec<String> = scalars.iter().map(|f| f.name().to_owned()).collect();
    names.extend(aggregates.iter().map(|f| f.name().to_owned()));
    names.extend(windows.iter().map(|f| f.name().to_owned()));
    names.retain(|name| !UNBOUNDED.contains(&name.as_str()));
    names.extend(functions::all().iter().map(|f| f.name().to_owned()));
    names.sort();
    names.dedup();
    names
});

/// Names of functions that stand where tables do.
fn table_functions() -> Vec<String> {
    let kinds = [Kind::Asof, Kind::Wj, Kind::Wj1].map(|kind| kind.name().to_owned());
    let as_of = Table::ALL.map(|table| format!("{}_as_of", table.name()));
    let others = [book::NAME, order_history::NAME, "generate_series", "range"];
    let others = others.map(str::to_owned);
    kinds.into_iter().chain(as_of).chain(others).collect()
}

/// A message about a name that is not known, in the user's words; `None` when it is about another
/// thing.
pub(super) fn unknown_name(message: &str) -> Option<String> {
    let name = message.split('\'').nth(1)?;
    let is = |start: &str, end: &str| message.starts_with(start) && message.ends_with(end);
    if is("table '", "' not found") {
        return Some(unknown_table(name));
    }
    if is("table function '", "' not found") {
        let near = suggestion(name, &table_functions());
        return Some(format!("there is no table function {name}{near}"));
    }
    if message.starts_with("Invalid function '") {
        let near = match UNBOUNDED.contains(&name.to_lowercase().as_str()) {
            true => ": it is left out, since no limit on memory holds for it".to_owned(),
            false => suggestion(name, &FUNCTIONS),
        };
        return Some(format!("there is no function {name}{near}"));
    }
    None
}

/// `tapewatch.public.ordrs`, without what all tables have.
fn unknown_table(name: &str) -> String {
    let name = name.strip_prefix("tapewatch.").unwrap_or(name);
    let name = name.strip_prefix("public.").unwrap_or(name);
    let (schema, table) = name.rsplit_once('.').unwrap_or(("", name));
    let near = if schema == "information_schema" {
        suggestion(table, &INFORMATION_SCHEMA.map(str::to_owned))
    } else {
        suggestion(table, &tables::NAMES.map(str::to_owned))
    };
    format!("there is no table {name}{near}")
}

/// A column, or the table that it is to be of, that is not there; `None` when it is another mistake.
pub(super) fn unknown_column(error: &SchemaError) -> Option<String> {
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = error
    else {
        return None;
    };
    let distinct = |mut names: Vec<String>| {
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    };
    let Some(table) = &field.relation else {
        let names = valid_fields.iter().map(|c| c.name.clone()).collect();
        let near = suggestion(&field.name, &distinct(names));
        return Some(format!("there is no column {}{near}", field.name));
    };
    let of_table = valid_fields.iter().filter(|c| {
        let relation = c.relation.as_ref();
        relation.is_some_and(|relation| relation.resolved_eq(table))
    });
    let names: Vec<String> = of_table.map(|c| c.name.clone()).collect();
    if names.is_empty() {
        let tables = valid_fields.iter().filter_map(|c| c.relation.as_ref());
        let tables = tables.map(|table| table.table().to_owned()).collect();
        let near = suggestion(table.table(), &distinct(tables));
        return Some(format!("there is no table {table} in this query{near}"));
    }
    let near = suggestion(&field.name, &distinct(names));
    Some(format!("table {table} has no column {}{near}", field.name))
}

/// The nearest names, or all when none is near.
fn suggestion(name: &str, names: &[String]) -> String {
    let name = name.to_lowercase();
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .map(|known| (distance(&name, &known.to_lowercase()), known.as_str()))
        .filter(|(distance, _)| *distance <= 1 + name.chars().count() / 4)
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.truncate(NEAR_MAX);
    if !near.is_empty() {
        let near: Vec<&str> = near.into_iter().map(|(_, name)| name).collect();
        return format!("; did you mean {}?", near.join(" or "));
    }
    if names.is_empty() || names.len() > LISTED_MAX {
        return String::new();
    }
    format!("; there are {}", names.join(", "))
}

/// Letters to insert, delete or replace (Levenshtein), underscores for nothing.
fn distance(a: &str, b: &str) -> usize {
    // Names are short; what is longer is near to nothing.
    let letters = |text: &str| {
        text.chars()
            .filter(|&c| c != '_')
            .take(256)
            .collect::<Vec<char>>()
    };
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            *cell = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
