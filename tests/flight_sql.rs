//! Flight SQL with real clients: `tests/sql_client.py` asks with the ADBC driver, at one process, over
//! TLS and through a gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use support::authority::Authority;
use support::cluster::Cluster;
use support::{Server, data, python, run, wait_for};

fn grpc(server: &Server) -> String {
    format!("grpc://127.0.0.1:{}", server.port)
}

/// Runs a command of the client to its good end.
fn does(arguments: &[&str], environment: &[(&str, &str)]) {
    let mut client = python("sql_client.py");
    let client = client.args(arguments).envs(environment.iter().copied());
    let (code, out, error) = run(client);
    assert_eq!((code, out.trim()), (0, "ok"), "{arguments:?}: {error}");
}

#[test]
fn statements_parameters_catalogue_and_errors() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (code, _, error) = server.feed(&data("spoofingData.csv"), &[]);
    assert_eq!(code, 0, "{error}");
    does(&["adbc", &grpc(&server)], &[]);
}

#[test]
fn a_million_rows_have_the_same_sums_by_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    does(&["big", &grpc(&server), &server.url()], &[]);
}

#[test]
fn what_a_client_cancels_ends() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    for way in ["adbc", "flight"] {
        does(&["cancel", way, &grpc(&server), &server.url()], &[]);
    }
}

#[test]
fn over_tls_with_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ours");
    let server = authority.sign("server", 2100);
    authority.sign("client", 2100);
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (cert, key, pem) = (path(&server.cert), path(&server.key), path(&authority.pem));
    let server = Server::start_with(
        dir.path(),
        &[],
        &[
            ("TAPEWATCH_TLS__CERT", &cert),
            ("TAPEWATCH_TLS__KEY", &key),
            ("TAPEWATCH_TLS__CLIENT_CA", &pem),
        ],
    );
    let url = grpc(&server);
    let directory = dir.path().to_str().unwrap();
    does(&["adbc", &url], &[("FLIGHT_TLS", directory)]);
    // Without the certificate nothing is answered.
    let (code, _, _) = run(python("sql_client.py").args(["adbc", &url]));
    assert_ne!(code, 0);
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
    does(&["adbc", &grpc(gateway)], &[]);
    for way in ["adbc", "flight"] {
        does(&["cancel", way, &grpc(gateway), &gateway.url()], &[]);
    }
    let journal = format!("grpc://127.0.0.1:{}", cluster.ports.journal);
    let (code, _, error) = run(python("sql_client.py").args(["adbc", &journal]));
    assert!(
        code != 0 && error.contains("holds no tables: ask the role recent"),
        "{error}"
    );
}
