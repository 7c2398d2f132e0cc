//! The HTTP API, the streams, health, metrics and a clean stop.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Server, data, run, tapewatch, wait_for};

fn server() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    (dir, server)
}

fn order(id: &str) -> Value {
    json!({
        "time": "2015-04-17T12:00:05.000000001Z", "sym": "SNDL", "event_type": "cancelled", "trader": "T",
        "side": "S", "order_id": id, "price": "1.25", "quantity": 1000,
    })
}

#[test]
fn health_metrics_and_the_document() {
    let (_dir, server) = server();
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    server.push(&json!({ "interval_ms": 0 }));
    let (_, metrics) = server.get("/metrics");
    for line in [
        "tapewatch_orders_total 10",
        "tapewatch_hits_total 1",
        "tapewatch_alerts 1",
        "tapewatch_ready 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let document = server.get_json("/api/v1/openapi.json");
    for path in [
        "/api/v1/orders",
        "/api/v1/push",
        "/api/v1/stream",
        "/api/v1/sql",
        "/api/v1/replay",
        "/readyz",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let (status, answer) = server.get("/api/v1/nothing");
    assert_eq!((status, answer.contains("not_found")), (404, true));
    let (status, page) = server.get("/");
    assert!(
        status == 200 && page.to_lowercase().contains("<!doctype html"),
        "{page}"
    );
}

#[test]
fn orders_come_in_as_json_csv_and_twice_sent_buckets() {
    let (_dir, server) = server();
    let (status, answer) = server.post_json("/api/v1/orders", &json!([order("A"), order("B")]));
    assert_eq!((status, &answer["orders"]), (200, &json!(2)), "{answer}");
    let mut bad = order("C");
    bad["side"] = json!("X");
    let (status, answer) = server.post_json("/api/v1/orders", &json!([order("D"), bad]));
    assert_eq!(status, 400);
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("row 1: column side"),
        "{answer}"
    );
    let csv = std::fs::read(data("spoofingData.csv")).unwrap();
    let (status, answer) = server.http("POST", "/api/v1/orders?source=mine", "text/csv", &csv);
    assert_eq!(status, 200, "{answer}");
    let broken = String::from_utf8(csv).unwrap().replace(",B,", ",Z,");
    let (status, answer) = server.http(
        "POST",
        "/api/v1/orders?strict=true",
        "text/csv",
        broken.as_bytes(),
    );
    assert!(
        status == 400 && answer.contains("line 7") && answer.contains("nothing was taken"),
        "{answer}"
    );
    assert_eq!(
        server.number("select count(*) from orders"),
        12,
        "what was refused left nothing"
    );
    let (status, answer) = server.http(
        "POST",
        "/api/v1/orders?source=mine",
        "text/csv",
        broken.as_bytes(),
    );
    assert!(
        status == 200 && answer.contains("\"dead_letters\":2"),
        "{answer}"
    );
    assert_eq!(
        server.http("POST", "/api/v1/orders", "text/plain", b"x").0,
        415
    );
    let kind = "application/vnd.tapewatch.bucket";
    assert_eq!(
        server
            .http("POST", "/api/v1/orders", kind, b"\x01garbage")
            .0,
        400
    );
    let list = server.get_json("/api/v1/orders?limit=2");
    assert_eq!(list["rows"].as_array().unwrap().len(), 2);
    assert_eq!(list["rows"][0]["price"], "1.25");
    assert_eq!(server.get("/api/v1/orders?limit=99999999").0, 400);
}

#[test]
fn a_bucket_sent_again_is_taken_once() {
    use tapewatch_model::{
        Bucket, Details, EventType, Origin, Price, Quantity, RowRef, Side, Time, encode_bucket,
    };
    let (_dir, mut server) = server();
    let origin = Origin {
        producer: "p".to_owned(),
        batch: 1,
    };
    let mut bucket = Bucket {
        origin,
        ..Bucket::default()
    };
    let row = RowRef::<[u8]> {
        time: Time::from_nanos(1),
        sym: b"S",
        event_type: EventType::New,
        trader: b"T",
        side: Side::Buy,
        order_id: b"O",
        price: Price::from_units(1),
        quantity: Quantity::from_whole(1).unwrap(),
        details: Details::default(),
    };
    bucket.orders.push(&row).unwrap();
    let mut send = |server: &Server, batch: u64| {
        bucket.origin.batch = batch;
        let mut body = Vec::new();
        encode_bucket(&bucket, &mut body);
        let (status, answer) = server.http(
            "POST",
            "/api/v1/orders",
            "application/vnd.tapewatch.bucket",
            &body,
        );
        (status, answer.contains("\"duplicate\":true"))
    };
    assert_eq!(send(&server, 1), (200, false));
    assert_eq!(send(&server, 1), (200, true));
    server.kill();
    server.restart();
    assert_eq!(send(&server, 1), (200, true), "known after a crash too");
    assert_eq!(send(&server, 2), (200, false));
    assert_eq!(
        send(&server, 1),
        (200, true),
        "known while it may be under way"
    );
    for batch in 3..=257 {
        assert_eq!(send(&server, batch), (200, false));
    }
    assert_eq!(send(&server, 2), (200, true));
    assert_eq!(send(&server, 1).0, 400, "older than what is remembered");
    assert_eq!(server.number("select count(*) from orders"), 257);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_and_orders_stream_as_they_come() {
    use futures::StreamExt as _;
    let (_dir, server) = tokio::task::block_in_place(server);
    let push = || tokio::task::block_in_place(|| server.push(&json!({ "interval_ms": 2 })));
    push();
    let url = format!(
        "ws://127.0.0.1:{}/api/v1/stream?tables=orders,alerts&last=5",
        server.port
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    push();
    let (mut orders, mut alerts) = (Vec::new(), Vec::new());
    while orders.len() < 15 || alerts.len() < 2 {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
        let message = message.expect("rows in time").unwrap().unwrap();
        let frame: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        let rows = frame["rows"].as_array().unwrap().clone();
        if frame["table"] == "orders" {
            orders.extend(rows)
        } else {
            alerts.extend(rows)
        }
    }
    let seqs: Vec<_> = orders
        .iter()
        .map(|order| order["seq"].as_u64().unwrap())
        .collect();
    assert!(
        seqs.is_sorted_by(|a, b| a < b),
        "each once, in order: {seqs:?}"
    );
    assert_eq!(seqs.len(), 15, "the last five and the ten new ones");
    assert_eq!(alerts[1]["order_id"], "SPG-Oid13");
    assert_ne!(alerts[0]["alert_id"], alerts[1]["alert_id"]);
    let one = server.get_json(&format!(
        "/api/v1/alerts/{}",
        alerts[1]["alert_id"].as_str().unwrap()
    ));
    assert_eq!(one, alerts[1]);
    let listed = server.get_json("/api/v1/alerts");
    assert_eq!(listed["rows"][0], alerts[1], "newest first");
    assert_eq!(server.get("/api/v1/alerts/none").0, 404);
}

#[test]
fn sql_answers_and_points_at_mistakes() {
    let (_dir, server) = server();
    server.push(&json!({ "interval_ms": 0 }));
    let ask = |query: &str| server.post_json("/api/v1/sql", &json!({ "query": query }));
    let (status, rows) = ask("select sym, count(*) as n from orders group by sym");
    assert_eq!((status, rows), (200, json!([{ "sym": "SNDL", "n": 10 }])));
    for (query, place) in [
        ("select * frm orders", "line 1, column"),
        ("select\n  nothing from orders", "line 2, column 3"),
    ] {
        let (status, answer) = ask(query);
        let message = answer["error"]["message"].as_str().unwrap().to_owned();
        assert!(
            status == 400 && message.contains(place) && message.contains('^'),
            "{message}"
        );
    }
    for query in [
        "drop table orders",
        "copy orders to '/tmp/x.csv'",
        "select * from '/etc/passwd'",
        "insert into orders values (1)",
    ] {
        assert_eq!(ask(query).0, 400, "{query}");
    }
    assert_eq!(
        server
            .post_json(
                "/api/v1/sql",
                &json!({ "query": "select 1", "format": "xml" })
            )
            .0,
        400
    );
}

#[test]
fn heavy_queries_delay_nobody_and_a_wide_answer_kills_nobody() {
    let (_dir, server) = server();
    server.push(&json!({ "interval_ms": 0 }));
    let heavy = "select count(*) from orders a, orders b, orders c, orders d, orders e, orders f, orders g, orders h";
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let body = json!({ "query": heavy }).to_string();
                let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
                let head = format!(
                    "POST /api/v1/sql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_secs(3));
                // The asker hangs up.
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        let started = std::time::Instant::now();
        assert_eq!(server.get("/healthz").0, 200);
        assert_eq!(
            server.post_json("/api/v1/orders", &json!([order("A")])).0,
            200
        );
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
    });
    let wide = "select string_agg(text, ',') as t from (select a.text from alerts a, orders b, orders c, orders d)";
    let (status, answer) =
        server.post_json("/api/v1/sql", &json!({ "query": wide, "format": "table" }));
    assert_eq!(status, 200, "{}", &answer.to_string()[..200]);
    assert_eq!(
        server
            .post_json(
                "/api/v1/sql",
                &json!({ "query": "select repeat('x', 2000000000)" })
            )
            .0,
        400
    );
    let mut exact = order("B");
    exact["price"] = json!(1_234_567_890.123_456_7);
    assert_eq!(
        server.post_json("/api/v1/orders", &json!([exact])).0,
        400,
        "it may have been rounded"
    );
}

#[test]
fn replay_over_the_api_gives_the_stored_hits() {
    let (_dir, server) = server();
    server.push(&json!({ "interval_ms": 0 }));
    assert_eq!(run(&mut server.command(&["eod"])).0, 0);
    let request = json!({ "from": "2015-04-17T00:00:00Z", "to": "2015-04-18T00:00:00Z" });
    let (status, hit) = server.http(
        "POST",
        "/api/v1/replay",
        "application/json",
        request.to_string().as_bytes(),
    );
    assert_eq!(status, 200, "{hit}");
    let hit: Value = serde_json::from_str(hit.trim()).unwrap();
    let live = server.get_json("/api/v1/alerts");
    assert_eq!(
        hit["alert_id"], live["rows"][0]["alert_id"],
        "the same id: a function of the content"
    );
    let request = json!({ "from": "2015-04-17T00:00:00Z", "to": "2015-04-18T00:00:00Z", "set": ["spoofing.cancel_count=4"] });
    assert_eq!(
        server.post_json("/api/v1/replay", &request),
        (200, json!(""))
    );
    let request = json!({ "from": "2015-04-17T00:00:00Z", "to": "2015-04-18T00:00:00Z", "set": ["spoofing.x=4"] });
    assert_eq!(server.post_json("/api/v1/replay", &request).0, 400);
}

#[test]
fn sigterm_drains_and_stops_cleanly() {
    let (_dir, mut server) = server();
    let (status, _) = server.post_json("/api/v1/push", &json!({ "interval_ms": 60_000 }));
    assert_eq!(status, 202);
    wait_for("the first bucket", || {
        server.number("select count(*) from orders") == 2
    });
    assert_eq!(server.terminate(), 0, "{}", server.log());
    assert!(server.log().contains("stopped"), "{}", server.log());
    server.restart();
    assert_eq!(server.number("select count(*) from orders"), 2);
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let (dir, _server) = server();
    let (code, _, error) = run(tapewatch()
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path().join("data")));
    assert!(code == 3 && error.contains("already"), "{code} {error}");
}

#[test]
fn a_damaged_journal_stops_the_start_and_names_the_place() {
    let (dir, mut server) = server();
    for _ in 0..3 {
        server.push(&json!({ "interval_ms": 0 }));
    }
    server.kill();
    let journal = dir.path().join("data/journal");
    let segment = std::fs::read_dir(&journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x01;
    std::fs::write(&segment, &bytes).unwrap();
    let start = || {
        run(tapewatch()
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data")))
    };
    let (code, _, error) = start();
    assert_eq!(code, 3, "{error}");
    for word in [".seg", "offset", "seq"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    // Mended, and torn at the end instead: it starts, and says what it cut.
    bytes[middle] ^= 0x01;
    bytes.truncate(bytes.len() - 5);
    std::fs::write(&segment, &bytes).unwrap();
    server.restart();
    assert!(server.log().contains("torn"), "{}", server.log());
    assert!(
        server.number("select count(*) from orders") >= 28,
        "all but the last bucket"
    );
}
