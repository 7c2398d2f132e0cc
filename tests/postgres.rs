//! The Postgres wire with real clients: `psql` by its own commands, and `tests/postgres_client.py` with
//! psycopg, at one process, with passwords, over TLS and through a gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::authority::Authority;
use support::cluster::Cluster;
use support::{Server, data, python, run, tapewatch, wait_for};

fn dsn(port: u16) -> String {
    format!("host=127.0.0.1 port={port} user=analyst dbname=tapewatch")
}

/// Runs a command of the client to its good end.
fn does(arguments: &[&str]) {
    let (code, out, error) = run(python("postgres_client.py").args(arguments));
    assert_eq!((code, out.trim()), (0, "ok"), "{arguments:?}: {error}");
}

fn filled(dir: &Path) -> Server {
    let server = Server::start(dir, &[]);
    let (code, _, error) = server.feed(&data("spoofingData.csv"), &[]);
    assert_eq!(code, 0, "{error}");
    server
}

/// What `psql` prints for these commands, without borders.
fn psql(port: u16, commands: &[&str]) -> (i32, String, String) {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &dsn(port)]);
    psql.env("LC_ALL", "C.UTF-8").env_remove("PGOPTIONS");
    for command in commands {
        psql.args(["-c", command]);
    }
    run(&mut psql)
}

#[test]
fn psql_looks_around() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(dir.path());
    for (command, expected) in [
        (
            r"\d",
            &[
                "public|orders|table|",
                "public|hits|table|",
                "public|alerts|view|",
            ][..],
        ),
        (r"\dt", &["public|orders|table|"]),
        (r"\dv", &["public|orderAlerts|view|"]),
        (
            r"\d orders",
            &[
                "seq|bigint||not null|",
                "time|timestamp with time zone||not null|",
                "price|numeric||not null|",
            ],
        ),
        (
            r#"\d "orderAlerts""#,
            &["totalCancelQty|double precision|||"],
        ),
        (r"\l", &["tapewatch|"]),
        (r"\dn", &["public|"]),
        (r"\du", &[]),
        (r"\df current_schema", &["pg_catalog|current_schema|"]),
        (r"\di", &[]),
        (r"\ds", &[]),
        (r"\dx", &[]),
        (
            r"\conninfo",
            &[r#"connected to database "tapewatch" as user "analyst""#],
        ),
        (r"\encoding", &["UTF8"]),
    ] {
        let (code, out, error) = psql(server.port, &[command]);
        assert_eq!(code, 0, "{command}: {error}");
        for expected in expected {
            assert!(out.contains(expected), "{command}: no {expected} in {out}");
        }
    }
}

#[test]
fn psql_asks() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(dir.path());
    let same = |commands: &[&str], expected: &str| {
        let (code, out, error) = psql(server.port, commands);
        assert_eq!((code, out.as_str()), (0, expected), "{commands:?}: {error}");
    };
    same(
        &["select count(*), min(time), max(price) from orders"],
        "10|2015-04-17 12:00:00+00|1.25\n",
    );
    same(
        &["select sym from orders limit 1; select 1/2.0"],
        "SNDL\n0.5\n",
    );
    same(&["begin; select 1; commit"], "BEGIN\n1\nCOMMIT\n");
    same(
        &["show server_version", "show transaction_read_only"],
        "16.6\non\n",
    );
    same(&["values (null, true, 'x')"], "|t|x\n");
    same(
        &[r"\copy (select seq, sym from orders order by seq limit 2) to stdout csv header"],
        "seq,sym\n2,SNDL\n3,SNDL\n",
    );
    // Variables are psql's own; prepared statements go by the protocol.
    let mut psql_with = Command::new("psql");
    psql_with.args([
        "-X",
        "-A",
        "-t",
        "-v",
        "wanted=SNDL",
        "-d",
        &dsn(server.port),
    ]);
    let child = psql_with
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let script = b"select count(*) from orders where sym = :'wanted';\n\\set FETCH_COUNT 3\nselect seq from orders order by seq;\n";
    child.stdin.as_ref().unwrap().write_all(script).unwrap();
    let out = child.wait_with_output().unwrap();
    let lines: Vec<_> = std::str::from_utf8(&out.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        lines,
        ["10", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]
    );
    let (code, _, error) = psql(server.port, &["select colour from orders"]);
    assert!(
        code != 0 && error.contains("there is no column colour"),
        "{error}"
    );
    assert!(
        error.contains("LINE 1: select colour from orders"),
        "{error}"
    );
    let (code, _, error) = psql(server.port, &["insert into orders values (1)"]);
    assert!(
        code != 0 && error.contains("only queries are allowed"),
        "{error}"
    );
}

#[test]
fn psycopg_with_parameters_cursors_and_errors() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(dir.path());
    does(&["psycopg", &dsn(server.port)]);
    does(&["version", &dsn(server.port)]);
    // Nothing runs on.
    wait_for("queries to end", || {
        let list = server.get_json("/api/v1/queries");
        list.as_array().is_some_and(Vec::is_empty)
            || list["queries"].as_array().is_some_and(Vec::is_empty)
    });
}

#[test]
fn grafanas_own_questions() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(dir.path());
    does(&["grafana", &dsn(server.port)]);
}

#[test]
fn a_long_result_comes_as_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    does(&["big", &dsn(server.port), "300000"]);
}

#[test]
fn what_is_cancelled_ends() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    does(&["cancel", &dsn(server.port)]);
    wait_for("queries to end", || {
        let text = server.get("/api/v1/queries").1;
        !text.contains("generate_series")
    });
}

/// A file of users with one whose password is `secret`.
fn users(dir: &Path) -> String {
    let mut child = tapewatch()
        .args(["config", "postgres-user", "analyst"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    let line = child.wait_with_output().unwrap().stdout;
    let path = dir.join("postgres-users");
    std::fs::write(&path, line).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn with_users_only_who_knows_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let users = users(dir.path());
    let server = Server::start_with(dir.path(), &[], &[("TAPEWATCH_POSTGRES__USERS", &users)]);
    let dsn = dsn(server.port);
    does(&["version", &format!("{dsn} password=secret")]);
    let failed = "password authentication failed";
    does(&["refused", &format!("{dsn} password=Secret"), failed]);
    let nobody = dsn.replace("analyst", "nobody");
    does(&["refused", &format!("{nobody} password=secret"), failed]);
    server.counts("tapewatch_connections_closed_total{reason=\"access\"} 2");
    assert!(!server.log().contains("secret"));
}

#[test]
fn over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ours");
    let signed = authority.sign("server", 2100);
    let client = authority.sign("client", 2100);
    // The clients insist on a key that nobody else can read.
    std::fs::set_permissions(&client.key, Permissions::from_mode(0o600)).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (cert, key, pem) = (path(&signed.cert), path(&signed.key), path(&authority.pem));
    let environment = [
        ("TAPEWATCH_TLS__CERT", cert.as_str()),
        ("TAPEWATCH_TLS__KEY", &key),
        ("TAPEWATCH_TLS__CLIENT_CA", &pem),
    ];
    let server = Server::start_with(dir.path(), &[], &environment);
    let dsn = dsn(server.port);
    let ours = format!(
        "sslcert={} sslkey={}",
        path(&client.cert),
        path(&client.key)
    );
    let checked = format!("{dsn} sslmode=verify-ca sslrootcert={pem} {ours}");
    does(&["version", &checked]);
    does(&["cancel", &checked]);
    does(&[
        "refused",
        &format!("{dsn} sslmode=disable"),
        "this port speaks TLS",
    ]);
    // Without the certificate that is wanted nothing is answered.
    does(&[
        "refused",
        &format!("{dsn} sslmode=require"),
        "connection failed",
    ]);
}

#[test]
fn through_a_gateway_and_not_at_a_journal() {
    let cluster = Cluster::new("").filled();
    let gateway = cluster.gateway();
    let (code, _, error) = gateway.feed(&data("spoofingData.csv"), &[]);
    assert_eq!(code, 0, "{error}");
    wait_for("the orders to be there", || {
        gateway.number("select count(*) from orders") == 10
    });
    does(&["grafana", &dsn(gateway.port)]);
    does(&["cancel", &dsn(gateway.port)]);
    does(&[
        "refused",
        &dsn(cluster.ports.journal),
        "ask the role recent",
    ]);
}

#[test]
fn nonsense_is_closed_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let told = |sent: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(sent).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    // A length that is never sent, another protocol, no user, a name that is no text.
    assert!(told(b"\0\0\xff\xff\0\x03\0\0user").contains("more than are taken"));
    assert!(
        told(b"\0\0\0\x08\0\x02\0\0").contains("08P01")
            || !told(b"\0\0\0\x08\0\x02\0\0").is_empty()
    );
    assert!(told(b"\0\0\0\x09\0\x03\0\0\0").contains("the name of a user is missing"));
    assert!(told(b"\0\0\0\x10\0\x03\0\0user\0\xff\0\0").contains("not UTF-8"));
    // A session that is open, then anything.
    let start = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";
    let garbage = [&start[..], b"Q\xff\xff\xff\xff"].concat();
    assert!(told(&garbage).contains("more than are taken"));
    let garbage = [&start[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert!(told(&garbage).contains("08P01") || told(&garbage).contains("54000"));
    let (status, _) = server.get("/healthz");
    assert_eq!(status, 200);
    server.counts("reason=\"unknown\"");
}

#[test]
fn a_stop_is_said_and_sessions_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
        .write_all(b"\0\0\0\x11\0\x03\0\0user\0me\0\0")
        .unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"Z\0\0\0\x05I") {
        let read = stream.read(&mut buffer).unwrap();
        answer.extend(&buffer[..read]);
    }
    server.counts("tapewatch_postgres_sessions 1");
    server.signal("TERM");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("57P01"));
    assert_eq!(server.ends_within(20), Some(0));
}
