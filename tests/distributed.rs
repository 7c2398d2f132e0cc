//! Queries that a scheduler and two executors run, each a process: the same answers as one process
//! gives, whatever is killed on the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::cluster::{Cluster, comes_to, free_ports, orders};
use support::statements::statements;
use support::{Server, http_at, run, tables, wait_for};

/// Work for some seconds, in parts.
const LONG: &str = "select a.sym, count(*) as n, sum(a.quantity) as q from orders a join orders b \
                    on a.seq % 97 > b.seq % 89 group by a.sym order by a.sym";

/// All processes, and beside them one that answers alone.
struct Both {
    cluster: Cluster,
    alone: Server,
    scheduler: u16,
    /// Of each executor, where it tells how it stands.
    executors: [u16; 2],
    _dir: tempfile::TempDir,
}

const EXECUTORS: [&str; 2] = ["executor", "executor 2"];

/// The file in two: a part that is moved to the history, and one that stays in memory.
fn halves(dir: &Path, rows: usize) -> [PathBuf; 2] {
    let text = std::fs::read_to_string(orders(dir, rows)).unwrap();
    let mut lines = text.lines();
    let head = lines.next().unwrap();
    let lines: Vec<&str> = lines.collect();
    let (past, recent) = lines.split_at(lines.len() * 3 / 4);
    [("past.csv", past), ("recent.csv", recent)].map(|(name, lines)| {
        let file = dir.join(name);
        std::fs::write(&file, format!("{head}\n{}\n", lines.join("\n"))).unwrap();
        file
    })
}

fn eod(server: &Server) {
    let (code, _, error) = run(&mut server.command(&["eod"]));
    assert_eq!(code, 0, "{error}");
}

impl Both {
    fn new(rows: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [past, recent] = halves(dir.path(), rows);
        let data = dir.path().join("alone");
        std::fs::create_dir(&data).unwrap();
        let alone = Server::start(&data, &["--detector", "all"]);
        let mut cluster = Cluster::new("");
        let [scheduler, grpc, one, two] = free_ports();
        cluster.all_have(
            "TAPEWATCH_SCHEDULER__LISTEN",
            format!("127.0.0.1:{scheduler}"),
        );
        cluster.all_have("TAPEWATCH_SCHEDULER__GRPC", format!("127.0.0.1:{grpc}"));
        cluster.all_have("TAPEWATCH_PEERS__SCHEDULER", format!("127.0.0.1:{grpc}"));
        cluster.all_have("TAPEWATCH_SQL__DISTRIBUTED", "true");
        cluster.all_have("TAPEWATCH_SQL__PARTS", "4");
        cluster.all_have("TAPEWATCH_SQL__TIMEOUT", "120s");
        let mut both = Self {
            cluster: cluster.filled(),
            alone,
            scheduler,
            executors: [one, two],
            _dir: dir,
        };
        both.cluster.start("scheduler", "scheduler", &[]);
        both.start_executor(0);
        both.start_executor(1);
        for (file, moves) in [(past, true), (recent, false)] {
            let (code, _, error) = both.alone.feed(&file, &["--rows-per-bucket", "7"]);
            assert_eq!(code, 0, "{error}");
            both.cluster.feed(&file);
            comes_to(both.cluster.gateway(), &tables(&both.alone), "before");
            if moves {
                eod(&both.alone);
                eod(both.cluster.gateway());
                comes_to(both.cluster.gateway(), &tables(&both.alone), "moved");
            }
        }
        both
    }

    fn start_executor(&mut self, at: usize) {
        let [flight, grpc] = free_ports();
        let listen = format!("127.0.0.1:{}", self.executors[at]);
        let flight = format!("127.0.0.1:{flight}");
        self.cluster.start(
            EXECUTORS[at],
            "executor",
            &[
                ("TAPEWATCH_EXECUTOR__LISTEN", &listen),
                ("TAPEWATCH_EXECUTOR__FLIGHT", &flight),
                ("TAPEWATCH_EXECUTOR__GRPC_PORT", &grpc.to_string()),
                ("TAPEWATCH_EXECUTOR__CORES", "2"),
            ],
        );
        self.cluster.readyz(self.executors[at], 200, "answers");
    }

    /// What `EXPLAIN` says of the executors.
    fn executors_do(&self, statement: &str) -> String {
        let explain = format!("explain {statement}");
        let (status, answer) = ask(self.cluster.gateway(), json!({"query": explain}));
        assert_eq!(status, 200, "{statement}: {answer}");
        let last = answer.as_array().unwrap().last().unwrap();
        let (name, text) = (
            last["plan_type"].as_str().unwrap(),
            last["plan"].as_str().unwrap(),
        );
        assert_eq!(name, "executors", "{statement}: {answer}");
        text.to_owned()
    }

    fn runs_on_executors(&self) -> bool {
        let (_, text) = http_at(self.scheduler, "GET", "/readyz", "", b"");
        text.contains("1 queries run")
    }

    /// Asks while something happens in the middle of it; the answer and how long it took.
    fn meanwhile(&mut self, body: &Value, what: impl FnOnce(&mut Self)) -> (u16, Value, Duration) {
        let (port, text) = (self.cluster.gateway().port, body.to_string());
        let begun = Instant::now();
        let asking = std::thread::spawn(move || {
            let (status, text) = http_at(
                port,
                "POST",
                "/api/v1/sql",
                "application/json",
                text.as_bytes(),
            );
            (
                status,
                serde_json::from_str(&text).unwrap_or(Value::String(text)),
            )
        });
        wait_for("the query to run on executors", || self.runs_on_executors());
        std::thread::sleep(Duration::from_millis(700));
        assert!(!asking.is_finished(), "it was too short");
        what(self);
        let (status, answer) = asking.join().unwrap();
        (status, answer, begun.elapsed())
    }

    /// Waits until executors have nothing to do, and looks whether the CPU agrees.
    fn executors_rest(&mut self, what: &str) {
        wait_for("the list to be empty", || {
            let list = self.cluster.gateway().get_json("/api/v1/queries");
            list["queries"].as_array().unwrap().is_empty() && !self.runs_on_executors()
        });
        std::thread::sleep(Duration::from_secs(2));
        for name in EXECUTORS {
            let before = cpu_seconds(self.cluster.role(name));
            std::thread::sleep(Duration::from_secs(1));
            let used = cpu_seconds(self.cluster.role(name)) - before;
            assert!(
                used < 0.3,
                "{what}: {name} used {used} s of CPU in a second"
            );
        }
    }
}

fn ask(server: &Server, body: Value) -> (u16, Value) {
    server.post_json("/api/v1/sql", &body)
}

/// The answer as lines; in an order of ours where the statement says none.
fn answer(server: &Server, statement: &str) -> Result<Vec<String>, String> {
    let (status, answer) = ask(server, json!({"query": statement}));
    if status != 200 {
        return Err(format!("{status} {}", answer["error"]["message"]));
    }
    let mut lines = lines(&answer);
    if !statement.contains("order by") {
        lines.sort();
    }
    Ok(lines)
}

fn lines(answer: &Value) -> Vec<String> {
    let rows = answer.as_array().expect("rows");
    rows.iter().map(ToString::to_string).collect()
}

/// Seconds of CPU that a process has used.
fn cpu_seconds(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

#[test]
fn all_statements_have_the_same_answer_everywhere() {
    let both = Both::new(4_000);
    let (mut elsewhere, mut wrong) = (0, Vec::new());
    for statement in statements() {
        let executors = both.executors_do(&statement);
        elsewhere += usize::from(!executors.starts_with("none: "));
        let short = executors.lines().next().unwrap_or_default();
        println!("{statement}\n    {short}");
        let expected = answer(&both.alone, &statement).unwrap();
        let found = answer(both.cluster.gateway(), &statement);
        // Which rows these are is not said.
        if ["limit 1", "row_number() over ()"]
            .iter()
            .any(|any| statement.contains(any))
        {
            assert_eq!(found.unwrap().len(), expected.len(), "{statement}");
            continue;
        }
        if found.as_ref() != Ok(&expected) {
            let rows = found.unwrap_or_else(|error| vec![error]);
            let mut pairs = rows.iter().zip(&expected);
            let first = pairs.find(|(found, expected)| found != expected);
            let counts = (rows.len(), expected.len());
            wrong.push(format!(
                "{statement}\n{executors}\n{counts:?} rows, first {first:?}"
            ));
        }
    }
    println!("{elsewhere} statements ran on executors");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(elsewhere >= 50, "{elsewhere} statements ran on executors");
    for statement in [
        "select seq / (seq - seq) as x from orders",
        "select cast(order_id as int) as x from orders where order_id = 'O3'",
        "select cast(price as decimal(3, 2)) as x from orders where order_id = 'O3'",
        "select sum(pric) from orders",
        "select * from ordrs",
        "delete from orders",
    ] {
        let expected = answer(&both.alone, statement);
        assert!(expected.is_err(), "{statement}");
        assert_eq!(
            answer(both.cluster.gateway(), statement),
            expected,
            "{statement}"
        );
    }
    let few = json!({"query": "select * from orders", "limits": {"rows_max": 100}});
    let (_, expected) = ask(&both.alone, few.clone());
    assert_eq!(
        ask(both.cluster.gateway(), few).1["error"],
        expected["error"]
    );
}

#[test]
fn who_is_killed_costs_no_answer_and_no_hang() {
    let mut both = Both::new(5_000);
    let expected = answer(&both.alone, LONG).unwrap();
    assert_eq!(
        answer(both.cluster.gateway(), LONG).unwrap(),
        expected,
        "undisturbed"
    );
    let query = json!({"query": LONG});

    // One of two executors: the other does its steps again.
    let (status, found, took) = both.meanwhile(&query, |both| both.cluster.role("executor").kill());
    println!("one executor killed: {took:?}");
    assert_eq!(status, 200, "{found}");
    assert!(took < Duration::from_secs(100), "{took:?}");
    assert_eq!(lines(&found), expected, "an executor was killed");
    assert_eq!(
        answer(both.cluster.gateway(), LONG).unwrap(),
        expected,
        "with one executor"
    );
    both.start_executor(0);

    // Who does not wait any more: nobody works for them.
    let (_, found, _) = both.meanwhile(&query, |both| {
        let list = both.cluster.gateway().get_json("/api/v1/queries");
        let id = list["queries"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/queries/{id}");
        let (status, text) = both.cluster.gateway().http("DELETE", &path, "", b"");
        assert!((200..300).contains(&status), "{status} {text}");
    });
    assert_eq!(found["error"]["code"], "cancelled", "{found}");
    both.executors_rest("cancelled");
    let short = json!({"query": LONG, "limits": {"timeout": "1500ms"}});
    let (_, found, took) = both.meanwhile(&short, |_| ());
    assert_eq!(found["error"]["code"], "limit", "{found}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    both.executors_rest("its time was over");

    // The scheduler: an error that names it; and all is well when it is back.
    let (status, found, took) =
        both.meanwhile(&query, |both| both.cluster.role("scheduler").kill());
    println!("scheduler killed: {took:?} {found}");
    assert_eq!(status, 503, "{found}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(
        found["error"]["message"]
            .as_str()
            .unwrap()
            .contains("scheduler at"),
        "{found}"
    );
    let (status, found) = ask(both.cluster.gateway(), query.clone());
    assert_eq!(status, 503, "{found}");
    assert!(
        found["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--role scheduler"),
        "{found}"
    );
    both.cluster.role("scheduler").restart();
    assert_eq!(
        answer(both.cluster.gateway(), LONG).unwrap(),
        expected,
        "it is back"
    );

    // No executor at all.
    both.cluster.role("executor").kill();
    both.cluster.role("executor 2").kill();
    let begun = Instant::now();
    let (status, found) = ask(both.cluster.gateway(), query);
    println!("no executor: {:?} {found}", begun.elapsed());
    assert_eq!(status, 503, "{found}");
    assert!(
        begun.elapsed() < Duration::from_secs(45),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        found["error"]["message"]
            .as_str()
            .unwrap()
            .contains("executor"),
        "{found}"
    );
    // What reads no history needs none.
    let one = answer(both.cluster.gateway(), "select 1 as one").unwrap();
    assert_eq!(one, ["{\"one\":1}"]);
    both.start_executor(1);
    assert_eq!(
        answer(both.cluster.gateway(), LONG).unwrap(),
        expected,
        "one is back"
    );
    both.cluster.stop("scheduler");
    both.cluster.stop("executor 2");
}
