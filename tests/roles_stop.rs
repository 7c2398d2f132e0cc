//! Every role ends cleanly and soon when it is told to, whoever is away and whoever does not read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use support::cluster::Cluster;
use support::{http_at, wait_for, write_orders};

/// Opens an upgraded connection, and reads no more than the head of the answer.
fn upgrade(port: u16, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\n{headers}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    stream
}

fn wire(port: u16) -> TcpStream {
    upgrade(port, "/wire", "upgrade: tapewatch-wire")
}

/// A message as roles say it to each other.
fn message(body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// Asks for the whole journal.
fn subscribe(stream: &mut TcpStream) {
    let mut body = vec![2, 0];
    body.extend(1_u64.to_le_bytes());
    body.extend(b"mute");
    stream.write_all(&message(&body)).unwrap();
}

/// Whether the other side closes the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn every_role_ends_soon_with_readers_that_read_nothing_and_without_a_journal() {
    let mut cluster = Cluster::new("").filled();
    let file = cluster.dir.path().join("many.csv");
    write_orders(&file, 120_000);
    let (code, _, error) = cluster
        .gateway()
        .feed(&file, &["--rows-per-bucket", "2000"]);
    assert_eq!(code, 0, "{error}");
    wait_for("recent to have the rows", || {
        cluster.gateway().get_json("/api/v1/status")["orders"] == 120_000
    });
    let mut mute = wire(cluster.ports.journal);
    subscribe(&mut mute);
    let socket = "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let stream = "/api/v1/stream?from_seq=1";
    let direct = upgrade(cluster.ports.recent, stream, socket);
    let through = upgrade(cluster.gateway().port, stream, socket);
    let _idle = wire(cluster.ports.journal);
    std::thread::sleep(Duration::from_millis(500));
    cluster.role("journal").signal("TERM");
    assert_eq!(cluster.role("journal").ends_within(8), Some(0), "journal");
    cluster.readyz(cluster.ports.engine, 503, "journal at");
    // One that waits for the journal from its start.
    cluster.role("engine 2").signal("TERM");
    assert_eq!(cluster.role("engine 2").ends_within(8), Some(0));
    cluster.role("engine 2").restart_silently();
    cluster.readyz(cluster.ports.engine2, 503, "journal at");
    for name in ["engine", "engine 2", "recent", "history", "gateway"] {
        cluster.role(name).signal("TERM");
        assert_eq!(cluster.role(name).ends_within(8), Some(0), "{name}");
    }
    drop((mute, direct, through));
}

#[test]
fn nonsense_from_a_role_ends_its_connection_and_nothing_else() {
    let mut cluster = Cluster::new("");
    cluster.start("journal", "journal", &[]);
    let port = cluster.ports.journal;
    for nonsense in [
        &b"\xff\xff\xff\xff\x03rows"[..],
        &message(b""),
        &message(&[77]),
        &message(&[2, 9, 0]),
        // A share of engines that cannot be.
        &message(&[8, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]),
        &message(&[8, 5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        // What only the journal says.
        &message(&[10]),
    ] {
        let mut stream = wire(port);
        stream.write_all(nonsense).unwrap();
        assert!(is_closed(&mut stream), "{nonsense:?}");
    }
    // Buckets that are none are refused, and the connection goes on.
    let mut stream = wire(port);
    stream.write_all(&message(b"\x03nonsense")).unwrap();
    stream.write_all(&message(&[12])).unwrap();
    let mut answers = [0; 256];
    let mut read = 0;
    while !answers[..read].ends_with(&[0; 17]) {
        read += stream.read(&mut answers[read..]).unwrap();
        assert!(read < answers.len());
    }
    // An engine that says it has come further than the journal is not believed.
    let mut found = vec![8, 0, 0, 0, 0, 1, 0, 0, 0];
    found.extend(u64::MAX.to_le_bytes());
    found.extend([0; 24]);
    stream.write_all(&message(&found)).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(http_at(port, "GET", "/readyz", "", b"").0, 200);
    // One that says nothing is let go.
    assert!(is_closed(&mut wire(port)));
    assert_eq!(cluster.role("journal").terminate(), 0);
}
