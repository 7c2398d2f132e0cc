//! `tapewatch queries`: what a running process is asked right now, and ending one of them.
//!
//! Invariant: a table for people, a line a query; the whole of it is in the API.

use reqwest::Url;
use serde::Deserialize;

use crate::cli::QueriesArgs;
use crate::failure::Failure;
use crate::query::{base_url, checked, client, explain};

/// Characters of a statement that are shown.
const TEXT_SHOWN: usize = 80;

#[derive(Deserialize)]
struct Answer {
    queries: Vec<Query>,
}

#[derive(Deserialize)]
struct Query {
    id: String,
    state: String,
    door: String,
    query: String,
    seconds: f64,
    rows: u64,
    memory_bytes: u64,
}

/// Shows the queries, or ends the one that is named.
pub(crate) async fn run(args: &QueriesArgs) -> Result<(), Failure> {
    let mut url = base_url(&args.url.url)?
        .join("api/v1/queries")
        .map_err(Failure::usage)?;
    let Some(id) = &args.cancel else {
        let answer: Answer = read(&url, client()?.get(url.clone())).await?;
        print!("{}", table(&answer.queries));
        return Ok(());
    };
    // As one piece of the path, whatever is in it.
    url.path_segments_mut()
        .map_err(|()| Failure::usage("--url has no path"))?
        .push(id);
    let ended: Query = read(&url, client()?.delete(url.clone())).await?;
    eprintln!("ended {} after {:.1} s", ended.id, ended.seconds);
    Ok(())
}

async fn read<T: serde::de::DeserializeOwned>(
    url: &Url,
    request: reqwest::RequestBuilder,
) -> Result<T, Failure> {
    let answer = checked(url, request.send().await).await?.json().await;
    answer.map_err(|error| Failure::run(explain(url, &error)))
}

fn table(queries: &[Query]) -> String {
    use std::fmt::Write as _;
    let mut table = String::new();
    let width = queries.iter().map(|query| query.id.len()).max();
    let width = width.unwrap_or(0).max(2);
    // Writing to a string does not fail.
    let _ = writeln!(
        table,
        "{:width$}  {:8}  {:9}  {:>8}  {:>12}  {:>7}  query",
        "id", "state", "door", "seconds", "rows", "MiB"
    );
    for query in queries {
        let text: Vec<&str> = query.query.split_whitespace().collect();
        let text: String = text.join(" ").chars().take(TEXT_SHOWN).collect();
        let mib = query.memory_bytes as f64 / f64::from(1 << 20);
        let _ = writeln!(
            table,
            "{:width$}  {:8}  {:9}  {:>8.1}  {:>12}  {mib:>7.1}  {text}",
            query.id, query.state, query.door, query.seconds, query.rows
        );
    }
    table
}
