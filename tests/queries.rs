//! Queries over HTTP: limits, many at once, cancelling, streams in every format.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use support::{Server, run, tapewatch, wait_for};
use tokio::runtime::Runtime;

/// Work without an end, each in another operator.
const ENDLESS: [(&str, &str); 7] = [
    (
        "cross join",
        "select count(*) from generate_series(1, 100000000) a, generate_series(1, 100000000) b",
    ),
    (
        "nested loops",
        "select count(*) from generate_series(1, 10000000) a join generate_series(1, 1000000) b \
         on a.value % 7 > b.value % 11",
    ),
    (
        "nested loops without a match",
        "select count(*) from generate_series(1, 10000000) a join generate_series(1, 1000000) b \
         on a.value * 7 + b.value < 0",
    ),
    (
        "hash join of few keys",
        "select sum(a.value - b.value) from generate_series(1, 2000000) a join generate_series(1, 2000000) b \
         on a.value % 2 = b.value % 2",
    ),
    (
        "aggregates",
        "select count(*) from (select a.value % 5 as g, sum(a.value * b.value % 13) from \
         generate_series(1, 1000000) a, generate_series(1, 1000000) b group by 1)",
    ),
    (
        "sort",
        "select a.value from generate_series(1, 100000) a, generate_series(1, 100000) b \
         order by a.value * 7919 % 1009 limit 5",
    ),
    (
        "recursion",
        "with recursive r as (select 1 as n union all select n + 1 - n from r) select count(*) from r",
    ),
];

fn start(environment: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &[], environment);
    (dir, server)
}

async fn post(server: &Server, body: Value) -> Response {
    let url = format!("{}/api/v1/sql", server.url());
    Client::new().post(url).json(&body).send().await.unwrap()
}

/// The message and the code of an answer that is an error.
async fn refused(server: &Server, body: Value) -> (u16, String, String) {
    let response = post(server, body).await;
    let status = response.status().as_u16();
    let error: Value = response.json().await.unwrap();
    let text = |name: &str| error["error"][name].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

/// `tapewatch queries` with these arguments.
fn command(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    run(tapewatch()
        .args(["queries", "--url", &server.url()])
        .args(arguments))
}

fn queries(server: &Server) -> Vec<Value> {
    let list = server.get_json("/api/v1/queries");
    list["queries"].as_array().unwrap().clone()
}

/// Seconds of CPU that the process has used.
fn cpu_seconds(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// Most memory that the process has had, in MiB.
fn peak_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib / 1_024
}

/// Waits until nothing runs, and until the CPU agrees: what ended may still let go of its memory
/// for a moment, what runs on takes a whole core for as long as it is watched.
fn rests(server: &Server, what: &str) {
    let since = Instant::now();
    wait_for("the list to be empty", || queries(server).is_empty());
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "{what}: {:?}",
        since.elapsed()
    );
    let used: Vec<f64> = (0..8)
        .map(|_| {
            let before = cpu_seconds(server);
            std::thread::sleep(Duration::from_secs(1));
            cpu_seconds(server) - before
        })
        .take_while(|used| *used >= 0.2)
        .collect();
    assert!(
        used.len() < 8,
        "{what}: {used:?} s of CPU in the seconds after its end"
    );
}

#[test]
fn what_is_cancelled_ends_and_its_work_too() {
    let (_dir, server) = start(&[]);
    let runtime = Runtime::new().unwrap();
    for (what, query) in ENDLESS {
        // By its id.
        let asked = std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let runtime = Runtime::new().unwrap();
                runtime.block_on(refused(&server, json!({"query": query})))
            });
            wait_for("it to run", || {
                queries(&server).iter().any(|one| one["state"] == "running")
            });
            std::thread::sleep(Duration::from_millis(500));
            let one = &queries(&server)[0];
            assert_eq!(
                (&one["query"], &one["door"]),
                (&json!(query), &json!("http"))
            );
            let id = one["id"].as_str().unwrap();
            let path = format!("/api/v1/queries/{id}");
            let (code, out, error) = command(&server, &[]);
            assert_eq!((code, &*error), (0, ""), "{out}");
            assert!(out.contains(id) && out.contains("running"), "{out}");
            server.counts("sql_queries_open{state=\"running\"} 1");
            let since = Instant::now();
            let (code, _, error) = command(&server, &["--cancel", id]);
            assert_eq!(code, 0, "{what}: {error}");
            let asked = asked.join().unwrap();
            assert!(
                since.elapsed() < Duration::from_secs(2),
                "{what}: {:?}",
                since.elapsed()
            );
            let (code, _, error) = command(&server, &["--cancel", "no/ne"]);
            assert!(code == 3 && error.contains("no query no/ne"), "{error}");
            rests(&server, what);
            assert_eq!(server.get_json(&path)["state"], "cancelled", "{what}");
            asked
        });
        assert_eq!(
            (asked.0, &*asked.1),
            (400, "cancelled"),
            "{what}: {}",
            asked.2
        );
        // By its time.
        let body = json!({"query": query, "limits": {"timeout": "700ms"}});
        let since = Instant::now();
        let (status, code, message) = runtime.block_on(refused(&server, body));
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "{what}: {:?}",
            since.elapsed()
        );
        assert_eq!((status, &*code), (400, "limit"), "{what}: {message}");
        assert!(
            message.contains("timeout of the request is 0.7 s"),
            "{message}"
        );
        rests(&server, what);
        // By its client, which goes.
        let body = json!({"query": query});
        runtime.block_on(async {
            let left = tokio::time::timeout(Duration::from_millis(700), post(&server, body)).await;
            assert!(left.is_err(), "{what} has an end");
        });
        rests(&server, what);
    }
}

#[test]
fn a_limit_ends_a_query_and_says_its_name() {
    let (_dir, server) = start(&[
        ("TAPEWATCH_SQL__TIMEOUT", "2s"),
        ("TAPEWATCH_SQL__ROWS_MAX", "1000"),
        ("TAPEWATCH_SQL__QUERY_MEMORY_BYTES_MAX", "33554432"),
    ]);
    let runtime = Runtime::new().unwrap();
    let rows = "select value from generate_series(1, 5000)";
    let held = "select array_agg(value) from generate_series(1, 30000000)";
    let joined = "select count(*) from generate_series(1, 20000000) a join generate_series(1, 9000000) b using (value)";
    for (query, limits, words) in [
        (ENDLESS[0].1, json!({}), "sql.timeout is 2 s"),
        (
            held,
            json!({}),
            "sql.query_memory_bytes_max is 33554432 bytes",
        ),
        (
            joined,
            json!({}),
            "sql.query_memory_bytes_max is 33554432 bytes",
        ),
        (
            held,
            json!({"memory_bytes_max": 20_000_000}),
            "memory_bytes_max of the request is 20000000 bytes",
        ),
        (
            rows,
            json!({"memory_bytes_max": 1}),
            "a query needs at least 16777216",
        ),
        (
            rows,
            json!({"memory_bytes_max": 99_999_999}),
            "a request may only ask for less",
        ),
        (
            rows,
            json!({"timeout": "1h"}),
            "sql.timeout is 2 s: a request may only ask for less",
        ),
        (
            rows,
            json!({"rows_max": 1001}),
            "sql.rows_max is 1000: a request may only ask for less",
        ),
    ] {
        let body = json!({"query": query, "limits": limits});
        let (status, _, message) = runtime.block_on(refused(&server, body));
        assert_eq!(status, 400, "{message}");
        assert!(message.contains(words), "{words}: {message}");
    }
    // Rows come until there are too many; then the answer breaks off, and the id says why.
    for (limits, most) in [(json!({}), 1_000), (json!({"rows_max": 7}), 7)] {
        let body = json!({"query": rows, "format": "csv", "limits": limits});
        let (text, broken, state) = runtime.block_on(streamed(&server, body));
        let lines = text.lines().count() - 1;
        assert!(broken, "{most}: the answer looks whole");
        assert_eq!(
            (lines, &state["state"]),
            (most, &json!("failed")),
            "{state}"
        );
        let error = state["error"].as_str().unwrap();
        assert!(
            error.contains("rows_max") && error.contains(&most.to_string()),
            "{error}"
        );
    }
    assert_eq!(
        server.number("select count(*) from generate_series(1, 1000)"),
        1_000
    );
}

/// An answer as far as it came, whether it broke off, and what its query says.
async fn streamed(server: &Server, body: Value) -> (String, bool, Value) {
    let response = post(server, body).await;
    assert_eq!(response.status(), 200);
    let id = response.headers()["x-tapewatch-query"]
        .to_str()
        .unwrap()
        .to_owned();
    let mut parts = response.bytes_stream();
    let (mut text, mut broken) = (Vec::new(), false);
    while let Some(part) = parts.next().await {
        match part {
            Ok(part) => text.extend_from_slice(&part),
            Err(_) => broken = true,
        }
    }
    let state = server.get_json(&format!("/api/v1/queries/{id}"));
    (String::from_utf8(text).unwrap(), broken, state)
}

#[test]
fn an_error_behind_the_first_rows_is_seen_as_one() {
    let (_dir, server) = start(&[]);
    let runtime = Runtime::new().unwrap();
    let query = "select 7 / (value - 600000) as x from generate_series(1, 900000)";
    for format in ["csv", "json", "jsonl", "table", "arrow", "parquet"] {
        let body = json!({"query": query, "format": format});
        runtime.block_on(async {
            let response = post(&server, body).await;
            let status = response.status();
            let id = response.headers().get("x-tapewatch-query").cloned();
            let whole = response.bytes().await;
            // Parquet may have nothing to send before the error comes.
            if status == 400 {
                assert!(format == "parquet" && id.is_none(), "{format}");
                return;
            }
            assert!(whole.is_err(), "{format}: the answer looks whole");
            let path = format!("/api/v1/queries/{}", id.unwrap().to_str().unwrap());
            let error = server.get_json(&path)["error"].to_string();
            assert!(error.contains("zero"), "{format}: {error}");
        });
    }
    // The command says why.
    let mut command = server.command(&["sql", query, "--format", "csv"]);
    let (code, _, error) = support::run(&mut command);
    assert!(code == 3 && error.contains("zero"), "{error}");
}

#[test]
fn a_hundred_million_rows_stream_in_bounded_memory() {
    let (_dir, server) = start(&[]);
    let runtime = Runtime::new().unwrap();
    let query = "select a.value from generate_series(1, 10000) a, generate_series(1, 10000) b";
    let before = peak_mib(&server);
    for (format, bytes_min) in [
        ("arrow", 60_000_000),
        ("csv", 30_000_000),
        ("parquet", 500_000),
    ] {
        runtime.block_on(async {
            let response = post(&server, json!({"query": query, "format": format})).await;
            let mut parts = response.bytes_stream();
            let mut bytes = 0;
            while bytes < bytes_min {
                bytes += parts.next().await.unwrap().unwrap().len();
            }
        });
        rests(&server, format);
    }
    let grown = peak_mib(&server) - before;
    assert!(grown < 300, "{grown} MiB more");
    // A reader that stands still holds a few batches, and its time ends.
    runtime.block_on(async {
        let body = json!({"query": query, "format": "arrow", "limits": {"timeout": "2s"}});
        let response = post(&server, body).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(queries(&server).is_empty());
        assert!(response.bytes().await.is_err());
    });
    assert!(peak_mib(&server) - before < 300);
}

#[test]
fn sixty_four_at_once() {
    const LIMIT: u64 = 256 << 20;
    let (_dir, server) = start(&[
        ("TAPEWATCH_SQL__MEMORY_BYTES_MAX", "268435456"),
        ("TAPEWATCH_SQL__QUERY_MEMORY_BYTES_MAX", "67108864"),
    ]);
    let runtime = Runtime::new().unwrap();
    // Sorts and aggregates that do not fit into their share, so that they spill.
    let query = |n: u64| {
        format!(
            "select count(*) as n, max(r) as m from (select row_number() over (order by k, s) as r from \
             (select value % 977 as k, 'a text that takes some room ' || value || ' ' || {n} as s \
              from generate_series(1, 250000)))"
        )
    };
    let before = peak_mib(&server);
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut most, mut waited) = (0, 0);
    std::thread::scope(|scope| {
        let all = scope.spawn(|| {
            runtime.block_on(async {
                let asked = (0..64).map(|n| post(&server, json!({"query": query(n)})));
                let answers = futures::future::join_all(asked).await;
                for answer in answers {
                    let status = answer.status();
                    let text = answer.text().await.unwrap();
                    assert_eq!(status, 200, "{text}");
                    assert_eq!(text.trim(), "[\n{\"n\":250000,\"m\":250000}\n]");
                }
            });
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !all.is_finished() {
            let list = queries(&server);
            let held: u64 = list
                .iter()
                .map(|one| one["memory_bytes"].as_u64().unwrap())
                .sum();
            let running = list.iter().filter(|one| one["state"] == "running").count();
            assert!(running <= 4, "{running} run");
            most = most.max(held);
            waited = waited.max(list.len() - running);
            std::thread::sleep(Duration::from_millis(20));
        }
        all.join().unwrap();
    });
    println!(
        "most memory held {} MiB, {waited} waited, peak {} MiB",
        most >> 20,
        peak_mib(&server)
    );
    assert!(
        waited > 40 && most > 16 << 20 && most <= LIMIT,
        "{waited} waited, {most} bytes"
    );
    let grown = peak_mib(&server) - before;
    assert!(grown < 600, "{grown} MiB more");
}

#[test]
fn more_than_may_wait_are_told_so() {
    let (_dir, server) = start(&[
        ("TAPEWATCH_SQL__WAITING_MAX", "2"),
        ("TAPEWATCH_SQL__MEMORY_BYTES_MAX", "268435456"),
    ]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let slow = || Box::pin(post(&server, json!({"query": ENDLESS[0].1})));
        let mut three = futures::future::join_all([slow(), slow(), slow()]);
        let wait = Duration::from_secs(1);
        assert!(tokio::time::timeout(wait, &mut three).await.is_err());
        // Which of the three came first, nobody says.
        let open = queries(&server);
        let running = open.iter().filter(|one| one["state"] == "running").count();
        let waits = open.iter().find(|one| one["state"] == "waiting").unwrap();
        assert_eq!((running, open.len()), (1, 3), "{open:?}");
        let response = post(&server, json!({"query": "select 1"})).await;
        assert_eq!(response.status(), 429);
        assert!(response.headers().contains_key("retry-after"));
        let text = response.text().await.unwrap();
        assert!(text.contains("sql.waiting_max"), "{text}");
        // One that waits is cancelled like one that runs.
        let id = waits["id"].as_str().unwrap();
        assert_eq!(
            server
                .http("DELETE", &format!("/api/v1/queries/{id}"), "", b"")
                .0,
            200
        );
        wait_for("it to go", || queries(&server).len() == 2);
        drop(three);
    });
    rests(&server, "all");
}
