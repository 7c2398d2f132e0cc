//! What a query over HTTP may be given, and the form in which anything wrong is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use serde_json::{Value, json};
use support::Server;

fn start() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    (dir, server)
}

#[test]
fn parameters_are_values_of_their_types() {
    let (_dir, server) = start();
    let (code, _, error) = server.feed(&support::data("spoofingData.csv"), &[]);
    assert_eq!(code, 0, "{error}");
    let post = |body: Value| {
        let body = body.to_string();
        server.http("POST", "/api/v1/sql", "application/json", body.as_bytes())
    };
    for (query, parameters, plain) in [
        (
            "select count(*) as n from orders where event_type = $1 and quantity >= $2",
            json!(["cancelled", 0]),
            "select count(*) as n from orders where event_type = 'cancelled' and quantity >= 0",
        ),
        (
            "select seq from orders where time > $1 order by seq limit $2",
            json!(["2015-04-17T12:00:00Z", 3]),
            "select seq from orders where time > '2015-04-17T12:00:00Z' order by seq limit 3",
        ),
        (
            "select count(*) as n from orders where price <> $1",
            json!(["0.123456789"]),
            "select count(*) as n from orders where price <> 0.123456789",
        ),
        (
            "select $1 as a, $2 as b, $3 as c",
            json!([null, {"type": "DATE", "value": "2015-04-17"}, true]),
            "select null as a, date '2015-04-17' as b, true as c",
        ),
        (
            "select count(*) as n from orders where trader = $1",
            json!(["'; drop table orders --"]),
            "select 0 as n",
        ),
    ] {
        let body = json!({"query": query, "parameters": parameters, "format": "csv"});
        assert_eq!(post(body), (200, server.csv(plain)), "{query}");
    }
    for (query, parameters, words) in [
        (
            "select $1",
            json!([]),
            "the statement has 1 parameters, 0 values came",
        ),
        (
            "select 1",
            json!([1]),
            "the statement has 0 parameters, 1 values came",
        ),
        ("select $2", json!([1]), "parameter $2"),
        (
            "select seq from orders where price > $1",
            json!(["much"]),
            "parameter $1: \"much\" cannot be read as Decimal",
        ),
        (
            "select seq from orders where time > $1",
            json!(["then"]),
            "parameter $1: \"then\" cannot be read as Timestamp",
        ),
        ("select $1", json!([[1]]), "a parameter is a value"),
        (
            "select $1",
            json!([{"type": "colour", "value": 1}]),
            "no type colour",
        ),
    ] {
        let (status, text) = post(json!({"query": query, "parameters": parameters}));
        assert_eq!(status, 400, "{text}");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(error["error"]["code"], "bad_request", "{text}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn every_refusal_has_the_one_form() {
    let (_dir, server) = start();
    for (method, path, kind, body, status, code, words) in [
        (
            "POST",
            "/api/v1/sql",
            "application/json",
            "{",
            400,
            "bad_request",
            "JSON",
        ),
        (
            "POST",
            "/api/v1/sql",
            "application/json",
            "{\"querry\": 1}",
            400,
            "bad_request",
            "querry",
        ),
        (
            "POST",
            "/api/v1/sql",
            "text/plain",
            "select 1",
            415,
            "unsupported_media_type",
            "application/json",
        ),
        (
            "POST",
            "/api/v1/sql",
            "application/json",
            "{\"query\": \"select 1\", \"format\": \"xml\"}",
            400,
            "bad_request",
            "arrow or parquet",
        ),
        (
            "GET",
            "/api/v1/alerts?limit=many",
            "",
            "",
            400,
            "bad_request",
            "limit",
        ),
        (
            "GET",
            "/api/v1/orders?lmit=1",
            "",
            "",
            400,
            "bad_request",
            "lmit",
        ),
        (
            "PUT",
            "/api/v1/sql",
            "",
            "",
            405,
            "method_not_allowed",
            "/api/v1/sql takes no PUT",
        ),
        (
            "GET",
            "/api/v1/queries/7",
            "",
            "",
            404,
            "not_found",
            "there is no query 7",
        ),
    ] {
        let (found, text) = server.http(method, path, kind, body.as_bytes());
        assert_eq!(found, status, "{path}: {text}");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(error["error"]["code"], code, "{text}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{words}: {message}");
    }
}
