//! The port: silence, nonsense and thousands of idle connections beside good ones; TLS with good and bad
//! certificates, and new ones without a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use support::authority::{Authority, Identity, exchange};
use support::cluster::{Cluster, orders};
use support::{Server, run, tables, wait_for};

const GET: &str = "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).unwrap();
    stream
}

/// What is answered until the connection is closed.
fn say(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(server.port);
    let mut answer = Vec::new();
    // One that is closed while we write answers nothing.
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn metric(server: &Server, name: &str) -> u64 {
    let text = String::from_utf8(say(
        server,
        b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
    ));
    let text = text.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

/// Ten thousand connections that say nothing, or stop half-way through what they have to say; fewer
/// where the limit of open files is less than 21,000: a port leaves half of it to the journal and the
/// tables, and somebody is to be served beside them.
fn idle(port: u16) -> Vec<TcpStream> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files: usize = files
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap();
    let many = (files / 2).saturating_sub(500).min(10_000);
    assert!(many > 0, "ulimit -n is {files}: too few to test with");
    let open = |number| {
        let mut stream = connect(port);
        let begin: &[u8] = [&b""[..], b"GE", b"PRI * HT", b"GET / HTTP/1.1\r\nho"][number % 4];
        stream.write_all(begin).unwrap();
        stream
    };
    (0..many).map(open).collect()
}

#[test]
fn every_role_works_beside_ten_thousand_idle_connections() {
    let dir = tempfile::tempdir().unwrap();
    let file = orders(dir.path(), 100);
    let one = Server::start(dir.path(), &["--detector", "all"]);
    let cluster = Cluster::whole();
    let ports = cluster.ports;
    for (name, port) in [
        ("journal", ports.journal),
        ("engine", ports.engine),
        ("recent", ports.recent),
        ("history", ports.history),
        ("gateway", cluster.gateway().port),
    ] {
        let idle = idle(port);
        println!("{} on the port of {name}", idle.len());
        let started = Instant::now();
        cluster.readyz(port, 200, "");
        // Rows, hits and answers go on, through this port too.
        for server in [&one, cluster.gateway()] {
            assert_eq!(server.feed(&file, &["--rows-per-bucket", "50"]).0, 0);
        }
        cluster.comes_to(&tables(&one), name);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?} beside {name}");
        drop(idle);
    }
}

#[test]
fn nonsense_and_silence_hurt_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let idle = idle(server.port);
    let many = idle.len();
    let started = Instant::now();
    for _ in 0..50 {
        assert!(say(&server, GET.as_bytes()).starts_with(b"HTTP/1.1 200"));
    }
    let each = started.elapsed() / 50;
    assert!(each < Duration::from_millis(100), "{each:?} for a request");
    assert_eq!(server.number("select count(*) from orders"), 0);

    assert_eq!(say(&server, b"\xff\xfe\xfd"), b"");
    assert_eq!(say(&server, b"\x16\x03\x01\x02\0\x01"), b"", "nor TLS");
    assert_eq!(
        metric(
            &server,
            "tapewatch_connections_closed_total{reason=\"unknown\"}"
        ),
        2
    );
    // Those that said nothing, or too little to tell what they speak, are let go soon.
    let silent = (many / 4 * 3) as u64;
    wait_for("the silent ones to be closed", || {
        metric(
            &server,
            "tapewatch_connections_closed_total{reason=\"silent\"}",
        ) >= silent
    });
    drop(idle);
    wait_for("all connections to be given back", || {
        metric(&server, "tapewatch_connections ") == 1
    });
}

/// `/healthz` over TLS: the answer's first line and the certificate that was shown, or what went wrong.
fn get(
    server: &Server,
    trusted: &Authority,
    identity: Option<&Identity>,
) -> Result<(String, Vec<u8>), String> {
    let (answer, shown) = exchange(server.port, trusted, identity, GET.as_bytes())?;
    let answer = String::from_utf8_lossy(&answer);
    Ok((answer.lines().next().unwrap_or_default().to_owned(), shown))
}

fn tls(dir: &Path, identity: &Identity, more: &str) -> Vec<String> {
    let config = dir.join("t.toml");
    let (cert, key) = (identity.cert.display(), identity.key.display());
    let text = format!("[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n{more}\n");
    fs::write(&config, text).unwrap();
    vec!["--config".to_owned(), config.display().to_string()]
}

fn start(dir: &Path, arguments: &[String]) -> Server {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Server::start(dir, &arguments)
}

#[test]
fn certificates_are_checked_and_renewed_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (
        Authority::new(dir.path(), "ours"),
        Authority::new(dir.path(), "other"),
    );
    let identity = ours.sign("server", 2999);
    let server = start(dir.path(), &tls(dir.path(), &identity, ""));
    let (line, first) = get(&server, &ours, None).unwrap();
    assert_eq!(line, "HTTP/1.1 200 OK");
    let wrong = get(&server, &other, None).unwrap_err();
    assert!(wrong.contains("UnknownIssuer"), "{wrong}");
    let plain = say(&server, GET.as_bytes());
    let plain = String::from_utf8(plain).unwrap();
    assert!(
        plain.starts_with("HTTP/1.1 400") && plain.ends_with("https:// address\n"),
        "{plain}"
    );
    assert_eq!(say(&server, b"user:password\x03\0"), b"");

    // A key that does not belong to the certificate: what was before stays.
    let old_key = fs::read(&identity.key).unwrap();
    fs::write(&identity.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let log = || fs::read_to_string(dir.path().join("log")).unwrap();
    wait_for("the wrong key to be told", || {
        log().contains("the certificates before stay in force")
    });
    assert_eq!(get(&server, &ours, None).unwrap().1, first);
    fs::write(&identity.key, old_key).unwrap();

    // Another one: new connections see it, also when it is expired, which the client tells.
    ours.sign("server", 2998);
    wait_for("the new certificate", || {
        get(&server, &ours, None).is_ok_and(|(_, shown)| shown != first)
    });
    ours.sign("server", 2021);
    wait_for("the expired certificate", || {
        get(&server, &ours, None).is_err_and(|error| error.contains("xpired"))
    });
}

#[test]
fn clients_show_a_certificate_where_one_is_demanded() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (
        Authority::new(dir.path(), "ours"),
        Authority::new(dir.path(), "other"),
    );
    let identity = ours.sign("server", 2999);
    let more = format!("client_ca = \"{}\"", ours.pem.display());
    let server = start(dir.path(), &tls(dir.path(), &identity, &more));
    let good = ours.sign("client", 2999);
    assert_eq!(
        get(&server, &ours, Some(&good)).unwrap().0,
        "HTTP/1.1 200 OK"
    );
    // Our own commands, with and without.
    let sql = |identity: Option<&Identity>, ca: &Path| {
        let mut sql = support::tapewatch();
        sql.args(["sql", "select 7", "--format", "csv", "--url"])
            .arg(format!("https://127.0.0.1:{}", server.port))
            .env("TAPEWATCH_TLS__CA", ca);
        if let Some(identity) = identity {
            sql.env("TAPEWATCH_TLS__CERT", &identity.cert)
                .env("TAPEWATCH_TLS__KEY", &identity.key);
        }
        run(&mut sql)
    };
    let (code, out, error) = sql(Some(&good), &ours.pem);
    assert!(code == 0 && out.contains('7'), "{error}");
    let (code, _, error) = sql(Some(&good), &other.pem);
    assert!(code == 3 && error.contains("UnknownIssuer"), "{error}");
    let (code, _, error) = sql(None, &ours.pem);
    assert!(
        code != 0 && error.contains("needs a client certificate"),
        "{error}"
    );
    // kdb+ IPC inside of it: let in, and closed at what is no message.
    let greeting = b"feed:password\x03\0nonsense";
    let (answer, _) = exchange(server.port, &ours, Some(&good), greeting).unwrap();
    assert_eq!(answer, [3]);
    // Arrow Flight inside of it, with a client that others wrote.
    let python = std::env::var("TAPEWATCH_PYTHON")
        .expect("TAPEWATCH_PYTHON is not set: `cargo xtask test` makes a Python with pyarrow");
    let url = format!("grpc+tls://127.0.0.1:{}", server.port);
    let (code, out, error) = run(std::process::Command::new(python)
        .arg(support::root().join("tests/flight_client.py"))
        .args(["publish", &url, "one", "30", "10"])
        .env("FLIGHT_TLS", dir.path()));
    assert_eq!((code, out.lines().count()), (0, 3), "{error}");
    // Who has none may ask whether the process is well, as a kubelet does, and nothing else.
    assert_eq!(get(&server, &ours, None).unwrap().0, "HTTP/1.1 200 OK");
    let nameless = |bytes: &[u8]| exchange(server.port, &ours, None, bytes);
    let ask = |head: &str| {
        let request = format!("{head} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        String::from_utf8(nameless(request.as_bytes()).unwrap().0).unwrap()
    };
    assert!(ask("GET /readyz").starts_with("HTTP/1.1 200"));
    for path in [
        "GET /api/v1/status",
        "GET /",
        "GET /metrics",
        "GET /wire",
        "POST /healthz/../api/v1/clear",
        "POST /arrow.flight.protocol.FlightService/ListFlights",
    ] {
        let answer = ask(path);
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
        assert!(answer.contains("needs a client certificate"), "{answer}");
    }
    assert!(nameless(b"user:password\x03\0").is_ok_and(|(answer, _)| answer.is_empty()));
    for (client, expected) in [
        (Some(other.sign("stranger", 2999)), "nknownCA"),
        (Some(ours.sign("late", 2021)), "xpired"),
    ] {
        let error = get(&server, &ours, client.as_ref()).unwrap_err();
        let plain = error.replace(' ', "");
        assert!(plain.contains(expected), "{expected}: {error}");
    }
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("TLS handshake refused"), "{log}");
}

#[test]
fn a_feed_that_meets_a_wrong_certificate_ends_at_once_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (
        Authority::new(dir.path(), "ours"),
        Authority::new(dir.path(), "other"),
    );
    let more = format!("client_ca = \"{}\"", ours.pem.display());
    let mut servers = Vec::new();
    for (name, until) in [("good", 2999), ("old", 2021)] {
        let dir = dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        servers.push(start(&dir, &tls(&dir, &ours.sign(name, until), &more)));
    }
    let (good, old) = (servers[0].port, servers[1].port);
    let (client, stranger) = (ours.sign("client", 2999), other.sign("stranger", 2999));
    let feed = |host: &str, port: u16, ca: &Path, identity: Option<&Identity>| {
        let mut feed = support::tapewatch();
        feed.args(["feed", "csv"])
            .arg(support::data("spoofingData.csv"))
            .args(["--url", &format!("https://{host}:{port}")])
            .env("TAPEWATCH_TLS__CA", ca);
        if let Some(identity) = identity {
            feed.env("TAPEWATCH_TLS__CERT", &identity.cert)
                .env("TAPEWATCH_TLS__KEY", &identity.key);
        }
        let began = std::time::Instant::now();
        let (code, _, error) = run(&mut feed);
        assert!(!error.contains("trying again"), "{error}");
        assert!(began.elapsed().as_secs() < 20, "{error}");
        (code, error)
    };
    let (ip, trusted) = ("127.0.0.1", ours.pem.as_path());
    let own = Some(&client);
    for (answer, words) in [
        (feed(ip, good, &other.pem, own), "TAPEWATCH_TLS__CA names"),
        (feed("localhost", good, trusted, own), "use the name"),
        (feed(ip, old, trusted, own), "must show another"),
        (
            feed(ip, good, trusted, Some(&stranger)),
            "TAPEWATCH_TLS__CERT",
        ),
        (feed(ip, good, trusted, None), "needs a client certificate"),
    ] {
        let (code, error) = answer;
        assert!(code == 3 && error.contains(words), "{words}: {error}");
    }
    let (code, error) = feed(ip, good, trusted, own);
    assert_eq!(code, 0, "{error}");
}

#[test]
fn files_that_do_not_fit_stop_the_start_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let (one, two) = (ours.sign("one", 2999), ours.sign("two", 2999));
    let crossed = Identity {
        cert: one.cert.clone(),
        key: two.key.clone(),
    };
    let empty = Identity {
        cert: two.key.clone(),
        key: one.key.clone(),
    };
    let none = Identity {
        cert: dir.path().join("none.crt"),
        key: one.key.clone(),
    };
    for (identity, expected) in [
        (crossed, "two.key"),
        (empty, "there is no certificate in it"),
        (none, "none.crt"),
    ] {
        let arguments = tls(dir.path(), &identity, "");
        let mut up = support::tapewatch();
        up.args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data"))
            .args(arguments);
        let (code, _, error) = run(&mut up);
        assert_eq!(code, 2, "{error}");
        assert!(
            error.contains("tls.") && error.contains(expected),
            "{error}"
        );
    }
}
