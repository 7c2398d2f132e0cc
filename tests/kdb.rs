//! kdb+ clients, logs and databases: real clients for Python (`tests/kdb_client.py`) and Node.js
//! (`tests/node/kdb_client.cjs`), handmade frames, and the reference's own files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Server, data, root, run, tapewatch, wait_for};

fn client(server: &Server, arguments: &[&str]) -> Command {
    let python = std::env::var("TAPEWATCH_PYTHON")
        .expect("TAPEWATCH_PYTHON is not set: `cargo xtask test` makes a Python with qPython");
    let (command, rest) = arguments.split_first().unwrap();
    let mut client = Command::new(python);
    client.arg(root().join("tests/kdb_client.py")).arg(command);
    client.arg(server.port.to_string()).args(rest);
    client
}

/// What it says to its end, which must be a good one.
fn said(mut command: Command) -> String {
    let (code, out, error) = run(&mut command);
    assert_eq!(code, 0, "{out}{error}");
    out.trim().to_owned()
}

fn sample() -> String {
    data("spoofingData.csv").display().to_string()
}

/// The tickerplant's log and database that kdb+ wrote.
fn reference(name: &str) -> PathBuf {
    let folder = "crates/connect/tests/data/kdb/tplogs";
    root().join(folder).join(name)
}

fn metric(server: &Server, name: &str) -> u64 {
    let (_, text) = server.get("/metrics");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

fn export(server: &Server, file: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = tapewatch();
    command
        .args(["export", "kdb-log"])
        .arg(file)
        .args(arguments);
    command.args(["--url", &server.url()]);
    said(command);
    fs::read(file).unwrap()
}

#[test]
fn the_references_feed_gives_its_alert_and_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    said(client(&server, &["publish", &sample()]));
    assert_eq!(said(client(&server, &["queries", &sample()])), "ok");
    assert_eq!(server.number("select count(*) from orderAlerts"), 1);
    let real = fs::read(reference("sym2021.08.19")).unwrap();
    let alone = ["--table", "orderAlerts", "--rows-per-bucket", "2"];
    let log = dir.path().join("alerts");
    assert_eq!(export(&server, &log, &alone), real);
    let whole = dir.path().join("whole");
    export(&server, &whole, &["--rows-per-bucket", "3"]);
    // The same from the history, and from the files of a process that ended.
    let (code, _, error) = run(&mut server.command(&["eod"]));
    assert_eq!(code, 0, "{error}");
    assert_eq!(export(&server, &log, &alone), real);
    assert_eq!(said(client(&server, &["queries", &sample()])), "ok");
    let orders = server.csv("select * from \"order\"");
    assert_eq!(server.terminate(), 0);
    let files = dir.path().join("data").display().to_string();
    let from_files = [&alone[..], &["--data", &files]].concat();
    assert_eq!(export(&server, &log, &from_files), real);

    // What was exported comes in again.
    let other = tempfile::tempdir().unwrap();
    let server = Server::start(other.path(), &[]);
    let (code, _, error) = run(server.command(&["import", "kdb-log"]).arg(&whole));
    assert_eq!(code, 0, "{error}");
    assert!(
        error.contains("10 orders published, 0 rows refused"),
        "{error}"
    );
    assert!(error.contains("1 alerts read and not taken"), "{error}");
    assert_eq!(server.csv("select * from \"order\""), orders);
    assert_eq!(server.number("select count(*) from orderAlerts"), 1);
}

#[test]
fn what_is_wrong_is_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    assert_eq!(said(client(&server, &["refusals"])), "ok");
    let refused = |kind| {
        metric(
            &server,
            &format!("tapewatch_kdb_refused_total{{kind=\"{kind}\"}}"),
        )
    };
    wait_for("all that is refused to be counted", || {
        (refused("async"), refused("sync")) == (2, 11)
    });
    let csv = server.csv("select source, line, \"column\" from dead_letters");
    assert_eq!(csv.lines().nth(1), Some("kdb,2,event_type"), "{csv}");
    assert!(server.log().contains("kdb+ message refused"));
}

#[test]
fn aiokdb_and_node_publish_subscribe_and_ask() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    assert_eq!(said(client(&server, &["aiokdb", &sample()])), "ok");
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let folder = root().join("tests/node");
    assert!(
        folder.join("node_modules/node-q").is_dir(),
        "node-q is missing: `cargo xtask test` installs it, or `npm ci` in tests/node"
    );
    let mut node = Command::new("node");
    node.arg("--no-deprecation")
        .arg(folder.join("kdb_client.cjs"));
    node.arg(server.port.to_string());
    assert_eq!(said(node), "ok");
}

/// A subscriber, once it was answered; its lines.
fn subscriber(server: &Server, arguments: &[&str]) -> (Child, impl Iterator<Item = String>) {
    let arguments = [&["subscribe"], arguments].concat();
    let mut child = client(server, &arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map(Result::unwrap))
}

#[test]
fn subscribers_get_all_and_the_end_of_the_day_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (mut all, mut lines) = subscriber(&server, &["", "", "10", "1"]);
    assert_eq!(
        lines.next().unwrap(),
        r#"[["order", 0], ["orderAlerts", 0]]"#
    );
    let (mut other, mut others) = subscriber(&server, &["order", "OTHER", "1", "0"]);
    assert_eq!(others.next().unwrap(), r#"[["order", 0]]"#);
    said(client(&server, &["publish", &sample()]));
    let mut seen: Vec<String> = lines.by_ref().take_while(|line| line != "all").collect();
    let alert = seen.iter().position(|line| line.starts_with("orderAlerts"));
    assert_eq!(
        seen.remove(alert.unwrap()),
        "orderAlerts SNDL SPG-Oid13 1.23"
    );
    let csv = fs::read_to_string(sample()).unwrap();
    let ids = csv
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(5).unwrap());
    let of = |line: &String| line.split(' ').nth(2).unwrap().to_owned();
    assert!(seen.iter().map(of).eq(ids), "{seen:?}");
    for _ in 0..2 {
        let (code, _, error) = run(&mut server.command(&["eod"]));
        assert_eq!(code, 0, "{error}");
    }
    assert!(lines.next().unwrap().starts_with("end 2"));
    assert!(all.wait().unwrap().success());
    // Of other instruments it hears nothing but the end, once.
    let order = serde_json::json!([{"time": "2015-04-17T12:00:00Z", "sym": "OTHER", "event_type": "new",
        "trader": "T", "side": "B", "order_id": "1", "price": "1.5", "quantity": "10"}]);
    let (status, answer) = server.post_json("/api/v1/orders", &order);
    assert_eq!(status, 200, "{answer}");
    assert!(others.next().unwrap().starts_with("end 2"));
    assert_eq!(others.next().unwrap(), "order OTHER 1 1.5");
    assert!(other.wait().unwrap().success());
    wait_for("the places to be given back", || {
        metric(&server, "tapewatch_kdb_sessions") == 0
    });
}

/// A connection that was let in.
fn raw(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(b"raw:\x03\0").unwrap();
    let mut accepted = [0];
    stream.read_exact(&mut accepted).unwrap();
    assert_eq!(accepted, [3]);
    stream
}

/// A synchronous text, the low bytes first or the high ones.
fn frame(text: &str, big: bool) -> Vec<u8> {
    let (whole, count) = (text.len() as u32 + 14, text.len() as u32);
    let number = |n: u32| {
        if big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    };
    let mut frame = vec![u8::from(!big), 1, 0, 0];
    frame.extend(number(whole));
    frame.extend([10, 0]);
    frame.extend(number(count));
    frame.extend(text.bytes());
    frame
}

#[test]
fn frames_made_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut stream = raw(&server);
    let mut answer = [0; 17];
    // In pieces, in both orders, and two at once.
    for byte in frame("2+2", true) {
        stream.write_all(&[byte]).unwrap();
    }
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"\0\x02\0\0\0\0\0\x11\xf9\0\0\0\0\0\0\0\x04");
    stream
        .write_all(&[frame("2+2", false), frame("2+2", false)].concat())
        .unwrap();
    for _ in 0..2 {
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"\x01\x02\0\0\x11\0\0\0\xf9\x04\0\0\0\0\0\0\0");
    }
    // A value that is none is an error, and the connection goes on.
    let mut wrong = frame("2+2", false);
    wrong[8] = 77;
    stream
        .write_all(&[wrong, frame("2+2", false)].concat())
        .unwrap();
    let (_, error) = message(&mut stream);
    assert!(error.contains("badmsg:"), "{error}");
    stream.read_exact(&mut answer).unwrap();
    // Packed, with literals alone: a control byte before each eight.
    let plain = frame("2+2", false);
    let mut packed = [&plain[..2], &[1, 0, 0, 0, 0, 0], &plain[4..8]].concat();
    for literals in plain[8..].chunks(8) {
        packed.push(0);
        packed.extend(literals);
    }
    packed[4] = packed.len() as u8;
    stream.write_all(&packed).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[9], 4);
    // Lengths beyond the limit, nonsense, and ends within a message are closed.
    let mut rest = Vec::new();
    for nonsense in [
        &b"\x01\x01\0\0\xff\xff\xff\xff"[..],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = raw(&server);
        stream.write_all(nonsense).unwrap();
        // Closed with bytes unread it may be a reset.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    let mut half = raw(&server);
    half.write_all(&frame("2+2", false)[..11]).unwrap();
    drop(half);
    wait_for("it to be told", || {
        server.log().contains("ended within a message")
    });
    let mut nameless = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    nameless.write_all(b"\xff\xfe").unwrap();
    let _ = nameless.read_to_end(&mut rest);
    assert!(rest.is_empty());
    stream.write_all(&frame("2+2", false)).unwrap();
    stream.read_exact(&mut answer).unwrap();
}

#[test]
fn a_subscriber_that_does_not_read_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let mut stuck = raw(&server);
    stuck.write_all(&frame(".u.sub[`order;`]", false)).unwrap();
    said(client(&server, &["many", "200000", "10000"]));
    assert_eq!(server.number("select count(*) from orders"), 200_000);
    let lag = "tapewatch_subscriber_lag{subscriber=\"kdb-raw\"}";
    wait_for("its lag", || metric(&server, lag) > 50_000);
    // When it reads at last, nothing is missing.
    let (mut rows, mut buffer) = (0, Vec::new());
    while rows < 200_000 {
        let mut head = [0; 8];
        stuck.read_exact(&mut head).unwrap();
        let length = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
        buffer.resize(length - 8, 0);
        stuck.read_exact(&mut buffer).unwrap();
        if head[1] == 0 {
            // The count of the first column stands behind `upd`, `order` and the columns' names.
            let times = buffer.windows(2).position(|two| two == [12, 0]).unwrap() + 2;
            rows += u32::from_le_bytes(buffer[times..times + 4].try_into().unwrap());
        }
    }
    assert_eq!(rows, 200_000);
    // Nor does one keep the process from stopping.
    let mut other = raw(&server);
    other.write_all(&frame(".u.sub[`order;`]", false)).unwrap();
    said(client(&server, &["many", "50000", "10000"]));
    assert_eq!(server.terminate(), 0);
}

#[test]
fn only_users_of_the_file_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let mut command = tapewatch();
    command
        .args(["config", "kdb-user", "feed"])
        .stdin(Stdio::piped());
    let mut child = command
        .stdout(fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"s3cret\n").unwrap();
    assert!(child.wait().unwrap().success());
    let users = file.display().to_string();
    let environment = [("TAPEWATCH_KDB__USERS", users.as_str())];
    let server = Server::start_with(dir.path(), &[], &environment);
    let login = |user, password| said(client(&server, &["login", user, password]));
    assert_eq!(login("feed", "s3cret"), "in");
    assert_eq!(login("feed", "t4ken"), "refused");
    assert_eq!(login("else", "s3cret"), "refused");
    let refused = "tapewatch_connections_closed_total{reason=\"access\"}";
    wait_for("four refusals: the client tries each twice", || {
        metric(&server, refused) == 4
    });
    let log = server.log();
    assert!(log.contains("wrong password") && !log.contains("s3cret") && !log.contains("t4ken"));
    let shown = run(tapewatch().args(["config", "show"]).envs(environment)).1;
    assert!(
        shown.contains("[kdb]") && !shown.contains("pbkdf2"),
        "{shown}"
    );
    fs::write(&file, "feed:s3cret\n").unwrap();
    let (code, _, error) = run(tapewatch()
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path().join("other"))
        .envs(environment));
    assert_eq!(code, 2, "{error}");
    assert!(
        error.contains("line 1") && !error.contains("s3cret"),
        "{error}"
    );
}

#[test]
fn the_references_files_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (code, _, error) = run(server
        .command(&["import", "kdb-log"])
        .arg(reference("sym2021.08.19")));
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("1 alerts read and not taken"), "{error}");
    let (code, _, error) = run(server.command(&["import", "kdb-hdb"]).arg(reference("sym")));
    assert_eq!(code, 0, "{error}");
    assert!(
        error.contains("0 orders published, 0 rows refused"),
        "{error}"
    );
    assert!(error.contains("1 alerts read and not taken"), "{error}");
    // Torn: what is before the tear is published, and the error says where it is.
    said(client(&server, &["publish", &sample()]));
    let log = dir.path().join("torn");
    let whole = export(
        &server,
        &log,
        &["--table", "order", "--rows-per-bucket", "4"],
    );
    fs::write(&log, &whole[..whole.len() - 1]).unwrap();
    let (code, _, error) = run(server.command(&["import", "kdb-log"]).arg(&log));
    assert_eq!(code, 3, "{error}");
    assert!(
        error.contains("ends within message 3: 2 messages are whole"),
        "{error}"
    );
    assert_eq!(server.number("select count(*) from orders"), 10 + 8);
}

/// The next message: its kind, and its value as it comes.
fn message(stream: &mut TcpStream) -> (u8, String) {
    let mut head = [0; 8];
    stream.read_exact(&mut head).unwrap();
    let length = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
    let mut value = vec![0; length - 8];
    stream.read_exact(&mut value).unwrap();
    (head[1], String::from_utf8_lossy(&value).into_owned())
}

/// What answers a text.
fn ask(server: &Server, text: &str) -> String {
    let mut stream = raw(server);
    stream.write_all(&frame(text, false)).unwrap();
    message(&mut stream).1
}

#[test]
fn each_role_has_its_part_and_says_who_has_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let ports = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [journal, recent] = ports.map(|port| port.local_addr().unwrap().port());
    let config = dir.path().join("tapewatch.toml");
    let text = format!(
        "[journal]\nlisten = '127.0.0.1:{journal}'\n[recent]\nlisten = '127.0.0.1:{recent}'\n\
         [peers]\njournal = '127.0.0.1:{journal}'\nrecent = ['127.0.0.1:{recent}']\n"
    );
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let start = |role| Server::start(dir.path(), &["--config", &config, "--role", role]);
    let (journal, recent) = (start("journal"), start("recent"));
    let is_error = |answer: String, words: &str| {
        assert!(answer.contains(words), "{words}: {answer}");
    };
    is_error(ask(&journal, "select from order"), "ask the role recent");
    is_error(
        ask(&journal, ".u.sub[`orderAlerts;`]"),
        "subscribe at the role recent",
    );
    is_error(
        ask(&recent, ".u.sub[`order;`]"),
        "subscribe at the role journal",
    );
    assert!(ask(&journal, ".u.sub[`;`]").contains("order\0"));
    assert!(ask(&recent, ".u.sub[`;`]").contains("orderAlerts\0"));
    // Published where the journal is not, it goes there.
    let (mut all, mut lines) = subscriber(&journal, &["order", "", "10", "0"]);
    lines.next().unwrap();
    said(client(&recent, &["publish", &sample()]));
    assert_eq!(lines.take_while(|line| line != "all").count(), 10);
    // A long, whose type is not UTF-8.
    wait_for("the tables to have them", || {
        ask(&recent, "count order").starts_with("\u{fffd}\n")
    });
    all.kill().unwrap();
    all.wait().unwrap();
}

#[test]
fn the_roll_of_the_session_ends_the_day() {
    let dir = tempfile::tempdir().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    let at = (now + 8) % 86_400;
    let at = format!("{:02}:{:02}:{:02}", at / 3_600, at / 60 % 60, at % 60);
    let server = Server::start_with(dir.path(), &[], &[("TAPEWATCH_SESSION__ROLLS_AT", &at)]);
    let (mut child, mut lines) = subscriber(&server, &["", "", "10", "1"]);
    lines.next().unwrap();
    said(client(&server, &["publish", &sample()]));
    assert_eq!(lines.by_ref().take_while(|line| line != "all").count(), 11);
    assert!(lines.next().unwrap().starts_with("end 2"));
    assert!(child.wait().unwrap().success());
    wait_for("the day to move", || {
        metric(&server, "tapewatch_recent_rows") == 0
    });
    assert_eq!(server.number("select count(*) from orders"), 10);
}

#[test]
fn subscribing_again_replaces_the_symbols() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut stream = raw(&server);
    for syms in ["OLD", "`NEW`NEWER"] {
        let text = format!(".u.sub[`order;`{}]", syms.trim_start_matches('`'));
        stream.write_all(&frame(&text, false)).unwrap();
        assert_eq!(message(&mut stream).0, 2);
    }
    let csv = "time,sym,eventType,trader,side,orderID,price,quantity\n\
        2015-04-17D12:00:00,OLD,new,T,B,O-1,1.5,10\n2015-04-17D12:00:00,NEWER,new,T,B,N-1,1.5,10\n";
    for _ in 0..2 {
        let (status, answer) = server.http("POST", "/api/v1/orders", "text/csv", csv.as_bytes());
        assert_eq!(status, 200, "{answer}");
        let (kind, update) = message(&mut stream);
        assert!(
            kind == 0 && update.contains("N-1") && !update.contains("O-1"),
            "{update}"
        );
    }
}
